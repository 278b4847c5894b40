//! What the tests of this folder are run on.

use std::{sync::Arc, time::Duration};

use tegata_core::{
    BoxFuture, Clock, Custody, Epoch, Feed, Kind, ManualClock, Node, Realm, Records, SeededEntropy,
    StoreError, UserId,
};
use tegata_store::{FileCustody, MemoryFeed, MemoryRecords, Sealed, sealed::DATA_KEYS};
use tegata_token::{
    Beginning, Binding, Families, Family, Holders, Indexes, Lifetimes, Narrowed, RefreshRefused,
    Revoker, Roots, Scope, Standing, View,
    families::{Issue, Refresh},
    family::Granted,
};

/// All kinds that a store must know here.
pub(crate) fn kinds() -> Vec<&'static Kind> {
    tegata_token::KINDS.into_iter().chain([&DATA_KEYS]).collect()
}

/// One node on a store, with everything that families need.
pub(crate) struct World {
    pub(crate) node: Node,
    pub(crate) realm: Realm,
    pub(crate) records: Arc<dyn Records>,
    pub(crate) feed: Arc<dyn Feed>,
    pub(crate) revoker: Revoker,
    pub(crate) families: Families,
}

/// A root key that every process and node of a test knows.
pub(crate) const ROOT_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

impl World {
    /// A node in memory, whose time stands still.
    pub(crate) async fn in_memory() -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::default());
        let records = MemoryRecords::new(&kinds(), clock.clone()).unwrap();
        (Self::on(Arc::new(records), clock.clone(), 1).await, clock)
    }

    /// A node on a store, with randomness from a seed.
    pub(crate) async fn on(store: Arc<dyn Records>, clock: Arc<dyn Clock>, seed: u64) -> Self {
        Self::on_living(Lifetimes::default(), store, clock, seed).await
    }

    /// The same, with tokens that live so long.
    pub(crate) async fn on_living(
        lifetimes: Lifetimes,
        store: Arc<dyn Records>,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Self {
        let node = Node::with(clock, Arc::new(SeededEntropy::new(seed)));
        let custody = FileCustody::from_text(ROOT_KEY, "the test", &node).unwrap();
        let custody: Arc<dyn Custody> = Arc::new(custody);
        let sealed = Sealed::open(store, custody, &node).await.unwrap();
        let feed = Arc::new(MemoryFeed::new(1024));
        Self::living(lifetimes, Epoch::FIRST, Arc::new(sealed), node, feed).await
    }

    /// A node on records as they are.
    pub(crate) async fn with(records: Arc<dyn Records>, node: Node, feed: Arc<dyn Feed>) -> Self {
        Self::in_epoch(Epoch::FIRST, records, node, feed).await
    }

    /// The same, after so many restores.
    pub(crate) async fn in_epoch(
        epoch: Epoch,
        records: Arc<dyn Records>,
        node: Node,
        feed: Arc<dyn Feed>,
    ) -> Self {
        Self::living(Lifetimes::default(), epoch, records, node, feed).await
    }

    /// The same, with tokens that live so long.
    pub(crate) async fn living(
        lifetimes: Lifetimes,
        epoch: Epoch,
        records: Arc<dyn Records>,
        node: Node,
        feed: Arc<dyn Feed>,
    ) -> Self {
        let realm = Realm::default();
        let view = Arc::new(View::new(node.clone()));
        let revoker = Revoker::new(node.clone(), records.clone(), feed.clone(), view);
        let roots =
            async |purpose| Roots::open(records.as_ref(), &node, &realm, purpose).await.unwrap();
        let indexes = Indexes::new(records.clone(), node.clone(), epoch, roots("status").await);
        let families = Families::new(
            node.clone(),
            epoch,
            records.clone(),
            roots("refresh").await,
            indexes,
            revoker.clone(),
            lifetimes,
        );
        Self { node, realm, records, feed, revoker, families }
    }

    /// Begins a family and commits it.
    pub(crate) async fn begin(&self) -> Issue {
        let (issue, change) = self.families.begin(&self.realm, beginning()).await.unwrap();
        let batch = tegata_core::Batch::new(self.realm.clone()).with(change);
        self.records.commit(batch).await.unwrap();
        issue
    }

    /// Presents a refresh token as the holder that `begin` gave it to.
    pub(crate) async fn refresh(&self, token: &str) -> Result<Issue, RefreshRefused> {
        self.refresh_from(token, &home()).await
    }

    /// Presents a refresh token from somewhere.
    pub(crate) async fn refresh_from(
        &self,
        token: &str,
        binding: &Binding,
    ) -> Result<Issue, RefreshRefused> {
        let client = "web".parse().unwrap();
        let asked = Refresh {
            token,
            client: &client,
            binding,
            attempt: None,
            narrowed: &Narrowed::default(),
            rotates: true,
            as_of: None,
        };
        self.families.refresh(&self.realm, &asked, &Anybody).await
    }

    /// The family as it is stored.
    pub(crate) async fn stored(&self, issue: &Issue) -> Family {
        let key = issue.family.id.as_str();
        let records = self.records.as_ref();
        let found = tegata_core::repository::load::<Family>(records, &self.realm, key).await;
        found.unwrap().unwrap().value
    }
}

pub(crate) fn home() -> Binding {
    Binding::Network { network: "192.0.2.0/24".into(), agent: "Firefox/Linux".into() }
}

pub(crate) fn elsewhere() -> Binding {
    Binding::Network { network: "198.51.100.0/24".into(), agent: "Chrome/Windows".into() }
}

pub(crate) fn beginning() -> Beginning {
    Beginning {
        client: "web".parse().unwrap(),
        user: UserId::new("usr_1").unwrap(),
        session: None,
        began_in: None,
        ends: None,
        grant: Granted {
            scope: Scope::new("openid orders.read orders.write").unwrap(),
            audience: vec!["https://api.example".into()],
            acr: Some("aal1".into()),
            amr: vec!["pwd".into()],
            auth_time: 1,
            ..Granted::default()
        },
        binding: home(),
        authority: 1,
        authorized: tegata_core::Timestamp::from_secs(1),
        as_of: None,
        kid: None,
    }
}

/// Everybody may go on, as they were. A fake.
pub(crate) struct Anybody;

impl Holders for Anybody {
    fn standing<'a>(
        &'a self,
        _: &'a Realm,
        _: &'a Family,
    ) -> BoxFuture<'a, Result<Standing, StoreError>> {
        Box::pin(async {
            Ok(Standing::Good { authority: 1, unchanged: None, most: None, lowered: None })
        })
    }
}

/// Longer than the window in which an answer is given again.
pub(crate) const PAST_THE_WINDOW: Duration = Duration::from_secs(11);
