//! The name server: tells clients which brokers serve a topic.
//!
//! Brokers register with every name server, over a connection that they keep: name, addresses and
//! all their topics, every 10 to 60 seconds and whenever a topic changes. Clients ask one name
//! server for the route of a topic, every 30 seconds. Name servers do not know each other; each
//! learns everything from the brokers, so one that starts anew is complete as soon as all brokers
//! have registered. The only thing on disk is the KV table.
//!
//! ```text
//!  broker ── REGISTER_BROKER ──▶ ┌─────────────┐
//!         ── connection ends ──▶ │ RouteTable  │ ◀── GET_ROUTEINFO_BY_TOPIC ── client
//!                 120 s silence  │ KvConfig    │ ◀── wipe, delete, KV, config ── mqadmin
//!                 (NsScan)    ──▶└─────────────┘
//! ```
//!
//! Reading order: [`route_table`] (the data and its rules), [`registration`] (the body that fills
//! it), [`route_cache`], [`kv_config`], [`config`], [`processor`] (one function for each request),
//! [`product_environment`] (`clusterTest`),
//! [`server`] (starting and stopping).
//!
//! | thread | how many | what it does |
//! |---|---|---|
//! | connection readers | one a connection | answer what neither disk nor peer can hold up: nearly all |
//! | `NsWorker_N` | up to `serverWorkerThreads` | what waits for a disk or for another name server, and what readers could not run |
//! | `NsScan` | 1 | every 10 s: removes brokers that were silent for 120 s |
//!
//! Where this name server differs from Java's on purpose: unknown requests are answered with code 3
//! (Java lets the caller time out); a registration without broker name, address or cluster is
//! refused (Java keeps entries named null that break its cluster listing); a late goodbye from an
//! address that is no longer registered under its id does not remove the new one.

pub mod config;
pub mod kv_config;
pub mod processor;
pub mod product_environment;
pub mod registration;
pub mod route_cache;
pub mod route_table;
pub mod server;

use std::sync::{Mutex, RwLock};

use crate::common::config::Live;
use crate::remoting::config::ServerConfig;

pub use config::NamesrvConfig;
pub use server::{Namesrv, StartError};

use kv_config::{KvConfig, KvError};
use product_environment::ProductEnvironment;
use route_cache::RouteCache;
use route_table::RouteTable;

/// All that a name server holds.
#[derive(Debug)]
pub struct NameServer {
    /// Who serves which topic.
    routes: RwLock<RouteTable>,
    /// The routes that were asked for, as text, until one changes.
    route_cache: RouteCache,
    /// Where routes that are not known are asked for (`clusterTest`).
    product: Option<ProductEnvironment>,
    /// Texts by namespace and key, on disk.
    kv: KvConfig,
    /// Settings; changed by UPDATE_NAMESRV_CONFIG.
    config: Live<NamesrvConfig>,
    /// Settings of the sockets; changes are written to the file and hold from the next start.
    server_config: Live<ServerConfig>,
    /// Keys that UPDATE_NAMESRV_CONFIG refuses, as they were at start.
    black_list: Vec<String>,
    /// Held while the configuration file is written.
    config_file: Mutex<()>,
}

impl NameServer {
    /// One that knows no route. Reads the KV table.
    pub fn new(config: NamesrvConfig, server_config: ServerConfig) -> Result<Self, KvError> {
        Ok(Self {
            routes: RwLock::new(RouteTable::new()),
            route_cache: RouteCache::default(),
            product: ProductEnvironment::of(&config),
            kv: KvConfig::load(&config.kv_config_path)?,
            black_list: config.black_list(),
            config: Live::new(config),
            server_config: Live::new(server_config),
            config_file: Mutex::new(()),
        })
    }
}
