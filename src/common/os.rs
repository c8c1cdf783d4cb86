//! What std lacks of the operating system (Linux). One of the two places with `unsafe`.
//!
//! Files: [`allocate`], [`disk_space`], [`lock_bytes`], [`is_in_memory`], [`data_parts`]. The machine: [`host_name`],
//! [`local_address`], [`physical_memory`], [`available_memory`]. The process: [`cpu_time`], [`anonymous_memory`],
//! [`limit_allocator_arenas`], [`raise_open_files_limit`]. The calendar: [`LocalTime`].
//!
//! Not here: locking, advising and populating mapped memory, which memmap2 does without `unsafe`
//! (`MmapRaw::lock`, `advise_range`, `Advice::PopulateWrite`), and the process id, which std knows.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::File;
use std::io::{self, Error};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// The result of a call that returns -1 and sets `errno`; repeated when a signal interrupts it.
fn checked(mut call: impl FnMut() -> libc::c_int) -> io::Result<()> {
    loop {
        if call() == 0 {
            return Ok(());
        }
        let error = Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Reads what has come on a connected socket, without waiting.
///
/// # Errors
///
/// `WouldBlock` when nothing has come; what a read of the socket may fail with.
pub fn receive_now(socket: &impl AsRawFd, buffer: &mut [u8]) -> io::Result<usize> {
    let (start, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the system writes at most
    // `length` bytes to `start`, all of them in `buffer`, which is borrowed for writing.
    let received = unsafe { libc::recv(socket.as_raw_fd(), start, length, libc::MSG_DONTWAIT) };
    usize::try_from(received).map_err(|_| Error::last_os_error())
}

/// A size or offset as the system wants it.
fn file_offset(value: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(value)
        .map_err(|_| Error::new(io::ErrorKind::InvalidInput, format!("{value} is no file offset")))
}

/// Makes the file `length` bytes long, all of them with a place on the disk: what is written to them
/// later cannot fail for want of space. Bytes that were there stay.
///
/// # Errors
///
/// `StorageFull` when the disk has no room, `QuotaExceeded`. On a file system that cannot reserve
/// (some network ones) the C library writes a byte into each block, which takes its time.
pub fn allocate(file: &File, length: u64) -> io::Result<()> {
    let length = file_offset(length)?;
    let descriptor = file.as_raw_fd();
    // SAFETY: the descriptor is open as long as `file` is borrowed; no memory is passed.
    let result = checked(|| unsafe { libc::fallocate(descriptor, 0, 0, length) });
    let unsupported = |error: &Error| {
        matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL))
    };
    match result {
        Err(error) if unsupported(&error) => {}
        other => return other,
    }
    // SAFETY: as above. This one returns the error instead of setting it.
    match unsafe { libc::posix_fallocate(descriptor, 0, length) } {
        0 => Ok(()),
        error => Err(Error::from_raw_os_error(error)),
    }
}

/// Sizes of a file system, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// All of it.
    pub total: u64,
    /// Not in use.
    pub free: u64,
    /// Not in use and not reserved for root.
    pub available: u64,
}

/// The space of the file system on which `path` lies.
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: an all-zero `statvfs` is a valid value of a plain C struct.
    let mut status: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends with a zero byte, and both pointers are to live locals.
    checked(|| unsafe { libc::statvfs(path.as_ptr(), &mut status) })?;
    let bytes = |blocks: u64| blocks.saturating_mul(status.f_frsize);
    Ok(DiskSpace {
        total: bytes(status.f_blocks),
        free: bytes(status.f_bfree),
        available: bytes(status.f_bavail),
    })
}

