//! [`RemotingError`]: why a call failed, and at which step.

use std::fmt;

/// Failure of a call to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RemotingError {
    /// The address is not `host:port`, or does not resolve.
    BadAddress(String),
    /// No connection: address and reason.
    Connect {
        /// Address.
        addr: String,
        /// Reason.
        reason: String,
    },
    /// The request could not be written.
    Send {
        /// Address.
        addr: String,
        /// Reason.
        reason: String,
    },
    /// No answer in time.
    Timeout {
        /// Address.
        addr: String,
        /// Limit, ms.
        timeout_ms: u64,
    },
    /// The connection ended while waiting for the answer.
    Closed {
        /// Address.
        addr: String,
    },
    /// Too many requests in flight.
    TooManyRequests(&'static str),
    /// This side is shutting down.
    Stopped,
}

impl fmt::Display for RemotingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadAddress(addr) => write!(f, "\"{addr}\" is not an address host:port"),
            Self::Connect { addr, reason } => write!(f, "connect to {addr} failed: {reason}"),
            Self::Send { addr, reason } => write!(f, "send to {addr} failed: {reason}"),
            Self::Timeout { addr, timeout_ms } => {
                write!(f, "no answer from {addr} within {timeout_ms} ms")
            }
            Self::Closed { addr } => write!(f, "{addr} closed the connection before it answered"),
            Self::TooManyRequests(what) => write!(f, "too many {what} in flight"),
            Self::Stopped => f.write_str("shutting down"),
        }
    }
}

impl std::error::Error for RemotingError {}
