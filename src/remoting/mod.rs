//! Frames, headers, typed requests and bodies, connections, server and client. Knows no broker.
//!
//! Read [`command`] (a request or response), [`header`] (typed headers), [`frame`] (bytes), then
//! [`connection`], [`server`], [`client`]. The catalogue of requests is [`protocol`].

pub mod client;
pub mod command;
pub mod config;
pub mod connection;
pub mod error;
pub mod frame;
mod frame_binary;
mod frame_json;
#[macro_use]
pub mod header;
pub mod protocol;
pub mod server;

pub use client::RemotingClient;
pub use command::{Body, Command, Fields, SerializeType};
pub use connection::Connection;
pub use error::RemotingError;
pub use server::{Processor, RemotingServer};
