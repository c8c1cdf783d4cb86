//! `mqadmin`: the sub-commands of RocketMQ's operator tool, with its names, options and columns.
//!
//! A command is a [`SubCommand`]: a name, its options, and one function that asks an
//! [`AdminClient`](crate::client::admin::AdminClient) and prints to a [`Printer`].
//! They are grouped in files by what they are about: [`topic`], [`group`], [`consumer_status`],
//! [`offset`], [`broker`], [`name_server`], [`cluster`], [`stats`], [`monitor`], [`message`], [`trace`],
//! [`produce`], [`consume`] (with [`exec`]), [`export`]. What they share is in
//! [`call`] (options, name servers, times) and [`mod@print`] (tables, as text or as JSON lines).
//!
//! For scripts, beyond Java's tool: `--json` prints every row as a JSON object on a line of its
//! own; and the exit code tells what happened (Java's tool exits with 0 whatever did):
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; also when the reader of a pipe closed it early |
//! | 1 | a failure, said on stderr |
//! | 2 | a wrong command line; the usage is on stderr |
//! | 3 | `consumeMessage --count`: fewer messages came |
//! | 130, 143 | ended by Ctrl-C, by SIGTERM: what was finished is committed |

pub mod broker;
pub mod call;
pub mod cluster;
pub mod consume;
pub mod consumer_status;
pub mod exec;
pub mod export;
pub mod group;
pub mod ha;
pub mod message;
pub mod monitor;
pub mod name_server;
pub mod offset;
pub mod print;
pub mod produce;
pub mod stats;
pub mod topic;
pub mod trace;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};

use crate::client::ClientError;
use crate::common::command_line::{Arguments, OptionSpec, usage};
use call::Call;
use print::Printer;

/// Exit code: done.
pub const EXIT_OK: i32 = 0;
/// Exit code: it failed; the reason is on stderr.
pub const EXIT_FAILED: i32 = 1;
/// Exit code: the command line is wrong; the usage is on stderr.
pub const EXIT_USAGE: i32 = 2;
/// Exit code: fewer messages came than were asked for.
pub const EXIT_FEWER: i32 = 3;

/// Why a command ends without success.
#[derive(Debug)]
pub enum ToolError {
    /// The command line is wrong; the sentence says how.
    Usage(String),
    /// A server refused, did not answer, or is not known.
    Client(ClientError),
    /// Anything else, as a sentence.
    Failed(String),
    /// The output cannot be written.
    Output(io::Error),
    /// Fewer messages came than were asked for: so many.
    Fewer(i64),
    /// A signal came; this is the exit code that names it.
    Stopped(i32),
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(ClientError::Broker { code, remark, addr }) => {
                write!(f, "CODE: {code}  DESC: {remark} BROKER: {addr}")
            }
            Self::Client(ClientError::NoNameServer) => f.write_str(
                "no name server is known: give its address with -n host:port, or in NAMESRV_ADDR",
            ),
            Self::Client(error) => error.fmt(f),
            Self::Usage(text) | Self::Failed(text) => f.write_str(text),
            Self::Output(error) => write!(f, "the output cannot be written: {error}"),
            Self::Fewer(count) => write!(f, "only {count} messages came"),
            Self::Stopped(_) => f.write_str("stopped by a signal"),
        }
    }
}

impl std::error::Error for ToolError {}

impl From<ClientError> for ToolError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl From<io::Error> for ToolError {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The outcome of a command.
pub type ToolResult = Result<(), ToolError>;

/// Whether an option must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Optional,
    Required,
    /// Exactly one of those marked so.
    OneOf,
}

/// An option of a sub-command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToolOption {
    spec: OptionSpec,
    need: Need,
}

const fn option(
    short: char,
    long: &'static str,
    value: Option<&'static str>,
    need: Need,
    what: &'static str,
) -> ToolOption {
    ToolOption { spec: OptionSpec { short, long, value, what }, need }
}

/// An option that may be left out.
const fn optional(short: char, long: &'static str, what: &'static str) -> ToolOption {
    option(short, long, Some("arg"), Need::Optional, what)
}

/// An option that must be given.
const fn required(short: char, long: &'static str, what: &'static str) -> ToolOption {
    option(short, long, Some("arg"), Need::Required, what)
}

/// Of all options made with this, exactly one must be given.
const fn one_of(short: char, long: &'static str, what: &'static str) -> ToolOption {
    option(short, long, Some("arg"), Need::OneOf, what)
}

/// An option without a value.
const fn flag(short: char, long: &'static str, what: &'static str) -> ToolOption {
    option(short, long, None, Need::Optional, what)
}

/// Options of every command.
const COMMON_OPTIONS: [ToolOption; 3] = [
    flag('h', "help", "Print help"),
    optional('n', "namesrvAddr", "Name server address list, eg: 192.168.0.1:9876;192.168.0.2:9876"),
    flag('J', "json", "Print JSON, one object a line"),
];

