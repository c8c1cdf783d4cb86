//! The client against a real name server and broker: everything sent is accounted for, exactly.

#[path = "../support/mod.rs"]
mod support;

mod consuming;
mod false_server;
mod garbage;
mod groups;
mod handover;
mod hostile;
mod operator;
mod options;
mod polling;
mod protocol;
mod sending;
mod site;
mod tenants;
mod traces;
