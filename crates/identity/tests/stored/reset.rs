//! One link of a mail, used ten thousand times at once from two processes.

use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use tegata_core::{Ephemeral, Epoch, Node, Realm, Secret};
use tegata_engines::{
    PostgresServer,
    twin::{self, Answers},
};
use tegata_identity::{
    Busy, EmailAddress, Letter, Letters, LinkRefused, Locale, NewUser, PasswordHasher,
    PasswordPolicy, Passwords, SecondFactors, Throttle, Username, Users, Wish, Workers,
    credential::password::{Caps, HasherConfig, Password},
    letters::{Config, Keys, Parts, Waiting, Writer, Written},
    throttle,
    workers::Job,
};
use tegata_store::MemoryEphemeral;
use tokio::task::JoinSet;

use super::stores::Stores;

/// How often each of the two processes uses the link.
const ATTEMPTS: usize = 5_000;

/// A worker that works at once.
struct Inline;

impl Workers for Inline {
    fn submit(&self, job: Job) -> Result<(), Busy> {
        job();
        Ok(())
    }
}

/// Notes what links carry.
#[derive(Default)]
struct Copied(Mutex<Vec<String>>);

impl Writer for Copied {
    fn write(&self, letter: &Letter, link: Option<&Secret<String>>) -> Written {
        self.0.lock().unwrap().push(link.unwrap().expose().clone());
        let text = Secret::new(String::new());
        Written { to: letter.to.clone(), subject: String::new(), text }
    }
}

struct World {
    node: Node,
    realm: Realm,
    users: Users,
    passwords: Passwords,
    hasher: Arc<PasswordHasher>,
    letters: Letters,
}

async fn open(place: &str, seed: u64) -> World {
    let Stores { node, records, .. } = Stores::open(place, seed).await;
    let ephemeral: Arc<dyn Ephemeral> = Arc::new(MemoryEphemeral::new(Arc::clone(node.clock())));
    let cheap = HasherConfig { memory_kib: 8, passes: 1, lanes: 1, caps: Caps::default() };
    let hasher = Arc::new(PasswordHasher::new(cheap, node.entropy()).unwrap());
    let users = Users::new(node.clone(), records.clone());
    let passwords = Passwords::new(
        node.clone(),
        records.clone(),
        Arc::clone(&hasher),
        Arc::new(Inline),
        PasswordPolicy::default(),
    );
    let keys = Keys::new(|parts| Some(hmac::Key::new(hmac::HMAC_SHA256, &parts.concat())));
    let parts = Parts {
        epoch: Epoch::FIRST,
        keys,
        users: users.clone(),
        passwords: passwords.clone(),
        second: SecondFactors::new(node.clone(), records, ephemeral.clone()),
        throttle: Throttle::new(node.clone(), ephemeral, throttle::Config::default()),
    };
    let letters = Letters::new(Config { registration: true, ..Config::default() }, parts);
    World { node, realm: Realm::default(), users, passwords, hasher, letters }
}

impl World {
    /// Uses every link in turn, all of them at once.
    async fn follow(&self, links: &[String]) -> Answers {
        let mut tasks = JoinSet::new();
        for attempt in 0..ATTEMPTS {
            let (letters, realm) = (self.letters.clone(), self.realm.clone());
            let which = attempt % links.len();
            let link = links[which].clone();
            tasks.spawn(async move {
                let password = format!("attempt {attempt} at something long");
                match letters.choose_password(&realm, &link, password).await {
                    Ok(_) => format!("taken {which}"),
                    Err(LinkRefused::Over) => "refused".to_owned(),
                    Err(other) => format!("failed {other}"),
                }
            });
        }
        twin::counted(tasks.join_all().await)
    }

    /// The links of a reset, and of an account that is to be made.
    async fn links(&self) -> Vec<String> {
        let typed = Password::new("correct horse battery".to_owned()).unwrap();
        let new = NewUser {
            profile: tegata_identity::Profile::default(),
            username: Username::new("alice").unwrap(),
            email: Some(EmailAddress::new("alice@people.example").unwrap()),
            roles: [].into(),
            locale: None,
            password: Some(self.hasher.hash(&typed, self.node.entropy()).unwrap()),
        };
        self.users.register(&self.realm, new, "test").await.unwrap();
        let address = EmailAddress::typed("maria@people.example").unwrap();
        for wish in [Wish::Reset { account: "alice".to_owned() }, Wish::SignUp { address }] {
            let (lang, from) = (Locale::new("en").unwrap(), "192.0.2.1".parse().unwrap());
            self.letters.order(&self.realm, wish, &lang, from).await.unwrap();
        }
        self.letters.make(&self.realm).await.unwrap();
        let copied = Copied::default();
        let mut walk = Waiting::New.walk();
        for letter in self.letters.due(&self.realm, &mut walk).await.unwrap().unwrap() {
            self.letters.written(&self.realm, &letter, &copied).unwrap();
        }
        copied.0.into_inner().unwrap()
    }
}

/// The race: `place` is opened by two processes, which use a link to another password and one to an
/// account.
async fn race(place: &str) {
    let world = open(place, 1).await;
    let links = world.links().await;
    assert_eq!(links.len(), 2);
    let (test, part) =
        ("stored::reset::the_other_process", format!("{place}\n{}", links.join(" ")));
    let mut answers = twin::race(test, &part, world.follow(&links)).await;
    assert_eq!(answers.values().sum::<usize>(), 2 * ATTEMPTS);
    for which in 0..links.len() {
        assert_eq!(answers.remove(&format!("taken {which}")), Some(1), "{which} {answers:?}");
    }
    assert_eq!(answers, Answers::from([("refused".to_owned(), 2 * ATTEMPTS - links.len())]));
    let alice = Username::new("alice").unwrap();
    let alice = world.users.by_username(&world.realm, &alice).await.unwrap().unwrap();
    assert_eq!(world.passwords.generation(&world.realm, &alice.id).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_uses_of_a_link_one_counts_on_sqlite() {
    let place = tempfile::tempdir().unwrap();
    race(&format!("sqlite:{}", place.path().join("race.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_uses_of_a_link_one_counts_on_postgresql() {
    let database = PostgresServer::shared().database();
    race(&database.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "played by the second process of the races"]
async fn the_other_process() {
    let part = twin::part();
    let mut lines = part.lines();
    let place = lines.next().unwrap();
    let links: Vec<_> = lines.next().unwrap().split(' ').map(str::to_owned).collect();
    let world = open(place, 2).await;
    twin::play(world.follow(&links)).await;
}