/// Takes an exclusive lock on `length` bytes from `start`, without waiting; `false` when another
/// process has them. It is a POSIX record lock, as Java's `FileChannel.tryLock`: each excludes the
/// other. It belongs to the process, so it does not exclude another part of the same process, and
/// it ends when the process closes *any* descriptor of the file.
pub fn lock_bytes(file: &File, start: u64, length: u64) -> io::Result<bool> {
    // SAFETY: an all-zero `flock` is a valid value of a plain C struct.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = libc::F_WRLCK as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = file_offset(start)?;
    request.l_len = file_offset(length)?;
    let descriptor = file.as_raw_fd();
    // SAFETY: the descriptor is open as long as `file` is borrowed; the pointer is to a live local.
    match checked(|| unsafe { libc::fcntl(descriptor, libc::F_SETLK, &request) }) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EACCES | libc::EAGAIN)) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// The machine's name, as `hostname` prints it.
pub fn host_name() -> Option<String> {
    let mut name = [0u8; 256];
    // SAFETY: the pointer and length are those of a live local. The last byte stays zero.
    checked(|| unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) }).ok()?;
    let name = CStr::from_bytes_until_nul(&name).ok()?.to_string_lossy().into_owned();
    (!name.is_empty()).then_some(name)
}

/// The address that others reach this machine at, as the Java broker and client choose it: the
/// first IPv4 address that is neither loopback nor 192.168; else the last IPv4 address; else the
/// first IPv6 address; else what the host name resolves to. Bridges (of containers) do not count.
/// `None` if there is none.
pub fn local_address() -> Option<IpAddr> {
    let is_bridge = |name: &str| Path::new("/sys/class/net").join(name).join("bridge").exists();
    let addresses: Vec<IpAddr> = interface_addresses()
        .into_iter()
        .filter(|(name, address)| !address.is_loopback() && !is_bridge(name))
        .map(|(_, address)| address)
        .collect();
    choose_address(&addresses).or_else(|| {
        let name = host_name()?;
        Some((name.as_str(), 0).to_socket_addrs().ok()?.next()?.ip())
    })
}

/// [`local_address`] among the addresses of interfaces. Unlike Java we take no link-local IPv6
/// address: nobody can use it without knowing the interface.
fn choose_address(addresses: &[IpAddr]) -> Option<IpAddr> {
    let private = |address: &Ipv4Addr| matches!(address.octets(), [127, 0, ..] | [192, 168, ..]);
    let v4 =
        || addresses.iter().filter_map(|a| if let IpAddr::V4(v4) = a { Some(*v4) } else { None });
    let v6 = addresses.iter().find(|address| match address {
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        IpAddr::V4(_) => false,
    });
    v4().find(|address| !private(address))
        .or_else(|| v4().next_back())
        .map(IpAddr::V4)
        .or_else(|| v6.copied())
}

/// Names and addresses of all interfaces, in the system's order.
fn interface_addresses() -> Vec<(String, IpAddr)> {
    let mut found = Vec::new();
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: the pointer is to a live local, which is set to a list that we free below.
    if unsafe { libc::getifaddrs(&mut list) } != 0 {
        return found;
    }
    let mut next = list;
    while !next.is_null() {
        // SAFETY: `next` is an entry of the list, which is valid until `freeifaddrs`.
        let entry = unsafe { &*next };
        next = entry.ifa_next;
        if entry.ifa_addr.is_null() || entry.ifa_name.is_null() {
            continue;
        }
        // SAFETY: checked not to be null; every socket address begins with its family.
        let family = libc::c_int::from(unsafe { (*entry.ifa_addr).sa_family });
        let address: IpAddr = match family {
            libc::AF_INET => {
                // SAFETY: an address of this family is a `sockaddr_in`.
                let v4 = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in>() };
                Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)).into()
            }
            libc::AF_INET6 => {
                // SAFETY: an address of this family is a `sockaddr_in6`.
                let v6 = unsafe { &*entry.ifa_addr.cast::<libc::sockaddr_in6>() };
                Ipv6Addr::from(v6.sin6_addr.s6_addr).into()
            }
            _ => continue,
        };
        // SAFETY: checked not to be null; a name ends with a zero byte.
        let name = unsafe { CStr::from_ptr(entry.ifa_name) };
        found.push((name.to_string_lossy().into_owned(), address));
    }
    // SAFETY: `list` came from `getifaddrs` and is not used again.
    unsafe { libc::freeifaddrs(list) };
    found
}

