//! Compressed bodies: what the bits of a message's sys flag say, and zlib; with the features `lz4` and
//! `zstd` also what other clients compress with these (LZ4 frames, Zstandard frames).
//!
//! A producer compresses bodies of 4 KiB and more and says so in the [`sys
//! flag`](super::sys_flag); the broker stores them as they come; the consumer decompresses. How much
//! comes out is decided by whoever made the bytes, so there is always a limit: a kilobyte of zlib
//! can stand for a megabyte of zeroes.

use miniz_oxide::deflate::compress_to_vec_zlib;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_zlib_with_limit};

use super::sys_flag::{
    COMPRESSED, COMPRESSION_LZ4, COMPRESSION_MASK, COMPRESSION_ZLIB, COMPRESSION_ZSTD,
};

/// Level of Java's producers: a little less small, much less work.
pub const DEFAULT_LEVEL: u8 = 5;

/// Why bytes could not be decompressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompressionError {
    /// More would come out than the limit, bytes.
    TooLong(usize),
    /// The bytes are not what the sys flag says.
    Damaged,
    /// A method that this program does not read; its name or number.
    Unknown(String),
}

impl std::fmt::Display for CompressionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(limit) => write!(f, "the body has more than {limit} bytes uncompressed"),
            Self::Damaged => f.write_str("the body cannot be decompressed"),
            Self::Unknown(method) => write!(f, "compression {method} is not known here"),
        }
    }
}

impl std::error::Error for CompressionError {}

/// zlib of `bytes`; levels are 0 (none) to 9 (smallest).
pub fn deflate(bytes: &[u8], level: u8) -> Vec<u8> {
    compress_to_vec_zlib(bytes, level.min(9))
}

/// The bytes of which `compressed` is the zlib, at most `limit` of them.
pub fn inflate(compressed: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    decompress_to_vec_zlib_with_limit(compressed, limit).map_err(|error| match error.status {
        TINFLStatus::HasMoreOutput => CompressionError::TooLong(limit),
        _ => CompressionError::Damaged,
    })
}

/// The body of a message as its producer made it: `None` if it is not compressed and can be used
/// as it is.
pub fn decompress(
    sys_flag: i32,
    body: &[u8],
    limit: usize,
) -> Result<Option<Vec<u8>>, CompressionError> {
    if sys_flag & COMPRESSED == 0 {
        return Ok(None);
    }
    match sys_flag & COMPRESSION_MASK {
        0 | COMPRESSION_ZLIB => inflate(body, limit).map(Some),
        COMPRESSION_LZ4 => unpack_lz4(body, limit).map(Some),
        COMPRESSION_ZSTD => unpack_zstd(body, limit).map(Some),
        other => Err(CompressionError::Unknown(format!("number {}", other >> 8))),
    }
}

#[cfg(not(feature = "lz4"))]
fn unpack_lz4(_: &[u8], _: usize) -> Result<Vec<u8>, CompressionError> {
    Err(CompressionError::Unknown(
        "LZ4 (this program was built without the feature lz4)".to_owned(),
    ))
}

#[cfg(not(feature = "zstd"))]
fn unpack_zstd(_: &[u8], _: usize) -> Result<Vec<u8>, CompressionError> {
    Err(CompressionError::Unknown(
        "zstd (this program was built without the feature zstd)".to_owned(),
    ))
}

#[cfg(feature = "lz4")]
fn unpack_lz4(body: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    read_limited(lz4_flex::frame::FrameDecoder::new(body), limit)
}

#[cfg(feature = "zstd")]
fn unpack_zstd(body: &[u8], limit: usize) -> Result<Vec<u8>, CompressionError> {
    let decoder = ruzstd::decoding::StreamingDecoder::new(body);
    read_limited(decoder.map_err(|_| CompressionError::Damaged)?, limit)
}

