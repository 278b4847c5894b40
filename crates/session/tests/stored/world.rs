//! What the tests of this folder are run on.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Batch, BoxFuture, CommitRefused, Ephemeral, Epoch, Event, Log, ManualClock, Node, Realm,
    Records, Secret, SeededEntropy, SessionId, UserId,
    port::{Positioned, Sequenced},
    repository,
};
use tegata_session::{
    Beginning, Begun, Binding, Ending, Endings, Keys, Limits, Passage, Presentation, Session,
    SessionRefused, Sessions, Standing, Traits, Verdict,
};

use super::stores::{Place, Store};

/// The node that reads the journal.
const READER: u64 = 9;

/// One node on a store.
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) realm: Realm,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
    pub(crate) endings: Arc<Ends>,
    pub(crate) sessions: Sessions,
    /// How far the journal was when the place was new.
    since: u64,
    place: Arc<Place>,
}

/// What a node begins with, beside its stores.
struct Start {
    epoch: Epoch,
    limits: Limits,
    seed: u64,
}

impl Start {
    fn with(seed: u64) -> Self {
        Self { epoch: Epoch::FIRST, limits: Limits::default(), seed }
    }
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

impl Store {
    /// A node in a realm of its own, whose time stands still.
    pub(crate) async fn world(self) -> World {
        World::at(&Arc::new(self.realm()), &Arc::default(), 1).await
    }

    /// The same in an installation of its own.
    pub(crate) async fn apart(self) -> World {
        World::at(&Arc::new(self.installation()), &Arc::default(), 1).await
    }
}

impl World {
    /// A node that begins at a place, with connections of its own and randomness from a seed.
    pub(crate) async fn at(place: &Arc<Place>, clock: &Arc<ManualClock>, seed: u64) -> Self {
        let (records, ephemeral) = place.open(clock).await;
        let since = records.pull(Log::Journal, 0, 1).await.unwrap().head;
        let place = (place.clone(), since);
        Self::begin(place, clock.clone(), records, ephemeral, Start::with(seed))
    }

    /// Another node on the way that these are to the same stores.
    pub(crate) fn beside(
        &self,
        records: Arc<dyn Records>,
        ephemeral: Arc<dyn Ephemeral>,
        seed: u64,
    ) -> Self {
        let place = (self.place.clone(), self.since);
        Self::begin(place, self.clock.clone(), records, ephemeral, Start::with(seed))
    }

    fn begin(
        (place, since): (Arc<Place>, u64),
        clock: Arc<ManualClock>,
        records: Arc<dyn Records>,
        ephemeral: Arc<dyn Ephemeral>,
        start: Start,
    ) -> Self {
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(start.seed)));
        let endings = Arc::new(Ends {
            records: records.clone(),
            known: Mutex::default(),
            changed: Mutex::default(),
            stale: AtomicBool::new(false),
        });
        let sessions = Sessions::new(
            node,
            start.epoch,
            records.clone(),
            ephemeral.clone(),
            Keys::of_root(Secret::new([7; 32])),
            endings.clone(),
            start.limits,
        );
        let realm = place.realm.clone();
        Self { clock, realm, records, ephemeral, endings, sessions, since, place }
    }

    fn again(&self, start: Start) -> Self {
        let (records, ephemeral) = (self.records.clone(), self.ephemeral.clone());
        let place = (self.place.clone(), self.since);
        Self::begin(place, self.clock.clone(), records, ephemeral, start)
    }

    /// A node on the same stores, after they were brought back from a backup.
    pub(crate) fn restored(&self) -> Self {
        let epoch = Epoch::FIRST.after(tegata_core::Clock::now(self.clock.as_ref()));
        self.again(Start { epoch, ..Start::with(3) })
    }

    /// Another node on the same stores, which has heard of no end yet.
    pub(crate) fn neighbour(&self) -> Self {
        self.again(Start::with(2))
    }

    /// The node on the same stores, begun anew with other limits.
    pub(crate) fn within(&self, limits: Limits) -> Self {
        self.again(Start { limits, ..Start::with(4) })
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

    /// What the journal says of this place: the type of each event and its data.
    pub(crate) async fn journal(&self) -> Vec<(String, serde_json::Value)> {
        let reader = Node::for_tests(READER).id();
        // Others write into the same journal, and each run of the sequencer takes so many entries.
        while let Sequenced::Positioned(1..) =
            self.records.sequence(Log::Journal, reader).await.unwrap()
        {}
        let (mut found, mut after) = (Vec::new(), self.since);
        loop {
            let pull = self.records.pull(Log::Journal, after, 1_000).await.unwrap();
            let Some(last) = pull.entries.last() else { return found };
            after = last.position;
            let own = pull.entries.iter().filter(|entry| entry.realm == self.realm);
            found.extend(own.map(told));
        }
    }

    /// How often the journal tells of an event of this type.
    pub(crate) async fn told(&self, kind: &str) -> usize {
        self.journal().await.iter().filter(|(told, _)| told == kind).count()
    }
}

/// An entry of the journal: the type of the event and its data.
fn told(entry: &Positioned) -> (String, serde_json::Value) {
    let event: Event = serde_json::from_slice(&entry.body).unwrap();
    (event.kind.name().to_owned(), event.data.into())
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
