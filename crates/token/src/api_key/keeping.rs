//! Making keys, replacing them, and taking them back.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use tegata_core::{
    Batch, BoxFuture, ClientId, CommitRefused, Epoch, Event, EventType, Expect, Node, Realm,
    Records, Secret, StoreError, Stored as _, Timestamp, Versioned, port::Page, repository, secret,
};

use super::{
    ApiGrant, ApiKey, Ended, LONGEST_LIFETIME, Standing,
    form::{self, ApiKeyId, NotAKey, Shown},
    used::Use,
};
use crate::{
    revocation::{Entry, Holder, LONGEST_ACCESS, Order, Revoker, Tally, Target, Withdrawable},
    root::Roots,
};

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

/// How many are read, or taken back, together.
const TOGETHER: u32 = 100;

/// The shortest time in which a key counts beside the one that takes its place, unless it is none: nodes
/// may serve what they read of a key for some seconds.
pub const SHORTEST_GRACE: Duration = Duration::from_secs(60);

/// The longest such time: 30 days.
pub const LONGEST_GRACE: Duration = Duration::from_secs(30 * 86_400);

/// The keys of one realm.
#[derive(Clone)]
pub struct ApiKeys {
    node: Node,
    epoch: Epoch,
    realm: Realm,
    records: Arc<dyn Records>,
    revoker: Revoker,
    roots: Arc<Vec<Root>>,
    /// For how long what a key gets may count that may get tokens.
    longest_token: Duration,
    /// At whose wish they change, in the journal.
    actor: Arc<str>,
}

/// What is derived from one root secret.
struct Root {
    number: u16,
    seal: hmac::Key,
    digest: hmac::Key,
}

/// A key that was made, with its secret, which nobody is told again.
#[derive(Debug)]
pub struct Made {
    /// The key.
    pub key: ApiKey,
    /// All of it, as it is shown.
    pub secret: Secret<String>,
    /// The one whose place it takes, as it is now.
    pub before: Option<ApiKey>,
}

