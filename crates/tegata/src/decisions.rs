//! The log of decisions of this node: what it is called, where it was when the store was last told, and what
//! the public listener and administrators have written into it.
//!
//! Where the log is, is kept in the store: whoever removes the end of the log, or puts an older copy in its
//! place, would have to change the store, too.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Expect, Kind, Lifetime, Node, Realm, Records, StoreError,
    Stored, Timestamp, port::Page, repository,
};
use tegata_gateway::{
    DecisionLog, Signer,
    decision_log::{self, Anchor, Mode, Outcome, Record, Thing, Walk},
};
use tegata_server::{Decision, Decisions, Evaluated, Named, NotRecorded};
use tegata_token::Algorithm;

use crate::{background::Rounds, command::Failed, compose::Composed};

/// Where it is kept where logs were.
pub(crate) static ANCHORS: Kind =
    Kind { name: "decision_logs", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How often the store is told, where there is something to tell.
const TOLD: Duration = Duration::from_secs(1);

/// The file with the name of the log, in the data directory.
const FILE: &str = "decisions.name";

/// How many are read at once.
const PAGE: u32 = 100;

/// Where a log was.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Kept {
    chain: String,
    segment: u64,
    number: u64,
    hash: String,
    at: Timestamp,
}

impl Stored for Kept {
    const KIND: &'static Kind = &ANCHORS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.chain
    }
}

impl From<Kept> for Anchor {
    fn from(kept: Kept) -> Self {
        let Kept { chain, segment, number, hash, at } = kept;
        Self { chain, segment, number, hash, at }
    }
}

impl From<&Anchor> for Kept {
    fn from(anchor: &Anchor) -> Self {
        let Anchor { chain, segment, number, hash, at } = anchor.clone();
        Self { chain, segment, number, hash, at }
    }
}

/// Why the store was not told.
#[derive(Debug, thiserror::Error)]
enum Untold {
    /// It has been told of more, or of something else.
    #[error("another node keeps a log of the name `{0}`, or this one was set back")]
    Another(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where the log of decisions of a data directory is.
pub(crate) fn directory(data: &Path) -> PathBuf {
    data.join("decisions")
}

/// What the log of this node is called: as a file in the data directory says; or as the store does, where it
/// is of one node alone; or as its last segment does. Whoever removes one of them does not rename it.
pub(crate) async fn name(composed: &Composed) -> Result<String, Failed> {
    if let Some(name) = composed.decisions.get().and_then(DecisionLog::chain) {
        return Ok(name.to_owned());
    }
    let path = composed.data.path().join(FILE);
    match fs::read_to_string(&path) {
        Ok(name) if !name.trim().is_empty() => return Ok(name.trim().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Failed::Operation(format!("`{}`: {error}", path.display())));
        }
        Ok(_) | Err(_) => {}
    }
    let latest = match composed.backends.are_shared() {
        true => None,
        false => {
            let kept = all(composed).await.map_err(|error| Failed::Operation(error.to_string()))?;
            kept.into_iter().max_by_key(|kept| kept.at)
        }
    };
    let name = latest.map(|kept| kept.chain);
    let name = name.or_else(|| decision_log::name_in(&directory(composed.data.path())));
    let name = name.unwrap_or_else(|| {
        let mut random = [0_u8; 16];
        composed.node.entropy().fill(&mut random);
        format!("log-{:032x}", u128::from_be_bytes(random))
    });
    keep_name(composed, &name);
    Ok(name)
}

/// Keeps the name of the log, unless it stands there. Where there is no room, it is tried again.
fn keep_name(composed: &Composed, name: &str) {
    let path = composed.data.path().join(FILE);
    if path.exists() {
        return;
    }
    let new = composed.data.path().join(format!("{FILE}.new"));
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new);
    let written = file.and_then(|mut file| {
        file.write_all(name.as_bytes())?;
        file.sync_data()?;
        fs::rename(&new, &path)
    });
    if let Err(error) = written {
        tracing::warn!(%error, "`{}` cannot be written", path.display());
    }
}