/// Bytes of memory of the machine.
pub fn physical_memory() -> Option<u64> {
    // SAFETY: neither call has anything to do with our memory.
    let (pages, size) =
        unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
    u64::try_from(pages).ok()?.checked_mul(u64::try_from(size).ok()?)
}

/// Bytes of memory that can be had without taking any that is in use: the machine's, as the kernel
/// estimates it, or what is left of the limit of a control group (a container, a service), if that is less.
pub fn available_memory() -> Option<u64> {
    let machine = kilobytes("/proc/meminfo", "MemAvailable:")?;
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(
        left_of_limits(&groups, Path::new("/sys/fs/cgroup"))
            .map_or(machine, |left| left.min(machine)),
    )
}

/// What is left of the narrowest memory limit of `groups`, the lines `id:controllers:path` of this
/// process. In a container, `mount` has its own group at the top, whatever the path says.
fn left_of_limits(groups: &str, mount: &Path) -> Option<u64> {
    let number = |path: &Path| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut least = None;
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        // Version 2 of the kernel's interface has one tree for all controllers, version 1 one for each.
        let (tree, most, used, cached) = match controllers {
            "" => (mount.to_owned(), "memory.max", "memory.current", "inactive_file "),
            "memory" => {
                let tree = mount.join("memory");
                let (most, used) = ("memory.limit_in_bytes", "memory.usage_in_bytes");
                (tree, most, used, "total_inactive_file ")
            }
            _ => continue,
        };
        for group in [tree.join(path.trim_start_matches('/')), tree] {
            let limit = number(&group.join(most)).zip(number(&group.join(used)));
            // What was read or written once, and long ago, counts as used until somebody wants its room.
            let cache = || line_of(&group.join("memory.stat"), cached)?.parse().ok();
            let left = limit
                .map(|(most, used)| most.saturating_sub(used.saturating_sub(cache().unwrap_or(0))));
            least = least.into_iter().chain(left).min();
        }
    }
    least
}

/// What stands behind `name` in the file's line that begins with it.
fn line_of(file: &Path, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(name)).map(|rest| rest.trim().to_owned())
}

/// A line's value in one of the kernel's tables of kilobytes, in bytes.
fn kilobytes(table: &str, name: &str) -> Option<u64> {
    let line = line_of(Path::new(table), name)?;
    line.strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Whether `file` has only zeros from `from` on. Holes and blocks that were never written are skipped.
///
/// # Errors
/// The disk's.
pub fn is_zero_from(file: &File, mut from: u64) -> io::Result<bool> {
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let Some(data) = seek(file, from, libc::SEEK_DATA)? else { return Ok(true) };
        from = data;
        let count = file.read_at(&mut chunk, from)?;
        if count == 0 || chunk[..count].iter().any(|byte| *byte != 0) {
            return Ok(count == 0);
        }
        from += count as u64;
    }
}

/// The parts of `file` that may have data, as whole pages of memory. Between them are holes, and blocks
/// that were never written. At most `limit` parts: the last one goes to the end then.
///
/// # Errors
/// The disk's.
pub fn data_parts(file: &File, limit: usize) -> io::Result<Vec<Range<u64>>> {
    let size = file.metadata()?.len();
    // SAFETY: the call has nothing to do with our memory.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    let page = u64::try_from(page).unwrap_or(1);
    let mut parts: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while let Some(from) = seek(file, at, libc::SEEK_DATA)? {
        let is_last = parts.len() + 1 >= limit;
        at = if is_last { None } else { seek(file, from, libc::SEEK_HOLE)? }.unwrap_or(size);
        let part = from / page * page..at.next_multiple_of(page);
        match parts.last_mut() {
            Some(before) if before.end >= part.start => before.end = part.end,
            _ => parts.push(part),
        }
    }
    Ok(parts)
}

