//! Logging: `~/logs/rocketmqlogs/*.log` with rotation, and stderr.
//!
//! The programs of this crate log through the `log` facade. [`init`] puts a logger behind it that
//! writes lines as Java's do, `2023-11-15 06:13:20,123 INFO <thread> - <message>`, in local time,
//! into a file; warnings and errors stand on stderr too. What is logged is filtered as env_logger
//! does it: `RUST_LOG=debug`, `RUST_LOG=warn,rocketmq::store=debug`; without it `info`.
//!
//! A log must never be the reason that a broker stops: when the file cannot be written, lines go to
//! stderr until it can, and each line is one `write` under a lock, nothing more.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use env_logger::{Builder, Env, Logger};
use log::{Level, Log, Metadata, Record};

use super::clock::now_ms;
use super::os::LocalTime;
use super::sync::lock;

/// Target of lines of statistics, which have a file of their own beside the other lines' file, and
/// are lost without one.
pub const STATISTICS: &str = "RocketmqStats";
/// Name of that file.
const STATISTICS_FILE: &str = "stats.log";

/// Where and what to log.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// File, for example `~/logs/rocketmqlogs/broker.log`; none logs to stderr only.
    pub file: Option<PathBuf>,
    /// A file is rotated at this size.
    pub max_file_bytes: u64,
    /// Rotated files kept.
    pub keep_files: usize,
    /// Warnings and errors go to stderr too.
    pub stderr: bool,
}

/// Installs the logger of this process. Levels come from `RUST_LOG`, default `info`.
///
/// # Errors
///
/// When the file cannot be opened, nothing is installed. When the process has a logger already.
pub fn init(config: LogConfig) -> io::Result<()> {
    let open = |path| LogFile::open(path, config.max_file_bytes, config.keep_files);
    let statistics = config.file.as_ref().map(|path| Statistics {
        path: path.with_file_name(STATISTICS_FILE),
        max_bytes: config.max_file_bytes,
        keep_files: config.keep_files,
        file: None,
    });
    let file = config.file.map(open).transpose()?;
    let filter = Builder::from_env(Env::default().default_filter_or("info")).build();
    let level = filter.filter();
    let logger = Lines {
        filter,
        stderr: config.stderr,
        file: file.map(Mutex::new),
        statistics: statistics.map(Mutex::new),
    };
    log::set_boxed_logger(Box::new(logger)).map_err(io::Error::other)?;
    log::set_max_level(level);
    Ok(())
}

/// `$HOME/logs/rocketmqlogs`.
pub fn default_directory() -> PathBuf {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    PathBuf::from(home.unwrap_or_else(|| ".".into())).join("logs/rocketmqlogs")
}

/// The logger.
struct Lines {
    /// env_logger's, of which only the filter is used.
    filter: Logger,
    stderr: bool,
    file: Option<Mutex<LogFile>>,
    statistics: Option<Mutex<Statistics>>,
}

/// The file of statistics, opened with the first line: a name server has none.
struct Statistics {
    path: PathBuf,
    max_bytes: u64,
    keep_files: usize,
    file: Option<LogFile>,
}

impl Statistics {
    fn write(&mut self, line: &[u8]) {
        if self.file.is_none() {
            self.file = LogFile::open(self.path.clone(), self.max_bytes, self.keep_files).ok();
        }
        if let Some(file) = &mut self.file {
            file.write(line);
        }
    }
}

impl Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        let time = LocalTime::from_epoch_ms(now_ms());
        if record.target() == STATISTICS {
            if let Some(statistics) = &self.statistics {
                // As Java's: who reads them wants no thread.
                let line = format!("{time} {} - {}\n", record.level(), record.args());
                lock(statistics).write(line.as_bytes());
            }
            return;
        }
        let line = format_line(time, record);
        let written = match &self.file {
            Some(file) => lock(file).write(line.as_bytes()),
            None => false,
        };
        if !written || self.stderr && record.level() <= Level::Warn {
            // There is nobody left to tell of a failure.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }

    fn flush(&self) {}
}

/// One line, or several if the message has several.
fn format_line(time: LocalTime, record: &Record<'_>) -> String {
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or("-");
    let mut line = String::with_capacity(160);
    // Writing to a String does not fail, except for what is to be written: then it is cut.
    let _ = writeln!(line, "{time} {} {thread} - {}", record.level(), record.args());
    line
}

/// A file that becomes `otherdays/<name>.1.log` when it is full, and what was `.1` becomes `.2`.
struct LogFile {
    path: PathBuf,
    max_bytes: u64,
    keep_files: usize,
    /// None when it could not be opened again.
    file: Option<File>,
    /// Bytes in it.
    bytes: u64,
    /// The last line could not be written; it is said once.
    failing: bool,
}

