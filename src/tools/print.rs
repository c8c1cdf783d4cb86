//! [`Printer`]: the output of a command, as Java's tool prints it or as JSON lines.
//!
//! A command says what it has to say once; which of the two forms it takes is decided here.

use std::fmt::Display;
use std::io::{self, Write};

use crate::common::json::{Json, Style};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    key: &'static str,
    width: usize,
    gap: usize,
    right: bool,
    cut: bool,
    number: bool,
}

impl Column {
    /// Left-justified in at least `width` characters, two blanks after it. `key` is its name in
    /// JSON.
    pub const fn left(title: &'static str, key: &'static str, width: usize) -> Self {
        Self { title, key, width, gap: 2, right: false, cut: false, number: false }
    }

    /// The same, right-justified.
    pub const fn right(title: &'static str, key: &'static str, width: usize) -> Self {
        Self { right: true, ..Self::left(title, key, width) }
    }

    /// Blanks after it.
    pub const fn gap(self, gap: usize) -> Self {
        Self { gap, ..self }
    }

    /// Values longer than its width are cut.
    pub const fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// Its values are numbers in JSON.
    pub const fn number(self) -> Self {
        Self { number: true, ..self }
    }

    fn text(&self, value: &str) -> String {
        let kept: String =
            if self.cut { value.chars().take(self.width).collect() } else { value.to_owned() };
        let (width, gap) = (self.width, self.gap);
        if self.right {
            format!("{kept:>width$}{:gap$}", "")
        } else {
            format!("{kept:width$}{:gap$}", "")
        }
    }

    fn json(&self, value: &str) -> Json {
        if !self.number {
            return Json::Text(value.to_owned());
        }
        match (value.parse(), value.parse()) {
            (Ok(number), _) => Json::Int(number),
            (_, Ok(number)) => Json::Float(number),
            _ => Json::Null,
        }
    }
}

/// Where a command prints.
pub struct Printer<'a> {
    out: &'a mut dyn Write,
    json: bool,
}

impl<'a> Printer<'a> {
    /// Prints to `out`, as JSON lines or as text.
    pub fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self { out, json }
    }

    /// Whether JSON was asked for.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// A sentence; in JSON `{"message":…}`.
    pub fn say(&mut self, text: impl Display) -> io::Result<()> {
        if self.json {
            return self.object([("message", Json::Text(text.to_string()))]);
        }
        writeln!(self.out, "{text}")
    }

    /// A line that only people want: a header, a separator, a sum. Nothing in JSON.
    pub fn decorate(&mut self, text: impl Display) -> io::Result<()> {
        if self.json { Ok(()) } else { writeln!(self.out, "{text}") }
    }

    /// The titles of a table.
    pub fn header(&mut self, columns: &[Column]) -> io::Result<()> {
        let titles: String = columns.iter().map(|column| column.text(column.title)).collect();
        self.decorate(titles.trim_end())
    }

    /// A row of a table; in JSON an object.
    pub fn row(&mut self, columns: &[Column], cells: &[&dyn Display]) -> io::Result<()> {
        debug_assert_eq!(columns.len(), cells.len());
        let cells = columns.iter().zip(cells).map(|(column, cell)| (column, cell.to_string()));
        if self.json {
            return self.object(cells.map(|(column, cell)| (column.key, column.json(&cell))));
        }
        let line: String = cells.map(|(column, cell)| column.text(&cell)).collect();
        writeln!(self.out, "{}", line.trim_end())
    }

    /// A value: an indented text, or one line of JSON.
    pub fn value(&mut self, value: &Json) -> io::Result<()> {
        let style = if self.json { Style::Standard } else { Style::Pretty };
        writeln!(self.out, "{}", value.write(style))
    }

    /// A value on one line, as text too.
    pub fn line(&mut self, value: &Json) -> io::Result<()> {
        writeln!(self.out, "{}", value.write(Style::Standard))
    }

    /// An object on a line; only meant for JSON.
    pub fn object(
        &mut self,
        members: impl IntoIterator<Item = (&'static str, Json)>,
    ) -> io::Result<()> {
        writeln!(self.out, "{}", Json::object(members).write(Style::Standard))
    }

    /// Bytes as they are, and a line end.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.out.write_all(b"\n")
    }

    /// What was printed goes out now.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::left("#Topic", "topic", 8).cut(),
        Column::right("#QID", "queueId", 5).gap(1).number(),
        Column::left("#Last", "last", 0).gap(0),
    ];

    fn printed(json: bool) -> String {
        let mut out = Vec::new();
        let mut printer = Printer::new(&mut out, json);
        printer.header(&COLUMNS).unwrap();
        printer.row(&COLUMNS, &[&"a-long-topic", &3, &"x"]).unwrap();
        printer.row(&COLUMNS, &[&"12", &4, &""]).unwrap();
        printer.say("done").unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_table_as_text() {
        assert_eq!(
            printed(false),
            "#Topic     #QID #Last\na-long-t      3 x\n12            4\ndone\n"
        );
    }

    #[test]
    fn a_table_as_json_lines() {
        let expected = r#"{"topic":"a-long-topic","queueId":3,"last":"x"}
{"topic":"12","queueId":4,"last":""}
{"message":"done"}
"#;
        assert_eq!(printed(true), expected);
    }
}
