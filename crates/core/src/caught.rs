//! What panics while somebody waits for it: they are told, and what runs beside it goes on.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

/// What was waited for has panicked. What the panic said is not here: it may hold anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it has panicked")]
pub struct Panicked;

/// What comes of `future`, or that nothing does.
///
/// # Errors
/// [`Panicked`]. The hook of the process has been told what it said, and where.
pub async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut future = pin!(future);
    // After a panic it is not asked again, so that nobody sees what it left behind.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(polled) => polled.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_panics_is_an_answer_whenever_it_does() {
        assert_eq!(caught(ready(1)).await, Ok(1));
        assert_eq!(caught(async { panic!("secret-of-a-caller") as u8 }).await, Err(Panicked));
        let later = async {
            tokio::task::yield_now().await;
            panic!("later") as u8
        };
        assert_eq!(caught(later).await, Err(Panicked));
        // What never ends is still waited for.
        let never = timeout(std::time::Duration::ZERO, caught(pending::<u8>()));
        assert!(never.await.is_err());
    }
}
