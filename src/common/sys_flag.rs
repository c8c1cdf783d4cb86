//! Bits of a message's `sysFlag` and of a pull request's `sysFlag`.

/// The body is compressed.
pub const COMPRESSED: i32 = 0x1;
/// The topic's filter type is multi-tag.
pub const MULTI_TAGS: i32 = 0x2;
/// Mask of the transaction type.
pub const TRANSACTION_MASK: i32 = 0xC;
/// Transaction type: an ordinary message.
pub const TRANSACTION_NOT: i32 = 0x0;
/// Transaction type: a half message as its producer sends it.
pub const TRANSACTION_PREPARED: i32 = 0x4;
/// Transaction type: committed.
pub const TRANSACTION_COMMIT: i32 = 0x8;
/// Transaction type: rolled back.
pub const TRANSACTION_ROLLBACK: i32 = 0xC;
/// The born host is an IPv6 address.
pub const BORN_HOST_V6: i32 = 0x10;
/// The store host is an IPv6 address.
pub const STORE_HOST_V6: i32 = 0x20;
/// Mask of the compression type; 0 and 0x300 are zlib.
pub const COMPRESSION_MASK: i32 = 0x700;
/// Compression type LZ4 (frame format).
pub const COMPRESSION_LZ4: i32 = 0x100;
/// Compression type zstd.
pub const COMPRESSION_ZSTD: i32 = 0x200;
/// Compression type zlib, as Java 4.9.8 and later say it.
pub const COMPRESSION_ZLIB: i32 = 0x300;

/// Pull: commit `commitOffset`.
pub const PULL_COMMIT_OFFSET: i32 = 0x1;
/// Pull: the broker may hold the request.
pub const PULL_SUSPEND: i32 = 0x2;
/// Pull: the subscription is in the request.
pub const PULL_SUBSCRIPTION: i32 = 0x4;
/// Pull: class filter mode.
pub const PULL_CLASS_FILTER: i32 = 0x8;
/// Pull: sent by a lite pull consumer.
pub const PULL_LITE: i32 = 0x10;
