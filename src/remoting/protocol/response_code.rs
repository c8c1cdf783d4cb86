//! Response codes.

/// Success.
pub const SUCCESS: i32 = 0;
/// Any failure without a code of its own.
pub const SYSTEM_ERROR: i32 = 1;
/// Refused: overloaded.
pub const SYSTEM_BUSY: i32 = 2;
/// Nobody serves this request code.
pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
/// Stored, the synchronous flush timed out.
pub const FLUSH_DISK_TIMEOUT: i32 = 10;
/// Stored, no usable slave.
pub const SLAVE_NOT_AVAILABLE: i32 = 11;
/// Stored, the replication wait timed out.
pub const FLUSH_SLAVE_TIMEOUT: i32 = 12;
/// Topic too long, body or properties too large.
pub const MESSAGE_ILLEGAL: i32 = 13;
/// The store is not writable.
pub const SERVICE_NOT_AVAILABLE: i32 = 14;
/// Not allowed.
pub const NO_PERMISSION: i32 = 16;
/// Topic unknown.
pub const TOPIC_NOT_EXIST: i32 = 17;
/// Nothing new at this offset.
pub const PULL_NOT_FOUND: i32 = 19;
/// Messages exist but none matched.
pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
/// Offset out of range; the right one is in the header.
pub const PULL_OFFSET_MOVED: i32 = 21;
/// Nothing found.
pub const QUERY_NOT_FOUND: i32 = 22;
/// The expression does not compile.
pub const SUBSCRIPTION_PARSE_FAILED: i32 = 23;
/// The group or its subscription is not known.
pub const SUBSCRIPTION_NOT_EXIST: i32 = 24;
/// The broker's subscription is older than the request's.
pub const SUBSCRIPTION_NOT_LATEST: i32 = 25;
/// The group is unknown.
pub const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
/// SQL filter data missing.
pub const FILTER_DATA_NOT_EXIST: i32 = 27;
/// SQL filter data too old.
pub const FILTER_DATA_NOT_LATEST: i32 = 28;
/// No live consumer.
pub const CONSUMER_NOT_ONLINE: i32 = 206;
/// A relayed call timed out.
pub const CONSUME_MSG_TIMEOUT: i32 = 207;
/// Client side: no message.
pub const NO_MESSAGE: i32 = 208;
/// The account could not be made or changed.
pub const UPDATE_AND_CREATE_ACL_CONFIG_FAILED: i32 = 209;
/// The account could not be deleted.
pub const DELETE_ACL_CONFIG_FAILED: i32 = 210;
/// The global white list could not be changed.
pub const UPDATE_GLOBAL_WHITE_ADDRS_FAILED: i32 = 211;
/// Clients back off.
pub const FLOW_CONTROL: i32 = 215;
/// 5.x: a recall that makes no sense, a late end of a transaction.
pub const ILLEGAL_OPERATION: i32 = 604;
