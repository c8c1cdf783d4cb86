//! A master and a slave of this package as two processes: what one acknowledges is on the other,
//! whatever happens to either and to the network between them.
//!
//! | file | what it is about |
//! |---|---|
//! | [`accounting`] | the master is killed and its store deleted, again and again |
//! | [`faults`] | connections that break, stall and lie; processes that stop and die |
//! | [`random`] | faults of all kinds in any order |
//! | [`rejoin`] | slaves that are behind, ahead, or of another log; masters that move |
//! | [`port`] | the replication port against strangers, the slave against a false master |
//! | [`metadata`] | topics, groups and offsets on the slave |
//! | [`disk`] | a slave's disk that is full or slow |
//! | [`clock`] | clocks that jump |
//! | [`namespaces`] | partitions in network namespaces; needs root |
//!
//! `ROCKETMQ_HA_ROUNDS` sets the number of rounds of [`accounting`].

mod accounting;
mod clock;
mod disk;
mod faults;
mod metadata;
mod namespaces;
mod port;
mod random;
mod rejoin;
mod site;
#[path = "../support/mod.rs"]
mod support;
