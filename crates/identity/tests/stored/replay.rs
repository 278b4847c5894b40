//! One assertion of a passkey, shown ten thousand times at once from two processes, which share no
//! memory.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use tegata_core::{Epoch, Node, Realm, Records, Secret, SessionId};
use tegata_engines::{
    PostgresServer,
    twin::{self, Answers},
};
use tegata_identity::{
    Busy, NewUser, PasskeyName, PasswordHasher, Refused, RelyingParty, SecondFactors, SignIn,
    Throttle, Username, Users, Workers,
    credential::password::{Caps, HasherConfig},
    throttle,
};
use tokio::task::JoinSet;

use super::{soft::Soft, stores::Stores};

/// How often each of the two processes shows it.
const ATTEMPTS: usize = 5_000;

const PAGE: &str = "https://auth.example.com";
const BROWSER: &str = "192.0.2.0/24|Firefox";

struct World {
    node: Node,
    realm: Realm,
    records: Arc<dyn Records>,
    second: SecondFactors,
    sign_in: SignIn,
}

/// Nobody here has a password.
struct Nobody;

impl Workers for Nobody {
    fn submit(&self, _: tegata_identity::workers::Job) -> Result<(), Busy> {
        Err(Busy)
    }
}

impl World {
    async fn open(place: &str, seed: u64) -> Self {
        let Stores { node, records, ephemeral } = Stores::open(place, seed).await;
        let party = RelyingParty::new("auth.example.com", &[PAGE], &Secret::new([1; 32])).unwrap();
        let second = SecondFactors::new(node.clone(), records.clone(), ephemeral.clone());
        let second = second.with_passkeys(party);
        // What is counted would keep copies away that the passkey itself has to refuse.
        let config = throttle::Config { danger_exempt_loopback: true, ..Default::default() };
        let hasher = HasherConfig { memory_kib: 8, passes: 1, lanes: 1, caps: Caps::default() };
        let hasher = Arc::new(PasswordHasher::new(hasher, node.entropy()).unwrap());
        let throttle = Throttle::new(node.clone(), ephemeral, config);
        let sign_in = SignIn::new(second.clone(), throttle, hasher, Arc::new(Nobody));
        Self { node, realm: Realm::default(), records, second, sign_in }
    }

    /// Somebody with a passkey, which counts or does not, and what it shows.
    async fn assertion(&self, counter: u32) -> String {
        let new = NewUser {
            profile: tegata_identity::Profile::default(),
            username: Username::new("alice").unwrap(),
            email: None,
            roles: [].into(),
            locale: None,
            password: None,
        };
        let users = Users::new(self.node.clone(), self.records.clone());
        let alice = users.register(&self.realm, new, "test").await.unwrap();
        let sid = SessionId::generate(Epoch::FIRST, self.node.now(), self.node.entropy());
        let options = self.second.begin_passkey(&self.realm, &alice, &sid).await.unwrap();
        let mut soft = Soft::at(PAGE);
        let (made, name) = (soft.create(&options), PasskeyName::new("phone"));
        self.second.confirm_passkey(&self.realm, &alice.id, &sid, &made, name).await.unwrap();
        soft.counter = counter;
        soft.get(&self.sign_in.ask_passkey(&self.realm, BROWSER).unwrap())
    }

    /// Shows it, all at once.
    async fn show(&self, shown: &str) -> Answers {
        let mut tasks = JoinSet::new();
        for _ in 0..ATTEMPTS {
            let (sign_in, realm, shown) =
                (self.sign_in.clone(), self.realm.clone(), shown.to_owned());
            tasks.spawn(async move {
                let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
                match sign_in.by_passkey(&realm, &shown, BROWSER, from).await {
                    Ok(_) => "signed in".to_owned(),
                    Err(Refused::WrongPasskey) => "refused".to_owned(),
                    Err(other) => format!("failed {other}"),
                }
            });
        }
        twin::counted(tasks.join_all().await)
    }
}

async fn race(place: &str, counter: u32) {
    let world = World::open(place, 1).await;
    let shown = world.assertion(counter).await;
    let (test, part) = ("stored::replay::the_other_process", format!("{place}\n{shown}"));
    let answers = twin::race(test, &part, world.show(&shown)).await;
    let all = 2 * ATTEMPTS;
    let expected = [("refused".to_owned(), all - 1), ("signed in".to_owned(), 1)];
    assert_eq!(answers, Answers::from(expected));
}

/// As of those that are synchronised.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_copies_from_two_processes_one_signs_in_on_sqlite() {
    let place = tempfile::tempdir().unwrap();
    race(&format!("sqlite:{}", place.path().join("replay.db").display()), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_copies_from_two_processes_one_signs_in_on_postgresql() {
    let database = PostgresServer::shared().database();
    race(&database.url(), 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_copies_of_one_that_counts_one_signs_in_on_postgresql() {
    let database = PostgresServer::shared().database();
    race(&database.url(), 41).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "played by the second process of the races"]
async fn the_other_process() {
    let part = twin::part();
    let (place, shown) = part.split_once('\n').unwrap();
    let world = World::open(place, 2).await;
    twin::play(world.show(shown)).await;
}
