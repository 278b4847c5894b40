//! Which trace what happens now belongs to, so that what is written down of it says so.

use std::{cell::RefCell, pin::pin, sync::Arc};

thread_local! {
    static TRACE: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

/// Does something that a request asked for: [events](crate::Event) that are made meanwhile have this
/// trace (W3C Trace Context: 32 hexadecimal digits). What is spawned by it is not a part of it.
pub async fn caused_by<F: Future>(trace: Arc<str>, what: F) -> F::Output {
    let mut what = pin!(what);
    std::future::poll_fn(|context| {
        let _before = Before(TRACE.replace(Some(Arc::clone(&trace))));
        what.as_mut().poll(context)
    })
    .await
}

/// The trace of what happens now, where it was caused by a request.
pub(crate) fn current() -> Option<String> {
    TRACE.with_borrow(|trace| trace.as_deref().map(str::to_owned))
}

/// What the thread was at before, and is again.
struct Before(Option<Arc<str>>);

impl Drop for Before {
    fn drop(&mut self) {
        TRACE.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_of_several_at_once_has_its_own() {
        let seen = async |name: &str| {
            let mut all = Vec::new();
            caused_by(name.into(), async {
                for _ in 0..3 {
                    all.push(current());
                    tokio::task::yield_now().await;
                }
                caused_by("within".into(), async { all.push(current()) }).await;
                all.push(current());
            })
            .await;
            all
        };
        let (one, other) = tokio::join!(seen("one"), seen("other"));
        for (name, all) in [("one", one), ("other", other)] {
            let expected = [name, name, name, "within", name].map(|it| Some(it.to_owned()));
            assert_eq!(all, expected);
        }
        assert_eq!(current(), None);
    }
}
