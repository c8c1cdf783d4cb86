//! The catalogue: request and response codes, typed headers, bodies.

pub mod admin_bodies;
pub mod admin_headers;
pub mod bodies;
pub mod headers;
pub mod heartbeat;
pub mod namesrv_headers;
pub mod request_code;
pub mod response_code;
pub mod send_header;
pub mod version;
