//! [`Call`]: one run of a command. Its options with their types, the servers that it talks to, and
//! where it prints.

use std::io::Write;
use std::str::FromStr;

use super::print::Printer;
use super::{ToolError, ToolResult};
use crate::client::admin::{AdminClient, addresses_of_cluster};
use crate::common::command_line::Arguments;
use crate::common::config::PropertyFile;
use crate::common::os::LocalTime;

/// One run of a command.
pub struct Call<'a> {
    arguments: Arguments,
    /// The servers.
    pub admin: AdminClient,
    /// The output.
    pub out: Printer<'a>,
    err: &'a mut dyn Write,
    warnings: usize,
}

impl<'a> Call<'a> {
    /// The name servers are those of `-n`, else of `NAMESRV_ADDR`.
    pub fn new(arguments: Arguments, out: Printer<'a>, err: &'a mut dyn Write) -> Self {
        let list = match arguments.value("namesrvAddr") {
            Some(list) => list.to_owned(),
            None => std::env::var("NAMESRV_ADDR").unwrap_or_default(),
        };
        let admin = AdminClient::new(list);
        Self { arguments, admin, out, err, warnings: 0 }
    }

    /// Says on stderr that a part failed; the others go on, and the exit code will tell.
    pub fn warn(&mut self, what: &str, error: &dyn std::error::Error) {
        self.warnings += 1;
        let _ = writeln!(self.err, "{what}: {error}");
    }

    /// Says something on stderr that is no failure of the command.
    pub fn note(&mut self, what: impl std::fmt::Display) {
        let _ = writeln!(self.err, "{what}");
    }

    /// How many parts failed.
    pub fn warnings(&self) -> usize {
        self.warnings
    }

    /// Runs a part that may fail without ending the whole.
    pub fn attempt<T>(
        &mut self,
        what: &str,
        part: impl FnOnce(&AdminClient) -> Result<T, crate::client::ClientError>,
    ) -> Option<T> {
        match part(&self.admin) {
            Ok(value) => Some(value),
            Err(error) => {
                self.warn(what, &ToolError::Client(error));
                None
            }
        }
    }

    /// Whether an option was given.
    pub fn has(&self, long: &str) -> bool {
        self.arguments.has(long)
    }

    /// A text, without blanks around it; `None` if it was not given or is blank.
    pub fn text(&self, long: &str) -> Option<String> {
        let value = self.arguments.value(long)?.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    /// A value exactly as it was given.
    pub fn raw(&self, long: &str) -> Option<&str> {
        self.arguments.value(long)
    }

    /// All values of an option that may be repeated.
    pub fn all(&self, long: &str) -> Vec<String> {
        self.arguments.values(long).map(str::to_owned).collect()
    }

    /// A text that must not be blank.
    pub fn required(&self, long: &str) -> Result<String, ToolError> {
        self.text(long).ok_or_else(|| ToolError::Usage(format!("--{long} is blank")))
    }

    /// A number, or `default` if it was not given.
    pub fn number<T: FromStr>(&self, long: &str, default: T) -> Result<T, ToolError> {
        Ok(self.optional_number(long)?.unwrap_or(default))
    }

    /// A number, if it was given.
    pub fn optional_number<T: FromStr>(&self, long: &str) -> Result<Option<T>, ToolError> {
        let Some(text) = self.text(long) else { return Ok(None) };
        match text.parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(ToolError::Usage(format!("--{long} is \"{text}\", expected a number"))),
        }
    }

    /// `true` in any case is true, anything else false.
    pub fn truth(&self, long: &str, default: bool) -> bool {
        self.text(long).map_or(default, |text| text.eq_ignore_ascii_case("true"))
    }

    /// A time: ms, `now`, or `yyyy-MM-dd#HH:mm:ss:SSS` in local time.
    pub fn time(&self, long: &str) -> Result<Option<i64>, ToolError> {
        let Some(text) = self.text(long) else { return Ok(None) };
        match parse_time(&text) {
            Some(time) => Ok(Some(time)),
            None => Err(ToolError::Usage(format!(
                "--{long} is \"{text}\", expected ms since 1970, now, or yyyy-MM-dd#HH:mm:ss:SSS"
            ))),
        }
    }

    /// The broker of `-b`, or all (or only the masters) of the cluster of `-c`.
    pub fn brokers(&self, masters_only: bool) -> Result<Vec<String>, ToolError> {
        if let Some(addr) = self.text("brokerAddr") {
            return Ok(vec![addr]);
        }
        let Some(cluster) = self.text("clusterName") else {
            return Err(ToolError::Usage("give one of -b, -c".to_owned()));
        };
        let info = self.admin.cluster_info()?;
        Ok(addresses_of_cluster(&info, &cluster, masters_only)?)
    }

    /// The name servers, of which there must be one.
    pub fn name_servers(&self) -> Result<Vec<String>, ToolError> {
        match self.admin.name_servers() {
            [] => Err(crate::client::ClientError::NoNameServer.into()),
            addrs => Ok(addrs.to_vec()),
        }
    }

    /// Prints property lines as a table of keys and values.
    pub fn print_properties(&mut self, addr: &str, lines: &str) -> ToolResult {
        for entry in PropertyFile::parse(lines).entries {
            if self.out.is_json() {
                let text = |value: &str| crate::common::json::Json::Text(value.to_owned());
                self.out.object([
                    ("addr", text(addr)),
                    ("key", text(&entry.key)),
                    ("value", text(&entry.value)),
                ])?;
            } else {
                self.out.decorate(format_args!("{:50}=  {}", entry.key, entry.value))?;
            }
        }
        Ok(())
    }
}

fn parse_time(text: &str) -> Option<i64> {
    if text.eq_ignore_ascii_case("now") {
        return Some(crate::common::clock::now_ms());
    }
    if let Ok(ms) = text.parse() {
        return Some(ms);
    }
    let (date, time) = text.split_once('#')?;
    let fields: Vec<u32> = date
        .split('-')
        .chain(time.split(':'))
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    let [year, month, day, hour, minute, second, rest @ ..] = fields.as_slice() else {
        return None;
    };
    let millisecond = match rest {
        [] => 0,
        [millisecond] => *millisecond,
        _ => return None,
    };
    let time = LocalTime {
        year: i32::try_from(*year).ok()?,
        month: *month,
        day: *day,
        hour: *hour,
        minute: *minute,
        second: *second,
        millisecond,
    };
    Some(time.to_epoch_ms())
}

/// `2023-11-15 06:13:20,000`, local time.
pub fn time_with_ms(epoch_ms: i64) -> String {
    LocalTime::from_epoch_ms(epoch_ms).to_string()
}

/// `2023-11-15 06:13:20`, local time.
pub fn time_in_seconds(epoch_ms: i64) -> String {
    let mut text = time_with_ms(epoch_ms);
    if let Some(at) = text.find(',') {
        text.truncate(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_back() {
        let ms = 1_700_000_000_123;
        let text = time_with_ms(ms).replace(' ', "#").replace(',', ":");
        assert_eq!(parse_time(&text), Some(ms), "{text}");
        assert_eq!(parse_time("1700000000123"), Some(ms));
        assert_eq!(parse_time(&time_in_seconds(ms).replace(' ', "#")), Some(ms - 123));
        assert_eq!(parse_time("2023-11-15"), None);
        assert_eq!(parse_time("tomorrow"), None);
    }
}
