//! What must hold between processes on one store: the clauses that are about many at once, with a
//! second process that is killed or plays the same part as the first.
//!
//! The second process is this very test binary, started again to run one ignored test. The two meet
//! through the pipes between them.

use std::{
    any::Any,
    collections::BTreeSet,
    future::Future,
    io::{BufRead as _, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tegata_core::{
    Batch, Ephemeral, Expect, Log, Records,
    port::{Change, Held, Put, Sequenced, Space, Swap},
};
use tokio::{
    sync::mpsc::{self, UnboundedReceiver},
    task::JoinSet,
};

use super::{
    bed::{id, node_id, realm},
    records::{NOTES, append, batch, is_conflict, note, noted, page},
};

/// Names the part that the second process plays.
const PART: &str = "TEGATA_STORE_TEST_PART";
/// Names the store that it plays it on.
const PLACE: &str = "TEGATA_STORE_TEST_PLACE";

static CODES: Space = Space { name: "code", indexed: false };

/// A store that several processes can open by its name.
pub(crate) struct Place {
    name: String,
    keep: Vec<Box<dyn Any + Send + Sync>>,
}

/// A store as one process has opened it. On the clocks of the system, which processes share.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) records: Arc<dyn Records>,
    pub(crate) ephemeral: Arc<dyn Ephemeral>,
}

/// One of the two processes.
struct Process {
    opened: Opened,
    /// 0 for the first, 1 for the second.
    me: usize,
    other: Other,
}

/// The other process, as this one hears it and speaks to it.
struct Other {
    speak: Box<dyn Write + Send>,
    heard: UnboundedReceiver<String>,
    /// What was heard so far, for the report of a failure.
    told: String,
}

/// The second process, ended with its owner.
struct Second(Child);

impl Place {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), keep: Vec::new() }
    }

    /// What another process opens it by.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Keeps something alive as long as the place.
    pub(crate) fn keeping(mut self, kept: impl Any + Send + Sync) -> Self {
        self.keep.push(Box::new(kept));
        self
    }
}

impl Other {
    /// `ended` is called when the other process has closed its end.
    fn new(
        speak: impl Write + Send + 'static,
        hear: impl Read + Send + 'static,
        ended: fn(),
    ) -> Self {
        let (lines, heard) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            for line in BufReader::new(hear).lines().map_while(Result::ok) {
                // Whoever does not listen any more has failed already.
                let _heard = lines.send(line);
            }
            ended();
        });
        Self { speak: Box::new(speak), heard, told: String::new() }
    }

    /// The next line that holds `word`, and what follows the word; `None` at the end. The test
    /// harness begins lines of its own and does not end them.
    async fn hear(&mut self, word: &str) -> Option<String> {
        while let Some(line) = self.heard.recv().await {
            self.told.extend([line.as_str(), "\n"]);
            if let Some((_, rest)) = line.split_once(word) {
                return Some(rest.to_owned());
            }
        }
        None
    }

    fn say(&mut self, line: &str) {
        writeln!(self.speak, "{line}").and_then(|()| self.speak.flush()).unwrap();
    }
}

