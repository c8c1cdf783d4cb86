//! [`Lexer`]: the tokens of an expression, one at a time. What they mean together is
//! [`parser`](super::parser)'s business, also whether a number is in range.

use super::{Dialect, FilterError};

/// A token, borrowed from the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token<'a> {
    /// `0`, or digits that do not begin with it; without the suffix `L`.
    Integer(&'a str),
    /// Digits with a point, an exponent or both.
    Float(&'a str),
    /// What stands between the quotes; quotes inside are still doubled.
    Text(&'a str),
    /// A property.
    Name(&'a str),
    /// A word that is no name.
    Keyword(Keyword),
    /// One of `= <> > >= < <= ( ) , + -`.
    Sign(&'static str),
    /// The text is over.
    End,
}

/// The words that are no names, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// NOT.
    Not,
    /// AND.
    And,
    /// OR.
    Or,
    /// BETWEEN.
    Between,
    /// IN.
    In,
    /// TRUE.
    True,
    /// FALSE.
    False,
    /// NULL.
    Null,
    /// IS.
    Is,
    /// CONTAINS, 5.x.
    Contains,
    /// STARTSWITH, 5.x.
    StartsWith,
    /// ENDSWITH, 5.x.
    EndsWith,
}

const KEYWORDS: [(&str, Keyword); 9] = [
    ("NOT", Keyword::Not),
    ("AND", Keyword::And),
    ("OR", Keyword::Or),
    ("BETWEEN", Keyword::Between),
    ("IN", Keyword::In),
    ("TRUE", Keyword::True),
    ("FALSE", Keyword::False),
    ("NULL", Keyword::Null),
    ("IS", Keyword::Is),
];

const KEYWORDS_OF_V5: [(&str, Keyword); 3] = [
    ("CONTAINS", Keyword::Contains),
    ("STARTSWITH", Keyword::StartsWith),
    ("ENDSWITH", Keyword::EndsWith),
];

/// Longer ones before their beginnings.
const SIGNS: [&str; 11] = ["<>", ">=", "<=", "=", ">", "<", "(", ")", ",", "+", "-"];

/// Reads tokens, each the longest that stands there.
///
/// Between tokens may stand blanks, `/* … */`, and `-- …` up to the end of its line. A `--` in the
/// last line, which has no end, is two minus signs instead: so Java reads it.
#[derive(Debug)]
pub struct Lexer<'a> {
    text: &'a str,
    at: usize,
    dialect: Dialect,
}

impl<'a> Lexer<'a> {
    /// At the beginning of `text`.
    pub fn new(text: &'a str, dialect: Dialect) -> Self {
        Self { text, at: 0, dialect }
    }

    /// The next token and the byte at which it begins; [`Token::End`] for ever at the end.
    pub fn next_token(&mut self) -> Result<(Token<'a>, usize), FilterError> {
        self.skip_blanks();
        let start = self.at;
        let rest = &self.text[start..];
        let token = match rest.bytes().next() {
            None => Token::End,
            Some(b'\'') => self.string(start)?,
            Some(byte) if is_name_start(byte) => self.word(rest),
            Some(byte) if byte.is_ascii_digit() => self.number(rest),
            Some(b'.') if rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
                self.number(rest)
            }
            Some(_) => match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
                Some(sign) => {
                    self.at += sign.len();
                    Token::Sign(sign)
                }
                None => return Err(self.illegal(rest, start)),
            },
        };
        Ok((token, start))
    }

    fn illegal(&self, rest: &str, at: usize) -> FilterError {
        let found = rest.chars().next().unwrap_or_default();
        let what = match found {
            '/' if rest.starts_with("/*") => "this comment has no end, expected */".to_owned(),
            '"' => "a text stands between single quotes, 'like this'".to_owned(),
            '!' => "there is no ! here; \"not equal\" is <>".to_owned(),
            _ => format!("{found:?} is no part of an expression"),
        };
        FilterError::at(self.text, at, what)
    }

    fn skip_blanks(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let blanks = rest.bytes().take_while(|byte| b" \t\n\r\x0c".contains(byte)).count();
            let rest = &rest[blanks..];
            self.at += blanks;
            let comment = if rest.starts_with("--") {
                rest.find(['\n', '\r']).map(|end| end + 1)
            } else if let Some(inside) = rest.strip_prefix("/*") {
                inside.find("*/").map(|end| end + 4)
            } else {
                None
            };
            match comment {
                Some(bytes) => self.at += bytes,
                None => return,
            }
        }
    }

    fn string(&mut self, start: usize) -> Result<Token<'a>, FilterError> {
        let inner = start + 1;
        let mut at = inner;
        while let Some(quote) = self.text[at..].find('\'') {
            at += quote + 1;
            if !self.text[at..].starts_with('\'') {
                self.at = at;
                return Ok(Token::Text(&self.text[inner..at - 1]));
            }
            at += 1;
        }
        Err(FilterError::at(self.text, start, "this text has no closing quote"))
    }

    fn word(&mut self, rest: &'a str) -> Token<'a> {
        let length = rest.bytes().take_while(|byte| is_name_part(*byte)).count();
        self.at += length;
        let word = &rest[..length];
        let more: &[_] = if self.dialect == Dialect::V5 { &KEYWORDS_OF_V5 } else { &[] };
        let keyword = KEYWORDS.iter().chain(more).find(|(name, _)| name.eq_ignore_ascii_case(word));
        keyword.map_or(Token::Name(word), |(_, keyword)| Token::Keyword(*keyword))
    }

    fn number(&mut self, rest: &'a str) -> Token<'a> {
        let float = float_length(rest.as_bytes());
        let whole = match rest.as_bytes() {
            // A leading zero is a number by itself: 007 is 0, and 07 behind it.
            [b'0', ..] => 1,
            bytes => digits(bytes),
        };
        if float > whole {
            self.at += float;
            return Token::Float(&rest[..float]);
        }
        let suffix = rest.as_bytes().get(whole).is_some_and(|byte| b"lL".contains(byte));
        self.at += whole + usize::from(suffix);
        Token::Integer(&rest[..whole])
    }
}

fn is_name_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte == b'$'
}

