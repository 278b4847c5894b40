//! What a refresh costs on SQLite and on PostgreSQL, sealed as in production, against the least that
//! durability costs: appending 200 bytes to a file and `fdatasync`.
//!
//! SQLite's database is in Cargo's target directory, so the disk is the one that the checkout is on.
//! PostgreSQL keeps its own in the directory for temporary files, is reached through a socket of the
//! same machine, and shares its processors.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{fs::File, io::Write as _, path::Path, sync::Arc, time::Duration};

use tegata_core::{
    Batch, BoxFuture, ClientId, Clock as _, Custody, Epoch, ManualClock, Node, OsEntropy, Realm,
    Records, StoreError, SystemClock, UserId,
};
use tegata_engines::PostgresServer;
use tegata_rounds::{Effort, Table, Unit, median, timed};
use tegata_store::{
    FileCustody, MemoryFeed, Postgres, PostgresConfig, Sealed, Sqlite, SqliteConfig,
    sealed::DATA_KEYS,
};
use tegata_token::{
    Beginning, Binding, Families, Family, Holders, Indexes, Lifetimes, Narrowed, Refresh, Revoker,
    Roots, Scope, Standing, View, family::Granted,
};
use tokio::task::JoinSet;

/// Callers at once, in the second case.
const CLIENTS: usize = 64;

fn main() {
    let effort = Effort::asked();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(measure(effort));
}

async fn measure(effort: Effort) {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let clock = Arc::new(ManualClock::default());
    let kinds: Vec<_> = tegata_token::KINDS.into_iter().chain([&DATA_KEYS]).collect();
    let path = directory.path().join("refresh.db");
    let sqlite = Sqlite::open(&path, &SqliteConfig::default(), &kinds, clock.clone()).unwrap();
    let server = PostgresServer::start();
    let database = server.database();
    let config = PostgresConfig::default();
    let postgres = Postgres::open(&database.url(), config, &kinds, clock.clone()).await.unwrap();
    let mut stores = Vec::new();
    for (name, records) in [
        ("refresh on SQLite", Arc::new(sqlite.records()) as Arc<dyn Records>),
        ("refresh on PostgreSQL", Arc::new(postgres.records())),
    ] {
        let key = directory.path().join(format!("{name}.key"));
        let world = Arc::new(World::open(records, clock.clone(), &key).await);
        let alone = world.begin(effort.size(400, 10)).await;
        let mut crowd = Vec::new();
        for _ in 0..CLIENTS {
            crowd.push(world.begin(effort.size(100, 2)).await);
        }
        stores.push((name, world, alone, crowd));
    }
    let mut file = File::create(directory.path().join("log")).unwrap();

    let mut times = Table::new("refresh, one client: middle time", Unit::Nanoseconds);
    let mut rates =
        Table::new("refresh, 64 clients: how many at once, in a second", Unit::PerSecond);
    for _ in 0..effort.rounds {
        // Access tokens have ended, as when clients refresh.
        clock.advance(Duration::from_secs(901));
        let synced: Vec<f64> =
            (0..400).map(|_| timed(|| append(&mut file)).1.as_secs_f64()).collect();
        times.note("append and fdatasync", median(&synced) * 1e9);
        rates.note("append and fdatasync, one after the other", rate(&synced));
        for (name, world, alone, crowd) in &mut stores {
            // The node leases places for the new quarter before anybody waits for them.
            world.begin(1).await;
            times.note(name, median(&world.refresh(alone).await) * 1e9);
            let begin = watch();
            let mut clients = JoinSet::new();
            for mut tokens in crowd.drain(..) {
                let world = Arc::clone(world);
                clients.spawn(async move {
                    world.refresh(&mut tokens).await;
                    tokens
                });
            }
            *crowd = clients.join_all().await;
            let count = u32::try_from(crowd.iter().map(Vec::len).sum::<usize>()).unwrap();
            rates.note(name, f64::from(count) / begin().as_secs_f64());
        }
    }
    times.print();
    rates.print();
}

