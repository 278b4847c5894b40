//! What must be well, and what is better when it is.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tegata_core::{
    BoxFuture, BreakerState, Ephemeral, Node, Parting, Realm,
    port::{Put, Space},
};
use tegata_gateway::decision_log::Mode;
use tegata_server::{Check, Severity, Unwell};
use tegata_store::{
    cached::Hits,
    measured::{Figures, Operation},
};
use tegata_token::{circle::Standing, revocation::MOST_STALE};

use crate::{
    compose::{Composed, root_key},
    supervisor,
};

pub(crate) mod store;

/// How far the clocks of a node and of its store may be apart: as much as verifiers put up with.
const APART: Duration = Duration::from_secs(30);

/// How long ago the store may have been asked what time it is.
const ASKED: Duration = Duration::from_secs(2);

/// Longer than this, 99 of 100 answers should not take.
const SLOW: Duration = Duration::from_millis(10);

/// Of fewer lookups, a share says nothing.
const ENOUGH: u64 = 1000;

/// Of fewer calls, the 99th of 100 is whichever was slowest: the first of a node that has just begun.
const ENOUGH_CALLS: usize = 100;

/// For longer, nothing should wait to be recorded in the second home of revocations.
const BEHIND: Duration = Duration::from_secs(30);

/// Where the check writes and reads.
static PROBES: Space = Space { name: "health", indexed: false };

/// All checks of a node. `closed` tells when it lets nobody in any more.
pub(crate) fn checks(composed: &Arc<Composed>, parting: Parting) -> Arc<[Arc<dyn Check>]> {
    Arc::new([
        Arc::new(store::Store::new(Arc::clone(composed))),
        Arc::new(Followed(Arc::clone(composed))),
        Arc::new(Open(parting)),
        Arc::new(OnTime(Arc::clone(composed))),
        Arc::new(Passing(Arc::clone(composed))),
        Arc::new(Kept(Arc::clone(composed))),
        Arc::new(Near(Arc::clone(composed))),
        Arc::new(Heard(Arc::clone(composed))),
        Arc::new(Whole(Arc::clone(composed))),
        Arc::new(Admitted(Arc::clone(composed))),
        Arc::new(Elsewhere(Arc::clone(composed))),
        Arc::new(Issuers(Arc::clone(composed))),
        Arc::new(RootKey(Arc::clone(composed))),
        Arc::new(Signing(Arc::clone(composed))),
        Arc::new(Written(Arc::clone(composed))),
        Arc::new(crate::policies::Sound(Arc::clone(composed))),
        Arc::new(supervisor::Running(Arc::clone(&composed.supervisor))),
    ])
}

/// What all checks find, and how the breakers stand: for `tegata doctor`.
pub(crate) async fn told(composed: &Arc<Composed>) -> Value {
    let mut told = Vec::new();
    for check in checks(composed, Parting::default()).iter() {
        let (ok, detail) = match check.look().await {
            Ok(()) => (true, "healthy".to_owned()),
            Err(unwell) => {
                let told = unwell.told();
                let part = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default();
                let works = unwell.severity == Severity::Degraded;
                (works, format!("{}: {}", part("status"), part("reason")))
            }
        };
        told.push(json!({"check": check.name(), "ok": ok, "detail": detail}));
    }
    for (name, breaker) in &composed.backends.breakers {
        let state = breaker.state();
        told.push(json!({
            "check": format!("breaker {name}"),
            "ok": state == BreakerState::Closed,
            "detail": state.name(),
        }));
    }
    Value::Array(told)
}

/// The revocation log is followed.
struct Followed(Arc<Composed>);

impl Check for Followed {
    fn name(&self) -> &'static str {
        "revocations"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let staleness = self.0.view.staleness();
        let why = self.0.view.stopped().map(|why| format!(": {why}")).unwrap_or_default();
        let stopped = !why.is_empty();
        let stale = move |detail: String| {
            let detail = format!("{detail}{why}");
            Err(Unwell::new(Severity::NotReady, "revocations_stale", detail))
        };
        Box::pin(async move {
            match staleness {
                Some(age) if age <= MOST_STALE && !stopped => Ok(()),
                Some(age) => stale(format!("the view of revocations is {} s old", age.as_secs())),
                None => stale("the revocation log has not been read yet".to_owned()),
            }
        })
    }
}

/// The server lets in whoever comes.
struct Open(Parting);

impl Check for Open {
    fn name(&self) -> &'static str {
        "open"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let closed = self.0.has_begun();
        Box::pin(async move {
            if closed {
                let detail = "the server is about to stop";
                Err(Unwell::new(Severity::NotReady, "stopping", detail))
            } else {
                Ok(())
            }
        })
    }
}

/// The clock can be believed.
struct OnTime(Arc<Composed>);

impl Check for OnTime {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            on_time(&self.0)
                .map_err(|(reason, detail)| Unwell::new(Severity::NotReady, reason, detail))
        })
    }
}