/// Why a key was not made or changed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ApiKeyRefused {
    /// There is none.
    #[error("there is no API key `{0}`; `tegata apikey list` names them")]
    Unknown(ApiKeyId),
    /// It does not count any more, or another has its place.
    #[error("API key `{0}` is {1}: there is nothing to replace; make another")]
    Ended(ApiKeyId, &'static str),
    /// The lifetime is none.
    #[error("an API key counts for some time, ten years at most")]
    Lifetime,
    /// The grace period is none.
    #[error(
        "a key counts beside the one that takes its place for not at all, or from one minute to 30 days"
    )]
    Grace,
    /// The grace period is shorter than the life of a token that the key may just have got.
    #[error(
        "a token of this key lives for {} s: it counts beside the one that takes its place for not at all, \
         or for as long at least",
        .0.as_secs()
    )]
    GraceOfTokens(Duration),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ApiKeys {
    /// The keys of `realm`. `roots` are of a purpose of their own. `None`: there is no root secret.
    #[must_use]
    pub fn new(
        node: Node,
        (epoch, realm): (Epoch, Realm),
        records: Arc<dyn Records>,
        roots: &Roots,
        revoker: Revoker,
    ) -> Option<Self> {
        let root = |number| {
            let derive = |what: &[u8]| roots.derive(number, &[realm.as_str().as_bytes(), what]);
            Some(Root { number, seal: derive(b"seal")?, digest: derive(b"digest")? })
        };
        let roots: Vec<_> = (roots.oldest()..=roots.newest()).rev().filter_map(root).collect();
        let roots = Some(Arc::new(roots)).filter(|roots| !roots.is_empty())?;
        let actor = "system".into();
        let longest_token = Duration::ZERO;
        Some(Self { node, epoch, realm, records, revoker, roots, longest_token, actor })
    }

    /// The same, where tokens of a key live for so long at most.
    #[must_use]
    pub const fn with_tokens_of(mut self, longest: Duration) -> Self {
        self.longest_token = longest;
        self
    }

    /// The same, at somebody's wish.
    #[must_use]
    pub fn at_wish_of(&self, actor: &str) -> Self {
        Self { actor: actor.into(), ..self.clone() }
    }

    /// Reads a key that was shown. One that this realm did not make is refused without asking anybody.
    ///
    /// # Errors
    /// [`NotAKey`].
    pub fn read(&self, text: &str) -> Result<Shown, NotAKey> {
        let shown = Shown::parse(text)?;
        let (body, seal) = shown.sealed();
        let is_of = |root: &Root| secret::matches(root.seal(body).as_bytes(), seal);
        if self.roots.iter().any(is_of) { Ok(shown) } else { Err(NotAKey::Seal) }
    }

    pub(super) fn digest(&self, root: u16, shown: &Shown) -> Option<[u8; 32]> {
        let root = self.roots.iter().find(|it| it.number == root)?;
        hmac::sign(&root.digest, shown.text()).as_ref().try_into().ok()
    }

    /// How a key stands now.
    #[must_use]
    pub fn standing(&self, key: &ApiKey) -> Standing {
        key.standing(self.node.now(), self.epoch)
    }

    /// Makes a key for a client or service. Whoever asks makes sure that there is one.
    ///
    /// # Errors
    /// [`ApiKeyRefused`].
    pub async fn create(
        &self,
        client: &ClientId,
        name: &str,
        grant: ApiGrant,
        lifetime: Duration,
    ) -> Result<Made, ApiKeyRefused> {
        for _ in 0..TRIES {
            let (key, secret) = self.make(client, name, grant.clone(), lifetime)?;
            let event = self.event(
                EventType::RegistryChanged,
                &[
                    ("subject", json!(format!("api_key:{}", key.id))),
                    ("change", json!("created")),
                    ("client_id", json!(key.client)),
                    ("scope", json!(key.grant.scope)),
                    ("roles", json!(key.grant.roles)),
                    ("services", json!(key.grant.services)),
                    ("routes", json!(key.grant.routes)),
                    ("tokens", json!(key.grant.tokens)),
                    ("expires", json!(key.expires.to_string())),
                ],
            );
            let batch =
                Batch::new(self.realm.clone()).with(key.put(Expect::Absent)).journal(&event);
            match self.records.commit(batch).await {
                Ok(()) => {
                    self.check_stands(&key).await?;
                    return Ok(Made { key, secret, before: None });
                }
                // Somebody has this id.
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    /// Makes a key in place of another, which counts beside it for `grace`: not at all, or a minute at
    /// least. Not at all takes back what the other got; else that ends with the grace, so this is no shorter
    /// than a token of the key may live. It may be used for the same, and counts as long as the other did from when it was made.
    ///
    /// # Errors
    /// [`ApiKeyRefused`].
    pub async fn rotate(&self, id: &ApiKeyId, grace: Duration) -> Result<Made, ApiKeyRefused> {
        if !grace.is_zero() && !(SHORTEST_GRACE..=LONGEST_GRACE).contains(&grace) {
            return Err(ApiKeyRefused::Grace);
        }
        for _ in 0..TRIES {
            let before = self.load(id).await?.ok_or_else(|| ApiKeyRefused::Unknown(id.clone()))?;
            let old = &before.value;
            if old.replaced_by.is_some() {
                return Err(ApiKeyRefused::Ended(id.clone(), "replaced already"));
            }
            // One whose time is over, or that is from before a restore, is replaced as well: its service
            // needs another.
            if old.ended.is_some() {
                return Err(ApiKeyRefused::Ended(id.clone(), "taken back"));
            }
            // INVARIANT: no token outlives the key that got it.
            if old.grant.tokens && !grace.is_zero() && grace < self.longest_token {
                return Err(ApiKeyRefused::GraceOfTokens(self.longest_token));
            }
            let lifetime = old.expires.since(old.created);
            let (mut new, secret) =
                self.make(&old.client, &old.name, old.grant.clone(), lifetime)?;
            new.replaces = Some(old.id.clone());
            let now = self.node.now();
            let end = (now + grace).min(old.expires);
            let mut old = old.clone();
            old.replaced_by = Some(new.id.clone());
            old.expires = end;
            if grace.is_zero() {
                old.ended = Some(Ended { at: now, reason: "replaced".to_owned() });
            }
            let event = self.event(
                EventType::ApiKeyRotated,
                &[
                    ("old_id", json!(old.id)),
                    ("new_id", json!(new.id)),
                    ("overlap_end", json!(end.to_string())),
                    ("client_id", json!(old.client)),
                ],
            );
            let batch = Batch::new(self.realm.clone())
                .with(new.put(Expect::Absent))
                .with(before.replace(&old))
                .journal(&event);
            let order = Order { reason: "replaced".to_owned(), actor: self.actor.to_string() };
            let entries = if grace.is_zero() { self.entry(&old, &order) } else { None };
            match self.revoker.commit(batch, entries.into_iter().collect()).await {
                Ok(()) => {
                    self.check_stands(&new).await?;
                    return Ok(Made { key: new, secret, before: Some(old) });
                }
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Err(contended().into())
    }

    /// Takes a key back: when this answers `Ok`, it is durable, and this node refuses it. Answers whether
    /// this took it back. `None`: there is no such key.
    ///
    /// # Errors
    /// What the store says.
    pub async fn revoke(&self, id: &ApiKeyId, order: &Order) -> Result<Option<bool>, StoreError> {
        for _ in 0..TRIES {
            let Some(found) = self.load(id).await? else { return Ok(None) };
            if found.value.ended.is_some() {
                return Ok(Some(false));
            }
            match self.end(&[found], order).await {
                Ok(_) => return Ok(Some(true)),
                Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Err(contended())
    }

    /// The key of this name: the latest.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(&self, id: &ApiKeyId) -> Result<Option<Versioned<ApiKey>>, StoreError> {
        repository::load(self.records.as_ref(), &self.realm, id.as_str()).await
    }

    /// Keys in the order of their ids: all, or those of a client; with when each was used last.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(
        &self,
        client: Option<&ClientId>,
        page: Page,
    ) -> Result<Vec<(ApiKey, Option<Timestamp>)>, StoreError> {
        let records = self.records.as_ref();
        let found: Vec<Versioned<ApiKey>> = match client {
            Some(client) => {
                repository::find(records, &self.realm, "client", client.as_str(), page).await?
            }
            None => repository::scan(records, &self.realm, page).await?,
        };
        let mut all = Vec::with_capacity(found.len());
        for key in found {
            let used = self.used(&key.value.id).await?;
            all.push((key.value, used));
        }
        Ok(all)
    }

    /// When a key was used last, to about a minute.
    ///
    /// # Errors
    /// What the store says.
    pub async fn used(&self, id: &ApiKeyId) -> Result<Option<Timestamp>, StoreError> {
        let found =
            repository::recent::<Use>(self.records.as_ref(), &self.realm, id.as_str()).await?;
        Ok(found.map(|found| found.value.at))
    }

    /// Writes down when keys were used last.
    ///
    /// # Errors
    /// What the store says: then some of it may be written.
    pub async fn note_used(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        for some in used.chunks(TOGETHER as usize) {
            let batch = some.iter().fold(Batch::new(self.realm.clone()), |batch, (id, at)| {
                batch.with(Use { id: id.clone(), at: *at }.put(Expect::Any))
            });
            match self.records.commit(batch).await {
                // Nothing is expected, so nobody can be first.
                Ok(()) | Err(CommitRefused::Conflict { .. }) => {}
                Err(CommitRefused::Store(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// Makes sure that a key which was just written is not of somebody of whom everything was taken back
    /// while it was made: whoever did that may have looked for keys before.
    async fn check_stands(&self, key: &ApiKey) -> Result<(), StoreError> {
        let view = self.revoker.view();
        view.catch_up(self.records.as_ref()).await?;
        if view.realm(&self.realm).check_claims(&key.claims(""), None, "").is_none() {
            return Ok(());
        }
        let (reason, actor) = ("overtaken".to_owned(), self.actor.to_string());
        self.revoke(&key.id, &Order { reason, actor }).await?;
        let detail = "what the client has was taken back just now: try again".to_owned();
        Err(StoreError::Unavailable { backend: "the record store", detail })
    }

    fn make(
        &self,
        client: &ClientId,
        name: &str,
        grant: ApiGrant,
        lifetime: Duration,
    ) -> Result<(ApiKey, Secret<String>), ApiKeyRefused> {
        if lifetime.is_zero() || lifetime > LONGEST_LIFETIME {
            return Err(ApiKeyRefused::Lifetime);
        }
        let root = self.roots.first().ok_or_else(no_root)?;
        let id = ApiKeyId::generate(self.node.entropy());
        let secret = form::write(&id, self.node.entropy(), |body| root.seal(body));
        let shown = Shown::parse(secret.expose()).map_err(|_| no_root())?;
        let digest = self.digest(root.number, &shown).ok_or_else(no_root)?;
        let view = self.revoker.view().realm(&self.realm);
        let earliest = view.earliest_issue(client.as_str(), Some(client.as_str()));
        let now = self.node.now();
        let key = ApiKey {
            id,
            epoch: self.epoch,
            client: client.clone(),
            name: name.to_owned(),
            digest: (root.number, digest),
            grant,
            created: now,
            since: now.secs().max(earliest),
            expires: now + lifetime,
            ended: None,
            replaces: None,
            replaced_by: None,
        };
        Ok((key, secret))
    }

    /// Takes back keys as they were read, in one batch.
    async fn end(&self, found: &[Versioned<ApiKey>], order: &Order) -> Result<u64, CommitRefused> {
        let now = self.node.now();
        let (mut batch, mut entries) = (Batch::new(self.realm.clone()), Vec::new());
        for found in found.iter().filter(|found| found.value.ended.is_none()) {
            let mut key = found.value.clone();
            key.ended = Some(Ended { at: now, reason: order.reason.clone() });
            let event = Event::new(
                &self.node,
                &self.realm,
                EventType::TokenRevoked,
                [
                    ("jti", json!(key.jti())),
                    ("api_key", json!(key.id)),
                    ("client_id", json!(key.client)),
                    ("reason", json!(order.reason)),
                    ("actor", json!(order.actor)),
                ],
            );
            entries.extend(self.entry(&key, order));
            batch = batch.with(found.replace(&key)).journal(&event);
        }
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if count > 0 {
            self.revoker.commit(batch, entries).await?;
        }
        Ok(count)
    }

    /// What has every node refuse a key at once. The record is for later: whoever reads it then finds that
    /// the key was taken back, so this need not outlive what is made of a key, and what is kept of it.
    fn entry(&self, key: &ApiKey, order: &Order) -> Option<Entry> {
        let now = self.node.now();
        let until = now + LONGEST_ACCESS * 2;
        Some(order.entry(Target::Token(key.jti()?), Vec::new(), (now, until)))
    }

    fn event(&self, kind: EventType, data: &[(&str, Value)]) -> Event {
        let mut event = Event::new(&self.node, &self.realm, kind, []);
        let data = data.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        event.data.extend(data);
        event.data.insert("actor".to_owned(), json!(&*self.actor));
        event
    }
}

impl Root {
    fn seal(&self, body: &[u8]) -> String {
        form::seal_of(hmac::sign(&self.seal, body).as_ref())
    }
}

impl Withdrawable for ApiKeys {
    fn kind(&self) -> &'static str {
        "api keys"
    }

    fn concerns(&self, holder: &Holder) -> bool {
        matches!(holder, Holder::Client(_))
    }

    fn withdraw<'a>(
        &'a self,
        realm: &'a Realm,
        holder: &'a Holder,
        order: &'a Order,
        tally: &'a Tally,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let Holder::Client(client) = holder else { return Ok(0) };
            if *realm != self.realm {
                return Ok(0);
            }
            let (mut page, mut count) = (Page { after: None, limit: TOGETHER }, 0);
            loop {
                let records = self.records.as_ref();
                let found: Vec<Versioned<ApiKey>> =
                    repository::find(records, realm, "client", client.as_str(), page.clone())
                        .await?;
                let ended = match self.end(&found, order).await {
                    Ok(ended) => ended,
                    // One of them was replaced meanwhile: each by itself, as it is then.
                    Err(CommitRefused::Conflict { .. }) => {
                        let mut ended = 0;
                        for found in &found {
                            let was = self.revoke(&found.value.id, order).await?;
                            ended += u64::from(was == Some(true));
                        }
                        ended
                    }
                    Err(CommitRefused::Store(error)) => return Err(error),
                };
                tally.add(ended);
                count += ended;
                match found.last() {
                    Some(last) => page.after = Some(last.value.id.as_str().to_owned()),
                    None => return Ok(count),
                }
            }
        })
    }
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "the API key changed faster than it could be read: try again".to_owned(),
    }
}

fn no_root() -> StoreError {
    StoreError::Misused { detail: "there is no root secret for API keys".to_owned() }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({:?})", self.node)
    }
}
