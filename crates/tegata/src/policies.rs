//! The policies of an installation: read from files, kept in the store, taken over by every node.
//!
//! INVARIANT: what cannot be used changes nothing. Whatever is wrong with files or with what the store
//! holds, the last policies that were sound go on to decide, and it is said.
//!
//! | module | subject |
//! |---|---|
//! | [`files`] | directories of policies |
//! | [`cases`] | what policies are expected to decide |
//! | [`question`] | requests that nobody made |
//! | [`replay`] | what policies would have decided about the requests of a log |
//! | [`stored`] | what the store holds |
//! | `kept` | what a node decided by last |

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Epoch, Event, EventType, Expect, Node, Realm, Records,
    StoreError, Stored as _, Versioned, repository,
};
use tegata_gateway::Tried;
use tegata_policy::{Bundle, PolicySet, ShadowReport};
use tegata_server::{Check, Severity, Unwell};

pub(crate) use files::{Files, Unsound};
pub(crate) use stored::{POLICY_FILES, POLICY_SETS};

use self::{
    kept::Kept,
    stored::{CURRENT, StoredFiles, StoredSet},
};
use crate::config::PolicyMode;

pub(crate) mod cases;
pub(crate) mod files;
mod kept;
pub(crate) mod question;
pub(crate) mod replay;
mod stored;

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

/// Policies as they are declared, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeclaredPolicies {
    pub(crate) files: Files,
    pub(crate) mode: PolicyMode,
    pub(crate) shadow: Option<Files>,
}

/// Why other policies were not declared.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotDeclared {
    /// They are none.
    #[error("[policy] {0}")]
    Unsound(Unsound),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What decides on a node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Deciding {
    /// Zero: there have never been any.
    pub(crate) version: u64,
    pub(crate) policies: tegata_gateway::Policies,
}

/// What a node knows.
#[derive(Default)]
struct State {
    /// What the gateway has, or is to be given.
    deciding: Deciding,
    set: Option<StoredSet>,
    /// Whether it has been looked what this node decided by last.
    has_begun: bool,
    /// What the store holds and cannot be used, so that it is not read again.
    refused: Option<(StoredSet, String)>,
    /// What is wrong with what the store holds.
    of_store: Option<&'static str>,
    why: String,
    /// What is wrong with the files of the configuration.
    of_files: Option<String>,
}

/// Who knows what the gateway decides by at the moment.
type Asked = Box<dyn Fn() -> Option<Arc<PolicySet>> + Send + Sync>;

/// The policies of an installation, as a node knows them.
pub(crate) struct Policies {
    node: Node,
    realm: Realm,
    epoch: Epoch,
    records: Arc<dyn Records>,
    data: PathBuf,
    /// Held while what the store holds is looked at, so that two looks do not cross.
    looking: tokio::sync::Mutex<()>,
    state: Mutex<State>,
    gateway: OnceLock<Asked>,
}

