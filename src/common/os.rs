//! What std lacks of the operating system. One of the two places with `unsafe`.
//!
//! Owner: common. To be here: process id, host name, local addresses (spec: broker 9.5), physical
//! memory, `fallocate`, `fdatasync` of a range, `statvfs` of a path, `mlock`/`madvise`, the POSIX
//! byte lock of the store's `lock` file, current CPU time and anonymous memory of the process,
//! the allocator's arena limit, local time (hour, calendar fields) by `localtime_r`.
