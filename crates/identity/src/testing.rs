//! What the tests of this crate stand on.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use tegata_core::{
    Batch, CommitRefused, Epoch, Event, Kind, Log, ManualClock, Node, NodeId, Realm, Records,
    Secret, SeededEntropy, SessionId, StoreError, Timestamp,
    port::{Body, BoxFuture, Change, Page, Pull, Record, Sequenced},
};
use tegata_store::{MemoryEphemeral, MemoryRecords};

use crate::{
    Letters, NewUser, PasskeyName, Password, PasswordHasher, PasswordPolicy, Passwords,
    RelyingParty, Role, SecondFactors, SignIn, Throttle, TotpSecret, User, Username, Users,
    credential::password::{Caps, HasherConfig},
    letters, throttle,
    workers::{Busy, Job, Workers},
};

#[path = "../tests/authenticator/soft.rs"]
pub(crate) mod soft;

use soft::Soft;

/// The page that makes and uses passkeys in tests.
pub(crate) const PAGE: &str = "https://auth.example.com";

/// Memory that marks secret bodies as sealed, counts what it is asked, and fails when told to.
pub(crate) struct FakeVault {
    inner: MemoryRecords,
    loads: Mutex<Vec<&'static str>>,
    /// Commits from now on happen, and their answer is lost.
    pub(crate) lose_answers: AtomicBool,
    /// Nothing answers from now on.
    pub(crate) down: AtomicBool,
    /// What somebody else commits right before the next commit.
    pub(crate) meanwhile: Mutex<Option<Batch>>,
}

impl FakeVault {
    fn new(clock: Arc<ManualClock>) -> Self {
        Self {
            inner: MemoryRecords::new(&crate::KINDS, clock).unwrap(),
            loads: Mutex::default(),
            lose_answers: AtomicBool::new(false),
            down: AtomicBool::new(false),
            meanwhile: Mutex::default(),
        }
    }

    /// Which kinds were loaded since the last call, in order.
    pub(crate) fn loads(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.loads.lock())
    }

    fn up(&self) -> Result<(), StoreError> {
        if !self.down.load(Ordering::SeqCst) {
            return Ok(());
        }
        Err(StoreError::Unavailable { backend: "memory", detail: "told so".to_owned() })
    }
}

fn sealed(mut batch: Batch) -> Batch {
    for change in &mut batch.changes {
        if let Change::Put { kind: Kind { secret: true, .. }, body, .. } = change
            && let Body::Plain(bytes) = body
        {
            *body = Body::Sealed(std::mem::take(bytes));
        }
    }
    batch
}

fn opened(mut record: Record) -> Record {
    if let Body::Sealed(bytes) = record.body {
        record.body = Body::Plain(bytes);
    }
    record
}

impl Records for FakeVault {
    fn load<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        self.loads.lock().push(kind.name);
        Box::pin(async move {
            self.up()?;
            Ok(self.inner.load(realm, kind, key).await?.map(opened))
        })
    }

    fn find<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        index: &'static str,
        value: &'a str,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.find(realm, kind, index, value, page).await?;
            Ok(found.into_iter().map(opened).collect())
        })
    }

    fn scan<'a>(
        &'a self,
        realm: &'a Realm,
        kind: &'static Kind,
        page: Page,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let found = self.inner.scan(realm, kind, page).await?;
            Ok(found.into_iter().map(opened).collect())
        })
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move {
            self.up()?;
            let meanwhile = self.meanwhile.lock().take();
            if let Some(meanwhile) = meanwhile {
                self.inner.commit(sealed(meanwhile)).await?;
            }
            self.inner.commit(sealed(batch)).await?;
            if self.lose_answers.load(Ordering::SeqCst) {
                let detail = "told so".to_owned();
                return Err(StoreError::Indeterminate { backend: "memory", detail }.into());
            }
            Ok(())
        })
    }

    fn pull(&self, log: Log, after: u64, limit: u32) -> BoxFuture<'_, Result<Pull, StoreError>> {
        self.inner.pull(log, after, limit)
    }

    fn sequence(&self, log: Log, node: NodeId) -> BoxFuture<'_, Result<Sequenced, StoreError>> {
        self.inner.sequence(log, node)
    }

    fn purge(&self, now: Timestamp, before: Timestamp) -> BoxFuture<'_, Result<u64, StoreError>> {
        self.inner.purge(now, before)
    }
}

/// A worker that works at once, on the caller's thread, unless it is told to be busy.
#[derive(Default)]
pub(crate) struct Inline {
    pub(crate) busy: AtomicBool,
    pub(crate) jobs: AtomicUsize,
}

impl Workers for Inline {
    fn submit(&self, job: Job) -> Result<(), Busy> {
        if self.busy.load(Ordering::SeqCst) {
            return Err(Busy);
        }
        self.jobs.fetch_add(1, Ordering::SeqCst);
        job();
        Ok(())
    }
}

/// Everything, in memory, on a clock that stands still.
pub(crate) struct Bed {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) node: Node,
    pub(crate) realm: Realm,
    pub(crate) records: Arc<FakeVault>,
    pub(crate) ephemeral: Arc<MemoryEphemeral>,
    pub(crate) hasher: Arc<PasswordHasher>,
    pub(crate) workers: Arc<Inline>,
    pub(crate) users: Users,
    pub(crate) passwords: Passwords,
}