impl Second {
    /// Starts this binary again, for the test with this name.
    fn start(test: &str, part: &str, place: &Place) -> (Self, Other) {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", test])
            .env(PART, part)
            .env(PLACE, &place.name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.unwrap();
        let (speak, hear) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        (Self(child), Other::new(speak, hear, || ()))
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        // It may have ended already.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Process {
    /// Goes on when the other process has come to the same point.
    async fn meet(&mut self, point: &str) {
        self.other.say(&format!("at {point}."));
        let theirs = self.other.hear("at ").await;
        let told = &self.other.told;
        assert_eq!(theirs, Some(format!("{point}.")), "the other process said:\n{told}");
    }

    /// Lets several clients of this process do the same at once; answers what each got.
    async fn crowd<F, T>(&self, clients: usize, act: impl Fn(Opened, usize) -> F) -> Vec<T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let mut tasks = JoinSet::new();
        for client in 0..clients {
            tasks.spawn(act(self.opened.clone(), self.me * clients + client));
        }
        tasks.join_all().await
    }

    async fn play(&mut self, part: &str) {
        match part {
            "wins" => self.wins().await,
            "takes" => self.takes().await,
            "adds" => self.adds().await,
            "swaps" => self.swaps().await,
            "requires" => self.requires().await,
            "repeats" => self.repeats().await,
            "positions" => self.positions().await,
            "acknowledges" => self.acknowledges().await,
            other => panic!("there is no part `{other}`"),
        }
    }

    async fn wins(&mut self) {
        const ROUNDS: usize = 30;
        const CLIENTS: usize = 8;
        let mut wins = 0;
        for round in 0..ROUNDS {
            self.meet(&format!("round-{round}")).await;
            let results = self.crowd(CLIENTS, |opened, client| async move {
                let change = note(&format!("race-{round}"), Expect::Absent, &client.to_string());
                let entry = append(Log::Journal, id(round * 100 + client), "won");
                opened.records.commit(batch(change).append(entry)).await
            });
            for result in results.await {
                match result {
                    Ok(()) => wins += 1,
                    Err(refused) => assert!(is_conflict(&refused), "{refused}"),
                }
            }
        }
        self.assert_sum("wins", wins, ROUNDS).await;
        assert_eq!(
            settled(self.opened.records.as_ref(), self.me, Log::Journal).await.len(),
            ROUNDS,
            "a loser is in the log"
        );
    }

    async fn takes(&mut self) {
        const ROUNDS: usize = 30;
        let mut wins = 0;
        for round in 0..ROUNDS {
            let key = format!("code-{round}");
            if self.me == 0 {
                let lifetime = Duration::from_secs(600);
                let put = Put { key: key.clone(), value: vec![1], lifetime, index: None };
                self.opened.ephemeral.put(&realm(), &CODES, put).await.unwrap();
            }
            self.meet(&format!("round-{round}")).await;
            let taken = self.crowd(8, |opened, _| {
                let key = key.clone();
                async move { opened.ephemeral.take(&realm(), &CODES, &key).await.unwrap() }
            });
            wins += taken.await.into_iter().flatten().count();
        }
        self.assert_sum("takes", wins, ROUNDS).await;
    }

    /// One of all adds of a key wins.
    async fn adds(&mut self) {
        const ROUNDS: usize = 30;
        let mut wins = 0;
        for round in 0..ROUNDS {
            self.meet(&format!("round-{round}")).await;
            let added = self.crowd(8, |opened, client| async move {
                let lifetime = Duration::from_secs(600);
                let (key, value) = (format!("added-{round}"), client.to_string().into_bytes());
                let put = Put { key, value, lifetime, index: None };
                opened.ephemeral.add(&realm(), &CODES, put).await.unwrap()
            });
            wins += added.await.into_iter().filter(|won| *won).count();
        }
        self.assert_sum("adds", wins, ROUNDS).await;
    }

    /// No swap is lost: each adds one to a number.
    async fn swaps(&mut self) {
        const CLIENTS: usize = 8;
        const EACH: usize = 25;
        let lifetime = Duration::from_secs(600);
        let put = move |number: usize| Put {
            key: "number".to_owned(),
            value: number.to_string().into_bytes(),
            lifetime,
            index: None,
        };
        if self.me == 0 {
            self.opened.ephemeral.put(&realm(), &CODES, put(0)).await.unwrap();
        }
        self.meet("start").await;
        let number =
            |held: &Held| -> usize { std::str::from_utf8(&held.value).unwrap().parse().unwrap() };
        self.crowd(CLIENTS, |opened, _| async move {
            let held = opened.ephemeral.get(&realm(), &CODES, "number").await.unwrap();
            let mut held = held.unwrap();
            for _ in 0..EACH {
                loop {
                    let next = put(number(&held) + 1);
                    let swap = opened.ephemeral.swap(&realm(), &CODES, held.revision, next).await;
                    match swap.unwrap() {
                        Swap::Won(revision) => {
                            let value = (number(&held) + 1).to_string().into_bytes();
                            held = Held { value, revision };
                            break;
                        }
                        Swap::Lost(newer) => held = newer,
                        Swap::Gone => panic!("the value was there all the time"),
                    }
                }
            }
        })
        .await;
        self.meet("swapped").await;
        let held = self.opened.ephemeral.get(&realm(), &CODES, "number").await.unwrap().unwrap();
        assert_eq!(number(&held), 2 * CLIENTS * EACH);
        self.meet("read").await;
    }

    /// Of two batches that each require what the other changes, at most one is committed.
    async fn requires(&mut self) {
        const ROUNDS: usize = 60;
        let sides = ["left", "right"];
        let mut total = 0;
        for round in 0..ROUNDS {
            let name = |side: usize| format!("{}-{round}", sides[side]);
            if self.me == 0 {
                for side in 0..2 {
                    let start = note(&name(side), Expect::Absent, "as it was");
                    self.opened.records.commit(batch(start)).await.unwrap();
                }
            }
            self.meet(&format!("round-{round}")).await;
            let (own, others) = (name(self.me), name(1 - self.me));
            let require =
                Change::Require { kind: &NOTES, key: others.clone(), expect: Expect::Version(1) };
            let change = note(&own, Expect::Version(1), "changed");
            let committed = self.opened.records.commit(batch(change).with(require)).await;
            assert!(committed.as_ref().err().is_none_or(is_conflict), "{committed:?}");
            self.meet(&format!("done-{round}")).await;
            let records = self.opened.records.as_ref();
            let versions = [noted(records, &own).await, noted(records, &others).await];
            let changed: Vec<_> = versions.iter().flatten().filter(|(it, _)| *it == 2).collect();
            assert!(changed.len() <= 1, "both were changed in round {round}");
            total += changed.len();
        }
        assert!(total > 0, "nothing was ever changed");
    }

    /// An entry that both append is in the log once, and keeps neither's batch from happening.
    async fn repeats(&mut self) {
        const ROUNDS: usize = 40;
        for round in 0..ROUNDS {
            self.meet(&format!("round-{round}")).await;
            self.crowd(4, |opened, client| async move {
                let beside = note(&format!("beside-{round}-{client}"), Expect::Absent, "");
                let entry = append(Log::Revocations, id(round), "repeated");
                opened.records.commit(batch(beside).append(entry)).await.unwrap();
            })
            .await;
        }
        self.meet("written").await;
        // No id has two positions, and there is one for each.
        let settled = settled(self.opened.records.as_ref(), self.me, Log::Revocations).await;
        assert_eq!(settled.len(), ROUNDS);
        self.meet("read").await;
    }

    async fn positions(&mut self) {
        const CLIENTS: usize = 8;
        const EACH: usize = 25;
        self.meet("start").await;
        let done = Arc::new(AtomicBool::new(false));
        let (reader, me, stop) = (self.opened.records.clone(), self.me, done.clone());
        let reader = tokio::spawn(async move { pull_until(reader.as_ref(), me, &stop).await });
        self.crowd(CLIENTS, |opened, client| async move {
            for n in 0..EACH {
                let entry = append(Log::Revocations, id(client * 1000 + n), "");
                opened.records.commit(Batch::new(realm()).append(entry)).await.unwrap();
            }
        })
        .await;
        self.meet("written").await;
        let settled = settled(self.opened.records.as_ref(), self.me, Log::Revocations).await;
        assert_eq!(settled.len(), 2 * CLIENTS * EACH);
        done.store(true, Ordering::SeqCst);
        assert_eq!(reader.await.unwrap(), settled, "what was read is not what stands");
        self.meet("read").await;
    }

    /// Commits and says so, until it is killed.
    async fn acknowledges(&mut self) {
        let next = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        self.crowd(8, |opened, _| {
            let next = next.clone();
            async move {
                loop {
                    let n = next.fetch_add(1, Ordering::SeqCst);
                    let entry = append(Log::Revocations, id(n), "");
                    let change = note(&format!("ack-{n}"), Expect::Absent, "");
                    opened.records.commit(batch(change).append(entry)).await.unwrap();
                    let line = format!("acknowledged {n}\n");
                    std::io::stdout().write_all(line.as_bytes()).unwrap();
                }
            }
        })
        .await;
    }

    /// Checks that the two processes' counts make `expected`.
    async fn assert_sum(&mut self, what: &str, mine: usize, expected: usize) {
        let records = self.opened.records.clone();
        let told = note(&format!("{what}-count-{}", self.me), Expect::Absent, &mine.to_string());
        records.commit(batch(told)).await.unwrap();
        self.meet(what).await;
        let theirs = noted(records.as_ref(), &format!("{what}-count-{}", 1 - self.me)).await;
        let theirs = theirs.unwrap().1.parse::<usize>().unwrap();
        assert_eq!(mine + theirs, expected, "{mine} here and {theirs} there");
        self.meet(&format!("{what}-compared")).await;
    }
}

/// All positions of a log, once all that is committed has one.
async fn settled(records: &dyn Records, me: usize, log: Log) -> Vec<u64> {
    loop {
        let sequenced = records.sequence(log, node_id(me)).await.unwrap();
        let pull = records.pull(log, 0, 100_000).await.unwrap();
        if sequenced == Sequenced::AtCommit || pull.waiting == Duration::ZERO {
            let positions = pull.entries.iter().map(|entry| entry.position);
            let positions = positions.collect::<Vec<_>>();
            assert_eq!(positions, (1..=pull.head).collect::<Vec<_>>(), "there are gaps");
            let ids = pull.entries.iter().map(|entry| entry.id).collect::<BTreeSet<_>>();
            assert_eq!(ids.len(), positions.len(), "an entry has two positions");
            return positions;
        }
        tokio::task::yield_now().await;
    }
}

/// Pulls as a verifier does, from where it stopped, until all is said and read.
async fn pull_until(records: &dyn Records, me: usize, done: &AtomicBool) -> Vec<u64> {
    let mut seen = Vec::new();
    loop {
        let last_round = done.load(Ordering::SeqCst);
        records.sequence(Log::Revocations, node_id(me)).await.unwrap();
        let after = seen.last().copied().unwrap_or(0);
        let pull = records.pull(Log::Revocations, after, 25).await.unwrap();
        if last_round && pull.entries.is_empty() {
            return seen;
        }
        seen.extend(pull.entries.iter().map(|entry| entry.position));
        tokio::task::yield_now().await;
    }
}

/// Plays a part in both processes.
pub(crate) async fn together(test: &str, part: &str, place: Place, opened: Opened) {
    let (mut second, other) = Second::start(test, part, &place);
    let mut first = Process { opened, me: 0, other };
    first.play(part).await;
    let played = first.other.hear("1 passed").await.is_some();
    assert!(played, "the second process failed:\n{}", first.other.told);
    assert!(second.0.wait().unwrap().success());
}

/// Kills a process that commits all the time, and looks for everything that it was told is durable.
pub(crate) async fn what_was_acknowledged_survives_a_kill(
    test: &str,
    place: Place,
    opened: Opened,
) {
    let (mut second, mut other) = Second::start(test, "acknowledges", &place);
    let mut acknowledged = BTreeSet::new();
    while let Some(n) = other.hear("acknowledged ").await {
        acknowledged.insert(n.parse::<usize>().unwrap());
        if acknowledged.len() == 300 {
            second.0.kill().unwrap();
        }
    }
    drop(second);
    assert!(acknowledged.len() >= 300, "the second process failed:\n{}", other.told);
    let records = opened.records.as_ref();
    let entries = settled(records, 0, Log::Revocations).await;
    let notes = records.scan(&realm(), &NOTES, page(None, 1_000_000)).await;
    let notes = notes.unwrap();
    assert_eq!(entries.len(), notes.len(), "half of a batch survived");
    for n in acknowledged {
        assert!(noted(records, &format!("ack-{n}")).await.is_some(), "commit {n} is lost");
    }
}

/// What the ignored test does: its part, if this is a second process.
pub(crate) async fn second<F: Future<Output = Opened>>(open: impl FnOnce(String) -> F) {
    let (Ok(part), Ok(place)) = (std::env::var(PART), std::env::var(PLACE)) else {
        // Run by hand, without a first process: there is nothing to play with.
        return;
    };
    // A second process does not outlive the first, however that one ends. What it says does not
    // pass through `println`, which the test harness would keep to itself.
    let other = Other::new(std::io::stdout(), std::io::stdin(), || std::process::exit(1));
    Process { opened: open(place).await, me: 1, other }.play(&part).await;
}

/// One test for each clause about two processes. `$place` makes a store, and `$open` opens it by
/// its name.
macro_rules! processes_contract {
    ($adapter:ident, $place:expr, $open:path) => {
        mod $adapter {
            use crate::contract::processes;

            const SECOND: &str = concat!(stringify!($adapter), "::second_process");

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "is the second process of the other tests, and is started by them"]
            async fn second_process() {
                processes::second($open).await;
            }

            async fn together(part: &str) {
                let place = $place.await;
                let opened = $open(place.name().to_owned()).await;
                processes::together(SECOND, part, place, opened).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_of_many_commits_wins_across_processes() {
                together("wins").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_of_many_gets_what_is_taken_across_processes() {
                together("takes").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_of_many_adds_wins_across_processes() {
                together("adds").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn no_swap_is_lost_across_processes() {
                together("swaps").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_is_required_of_each_other_does_not_both_happen_across_processes() {
                together("requires").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_repeated_append_is_one_entry_across_processes() {
                together("repeats").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_reader_misses_nothing_that_two_processes_write() {
                together("positions").await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn what_was_acknowledged_survives_a_kill() {
                let place = $place.await;
                let opened = $open(place.name().to_owned()).await;
                processes::what_was_acknowledged_survives_a_kill(SECOND, place, opened).await;
            }
        }
    };
}