/// Everything that a decoder gives, at most `limit` bytes.
#[cfg(any(feature = "lz4", feature = "zstd"))]
fn read_limited(from: impl std::io::Read, limit: usize) -> Result<Vec<u8>, CompressionError> {
    use std::io::Read;

    let mut plain = Vec::new();
    let more = (limit as u64).saturating_add(1);
    from.take(more).read_to_end(&mut plain).map_err(|_| CompressionError::Damaged)?;
    if plain.len() > limit { Err(CompressionError::TooLong(limit)) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::xorshift::XorShift;

    #[test]
    fn there_and_back() {
        let text = b"to be or not to be, ".repeat(100);
        for level in [0, 1, DEFAULT_LEVEL, 9, 200] {
            assert_eq!(inflate(&deflate(&text, level), text.len()), Ok(text.clone()));
        }
        assert!(deflate(&text, DEFAULT_LEVEL).len() < text.len() / 10);
        assert_eq!(inflate(&deflate(b"", 5), 0), Ok(vec![]));
    }

    /// What zlib makes of `hello hello hello` at level 5.
    #[test]
    fn golden() {
        let golden = [
            0x78, 0x5E, 0xCB, 0x48, 0xCD, 0xC9, 0xC9, 0x57, 0xC8, 0x40, 0x90, 0x00, 0x3A, 0x2E,
            0x06, 0x7D,
        ];
        assert_eq!(inflate(&golden, 100), Ok(b"hello hello hello".to_vec()));
    }

    #[test]
    fn the_limit_holds() {
        let bomb = deflate(&vec![0; 10 << 20], 9);
        assert!(bomb.len() < 20_000);
        assert_eq!(inflate(&bomb, 1 << 20), Err(CompressionError::TooLong(1 << 20)));
        assert_eq!(inflate(&bomb, (10 << 20) - 1), Err(CompressionError::TooLong((10 << 20) - 1)));
        assert_eq!(inflate(&bomb, 10 << 20).map(|bytes| bytes.len()), Ok(10 << 20));
    }

    #[test]
    fn the_sys_flag_decides() {
        let body = deflate(b"x", 5);
        assert_eq!(decompress(0, &body, 10), Ok(None));
        for flag in [COMPRESSED, COMPRESSED | COMPRESSION_ZLIB] {
            assert_eq!(decompress(flag, &body, 10), Ok(Some(b"x".to_vec())));
        }
        for (flag, name) in [(0x100, "LZ4"), (0x200, "zstd"), (0x400, "number 4")] {
            let error = decompress(COMPRESSED | flag, &body, 10).unwrap_err();
            let known =
                cfg!(feature = "lz4") && name == "LZ4" || cfg!(feature = "zstd") && name == "zstd";
            assert!(known || error.to_string().contains(name), "{error}");
        }
    }

    /// `hello hello hello hello hello\n`, as the programs `lz4` and `zstd` pack it.
    #[cfg(any(feature = "lz4", feature = "zstd"))]
    fn unpacks_within_its_limit(flag: i32, packed: &[u8]) {
        let plain = b"hello hello hello hello hello\n";
        let unpack = |bytes: &[u8], limit| decompress(COMPRESSED | flag, bytes, limit);
        assert_eq!(unpack(packed, plain.len()), Ok(Some(plain.to_vec())));
        let most = plain.len() - 1;
        assert_eq!(unpack(packed, most), Err(CompressionError::TooLong(most)));
        assert_eq!(unpack(b"neither", 100), Err(CompressionError::Damaged));
        let mut random = XorShift::new(5);
        for _ in 0..5_000 {
            let mut bytes = packed.to_vec();
            random.mutate(&mut bytes, &[0, 1, 0x22, 0x80, 0xFF]);
            if let Ok(Some(found)) = unpack(&bytes, 1000) {
                assert!(found.len() <= 1000);
            }
        }
    }

    #[cfg(feature = "lz4")]
    const LZ4_GOLDEN: [u8; 35] = [
        0x04, 0x22, 0x4D, 0x18, 0x64, 0x40, 0xA7, 0x10, 0x00, 0x00, 0x00, 0x6F, 0x68, 0x65, 0x6C,
        0x6C, 0x6F, 0x20, 0x06, 0x00, 0x00, 0x50, 0x65, 0x6C, 0x6C, 0x6F, 0x0A, 0x00, 0x00, 0x00,
        0x00, 0x2D, 0x82, 0x03, 0x39,
    ];
    #[cfg(feature = "zstd")]
    const ZSTD_GOLDEN: [u8; 26] = [
        0x28, 0xB5, 0x2F, 0xFD, 0x04, 0x58, 0x6D, 0x00, 0x00, 0x38, 0x68, 0x65, 0x6C, 0x6C, 0x6F,
        0x20, 0x0A, 0x01, 0x00, 0xA9, 0x4B, 0x11, 0x1A, 0x48, 0x72, 0xAB,
    ];

    #[test]
    #[cfg(feature = "lz4")]
    fn lz4() {
        unpacks_within_its_limit(COMPRESSION_LZ4, &LZ4_GOLDEN);
    }

    #[test]
    #[cfg(feature = "zstd")]
    fn zstd() {
        unpacks_within_its_limit(COMPRESSION_ZSTD, &ZSTD_GOLDEN);
    }

    #[test]
    fn damaged_bytes_do_no_harm() {
        let good = deflate(&b"to be or not to be, ".repeat(20), 5);
        let mut random = XorShift::new(3);
        for _ in 0..5_000 {
            let mut bytes = good.clone();
            random.mutate(&mut bytes, &[0, 1, 0x78, 0x80, 0xFF]);
            if let Ok(found) = inflate(&bytes, 1000) {
                assert!(found.len() <= 1000);
            }
        }
        assert_eq!(inflate(b"", 10), Err(CompressionError::Damaged));
        assert_eq!(inflate(&good[..good.len() - 1], 1000), Err(CompressionError::Damaged));
    }
}
