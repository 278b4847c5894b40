//! What the tests of this folder are run on.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Batch, BoxFuture, CommitRefused, Custody, Ephemeral, Epoch, Event, Kind, Log, ManualClock,
    Node, Realm, Records, Secret, SeededEntropy, SessionId, UserId, repository,
};
use tegata_session::{
    Beginning, Begun, Binding, Ending, Endings, KINDS, Keys, Limits, Passage, Presentation,
    Session, SessionRefused, Sessions, Standing, Traits, Verdict,
};
use tegata_store::{FileCustody, MemoryEphemeral, MemoryRecords, Sealed, sealed::DATA_KEYS};

/// A root key that every node of a test knows.
const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// One node on a store.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) realm: Realm,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
    pub(crate) endings: Arc<Ends>,
    pub(crate) sessions: Sessions,
}

/// What has ended, as a node knows it. A fake of the revocation log.
pub(crate) struct Ends {
    records: Arc<dyn Records>,
    pub(crate) known: Mutex<Vec<Ending>>,
    /// Whose permissions the node knows to have changed.
    pub(crate) changed: Mutex<Vec<UserId>>,
    /// Whether the node has not heard for a while what ended.
    pub(crate) stale: AtomicBool,
}

impl Endings for Ends {
    fn has_ended(&self, _: &Realm, session: &Session) -> bool {
        self.known.lock().unwrap().iter().any(|ending| ending.sid == session.id)
    }

    fn has_changed(&self, _: &Realm, session: &Session) -> bool {
        self.changed.lock().unwrap().contains(&session.user)
    }

    fn is_current(&self) -> bool {
        !self.stale.load(Ordering::SeqCst)
    }

    fn commit(&self, batch: Batch, ended: Vec<Ending>) -> BoxFuture<'_, Result<(), CommitRefused>> {
        Box::pin(async move {
            self.records.commit(batch).await?;
            self.known.lock().unwrap().extend(ended);
            Ok(())
        })
    }
}

impl World {
    /// A node in memory, whose time stands still.
    pub(crate) async fn in_memory() -> Self {
        let clock = Arc::new(ManualClock::default());
        let kinds: Vec<&'static Kind> = KINDS.into_iter().chain([&DATA_KEYS]).collect();
        let bare: Arc<dyn Records> = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let custody = FileCustody::from_text(ROOT_KEY, "the test", &node).unwrap();
        let custody: Arc<dyn Custody> = Arc::new(custody);
        let records = Arc::new(Sealed::open(bare, custody, &node).await.unwrap());
        let ephemeral = Arc::new(MemoryEphemeral::new(clock.clone()));
        Self::on(records, ephemeral, clock, 1)
    }

    /// A node on these stores, with randomness from a seed.
    pub(crate) fn on(
        records: Arc<dyn Records>,
        ephemeral: Arc<dyn Ephemeral>,
        clock: Arc<ManualClock>,
        seed: u64,
    ) -> Self {
        Self::in_epoch(Epoch::FIRST, Limits::default(), records, ephemeral, clock, seed)
    }

