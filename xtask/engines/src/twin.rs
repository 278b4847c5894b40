//! Two processes that do the same at the same moment.
//!
//! The second is the binary of the test, started again for one of its tests that is ignored otherwise.
//! The two agree on the moment through a pipe.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

const PART: &str = "TEGATA_RACE_PART";

/// What one process got, or both: how often each answer. An answer is one line.
pub type Answers = BTreeMap<String, usize>;

/// Does `work` here while another process plays `test`, which is told its `part`. Answers what both got.
///
/// # Panics
/// Where the other process ends otherwise than as a test that has passed.
pub async fn race(test: &str, part: &str, work: impl Future<Output = Answers>) -> Answers {
    let program = std::env::current_exe().expect("a test knows its own program");
    let mut other = Command::new(program)
        .args(["--ignored", "--exact", "--nocapture", test])
        .env(PART, part)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a test can be started again");
    let told = other.stdout.take().expect("it has an output");
    let mut told = BufReader::new(told).lines().map(|line| line.expect("it writes text"));
    assert!(told.any(|line| line == "ready"), "the other process ended before the race");
    writeln!(other.stdin.take().expect("it has an input"), "go").expect("it waits");
    let mut answers = work.await;
    // All of it is read: a process whose output nobody takes any more would end as failed.
    let told: Vec<_> = told.collect();
    assert!(other.wait().expect("it was started").success(), "{told:#?}");
    for line in told.iter().filter_map(|line| line.strip_prefix("answer ")) {
        let (count, answer) = line.split_once(' ').expect("it counts its answers");
        let count: usize = count.parse().expect("it counts in numbers");
        *answers.entry(answer.to_owned()).or_default() += count;
    }
    answers
}

/// The part of this process, which was started for it.
///
/// # Panics
/// Where somebody else started it.
#[must_use]
pub fn part() -> String {
    std::env::var(PART).expect("only the races start this")
}

/// Plays it when the other process says so, and tells what came of it.
///
/// # Panics
/// Where the other process is gone.
pub async fn play(work: impl Future<Output = Answers>) {
    println!("\nready");
    let mut go = String::new();
    std::io::stdin().lock().read_line(&mut go).expect("the other process is there");
    let answers = work.await;
    println!();
    for (answer, count) in answers {
        println!("answer {count} {answer}");
    }
}

/// Counts what attempts were answered.
#[must_use]
pub fn counted(attempts: impl IntoIterator<Item = String>) -> Answers {
    let mut answers = Answers::new();
    for answer in attempts {
        *answers.entry(answer).or_default() += 1;
    }
    answers
}
