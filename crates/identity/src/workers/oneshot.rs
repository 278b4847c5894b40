//! One value from a thread to a future.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

/// The two ends of a channel for one value.
pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Mutex::new(Shared { state: State::Empty, waker: None }));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    state: State<T>,
    waker: Option<Waker>,
}

enum State<T> {
    Empty,
    Sent(T),
    /// One end is gone: there will be no value, or nobody to take it.
    Closed,
}

/// The sending end.
pub(super) struct Sender<T>(Arc<Mutex<Shared<T>>>);

/// The receiving end: a future that ends with the value, or `None` if there will be none.
pub(super) struct Receiver<T>(Arc<Mutex<Shared<T>>>);

impl<T> Sender<T> {
    /// Whether nobody waits any more.
    pub(super) fn is_abandoned(&self) -> bool {
        matches!(self.0.lock().state, State::Closed)
    }

    pub(super) fn send(self, value: T) {
        let mut shared = self.0.lock();
        if matches!(shared.state, State::Empty) {
            shared.state = State::Sent(value);
        }
        // Dropping the sender wakes the receiver.
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waker = {
            let mut shared = self.0.lock();
            if matches!(shared.state, State::Empty) {
                shared.state = State::Closed;
            }
            shared.waker.take()
        };
        // Outside the lock: the woken task may run at once, here.
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut shared = self.0.lock();
        match std::mem::replace(&mut shared.state, State::Closed) {
            State::Sent(value) => Poll::Ready(Some(value)),
            State::Closed => Poll::Ready(None),
            State::Empty => {
                shared.state = State::Empty;
                shared.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        shared.state = State::Closed;
        shared.waker = None;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn hands_over_the_value_once() {
        let (sender, mut receiver) = channel();
        assert_eq!((&mut receiver).now_or_never(), None);
        sender.send(7);
        assert_eq!((&mut receiver).now_or_never(), Some(Some(7)));
        assert_eq!(receiver.now_or_never(), Some(None));
    }

    #[test]
    fn each_end_learns_that_the_other_is_gone() {
        let (sender, receiver) = channel::<u8>();
        drop(sender);
        assert_eq!(receiver.now_or_never(), Some(None));
        let (sender, receiver) = channel::<u8>();
        assert!(!sender.is_abandoned());
        drop(receiver);
        assert!(sender.is_abandoned());
        sender.send(1);
    }

    #[tokio::test]
    async fn wakes_a_task_on_another_thread() {
        let (sender, receiver) = channel();
        let thread = std::thread::spawn(move || sender.send("woken"));
        assert_eq!(receiver.await, Some("woken"));
        thread.join().unwrap();
    }
}