/// A command of `mqadmin`.
#[derive(Debug)]
pub struct SubCommand {
    /// Name; matched without regard to case.
    pub name: &'static str,
    /// What it does, in a few words.
    pub purpose: &'static str,
    /// Its own options.
    pub options: &'static [ToolOption],
    /// Runs it.
    pub run: fn(&mut Call<'_>) -> ToolResult,
}

/// All commands, grouped as in Java's listing.
fn commands() -> impl Iterator<Item = &'static SubCommand> {
    [
        topic::COMMANDS,
        group::COMMANDS,
        consumer_status::COMMANDS,
        offset::COMMANDS,
        broker::COMMANDS,
        name_server::COMMANDS,
        cluster::COMMANDS,
        ha::COMMANDS,
        stats::COMMANDS,
        message::COMMANDS,
        monitor::COMMANDS,
        trace::COMMANDS,
        produce::COMMANDS,
        consume::COMMANDS,
        export::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

impl SubCommand {
    fn find(name: &str) -> Option<&'static SubCommand> {
        commands().find(|command| command.name.eq_ignore_ascii_case(name))
    }

    /// Its own options and the common ones, sorted as Java's help sorts them. An option of its own
    /// takes the place of a common one.
    fn all_options(&self) -> Vec<ToolOption> {
        let common = COMMON_OPTIONS
            .iter()
            .filter(|common| !self.options.iter().any(|own| own.spec.short == common.spec.short));
        let mut options: Vec<_> = self.options.iter().chain(common).copied().collect();
        options.sort_by_key(|option| option.spec.short.to_ascii_lowercase());
        options
    }

    fn usage(&self) -> String {
        let options = self.all_options();
        let mut call = format!("mqadmin {}", self.name);
        let shown = |option: &ToolOption| match option.spec.value {
            Some(value) => format!("-{} <{value}>", option.spec.short),
            None => format!("-{}", option.spec.short),
        };
        let choice: Vec<_> =
            options.iter().filter(|option| option.need == Need::OneOf).map(shown).collect();
        if !choice.is_empty() {
            call.push_str(&format!(" {}", choice.join(" | ")));
        }
        for option in &options {
            match option.need {
                Need::Required => call.push_str(&format!(" {}", shown(option))),
                Need::Optional => call.push_str(&format!(" [{}]", shown(option))),
                Need::OneOf => {}
            }
        }
        let specs: Vec<_> = options.iter().map(|option| option.spec).collect();
        usage(&call, &specs)
    }

    /// Says what is missing or too much.
    fn check(&self, arguments: &Arguments) -> Result<(), String> {
        let given = |option: &&ToolOption| arguments.has(option.spec.long);
        let missing: Vec<_> = self
            .options
            .iter()
            .filter(|option| option.need == Need::Required && !given(option))
            .map(|option| format!("-{}", option.spec.short))
            .collect();
        if !missing.is_empty() {
            return Err(format!("missing required option: {}", missing.join(", ")));
        }
        let choice: Vec<_> =
            self.options.iter().filter(|option| option.need == Need::OneOf).collect();
        if !choice.is_empty() && choice.iter().copied().filter(given).count() != 1 {
            let names: Vec<_> =
                choice.iter().map(|option| format!("-{}", option.spec.short)).collect();
            return Err(format!("give exactly one of {}", names.join(", ")));
        }
        Ok(())
    }
}

/// Runs a command line (without the program's name). Returns the exit code.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> i32 {
    let mut args = args.into_iter();
    let name = args.next().map(|name| name.to_string_lossy().into_owned());
    let rest: Vec<OsString> = args.collect();
    let outcome = match name.as_deref() {
        None | Some("-h" | "--help") => list(out),
        Some("help") if rest.len() == 1 => help(&rest[0].to_string_lossy(), out),
        Some(name) => run_command(name, rest, out, err),
    };
    let outcome = outcome.and_then(|()| Ok(out.flush()?));
    match outcome {
        Ok(()) => EXIT_OK,
        Err(ToolError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => EXIT_OK,
        Err(error) => {
            let _ = out.flush();
            let _ = writeln!(err, "{error}");
            match error {
                ToolError::Usage(_) => EXIT_USAGE,
                ToolError::Fewer(_) => EXIT_FEWER,
                ToolError::Stopped(code) => code,
                _ => EXIT_FAILED,
            }
        }
    }
}

fn run_command(
    name: &str,
    args: Vec<OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> ToolResult {
    let command = SubCommand::find(name).ok_or_else(|| not_exist(name))?;
    let specs: Vec<_> = command.all_options().iter().map(|option| option.spec).collect();
    let arguments = Arguments::parse(&specs, args)
        .map_err(|problem| ToolError::Usage(format!("{problem}\n{}", command.usage())))?;
    if arguments.has("help") {
        write!(out, "{}", command.usage())?;
        return Ok(());
    }
    let wrong = |problem| ToolError::Usage(format!("{problem}\n{}", command.usage()));
    command.check(&arguments).map_err(wrong)?;
    let printer = Printer::new(out, arguments.has("json"));
    let mut call = Call::new(arguments, printer, err);
    let outcome = (command.run)(&mut call);
    call.admin.shutdown();
    outcome.map_err(|error| match error {
        ToolError::Usage(problem) => wrong(problem),
        other => other,
    })?;
    match call.warnings() {
        0 => Ok(()),
        count => Err(ToolError::Failed(format!("{name}: {count} of the calls failed"))),
    }
}

fn not_exist(name: &str) -> ToolError {
    ToolError::Usage(format!("The sub command {name} not exist."))
}

fn list(out: &mut dyn Write) -> ToolResult {
    writeln!(out, "The most commonly used mqadmin commands are:")?;
    for command in commands() {
        writeln!(out, "   {:20} {}", command.name, command.purpose)?;
    }
    writeln!(out, "\nSee 'mqadmin help <command>' for more information on a specific command.")?;
    Ok(())
}

fn help(name: &str, out: &mut dyn Write) -> ToolResult {
    let command = SubCommand::find(name).ok_or_else(|| not_exist(name))?;
    write!(out, "{}", command.usage())?;
    Ok(())
}