/// Maps parts of `file`, of `size` bytes, for reading over the same places of the memory at `memory`.
///
/// # Safety
/// So many bytes are mapped there, the parts are whole pages of them, and nobody has a reference into
/// these.
///
/// # Errors
/// The system's; some of the parts may be mapped then.
pub unsafe fn map_over(
    memory: *mut u8,
    size: usize,
    file: &File,
    parts: &[Range<u64>],
) -> io::Result<()> {
    for part in parts {
        let from = part.start as usize;
        let (length, at) = (size.min(part.end as usize) - from, part.start as libc::off_t);
        let (access, how) = (libc::PROT_READ, libc::MAP_SHARED | libc::MAP_FIXED);
        // SAFETY: as the caller promises; the descriptor is open for the whole call.
        let mapped = unsafe {
            libc::mmap(memory.add(from).cast(), length, access, how, file.as_raw_fd(), at)
        };
        if mapped == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
    }
    Ok(())
}

/// Where the next data, or the next hole, of `file` begins; `None` if none follows. Everything is data
/// where the file system does not tell.
fn seek(file: &File, from: u64, what: libc::c_int) -> io::Result<Option<u64>> {
    // SAFETY: the descriptor is open for the whole call, which touches no memory of ours. Its
    // position is used by nobody: all reading is done at given places.
    let found = unsafe { libc::lseek(file.as_raw_fd(), from as libc::off_t, what) };
    match u64::try_from(found) {
        Ok(found) => Ok(Some(found)),
        Err(_) => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error if error.raw_os_error() == Some(libc::EINVAL) => {
                Ok((what == libc::SEEK_DATA && from < file.metadata()?.len()).then_some(from))
            }
            error => Err(error),
        },
    }
}

/// Writes the changed pages of a part of `file` to the disk, and waits for that; but no longer, as the
/// others do: what the disk holds in a cache, and what the file system notes about the blocks, may be
/// lost with the power until the file is flushed.
///
/// # Errors
/// The disk's.
pub fn write_out(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    let how = libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    let (from, bytes) = (from as libc::off64_t, bytes as libc::off64_t);
    // SAFETY: the descriptor is open for the whole call, which touches no memory of ours.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), from, bytes, how) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forces everything on the file system that `file` lies on to the disk.
///
/// # Errors
/// The disk's; since Linux 5.8 also those of earlier writing in the background.
pub fn flush_file_system(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open for the whole call, which touches no memory of ours.
    match unsafe { libc::syncfs(file.as_raw_fd()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Milliseconds since the Unix epoch. Straight from the system: what the standard library does to
/// its result took half of the instructions of a read, and every message reads the clock some times.
pub fn wall_clock_ms() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes `time`, which lives until it returns, and nothing else. It fails for
    // unknown clocks only.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut time) };
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Processor time that all threads of this process have used.
pub fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live local. The call cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Whether all pages of that part of this process's memory, which begins with a page, are in memory, if
/// they are those of a file: in the page cache. False where the system does not tell.
pub fn is_in_memory(address: usize, length: usize) -> bool {
    // The smallest pages that a system has.
    let mut pages = vec![0_u8; length.div_ceil(4096)];
    let start = std::ptr::without_provenance_mut(address);
    // SAFETY: the call writes a byte for each page, of which there are not more than `pages` has, and
    // touches nothing at the address: it fails if nothing is there.
    let failed = unsafe { libc::mincore(start, length, pages.as_mut_ptr().cast()) };
    failed == 0 && pages.iter().all(|page| page & 1 == 1)
}

/// The [priority](set_priority) of threads for which many peers wait: who flushes for a group of puts, who
/// reads the acknowledgement of a slave, who answers then. On a machine that is busy everybody waits while
/// they wait for a processor (a seventh more puts with 64 in flight, clients and both brokers on four
/// processors).
pub const WAITED_FOR: i32 = -10;

/// Gives this thread another share of the processors than the process's main thread has, while all of
/// them are wanted: `nice` 5 is a third of it, 19, the most, hardly anything, −10 nine times as much.
/// What is less than zero only root may have, or a process with the capability `CAP_SYS_NICE` or a limit
/// `RLIMIT_NICE`; others keep what they have. Threads that it starts from now on have a smaller share
/// too, but not a larger one.
pub fn set_priority(nice: i32) {
    let usual = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live local. On Linux a process's number is that of its main thread, and
    // 0 is the calling thread.
    unsafe {
        let main = libc::getpriority(libc::PRIO_PROCESS, std::process::id());
        libc::setpriority(libc::PRIO_PROCESS, 0, main + nice);
        if nice < 0 && libc::sched_getscheduler(0) == libc::SCHED_OTHER {
            libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &usual);
        }
    }
}

/// Bytes of memory that this process holds for itself, mapped files not counted.
pub fn anonymous_memory() -> Option<u64> {
    kilobytes("/proc/self/status", "RssAnon:")
}

/// Limits the heaps among which glibc spreads threads. Its default, eight for each processor, keeps
/// freed memory of every burst in many places; a broker of many threads wants few. Call it before
/// the first thread starts.
pub fn limit_allocator_arenas(_arenas: i32) {
    #[cfg(target_env = "gnu")]
    // SAFETY: only sets a parameter of the allocator, under the allocator's lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, _arenas);
    }
}

/// Lets this process open as many files as the system allows it, as a JVM does by itself: a thousand
/// clients are more than the limit of many a login. How many it may open now.
pub fn raise_open_files_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live local. The call cannot fail for this resource.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    let before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the pointer is to a live local.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => limit.rlim_max,
        _ => before,
    }
}