    fn in_epoch(
        epoch: Epoch,
        limits: Limits,
        records: Arc<dyn Records>,
        ephemeral: Arc<dyn Ephemeral>,
        clock: Arc<ManualClock>,
        seed: u64,
    ) -> Self {
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed)));
        let endings = Arc::new(Ends {
            records: records.clone(),
            known: Mutex::default(),
            changed: Mutex::default(),
            stale: AtomicBool::new(false),
        });
        let sessions = Sessions::new(
            node,
            epoch,
            records.clone(),
            ephemeral.clone(),
            Keys::of_root(Secret::new([7; 32])),
            endings.clone(),
            limits,
        );
        Self { clock, realm: Realm::default(), records, ephemeral, endings, sessions }
    }

    /// A node on the same stores, after they were brought back from a backup.
    pub(crate) fn restored(&self) -> Self {
        let epoch = Epoch::FIRST.after(tegata_core::Clock::now(self.clock.as_ref()));
        let (records, ephemeral) = (self.records.clone(), self.ephemeral.clone());
        Self::in_epoch(epoch, Limits::default(), records, ephemeral, self.clock.clone(), 3)
    }

    /// Another node on the same stores, which has heard of no end yet.
    pub(crate) fn neighbour(&self) -> Self {
        Self::on(self.records.clone(), self.ephemeral.clone(), self.clock.clone(), 2)
    }

    /// The node on the same stores, begun anew with other limits.
    pub(crate) fn within(&self, limits: Limits) -> Self {
        let (records, ephemeral) = (self.records.clone(), self.ephemeral.clone());
        Self::in_epoch(Epoch::FIRST, limits, records, ephemeral, self.clock.clone(), 4)
    }

    /// Signs somebody in at home.
    pub(crate) async fn sign_in(&self, user: &str) -> Begun {
        self.sessions.begin(&self.realm, &beginning(user)).await.unwrap()
    }

    /// Presents a cookie from home.
    pub(crate) async fn present(&self, value: &str) -> Result<Passage, SessionRefused> {
        self.present_from(value, &home()).await
    }

    /// Presents a cookie from somewhere.
    pub(crate) async fn present_from(
        &self,
        value: &str,
        binding: &Binding,
    ) -> Result<Passage, SessionRefused> {
        self.present_as(value, binding, &Traits::default()).await
    }

    /// Presents a cookie, saying something of the browser.
    pub(crate) async fn present_as(
        &self,
        value: &str,
        binding: &Binding,
        traits: &Traits,
    ) -> Result<Passage, SessionRefused> {
        let presented = Presentation { value, binding, traits, rotates: true };
        self.sessions.present(&self.realm, &presented).await
    }

    /// The verdict on a cookie presented from home.
    pub(crate) async fn verdict(&self, value: &str) -> Verdict {
        refused(self.present(value).await)
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The session as it is stored.
    pub(crate) async fn stored(&self, sid: &SessionId) -> Session {
        let found = repository::load(self.records.as_ref(), &self.realm, sid.as_str()).await;
        found.unwrap().unwrap().value
    }

    /// What the journal says: the type of each event and its data.
    pub(crate) async fn journal(&self) -> Vec<(String, serde_json::Value)> {
        let node = Node::for_tests(9);
        self.records.sequence(Log::Journal, node.id()).await.unwrap();
        let pull = self.records.pull(Log::Journal, 0, 1_000).await.unwrap();
        pull.entries
            .iter()
            .map(|entry| serde_json::from_slice::<Event>(&entry.body).unwrap())
            .map(|event| (event.kind.name().to_owned(), event.data.into()))
            .collect()
    }

    /// How often the journal tells of an event of this type.
    pub(crate) async fn told(&self, kind: &str) -> usize {
        self.journal().await.iter().filter(|(told, _)| told == kind).count()
    }
}

pub(crate) fn refused(result: Result<Passage, SessionRefused>) -> Verdict {
    match result.unwrap_err() {
        SessionRefused::Verdict(verdict) => verdict,
        SessionRefused::Store(error) => panic!("{error}"),
    }
}

/// The cookie that an answer gives.
pub(crate) fn given(passage: &Passage) -> String {
    passage.cookie.as_ref().expect("a cookie is given").expose().clone()
}

pub(crate) fn home() -> Binding {
    Binding::of("192.0.2.1".parse().unwrap(), Some(b"Mozilla/5.0 (X11; Linux) Firefox/140.0"))
}

pub(crate) fn elsewhere() -> Binding {
    Binding { network: Binding::of("198.51.100.1".parse().unwrap(), None).network, ..home() }
}

pub(crate) fn beginning(user: &str) -> Beginning {
    Beginning {
        user: UserId::new(user).unwrap(),
        binding: home(),
        traits: Traits::default(),
        standing: Standing {
            acr: Some("aal1".into()),
            amr: vec!["pwd".into()],
            auth_time: 1,
            elevated_until: None,
            authority: 1,
            roles: vec!["customer".into()],
            factors: vec![],
        },
        address: Some([192, 0, 2, 1].into()),
        replaces: None,
    }
}
