//! Two processes that do the same at the same moment.
//!
//! The second is this test binary, started again for one ignored test. The two agree on the moment
//! through a pipe.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use tokio::task::JoinSet;

const PART: &str = "TEGATA_RACE_PART";

/// What one process got, or both: how often each answer.
pub(crate) type Answers = BTreeMap<String, usize>;

/// Does `work` here while another process plays `test`, which is told its `part`. Answers what both got.
pub(crate) async fn race(test: &str, part: &str, work: impl Future<Output = Answers>) -> Answers {
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", test])
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(other.stdout.take().unwrap()).lines();
    while told.next().unwrap().unwrap() != "ready" {}
    writeln!(other.stdin.take().unwrap(), "go").unwrap();
    let mut answers = work.await;
    // All of it is read: a process whose output nobody takes any more would end as failed.
    let told: Vec<_> = told.map(Result::unwrap).collect();
    assert!(other.wait().unwrap().success(), "{told:#?}");
    let theirs = told.iter().find_map(|line| line.strip_prefix("answers ")).unwrap();
    for (answer, count) in serde_json::from_str::<Answers>(theirs).unwrap() {
        *answers.entry(answer).or_default() += count;
    }
    answers
}

/// The part of this process, which was started for it.
pub(crate) fn part() -> String {
    std::env::var(PART).expect("only the races start this")
}

/// Plays it when the other process says so, and tells what came of it.
pub(crate) async fn play(work: impl Future<Output = Answers>) {
    println!("\nready");
    std::io::stdin().lock().read_line(&mut String::new()).unwrap();
    println!("\nanswers {}", serde_json::to_string(&work.await).unwrap());
}

/// Counts what attempts that are made all at once are answered.
pub(crate) async fn counted(attempts: JoinSet<String>) -> Answers {
    let mut answers = Answers::new();
    for answer in attempts.join_all().await {
        *answers.entry(answer).or_default() += 1;
    }
    answers
}