/// Calendar fields of a moment in the machine's time zone. Written as `2023-11-14 23:13:20,000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

impl LocalTime {
    /// The fields of a moment, ms since the epoch.
    pub fn from_epoch_ms(epoch_ms: i64) -> Self {
        let seconds = epoch_ms.div_euclid(1000);
        // SAFETY: an all-zero `tm` is a valid value of a plain C struct (its pointer may be null).
        let mut fields: libc::tm = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live locals; `localtime_r` writes only to the second. When it
        // fails, for a year beyond an i32, the zeroes stay, which read as the year 1900.
        unsafe { libc::localtime_r(&seconds, &mut fields) };
        Self {
            year: fields.tm_year.saturating_add(1900),
            month: fields.tm_mon as u32 + 1,
            day: fields.tm_mday as u32,
            hour: fields.tm_hour as u32,
            minute: fields.tm_min as u32,
            second: fields.tm_sec as u32,
            millisecond: epoch_ms.rem_euclid(1000) as u32,
        }
    }

    /// The moment, ms since the epoch. Fields beyond their range carry over (month 13 is January
    /// of the next year, day 0 the last of the month before).
    pub fn to_epoch_ms(self) -> i64 {
        // SAFETY: as above.
        let mut fields: libc::tm = unsafe { std::mem::zeroed() };
        fields.tm_year = self.year.saturating_sub(1900);
        fields.tm_mon = (self.month as i32).saturating_sub(1);
        fields.tm_mday = self.day as i32;
        fields.tm_hour = self.hour as i32;
        fields.tm_min = self.minute as i32;
        fields.tm_sec = self.second as i32;
        fields.tm_isdst = -1; // The time zone knows whether it is summer time.
        // SAFETY: the pointer is to a live local, which `mktime` normalizes in place.
        let seconds = unsafe { libc::mktime(&mut fields) };
        seconds.saturating_mul(1000).saturating_add(i64::from(self.millisecond))
    }

    /// The start of the day, 00:00.
    pub fn start_of_day(self) -> Self {
        Self { hour: 0, minute: 0, second: 0, millisecond: 0, ..self }
    }

