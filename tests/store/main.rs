//! The store as a whole: put, get, stop, crash, recover, through its public front.

mod basics;
mod damage;
mod disk;
mod faults;
mod folder;
mod full_disk;
mod java_stores;
mod kill;
mod live_keys;
mod model;
mod mqstore;
mod power_cut;
mod recovery;
mod removed_topics;
mod replica;
mod replication;
mod scripts;
mod stuck_start;
mod timer;
