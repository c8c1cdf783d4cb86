//! The store as a whole: put, get, stop, crash, recover, through its public front.

mod basics;
mod folder;
mod java_stores;
