//! The program `mqstore` on a store that a Java broker left when it was killed, and on one that is
//! in use.

use std::path::Path;
use std::process::Command;

use crate::folder::*;
use crate::java_stores::unpack;

/// Exit code, standard output and standard error.
fn mqstore(words: &[&str], root: &Path) -> (Option<i32>, String, String) {
    let (command, options) = words.split_first().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mqstore"))
        .arg(command)
        .arg(root)
        .args(options)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn reads_what_java_wrote_and_builds_it_again() {
    let folder = Folder::new("mqstore");
    let (root, expected) = unpack("basic-killed", &folder);
    let configured = expected.configuration(&folder);
    let configured = ["-c", configured.to_str().unwrap()];
    let (code, out, _) = mqstore(&["ls"], &root);
    assert_eq!(code, Some(0));
    assert!(out.starts_with("commit log  0..1044352, files of 131072 bytes, not stopped cleanly"));
    assert!(out.contains("queue       TopicEight 0: 0..126"), "{out}");
    let (_, out, _) = mqstore(&["cat", "-t", "TopicEight", "-q", "0", "-o", "5", "-n", "2"], &root);
    let places: Vec<_> = out.lines().map(|line| &line[..15]).collect();
    assert_eq!(places, ["TopicEight 0 #5", "TopicEight 0 #6"]);
    let (_, out, _) = mqstore(&["grep", "-k", "k100001", "-j"], &root);
    assert_eq!(out.lines().count(), 1);
    assert!(out.contains("\"commitLogOffset\":1211,"), "{out}");
    let verified = "1504 records, 1504 units, 3388 index entries, 0 problems\n";
    let verify = [&["verify"], &configured[..]].concat();
    assert_eq!(mqstore(&verify, &root), (Some(0), verified.to_owned(), String::new()));
    let (code, out, error) = mqstore(&["verify"], &root);
    assert_eq!((code, &*out), (Some(0), verified));
    assert!(error.contains("only counted: the index has another shape"), "{error}");

    let rebuild = [&["rebuild"], &configured[..]].concat();
    assert_eq!(mqstore(&rebuild, &root).0, Some(1), "not without --yes");
    let (code, _, error) = mqstore(&["rebuild", "--yes"], &root);
    assert_eq!(code, Some(2), "the broker would refuse the index that this would make");
    assert!(error.contains("maxIndexNum=20000000"), "{error}");
    let rebuild = [&rebuild[..], &["--yes"]].concat();
    let (code, out, error) = mqstore(&rebuild, &root);
    assert_eq!(code, Some(0), "{error}");
    assert!(out.contains("built 12 queues of 2 topics") && out.contains("may be removed"), "{out}");
    assert_eq!(mqstore(&verify, &root), (Some(0), verified.to_owned(), String::new()));
    assert!(mqstore(&["ls"], &root).1.contains("stopped cleanly"));
}

#[test]
fn cuts_the_end_of_the_log_off_when_told_so() {
    let folder = Folder::new("mqstore-cut");
    let (root, _) = unpack("basic-killed", &folder);
    let (code, _, error) = mqstore(&["truncate", "-p", "1212", "-y"], &root);
    assert_eq!(code, Some(2));
    assert!(error.contains("the one before it is at 1211"), "{error}");
    let (code, out, _) = mqstore(&["truncate", "-p", "1211"], &root);
    let told = "cut 1499 messages off: the log ends at 1211, not 1044352; ";
    assert_eq!((code, out.contains(told)), (Some(1), true), "{out}");
    let (code, out, _) = mqstore(&["truncate", "-p", "1211", "-y"], &root);
    assert_eq!((code, out.starts_with(told)), (Some(0), true), "{out}");
    assert!(mqstore(&["ls"], &root).1.starts_with("commit log  0..1211, "));
}

#[test]
fn a_commit_log_elsewhere_is_found_by_the_configuration() {
    let folder = Folder::new("mqstore-paths");
    let (root, expected) = unpack("batch", &folder);
    let verified = mqstore(&["verify"], &root).1;
    // Every second file on another disk, and the rest where new files are not made any more.
    let folders = ["first", "second"].map(|name| folder.path().join(name));
    folders.iter().for_each(|folder| std::fs::create_dir(folder).unwrap());
    let mut files: Vec<_> =
        std::fs::read_dir(root.join("commitlog")).unwrap().map(|file| file.unwrap()).collect();
    files.sort_by_key(|file| file.file_name());
    assert!(files.len() > 2);
    for (number, file) in files.iter().enumerate() {
        std::fs::rename(file.path(), folders[number % 2].join(file.file_name())).unwrap();
    }
    let (code, _, error) = mqstore(&["verify"], &root);
    assert_eq!(code, Some(2));
    assert!(error.contains("no commit log in") && error.contains("--config"), "{error}");
    let configured = expected.configuration(&folder);
    let mut text = std::fs::read_to_string(&configured).unwrap();
    let [first, second] = folders.each_ref().map(|folder| folder.display());
    text += &format!("storePathCommitLog={first}\nreadOnlyCommitLogStorePaths={second}\n");
    text += &format!("storePathRootDir={}\nbrokerName=a\n", root.display());
    std::fs::write(&configured, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mqstore"))
        .args(["verify", "-c", configured.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), verified);
}

#[test]
fn damage_of_the_index_is_found() {
    let folder = Folder::new("mqstore-index");
    let (root, expected) = unpack("index-many", &folder);
    let configured = expected.configuration(&folder);
    let verify = ["verify", "-c", configured.to_str().unwrap()];
    assert_eq!(mqstore(&verify, &root).0, Some(0));
    let first = std::fs::read_dir(root.join("index")).unwrap().map(|file| file.unwrap().path());
    let first = first.min().unwrap();
    let bytes = std::fs::read(&first).unwrap();
    let entry = 40 + 4 * 101 + 20 * 7;
    for (at, reason) in [
        (entry, "does not belong to slot"),
        (entry + 6, "lies beyond the log's end"),
        (entry + 11, "there is no whole record"),
        (entry + 16, "entry 16777216 follows in the chain of 7"),
        (39, "do not fit into the file"),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        std::fs::write(&first, &damaged).unwrap();
        let (code, out, _) = mqstore(&verify, &root);
        assert_eq!(code, Some(1), "byte {at}");
        assert!(out.contains(reason), "byte {at}: {out}");
    }
}

#[test]
fn damage_is_told_with_file_and_position() {
    let folder = Folder::new("mqstore-damage");
    let (root, _) = unpack("batch", &folder);
    let file = root.join("commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 0xFF;
    std::fs::write(&file, bytes).unwrap();
    let (code, out, _) = mqstore(&["verify"], &root);
    assert_eq!(code, Some(1));
    assert!(out.contains("commitlog/00000000000000000000 at position 0: "), "{out}");
}

#[test]
fn a_store_in_use_is_left_alone() {
    let folder = Folder::new("mqstore-lock");
    let test = TestStore::open(config(folder.path(), &[]));
    test.put("Topic", 0, b"1", "");
    for words in [["verify"].as_slice(), &["rebuild", "--yes"]] {
        let (code, _, error) = mqstore(words, folder.path());
        assert_eq!(code, Some(2));
        assert!(error.contains("is locked: a broker uses this store"), "{error}");
    }
    test.arrivals.wait_for(1);
    test.store.shutdown();
    assert_eq!(mqstore(&["verify"], folder.path()).0, Some(0));
}

#[test]
fn a_damaged_store_goes_on_after_the_commands_that_its_refusal_names() {
    let folder = Folder::new("mqstore-refused");
    let mut places = Vec::new();
    {
        let test = TestStore::open(config(folder.path(), &[]));
        for number in 0..60 {
            let body = vec![number as u8; 20 + number];
            places.push(test.put("Topic", 0, &body, "KEYS\u{1}k").commit_log_offset);
            // The checkpoint knows store times, not offsets.
            std::thread::sleep(std::time::Duration::from_millis(u64::from(number % 10 == 0) * 2));
        }
        test.arrivals.wait_for(60);
        test.store.shutdown();
    }
    let log = folder.path().join("commitlog").join(format!("{:020}", 0));
    let mut bytes = std::fs::read(&log).unwrap();
    bytes[places[20] as usize + 90] ^= 1;
    std::fs::write(&log, bytes).unwrap();
    let error = TestStore::try_open(config(folder.path(), &[])).err().unwrap().to_string();
    let place = places[20].to_string();
    let root = folder.path().display();
    assert!(error.contains(&format!("`mqstore truncate {root} -p {place}`")), "{error}");
    let later = places[21].to_string();
    assert!(error.contains(&format!("`mqstore cat {root} -p {later}`")), "{error}");

    assert_eq!(mqstore(&["cat", "-p", &later], folder.path()).1.lines().count(), 39);
    let (code, out, _) = mqstore(&["truncate", "-p", &place], folder.path());
    assert_eq!(code, Some(1));
    assert!(out.contains("would cut 39 messages off"), "{out}");
    assert_eq!(mqstore(&["truncate", "-p", &place, "-y"], folder.path()).0, Some(0));
    let test = TestStore::open(config(folder.path(), &[]));
    assert_eq!(test.bodies("Topic", 0).len(), 20);
    assert_eq!(test.store.query("Topic", "k", 64, 0, i64::MAX).count, 20);
    // What is put now stands where other messages stood, and has its keys all the same.
    for _ in 0..3 {
        test.put("Topic", 0, &[7; 9], "KEYS\u{1}later");
    }
    test.arrivals.wait_for(3);
    assert_eq!(test.store.query("Topic", "later", 64, 0, i64::MAX).count, 3);
    test.store.shutdown();
    drop(test);
    let conf = folder.path().join("broker.conf");
    std::fs::write(&conf, "maxHashSlotNum=100\nmaxIndexNum=400\n").unwrap();
    let (code, out, error) = mqstore(&["verify", "-c", conf.to_str().unwrap()], folder.path());
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    assert_eq!(out, "23 records, 23 units, 23 index entries, 0 problems\n");
}
