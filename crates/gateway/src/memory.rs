//! What connections and what passes on them may hold. No more is taken from one side than the other takes, and
//! how far ahead one may be is less the more there are: the buffers of all bodies together fit into what is
//! left of `limits.memory`.
//!
//! Connections are counted with what they hold at most while nothing passes, requests with their heads where these are large, and
//! bodies with what has come and has not been taken yet. That is more than allocators are asked for at most
//! times and less than what they keep, so the bound is one of design: what the process holds is measured by a
//! scenario (`cargo xtask faults r7`).

use std::{
    fmt, fs,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;

use crate::stream;

/// What a connection holds: its task, its buffers, its deadlines. With TLS there are more buffers.
pub(crate) const CONNECTION: usize = 16 * 1024;
pub(crate) const CONNECTION_TLS: usize = 48 * 1024;
/// How much of one request's body may come with HTTP/2 before it is passed on.
pub(crate) const WINDOW: u32 = 128 * 1024;
/// The same for all of a connection, at most.
const WHOLE_WINDOW: u32 = 1024 * 1024;
/// How much of a body is under way at most, and at least.
const LARGEST: usize = 256 * 1024;
const SMALLEST: usize = 16 * 1024;
/// What passes of a body before anybody counts it: most bodies are small.
const UNCOUNTED: usize = 16 * 1024;
/// How much is read at once at most, and at least.
const READ: (usize, usize) = (8 * 1024, 64 * 1024);

/// What all that passes holds.
pub(crate) struct Memory {
    budget: AtomicUsize,
    held: AtomicUsize,
    /// How many bodies are counted.
    bodies: AtomicUsize,
}

impl Memory {
    /// With this many bytes. 0: half of what the machine has.
    pub(crate) fn new(bytes: u64) -> Arc<Self> {
        let memory = Self {
            budget: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
        };
        memory.allow(bytes);
        Arc::new(memory)
    }

    /// From now on there are so many bytes: less what the process has at the moment, and a quarter of them at
    /// least.
    pub(crate) fn allow(&self, bytes: u64) {
        let all = if bytes == 0 { machine() / 2 } else { bytes };
        let all = usize::try_from(all).unwrap_or(usize::MAX);
        let own = resident().saturating_sub(self.held.load(Relaxed));
        self.budget.store(all.saturating_sub(own).max(all / 4), Relaxed);
    }

    /// What is held, in bytes, and what may be.
    pub(crate) fn held(&self) -> (usize, usize) {
        (self.held.load(Relaxed), self.budget.load(Relaxed))
    }

    /// Whether no more requests are let in. For some, a part is kept.
    pub(crate) fn is_short(&self, for_some: bool) -> bool {
        let (held, budget) = self.held();
        held > if for_some { budget } else { budget - budget / 8 }
    }

    /// Whether what merely makes answers shorter goes without: well before anybody is refused for it.
    pub(crate) fn is_half_full(&self) -> bool {
        let (held, budget) = self.held();
        held > budget / 2
    }

    /// Whether there is no room for one more connection.
    pub(crate) fn is_full(&self) -> bool {
        let (held, budget) = self.held();
        // The rest is for what passes on those that there are.
        held > budget / 4 * 3
    }

    /// Counts so many bytes, until it is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        self.held.fetch_add(bytes, Relaxed);
        Charge { memory: Arc::clone(self), bytes }
    }

    /// How much of each body may be under way.
    fn window(&self) -> usize {
        let (held, budget) = self.held();
        let bodies = self.bodies.load(Relaxed).max(1);
        // What is under way passes several hands.
        (budget.saturating_sub(held) / bodies / 4).clamp(SMALLEST, LARGEST)
    }

    /// How much of all bodies of a connection of HTTP/2 may come before it is passed on. Who fills it with
    /// bodies that nobody takes has it [counted](crate::wire::Connection::body).
    pub(crate) fn whole_window(&self) -> u32 {
        let (held, budget) = self.held();
        let share = u32::try_from(budget.saturating_sub(held) / 256).unwrap_or(u32::MAX);
        share.clamp(WINDOW, WHOLE_WINDOW)
    }

    /// Says how much is read at once, for the connections of this thread.
    pub(crate) fn tell(&self) {
        let (least, most) = READ;
        stream::read_at_once((self.window() / 2).clamp(least, most));
    }
}

/// What counts, until it is dropped.
pub(crate) struct Charge {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.memory.held.fetch_sub(self.bytes, Relaxed);
    }
}

/// How much of one body is under way.
pub(crate) struct Window {
    memory: Arc<Memory>,
    passed: usize,
    under_way: Option<Arc<UnderWay>>,
}

struct UnderWay {
    memory: Arc<Memory>,
    bytes: AtomicUsize,
    waker: AtomicWaker,
}

/// A part of a body that is under way.
struct Part {
    data: Bytes,
    of: Arc<UnderWay>,
}

impl Window {
    pub(crate) fn new(memory: &Arc<Memory>) -> Self {
        Self { memory: Arc::clone(memory), passed: 0, under_way: None }
    }