/// What is wrong with the clock of the machine: it has jumped and is not believed, or what is believed
/// is not what the store says.
pub(crate) fn on_time(composed: &Composed) -> Result<(), (&'static str, String)> {
    if let Some(millis) = composed.node.clock().jumped() {
        let seconds = millis / 1000;
        let detail = format!(
            "the clock of this machine has jumped by {seconds:+} s and is not believed; set it right"
        );
        return Err(("clock_jumped", detail));
    }
    match composed.view.clock_apart(ASKED) {
        Some(apart) if apart > APART => {
            let seconds = apart.as_secs();
            let detail = format!(
                "the clocks of this machine and of the store are {seconds} s apart; set the one right \
                 that is wrong"
            );
            Err(("clock_wrong", detail))
        }
        _ => Ok(()),
    }
}

/// What lives for a while is written and read, and quickly.
struct Passing(Arc<Composed>);

/// Writes something and reads it back.
async fn probe(store: &dyn Ephemeral, realm: &Realm, node: &Node) -> Result<(), Unwell> {
    let without = |reason, detail| Unwell::new(Severity::Without, reason, detail);
    let key = node.id().to_string();
    let value = node.now().millis().to_be_bytes().to_vec();
    let lifetime = Duration::from_secs(60);
    let put = Put { key: key.clone(), value: value.clone(), lifetime, index: None };
    let written = store.put(realm, &PROBES, put).await;
    written.map_err(|error| without("write_failed", error.to_string()))?;
    let read = store.get(realm, &PROBES, &key).await;
    let read = read.map_err(|error| without("read_failed", error.to_string()))?;
    // Two who look at once may each read what the other wrote.
    read.map(drop).ok_or_else(|| {
        without("read_failed", "what was written was not there to be read".to_owned())
    })
}

/// What is wrong with how a store answers. `slow`: how long 99 of 100 answers may take, where that is
/// judged.
fn judged(
    (store, operation): (&str, Operation),
    Figures { calls, errors, p99, .. }: Figures,
    slow: Option<Duration>,
) -> Vec<(&'static str, String)> {
    let (mut reasons, name) = (Vec::new(), operation.name());
    if slow.is_some_and(|slow| calls >= ENOUGH_CALLS && p99 > slow) {
        let detail = format!("p99 of a {name} {store} is {} ms", p99.as_millis());
        reasons.push(("high_latency", detail));
    }
    // One in a thousand.
    if errors.saturating_mul(1000) > calls {
        let detail = format!("{errors} of the last {calls} {name}s {store} failed");
        reasons.push(("high_error_rate", detail));
    }
    reasons
}

/// What several judgements come to.
fn degraded(reasons: Vec<(&'static str, String)>) -> Result<(), Unwell> {
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Unwell { severity: Severity::Degraded, reasons })
}

impl Check for Passing {
    fn name(&self) -> &'static str {
        "ephemeral"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            let composed = &self.0;
            let redis = composed.backends.redis.as_ref();
            if let Some(evicts) = redis.and_then(|redis| redis.standing().evicts) {
                return Err(Unwell::new(Severity::NotReady, "redis_evicts", evicts));
            }
            probe(composed.ephemeral.as_ref(), &composed.realm, &composed.node).await?;
            let figures = |operation| composed.backends.measured.figures(operation);
            let place = "of what lives for a while";
            let judge = |it| judged((place, it), figures(it), Some(SLOW));
            degraded(Operation::ALL.into_iter().flat_map(judge).collect())
        })
    }
}

/// Where sessions are kept answers, and quickly.
struct Kept(Arc<Composed>);

impl Check for Kept {
    fn name(&self) -> &'static str {
        "records"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            let figures = |operation| self.0.backends.measured_records.figures(operation);
            let judge = |operation| {
                // What is durable waits for a disk, or for a standby: how long is the disk's to say.
                let slow = Some(SLOW).filter(|_| operation == Operation::Read);
                judged(("of records", operation), figures(operation), slow)
            };
            degraded(Operation::ALL.into_iter().flat_map(judge).collect())
        })
    }
}

/// What is asked for often is near.
struct Near(Arc<Composed>);

/// Whether enough of what was asked for was near.
fn hits_often(hits: Hits) -> Result<(), Unwell> {
    let (near, all) = (hits.own + hits.near, hits.own + hits.near + hits.store);
    if all < ENOUGH || near.saturating_mul(100) >= all.saturating_mul(95) {
        return Ok(());
    }
    let detail = format!("{near} of {all} sessions were near, less than 95 %");
    Err(Unwell::new(Severity::Degraded, "low_hit_rate", detail))
}

impl Check for Near {
    fn name(&self) -> &'static str {
        "cache"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let found = hits_often(self.0.cached.hits());
        Box::pin(async move { found })
    }
}