/// Hashing that costs nothing.
pub(crate) fn cheap() -> HasherConfig {
    HasherConfig { memory_kib: 8, passes: 1, lanes: 1, caps: Caps::default() }
}

impl Bed {
    pub(crate) fn new() -> Self {
        Self::hashing(cheap())
    }

    pub(crate) fn hashing(config: HasherConfig) -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let records = Arc::new(FakeVault::new(clock.clone()));
        let ephemeral = Arc::new(MemoryEphemeral::new(clock.clone()));
        let hasher = Arc::new(PasswordHasher::new(config, node.entropy()).unwrap());
        let workers = Arc::new(Inline::default());
        let users = Users::new(node.clone(), records.clone());
        let passwords = Passwords::new(
            node.clone(),
            records.clone(),
            Arc::clone(&hasher),
            workers.clone(),
            PasswordPolicy::default(),
        );
        let realm = Realm::default();
        Self { clock, node, realm, records, ephemeral, hasher, workers, users, passwords }
    }

    pub(crate) fn throttle(&self) -> Throttle {
        let config = throttle::Config::default();
        Throttle::new(self.node.clone(), self.ephemeral.clone(), config)
    }

    pub(crate) fn second(&self) -> SecondFactors {
        SecondFactors::new(self.node.clone(), self.records.clone(), self.ephemeral.clone())
            .with_passkeys(party())
    }

    /// A passkey of a user, enrolled.
    pub(crate) async fn passkey(&self, user: &User) -> Soft {
        let (mut soft, sid) = (Soft::at(PAGE), self.session(1));
        let second = self.second();
        let options = second.begin_passkey(&self.realm, user, &sid).await.unwrap();
        let (made, name) = (soft.create(&options), PasskeyName::new("a key"));
        second.confirm_passkey(&self.realm, &user.id, &sid, &made, name).await.unwrap();
        soft
    }

    /// The id of a session.
    pub(crate) fn session(&self, seed: u64) -> SessionId {
        SessionId::generate(Epoch::FIRST, self.node.now(), &SeededEntropy::new(seed))
    }

    /// An authenticator app of a user, enrolled.
    pub(crate) async fn app(&self, user: &User) -> TotpSecret {
        let secret = TotpSecret::generate(self.node.entropy());
        self.second().provide_totp(&self.realm, &user.id, &secret, "test").await.unwrap();
        secret
    }

    /// Letters, with links that anybody could make.
    pub(crate) fn letters(&self) -> Letters {
        let keys =
            letters::Keys::new(|parts| Some(hmac::Key::new(hmac::HMAC_SHA256, &parts.concat())));
        let parts = letters::Parts {
            epoch: Epoch::FIRST,
            keys,
            users: self.users.clone(),
            passwords: self.passwords.clone(),
            second: self.second(),
            throttle: self.throttle(),
        };
        let config = letters::Config { registration: true, sign_in: true, ..Default::default() };
        Letters::new(config, parts)
    }

    pub(crate) fn sign_in(&self) -> SignIn {
        self.sign_in_with(&self.hasher)
    }

    pub(crate) fn sign_in_with(&self, hasher: &Arc<PasswordHasher>) -> SignIn {
        SignIn::new(self.second(), self.throttle(), Arc::clone(hasher), self.workers.clone())
    }

    /// A registered user; the password may be of any length.
    pub(crate) async fn user(&self, name: &str, password: Option<&str>) -> User {
        let phc = password.map(|text| self.hasher.hash(&typed(text), self.node.entropy()).unwrap());
        let new = NewUser { password: phc, ..new_user(name) };
        self.users.register(&self.realm, new, "test").await.unwrap()
    }

    /// The events so far: their types and data.
    pub(crate) async fn events(&self) -> Vec<(String, serde_json::Value)> {
        self.records.sequence(Log::Journal, self.node.id()).await.unwrap();
        let pull = self.records.pull(Log::Journal, 0, 10_000).await.unwrap();
        let event = |body: &[u8]| serde_json::from_slice::<Event>(body).unwrap();
        pull.entries
            .iter()
            .map(|entry| event(&entry.body))
            .map(|event| (event.kind.name().to_owned(), event.data.into()))
            .collect()
    }
}

/// For whom passkeys are made in tests.
pub(crate) fn party() -> RelyingParty {
    let origins = [PAGE, "https://api.auth.example.com:8443"];
    RelyingParty::new("auth.example.com", &origins, &Secret::new([7; 32])).unwrap()
}

pub(crate) fn new_user(name: &str) -> NewUser {
    NewUser {
        profile: crate::Profile::default(),
        username: Username::new(name).unwrap(),
        email: None,
        roles: [Role::new("customer").unwrap()].into(),
        locale: None,
        password: None,
    }
}

pub(crate) fn typed(text: &str) -> Password {
    Password::new(text.to_owned()).unwrap()
}

pub(crate) fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

pub(crate) fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}
