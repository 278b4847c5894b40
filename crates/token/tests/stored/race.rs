//! One refresh token, presented ten thousand times at once from two processes.

use std::{sync::Arc, time::Duration};

use tegata_core::{Records, SystemClock};
use tegata_engines::{
    PostgresServer,
    twin::{self, Answers},
};
use tegata_store::{Postgres, PostgresConfig, Sqlite, SqliteConfig};
use tegata_token::{Lifetimes, RefreshRefused};
use tokio::task::JoinSet;

use super::world::{World, kinds};

/// How often each of the two processes presents the token.
const PRESENTATIONS: usize = 5_000;

/// Everybody waits for a connection until they have one.
const PATIENCE: Duration = Duration::from_secs(120);

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
    twin::counted(tasks.join_all().await)
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

    let (test, part) = ("stored::race::the_other_process", format!("{place}\n{token}"));
    let answers = twin::race(test, &part, present(world.clone(), &token)).await;

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
    let part = twin::part();
    let (place, token) = part.split_once('\n').unwrap();
    let world = open(place, 2).await;
    twin::play(present(world, token)).await;
}
