//! Apache RocketMQ 4.9 on the standard library's threads and sockets: name server, broker, client
//! and tools, to be used and to be read.
//!
//! # The map
//!
//! | module | what it is | knows |
//! |---|---|---|
//! | [`common`] | messages and their formats, configuration, named threads, time | no socket |
//! | [`remoting`] | frames, typed headers and bodies, connections, server and client | no broker |
//! | [`namesrv`] | the route table: which brokers serve a topic | no message |
//! | [`store`] | the commit log and what is built from it to find messages again | no frame |
//! | [`filter`] | SQL92 expressions over a message's properties | only messages |
//! | [`broker`] | one file for each kind of request, one for each table | all of the above |
//! | [`client`] | producers, push and pull consumers, the calls of tools | no broker |
//! | [`standalone`] | a name server and a broker in one process | both |
//! | [`tools`] | the sub-commands of `mqadmin` | the client |
//!
//! Arrows point one way: programs use broker, name server and tools; those use client, store and
//! filter; those use remoting; all use common. The names are RocketMQ's own, so that who knows one
//! tree finds the same thing at the same place in the other. The first lines of each module say in
//! which order to read its files and which threads it runs.
//!
//! # The path of a message
//!
//! 1. **Out of the producer.** [`client`] asks a name server for the topic's route
//!    ([`namesrv::route_table`]), chooses a queue and writes one frame ([`remoting::frame`]) with a
//!    [`SendMessageRequestHeaderV2`](remoting::protocol::headers::SendMessageRequestHeaderV2).
//! 2. **Into the broker.** The reader of the [`Connection`](remoting::Connection) cuts the frame out of
//!    the bytes and runs it, or hands it to the pool of its request code ([`broker::pools`]).
//!    [`broker::send`] checks topic and limits, [`broker::put_message`] makes the message final.
//! 3. **Into the log.** [`MessageStore::put`](store::MessageStore::put) encodes the record
//!    ([`common::record`]) outside any lock, then, under one, gives it its offsets and copies it into
//!    the mapped file ([`store::commit_log`]). The producer is answered now, or when the flush it
//!    waits for has succeeded ([`store::flush`]).
//! 4. **Into its queue.** The dispatch thread follows the log ([`store::dispatch`]) and adds 20 bytes
//!    to the topic's [`store::consume_queue`] and the keys to the [`store::index`]. Now the message is
//!    visible, and whoever waits for it in [`broker::hold`] is woken.
//! 5. **Out to the consumer.** [`broker::pull`] reads the units in place ([`store::read`]) and answers
//!    with slices of the mapped log: one vectored write, no copy between disk cache and socket.
//! 6. **Done.** The consumer commits its offset ([`broker::consumer_offsets`]), or gives the message
//!    back ([`broker::send_back`]) to come again later ([`broker::delay`]).
//!
//! What happens when the machine stops anywhere between these steps is in [`store::recovery`].
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod broker;
pub mod client;
pub mod common;
pub mod filter;
pub mod namesrv;
pub mod remoting;
pub mod standalone;
pub mod store;
pub mod tools;

pub use standalone::Standalone;
