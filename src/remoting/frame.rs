//! Frames: bytes to [`Command`] and back, in both header serializations.

use super::command::Command;

/// Default of the largest frame, its length field included.
pub const MAX_FRAME_BYTES: usize = 16 * 1024 * 1024;

/// Why bytes are not a frame. The connection that sent them is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameError(pub String);

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for FrameError {}

/// Looks for a complete frame at the start of `bytes`: its command and its total length, or `None`
/// when more bytes are needed.
pub fn decode(
    _bytes: &[u8],
    _max_frame_bytes: usize,
) -> Result<Option<(Command, usize)>, FrameError> {
    todo!("owner: remoting")
}

/// Appends length, header word and header of `command` to `out`; the body follows separately when
/// it is shared, else it is appended too.
pub fn encode(_command: &Command, _out: &mut Vec<u8>) -> Result<(), FrameError> {
    todo!("owner: remoting")
}
