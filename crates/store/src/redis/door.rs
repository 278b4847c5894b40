//! A connection that all who need it share, also while it is made. Making it goes on when those who
//! wait for it leave, so that it is there for the next.

use std::time::Duration;

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::fault::Fault;

type Opening<T> = Shared<BoxFuture<'static, Result<T, Fault>>>;

/// A connection that is made when it is needed, and anew when it is of no more use.
pub(super) struct Door<T: Clone>(Mutex<Option<Opening<T>>>);

impl<T: Clone + Send + Sync + 'static> Door<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// The connection that is there, of use or not.
    pub(super) fn there(&self) -> Option<T> {
        let door = self.0.lock();
        door.as_ref().and_then(|opening| opening.peek()?.as_ref().ok().cloned())
    }

    /// The connection that is there, if it is of use, or a new one. Nobody waits for it longer than
    /// `patience`.
    pub(super) async fn open<F>(
        &self,
        is_usable: impl Fn(&T) -> bool,
        patience: Duration,
        open: impl FnOnce() -> F,
    ) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let opening = {
            let mut door = self.0.lock();
            match door.as_ref().map(|opening| (opening, opening.peek())) {
                Some((_, Some(Ok(there)))) if is_usable(there) => return Ok(there.clone()),
                Some((opening, None)) => opening.clone(),
                _ => {
                    let opening = open().boxed().shared();
                    tokio::spawn(opening.clone());
                    door.insert(opening).clone()
                }
            }
        };
        let waited = timeout(patience, opening).await;
        waited.unwrap_or_else(|_| {
            let waited = patience.as_millis();
            Err(Fault::Unsent(format!("no connection after {waited} ms")))
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// Longer than anything takes.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn who_leaves_throws_nothing_away() {
        let door = Door::new();
        let (opens, opened) = oneshot::channel();
        let impatient = door.open(|_| true, Duration::ZERO, || async { Ok(opened.await.unwrap()) });
        assert!(matches!(impatient.await, Err(Fault::Unsent(_))));
        // Nobody waits for it now, and it is made all the same.
        opens.send(7).unwrap();
        let again = || async { Err(Fault::Lost("it was begun again".to_owned())) };
        assert_eq!(door.open(|_| true, PATIENCE, again).await.unwrap(), 7);
        assert_eq!(door.open(|_| true, PATIENCE, again).await.unwrap(), 7);
        // One that is of no more use is made anew, and so is one that could not be made.
        let anew = door.open(|it| *it != 7, PATIENCE, again).await;
        assert!(matches!(anew, Err(Fault::Lost(_))));
        let anew = door.open(|_| true, PATIENCE, || async { Ok(8) }).await;
        assert_eq!(anew.unwrap(), 8);
    }
}
