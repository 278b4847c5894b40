//! Clients in the store.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::hmac;
use quick_cache::{Equivalent, sync::Cache};
use serde_json::json;
use tegata_core::{
    Batch, ClientId, CommitRefused, Event, EventType, Expect, Node, Realm, Records, Secret,
    StoreError, Stored, Versioned,
    port::{Change, Page, Stamp},
    repository::{self, Again},
};
use tegata_token::Roots;

use super::{
    AuthMethod, Client, ClientMetadata, InvalidClient, SecretDigest, Sector, generate_secret,
};

mod described;

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

/// What the key is for that secrets are digested under.
const OF_SECRETS: &[u8] = b"client secret";

/// How many clients are kept as they were read last.
const MOST_READ: usize = 1000;

/// The clients of an installation.
#[derive(Clone)]
pub struct Clients {
    node: Node,
    records: Arc<dyn Records>,
    roots: Arc<Roots>,
    actor: Option<Arc<str>>,
    /// The key that secrets are digested under, for the realm that asks first.
    secrets: Arc<OnceLock<(Realm, hmac::Key)>>,
    /// Clients as they were read last, by where they are. They hold digests of secrets, and no secret.
    read: Arc<Cache<(Realm, ClientId), Arc<Read>>>,
    /// Names that mean somebody or something else, and what.
    taken: Arc<[(String, &'static str)]>,
}

/// A client as it was read.
struct Read {
    stamp: Stamp,
    version: u64,
    client: Arc<Client>,
}

/// Where a client is.
#[derive(Hash)]
struct Home<'a>(&'a Realm, &'a ClientId);

impl Equivalent<(Realm, ClientId)> for Home<'_> {
    fn equivalent(&self, (realm, id): &(Realm, ClientId)) -> bool {
        self.0 == realm && self.1 == id
    }
}

/// Why a client was not registered or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRegistered {
    /// What was declared cannot be.
    #[error(transparent)]
    Invalid(#[from] InvalidClient),
    /// The given secret is too short to be one.
    #[error(
        "client `{0}`: a client secret needs at least 16 characters; leave it out to have one made"
    )]
    WeakSecret(ClientId),
    /// The name is one of our own.
    #[error("client `{0}`: names that begin with `tegata-` are reserved; choose another")]
    Reserved(ClientId),
    /// Its name means something else already: this.
    #[error("client `{0}`: this name is {1}; choose another, so that it means one thing")]
    Taken(ClientId, &'static str),
    /// There is none of this name.
    #[error("there is no client `{0}`")]
    Unknown(ClientId),
    /// There is one of this name already.
    #[error("there already is a client `{0}`")]
    Present(ClientId),
    /// It is none that describes itself.
    #[error("client `{0}` does not describe itself at an address; remove it instead")]
    NotDescribed(ClientId),
    /// No client can describe itself there.
    #[error("client `{0}` is nobody: {1}")]
    NotAnAddress(ClientId, String),
    /// It describes itself, and nothing of it is changed here.
    #[error(
        "client `{0}` describes itself at its address; refuse it there, or declare a client of this \
         name, which then counts in its place"
    )]
    Described(ClientId),
    /// It was changed since it was read.
    #[error("client `{0}` was changed since it was read: read it again")]
    Overtaken(ClientId),
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What became of a declaration.
#[derive(Debug, Clone)]
pub struct ClientChanged {
    /// The client as it is now.
    pub client: Client,
    /// Whether it was not there before.
    pub is_new: bool,
    /// Whether anything is different from before.
    pub changed: bool,
    /// The secret that was made for it, to be shown once.
    pub secret: Option<Secret<String>>,
}

impl Clients {
    /// The clients in `records`. `roots` are those of the purpose `client-secret`.
    #[must_use]
    pub fn new(node: Node, records: Arc<dyn Records>, roots: Roots) -> Self {
        let (secrets, read) = (Arc::default(), Arc::new(Cache::new(MOST_READ)));
        let (roots, taken) = (Arc::new(roots), Arc::default());
        Self { node, records, roots, actor: None, secrets, read, taken }
    }

    /// The same, at the wish of `actor`: a user id, a client id or a word, for the journal.
    #[must_use]
    pub fn at_wish_of(&self, actor: &str) -> Self {
        Self { actor: Some(actor.into()), ..self.clone() }
    }

