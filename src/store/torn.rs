//! Records that lost a page in a power cut, where no checksum tells: [`lost_page`].

use super::mapped_file::PAGE_BYTES;
use crate::common::record::RecordView;

/// Whether the record, read in place from a log file's bytes, has lost a page of its topic or
/// properties; the position in the file where that page begins.
///
/// The CRC of a record covers its body, and its sizes add up only if the lengths of body, topic and
/// properties are there. What lies behind the last of them may be lost page by page, and reads as zeros
/// then. Whoever puts zeros into a property gets the message back all the same: a lost page begins at
/// a page's begin and has nothing but zeros, to its end or to where the record goes on in the next one.
pub fn lost_page(file: &[u8], at: usize, record: &RecordView<'_>) -> Option<usize> {
    let end = at + record.total_size as usize;
    let topic = record.topic.as_ptr().addr().checked_sub(file.as_ptr().addr())?;
    let after_topic = topic + record.topic.len();
    // Behind the length, two bytes.
    let properties = after_topic + 2;
    let pages = (topic.next_multiple_of(PAGE_BYTES)..end).step_by(PAGE_BYTES);
    pages.into_iter().find(|&page| {
        let rest = &file[page..];
        let is_zero = rest.iter().take(PAGE_BYTES).all(|byte| *byte == 0);
        let has_text = page < after_topic || properties < end;
        if !is_zero || !has_text {
            return false;
        }
        let in_text = (topic + 1..after_topic).contains(&page) || properties < page;
        let is_begin = !in_text || file[page - 1] != 0;
        let zeros = rest[..end - page].iter().position(|byte| *byte != 0);
        is_begin && zeros.is_none_or(|zeros| zeros.is_multiple_of(PAGE_BYTES))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::record::{encode_record, read_record};
    use crate::store::testing::fields;

    const FILE_BYTES: usize = 16 * PAGE_BYTES;

    /// A file with one record, which begins at `at`.
    fn file(at: usize, topic: &str, body: &[u8], properties: &str, behind: &[u8]) -> Vec<u8> {
        let mut file = vec![0; at];
        encode_record(&fields(topic, body, properties), &mut file);
        file.extend_from_slice(behind);
        file.resize(FILE_BYTES, 0);
        file
    }

    fn lost(file: &[u8], at: usize) -> Option<usize> {
        lost_page(file, at, &read_record(&file[at..], true).unwrap())
    }

    const TEXTS: [&str; 8] = [
        "",
        "a",
        "k\u{1}\u{2}plain\u{2}\u{2}=",
        "KEYS\u{1}k1 k2\u{2}UNIQ_KEY\u{1}0A00000101B1884950136B080A850000\u{2}",
        "k\u{1}a\0\0\0\0\0\0\0\0",
        "\0\0\0\0\0\0\0\0\u{1}x",
        "\0",
        "k\u{1}\0\0\0\0\0\0\0\0\0\0\u{2}",
    ];

    /// Wherever the record lies, as the log's last one or with another behind it.
    #[test]
    fn what_is_whole_stays() {
        let long: Vec<String> = ["a", "ab\0", "\0\0\0\0\0\0b"]
            .iter()
            .flat_map(|piece| [255, 256, 4095, 8192, 32_000].map(|n| piece.repeat(n / piece.len())))
            .collect();
        let texts = TEXTS.into_iter().chain(long.iter().map(String::as_str));
        for text in texts {
            for topic in ["T", "LongTopicLongTopicLongTopicLongTopicLongTopicLongTopicLongTopic"] {
                for behind in [&b""[..], &[1; 9000]] {
                    let whole = file(0, topic, &[0; 3], text, behind);
                    let size = read_record(&whole, true).unwrap().total_size as usize;
                    // Every place of the text at a page's begin.
                    for into in (0..size.min(300)).chain([size - 1, size]) {
                        let at = 2 * PAGE_BYTES - into.min(2 * PAGE_BYTES);
                        let begins_page = |zero: usize| {
                            (at + zero).is_multiple_of(PAGE_BYTES) && whole[zero - 1] != 0
                        };
                        let zeros = whole[size - text.len()..size].iter();
                        let odd = zeros.enumerate().any(|(zero, byte)| {
                            *byte == 0 && begins_page(size - text.len() + zero)
                        });
                        let found = lost(&file(at, topic, &[0; 3], text, behind), at);
                        assert!(found.is_none() || odd, "{topic} {text:?} at {at}: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_lost_a_page_is_found() {
        let long = "name\u{1}value\u{2}".repeat(2000);
        for text in [&long[..256], &long[..300], &long[..10_000], &long, ""] {
            let topic = "T".repeat(120);
            for into in 88..600 {
                let at = 2 * PAGE_BYTES - into;
                let whole = file(at, &topic, b"", text, b"");
                let end = at + read_record(&whole[at..], true).unwrap().total_size as usize;
                let last = end.div_ceil(PAGE_BYTES) - 1;
                for lost_from in 2..=last {
                    for lost_to in [lost_from, last] {
                        let mut torn = whole.clone();
                        torn[lost_from * PAGE_BYTES..(lost_to + 1) * PAGE_BYTES].fill(0);
                        let Ok(record) = read_record(&torn[at..], true) else { continue };
                        let found = lost_page(&torn, at, &record);
                        let is_lost = torn != whole;
                        let expected = is_lost.then_some(lost_from * PAGE_BYTES);
                        assert_eq!(found, expected, "{into} {lost_from} {lost_to}");
                    }
                }
            }
        }
    }
}