/// Opens the log of this node. Where there is no room for it, it begins as soon as there is.
pub(crate) async fn open(composed: &Composed) -> Result<DecisionLog, Failed> {
    let chain = name(composed).await?;
    let kept = repository::load::<Kept>(composed.records.as_ref(), &composed.realm, &chain);
    let kept = kept.await.map_err(|error| Failed::Operation(error.to_string()))?;
    let keys = composed.keys.clone();
    // What was decided is recorded whatever the clock says.
    let signer: Signer = Arc::new(move || keys.now().signer(Algorithm::Es256));
    let base = decision_log::Config::at(&directory(composed.data.path()));
    // What signs may be silent for as long as it may be waited for, and the log goes on without it then.
    let token = composed.config.keys.pkcs11.as_ref();
    let token = token.map_or(Duration::ZERO, |it| it.timeout.get());
    let config = decision_log::Config {
        chain: Some(chain),
        anchor: kept.map(|kept| kept.value.into()),
        patience: base.patience + token,
        ..base
    };
    let node = composed.node.clone();
    // The last segments are read.
    let opened =
        tokio::task::spawn_blocking(move || DecisionLog::open(&config, &node, signer)).await;
    let opened = opened.map_err(|error| Failed::Operation(error.to_string()))?;
    opened.map_err(|error| Failed::Usage(format!("[audit_log] {error}")))
}

/// Tells the store where the log is, again and again.
pub(crate) async fn tell(composed: Arc<Composed>, log: DecisionLog) {
    let fails =
        "the store is not told where the log of decisions is: its end could be cut off unseen";
    let (heads, mut rounds, mut told) = (log.heads(), Rounds::every(TOLD, fails), None);
    // It is ended by whoever opened it.
    drop(log);
    loop {
        rounds.next().await;
        let head = heads.borrow().clone();
        let Some(anchor) = head.filter(|head| told.as_ref() != Some(head)) else { continue };
        let done = note(composed.records.as_ref(), &anchor).await;
        rounds.ended(&done);
        keep_name(&composed, &anchor.chain);
        told = done.is_ok().then_some(anchor).or(told);
    }
}

/// Ends the log, and tells the store where it ends.
pub(crate) async fn end(composed: &Composed, log: DecisionLog) {
    let heads = log.heads();
    // What waits is written, which blocks.
    let _ = tokio::task::spawn_blocking(move || log.close()).await;
    let last = heads.borrow().clone();
    if let Some(anchor) = last
        && let Err(error) = note(composed.records.as_ref(), &anchor).await
    {
        tracing::warn!(%error, "the store is not told where the log of decisions ends");
    }
}

/// Tells the store where a log is. It is never told of less.
async fn note(records: &dyn Records, anchor: &Anchor) -> Result<(), Untold> {
    let realm = Realm::default();
    let kept = Kept::from(anchor);
    let found = repository::load::<Kept>(records, &realm, &kept.chain).await?;
    let change = match &found {
        None => kept.put(Expect::Absent),
        Some(found) => {
            let Kept { number, hash, .. } = &found.value;
            if *number == kept.number && *hash == kept.hash {
                return Ok(());
            }
            if *number >= kept.number {
                return Err(Untold::Another(kept.chain));
            }
            found.replace(&kept)
        }
    };
    match records.commit(Batch::new(realm).with(change)).await {
        Ok(()) => Ok(()),
        Err(CommitRefused::Conflict { .. }) => Err(Untold::Another(kept.chain)),
        Err(CommitRefused::Store(error)) => Err(error.into()),
    }
}

/// Where all logs were of which the store was told.
async fn all(composed: &Composed) -> Result<Vec<Kept>, StoreError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = Page { after: after.take(), limit: PAGE };
        let records = composed.records.as_ref();
        let piece = repository::scan::<Kept>(records, &composed.realm, page).await?;
        let Some(last) = piece.last() else { return Ok(all) };
        after = Some(last.value.chain.clone());
        all.extend(piece.into_iter().map(|found| found.value));
    }
}

/// The same, and what that of this node is called.
pub(crate) async fn known(composed: &Composed) -> Result<Value, String> {
    let anchors = all(composed).await.map_err(|error| error.to_string())?;
    let chain = name(composed).await.map_err(Failed::why)?;
    Ok(json!({"chain": chain, "anchors": anchors}))
}

/// What [`known`] said.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct KnownLogs {
    pub(crate) chain: Option<String>,
    #[serde(default)]
    anchors: Vec<Kept>,
}

