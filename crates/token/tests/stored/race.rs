//! One refresh token, presented ten thousand times at once from two processes.
//!
//! The second process is this test binary, started again for one ignored test. The two agree on the
//! moment through a pipe.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use tegata_core::{Records, SystemClock};
use tegata_engines::PostgresServer;
use tegata_store::{Postgres, PostgresConfig, Sqlite, SqliteConfig};
use tegata_token::{Lifetimes, RefreshRefused};
use tokio::task::JoinSet;

use super::world::{World, kinds};

const PART: &str = "TEGATA_RACE_PART";

/// How often each of the two processes presents the token.
const PRESENTATIONS: usize = 5_000;

/// Everybody waits for a connection until they have one.
const PATIENCE: Duration = Duration::from_secs(120);

/// What one process got: how often each answer.
type Answers = BTreeMap<String, usize>;

async fn present(world: Arc<World>, token: &str) -> Answers {
    let mut tasks = JoinSet::new();
    for _ in 0..PRESENTATIONS {
        let (world, token) = (world.clone(), token.to_owned());
        tasks.spawn(async move {
            match world.refresh(&token).await {
                Ok(issue) => format!(
                    "{} {} {}",
                    if issue.repeated { "again" } else { "won" },
                    issue.refresh_token.expose(),
                    issue.family.access.jti
                ),
                Err(RefreshRefused::Verdict(verdict)) => format!("refused {}", verdict.name()),
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

async fn open(place: &str, seed: u64) -> Arc<World> {
    let store: Arc<dyn Records> = match place.strip_prefix("sqlite:") {
        Some(path) => {
            let config = SqliteConfig { waiting: 20_000, ..SqliteConfig::default() };
            let clock = Arc::new(SystemClock);
            let opened = Sqlite::open(path.as_ref(), &config, &kinds(), clock).unwrap();
            Arc::new(opened.records())
        }
        None => {
            let config =
                PostgresConfig { waiting: 20_000, patience: PATIENCE, ..Default::default() };
            let opened = Postgres::open(place, config, &kinds(), Arc::new(SystemClock)).await;
            Arc::new(opened.unwrap().records())
        }
    };
    // However long the machine takes, the window is open until the last has presented the token.
    let lifetimes = Lifetimes { window: Duration::from_secs(3600), ..Lifetimes::default() };
    Arc::new(World::on_living(lifetimes, store, Arc::new(SystemClock), seed).await)
}

/// The race: `place` is opened by two processes.
async fn race(place: &str) {
    let world = open(place, 1).await;
    let first = world.begin().await;
    let token = first.refresh_token.expose().clone();

    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "stored::race::the_other_process"])
        .env(PART, format!("{place}\n{token}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(other.stdout.take().unwrap()).lines();
    while told.next().unwrap().unwrap() != "ready" {}
    writeln!(other.stdin.take().unwrap(), "go").unwrap();
    let mut answers = present(world.clone(), &token).await;
    // All of it is read: a process whose output nobody takes any more would end as failed.
    let told: Vec<_> = told.map(Result::unwrap).collect();
    assert!(other.wait().unwrap().success(), "{told:#?}");
    let theirs = told.iter().find_map(|line| line.strip_prefix("answers ")).unwrap();
    for (answer, count) in serde_json::from_str::<Answers>(theirs).unwrap() {
        *answers.entry(answer).or_default() += count;
    }

    assert_eq!(answers.values().sum::<usize>(), 2 * PRESENTATIONS);
    let won: Vec<_> = answers.iter().filter(|(answer, _)| answer.starts_with("won")).collect();
    assert!(matches!(won.as_slice(), [(_, 1)]), "{won:?}");
    let successor = won[0].0.trim_start_matches("won ");
    for answer in answers.keys() {
        // Whoever did not win was given the winner's tokens.
        assert!(answer.ends_with(successor), "{answer}");
    }
    let family = world.stored(&first).await;
    assert_eq!((family.generation, family.ended), (1, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_presentations_from_two_processes_have_one_successor_on_sqlite() {
    let place = tempfile::tempdir().unwrap();
    race(&format!("sqlite:{}", place.path().join("race.db").display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_presentations_from_two_processes_have_one_successor_on_postgresql() {
    let database = PostgresServer::shared().database();
    race(&database.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "played by the second process of the races"]
async fn the_other_process() {
    let part = std::env::var(PART).expect("only the races start this");
    let (place, token) = part.split_once('\n').unwrap();
    let world = open(place, 2).await;
    println!("\nready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    let answers = present(world, token).await;
    println!("\nanswers {}", serde_json::to_string(&answers).unwrap());
}
