//! SQL92 filters against what the Java brokers make of the same expressions, and against texts that
//! nobody wrote on purpose.

use std::path::Path;

use rocketmq::filter::{Dialect, MAX_DEPTH, MAX_IN_ITEMS, MAX_TEXT_BYTES, compile};

/// The letter of the table for what an expression comes to.
fn result(text: &str, dialect: Dialect, properties: &[(&str, &str)]) -> &'static str {
    let Ok(expression) = compile(text, dialect) else { return "E" };
    let lookup = |name: &str| properties.iter().find(|pair| pair.0 == name).map(|pair| pair.1);
    let truth = expression.evaluate_with(lookup);
    // The string form has no empty values; otherwise both ways are one.
    if properties.iter().all(|(_, value)| !value.is_empty()) {
        let pairs: Vec<_> = properties.iter().map(|(n, v)| format!("{n}\u{1}{v}")).collect();
        assert_eq!(expression.evaluate(&pairs.join("\u{2}")), truth, "{text}");
        assert_eq!(expression.passes(&pairs.join("\u{2}")), truth == Ok(Some(true)));
    }
    match truth {
        Ok(Some(true)) => "T",
        Ok(Some(false)) => "F",
        Ok(None) => "N",
        Err(_) => "X",
    }
}

#[test]
fn every_case_is_as_in_java() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/sql92-cases.tsv");
    let table = std::fs::read_to_string(path).unwrap();
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let [number, v4, v5, text, properties]: [&str; 5] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let text = text.replace("\\n", "\n");
        let properties: Vec<_> =
            properties.split(';').filter_map(|pair| pair.split_once('=')).collect();
        for (dialect, expected) in [(Dialect::V4, v4), (Dialect::V5, v5)] {
            let found = result(&text, dialect, &properties);
            if found != expected {
                wrong.push(format!("{number} {dialect:?} {text}: {found}, expected {expected}"));
            }
        }
        count += 1;
    }
    assert_eq!(wrong, Vec::<String>::new());
    assert_eq!(count, 259);
}

#[test]
fn errors_point_at_the_place() {
    for (text, expected) in [
        ("", "line 1, column 1: the expression ends here, expected a property"),
        ("a = ", "line 1, column 5: the expression ends here"),
        ("a > 5 and\n  b = \"x\"", "line 2, column 7: a text stands between single quotes"),
        ("a != 1", "line 1, column 3: there is no ! here; \"not equal\" is <>"),
        ("a = '绿' and b > 'x'", "line 1, column 17: this has no order"),
        ("a is 5", "line 1, column 6: found 5, expected NULL"),
        ("a in ('x', 1)", "line 1, column 12: found 1, expected a text between single quotes"),
        ("a not like 'x'", "line 1, column 7: found like, expected BETWEEN or IN behind NOT"),
        ("(a = 1", "line 1, column 7: the expression ends here, expected )"),
        ("5 and a = 1", "line 1, column 1: this is neither true nor false"),
        ("a <> NULL", "line 1, column 6: NULL is equal to nothing, expected IS NULL"),
        ("a = 99999999999999999999", "line 1, column 5: 99999999999999999999 is too large"),
        ("a > 0.0", "line 1, column 5: 0.0 is out of range"),
        ("a between 5 and 2", "line 1, column 11: the lower bound is above the upper one"),
    ] {
        let error = compile(text, Dialect::V4).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    assert_eq!(compile("a = 1 b = 2", Dialect::V4).unwrap().ignored(), Some((1, 7)));
    assert_eq!(compile("a = 1 /* b */ ", Dialect::V4).unwrap().ignored(), None);
}

/// Whatever is nested or repeated without end is refused, or compiled and evaluated without
/// overflowing the stack.
#[test]
fn limits() {
    let refused = |text: String, expected: &str| {
        let error = compile(&text, Dialect::V5).unwrap_err().to_string();
        assert!(error.contains(expected), "{text:.20}: {error}");
    };
    let accepted = |text: String| {
        let expression = compile(&text, Dialect::V5).unwrap();
        let _ = expression.evaluate("a\u{1}1");
    };
    for opening in ["(", "- ", "+", "NOT ", "((- NOT "] {
        refused(opening.repeat(MAX_TEXT_BYTES / 10), "nested too deep");
    }
    accepted(format!("{}a{}", "(".repeat(MAX_DEPTH - 1), ")".repeat(MAX_DEPTH - 1)));
    refused(format!("{}a{}", "(".repeat(MAX_DEPTH), ")".repeat(MAX_DEPTH)), "nested too deep");
    refused(format!("a{}", " IS NULL".repeat(MAX_DEPTH)), "nested too deep");
    accepted(format!("a{}", " IS NULL".repeat(MAX_DEPTH - 1)));
    refused(format!("a{}", "=1".repeat(MAX_DEPTH)), "nested too deep");
    accepted(format!("a = 2{}", " or b = 1 and c = 2".repeat(3_000)));
    accepted(format!("a in ('x'{})", ",'y'".repeat(MAX_IN_ITEMS - 1)));
    refused(format!("a in ('x'{})", ",'y'".repeat(MAX_IN_ITEMS)), "too many texts");
    refused(format!("a = '{}'", "x".repeat(MAX_TEXT_BYTES)), "too long");
}

/// Many different properties are found as few are.
#[test]
fn many_properties() {
    let names = 0..2_000;
    let text: Vec<_> = names.clone().rev().map(|n| format!("p{n} = {n}")).collect();
    let expression = compile(&text.join(" and "), Dialect::V4).unwrap();
    let properties: Vec<_> = names.map(|n| format!("p{n}\u{1}{n}")).collect();
    assert!(expression.passes(&properties.join("\u{2}")));
    assert!(!expression.passes(&(properties.join("\u{2}") + "\u{2}p77\u{1}78")));
    assert!(!expression.passes(&properties[1..].join("\u{2}")));
    let few = compile("a = 1 and ab = 2", Dialect::V4).unwrap();
    assert!(few.passes("a\u{1}2\u{2}ab\u{1}2\u{2}a\u{1}1\u{2}a\u{1}\u{2}"), "the last value wins");
    assert!(!few.passes("a\u{1}1\u{2}ab\u{1}2\u{2}a\u{1}1\u{1}"), "the value is 1 and a separator");
}

/// Texts of legal pieces in any order: no panic, and what compiles evaluates the same both ways.
#[test]
fn any_text() {
    const PIECES: [&str; 34] = [
        "a",
        "b",
        "$c_1",
        "1",
        "0",
        "5L",
        "9223372036854775807",
        "0.1",
        ".5e3",
        "'x'",
        "'it''s'",
        "''",
        "TRUE",
        "false",
        "NULL",
        "(",
        ")",
        "(",
        ")",
        "=",
        "<>",
        "<",
        ">=",
        "AND",
        "OR",
        "NOT",
        "IS",
        "BETWEEN",
        "IN",
        ",",
        "-",
        "+",
        "contains",
        "/* é */",
    ];
    let properties = [("a", "5"), ("b", "true"), ("$c_1", "x")];
    let mut state = 88_172_645_463_325_252_u64;
    let mut compiled = 0;
    for _ in 0..200_000 {
        let mut text = String::new();
        for _ in 0..state % 9 + 1 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push_str(PIECES[(state >> 20) as usize % PIECES.len()]);
            text.push(' ');
        }
        for dialect in [Dialect::V4, Dialect::V5] {
            compiled += usize::from(result(&text, dialect, &properties) != "E");
        }
    }
    assert!(compiled > 10_000, "{compiled}");
}
