//! What the four mains share: options in all forms that Java's tools take, `key=value` words,
//! configuration files, the log, and stopping on a signal.
//!
//! What each program's options are is in its own main.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use super::config::{ConfigError, DynConfig, Entry, PropertyFile, apply_entries};
use super::logging::{self, LogConfig};

/// Exit code of wrong options.
pub const EXIT_USAGE: i32 = 1;
/// Exit code of a failed start; a shell shows 255.
pub const EXIT_FAILED: i32 = -1;

/// Size at which a log file is rotated.
const LOG_FILE_BYTES: u64 = 100 * 1024 * 1024;
/// Rotated log files kept.
const LOG_FILES: usize = 5;

/// An option of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// `-x`.
    pub short: char,
    /// `--word`.
    pub long: &'static str,
    /// Name of its value; an option without one is a flag.
    pub value: Option<&'static str>,
    /// What it is for.
    pub what: &'static str,
}

/// Options and words of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Long names of options that were given, with their values, in order.
    options: Vec<(&'static str, String)>,
    /// What is not an option.
    pub words: Vec<String>,
}

impl Arguments {
    /// Reads `args` (without the program's name).
    ///
    /// `-x V`, `-xV`, `--long V`, `--long=V` and `-long V` are the same; flags may be bundled before
    /// an option (`-ltX`). One leading and one trailing double quote of a value are dropped. The
    /// error is a sentence for the user.
    pub fn parse(
        specs: &[OptionSpec],
        args: impl IntoIterator<Item = OsString>,
    ) -> Result<Self, String> {
        let mut options = getopts::Options::new();
        for spec in specs {
            let short = spec.short.to_string();
            match spec.value {
                Some(value) => options.optmulti(&short, spec.long, spec.what, value),
                None => options.optflagmulti(&short, spec.long, spec.what),
            };
        }
        let args = args.into_iter().map(|arg| with_two_dashes(specs, arg));
        let matches = options.parse(args).map_err(|problem| problem.to_string())?;
        let mut given = Vec::new();
        for spec in specs {
            if spec.value.is_some() {
                let values = matches.opt_strs(spec.long);
                given.extend(values.iter().map(|value| (spec.long, unquoted(value).to_owned())));
            } else if matches.opt_present(spec.long) {
                given.push((spec.long, String::new()));
            }
        }
        Ok(Self { options: given, words: matches.free })
    }

    /// The value of an option, by its long name; the first if it was given several times.
    pub fn value(&self, long: &str) -> Option<&str> {
        self.values(long).next()
    }

