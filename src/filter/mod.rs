//! SQL92 property filters: which messages a consumer wants, said as an expression over their
//! properties. Knows no broker: who registered which filter is `broker::consumer_filters`.
//!
//! # The language
//!
//! Loosest to tightest; all levels go from left to right.
//!
//! ```text
//! or         = and { "OR" and }
//! and        = equality { "AND" equality }
//! equality   = comparison { ( "=" | "<>" ) comparison | "IS" [ "NOT" ] "NULL" }
//! comparison = unary { ( ">" | ">=" | "<" | "<=" ) unary
//!                    | [ "NOT" ] "BETWEEN" unary "AND" unary
//!                    | [ "NOT" ] "IN" "(" string { "," string } ")"
//!                    | [ "NOT" ] ( "CONTAINS" | "STARTSWITH" | "ENDSWITH" ) string }
//! unary      = ( "+" | "-" | "NOT" ) unary | primary
//! primary    = string | integer | float | "TRUE" | "FALSE" | "NULL" | name | "(" or ")"
//! ```
//!
//! The last line of `comparison` is 5.x only ([`Dialect`]). `NOT` binds to what stands right behind
//! it: `NOT a = 5` is `(NOT a) = 5`. The result must be boolean.
//!
//! **The end is not checked**: reading stops at the first token that cannot go on, and only that one
//! token must be legal. `a = 1 b = 2` is `a = 1`, and `a LIKE 'x%'` is the bare property `a`, which
//! no message passes. Java's clients and brokers live with that, so it is an error only for those
//! who ask: [`Expression::ignored`] tells where the text that was not read begins.
//!
//! # Values
//!
//! A property is text, or nothing if the message does not have it. Whether it is read as a number is
//! decided by what it is compared with:
//!
//! | compared with | text is read as | if it is not one |
//! |---|---|---|
//! | `5` | 32-bit integer | the evaluation fails |
//! | `5000000000` | 64-bit integer | the evaluation fails |
//! | `5.0` | double | the evaluation fails |
//! | `'5'`, `=` or `<>` | text | – |
//! | another property, `<` or `>` | double, both | the evaluation fails |
//! | `TRUE` | `true` in any case, or false | – |
//!
//! So `a = 5` *fails* for `a=5.0`, and a failure spoils the whole expression, unless `AND` or `OR`
//! did not need that side at all.
//!
//! # Three values
//!
//! What is compared with a missing property is neither true nor false but *unknown*, and only true
//! passes. `AND` is false if a side is false, else unknown if a side is unknown; `OR` is true if a
//! side is true, else unknown if a side is unknown; `NOT` unknown is unknown. Hence neither `a = 5`
//! nor `NOT (a = 5)` passes a message without `a`. One asymmetry is Java's and kept: `5 = a` is
//! *false* without `a`, and so `5 <> a` is true.
//!
//! # Limits
//!
//! Expressions come from outside: their length, nesting and lists are bounded
//! ([`MAX_TEXT_BYTES`], [`MAX_DEPTH`], [`MAX_IN_ITEMS`]), and evaluating one takes time linear in
//! expression and properties.
//!
//! # Bloom filters
//!
//! A broker can note for every message which consumers' expressions it passes, as bits of a
//! [`BloomFilter`], and then skip messages without reading them.
//!
//! Reading order: [`lexer`], [`parser`], [`expression`], [`number`], [`cache`], [`bloom`].

pub mod bloom;
pub mod cache;
pub mod expression;
pub mod lexer;
pub mod number;
pub mod parser;

pub use bloom::BloomFilter;
pub use cache::CompileCache;
pub use expression::{EvaluationError, Expression};
pub use parser::{MAX_DEPTH, MAX_IN_ITEMS, MAX_TEXT_BYTES, compile};

/// The one expression type besides tags that RocketMQ knows.
pub const SQL92: &str = "SQL92";

/// Whose words are keywords.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// 4.9: the words below are names, so `a CONTAINS 'x'` is the property `a` and ignored text.
    #[default]
    V4,
    /// 5.x: CONTAINS, STARTSWITH and ENDSWITH are operators.
    V5,
}

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// What is wrong there, and what would be right.
    pub what: String,
}

impl FilterError {
    /// The error at a byte of a text.
    pub(crate) fn at(text: &str, at: usize, what: impl Into<String>) -> Self {
        let (line, column) = position(text, at);
        Self { line, column, what: what.into() }
    }
}

impl std::fmt::Display for FilterError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}, column {}: {}", self.line, self.column, self.what)
    }
}

impl std::error::Error for FilterError {}

/// Line and column of a byte, both from 1; columns are characters.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line, before[line_start..].chars().count() + 1)
}
