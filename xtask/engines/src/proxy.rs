//! What stands between a node and something that it depends on, and breaks the way between them.

use std::{
    collections::BTreeMap,
    io::{self, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::process::lock;

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything is carried.
    Sound,
    /// Everything is carried, each piece this much later.
    Delay(Duration),
    /// Whoever connects is sent away, and whoever is connected is cut off.
    Refuse,
    /// Whoever connects is let in, and nothing is carried. Connections stay open and silent; what
    /// they were given meanwhile is carried when the way is sound again, as TCP does it.
    BlackHole,
    /// Only this direction is carried; the other is as in a black hole.
    OneWay(Direction),
    /// Of answers, one in so many is not carried, chosen from a seed, and its connection is cut: it
    /// was done, and who asked does not learn it.
    LoseAnswers {
        /// One in how many.
        one_in: u64,
        /// What the choice begins with.
        seed: u64,
    },
}

/// Where something goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From whoever connected.
    ToServer,
    /// To whoever connected.
    ToClient,
}

/// A port of this machine that leads to another one. It is closed when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    way: Arc<Way>,
}

#[derive(Debug)]
struct Way {
    mode: Mutex<Mode>,
    turned: Condvar,
    /// Where it leads: to the first that takes the connection, another one first each time.
    targets: Mutex<Vec<u16>>,
    next: AtomicUsize,
    /// Both ends of each connection, by its number.
    open: Mutex<BTreeMap<usize, (TcpStream, TcpStream)>>,
    random: AtomicU64,
    lost: AtomicU64,
    closed: AtomicBool,
}

impl Proxy {
    /// A sound way to a port of this machine.
    #[must_use]
    pub fn before(port: u16) -> Self {
        Self::among(&[port])
    }

    /// A sound way to whichever of these ports takes a connection, in turn.
    #[must_use]
    pub fn among(ports: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for a proxy");
        let port = listener.local_addr().expect("a port for a proxy").port();
        let way = Arc::new(Way {
            mode: Mutex::new(Mode::Sound),
            turned: Condvar::new(),
            targets: Mutex::new(ports.to_vec()),
            next: AtomicUsize::new(0),
            open: Mutex::default(),
            random: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let taking = Arc::clone(&way);
        thread::spawn(move || taking.take(&listener));
        Self { port, way }
    }

    /// Lets it lead to other ports.
    pub fn lead_to(&self, ports: &[u16]) {
        *lock(&self.way.targets) = ports.to_vec();
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Makes the way be so, for whoever is connected too.
    pub fn set(&self, mode: Mode) {
        if let Mode::LoseAnswers { seed, .. } = mode {
            self.way.random.store(seed, Ordering::SeqCst);
        }
        *lock(&self.way.mode) = mode;
        self.way.turned.notify_all();
        if mode == Mode::Refuse {
            self.cut();
        }
    }

    /// Cuts whoever is connected off, and lets whoever comes connect as before.
    pub fn cut(&self) {
        for (client, server) in lock(&self.way.open).values() {
            close(client, server);
        }
    }

    /// How many answers were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.way.lost.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.way.closed.store(true, Ordering::SeqCst);
        self.set(Mode::Refuse);
        // Whoever waits for connections is given one, sees that it is over, and ends.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Way {
    fn take(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.closed.load(Ordering::SeqCst) {
                return;
            }
            let Ok(client) = client else { continue };
            let way = Arc::clone(&self);
            thread::spawn(move || way.connect(client));
        }
    }

    fn connect(self: Arc<Self>, client: TcpStream) {
        // Where nothing is carried, nobody learns that somebody wants to connect.
        if self.pass(Direction::ToServer).is_none() {
            return;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(server) = self.reach(number) else { return };
        let _ = client.set_nodelay(true);
        let Ok(ends) = both(&client, &server) else { return };
        lock(&self.open).insert(number, ends);
        self.carry_both(client, server);
        lock(&self.open).remove(&number);
    }

    fn carry_both(self: &Arc<Self>, client: TcpStream, server: TcpStream) {
        // It may have been turned while this one was on its way in.
        if *lock(&self.mode) == Mode::Refuse {
            close(&client, &server);
            return;
        }
        let Ok((other_client, other_server)) = both(&client, &server) else { return };
        let there = Arc::clone(self);
        let there = thread::spawn(move || there.carry(&client, &server, Direction::ToServer));
        self.carry(&other_server, &other_client, Direction::ToClient);
        let _ = there.join();
    }

    fn reach(&self, first: usize) -> Option<TcpStream> {
        let targets = lock(&self.targets).clone();
        (0..targets.len()).find_map(|n| {
            let port = *targets.get(first.wrapping_add(n) % targets.len())?;
            let place = SocketAddr::from(([127, 0, 0, 1], port));
            let stream = TcpStream::connect_timeout(&place, Duration::from_secs(2)).ok()?;
            stream.set_nodelay(true).ok()?;
            Some(stream)
        })
    }

    /// Carries what comes from one end to the other, until either is gone.
    fn carry(&self, mut from: &TcpStream, mut to: &TcpStream, direction: Direction) {
        let mut piece = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut piece);
            let Some(mode) = self.pass(direction) else { break };
            let Ok(length) = read else { break };
            if length == 0 {
                // The other direction may still have something to say.
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            if let Mode::Delay(span) = mode {
                pause(span);
            }
            if direction == Direction::ToClient && self.is_lost(mode) {
                self.lost.fetch_add(1, Ordering::SeqCst);
                break;
            }
            if to.write_all(piece.get(..length).unwrap_or_default()).is_err() {
                break;
            }
        }
        close(from, to);
    }

    /// Waits until this direction is carried, and answers how; `None` where nothing is any more.
    fn pass(&self, direction: Direction) -> Option<Mode> {
        let mut mode = lock(&self.mode);
        loop {
            match *mode {
                Mode::Refuse => return None,
                Mode::BlackHole => {}
                Mode::OneWay(only) if only != direction => {}
                other => return Some(other),
            }
            mode = self.turned.wait(mode).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn is_lost(&self, mode: Mode) -> bool {
        let Mode::LoseAnswers { one_in, .. } = mode else { return false };
        // SplitMix64 (Steele, Lea, Flood 2014).
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let state = self.random.fetch_add(STEP, Ordering::SeqCst).wrapping_add(STEP);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).is_multiple_of(one_in.max(1))
    }
}

fn both(client: &TcpStream, server: &TcpStream) -> io::Result<(TcpStream, TcpStream)> {
    Ok((client.try_clone()?, server.try_clone()?))
}

/// Whoever reads or writes there learns that it is over.
fn close(client: &TcpStream, server: &TcpStream) {
    let _ = client.shutdown(Shutdown::Both);
    let _ = server.shutdown(Shutdown::Both);
}

fn pause(span: Duration) {
    let (_nobody, nothing) = mpsc::channel::<()>();
    let _ = nothing.recv_timeout(span);
}

#[cfg(test)]
mod tests;
