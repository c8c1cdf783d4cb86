//! What every role shares: messages, their formats, configuration files, named threads, time.
//! Knows no socket.
//!
//! Read [`message`] and [`record`] first: they are the data. Then [`config`] (property files),
//! [`json`] (RocketMQ's dialect), and the three ways of running something: [`service_thread`],
//! [`thread_pool`], [`scheduler`].

pub mod atomic_file;
pub mod checksum;
pub mod clock;
pub mod command_line;
pub mod compression;
#[macro_use]
pub mod config;
#[macro_use]
pub mod json;
pub mod logging;
pub mod message;
pub mod message_id;
#[allow(unsafe_code)]
pub mod os;
pub mod properties;
pub mod property_text;
pub mod record;
pub mod scheduler;
pub mod service_thread;
pub mod shared_bytes;
pub mod sync;
pub mod sys_flag;
pub mod thread_pool;
pub mod topic;
#[cfg(test)]
pub(crate) mod xorshift;