    /// The same, where no client has one of these names, because it means what stands beside it: a token
    /// that names a client by it would speak of something else, too.
    #[must_use]
    pub fn without(mut self, taken: impl IntoIterator<Item = (String, &'static str)>) -> Self {
        self.taken = taken.into_iter().collect();
        self
    }

    /// The client of this name.
    ///
    /// # Errors
    /// What the store says.
    pub async fn load(
        &self,
        realm: &Realm,
        id: &ClientId,
    ) -> Result<Option<Versioned<Client>>, StoreError> {
        let found = self.now(realm, id).await?;
        Ok(found.map(|(client, version)| Versioned { value: Client::clone(&client), version }))
    }

    /// The client of this name, and its version. The store is asked each time; what it holds is opened
    /// and read again only where that has changed.
    pub(crate) async fn now(
        &self,
        realm: &Realm,
        id: &ClientId,
    ) -> Result<Option<(Arc<Client>, u64)>, StoreError> {
        let known = self.read.get(&Home(realm, id));
        let stamp = known.as_ref().map(|known| &known.stamp);
        match (repository::reread(self.records.as_ref(), realm, id.as_str(), stamp).await?, known) {
            (Again::Same, Some(known)) => Ok(Some((Arc::clone(&known.client), known.version))),
            (Again::Is(Versioned { value, version }, stamp), _) => {
                let client = Arc::new(value);
                if let Some(stamp) = stamp {
                    let read = Read { stamp, version, client: Arc::clone(&client) };
                    self.read.insert((realm.clone(), id.clone()), Arc::new(read));
                }
                Ok(Some((client, version)))
            }
            // Nothing is the same as what was not shown.
            (Again::Absent | Again::Same, _) => {
                self.read.remove(&Home(realm, id));
                Ok(None)
            }
        }
    }

    /// Clients in order of their names.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list(&self, realm: &Realm, page: Page) -> Result<Vec<Client>, StoreError> {
        let found = repository::scan(self.records.as_ref(), realm, page).await?;
        Ok(found.into_iter().map(|found| found.value).collect())
    }

    /// The client that is declared, where it could be registered with this secret.
    ///
    /// # Errors
    /// [`NotRegistered`], but none of the store.
    pub fn check(
        &self,
        declared: &ClientMetadata,
        given: Option<&Secret<String>>,
    ) -> Result<Client, NotRegistered> {
        let wanted = declared.read(self.node.now())?;
        if is_reserved(&wanted.id) {
            return Err(NotRegistered::Reserved(wanted.id));
        }
        if let Some((_, what)) = self.taken.iter().find(|(name, _)| name == wanted.id.as_str()) {
            return Err(NotRegistered::Taken(wanted.id, what));
        }
        if given.is_some_and(|secret| secret.expose().chars().count() < 16) {
            return Err(NotRegistered::WeakSecret(wanted.id));
        }
        Ok(wanted)
    }

