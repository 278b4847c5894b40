//! The threads that alone speak to a token: one for the root key, several for keys that sign.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::Node;
use tokio::{sync::oneshot, time::timeout};

use super::{
    Pkcs11Config, Pkcs11Refused,
    token::{Shared, Token},
};

/// How much may wait for the token. Data keys are few: what comes beyond is not worth waiting for.
const WAITING: usize = 64;

/// Something to be done with the token.
type Job = Box<dyn FnOnce(&mut Token) + Send>;

/// A handle on the thread, which ends with it.
pub(super) struct Thread {
    /// `None` only while this is dropped.
    jobs: Option<SyncSender<Job>>,
    ended: Mutex<Receiver<()>>,
    shared: Arc<Shared>,
    token: String,
    limit: Duration,
}

impl Thread {
    /// Starts the thread. It asks nothing of the token yet.
    ///
    /// # Errors
    /// [`Pkcs11Refused::Unasked`] where the system gives no thread.
    pub(super) fn start(config: &Pkcs11Config, node: &Node) -> Result<Self, Pkcs11Refused> {
        Self::several(config, node, Arc::default(), 1, WAITING)
    }

    /// Starts several threads, each with a session of its own, that take from one queue what is to be
    /// done: no more than `waiting` waits in it.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub(super) fn several(
        config: &Pkcs11Config,
        node: &Node,
        shared: Arc<Shared>,
        threads: usize,
        waiting: usize,
    ) -> Result<Self, Pkcs11Refused> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(waiting);
        let (ending, ended) = mpsc::sync_channel::<()>(0);
        let (label, limit) = (config.token.clone(), config.timeout);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.max(1) {
            let mut token = Token::new(config.clone(), node.clone(), Arc::clone(&shared));
            let (queue, ending) = (Arc::clone(&queue), ending.clone());
            let started = thread::Builder::new().name("pkcs11".to_owned()).spawn(move || {
                // Hung up when the session is closed.
                let _ending = ending;
                loop {
                    // Whoever waits holds the queue; whoever works does not.
                    let next = queue.lock().recv();
                    let Ok(job) = next else { break };
                    job(&mut token);
                }
                drop(token);
            });
            if let Err(error) = started {
                return Err(Pkcs11Refused::Unasked { token: label, detail: error.to_string() });
            }
        }
        Ok(Self { jobs: Some(jobs), ended: Mutex::new(ended), shared, token: label, limit })
    }

    /// What all threads that use the token share.
    pub(super) const fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The label of the token.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Does something with the token, and waits for it as long as an answer may take.
    pub(super) async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Token) -> Result<T, Pkcs11Refused> + Send + 'static,
    ) -> Result<T, Pkcs11Refused> {
        self.call_within(self.limit, work).await
    }

    /// The same, with a limit of its own.
    pub(super) async fn call_within<T: Send + 'static>(
        &self,
        limit: Duration,
        work: impl FnOnce(&mut Token) -> Result<T, Pkcs11Refused> + Send + 'static,
    ) -> Result<T, Pkcs11Refused> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |token| {
            // Nobody waits for it any more: a token that hung is not asked in vain afterwards.
            if !answer.is_closed() {
                let _gone = answer.send(work(token));
            }
        });
        self.send(job)?;
        match timeout(limit, answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(self.ended()),
            Err(_) => Err(Pkcs11Refused::Silent { token: self.token.clone(), limit }),
        }
    }

    /// The same as [`Self::call`], for a thread that may wait itself.
    pub(super) fn call_waiting<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Token) -> Result<T, Pkcs11Refused> + Send + 'static,
    ) -> Result<T, Pkcs11Refused> {
        let (answer, answered) = mpsc::sync_channel(1);
        let gone = Arc::new(AtomicBool::new(false));
        let given_up = Arc::clone(&gone);
        self.send(Box::new(move |token| {
            if !given_up.load(Ordering::Acquire) {
                let _gone = answer.send(work(token));
            }
        }))?;
        match answered.recv_timeout(self.limit) {
            Ok(done) => done,
            Err(RecvTimeoutError::Disconnected) => Err(self.ended()),
            Err(RecvTimeoutError::Timeout) => {
                gone.store(true, Ordering::Release);
                Err(Pkcs11Refused::Silent { token: self.token.clone(), limit: self.limit })
            }
        }
    }

    fn send(&self, job: Job) -> Result<(), Pkcs11Refused> {
        let jobs = self.jobs.as_ref().ok_or_else(|| self.ended())?;
        jobs.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => self.unasked("too much waits for it already"),
            TrySendError::Disconnected(_) => self.ended(),
        })
    }

    fn ended(&self) -> Pkcs11Refused {
        self.unasked("the thread that asks it has ended")
    }

    fn unasked(&self, detail: &str) -> Pkcs11Refused {
        Pkcs11Refused::Unasked { token: self.token.clone(), detail: detail.to_owned() }
    }
}

impl Drop for Thread {
    /// Waits until the session is closed: a program that ends while its library is at work may crash
    /// in it. A token that hangs is not waited for.
    fn drop(&mut self) {
        self.jobs = None;
        let _hung_up = self.ended.get_mut().recv_timeout(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::Secret;

    use super::*;

    fn start(limit: Duration) -> Thread {
        let config = Pkcs11Config {
            module: "/nowhere/library.so".into(),
            token: "token".to_owned(),
            key: "root".to_owned(),
            pin: Secret::new(String::new()),
            timeout: limit,
        };
        Thread::start(&config, &Node::start()).unwrap()
    }

    #[tokio::test]
    async fn a_token_that_hangs_holds_up_nobody_for_longer_than_the_limit() {
        let thread = start(Duration::from_millis(20));
        let (release, released) = mpsc::channel::<()>();
        let hangs = thread.call(move |_| {
            let _released = released.recv();
            Ok(())
        });
        let silent = hangs.await.unwrap_err();
        assert!(matches!(silent, Pkcs11Refused::Silent { .. }), "{silent}");
        let (asked, was_asked) = mpsc::channel::<()>();
        for _ in 0..WAITING {
            let asked = asked.clone();
            let refused = thread.call(move |_| Ok(asked.send(()).is_ok())).await.unwrap_err();
            assert!(matches!(refused, Pkcs11Refused::Silent { .. }), "{refused}");
        }
        let full = thread.call(|_| Ok(())).await.unwrap_err();
        assert!(full.to_string().contains("too much waits"), "{full}");
        // It answers again: what nobody waits for any more is not asked.
        drop(release);
        let long = Duration::from_secs(60);
        while thread.call_within(long, |_| Ok(())).await.is_err() {
            tokio::task::yield_now().await;
        }
        drop((thread, asked));
        assert!(was_asked.recv().is_err(), "something was asked although nobody waited for it");
    }

    #[tokio::test]
    async fn a_thread_that_ended_is_told() {
        let thread = start(Duration::from_secs(60));
        let ends = thread.call(|_| -> Result<(), _> { panic!("the library failed") }).await;
        assert!(ends.unwrap_err().to_string().contains("has ended"));
        while thread.call(|_| Ok(())).await.is_ok() {}
        let ended = thread.call(|_| Ok(())).await.unwrap_err();
        assert!(matches!(ended, Pkcs11Refused::Unasked { .. }), "{ended}");
    }
}
