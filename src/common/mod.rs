//! What every role shares: messages, their formats, configuration files, named threads, time.
//! Knows no socket.
//!
//! Read [`message`] and [`record`] first: they are the data, and the bytes in which it lies on disk
//! and travels to consumers. With them belong [`properties`] (what a message says of itself),
//! [`message_id`] (its two names), [`topic`] (where it may go), [`sys_flag`], [`compression`] and
//! [`checksum`].
//!
//! Then the ways of running something, besides the threads that a connection has of its own:
//!
//! | for | take | why |
//! |---|---|---|
//! | a background duty with its own rhythm | [`service_thread`] | it sleeps until its interval ends or somebody wakes it |
//! | requests | [`thread_pool`] | at most so many at a time, a bounded queue, and age limits |
//! | small chores at their time | [`scheduler`] | one thread for all of them |
//!
//! What many completions do at once leaves [`together`]. Under all is [`sync`]: locks that a panic
//! does not close, panics that are logged and stay where they happened; and [`quick_hash`] and
//! [`recent`], for tables that every message asks.
//!
//! Then what stands in files: [`config`] (settings declared once, [`live`]) in [`property_text`]
//! (Java's syntax), [`json`] (RocketMQ's dialect; [`digits`]) in files that [`atomic_file`] replaces as a whole,
//! and the [log](logging), [at times](rarely), and [`base64`] in some of them. [`command_line`] is
//! what the programs' mains share, [`os`] what std lacks.

pub mod atomic_file;
pub mod base64;
pub mod checksum;
pub mod clock;
pub mod command_line;
pub mod compression;
#[macro_use]
pub mod config;
pub mod digits;
#[macro_use]
pub mod json;
pub mod live;
pub mod logging;
pub mod message;
pub mod message_id;
#[allow(unsafe_code)]
pub mod os;
pub mod properties;
pub mod property_text;
pub mod quick_hash;
pub mod rarely;
pub mod recent;
pub mod record;
pub mod scheduler;
pub mod service_thread;
pub mod shared_bytes;
pub mod sync;
pub mod sys_flag;
pub mod thread_pool;
pub mod together;
pub mod topic;
#[cfg(test)]
pub(crate) mod xorshift;
