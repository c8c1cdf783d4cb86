//! [`Proxy`]: a TCP relay that does to a connection what networks do: delays it, cuts it, holds it
//! half open, flips a bit in it, ends it in the middle.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest a thread of the relay waits before it looks at the settings again.
const TICK: Duration = Duration::from_millis(5);

/// A relay from a port of its own to one upstream address. Dropping it cuts everything.
///
/// "Down" is from the upstream (a master) to who connected (a slave), "up" the other way.
pub struct Proxy {
    /// Where to connect to.
    pub addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    upstream: Mutex<String>,
    /// Every chunk waits so long before it goes on, ms.
    delay_ms: AtomicU64,
    /// Nothing goes on, and nobody is told.
    held: AtomicBool,
    /// The same for connections with a lower number.
    held_below: AtomicU64,
    /// New connections are closed at once.
    refusing: AtomicBool,
    /// Bytes until the one that gets a bit flipped; below 0: none.
    corrupt_after: AtomicI64,
    /// Bytes until the connection is cut; below 0: never.
    cut_after: AtomicI64,
    /// Counts cuts: a connection that began before the last one ends.
    generation: AtomicU64,
    /// Bytes that went down.
    down: AtomicU64,
    /// Connections that were made.
    accepted: AtomicU64,
    over: AtomicBool,
}

impl Proxy {
    /// A relay to `upstream` (`host:port`; nobody need listen there yet).
    pub fn to(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("proxy: {e}"));
        let addr = listener.local_addr().unwrap_or_else(|e| panic!("proxy: {e}"));
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream.to_owned()),
            corrupt_after: AtomicI64::new(-1),
            cut_after: AtomicI64::new(-1),
            ..Shared::default()
        });
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || accept(&listener, &accepting));
        Self { addr, shared }
    }

    /// `127.0.0.1:port`.
    pub fn addr(&self) -> String {
        self.addr.to_string()
    }

    /// Every piece is handed on so much later.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay_ms.store(delay.as_millis() as u64, SeqCst);
    }

    /// Cuts all connections; new ones are taken.
    pub fn cut(&self) {
        self.shared.generation.fetch_add(1, SeqCst);
    }

    /// Cuts all connections and takes no new ones, or takes them again.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, SeqCst);
        if refuse {
            self.cut();
        }
    }

    /// Hands nothing on while connections stay open, as behind a cable that was pulled; or goes on.
    pub fn hold(&self, hold: bool) {
        self.shared.held.store(hold, SeqCst);
    }

    /// Hands nothing on for ever on the connections that are open now, without closing them; new
    /// ones work. Both ends are left with a connection whose other end is gone.
    pub fn forget_open_ones(&self) {
        self.shared.held_below.store(self.connections(), SeqCst);
    }

    /// Flips a bit of the byte that comes down after `bytes` others, once.
    pub fn corrupt_after(&self, bytes: i64) {
        self.shared.corrupt_after.store(bytes, SeqCst);
    }

    /// Whether that byte has passed.
    pub fn has_corrupted(&self) -> bool {
        self.shared.corrupt_after.load(SeqCst) < 0
    }

    /// Cuts the connection when `bytes` more have come down, once.
    pub fn cut_after(&self, bytes: i64) {
        self.shared.cut_after.store(bytes, SeqCst);
    }

    /// Whether that cut was made.
    pub fn has_cut(&self) -> bool {
        self.shared.cut_after.load(SeqCst) < 0
    }

    /// Bytes that came down.
    pub fn bytes_down(&self) -> u64 {
        self.shared.down.load(SeqCst)
    }

    /// Connections that were made.
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.over.store(true, SeqCst);
        self.cut();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(self.addr);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.over.load(SeqCst) {
            return;
        }
        let Ok(client) = client else { continue };
        if shared.refusing.load(SeqCst) {
            continue;
        }
        let number = shared.accepted.fetch_add(1, SeqCst);
        let upstream = shared.upstream.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Nobody there: the client sees its connection closed.
        let Ok(server) = TcpStream::connect(&upstream) else { continue };
        let generation = shared.generation.load(SeqCst);
        let pairs = [(&client, &server, false), (&server, &client, true)];
        for (from, to, down) in pairs {
            let _ = to.set_nodelay(true);
            let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { continue };
            let shared = Arc::clone(shared);
            std::thread::spawn(move || {
                let _ = relay(&from, &to, down, [number, generation], &shared);
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

fn relay(
    mut from: &TcpStream,
    mut to: &TcpStream,
    down: bool,
    [number, generation]: [u64; 2],
    shared: &Shared,
) -> std::io::Result<()> {
    let held = || shared.held.load(SeqCst) || number < shared.held_below.load(SeqCst);
    from.set_read_timeout(Some(TICK))?;
    let mut buffer = vec![0; 64 << 10];
    while shared.generation.load(SeqCst) == generation {
        if held() {
            std::thread::sleep(TICK);
            continue;
        }
        let bytes = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        let delay = shared.delay_ms.load(SeqCst);
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay));
        }
        // What was on its way when the cable was pulled is late, not lost: TCP sends it again.
        while held() && shared.generation.load(SeqCst) == generation {
            std::thread::sleep(TICK);
        }
        if shared.generation.load(SeqCst) != generation {
            break;
        }
        let mut passing = bytes;
        if down {
            if let Some(at) = count_down(&shared.corrupt_after, bytes) {
                buffer[at] ^= 0x10;
            }
            if let Some(at) = count_down(&shared.cut_after, bytes) {
                passing = at;
            }
            shared.down.fetch_add(passing as u64, SeqCst);
        }
        to.write_all(&buffer[..passing])?;
        if passing < bytes {
            break;
        }
    }
    Ok(())
}

/// Lets `bytes` pass; where in them the counter ends, if it does. It is then below 0.
fn count_down(counter: &AtomicI64, bytes: usize) -> Option<usize> {
    let before = counter.load(SeqCst);
    if before < 0 {
        return None;
    }
    let hit = before < bytes as i64;
    counter.store(if hit { -1 } else { before - bytes as i64 }, SeqCst);
    hit.then_some(before as usize)
}
