//! Frames, headers, typed requests and bodies, connections, server and client. Knows no broker.
//!
//! Read [`command`] (a request or response), `fields` (what its header carries), [`header`] (typed
//! headers), [`frame`] (bytes; `frame_json` and `frame_binary` for the header), then [`connection`],
//! [`server`], [`client`]. The catalogue of requests is [`protocol`].
//!
//! A request comes in like this: the reader of its connection (`reader`) cuts frames out of what
//! the socket gives (on a client's connection it leaves that to a caller that waits: `read_role`), a
//! round (`dispatch`) finds the [`Processor`] and the pool of each request and runs it or hands it
//! over, the answer leaves through the connection's `outbox`. Answers that one thread gives to many
//! connections at once leave in one write each (`gathered`). Between two messages of a quick peer the
//! reader stays awake (`watch`). Calls in the other direction wait in a table (`pending`). What all
//! connections of a server or of a client share is their `endpoint`.
//!
//! # Threads
//!
//! | name | how many | what it does |
//! |---|---|---|
//! | `<server>Boss` | one a server | accepts |
//! | `<name>NIO_<n>` | one a connection | reads; runs short requests; sleeps while a caller reads |
//! | `<name>Out_<n>` | one a connection, only while its peer reads too slowly | writes what waits |
//! | `SendAnswer` | processors − 2, at most two, once somebody answers many | writes to a share of the connections |
//! | `<name>Scan` | one a server or client | once a second: timeouts, idle connections |
//! | `<client>Worker_<n>` | `clientWorkerThreads` | requests from servers, callbacks |
//!
//! # Invariants
//!
//! * No thread waits for a peer to read, except a connection's own writer.
//! * Everything that a peer can make grow has a limit: frame, outbox, requests in flight,
//!   connections, idle time.
//! * One thread at a time reads a connection.
//! * Every call ends exactly once; a request is answered at most once.

pub mod address_server;
pub mod client;
pub mod command;
pub mod config;
pub mod connection;
mod dispatch;
mod endpoint;
pub mod error;
mod fields;
pub mod frame;
mod frame_binary;
mod frame_dialect;
mod frame_json;
mod gathered;
#[macro_use]
pub mod header;
mod json_text;
mod outbox;
mod pending;
mod permits;
pub mod protocol;
mod read_role;
mod reader;
pub mod server;
mod watch;

pub use client::RemotingClient;
pub use command::{Body, Command, Fields, SerializeType};
pub use connection::{Connection, ReplyTo};
pub use error::RemotingError;
pub use server::{ConnectionEvents, Processor, RemotingServer, RunningServer};