/// The least that makes a few bytes durable.
fn append(file: &mut File) {
    file.write_all(&[7; 200]).unwrap();
    file.sync_data().unwrap();
}

fn rate(took: &[f64]) -> f64 {
    f64::from(u32::try_from(took.len()).unwrap()) / took.iter().sum::<f64>()
}

/// One node on a database of its own.
struct World {
    clock: Arc<ManualClock>,
    realm: Realm,
    client: ClientId,
    records: Arc<dyn Records>,
    families: Families,
}

impl World {
    async fn open(records: Arc<dyn Records>, clock: Arc<ManualClock>, key: &Path) -> Self {
        let node = Node::with(clock.clone(), Arc::new(OsEntropy));
        let custody: Arc<dyn Custody> = Arc::new(FileCustody::create(key, &node).unwrap());
        let sealed = Sealed::open(records, custody, &node).await.unwrap();
        let (records, realm): (Arc<dyn Records>, _) = (Arc::new(sealed), Realm::default());
        let view = Arc::new(View::new(node.clone()));
        let feed = Arc::new(MemoryFeed::new(1024));
        let revoker = Revoker::new(node.clone(), records.clone(), feed, view);
        let refresh = Roots::open(records.as_ref(), &node, &realm, "refresh").await.unwrap();
        let status = Roots::open(records.as_ref(), &node, &realm, "status").await.unwrap();
        let indexes = Indexes::new(records.clone(), node.clone(), Epoch::FIRST, status);
        let families = Families::new(
            node,
            Epoch::FIRST,
            records.clone(),
            refresh,
            indexes,
            revoker,
            Lifetimes::default(),
        );
        Self { clock, realm, client: "web".parse().unwrap(), records, families }
    }

    /// Refresh tokens of as many new families.
    async fn begin(&self, count: usize) -> Vec<String> {
        let mut tokens = Vec::new();
        for _ in 0..count {
            let beginning = Beginning {
                client: self.client.clone(),
                user: UserId::new("usr_1").unwrap(),
                session: None,
                began_in: None,
                ends: None,
                authorized: self.clock.now(),
                as_of: None,
                kid: None,
                grant: Granted {
                    scope: Scope::new("openid orders.read orders.write").unwrap(),
                    audience: vec!["https://api.example".to_owned()],
                    acr: Some("aal1".to_owned()),
                    amr: vec!["pwd".to_owned()],
                    auth_time: 1,
                    ..Granted::default()
                },
                binding: home(),
                authority: 1,
            };
            let (issue, change) = self.families.begin(&self.realm, beginning).await.unwrap();
            self.records.commit(Batch::new(self.realm.clone()).with(change)).await.unwrap();
            tokens.push(issue.refresh_token.expose().clone());
        }
        tokens
    }

    /// Presents each token once, one after the other, and keeps what follows it. Answers how long
    /// each took, in seconds.
    async fn refresh(&self, tokens: &mut [String]) -> Vec<f64> {
        let binding = home();
        let mut took = Vec::new();
        for token in tokens {
            let asked = Refresh {
                token: token.as_str(),
                client: &self.client,
                binding: &binding,
                attempt: None,
                narrowed: &Narrowed::default(),
                rotates: true,
                as_of: None,
            };
            let begin = watch();
            let issue = self.families.refresh(&self.realm, &asked, &Anybody).await.unwrap();
            took.push(begin().as_secs_f64());
            *token = issue.refresh_token.expose().clone();
        }
        took
    }
}

/// How long it has been since this was called, whenever the answer is asked. The node's own clock
/// stands still meanwhile.
fn watch() -> impl Fn() -> Duration {
    let begin = SystemClock.since_boot();
    move || SystemClock.since_boot().since(begin)
}

fn home() -> Binding {
    Binding::Network { network: "192.0.2.0/24".to_owned(), agent: "Firefox/Linux".to_owned() }
}

/// Everybody may go on, as they were.
struct Anybody;

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
