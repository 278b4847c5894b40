//! What runs beside the requests where tokens of other issuers count: their keys are kept up to date,
//! the stores are told what was taken back, and the filter is made anew when it is full.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use tegata_core::{
    Ephemeral, StoreError,
    port::{Put, Withdrawal},
};
use tegata_token::foreign::{Outbox, Told, WITHDRAWN};

use super::Foreign;
use crate::{
    background::{Rounds, every},
    compose::Composed,
    supervisor::{Tasks, Weight},
};

/// How often the mark is moved while there is more to be told.
const MARKED: u64 = 10_000;

/// What shows that a nearer store has been filled and has lost nothing that it noticed.
const FULL: &str = "full";

/// Starts all of it.
pub(crate) fn start(composed: &Arc<Composed>, tasks: &mut Tasks) {
    let Some(foreign) = &composed.foreign else { return };
    let parts = || (Arc::clone(composed), Arc::clone(foreign));
    let of = Arc::clone(foreign);
    tasks.keep("foreign_keys", Weight::Helpful, move || keep_keys(Arc::clone(&of)));
    let (all, of) = parts();
    tasks.keep("foreign_tell", Weight::Helpful, move || tell(Arc::clone(&all), Arc::clone(&of)));
    let (all, of) = parts();
    tasks.keep("foreign_renew", Weight::Helpful, move || renew(Arc::clone(&all), Arc::clone(&of)));
    if let Some(near) = foreign.near.clone() {
        let (all, of) = parts();
        tasks.keep("foreign_refill", Weight::Helpful, move || {
            refill(Arc::clone(&all), Arc::clone(&of), Arc::clone(&near))
        });
    }
}

/// Gives the verifiers the keys that count. Of an issuer that is away it is said once.
async fn keep_keys(foreign: Arc<Foreign>) {
    let fails = "the keys of another issuer cannot be had; its tokens do not count";
    let keeping = foreign.issuers.iter().map(async |issuer| {
        let mut rounds = Rounds::every(Duration::from_secs(1), fails);
        loop {
            rounds.next().await;
            rounds.ended(&issuer.refresh().await);
        }
    });
    join_all(keeping).await;
}

/// Tells the durable store, and the nearer one.
async fn tell(composed: Arc<Composed>, foreign: Arc<Foreign>) {
    let fails = "what was taken back of other issuers cannot be written; it is held in memory";
    let mut rounds = Rounds::every(Duration::from_millis(5), fails);
    let mut marked = 0;
    loop {
        rounds.next().await;
        let told = tell_all(&composed, &foreign, &mut marked).await;
        rounds.ended(&told);
    }
}

/// Tells everything that waits.
async fn tell_all(
    composed: &Composed,
    foreign: &Foreign,
    marked: &mut u64,
) -> Result<(), StoreError> {
    loop {
        let batch = foreign.view.untold();
        if batch.is_empty() {
            // Most of the log is about tokens of ours.
            if let Some(position) = foreign.view.filled_up_to(&composed.view, MARKED) {
                mark(composed, foreign, position).await?;
            }
            return Ok(());
        }
        let withdrawals: Vec<_> = batch.iter().map(Told::withdrawal).collect();
        let near = async {
            let near = foreign.near.as_ref()?;
            // It is a copy, which is filled anew where it lacks something.
            put(composed, foreign, near.as_ref(), &batch).await.err()
        };
        let durable = foreign.durable.record(&foreign.realm, &withdrawals);
        let (durable, near) = tokio::join!(durable, near);
        durable?;
        if let Some(error) = near {
            tracing::debug!(%error, "a nearer store was not told what was taken back");
            composed.refill.notify_one();
        }
        if let Some(position) = foreign.view.told(&batch)
            && (foreign.view.backlog() == 0 || position >= *marked + MARKED)
        {
            mark(composed, foreign, position).await?;
            *marked = position;
        }
    }
}