    /// The start of the month, 00:00 of its first day.
    pub fn start_of_month(self) -> Self {
        Self { day: 1, ..self.start_of_day() }
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, millisecond } = self;
        write!(
            f,
            "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{millisecond:03}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of its own in the temporary folder, which is removed at the end.
    struct TempFile(std::path::PathBuf);

    impl TempFile {
        fn new(name: &str) -> (Self, File) {
            let path = std::env::temp_dir().join(format!("os-{}-{name}", std::process::id()));
            let file = File::create(&path).unwrap();
            (Self(path), file)
        }
    }

    impl Drop for TempFile {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_thread_has_a_priority_of_its_own() {
        let own = || {
            // The 19th word; the second is a name in parentheses.
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let mut words = stat.rsplit_once(')').unwrap().1.split_whitespace();
            words.nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = own();
        let lower = std::thread::spawn(move || {
            set_priority(3);
            std::thread::spawn(own).join().unwrap()
        });
        assert_eq!(lower.join().unwrap(), (before + 3).min(19));
        let higher = std::thread::spawn(move || {
            set_priority(-3);
            (own(), std::thread::spawn(own).join().unwrap())
        });
        let (higher, its_child) = higher.join().unwrap();
        // Not everybody may.
        assert!([before, (before - 3).max(-20)].contains(&higher));
        assert!(its_child >= higher.max(0), "{its_child}");
        assert_eq!(own(), before);
    }

    #[test]
    fn zeros_are_told_from_bytes() {
        let (_path, file) = TempFile::new("zeros");
        file.set_len(1 << 20).unwrap();
        let file = File::options().read(true).write(true).open(&_path.0).unwrap();
        assert!(is_zero_from(&file, 0).unwrap());
        allocate(&file, 1 << 20).unwrap();
        assert!(is_zero_from(&file, 0).unwrap());
        file.write_all_at(&[1], 700_000).unwrap();
        assert!(!is_zero_from(&file, 0).unwrap() && !is_zero_from(&file, 700_000).unwrap());
        assert!(is_zero_from(&file, 700_001).unwrap() && is_zero_from(&file, 1 << 20).unwrap());
    }

    #[test]
    fn allocated_bytes_are_on_the_disk() {
        use std::os::unix::fs::MetadataExt;
        let (_path, file) = TempFile::new("allocate");
        allocate(&file, 1 << 20).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), 1 << 20);
        assert!(metadata.blocks() * 512 >= 1 << 20);
        assert_eq!(allocate(&file, u64::MAX).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(allocate(&file, 1 << 62).is_err(), "no disk has this room");
    }

    #[test]
    fn disk_space_adds_up() {
        let space = disk_space(Path::new("/")).unwrap();
        assert!(space.available <= space.free && space.free <= space.total && space.total > 0);
        assert!(disk_space(Path::new("/no/such/path")).is_err());
        assert!(disk_space(Path::new("zero\0byte")).is_err());
    }

    /// The test starts itself as another process, which finds the lock taken.
    #[test]
    fn locks_exclude_other_processes() {
        const PATH_FOR_THE_OTHER: &str = "ROCKETMQ_TEST_LOCKED_FILE";
        if let Some(path) = std::env::var_os(PATH_FOR_THE_OTHER) {
            let file = File::options().write(true).open(path).unwrap();
            assert!(!lock_bytes(&file, 0, 1).unwrap());
            assert!(lock_bytes(&file, 1, 1).unwrap(), "only the first byte is taken");
            return;
        }
        let (path, file) = TempFile::new("lock");
        assert!(lock_bytes(&file, 0, 1).unwrap());
        assert!(lock_bytes(&file, 0, 1).unwrap(), "the process has it already");
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "common::os::tests::locks_exclude_other_processes"])
            .env(PATH_FOR_THE_OTHER, &path.0)
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    #[test]
    fn chooses_the_address_that_java_chooses() {
        let choose = |texts: &[&str]| {
            let addresses: Vec<IpAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            choose_address(&addresses).map(|address| address.to_string())
        };
        let first = |texts: &[&str], expected: &str| {
            assert_eq!(choose(texts).as_deref(), Some(expected), "{texts:?}");
        };
        first(&["192.168.1.5", "10.0.0.1", "172.17.0.1"], "10.0.0.1");
        first(&["192.168.1.5", "192.168.2.5"], "192.168.2.5");
        first(&["2001:db8::1", "192.168.2.5"], "192.168.2.5");
        first(&["fe80::1", "2001:db8::1", "2001:db8::2"], "2001:db8::1");
        assert_eq!(choose(&["fe80::1"]), None);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn the_narrowest_limit_counts() {
        let mount = std::env::temp_dir().join(format!("rocketmq-groups-{}", std::process::id()));
        let write = |name: &str, number: u64| {
            let path = mount.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, format!("{number}\n")).unwrap();
        };
        let left = |groups: &str| left_of_limits(groups, &mount);
        assert_eq!(left("0::/\n"), None);
        write("a/b/memory.max", 1000);
        write("a/b/memory.current", 300);
        assert_eq!(left("0::/a/b\n"), Some(700));
        write("memory.max", 500);
        write("memory.current", 600);
        assert_eq!((left("0::/a/b\n"), left("0::/\n")), (Some(0), Some(0)));
        write("memory/c/memory.limit_in_bytes", 900);
        write("memory/c/memory.usage_in_bytes", 100);
        assert_eq!(left("3:cpu:/c\n2:memory:/c\nnonsense\n"), Some(800));
        assert_eq!(left("2:memory:/host/path\n"), None);
        write("memory/memory.limit_in_bytes", 200);
        write("memory/memory.usage_in_bytes", 50);
        assert_eq!(left("2:memory:/host/path\n"), Some(150));
        // A cache of files gives way.
        let stat = "active_file 7\ninactive_file 250\ntotal_inactive_file 30\n";
        std::fs::write(mount.join("memory/memory.stat"), stat).unwrap();
        assert_eq!(left("2:memory:/host/path\n"), Some(180));
        std::fs::write(mount.join("memory.stat"), stat).unwrap();
        assert_eq!(left("0::/\n"), Some(150));
        std::fs::remove_dir_all(&mount).unwrap();
    }

    #[test]
    fn the_machine_and_the_process_answer() {
        assert!(host_name().is_some_and(|name| !name.is_empty()));
        let memory = physical_memory().unwrap();
        assert!(memory > 1 << 20);
        assert!(available_memory().is_some_and(|bytes| bytes <= memory));
        assert!(anonymous_memory().is_some_and(|bytes| bytes > 1 << 10));
        assert!(interface_addresses().iter().any(|(_, address)| address.is_loopback()));
        let before = cpu_time();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while cpu_time() == before {
            assert!(std::time::Instant::now() < deadline);
        }
        limit_allocator_arenas(2);
        assert!(raise_open_files_limit() >= 64);
        assert_eq!(raise_open_files_limit(), raise_open_files_limit());
    }

    #[test]
    fn calendar_fields_and_back() {
        for epoch_ms in [0, 1_700_000_000_123, -1, 4_102_444_800_000] {
            let fields = LocalTime::from_epoch_ms(epoch_ms);
            assert_eq!(fields.to_epoch_ms(), epoch_ms);
        }
        let fields = LocalTime::from_epoch_ms(1_700_000_000_123);
        assert_eq!((fields.year, fields.month, fields.millisecond), (2023, 11, 123));
        let start = fields.start_of_month();
        assert_eq!(start.to_string(), "2023-11-01 00:00:00,000");
        let next = LocalTime { month: 14, ..start };
        let next = LocalTime::from_epoch_ms(next.to_epoch_ms());
        assert_eq!(next.to_string(), "2024-02-01 00:00:00,000");
        assert_eq!(LocalTime::from_epoch_ms(i64::MAX).year, 292_278_994);
    }
}
