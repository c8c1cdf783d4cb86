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
    let (root, _) = unpack("basic-killed", &folder);
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
    assert_eq!(mqstore(&["verify"], &root), (Some(0), verified.to_owned(), String::new()));

    assert_eq!(mqstore(&["rebuild"], &root).0, Some(1), "not without --yes");
    assert_eq!(mqstore(&["rebuild", "--yes"], &root).0, Some(0));
    assert_eq!(mqstore(&["verify"], &root).1, verified);
    assert!(mqstore(&["ls"], &root).1.contains("stopped cleanly"));
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