    /// Waits until there is room for one more part.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let Some(under_way) = &self.under_way else { return Poll::Ready(()) };
        let has_room = || {
            let bytes = under_way.bytes.load(Relaxed);
            bytes == 0 || bytes < self.memory.window()
        };
        if has_room() {
            return Poll::Ready(());
        }
        under_way.waker.register(cx.waker());
        // It may have been taken meanwhile.
        if has_room() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Counts a part, until it has been taken.
    pub(crate) fn pass(&mut self, data: Bytes) -> Bytes {
        if self.under_way.is_none() {
            self.passed = self.passed.saturating_add(data.len());
            if self.passed <= UNCOUNTED {
                return data;
            }
        }
        let of = self.under_way.get_or_insert_with(|| {
            self.memory.bodies.fetch_add(1, Relaxed);
            self.memory.tell();
            let (memory, bytes) = (Arc::clone(&self.memory), AtomicUsize::new(0));
            Arc::new(UnderWay { memory, bytes, waker: AtomicWaker::new() })
        });
        if data.is_empty() {
            return data;
        }
        of.bytes.fetch_add(data.len(), Relaxed);
        of.memory.held.fetch_add(data.len(), Relaxed);
        Bytes::from_owner(Part { data, of: Arc::clone(of) })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        if self.under_way.is_some() {
            self.memory.bodies.fetch_sub(1, Relaxed);
        }
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.of.memory.held.fetch_sub(self.data.len(), Relaxed);
        self.of.bytes.fetch_sub(self.data.len(), Relaxed);
        self.of.waker.wake();
    }
}

/// What the process has, in bytes; 0 where the system does not say.
fn resident() -> usize {
    let kib = fs::read_to_string("/proc/self/status").ok().and_then(|it| number(&it, "VmRSS:"));
    usize::try_from(kib.unwrap_or(0).saturating_mul(1024)).unwrap_or(usize::MAX)
}

/// What there is for it, in bytes: what its control group or the machine has. Where neither says, a gibibyte.
fn machine() -> u64 {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let group = format!("/sys/fs/cgroup{}/memory.max", group.trim_end_matches('/'));
    let limit = fs::read_to_string(group).ok().and_then(|it| it.trim().parse::<u64>().ok());
    let all = fs::read_to_string("/proc/meminfo").ok().and_then(|it| number(&it, "MemTotal:"));
    let all = all.map_or(1 << 30, |kib| kib.saturating_mul(1024));
    limit.map_or(all, |limit| limit.min(all))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held, budget) = self.held();
        write!(f, "Memory({held} of {budget})")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::SeqCst},
        task::{Wake, Waker},
    };

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn of(bytes: usize) -> Arc<Memory> {
        let memory = Memory::new(1);
        memory.budget.store(bytes, Relaxed);
        memory
    }

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, SeqCst);
        }
    }

    #[test]
    fn the_more_bodies_there_are_the_less_of_each_is_under_way() {
        let memory = of(64 * MIB);
        let windows: Vec<_> = (0..1000)
            .map(|_| {
                let mut window = Window::new(&memory);
                let _ = window.pass(Bytes::from(vec![0; UNCOUNTED + 1]));
                window
            })
            .collect();
        assert_eq!(memory.window(), 16 * MIB / 1000);
        assert_eq!(memory.held().0, 0);
        drop(windows);
        assert_eq!(memory.window(), LARGEST);
        let most = memory.charge(63 * MIB);
        assert_eq!(memory.window(), LARGEST);
        assert!(memory.is_short(false) && !memory.is_short(true) && memory.is_full());
        drop(most);
        assert!(!memory.is_short(false) && !memory.is_full());
    }

    #[test]
    fn windows_of_connections_fit_whatever_comes() {
        let memory = of(256 * MIB);
        let mut open = Vec::new();
        while !memory.is_full() {
            open.push(memory.charge(usize::try_from(memory.whole_window()).unwrap()));
        }
        assert!(memory.held().0 < 200 * MIB && open.len() > 300, "{memory:?}, {}", open.len());
        // The last have less than the first had.
        assert!((WINDOW..WHOLE_WINDOW / 2).contains(&memory.whole_window()));
    }

    #[test]
    fn a_body_waits_until_a_part_was_taken_and_always_gets_on() {
        let memory = of(1);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = Context::from_waker(&waker);
        let mut window = Window::new(&memory);
        // One that is small is not counted.
        let small = window.pass(Bytes::from(vec![1; UNCOUNTED]));
        assert!(window.poll_room(&cx).is_ready() && memory.held().0 == 0);
        // A part that is larger than the window passes by itself.
        let large = window.pass(Bytes::from(vec![2; 2 * SMALLEST]));
        assert_eq!(&large[..1], &[2]);
        assert_eq!(memory.held().0, 2 * SMALLEST);
        assert!(window.poll_room(&cx).is_pending() && !woken.0.load(SeqCst));
        // Half of it is not all of it.
        let (kept, taken) = (large.slice(..5), large);
        drop(taken);
        assert!(window.poll_room(&cx).is_pending());
        drop(kept);
        assert!(woken.0.load(SeqCst) && window.poll_room(&cx).is_ready());
        drop((small, window));
        assert_eq!((memory.held().0, memory.bodies.load(Relaxed)), (0, 0));
    }

    #[test]
    fn what_the_process_has_already_is_not_given_away_twice() {
        let memory = Memory::new(1 << 40);
        let (_, budget) = memory.held();
        assert!(budget < 1 << 40 && budget > 1 << 39);
        memory.allow(4096);
        assert_eq!(memory.held().1, 1024);
        memory.allow(0);
        assert!(memory.held().1 > 16 * MIB);
    }

    #[test]
    fn numbers_of_the_system_are_read() {
        let status = "Name:\ttegata\nVmRSS:\t  123456 kB\nThreads:\t1\n";
        assert_eq!(number(status, "VmRSS:"), Some(123_456));
        assert_eq!(number(status, "VmHWM:"), None);
    }
}
