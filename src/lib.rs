//! Apache RocketMQ 4.9 on the standard library's threads and sockets.
//!
//! The modules in reading order: [`common`] (messages, configuration, threads), [`remoting`]
//! (frames and connections), [`namesrv`] (the route table), [`store`] (the commit log and what is
//! built from it), [`filter`] (SQL92 expressions), [`broker`] (one file per kind of request), [`client`] (producer and consumers)
//! and [`tools`] (the sub-commands of `mqadmin`).
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod broker;
pub mod client;
pub mod common;
pub mod filter;
pub mod namesrv;
pub mod remoting;
pub mod store;
pub mod tools;
