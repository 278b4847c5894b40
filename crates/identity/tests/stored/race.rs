//! One code, shown ten thousand times at once from two processes. Time stands still, so that no code
//! goes out of date while the machine is busy.

use std::sync::Arc;

use tegata_core::{Node, Realm, Records, UserId};
use tegata_engines::{
    PostgresServer,
    twin::{self, Answers},
};
use tegata_identity::{
    NewUser, SecondFactors, TotpSecret, Username, Users, credential::typed::TypedCode,
    second_factor::SpendRefused,
};
use tegata_store::MemoryEphemeral;
use tokio::task::JoinSet;

use super::stores::Stores;

/// How often each of the two processes shows the code.
const ATTEMPTS: usize = 5_000;

struct World {
    node: Node,
    realm: Realm,
    records: Arc<dyn Records>,
    second: SecondFactors,
}

async fn open(place: &str, seed: u64) -> World {
    let Stores { node, records, .. } = Stores::open(place, seed).await;
    let ephemeral = Arc::new(MemoryEphemeral::new(Arc::clone(node.clock())));
    let second = SecondFactors::new(node.clone(), records.clone(), ephemeral);
    World { node, realm: Realm::default(), records, second }
}

impl World {
    /// Shows every code in turn, all of them at once.
    async fn show(&self, user: &UserId, codes: &[String]) -> Answers {
        let mut tasks = JoinSet::new();
        for attempt in 0..ATTEMPTS {
            let (second, realm, user) = (self.second.clone(), self.realm.clone(), user.clone());
            let code = codes[attempt % codes.len()].clone();
            tasks.spawn(async move {
                match second.spend(&realm, &user, &TypedCode::read(&code).unwrap()).await {
                    Ok(()) => format!("taken {code}"),
                    Err(SpendRefused::Wrong) => "refused".to_owned(),
                    Err(other) => format!("failed {other}"),
                }
            });
        }
        twin::counted(tasks.join_all().await)
    }

    /// A person with an app and recovery codes: who, what the app shows, and what is on paper.
    async fn enrolled(&self) -> (UserId, String, Vec<String>) {
        let new = NewUser {
            profile: tegata_identity::Profile::default(),
            username: Username::new("alice").unwrap(),
            email: None,
            roles: [].into(),
            locale: None,
            password: None,
        };
        let users = Users::new(self.node.clone(), self.records.clone());
        let alice = users.register(&self.realm, new, "test").await.unwrap().id;
        let app = TotpSecret::generate(self.node.entropy());
        self.second.provide_totp(&self.realm, &alice, &app, "test").await.unwrap();
        let codes = self.second.renew_recovery(&self.realm, &alice, "test").await.unwrap();
        let codes = codes.shown().map(str::to_owned).collect();
        (alice, app.code_at(self.node.now()), codes)
    }
}

/// The race: `place` is opened by two processes, which show the code of the app and three of the
/// codes on paper.
async fn race(place: &str) {
    let world = open(place, 1).await;
    let (alice, app, paper) = world.enrolled().await;
    let codes: Vec<_> = [app].into_iter().chain(paper.into_iter().take(3)).collect();

    let part = format!("{place}\n{alice}\n{}", codes.join(" "));
    let work = world.show(&alice, &codes);
    let mut answers = twin::race("stored::race::the_other_process", &part, work).await;

    assert_eq!(answers.values().sum::<usize>(), 2 * ATTEMPTS);
    for code in &codes {
        assert_eq!(answers.remove(&format!("taken {code}")), Some(1), "{code} {answers:?}");
    }
    assert_eq!(answers, Answers::from([("refused".to_owned(), 2 * ATTEMPTS - codes.len())]));
    let left = world.second.of(&world.realm, &alice).await.unwrap().unwrap();
    assert_eq!(left.recovery_codes, 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_attempts_from_two_processes_one_is_taken_on_sqlite() {
    let place = tempfile::tempdir().unwrap();
    race(&format!("sqlite:{}", place.path().join("race.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_ten_thousand_attempts_from_two_processes_one_is_taken_on_postgresql() {
    let database = PostgresServer::shared().database();
    race(&database.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "played by the second process of the races"]
async fn the_other_process() {
    let part = twin::part();
    let mut lines = part.lines();
    let (place, user) = (lines.next().unwrap(), UserId::new(lines.next().unwrap()).unwrap());
    let codes: Vec<_> = lines.next().unwrap().split(' ').map(str::to_owned).collect();
    let world = open(place, 2).await;
    twin::play(world.show(&user, &codes)).await;
}