    /// All values of an option.
    pub fn values(&self, long: &str) -> impl Iterator<Item = &str> {
        self.options.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// Whether an option was given.
    pub fn has(&self, long: &str) -> bool {
        self.value(long).is_some()
    }

    /// The words of the form `key=value`, which override what a file says. Other words are ignored,
    /// as Java's programs do.
    pub fn settings(&self) -> Vec<Entry> {
        let pairs = self.words.iter().filter_map(|word| word.split_once('='));
        pairs
            .map(|(key, value)| Entry { key: key.to_owned(), value: value.to_owned(), line: 0 })
            .collect()
    }
}

/// `-topic` is `--topic`: commons-cli takes both.
fn with_two_dashes(specs: &[OptionSpec], arg: OsString) -> OsString {
    let is_long = arg.to_str().and_then(|text| text.strip_prefix('-')).is_some_and(|name| {
        let name = name.split('=').next().unwrap_or(name);
        name.len() > 1 && specs.iter().any(|spec| spec.long == name)
    });
    if !is_long {
        return arg;
    }
    let mut long = OsString::from("-");
    long.push(arg);
    long
}

fn unquoted(value: &str) -> &str {
    let value = value.strip_prefix('"').unwrap_or(value);
    value.strip_suffix('"').unwrap_or(value)
}

/// The usage text: the call, then one line for each option.
pub fn usage(call: &str, specs: &[OptionSpec]) -> String {
    let left = |spec: &OptionSpec| match spec.value {
        Some(value) => format!(" -{},--{} <{value}>", spec.short, spec.long),
        None => format!(" -{},--{}", spec.short, spec.long),
    };
    let width = specs.iter().map(|spec| left(spec).len()).max().unwrap_or(0);
    let mut text = format!("usage: {call}\n");
    for spec in specs {
        text.push_str(&format!("{:width$}   {}\n", left(spec), spec.what));
    }
    text
}

/// Sets what the file `-c` says, then what the words say. Unknown keys become warnings on stderr.
pub fn load_settings(
    file: Option<&str>,
    arguments: &Arguments,
    targets: &mut [&mut dyn DynConfig],
) -> Result<(), ConfigError> {
    let mut warnings = Vec::new();
    if let Some(file) = file {
        let entries = PropertyFile::load(Path::new(file))?.entries;
        warnings.extend(apply_entries(file, &entries, targets)?);
    }
    warnings.extend(apply_entries("command line", &arguments.settings(), targets)?);
    for warning in warnings {
        eprintln!("{warning}");
    }
    Ok(())
}

/// Where the programs are installed: `ROCKETMQ_HOME`, else the directory above the program's own
/// if there is a `conf` in it. (Java refuses to start without the variable.)
pub fn rocketmq_home() -> Option<PathBuf> {
    if let Some(home) = std::env::var_os("ROCKETMQ_HOME").filter(|home| !home.is_empty()) {
        return Some(home.into());
    }
    let program = std::env::current_exe().ok()?;
    let above = program.parent()?.parent()?;
    above.join("conf").is_dir().then(|| above.to_owned())
}

/// Starts logging into `~/logs/rocketmqlogs/<file>`; into stderr alone if that cannot be written.
pub fn start_logging(file: &str) {
    let config = |file| LogConfig {
        file,
        max_file_bytes: LOG_FILE_BYTES,
        keep_files: LOG_FILES,
        stderr: true,
    };
    let path = logging::default_directory().join(file);
    if let Err(error) = logging::init(config(Some(path.clone()))) {
        eprintln!("no log in {}: {error}", path.display());
        if let Err(error) = logging::init(config(None)) {
            eprintln!("no log at all: {error}");
        }
    }
}

/// Waits for SIGTERM, SIGINT or SIGHUP. The first one is for an orderly stop; another one, at any
/// time after it, ends the process at once.
#[derive(Debug)]
pub struct StopSignal {
    wakeup: UnixStream,
    received: Arc<AtomicUsize>,
}

impl StopSignal {
    /// Takes the signals over, from now on. Those that the process was started to ignore (by
    /// `nohup`, or in the background of a script) stay ignored.
    pub fn install() -> io::Result<Self> {
        let (wakeup, write_end) = UnixStream::pair()?;
        let received = Arc::new(AtomicUsize::new(0));
        let stopping = Arc::new(AtomicBool::new(false));
        let ignored = ignored_signals();
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            if ignored & (1 << (signal - 1)) != 0 {
                continue;
            }
            // In this order: the first signal finds the flag clear, passes, and sets it.
            flag::register_conditional_shutdown(signal, exit_code(signal), Arc::clone(&stopping))?;
            flag::register(signal, Arc::clone(&stopping))?;
            flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
            pipe::register(signal, write_end.try_clone()?)?;
        }
        Ok(Self { wakeup, received })
    }

    /// The exit code that names the signal that came, if one did. For who has something to finish
    /// first.
    pub fn received(&self) -> Option<i32> {
        let signal = self.received.load(Ordering::Relaxed) as i32;
        (signal != 0).then(|| exit_code(signal))
    }

    /// Blocks until a signal comes. Returns the exit code that names it: 143 for SIGTERM, 130 for
    /// SIGINT.
    pub fn wait(mut self) -> i32 {
        loop {
            if let Some(code) = self.received() {
                return code;
            }
            // An interrupted read is as good as one that brought a byte.
            let _ = self.wakeup.read(&mut [0]);
        }
    }
}

fn exit_code(signal: i32) -> i32 {
    128 + signal
}

/// The mask of signals that are ignored, bit 0 for signal 1; none where `/proc` does not tell.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECS: [OptionSpec; 3] = [
        OptionSpec { short: 't', long: "topic", value: Some("arg"), what: "topic name" },
        OptionSpec { short: 'l', long: "list", value: None, what: "as a list" },
        OptionSpec { short: 'o', long: "offset", value: Some("arg"), what: "offset" },
    ];

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(&SPECS, line.split(' ').map(OsString::from))
    }

    #[test]
    fn all_forms_of_an_option() {
        for line in
            ["-t T", "-tT", "--topic T", "--topic=T", "-topic T", "-topic=T", "-ltT", "-t \"T\""]
        {
            assert_eq!(parse(line).unwrap().value("topic"), Some("T"), "{line}");
        }
        assert_eq!(parse("-o -1").unwrap().value("offset"), Some("-1"));
        assert!(parse("-ltT").unwrap().has("list"));
        assert!(!parse("-t l").unwrap().has("list"));
    }

    #[test]
    fn wrong_lines_are_told() {
        for line in ["-x", "--xyz 1", "-t", "--top T"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn words_are_settings() {
        let arguments = parse("listenPort=1 -t T plain name=a=b").unwrap();
        let settings: Vec<_> =
            arguments.settings().into_iter().map(|entry| (entry.key, entry.value)).collect();
        let expected = [("listenPort", "1"), ("name", "a=b")];
        assert_eq!(settings, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn usage_is_aligned() {
        let expected = "usage: mqadmin x\n -t,--topic <arg>    topic name\n -l,--list           as a list\n -o,--offset <arg>   offset\n";
        assert_eq!(usage("mqadmin x", &SPECS), expected);
    }
}
