//! Coarse deadlines: one tick looks at all of them, so that arming and disarming one costs a write to
//! memory. A timer of the runtime for each request would cost more than the decision about it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    task::{Context, Waker},
    time::Duration,
};

use tegata_core::SinceBoot;

const NEVER: u64 = u64::MAX;

/// The deadlines of one worker.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    now: Cell<u64>,
    slots: RefCell<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    all: Vec<Armed>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Armed {
    at: u64,
    waker: Option<Waker>,
    /// Set when it expires, for whoever does not wait for it.
    flag: Option<Rc<Cell<bool>>>,
}

/// One deadline, disarmed until it is armed. Freed when dropped.
#[derive(Debug)]
pub(crate) struct Deadline {
    owner: Rc<Deadlines>,
    index: usize,
}

impl Deadlines {
    /// A deadline that is not armed.
    pub(crate) fn slot(self: &Rc<Self>) -> Deadline {
        let mut slots = self.slots.borrow_mut();
        let fresh = Armed { at: NEVER, waker: None, flag: None };
        let index = match slots.free.pop() {
            Some(index) => {
                if let Some(slot) = slots.all.get_mut(index) {
                    *slot = fresh;
                }
                index
            }
            None => {
                slots.all.push(fresh);
                slots.all.len() - 1
            }
        };
        Deadline { owner: Rc::clone(self), index }
    }

    /// A deadline that expires `span` from now.
    pub(crate) fn armed(self: &Rc<Self>, span: Duration) -> Deadline {
        let deadline = self.slot();
        deadline.arm(span);
        deadline
    }

    /// The time that was last taken note of, in milliseconds.
    pub(crate) fn now(&self) -> u64 {
        self.now.get()
    }

    /// Takes note of the time.
    pub(crate) fn see(&self, now: SinceBoot) {
        self.now.set(u64::try_from(now.0.as_millis()).unwrap_or(NEVER - 1));
    }

    /// Wakes everybody who waits. Whoever is told when a deadline expires still will be.
    pub(crate) fn wake_all(&self) {
        let wake = |slot: &mut Armed| match &slot.flag {
            Some(_) => slot.waker.clone(),
            None => slot.waker.take(),
        };
        let all: Vec<_> = self.slots.borrow_mut().all.iter_mut().filter_map(wake).collect();
        all.into_iter().for_each(Waker::wake);
    }

    /// Takes note of the time, and wakes whoever waits beyond a deadline.
    pub(crate) fn tick(&self, now: SinceBoot) {
        self.see(now);
        let now = self.now.get();
        // Waking may run code that arms deadlines, so the list is not held meanwhile.
        let mut woken = Vec::new();
        for slot in &mut self.slots.borrow_mut().all {
            if slot.at <= now {
                woken.extend(slot.waker.take());
                if let Some(flag) = &slot.flag {
                    flag.set(true);
                }
            }
        }
        woken.into_iter().for_each(Waker::wake);
    }
}

impl Deadline {
    /// Another one of the same worker.
    pub(crate) fn another(&self) -> Self {
        self.owner.slot()
    }

    /// What time it is, in milliseconds, as it was last looked at.
    pub(crate) fn now(&self) -> u64 {
        self.owner.now.get()
    }

    /// Expires `span` from now, whatever was armed before.
    pub(crate) fn arm(&self, span: Duration) {
        let span = u64::try_from(span.as_millis()).unwrap_or(NEVER);
        self.set(self.owner.now.get().saturating_add(span).min(NEVER - 1));
    }

    /// When it expires, `flag` is set and `waker` is woken, though nobody asks.
    pub(crate) fn tell(&self, flag: &Rc<Cell<bool>>, waker: Option<Waker>) {
        if let Some(slot) = self.owner.slots.borrow_mut().all.get_mut(self.index) {
            slot.flag = Some(Rc::clone(flag));
            slot.waker = waker;
        }
    }

    /// Does not expire.
    pub(crate) fn disarm(&self) {
        self.set(NEVER);
    }

    /// Whether it is armed.
    pub(crate) fn is_armed(&self) -> bool {
        self.owner.slots.borrow().all.get(self.index).is_some_and(|slot| slot.at != NEVER)
    }

    /// Whether it has expired. Otherwise the task is woken when it does.
    pub(crate) fn is_expired(&self, cx: &Context<'_>) -> bool {
        let now = self.owner.now.get();
        let mut slots = self.owner.slots.borrow_mut();
        let Some(slot) = slots.all.get_mut(self.index) else { return true };
        if slot.at <= now {
            return true;
        }
        if !slot.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            slot.waker = Some(cx.waker().clone());
        }
        false
    }

    /// Wakes whoever waits for it, though it has not expired.
    pub(crate) fn wake(&self) {
        let slot =
            self.owner.slots.borrow_mut().all.get_mut(self.index).map(|slot| slot.waker.take());
        if let Some(waker) = slot.flatten() {
            waker.wake();
        }
    }

    fn set(&self, at: u64) {
        if let Some(slot) = self.owner.slots.borrow_mut().all.get_mut(self.index) {
            slot.at = at;
        }
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut slots = self.owner.slots.borrow_mut();
        let waker = slots.all.get_mut(self.index).and_then(|slot| {
            slot.at = NEVER;
            slot.flag = None;
            slot.waker.take()
        });
        slots.free.push(self.index);
        drop(slots);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering},
        },
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn at(secs: u64) -> SinceBoot {
        SinceBoot(Duration::from_secs(secs))
    }

    #[test]
    fn wakes_whoever_waits_beyond_a_deadline_and_nobody_else() {
        let deadlines = Rc::new(Deadlines::default());
        deadlines.tick(at(100));
        let (near, far, off) = (deadlines.slot(), deadlines.slot(), deadlines.slot());
        near.arm(Duration::from_secs(5));
        far.arm(Duration::from_secs(50));
        let count = Arc::new(Count::default());
        let waker = Waker::from(Arc::clone(&count));
        let cx = Context::from_waker(&waker);
        assert!([&near, &far, &off].iter().all(|deadline| !deadline.is_expired(&cx)));
        deadlines.tick(at(104));
        assert_eq!(count.0.load(Ordering::SeqCst), 0);
        deadlines.tick(at(105));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        assert!(near.is_expired(&cx) && !far.is_expired(&cx));
        near.disarm();
        assert!(!near.is_expired(&cx) && !near.is_armed());
    }

    #[test]
    fn tells_whoever_does_not_wait() {
        let deadlines = Rc::new(Deadlines::default());
        let (deadline, flag) = (deadlines.slot(), Rc::new(Cell::new(false)));
        let count = Arc::new(Count::default());
        deadline.tell(&flag, Some(Waker::from(Arc::clone(&count))));
        deadline.arm(Duration::from_secs(5));
        deadlines.tick(at(4));
        assert!(!flag.get());
        // It has not expired, and is told of later.
        deadlines.wake_all();
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
        deadlines.tick(at(5));
        assert!(flag.get());
        assert_eq!(count.0.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_freed_slot_is_used_again_and_disarmed() {
        let deadlines = Rc::new(Deadlines::default());
        let first = deadlines.slot();
        first.arm(Duration::ZERO);
        drop(first);
        let second = deadlines.slot();
        assert_eq!(second.index, 0);
        assert!(!second.is_armed());
        assert_eq!(deadlines.slots.borrow().all.len(), 1);
    }
}