/// Has the durable store say up to which position of the log it has everything.
async fn mark(composed: &Composed, foreign: &Foreign, position: u64) -> Result<(), StoreError> {
    let until = composed.node.now() + Outbox::FILLED_FOR;
    let mark = Withdrawal { key: foreign.filled.clone(), mark: position, until };
    foreign.durable.record(&foreign.realm, &[mark]).await
}

async fn put(
    composed: &Composed,
    foreign: &Foreign,
    near: &dyn Ephemeral,
    batch: &[Told],
) -> Result<(), StoreError> {
    let now = composed.node.now();
    let puts = batch.iter().map(|told| told.put(now)).collect();
    near.put_all(&foreign.realm, &WITHDRAWN, puts).await
}

/// Makes the filter anew when it is full.
async fn renew(composed: Arc<Composed>, foreign: Arc<Foreign>) {
    let fails =
        "the filter of what was taken back cannot be made anew; stores are asked more often";
    let mut rounds = Rounds::every(Duration::from_secs(1), fails);
    let mut warned = 0;
    loop {
        rounds.next().await;
        let (count, capacity) = foreign.view.fullness();
        if count / 4 * 5 >= capacity && warned != capacity {
            warned = capacity;
            tracing::warn!(
                count,
                capacity,
                "the filter of what was taken back of other issuers is \
                nearly full and will be made anew; raise `tokens` of `[[issuer]]`"
            );
        }
        let renewed = foreign.view.renew(&composed.view, composed.records.as_ref()).await;
        if let Ok(true) = renewed {
            let (count, capacity) = foreign.view.fullness();
            tracing::info!(count, capacity, "the filter of what was taken back was made anew");
        }
        rounds.ended(&renewed);
    }
}

/// Fills the nearer store anew when it has lost something: when another server answers than before,
/// when it was not told something, and when it is empty.
async fn refill(composed: Arc<Composed>, foreign: Arc<Foreign>, near: Arc<dyn Ephemeral>) {
    let fails = "a nearer store cannot be told what was taken back; the durable one is asked";
    let mut changes = composed.backends.redis.as_ref().map(tegata_store::Redis::changes);
    let mut rounds = Rounds::every(Duration::from_secs(1), fails);
    let mut looks = every(Duration::from_secs(5));
    let mut due = false;
    loop {
        tokio::select! {
            () = changed(&mut changes) => due = true,
            () = composed.refill.notified() => due = true,
            _ = looks.tick() => {
                let full = near.get(&foreign.realm, &WITHDRAWN, FULL).await;
                due |= matches!(full, Ok(None));
            }
        }
        while due {
            rounds.next().await;
            let filled = fill(&composed, &foreign, near.as_ref()).await;
            due = filled.is_err();
            rounds.ended(&filled);
        }
    }
}

async fn changed(changes: &mut Option<tokio::sync::watch::Receiver<u64>>) {
    if let Some(receiver) = changes
        && receiver.changed().await.is_ok()
    {
        return;
    }
    // Whoever could tell is gone.
    *changes = None;
    std::future::pending::<()>().await;
}