/// Nodes hear each other.
struct Heard(Arc<Composed>);

impl Check for Heard {
    fn name(&self) -> &'static str {
        "events"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            // Every node also reads the log, so what is not heard is learned a little later.
            self.0.feed.outage().map_or(Ok(()), |why| {
                Err(Unwell::new(Severity::Without, "events_unreachable", why))
            })
        })
    }
}

/// Every node that runs is heard.
struct Whole(Arc<Composed>);

impl Check for Whole {
    fn name(&self) -> &'static str {
        "cluster"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            let cut = |detail| Err(Unwell::new(Severity::Without, "partitioned", detail));
            self.0.cluster.partition().map_or(Ok(()), cut)
        })
    }
}

/// Something can be taken back here.
struct Admitted(Arc<Composed>);

impl Check for Admitted {
    fn name(&self) -> &'static str {
        "circle"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let standing = self.0.circle.as_ref().map(|part| part.circle.standing());
        Box::pin(async move {
            match standing {
                None | Some(Standing::Member) => Ok(()),
                Some(standing) => {
                    let detail = format!("nothing can be taken back here: {standing}");
                    Err(Unwell::new(Severity::Without, "not_admitted", detail))
                }
            }
        })
    }
}

/// What was taken back is on record in its second home.
struct Elsewhere(Arc<Composed>);

impl Check for Elsewhere {
    fn name(&self) -> &'static str {
        "durable"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let standing = self.0.elsewhere.as_ref().map(|elsewhere| &elsewhere.standing);
        let now = self.0.node.since_boot();
        Box::pin(async move {
            let Some(standing) = standing else { return Ok(()) };
            // All of it is in the log, and whoever verifies asks that.
            let worse = |reason, detail| Err(Unwell::new(Severity::Degraded, reason, detail));
            let behind = standing.behind(now);
            match standing.why() {
                Some(why) => worse("durable_unreachable", why),
                None if behind > BEHIND => {
                    let detail = format!(
                        "something has been waiting for {} s to be recorded in the second home of \
                         revocations",
                        behind.as_secs()
                    );
                    worse("durable_behind", detail)
                }
                None => Ok(()),
            }
        })
    }
}

/// The root key is still where the next start looks for it. What runs has the data keys in memory, and
/// goes on.
struct RootKey(Arc<Composed>);

impl Check for RootKey {
    fn name(&self) -> &'static str {
        "root_key"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            root_key::look(&self.0).await.map_err(|(reason, why)| {
                let detail = format!("this node cannot be started again: {why}");
                Unwell::new(Severity::Degraded, reason, detail)
            })
        })
    }
}

/// The keys sign. Those in memory always do; one in a token does while the token can be reached. What
/// verifies goes on without.
struct Signing(Arc<Composed>);

impl Check for Signing {
    fn name(&self) -> &'static str {
        "signing"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            root_key::look_at_signers(&self.0).await.map_err(|(reason, why)| {
                let severity = match reason {
                    "signing_busy" => Severity::Degraded,
                    _ => Severity::NotReady,
                };
                Unwell::new(severity, reason, why)
            })
        })
    }
}

/// What is decided is written down.
struct Written(Arc<Composed>);

impl Check for Written {
    fn name(&self) -> &'static str {
        "audit_log"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let log = self.0.decisions.get().filter(|log| log.is_failing());
        let found = log.map_or(Ok(()), |log| {
            let (severity, follows) = match log.mode() {
                Mode::Required => (Severity::Without, "nothing is issued, changed or taken back"),
                Mode::BestEffort => (Severity::Degraded, "what is decided is not on record"),
            };
            let detail = format!(
                "the log of decisions cannot be written (a disk that is full, or does not answer?): {follows}"
            );
            Err(Unwell::new(severity, "audit_log_unwritable", detail))
        });
        Box::pin(std::future::ready(found))
    }
}

/// Other issuers whose tokens count can be asked for their keys, and there is room for what is taken
/// back of them.
struct Issuers(Arc<Composed>);

impl Check for Issuers {
    fn name(&self) -> &'static str {
        "issuers"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        Box::pin(async {
            let Some(foreign) = &self.0.foreign else { return Ok(()) };
            let troubles = foreign.issuers.iter().filter_map(|issuer| issuer.trouble());
            let mut reasons: Vec<_> = troubles.map(|why| ("issuer_unreachable", why)).collect();
            let (count, capacity) = foreign.view.fullness();
            if count / 4 * 5 >= capacity {
                let detail = format!(
                    "the filter of what was taken back of other issuers holds {count} of \
                     {capacity}; raise `tokens` of `[[issuer]]`"
                );
                reasons.push(("filter_nearly_full", detail));
            }
            if reasons.is_empty() {
                return Ok(());
            }
            Err(Unwell { severity: Severity::Degraded, reasons })
        })
    }
}

#[cfg(test)]
mod tests;