impl KnownLogs {
    pub(crate) fn anchors(self) -> Vec<Anchor> {
        self.anchors.into_iter().map(Anchor::from).collect()
    }
}

/// What the public listener writes.
pub(crate) struct Written(DecisionLog);

impl Written {
    pub(crate) fn into(log: &DecisionLog, mode: Mode) -> Self {
        Self(log.lent(mode))
    }
}

/// The log's own form of it.
fn record<'d>(decision: &Decision<'d>) -> Record<'d> {
    let of = decision.evaluation;
    let decided = of.map(|of| of.decided);
    let evaluation = of.map(|of| {
        let Evaluated { asked, about, more, .. } = of.decided;
        let asked = asked.as_ref();
        let thing = |named: &'d Named| Thing { kind: &named.kind, id: &named.id };
        decision_log::Evaluation {
            number: of.number,
            of: of.of,
            subject: asked.map(|asked| thing(&asked.subject)),
            action: asked.map(|asked| asked.action.as_str()),
            resource: asked.map(|asked| thing(&asked.resource)),
            about: about.as_deref(),
            more_policies: *more,
        }
    });
    Record {
        at: decision.at,
        request: decision.request,
        trace: Some(decision.trace),
        client: decision.client.to_canonical(),
        subject: decision.subject,
        jti: None,
        sid: None,
        method: decision.method,
        path: decision.path,
        service: Some(OWN),
        route: None,
        operation: "",
        result: if decision.allowed { Outcome::Allow } else { Outcome::Deny },
        reason: decision.reason,
        rule: decided.and_then(|decided| decided.rule.as_deref()),
        policies: decided.map(|decided| decided.policies.as_slice()).unwrap_or_default(),
        policy_set: of.and_then(|of| of.policy_set),
        risk: None,
        unchecked: false,
        status: Some(decision.status),
        micros: u64::try_from(decision.took.as_micros()).ok(),
        walk: Walk { named: decision.named, evaluation, ..Walk::default() },
    }
}

/// The service of what was decided by this program's own endpoints.
const OWN: &str = "tegata";

impl Decisions for Written {
    fn is_required(&self) -> bool {
        self.0.mode() == Mode::Required
    }

    fn works(&self) -> BoxFuture<'_, bool> {
        Box::pin(self.0.works())
    }

    fn append(&self, decision: &Decision<'_>) {
        // What is lost is counted by the log.
        self.0.append(&record(decision));
    }

    fn commit<'a>(
        &'a self,
        decisions: &'a [Decision<'a>],
    ) -> BoxFuture<'a, Result<(), NotRecorded>> {
        Box::pin(async move {
            let Some((last, others)) = decisions.split_last() else { return Ok(()) };
            // Whatever stands before a record that is durable is durable, too.
            if !others.iter().all(|decision| self.0.append(&record(decision))) {
                return Err(NotRecorded);
            }
            self.0.commit(&record(last)).await.map_err(|_| NotRecorded)
        })
    }
}

/// What was ordered over the administration socket.
pub(crate) struct Ordered<'o> {
    /// What, in one word.
    pub(crate) name: &'o str,
    pub(crate) actor: &'o str,
    pub(crate) done: bool,
}

impl Ordered<'_> {
    /// Writes an order down, as the log is kept.
    pub(crate) async fn write(&self, log: &DecisionLog, node: &Node) -> Result<(), NotRecorded> {
        let mut random = [0_u8; 16];
        node.entropy().fill(&mut random);
        let request = format!("{:032x}", u128::from_be_bytes(random));
        let decision = Decision {
            at: node.now(),
            request: &request,
            trace: &request,
            client: IpAddr::V4(Ipv4Addr::LOCALHOST),
            subject: Some(self.actor),
            method: "ORDER",
            path: self.name,
            allowed: self.done,
            reason: (!self.done).then_some("refused"),
            status: if self.done { 200 } else { 400 },
            took: Duration::ZERO,
            named: None,
            evaluation: None,
        };
        if log.mode() == Mode::Required {
            return log.commit(&record(&decision)).await.map_err(|_| NotRecorded);
        }
        log.append(&record(&decision));
        Ok(())
    }
}