/// Tells the nearer store everything that the log holds.
async fn fill(
    composed: &Composed,
    foreign: &Foreign,
    near: &dyn Ephemeral,
) -> Result<(), StoreError> {
    // Whoever does not answer need not be read to.
    near.get(&foreign.realm, &WITHDRAWN, FULL).await?;
    let mut walk = composed.view.foreign_walk();
    while let Some(part) = walk.next(composed.records.as_ref(), composed.node.now()).await? {
        put(composed, foreign, near, &part).await?;
    }
    let lifetime = Duration::from_secs(30 * 86_400);
    let full = Put { key: FULL.to_owned(), value: vec![1], lifetime, index: None };
    near.put(&foreign.realm, &WITHDRAWN, full).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tegata_core::Batch;
    use tegata_engines::RedisServer;
    use tegata_token::{Claims, Entry, Target, foreign::Names};

    use super::*;
    use crate::{compose, config::Config};

    const ISSUER: &str = "http://127.0.0.1:9";

    async fn composed(place: &std::path::Path, redis: &RedisServer) -> Arc<Composed> {
        let text = format!(
            "[redis]\nurl = \"{}\"\ntimeout = \"5s\"\n[[issuer]]\nissuer = \"{ISSUER}\"\n",
            redis.url()
        );
        let config: Config = toml::from_str(&text).unwrap();
        Arc::new(compose::for_tests_with(place, config).await)
    }

    /// Takes back so many, in the log and in memory.
    async fn take_back(composed: &Composed, many: u64) {
        let now = composed.node.now();
        let entry = |number: u64| Entry {
            target: Target::ForeignToken { issuer: ISSUER.to_owned(), jti: number.to_string() },
            places: vec![],
            at: now,
            until: now + Duration::from_secs(86_400),
            reason: "test".to_owned(),
            actor: "system".to_owned(),
        };
        let all: Vec<_> = (0..many).map(entry).collect();
        for part in all.chunks(1000) {
            let batch = Batch::new(composed.realm.clone());
            composed.revoker.commit(batch, part.to_vec()).await.unwrap();
        }
        composed.view.catch_up(composed.records.as_ref()).await.unwrap();
    }

    /// How many Redis holds, with what shows that it is full.
    fn held(redis: &RedisServer) -> String {
        redis.node().ask(&["DBSIZE"]).text()
    }

    async fn fills_what_was_emptied(many: u64) {
        let redis = RedisServer::start();
        let place = tempfile::tempdir().unwrap();
        let composed = composed(place.path(), &redis).await;
        let foreign = composed.foreign.as_ref().unwrap();
        let near = foreign.near.as_ref().unwrap();
        take_back(&composed, many).await;
        let began = composed.node.since_boot();
        tell_all(&composed, foreign, &mut 0).await.unwrap();
        println!("{many} told in {:?}", composed.node.elapsed(began));
        redis.node().ask(&["FLUSHALL"]);
        let began = composed.node.since_boot();
        fill(&composed, foreign, near.as_ref()).await.unwrap();
        let took = composed.node.elapsed(began);
        println!("{many} filled in {took:?}");
        assert_eq!(held(&redis), (many + 1).to_string());
        assert!(took < Duration::from_secs(30), "{took:?}");
        // A name that the filter holds is found where it was filled.
        let (iss, iat) = (ISSUER.to_owned(), composed.node.now().secs());
        let claims = Claims { iss, jti: "7".into(), sub: "a".into(), iat, ..Claims::default() };
        let (name, _) = Names::of(&claims, None, "key-1").all().next().unwrap();
        let found = near.get(&foreign.realm, &WITHDRAWN, &name.key()).await.unwrap().unwrap();
        assert_eq!(tegata_token::foreign::mark_of(&found.value), Some(u64::MAX));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_redis_that_was_emptied_is_filled_from_the_log() {
        fills_what_was_emptied(1500).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "a million take long; `cargo xtask bench revocation --only X4` measures them, at a node that runs"]
    async fn a_redis_that_was_emptied_is_filled_with_a_million_in_half_a_minute() {
        fills_what_was_emptied(1_000_000).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_told_is_not_told_again_and_what_was_not_is_held() {
        let redis = RedisServer::start();
        let place = tempfile::tempdir().unwrap();
        let first = composed(place.path(), &redis).await;
        take_back(&first, 300).await;
        // It ends before anything was told.
        drop(first);
        let second = composed(place.path(), &redis).await;
        let foreign = second.foreign.as_ref().unwrap();
        assert_eq!(foreign.view.backlog(), 300);
        tell_all(&second, foreign, &mut 0).await.unwrap();
        assert_eq!(foreign.view.backlog(), 0);
        drop(second);
        let third = composed(place.path(), &redis).await;
        let foreign = third.foreign.as_ref().unwrap();
        assert_eq!((foreign.view.backlog(), foreign.view.fullness().0), (0, 300));
    }
}
