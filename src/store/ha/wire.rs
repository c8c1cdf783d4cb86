//! What goes over a replication connection, byte for byte.
//!
//! No handshake, no version, no authentication: two kinds of messages, one in each direction, each
//! as soon as there is something to say. Numbers are big-endian.

/// Bytes of a report.
pub const REPORT_BYTES: usize = 8;
/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 12;

/// A slave's report.
///
/// | bytes | field |
/// |---|---|
/// | 8 | end of the slave's commit log; the first one is also where it wants the log from |
pub fn encode_report(offset: i64) -> [u8; REPORT_BYTES] {
    offset.to_be_bytes()
}

/// The header of a master's frame.
///
/// | bytes | field |
/// |---|---|
/// | 8 | commit-log offset of the body |
/// | 4 | bytes of the body; 0 in a heartbeat |
/// | n | body: the log as it is, cut anywhere but never across a file's end |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Commit-log offset of the body; in a heartbeat that of the next body.
    pub offset: i64,
    /// Bytes of the body.
    pub size: i32,
}

impl FrameHeader {
    /// As it is sent.
    pub fn encode(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..].copy_from_slice(&self.size.to_be_bytes());
        bytes
    }

    /// As it was sent.
    pub fn decode(bytes: [u8; HEADER_BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, size @ ..] = bytes;
        let offset = i64::from_be_bytes([a, b, c, d, e, f, g, h]);
        Self { offset, size: i32::from_be_bytes(size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        assert_eq!(encode_report(0x0102_0304_0506_0708), [1, 2, 3, 4, 5, 6, 7, 8]);
        let header = FrameHeader { offset: 1 << 30, size: 32_768 };
        let bytes = [0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0x80, 0];
        assert_eq!(header.encode(), bytes);
        assert_eq!(FrameHeader::decode(bytes), header);
        let wild = FrameHeader { offset: -1, size: -2 };
        assert_eq!(FrameHeader::decode(wild.encode()), wild);
    }
}