impl LogFile {
    fn open(path: PathBuf, max_bytes: u64, keep_files: usize) -> io::Result<Self> {
        let (file, bytes) = open_to_append(&path)?;
        Ok(Self { path, max_bytes, keep_files, file: Some(file), bytes, failing: false })
    }

    /// Writes a line. Whether it stands in the file.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.max_bytes {
            self.rotate();
        }
        let result = self.try_write(line);
        match &result {
            Ok(()) => {
                self.bytes += line.len() as u64;
                self.failing = false;
            }
            Err(error) if !self.failing => {
                self.failing = true;
                self.file = None;
                let path = self.path.display();
                let _ = writeln!(io::stderr(), "{path} cannot be written ({error}); logging here");
            }
            Err(_) => self.file = None,
        }
        result.is_ok()
    }

    fn try_write(&mut self, line: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let (file, bytes) = open_to_append(&self.path)?;
                self.bytes = bytes;
                self.file.insert(file)
            }
        };
        file.write_all(line)
    }

    /// Moves the file out of the way. When that fails, it grows on for as much again.
    fn rotate(&mut self) {
        self.bytes = 0;
        if let Err(error) = self.shift_files() {
            let path = self.path.display();
            let _ = writeln!(io::stderr(), "{path} cannot be rotated ({error}); it grows on");
            return;
        }
        self.file = None; // Opened, and made, with the next line.
    }

    fn shift_files(&self) -> io::Result<()> {
        if self.keep_files == 0 {
            return fs::remove_file(&self.path);
        }
        let folder = self.path.parent().unwrap_or(Path::new(".")).join("otherdays");
        fs::create_dir_all(&folder)?;
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let numbered = |number: usize| folder.join(format!("{stem}.{number}.log"));
        for number in (1..self.keep_files).rev() {
            match fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, numbered(1))
    }
}

/// The file and its size. Its folder is made if it is not there.
fn open_to_append(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let file = File::options().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("log-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_line_looks_like_javas() {
        let time = LocalTime {
            year: 2023,
            month: 11,
            day: 15,
            hour: 6,
            minute: 13,
            second: 20,
            millisecond: 7,
        };
        let builder = std::thread::Builder::new().name("SomeThread".to_owned());
        let line = builder.spawn(move || {
            let record = Record::builder();
            format_line(time, &{ record }.level(Level::Warn).args(format_args!("hello")).build())
        });
        let line = line.unwrap().join().unwrap();
        assert_eq!(line, "2023-11-15 06:13:20,007 WARN SomeThread - hello\n");
    }

    #[test]
    fn a_full_file_is_rotated_and_old_ones_go() {
        let folder = folder("rotate");
        let path = folder.join("broker.log");
        let mut file = LogFile::open(path.clone(), 10, 2).unwrap();
        for number in 1..=7 {
            assert!(file.write(format!("line{number}\n").as_bytes()));
        }
        // A line that is longer than a file has one of its own.
        assert!(file.write(b"a line of many letters\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "a line of many letters\n");
        let read = |number: usize| {
            fs::read_to_string(folder.join(format!("otherdays/broker.{number}.log"))).ok()
        };
        assert_eq!(read(1).as_deref(), Some("line7\n"));
        assert_eq!(read(2).as_deref(), Some("line6\n"));
        assert_eq!(read(3), None);
        drop(file);
        let mut file = LogFile::open(path.clone(), 1000, 2).unwrap();
        assert!(file.write(b"more\n"), "an old file is continued");
        assert_eq!(fs::read_to_string(&path).unwrap(), "a line of many letters\nmore\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let folder = folder("fails");
        let path = folder.join("broker.log");
        let mut file = LogFile::open(path.clone(), 10, 1).unwrap();
        assert!(file.write(b"12345678\n"));
        // Rotation puts the file away; then a folder of its name stands in the way of a new one.
        file.rotate();
        fs::create_dir_all(path.join("x")).unwrap();
        assert!(!file.write(b"lost\n"));
        assert!(!file.write(b"lost\n"));
        fs::remove_dir_all(&path).unwrap();
        assert!(file.write(b"found\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "found\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_rotate_grows_on() {
        let folder = folder("grows");
        let path = folder.join("broker.log");
        let mut file = LogFile::open(path.clone(), 10, 1).unwrap();
        fs::write(folder.join("otherdays"), "a file in the way of the folder").unwrap();
        assert!(file.write(b"12345678\n"));
        assert!(file.write(b"12345678\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "12345678\n12345678\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn init_tells_what_is_in_the_way() {
        let file = Some(PathBuf::from("/proc/no/such/folder/x.log"));
        let config = LogConfig { file, max_file_bytes: 1, keep_files: 1, stderr: true };
        assert!(init(config).is_err());
        assert!(default_directory().ends_with("logs/rocketmqlogs"));
    }
}
