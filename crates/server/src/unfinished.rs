//! Work that is done to its end though nobody waits for it any more, and that whoever stops the process
//! waits for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

/// What has been begun and has not ended, by what it is. Clones are one.
#[derive(Debug, Clone)]
pub struct Unfinished(Arc<watch::Sender<BTreeMap<&'static str, usize>>>);

/// Something that is under way until this is dropped.
#[derive(Debug)]
#[must_use = "it has ended when this is dropped"]
pub struct UnderWay {
    of: Unfinished,
    what: &'static str,
}

impl Default for Unfinished {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl Unfinished {
    /// Notes that something is begun. `what` names it in the log.
    pub fn begin(&self, what: &'static str) -> UnderWay {
        self.0.send_modify(|all| *all.entry(what).or_default() += 1);
        UnderWay { of: self.clone(), what }
    }

    /// Waits until all of it has ended, for so long at most. Answers what has not: how many of each.
    pub async fn ended(&self, within: Duration) -> BTreeMap<&'static str, usize> {
        let mut all = self.0.subscribe();
        let _ = timeout(within, all.wait_for(BTreeMap::is_empty)).await;
        self.0.borrow().clone()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.of.0.send_modify(|all| {
            let Some(many) = all.get_mut(self.what) else { return };
            *many -= 1;
            if *many == 0 {
                all.remove(self.what);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn whoever_stops_waits_for_all_of_it() {
        let all = Unfinished::default();
        assert!(all.ended(Duration::ZERO).await.is_empty(), "nothing was begun");
        let (end, may_end) = tokio::sync::oneshot::channel::<()>();
        let (one, other) = (all.begin("one"), all.clone().begin("other"));
        let work = tokio::spawn(async move {
            let _one = one;
            may_end.await.unwrap();
        });
        drop(other);
        let stopping = all.clone();
        let stop = tokio::spawn(async move { stopping.ended(LONG).await });
        assert_eq!(*all.0.borrow(), BTreeMap::from([("one", 1)]));
        end.send(()).unwrap();
        work.await.unwrap();
        assert!(stop.await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_cut_is_named_and_what_panics_has_ended() {
        let all = Unfinished::default();
        let (one, other) = (all.begin("a thing"), all.begin("a thing"));
        let place = all.begin("another");
        let panics = tokio::spawn(async move {
            let _place = place;
            panic!("as it does");
        });
        assert!(panics.await.is_err());
        let cut = all.ended(Duration::from_millis(1)).await;
        assert_eq!(cut, BTreeMap::from([("a thing", 2)]));
        drop((one, other));
        assert!(all.ended(LONG).await.is_empty());
    }
}
