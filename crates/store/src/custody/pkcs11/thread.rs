//! The thread that alone speaks to a token.

use std::{
    sync::mpsc::{self, Receiver, SyncSender, TrySendError},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::Node;
use tokio::{sync::oneshot, time::timeout};

use super::{Pkcs11Config, Pkcs11Refused, token::Token};

/// How much may wait for the token. Data keys are few: what comes beyond is not worth waiting for.
const WAITING: usize = 64;

/// Something to be done with the token.
type Job = Box<dyn FnOnce(&mut Token) + Send>;

/// A handle on the thread, which ends with it.
pub(super) struct Thread {
    /// `None` only while this is dropped.
    jobs: Option<SyncSender<Job>>,
    ended: Mutex<Receiver<()>>,
    token: String,
    limit: Duration,
}

impl Thread {
    /// Starts the thread. It asks nothing of the token yet.
    ///
    /// # Errors
    /// [`Pkcs11Refused::Unasked`] where the system gives no thread.
    pub(super) fn start(config: Pkcs11Config, node: &Node) -> Result<Self, Pkcs11Refused> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(WAITING);
        let (ending, ended) = mpsc::sync_channel::<()>(0);
        let (label, limit) = (config.token.clone(), config.timeout);
        let mut token = Token::new(config, node.clone());
        let started = thread::Builder::new().name("pkcs11".to_owned()).spawn(move || {
            // Hung up when the session is closed.
            let _ending = ending;
            for job in queue {
                job(&mut token);
            }
            drop(token);
        });
        match started {
            Ok(_) => Ok(Self { jobs: Some(jobs), ended: Mutex::new(ended), token: label, limit }),
            Err(error) => Err(Pkcs11Refused::Unasked { token: label, detail: error.to_string() }),
        }
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
        let unasked = |detail: &str| Pkcs11Refused::Unasked {
            token: self.token.clone(),
            detail: detail.to_owned(),
        };
        let ended = || unasked("the thread that asks it has ended");
        self.jobs.as_ref().ok_or_else(ended)?.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(_) => unasked("too much waits for it already"),
            TrySendError::Disconnected(_) => ended(),
        })?;
        match timeout(limit, answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err(ended()),
            Err(_) => Err(Pkcs11Refused::Silent { token: self.token.clone(), limit }),
        }
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
        Thread::start(config, &Node::start()).unwrap()
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