    /// Makes a client be as it is declared, with this secret. A new confidential client without a
    /// secret gets one; one that exists keeps its own. One that had registered itself does not manage
    /// its registration any more: whoever declares it does.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub async fn declare(
        &self,
        realm: &Realm,
        declared: &ClientMetadata,
        given: Option<&Secret<String>>,
    ) -> Result<ClientChanged, NotRegistered> {
        let wanted = self.check(declared, given)?;
        for _ in 0..TRIES {
            let found = self.load(realm, &wanted.id).await?;
            let mut client = Client { created: wanted.created, ..wanted.clone() };
            if let Some(found) = &found {
                client.created = found.value.created;
                client.secrets.clone_from(&found.value.secrets);
                client.declared.clone_from(&found.value.declared);
                // Whoever was disabled by somebody stays so, whatever the declaration does not say.
                client.disabled |= found.value.disabled;
            }
            let secret = self.give_secret(realm, &mut client, given);
            let changed = found.as_ref().is_none_or(|found| found.value != client);
            if let Some(found) = &found {
                warn_of_names(&found.value, &client);
            }
            if changed {
                let change = if found.is_some() { "changed" } else { "registered" };
                let expect =
                    found.as_ref().map_or(Expect::Absent, |it| Expect::Version(it.version));
                match self.commit(realm, &client, expect, change).await {
                    Ok(()) => {}
                    Err(CommitRefused::Conflict { .. }) => continue,
                    Err(CommitRefused::Store(error)) => return Err(error.into()),
                }
            }
            return Ok(ClientChanged { client, is_new: found.is_none(), changed, secret });
        }
        Err(contended().into())
    }

    /// Registers a client that is not there yet. One that is there is left alone: whoever named the
    /// same by mistake would change what others rely on.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub async fn add(
        &self,
        realm: &Realm,
        declared: &ClientMetadata,
        given: Option<&Secret<String>>,
    ) -> Result<ClientChanged, NotRegistered> {
        let mut client = self.check(declared, given)?;
        let secret = self.give_secret(realm, &mut client, given);
        match self.commit(realm, &client, Expect::Absent, "registered").await {
            Ok(()) => Ok(ClientChanged { client, is_new: true, changed: true, secret }),
            Err(CommitRefused::Conflict { .. }) => Err(NotRegistered::Present(client.id)),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Makes a client, as it was read, be as it is declared now. It keeps its secrets, and gets one
    /// where it needs one and has none. One that had registered itself does not manage its
    /// registration any more.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub async fn amend(
        &self,
        realm: &Realm,
        before: &Versioned<Client>,
        declared: &ClientMetadata,
    ) -> Result<ClientChanged, NotRegistered> {
        if before.value.described.is_some() {
            return Err(NotRegistered::Described(before.value.id.clone()));
        }
        let mut client = self.check(declared, None)?;
        client.created = before.value.created;
        client.secrets.clone_from(&before.value.secrets);
        client.declared.clone_from(&before.value.declared);
        let secret = self.give_secret(realm, &mut client, None);
        let changed = client != before.value;
        warn_of_names(&before.value, &client);
        if changed {
            let expect = Expect::Version(before.version);
            match self.commit(realm, &client, expect, "changed").await {
                Ok(()) => {}
                Err(CommitRefused::Conflict { .. }) => {
                    return Err(NotRegistered::Overtaken(client.id));
                }
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Ok(ClientChanged { client, is_new: false, changed, secret })
    }

    /// Registers a client that nobody has declared, and that manages its registration with `token`.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub async fn register(
        &self,
        realm: &Realm,
        wanted: &ClientMetadata,
        token: &Secret<String>,
    ) -> Result<ClientChanged, NotRegistered> {
        let mut client = self.check(wanted, None)?;
        client.registration = Some(self.registration_digest(realm, &client.id, token.expose()));
        let secret = self.give_secret(realm, &mut client, None);
        match self.commit(realm, &client, Expect::Absent, "registered_itself").await {
            Ok(()) => Ok(ClientChanged { client, is_new: true, changed: true, secret }),
            Err(CommitRefused::Conflict { .. }) => Err(contended().into()),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Replaces the registration of a client by itself, as it was read: it is neither brought back when
    /// it was removed meanwhile, nor is a change undone that was made meanwhile.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub async fn register_anew(
        &self,
        realm: &Realm,
        before: &Versioned<Client>,
        wanted: &ClientMetadata,
    ) -> Result<ClientChanged, NotRegistered> {
        let mut client = self.check(wanted, None)?;
        client.created = before.value.created;
        client.secrets.clone_from(&before.value.secrets);
        client.registration.clone_from(&before.value.registration);
        // Who may act by its tokens is an operator's to say, and nothing of it is the client's to undo.
        client.may_act.clone_from(&before.value.may_act);
        client.disabled = before.value.disabled;
        let secret = self.give_secret(realm, &mut client, None);
        let expect = Expect::Version(before.version);
        match self.commit(realm, &client, expect, "changed_by_itself").await {
            Ok(()) => Ok(ClientChanged { client, is_new: false, changed: true, secret }),
            Err(CommitRefused::Conflict { .. }) => Err(contended().into()),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Whether a client manages its registration with this token.
    #[must_use]
    pub fn knows_registration(&self, realm: &Realm, client: &Client, token: &str) -> bool {
        let digest = self.registration_digest(realm, &client.id, token);
        client.registration.as_ref().is_some_and(|own| own.matches(&digest))
    }

    /// Gives a client a new secret. The one before works until the next rotation.
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub async fn rotate_secret(
        &self,
        realm: &Realm,
        id: &ClientId,
    ) -> Result<Secret<String>, NotRegistered> {
        for _ in 0..TRIES {
            let found = self.load(realm, id).await?;
            let found = found.ok_or_else(|| NotRegistered::Unknown(id.clone()))?;
            match self.rotate_secret_of(realm, &found).await {
                Err(NotRegistered::Overtaken(_)) => {}
                settled => return settled,
            }
        }
        Err(contended().into())
    }

    /// The same for a client as it was read: whoever looked what it may do gives a secret to that one.
    ///
    /// # Errors
    /// [`NotRegistered`]; [`NotRegistered::Overtaken`] where it is another by now.
    pub async fn rotate_secret_of(
        &self,
        realm: &Realm,
        before: &Versioned<Client>,
    ) -> Result<Secret<String>, NotRegistered> {
        let mut client = before.value.clone();
        if client.described.is_some() {
            return Err(NotRegistered::Described(client.id));
        }
        let secret = generate_secret(self.node.entropy());
        client.secrets.insert(0, self.digest(realm, &client.id, secret.expose()));
        client.secrets.truncate(2);
        let expect = Expect::Version(before.version);
        match self.commit(realm, &client, expect, "secret_rotated").await {
            Ok(()) => Ok(secret),
            Err(CommitRefused::Conflict { .. }) => Err(NotRegistered::Overtaken(client.id)),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Disables a client, as it was read, or lets it be one again, and changes nothing else: neither what was
    /// stored of it and could not be declared so any more, nor that it manages its own registration.
    ///
    /// # Errors
    /// [`NotRegistered`]; [`NotRegistered::Overtaken`] where it is another by now.
    pub async fn disable(
        &self,
        realm: &Realm,
        before: &Versioned<Client>,
        disabled: bool,
    ) -> Result<ClientChanged, NotRegistered> {
        let changed = before.value.disabled != disabled;
        let client = Client { disabled, ..before.value.clone() };
        if client.described.is_some() {
            return Err(NotRegistered::Described(client.id));
        }
        if changed {
            match self.commit(realm, &client, Expect::Version(before.version), "changed").await {
                Ok(()) => {}
                Err(CommitRefused::Conflict { .. }) => {
                    return Err(NotRegistered::Overtaken(client.id));
                }
                Err(CommitRefused::Store(error)) => return Err(error.into()),
            }
        }
        Ok(ClientChanged { client, is_new: false, changed, secret: None })
    }

    /// Removes a client alone. What it has is taken back with it by
    /// [`Provider::remove_client`](crate::Provider::remove_client).
    ///
    /// # Errors
    /// [`NotRegistered`].
    pub async fn remove(&self, realm: &Realm, id: &ClientId) -> Result<(), NotRegistered> {
        until_settled(|| self.remove_by(realm, id, Vec::new(), |batch| self.records.commit(batch)))
            .await
    }

    /// Removes a client, with what must change in the same moment, by a batch that `commit` commits.
    ///
    /// # Errors
    /// [`NotRegistered::Overtaken`] where something of it has changed since it was read.
    pub(crate) async fn remove_by<F>(
        &self,
        realm: &Realm,
        id: &ClientId,
        besides: Vec<Change>,
        commit: impl FnOnce(Batch) -> F,
    ) -> Result<(), NotRegistered>
    where
        F: Future<Output = Result<(), CommitRefused>>,
    {
        let found = self.load(realm, id).await?;
        let found = found.ok_or_else(|| NotRegistered::Unknown(id.clone()))?;
        let event = self.event(realm, id, "removed");
        let batch = Batch::new(realm.clone()).with(found.remove()).journal(&event);
        let batch = besides.into_iter().fold(batch, Batch::with);
        match commit(batch).await {
            Ok(()) => Ok(()),
            Err(CommitRefused::Conflict { .. }) => Err(NotRegistered::Overtaken(id.clone())),
            Err(CommitRefused::Store(error)) => Err(error.into()),
        }
    }

    /// Whether `secret` is one of the client's. The time it takes does not tell how much of it is
    /// right.
    #[must_use]
    pub fn knows_secret(&self, realm: &Realm, client: &Client, secret: &str) -> bool {
        let digest = self.digest(realm, &client.id, secret);
        // All are compared, so that the time does not tell which one it was.
        client.secrets.iter().fold(false, |known, own| known | own.matches(&digest))
    }

    fn give_secret(
        &self,
        realm: &Realm,
        client: &mut Client,
        given: Option<&Secret<String>>,
    ) -> Option<Secret<String>> {
        let by_secret =
            matches!(client.auth, AuthMethod::ClientSecretBasic | AuthMethod::ClientSecretPost);
        if !by_secret {
            client.secrets.clear();
            // Or the same one, declared again later, would count as given already.
            client.declared = None;
            return None;
        }
        if let Some(given) = given {
            let digest = self.digest(realm, &client.id, given.expose());
            if !client.declared.as_ref().is_some_and(|last| last.matches(&digest)) {
                client.secrets = vec![digest.clone()];
                client.declared = Some(digest);
            }
            return None;
        }
        if !client.secrets.is_empty() {
            return None;
        }
        let secret = generate_secret(self.node.entropy());
        client.secrets = vec![self.digest(realm, &client.id, secret.expose())];
        Some(secret)
    }

    fn digest(&self, realm: &Realm, client: &ClientId, secret: &str) -> SecretDigest {
        let derive = || (realm.clone(), self.key_for(OF_SECRETS, realm));
        match self.secrets.get_or_init(derive) {
            (of, key) if of == realm => SecretDigest::of(key, client, secret),
            _ => self.digest_for(OF_SECRETS, realm, client, secret),
        }
    }

    fn registration_digest(&self, realm: &Realm, client: &ClientId, token: &str) -> SecretDigest {
        self.digest_for(b"registration", realm, client, token)
    }

    fn digest_for(
        &self,
        purpose: &[u8],
        realm: &Realm,
        client: &ClientId,
        secret: &str,
    ) -> SecretDigest {
        SecretDigest::of(&self.key_for(purpose, realm), client, secret)
    }

    fn key_for(&self, purpose: &[u8], realm: &Realm) -> hmac::Key {
        let parts: [&[u8]; 2] = [purpose, realm.as_str().as_bytes()];
        // Without a root secret nothing matches: a key of nothing is never what was stored.
        let key = self.roots.derive(self.roots.newest(), &parts);
        key.unwrap_or_else(|| hmac::Key::new(hmac::HMAC_SHA256, &[]))
    }

    async fn commit(
        &self,
        realm: &Realm,
        client: &Client,
        expect: Expect,
        change: &str,
    ) -> Result<(), CommitRefused> {
        let event = self.event(realm, &client.id, change);
        let batch = Batch::new(realm.clone()).with(client.put(expect)).journal(&event);
        self.records.commit(batch).await
    }

    fn event(&self, realm: &Realm, id: &ClientId, change: &str) -> Event {
        let data = [("subject", json!(format!("client:{id}"))), ("change", json!(change))];
        let mut event = Event::new(&self.node, realm, EventType::RegistryChanged, data);
        if let Some(actor) = &self.actor {
            event.data.insert("actor".to_owned(), json!(&**actor));
        }
        event
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clients")
    }
}

/// Whether a name is one of our own, which no client can be registered under.
#[must_use]
pub fn is_reserved(id: &ClientId) -> bool {
    id.as_str().starts_with("tegata-")
}

/// Says where a client is about to know everybody by another name.
fn warn_of_names(before: &Client, now: &Client) {
    if before.sector != now.sector {
        let sector = now.sector.as_ref().map(Sector::as_str);
        tracing::warn!(
            client = %now.id, sector,
            "people get other names at this client: what it keeps under the old ones is nobody's to it",
        );
    }
}

/// Tries again what lost a race, for as often as that can be chance.
pub(crate) async fn until_settled<F>(attempt: impl Fn() -> F) -> Result<(), NotRegistered>
where
    F: Future<Output = Result<(), NotRegistered>>,
{
    for _ in 0..TRIES {
        match attempt().await {
            Err(NotRegistered::Overtaken(_)) => {}
            settled => return settled,
        }
    }
    Err(contended().into())
}

fn contended() -> StoreError {
    StoreError::Unavailable {
        backend: "the record store",
        detail: "a client changed faster than it could be written".to_owned(),
    }
}
