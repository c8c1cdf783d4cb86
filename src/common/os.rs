//! What std lacks of the operating system. One of the two places with `unsafe`.
//!
//! Owner: common. To be here: process id, host name, local addresses (spec: broker 9.5), physical
//! memory, `fallocate`, `fdatasync` of a range, `statvfs` of a path, `mlock`/`madvise`, the POSIX
//! byte lock of the store's `lock` file, current CPU time and anonymous memory of the process,
//! the allocator's arena limit, local time (hour, calendar fields) by `localtime_r`.

use std::net::IpAddr;

/// Calendar fields of a moment in the machine's time zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// Year, for example 2023.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day of the month, 1 to 31.
    pub day: u32,
    /// Hour, 0 to 23.
    pub hour: u32,
    /// Minute, 0 to 59.
    pub minute: u32,
    /// Second, 0 to 60.
    pub second: u32,
    /// Millisecond, 0 to 999.
    pub millisecond: u32,
}

/// The calendar fields of `epoch_ms` in the machine's time zone.
pub fn local_time(epoch_ms: i64) -> LocalTime {
    let seconds = epoch_ms.div_euclid(1000) as libc::time_t;
    // SAFETY: an all-zero `tm` is a valid value of a plain C struct (its pointer may be null).
    let mut fields: libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live locals; `localtime_r` writes only to the second. On
    // failure it leaves the zeroes, which read as the year 1900.
    unsafe { libc::localtime_r(&seconds, &mut fields) };
    LocalTime {
        year: fields.tm_year + 1900,
        month: fields.tm_mon as u32 + 1,
        day: fields.tm_mday as u32,
        hour: fields.tm_hour as u32,
        minute: fields.tm_min as u32,
        second: fields.tm_sec as u32,
        millisecond: epoch_ms.rem_euclid(1000) as u32,
    }
}

/// The moment (ms since the epoch) of the start of a month in the machine's time zone; a month
/// beyond 12 is one of the next year.
pub fn local_month_start(year: i32, month: u32) -> i64 {
    // SAFETY: as in `local_time`.
    let mut fields: libc::tm = unsafe { std::mem::zeroed() };
    fields.tm_year = year - 1900;
    fields.tm_mon = month as i32 - 1;
    fields.tm_mday = 1;
    fields.tm_isdst = -1; // The time zone knows whether it is summer time.
    // SAFETY: the pointer is to a live local, which `mktime` normalizes in place.
    unsafe { libc::mktime(&mut fields) as i64 * 1000 }
}

/// The address that others reach this machine at, or `None` if there is none but loopback.
pub fn local_address() -> Option<IpAddr> {
    None
}
