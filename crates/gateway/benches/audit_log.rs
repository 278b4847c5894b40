//! What the log of decisions carries, and how quickly it is proven.
//!
//! Records are those of a request that was let pass, as they stand in a log. What is made durable is made
//! durable on the disk of the build directory: the anchor is a loop that writes as many bytes and waits for the
//! disk (`fdatasync`) each time, in the same round.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{fs::File, io::Write as _, path::Path, sync::Arc};

use tegata_core::Node;
use tegata_gateway::{
    DecisionLog, Signer,
    decision_log::{self, Known, Mode, Outcome, Reader, Record, Steps, Walk, verify},
};
use tegata_rounds::{Effort, Table, Unit, timed};
use tegata_token::{Algorithm, SigningKey, VerifyingKey};
use tokio::{runtime::Builder, task::JoinSet};

/// How many wait at once, where many do.
const CLIENTS: usize = 64;

/// What a line takes, about: hash, record and what stands between.
const LINE: usize = 400;

fn main() {
    let effort = Effort::asked();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let mut rounds = 0..;
    let mut place = || directory.path().join(rounds.next().unwrap_or_default().to_string());

    let mut handed = Table::new("records of one thread, until all are durable", Unit::PerSecond);
    let mut read = Table::new("bytes of a log", Unit::PerSecond);
    let mut durable = Table::new("decisions that are waited for", Unit::PerSecond);
    for _ in 0..effort.rounds {
        let many = effort.size(500_000, 2000);
        let log = place();
        let (bytes, took) = timed(|| append(&log, &key, many));
        let (_, bare) = timed(|| write_once(&place(), bytes));
        let rate = |took: std::time::Duration| per_second(many, took);
        handed.note("as many bytes written at once", rate(bare));
        handed.note("the log", rate(took));

        let length = usize::try_from(bytes).unwrap_or(usize::MAX);
        let verifying = VerifyingKey::from_jwk(key.jwk()).unwrap();
        let (hashed, hashing) = timed(|| hash(&log));
        assert!(hashed > 0);
        let (found, proving) =
            timed(|| verify(&log, &|_| Some(&verifying), &Known::default()).unwrap());
        assert_eq!(found.requests, u64::try_from(many).unwrap());
        let (lines, reading) = timed(|| count(&log));
        assert!(lines >= many);
        read.note("SHA-256 alone", per_second(length, hashing));
        read.note("`verify`", per_second(length, proving));
        read.note(
            "read for an export, each line held against its hash",
            per_second(length, reading),
        );

        let (few, most) = (effort.size(300, 5), effort.size(6000, 128));
        let (_, took) = timed(|| synced(&place(), few));
        durable.note("write and fdatasync, in a loop", per_second(few, took));
        let (_, took) = timed(|| commit(&place(), &key, 1, few));
        durable.note("1 client of the log", per_second(few, took));
        let (_, took) = timed(|| commit(&place(), &key, CLIENTS, most));
        durable.note("64 clients of the log", per_second(most / CLIENTS * CLIENTS, took));
    }
    handed.print();
    read.print();
    durable.print();
}

fn per_second(many: usize, took: std::time::Duration) -> f64 {
    f64::from(u32::try_from(many).unwrap_or(u32::MAX)) / took.as_secs_f64()
}

fn open(directory: &Path, key: &Arc<SigningKey>, mode: Mode) -> DecisionLog {
    let key = Arc::clone(key);
    let signer: Signer = Arc::new(move || Some(Arc::clone(&key)));
    let config = decision_log::Config { mode, ..decision_log::Config::at(directory) };
    DecisionLog::open(&config, &Node::start(), signer).unwrap()
}

fn record(node: &Node) -> Record<'static> {
    Record {
        at: node.now(),
        request: "f7327fb365ca3ce0fe16f1cc2f5c24f2",
        trace: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        client: [192, 0, 2, 1].into(),
        subject: Some("usr_0123456789abcdefghijkl"),
        jti: Some("1.AAECAwQFBgcICQoLDA0ODw"),
        sid: Some("1.20500.AAECAwQFBgcICQoLDA0ODw"),
        method: "GET",
        path: "/orders/orders/4711",
        service: Some("orders"),
        route: Some("/orders"),
        operation: "",
        result: Outcome::Allow,
        reason: None,
        rule: Some("orders:/orders"),
        policies: &[],
        policy_set: None,
        risk: None,
        unchecked: false,
        status: Some(200),
        micros: Some(120),
        walk: Walk { phases: Steps::begun(), ..Walk::default() },
    }
}

/// Hands over so many records, as fast as there is room, and ends the log. Answers how many bytes it has.
fn append(directory: &Path, key: &Arc<SigningKey>, many: usize) -> u64 {
    let (log, node) = (open(directory, key, Mode::BestEffort), Node::start());
    for _ in 0..many {
        while !log.append(&record(&node)) {
            std::thread::yield_now();
        }
    }
    log.close();
    let files = std::fs::read_dir(directory).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

fn write_once(file: &Path, bytes: u64) {
    let mut file = File::create(file).unwrap();
    let piece = vec![b'x'; 1 << 20];
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    while left > 0 {
        let next = piece.get(..left.min(piece.len())).unwrap_or_default();
        file.write_all(next).unwrap();
        left -= next.len();
    }
    file.sync_data().unwrap();
}

/// Reads all lines, as an export does.
fn count(directory: &Path) -> usize {
    let mut reader = Reader::from_segment(directory, None).unwrap();
    let mut lines = 0;
    while reader.next().unwrap().is_some() {
        lines += 1;
    }
    lines
}

/// Reads all segments, and hashes them as one text.
fn hash(directory: &Path) -> u64 {
    let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files {
        context.update(&std::fs::read(file).unwrap());
    }
    context.finish().as_ref().iter().map(|byte| u64::from(*byte)).sum()
}

fn synced(file: &Path, many: usize) {
    let mut file = File::create(file).unwrap();
    for _ in 0..many {
        file.write_all(&[b'x'; LINE]).unwrap();
        file.sync_data().unwrap();
    }
}

/// Has so many clients record something one after the other, each waiting until it is durable.
fn commit(directory: &Path, key: &Arc<SigningKey>, clients: usize, many: usize) {
    let (log, node) = (open(directory, key, Mode::Required), Node::start());
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let mut all = JoinSet::new();
        for _ in 0..clients {
            let (log, node) = (log.clone(), node.clone());
            all.spawn(async move {
                for _ in 0..many / clients {
                    log.commit(&record(&node)).await.unwrap();
                }
            });
        }
        all.join_all().await;
    });
    log.close();
}