/// What is wrong with what the store holds, and why.
type Wrong = (&'static str, String);

impl Policies {
    pub(crate) fn new(
        (node, realm, epoch): (Node, Realm, Epoch),
        records: Arc<dyn Records>,
        data: PathBuf,
    ) -> Self {
        Self {
            node,
            realm,
            epoch,
            records,
            data,
            looking: tokio::sync::Mutex::default(),
            state: Mutex::default(),
            gateway: OnceLock::new(),
        }
    }

    /// Looks at what the store holds. Answers what is to decide: that, or what did before.
    ///
    /// # Errors
    /// The store does not answer; or what it holds cannot be used, and nothing is known that did before.
    pub(crate) async fn look(&self) -> Result<Deciding, String> {
        let _alone = self.looking.lock().await;
        self.begin().await;
        let known = self.state.lock().set.clone();
        let found =
            repository::load::<StoredSet>(self.records.as_ref(), &self.realm, CURRENT).await;
        let wrong = match (found, known) {
            (Err(StoreError::Corrupt { .. }), _) => {
                Some(("policies_damaged", "what the store says of policies is damaged".to_owned()))
            }
            (Err(error), _) => return Err(error.to_string()),
            (Ok(None), None) => None,
            (Ok(None), Some(known)) => {
                let why =
                    format!("version {} of the policies is gone from the store", known.version);
                Some(("policies_gone", why))
            }
            (Ok(Some(found)), known) => self.take(found.value, known).await?.err(),
        };
        let mut state = self.state.lock();
        let Some((reason, why)) = wrong else {
            if state.of_store.take().is_some() {
                tracing::info!("the policies of the store can be used again");
            }
            state.why.clear();
            return Ok(state.deciding.clone());
        };
        if state.why != why {
            let version = state.deciding.version;
            tracing::error!(reason, why, version, "the policies that were sound go on to decide");
        }
        (state.of_store, state.why) = (Some(reason), why.clone());
        if state.set.is_none() {
            return Err(format!("{why}, and this node knows none that were sound"));
        }
        Ok(state.deciding.clone())
    }

    /// Begins with what this node decided by last, where it did.
    async fn begin(&self) {
        if std::mem::replace(&mut self.state.lock().has_begun, true) {
            return;
        }
        let data = self.data.clone();
        let kept = tokio::task::spawn_blocking(move || {
            let kept = Kept::read(&data)?;
            let read = |files: &Option<Files>| files.as_ref().map(Files::unproven).transpose();
            let read = read(&kept.decides).and_then(|one| Ok((one, read(&kept.tries)?)));
            match read {
                Ok(bundles) => Some((kept, bundles)),
                Err(unsound) => {
                    tracing::warn!(%unsound, "the policies that this node decided by cannot be read");
                    None
                }
            }
        });
        let Ok(Some((kept, bundles))) = kept.await else { return };
        // A backup that was brought back has what it had.
        if kept.epoch == self.epoch {
            self.hold(kept.set, bundles);
        }
    }

    /// Takes over what the store holds, where it is newer.
    async fn take(
        &self,
        found: StoredSet,
        known: Option<StoredSet>,
    ) -> Result<Result<(), Wrong>, String> {
        if known.as_ref() == Some(&found) {
            return Ok(Ok(()));
        }
        if let Some(known) = known.filter(|known| found.version <= known.version) {
            let why = format!(
                "the store holds version {} of the policies, and this node has decided by version {}: \
                 somebody put an older one back; declare them anew with `tegata apply`",
                found.version, known.version
            );
            return Ok(Err(("policies_older", why)));
        }
        let refused = self.state.lock().refused.clone();
        if let Some((_, why)) = refused.filter(|(refused, _)| *refused == found) {
            return Ok(Err(("policies_unsound", why)));
        }
        let (decides, tries) =
            match (self.files(&found.decides).await, self.files(&found.tries).await) {
                (Ok(decides), Ok(tries)) => (decides, tries),
                (Err(Lost::Wrong(why)), _) | (_, Err(Lost::Wrong(why))) => {
                    return Ok(Err(("policies_damaged", why)));
                }
                (Err(Lost::Store(error)), _) | (_, Err(Lost::Store(error))) => {
                    return Err(error.to_string());
                }
            };
        let looked_at = found.clone();
        let kept = Kept { epoch: self.epoch, set: found, decides, tries };
        let data = self.data.clone();
        let read = tokio::task::spawn_blocking(move || {
            let read = |files: &Option<Files>| files.as_ref().map(Files::unproven).transpose();
            let bundles = (read(&kept.decides)?, read(&kept.tries)?);
            // Who cannot keep it decides by it all the same, and trusts the store at the next start.
            if let Err(error) = kept.write(&data) {
                tracing::warn!(%error, "the policies that decide are not kept on this disk");
            }
            Ok::<_, Unsound>((kept.set, bundles))
        });
        match read.await.map_err(|error| error.to_string())? {
            Ok((set, bundles)) => {
                let version = set.version;
                let count = |bundle: &Option<Arc<Bundle>>| {
                    bundle.as_ref().map_or(0, |it| it.policies().len())
                };
                let (decide, tried) = (count(&bundles.0), count(&bundles.1));
                tracing::info!(version, decide, tried, "other policies decide");
                self.hold(set, bundles);
                Ok(Ok(()))
            }
            Err(unsound) => {
                let why = format!("version {} of the policies: {unsound}", looked_at.version);
                self.state.lock().refused = Some((looked_at, why.clone()));
                Ok(Err(("policies_unsound", why)))
            }
        }
    }

    fn hold(&self, set: StoredSet, (bundle, tried): (Option<Arc<Bundle>>, Option<Arc<Bundle>>)) {
        let mut state = self.state.lock();
        let tried = tried.map(|bundle| Arc::new(Tried::new(bundle)));
        let policies = tegata_gateway::Policies { bundle, tried };
        state.deciding = Deciding { version: set.version, policies };
        state.set = Some(set);
    }

    async fn files(&self, digest: &Option<String>) -> Result<Option<Files>, Lost> {
        let Some(digest) = digest else { return Ok(None) };
        let found =
            repository::load::<StoredFiles>(self.records.as_ref(), &self.realm, digest).await;
        match found {
            Err(StoreError::Corrupt { .. }) => {
                Err(Lost::Wrong("files of policies are damaged in the store".to_owned()))
            }
            Err(error) => Err(Lost::Store(error)),
            Ok(None) => Err(Lost::Wrong("files of policies are missing in the store".to_owned())),
            Ok(Some(found)) if found.value.files.digest() != *digest => {
                Err(Lost::Wrong("files of policies are others than the store says".to_owned()))
            }
            Ok(Some(found)) => Ok(Some(found.value.files)),
        }
    }

    /// Has these policies decide on every node, at the wish of `actor`. Answers what changed, in words;
    /// nothing, where they do already.
    ///
    /// # Errors
    /// [`NotDeclared`]; then nothing has changed.
    pub(crate) async fn declare(
        &self,
        declared: DeclaredPolicies,
        actor: &str,
        dry_run: bool,
    ) -> Result<Option<String>, NotDeclared> {
        let DeclaredPolicies { files, mode, shadow } = declared;
        let (files, shadow, count) = tokio::task::spawn_blocking(move || {
            let bundle = files.bundle()?;
            if let Some(shadow) = &shadow {
                shadow.bundle()?;
            }
            Ok((files, shadow, bundle.policies().len()))
        })
        .await
        .map_err(|error| unavailable(&error.to_string()))?
        .map_err(NotDeclared::Unsound)?;
        let (decides, tries) = match mode {
            PolicyMode::Enforce => (Some(files), shadow),
            PolicyMode::Shadow => (None, Some(files)),
        };
        self.store((mode, decides, tries), (actor, count), dry_run).await
    }

    /// Has no policies decide any more.
    ///
    /// # Errors
    /// [`NotDeclared`].
    pub(crate) async fn remove(&self, actor: &str) -> Result<Option<String>, NotDeclared> {
        self.store((PolicyMode::Enforce, None, None), (actor, 0), false).await
    }

    async fn store(
        &self,
        (mode, decides, tries): (PolicyMode, Option<Files>, Option<Files>),
        (actor, count): (&str, usize),
        dry_run: bool,
    ) -> Result<Option<String>, NotDeclared> {
        // What was decided by here before counts, whatever the store holds now.
        self.begin().await;
        let digest = |files: &Option<Files>| files.as_ref().map(Files::digest);
        let (of_decides, of_tries) = (digest(&decides), digest(&tries));
        for _ in 0..TRIES {
            let found =
                repository::load::<StoredSet>(self.records.as_ref(), &self.realm, CURRENT).await;
            let (found, expect) = match found {
                Ok(Some(found)) => {
                    let version = found.version;
                    (Some(found), Expect::Version(version))
                }
                Ok(None) => (None, Expect::Absent),
                // What is damaged is written anew.
                Err(StoreError::Corrupt { .. }) => (None, Expect::Any),
                Err(error) => return Err(error.into()),
            };
            let known = self.state.lock().set.as_ref().map_or(0, |set| set.version);
            let stored = found.as_ref().map(|found| &found.value);
            let is_same = stored.is_some_and(|it| {
                (it.mode, &it.decides, &it.tries) == (mode, &of_decides, &of_tries)
                    && it.version >= known
            });
            let nothing =
                stored.is_none() && known == 0 && of_decides.is_none() && of_tries.is_none();
            if nothing || (is_same && self.is_sound()) {
                return Ok(None);
            }
            let version = stored.map_or(0, |it| it.version).max(known) + 1;
            let told = match (count, mode) {
                (0, _) => format!("policies removed (version {version})"),
                (_, PolicyMode::Enforce) => {
                    format!("policies changed: {count} decide (version {version})")
                }
                (_, PolicyMode::Shadow) => {
                    format!("policies changed: {count} are tried (version {version})")
                }
            };
            if dry_run {
                return Ok(Some(told));
            }
            let set =
                StoredSet { version, mode, decides: of_decides.clone(), tries: of_tries.clone() };
            let batch = self.batch(&set, expect, found.as_ref(), [&decides, &tries]);
            let batch = batch.journal(&self.event(&set, actor, count));
            match self.records.commit(batch).await {
                Ok(()) => return Ok(Some(told)),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(unavailable("the policies changed faster than they could be written").into())
    }

    /// Everything in one, so that no node finds a set without its files.
    fn batch(
        &self,
        set: &StoredSet,
        expect: Expect,
        before: Option<&Versioned<StoredSet>>,
        files: [&Option<Files>; 2],
    ) -> Batch {
        let mut batch = Batch::new(self.realm.clone()).with(set.put(expect));
        let mut written = Vec::new();
        for files in files.into_iter().flatten() {
            let stored = StoredFiles { digest: files.digest(), files: files.clone() };
            if !written.contains(&stored.digest) {
                written.push(stored.digest.clone());
                batch = batch.with(stored.put(Expect::Any));
            }
        }
        let old = before.map(|found| [&found.value.decides, &found.value.tries]);
        let mut gone = Vec::new();
        for digest in old.into_iter().flatten().flatten() {
            if !written.contains(digest) && !gone.contains(digest) {
                gone.push(digest.clone());
                batch = batch.with(tegata_core::port::Change::Remove {
                    kind: &POLICY_FILES,
                    key: digest.clone(),
                    expect: Expect::Any,
                });
            }
        }
        batch
    }

    fn event(&self, set: &StoredSet, actor: &str, count: usize) -> Event {
        let data = [
            ("version", json!(set.version)),
            ("digest", json!(set.decides)),
            ("shadow", json!(set.tries)),
            ("policies", json!(count)),
            ("mode", json!(set.mode)),
            ("actor", json!(actor)),
        ];
        Event::new(&self.node, &self.realm, EventType::PolicyChanged, data)
    }

    /// Whether what the store holds can be used.
    fn is_sound(&self) -> bool {
        self.state.lock().of_store.is_none()
    }

    /// Takes note of what is wrong with the files of the configuration, or that nothing is any more.
    pub(crate) fn note_files(&self, wrong: Option<String>) {
        if let Some(why) = &wrong {
            tracing::error!(why, "the policies of the configuration are not taken over");
        }
        self.state.lock().of_files = wrong;
    }

    /// Names who knows what the gateway decides by.
    pub(crate) fn ask(&self, gateway: impl Fn() -> Option<Arc<PolicySet>> + Send + Sync + 'static) {
        // Whoever was named first stays: there is one gateway.
        let _ = self.gateway.set(Box::new(gateway));
    }

    /// What the gateway decides by at the moment. `None`: it does not serve.
    pub(crate) fn set(&self) -> Option<Arc<PolicySet>> {
        self.gateway.get().and_then(|asked| asked())
    }

    /// The version that decides, and what the policies that are tried beside it would have changed on this node.
    /// `None`: none are.
    pub(crate) fn shadow(&self) -> (u64, Option<ShadowReport>) {
        // Of one moment: what was counted of others belongs to another version.
        let state = self.state.lock();
        let (version, tried) = (state.deciding.version, state.deciding.policies.tried.clone());
        drop(state);
        (version, tried.map(|tried| tried.report()))
    }

    /// The version that decides, and whether everything about it is as it should be.
    pub(crate) fn standing(&self) -> (u64, bool) {
        let state = self.state.lock();
        (state.deciding.version, state.of_store.is_none() && state.of_files.is_none())
    }
}

/// Why files were not found.
enum Lost {
    Wrong(String),
    Store(StoreError),
}

fn unavailable(detail: &str) -> StoreError {
    StoreError::Unavailable { backend: "the policies", detail: detail.to_owned() }
}

/// The policies that were declared decide.
pub(crate) struct Sound(pub(crate) Arc<crate::compose::Composed>);

impl Check for Sound {
    fn name(&self) -> &'static str {
        "policies"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let state = self.0.policies.state.lock();
        let of_store = state.of_store.map(|reason| (reason, state.why.clone()));
        let of_files = state.of_files.clone().map(|why| ("policies_unsound", why));
        let reasons: Vec<_> = of_store.into_iter().chain(of_files).collect();
        drop(state);
        Box::pin(async {
            if reasons.is_empty() {
                return Ok(());
            }
            Err(Unwell { severity: Severity::Degraded, reasons })
        })
    }
}