fn is_name_part(byte: u8) -> bool {
    is_name_start(byte) || byte.is_ascii_digit()
}

fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Bytes of the number with point or exponent at the start; 0 if there is none.
fn float_length(bytes: &[u8]) -> usize {
    let whole = digits(bytes);
    let mut length = whole;
    let mut is_float = false;
    if bytes.get(length) == Some(&b'.') {
        let fraction = digits(&bytes[length + 1..]);
        if whole + fraction > 0 {
            length += 1 + fraction;
            is_float = true;
        }
    }
    if let Some(b'e' | b'E') = bytes.get(length) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits(&bytes[(length + 1 + sign).min(bytes.len())..]);
        if length > 0 && exponent > 0 {
            length += 1 + sign + exponent;
            is_float = true;
        }
    }
    if is_float { length } else { 0 }
}

impl std::fmt::Display for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Integer(text) | Self::Float(text) | Self::Name(text) => write!(f, "{text:.60}"),
            Self::Text(text) => write!(f, "'{text:.60}'"),
            Self::Keyword(keyword) => {
                let all = KEYWORDS.iter().chain(&KEYWORDS_OF_V5);
                f.write_str(all.clone().find(|(_, known)| known == keyword).map_or("", |k| k.0))
            }
            Self::Sign(sign) => f.write_str(sign),
            Self::End => f.write_str("the end"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str) -> String {
        let mut lexer = Lexer::new(text, Dialect::V4);
        let mut out = Vec::new();
        loop {
            match lexer.next_token() {
                Ok((Token::End, _)) => return out.join(" "),
                Ok((token, at)) => out.push(format!("{at}:{token}")),
                Err(error) => {
                    out.push(format!("! {error}"));
                    return out.join(" ");
                }
            }
        }
    }

    #[test]
    fn the_longest_token_is_taken() {
        for (text, expected) in [
            ("a<>b<=c<d==1", "0:a 1:<> 3:b 4:<= 6:c 7:< 8:d 9:= 10:= 11:1"),
            ("007 0L 12l 1_0", "0:0 1:0 2:7 4:0 7:12 11:1 12:_0"),
            (
                "5. .5 5.e1 1e 1e+ 00.5 1..5",
                "0:5. 3:.5 6:5.e1 11:1 12:e 14:1 15:e 16:+ 18:00.5 23:1. 25:.5",
            ),
            ("nOt iS $a_1 contains", "0:NOT 4:IS 7:$a_1 12:contains"),
            ("'it''s' ''", "0:'it''s' 8:''"),
            ("a -- x\nb /* y **/ c -- z", "0:a 7:b 18:c 20:- 21:- 23:z"),
            ("a 'x", "0:a ! line 1, column 3: this text has no closing quote"),
            ("é", "! line 1, column 1: 'é' is no part of an expression"),
            ("a\n  .b", "0:a ! line 2, column 3: '.' is no part of an expression"),
            ("'é' /* x", "0:'é' ! line 1, column 5: this comment has no end, expected */"),
        ] {
            assert_eq!(tokens(text), expected, "{text}");
        }
    }
}
