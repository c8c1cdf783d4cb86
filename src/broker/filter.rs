//! Which messages a pull gets: tag filters, and what a subscription's text means.
//!
//! The broker compares the hashes of tags only, by the consume-queue unit alone; the client
//! compares the texts. Two tags with one hash are both sent.

use crate::common::checksum::java_hash;
use crate::remoting::protocol::heartbeat::SubscriptionData;
use crate::store::MessageFilter;
use crate::store::message::ExtUnit;

/// The expression type of tags.
pub const TAG: &str = "TAG";

/// The text that subscribes to everything.
pub const EVERYTHING: &str = "*";

/// Whether an expression type means tags.
pub fn is_tag_type(expression_type: Option<&str>) -> bool {
    matches!(expression_type, None | Some("" | TAG))
}

/// A filter by tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagFilter {
    /// Java hashes of the wanted tags, sorted; `None` wants everything.
    hashes: Option<Box<[i32]>>,
}

impl TagFilter {
    /// Wants every message.
    pub fn everything() -> Self {
        Self { hashes: None }
    }

    /// Wants no message, but those whose tags code is not known.
    pub fn nothing() -> Self {
        Self { hashes: Some(Box::default()) }
    }

    /// Wants these hashes only.
    pub fn of_hashes(hashes: impl IntoIterator<Item = i32>) -> Self {
        let mut hashes: Vec<i32> = hashes.into_iter().collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self { hashes: Some(hashes.into()) }
    }

    /// Reads an expression such as `TagA || TagB`. No text and `*` are everything. The error says
    /// what would be right.
    ///
    /// Trailing separators do not count, as in Java: `||` is an error, ` ` a filter that nothing
    /// passes.
    pub fn parse(expression: Option<&str>) -> Result<Self, String> {
        let text = match expression {
            None | Some("" | EVERYTHING) => return Ok(Self::everything()),
            Some(text) => text,
        };
        let mut end = text;
        while let Some(shorter) = end.strip_suffix("||") {
            end = shorter;
        }
        if end.is_empty() {
            return Err(format!(
                "the subscription \"{text}\" names no tag; expected * or tags separated by ||"
            ));
        }
        let tags = end.split("||").map(str::trim).filter(|tag| !tag.is_empty());
        Ok(Self::of_hashes(tags.map(java_hash)))
    }

    /// The filter of a subscription that a heartbeat brought.
    pub fn of_subscription(subscription: &SubscriptionData) -> Self {
        let everything = matches!(subscription.sub_string.as_deref(), None | Some("" | EVERYTHING));
        if subscription.class_filter_mode || everything {
            Self::everything()
        } else {
            Self::of_hashes(subscription.code_set.iter().copied())
        }
    }

    /// Whether it wants everything, so that no filter is needed at all.
    pub fn wants_everything(&self) -> bool {
        self.hashes.is_none()
    }
}

impl MessageFilter for TagFilter {
    fn matches_queue(&self, tags_code: Option<i64>, _ext: Option<&ExtUnit>) -> bool {
        let (Some(code), Some(hashes)) = (tags_code, &self.hashes) else { return true };
        // Java compares the low 32 bits.
        hashes.binary_search(&(code as i32)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::checksum::tags_code;

    #[test]
    fn expressions() {
        let filter = TagFilter::parse(Some("TagA || TagB")).unwrap();
        assert!(filter.matches_queue(Some(tags_code(Some("TagA"))), None));
        assert!(filter.matches_queue(Some(tags_code(Some("TagB"))), None));
        assert!(!filter.matches_queue(Some(tags_code(Some("TagC"))), None));
        assert!(!filter.matches_queue(Some(0), None), "a message without a tag");
        assert!(filter.matches_queue(None, None), "the code is not known");
        for everything in [None, Some(""), Some("*")] {
            assert!(TagFilter::parse(everything).unwrap().wants_everything());
        }
        assert!(TagFilter::parse(Some("||")).is_err());
        assert!(TagFilter::parse(Some("||||")).is_err());
        let nothing = TagFilter::parse(Some(" ")).unwrap();
        assert!(!nothing.matches_queue(Some(0), None));
        let trailing = TagFilter::parse(Some("||TagA||")).unwrap();
        assert_eq!(trailing, TagFilter::parse(Some("TagA")).unwrap());
    }
}
