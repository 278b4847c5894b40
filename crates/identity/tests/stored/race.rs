//! One code, shown ten thousand times at once from two processes.
//!
//! The second process is this test binary, started again for one ignored test. The two agree on the
//! moment through a pipe. Time stands still, so that no code goes out of date while the machine is
//! busy.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
};

use tegata_core::{Node, Realm, Records, UserId};
use tegata_engines::PostgresServer;
use tegata_identity::{
    NewUser, SecondFactors, TotpSecret, Username, Users, credential::typed::TypedCode,
    second_factor::SpendRefused,
};
use tegata_store::MemoryEphemeral;
use tokio::task::JoinSet;

use super::stores::{Answers, Stores};

const PART: &str = "TEGATA_CODE_RACE_PART";

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
        let mut answers = Answers::new();
        for answer in tasks.join_all().await {
            *answers.entry(answer).or_default() += 1;
        }
        answers
    }

    /// A person with an app and recovery codes: who, what the app shows, and what is on paper.
    async fn enrolled(&self) -> (UserId, String, Vec<String>) {
        let new = NewUser {
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

    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "stored::race::the_other_process"])
        .env(PART, format!("{place}\n{alice}\n{}", codes.join(" ")))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(other.stdout.take().unwrap()).lines();
    while told.next().unwrap().unwrap() != "ready" {}
    writeln!(other.stdin.take().unwrap(), "go").unwrap();
    let mut answers = world.show(&alice, &codes).await;
    // All of it is read: a process whose output nobody takes any more would end as failed.
    let told: Vec<_> = told.map(Result::unwrap).collect();
    assert!(other.wait().unwrap().success(), "{told:#?}");
    let theirs = told.iter().find_map(|line| line.strip_prefix("answers ")).unwrap();
    for (answer, count) in serde_json::from_str::<Answers>(theirs).unwrap() {
        *answers.entry(answer).or_default() += count;
    }

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
    let part = std::env::var(PART).expect("only the races start this");
    let mut lines = part.lines();
    let (place, user) = (lines.next().unwrap(), UserId::new(lines.next().unwrap()).unwrap());
    let codes: Vec<_> = lines.next().unwrap().split(' ').map(str::to_owned).collect();
    let world = open(place, 2).await;
    println!("\nready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let answers = world.show(&user, &codes).await;
    println!("\nanswers {}", serde_json::to_string(&answers).unwrap());
}
