//! The two message ids: [`MessageId`] (where a message lies) and [`unique_key`] (made by the
//! client before sending).

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// Offset message id.
///
/// Upper-case hexadecimal of:
///
/// | bytes | field |
/// |---|---|
/// | 4 or 16 | address of the broker |
/// | 4 | port, i32 |
/// | 8 | commit-log offset, i64 |
///
/// 32 characters for IPv4, 56 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The broker's store host.
    pub host: SocketAddr,
    /// Commit-log offset of the record.
    pub offset: i64,
}

impl fmt::Display for MessageId {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        todo!("owner: common")
    }
}

impl FromStr for MessageId {
    type Err = String;

    fn from_str(_text: &str) -> Result<Self, Self::Err> {
        todo!("owner: common")
    }
}

/// A new unique key of this process (spec: remoting 6.7).
pub fn unique_key() -> String {
    todo!("owner: common")
}
