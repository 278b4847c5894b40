use std::fs;

use serde_json::Value;
use tegata_core::Timestamp;
use tegata_token::{Algorithm, SigningKey, VerifyingKey};

use super::*;

struct Desk {
    directory: tempfile::TempDir,
    key: Arc<SigningKey>,
    verifying: VerifyingKey,
}

impl Desk {
    fn new() -> Self {
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let verifying = VerifyingKey::from_jwk(key.jwk()).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), key, verifying }
    }

    fn config(&self) -> Config {
        Config { segment: 2000, checkpoint: 5, ..Config::at(self.directory.path()) }
    }

    fn open(&self, config: &Config) -> DecisionLog {
        DecisionLog::open(config, &Node::for_tests(1), self.signer()).unwrap()
    }

    fn signer(&self) -> Signer {
        let key = Arc::clone(&self.key);
        Arc::new(move || Some(Arc::clone(&key)))
    }

    /// A log of so many records in several segments, closed.
    fn filled(count: u64) -> Self {
        let desk = Self::new();
        let log = desk.open(&desk.config());
        for number in 0..count {
            assert!(log.append(&record(&number.to_string())));
        }
        log.close();
        desk
    }

    fn verify(&self, known: &Known) -> Result<Verified, Altered> {
        let key = |kid: &str| (kid == self.verifying.kid().as_str()).then_some(&self.verifying);
        verify(self.directory.path(), &key, known)
    }

    fn sound(&self) -> Verified {
        self.verify(&Known::default()).unwrap()
    }

    fn found(&self) -> Altered {
        self.verify(&Known::default()).unwrap_err()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let all = segment::list(self.directory.path()).unwrap();
        all.into_iter().map(|number| segment::path(self.directory.path(), number)).collect()
    }
}

fn record(request: &str) -> Record<'_> {
    Record {
        policies: &[],
        policy_set: None,
        at: Timestamp::from_secs(1_767_225_600),
        request,
        trace: None,
        client: [192, 0, 2, 1].into(),
        subject: Some("usr_alice"),
        jti: None,
        sid: None,
        method: "GET",
        path: "/orders/1\n2",
        service: Some("orders"),
        route: Some("/orders"),
        operation: "",
        result: Outcome::Allow,
        reason: None,
        rule: Some("orders:/orders"),
        risk: None,
        unchecked: false,
        status: Some(200),
        micros: Some(120),
        walk: Walk::default(),
    }
}

#[test]
fn holds_what_was_recorded_in_order_over_several_segments() {
    let desk = Desk::filled(40);
    let files = desk.segments();
    assert!(files.len() > 3);
    let requests: Vec<_> = files
        .iter()
        .flat_map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let records: Vec<Value> =
                text.lines().map(|line| serde_json::from_str(&line[65..]).unwrap()).collect();
            records
        })
        .filter_map(|record| Some(record.get("request")?.as_str()?.to_owned()))
        .collect();
    assert_eq!(requests, (0..40).map(|number| number.to_string()).collect::<Vec<_>>());
    let sound = desk.sound();
    assert_eq!(sound.segments, u64::try_from(files.len()).unwrap());
    assert_eq!(sound.unsigned, 0);
}

#[test]
fn a_change_of_any_byte_is_found_in_its_line() {
    let desk = Desk::filled(12);
    for file in desk.segments() {
        let bytes = fs::read(&file).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            fs::write(&file, &changed).unwrap();
            let found = desk.found();
            assert_eq!(found.file, file, "byte {place}");
            let line = 1 + bytes[..place].iter().filter(|byte| **byte == b'\n').count();
            let line = u64::try_from(line).unwrap();
            // A line that is split or joined shows there or one further on.
            assert!((line..=line + 1).contains(&found.line), "byte {place}: {found}");
        }
        fs::write(&file, &bytes).unwrap();
    }
    desk.sound();
}

#[test]
fn a_removed_moved_or_repeated_line_is_found() {
    let desk = Desk::filled(12);
    for file in desk.segments() {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let check = |lines: Vec<&str>, what: &str| {
            fs::write(&file, lines.join("\n") + "\n").unwrap();
            assert!(desk.verify(&Known::default()).is_err(), "{what} in {}", file.display());
        };
        let is_last = Some(&file) == desk.segments().last();
        for place in 0..lines.len() {
            if is_last && place == lines.len() - 1 {
                continue; // see the test of what is cut off
            }
            let mut removed = lines.clone();
            removed.remove(place);
            check(removed, "removed");
            let mut repeated = lines.clone();
            repeated.insert(place, lines[place]);
            check(repeated, "repeated");
            if place > 0 {
                let mut moved = lines.clone();
                moved.swap(place - 1, place);
                check(moved, "moved");
            }
        }
        fs::write(&file, &text).unwrap();
    }
    desk.sound();
}

#[test]
fn a_removed_segment_is_named() {
    let desk = Desk::filled(20);
    let files = desk.segments();
    for (place, file) in files.iter().enumerate() {
        let bytes = fs::read(file).unwrap();
        fs::remove_file(file).unwrap();
        let found = desk.found();
        assert_eq!((&found.file, found.line, &found.what), (file, 0, &Found::Removed), "{place}");
        fs::write(file, "").unwrap();
        assert_eq!((&desk.found().file, desk.found().what), (file, Found::Cut));
        fs::write(file, bytes).unwrap();
    }
}

#[test]
fn what_is_cut_off_the_end_is_found_with_a_checkpoint_that_was_kept() {
    let desk = Desk::filled(20);
    let kept = desk.sound().checkpoint;
    let known = Known { checkpoint: kept.clone(), ..Known::default() };
    desk.verify(&known).unwrap();
    let file = desk.segments().pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for keep in 1..lines.len() {
        fs::write(&file, lines[..keep].join("\n") + "\n").unwrap();
        assert_eq!(desk.verify(&known).unwrap_err().what, Found::Shortened);
        // Without it, one sees how much stands there unsigned.
        assert_ne!(desk.sound().checkpoint, kept);
    }
    // Cut within a line.
    fs::write(&file, &text[..text.len() - 3]).unwrap();
    assert_eq!(desk.found().what, Found::Cut);
}

#[test]
fn nothing_can_be_added_behind_the_end_and_nothing_rewritten_without_the_key() {
    let desk = Desk::filled(6);
    let file = desk.segments().pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let (last, _) = segment::line(text.lines().last().unwrap().as_bytes()).unwrap();
    let forged = br#"{"request":"forged"}"#;
    let hash = segment::hex(&segment::chain(&last, forged));
    fs::write(&file, format!("{text}{hash} {}\n", String::from_utf8_lossy(forged))).unwrap();
    assert_eq!(desk.found().what, Found::Added);

    // Everything rewritten, with sound hashes: the checkpoints do not fit any more.
    for file in desk.segments() {
        let text = fs::read_to_string(&file).unwrap().replace("usr_alice", "usr_wrong");
        fs::write(&file, text).unwrap();
    }
    let mut hash = segment::NOTHING;
    for file in desk.segments() {
        let mut rewritten = String::new();
        for line in fs::read_to_string(&file).unwrap().lines() {
            hash = segment::chain(&hash, &line.as_bytes()[65..]);
            rewritten += &format!("{} {}\n", segment::hex(&hash), &line[65..]);
        }
        fs::write(&file, rewritten).unwrap();
    }
    assert_eq!(desk.found().what, Found::Checkpoint);
}

#[test]
fn checkpoints_of_another_key_do_not_count() {
    let desk = Desk::filled(6);
    let nobody = |_: &str| None;
    let found = verify(desk.directory.path(), &nobody, &Known::default()).unwrap_err();
    assert_eq!(found.what, Found::UnknownKey(desk.key.kid().to_string()));
    // Nor do those of a key that only has the same name.
    let other = VerifyingKey::from_jwk(SigningKey::generate(Algorithm::EdDsa).unwrap().jwk());
    let other = other.unwrap();
    let found = verify(desk.directory.path(), &|_| Some(&other), &Known::default()).unwrap_err();
    assert_eq!(found.what, Found::Checkpoint);
}

#[test]
fn what_was_done_to_it_is_named_with_its_place_and_what_should_be_there() {
    let desk = Desk::filled(30);
    let files = desk.segments();
    let read = |file: &Path| fs::read_to_string(file).unwrap();
    let lines = |file: &Path| read(file).lines().map(str::to_owned).collect::<Vec<_>>();
    let joined = |lines: &[String]| lines.join("\n") + "\n";
    let (one, two, last) = (&files[0], &files[1], files.last().unwrap());
    // What is done to which file, in which line it is found, and as what.
    let mut swapped = lines(two);
    swapped.swap(2, 3);
    let mut removed = lines(two);
    removed.drain(2..4);
    let mut huge = lines(two);
    huge[2] = "a".repeat(5 << 20);
    let mut added = lines(last);
    added.push(added.last().unwrap().clone());
    let cases = [
        ("swapped lines", two, joined(&swapped).into_bytes(), 3, Found::Altered),
        ("a removed middle", two, joined(&removed).into_bytes(), 3, Found::Altered),
        ("a copy of another segment", two, read(one).into_bytes(), 1, Found::Replaced),
        (
            "two files joined",
            one,
            (read(one) + &read(two)).into_bytes(),
            lines(one).len() + 1,
            Found::Joined,
        ),
        ("something behind the end", last, joined(&added).into_bytes(), added.len(), Found::Added),
        ("a huge line", two, joined(&huge).into_bytes(), 3, Found::TooLong),
        ("a huge file of one line", two, vec![b'a'; 9 << 20], 1, Found::TooLong),
        ("no log at all", two, b"not a log\n".to_vec(), 1, Found::Malformed),
        ("bytes that are no text", two, [&[0xff_u8; 80][..], b"\n"].concat(), 1, Found::Malformed),
        ("an empty line", two, format!("\n{}", read(two)).into_bytes(), 1, Found::Malformed),
        ("nothing", two, Vec::new(), 0, Found::Cut),
        (
            "half a line at the end",
            last,
            read(last).into_bytes()[..read(last).len() - 7].to_vec(),
            lines(last).len(),
            Found::Cut,
        ),
    ];
    for (what, file, bytes, line, found) in cases {
        let before = fs::read(file).unwrap();
        fs::write(file, bytes).unwrap();
        let altered = desk.found();
        let told = altered.to_string();
        assert_eq!((&altered.file, &altered.what), (file, &found), "{what}: {told}");
        assert_eq!(altered.line, u64::try_from(line).unwrap(), "{what}: {told}");
        assert!(told.len() < 500 && told.lines().count() == 1, "{what}: {told}");
        if found == Found::Altered {
            assert!(altered.expected.unwrap().starts_with("the hash "), "{what}: {told}");
        }
        fs::write(file, before).unwrap();
    }
    desk.sound();
}

#[test]
fn a_log_of_another_key_in_its_place_and_an_empty_directory_are_found() {
    let (desk, other) = (Desk::filled(12), Desk::filled(12));
    let found = verify(other.directory.path(), &|_| Some(&desk.verifying), &Known::default());
    assert_eq!(found.unwrap_err().what, Found::Checkpoint);
    // One segment of theirs among ours, with the same number.
    fs::copy(&other.segments()[1], &desk.segments()[1]).unwrap();
    assert_eq!((desk.found().line, desk.found().what), (1, Found::Altered));
    let empty = Desk::new();
    assert_eq!(empty.found().what, Found::Nothing);
    // What only looks like a segment's name is none, and a directory is no file.
    fs::write(empty.directory.path().join("1.log"), "x").unwrap();
    assert_eq!(empty.found().what, Found::Nothing);
    fs::create_dir(segment::path(empty.directory.path(), 1)).unwrap();
    assert!(matches!(empty.found().what, Found::Unreadable(_)));
}

#[test]
fn a_segment_can_be_looked_at_by_itself_wherever_it_is() {
    let desk = Desk::filled(30);
    let away = desk.directory.path().join("kept elsewhere");
    let (mut requests, mut checkpoint) = (0, None);
    for file in desk.segments() {
        fs::copy(&file, &away).unwrap();
        let found = verify_segment(&away, &|_| Some(&desk.verifying), &Known::default()).unwrap();
        requests += found.requests;
        checkpoint = found.checkpoint;
        assert_eq!((found.segments, found.unsigned), (1, 0));
    }
    let sound = desk.sound();
    assert_eq!((requests, checkpoint), (30, sound.checkpoint));
    assert_eq!(sound.requests, 30);
    let from = Timestamp::from_secs(1_767_225_600);
    assert_eq!(sound.span, Some((from, from)));
    // What is joined is no segment.
    let files = desk.segments();
    let both = [fs::read(&files[1]).unwrap(), fs::read(&files[2]).unwrap()].concat();
    fs::write(&away, both).unwrap();
    let found = verify_segment(&away, &|_| Some(&desk.verifying), &Known::default()).unwrap_err();
    assert_eq!(found.what, Found::Joined);
}

#[test]
fn an_end_that_a_crash_left_is_named_as_one_that_could_have_been_cut() {
    let desk = Desk::filled(3);
    let file = desk.segments().pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let number = u64::try_from(desk.segments().len()).unwrap();
    fs::write(&file, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    let sound = desk.sound();
    assert_eq!(sound.open, [number]);
    assert!(sound.unsigned > 0);
    let log = desk.open(&desk.config());
    log.close();
    let sound = desk.sound();
    assert_eq!((sound.open, sound.unsigned), (vec![number], 0));
}

#[test]
fn goes_on_after_a_stop_and_after_a_crash_in_the_middle_of_a_line() {
    let desk = Desk::filled(3);
    let log = desk.open(&desk.config());
    log.append(&record("after"));
    log.close();
    let before = desk.sound();
    // The end of the last segment as a crash leaves it: no checkpoint, half a line.
    let file = desk.segments().pop().unwrap();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let torn = format!("{}\n{}", lines[..lines.len() - 1].join("\n"), &lines[0][..30]);
    fs::write(&file, torn).unwrap();
    let log = desk.open(&desk.config());
    log.append(&record("again"));
    log.close();
    let after = desk.sound();
    assert_eq!(after.segments, before.segments + 1);
    let last = fs::read_to_string(desk.segments().pop().unwrap()).unwrap();
    assert!(last.lines().next().unwrap().contains(r#""torn":30"#), "{last}");
}

#[test]
fn retention_takes_whole_segments_from_the_front() {
    let desk = Desk::filled(20);
    let files = desk.segments();
    fs::remove_file(&files[0]).unwrap();
    fs::remove_file(&files[1]).unwrap();
    assert_eq!(desk.found().what, Found::Removed);
    desk.verify(&Known { first: 3, ..Known::default() }).unwrap();
}

#[test]
fn a_full_queue_loses_and_says_how_much_once_it_can() {
    let desk = Desk::new();
    let log = desk.open(&Config { queue: 1, ..desk.config() });
    let taken = (0..1000).filter(|number| log.append(&record(&number.to_string()))).count();
    assert_eq!(u64::try_from(1000 - taken).unwrap(), log.lost());
    let lost = log.lost();
    log.close();
    desk.sound();
    let text: String = desk.segments().iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    let told: u64 = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(&line[65..]).unwrap()["count"].as_u64())
        .sum();
    assert_eq!(told, lost);
}

#[tokio::test]
async fn a_committed_record_is_in_the_file() {
    let desk = Desk::new();
    let config = Config { mode: Mode::Required, ..desk.config() };
    let log = desk.open(&config);
    for number in 0..50 {
        let name = format!("request-{number}");
        log.commit(&record(&name)).await.unwrap();
        let all: String = desk.segments().iter().map(|f| fs::read_to_string(f).unwrap()).collect();
        assert!(all.contains(&name));
    }
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_and_written_once_it_can() {
    let desk = Desk::new();
    let config = Config { mode: Mode::Required, segment: 1, ..desk.config() };
    let log = desk.open(&config);
    log.commit(&record("before")).await.unwrap();
    // Every record begins a segment, and there is something in the way of the next one.
    let next = u64::try_from(desk.segments().len()).unwrap() + 1;
    let obstacle = segment::path(desk.directory.path(), next);
    fs::create_dir(&obstacle).unwrap();
    assert_eq!(log.commit(&record("during")).await, Err(NotRecorded));
    assert_eq!(log.commit(&record("refused")).await, Err(NotRecorded));
    assert!(log.is_failing() && !log.works().await);
    fs::remove_dir(&obstacle).unwrap();
    // What was refused while it waited is written all the same; then there is room again, and whoever asks
    // from now on is told so.
    assert!(log.works().await && !log.is_failing());
    log.commit(&record("after")).await.unwrap();
    log.close();
    desk.sound();
    let all: String = desk.segments().iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    assert!(all.contains("during") && all.contains("after") && !all.contains("refused"));
}

/// Has the writer hang: it opens the segment again after it failed, and a pipe with nobody at its other end is
/// opened when there is somebody. Answers the pipe, the segment that is away, and what made it fail.
fn hang(desk: &Desk) -> (PathBuf, PathBuf, PathBuf) {
    let files = desk.segments();
    let segment = files.last().unwrap().clone();
    let away = desk.directory.path().join("away");
    fs::rename(&segment, &away).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&segment).status().unwrap();
    assert!(made.success());
    let obstacle = segment::path(desk.directory.path(), u64::try_from(files.len()).unwrap() + 1);
    fs::create_dir(&obstacle).unwrap();
    (segment, away, obstacle)
}

/// The disk answers again. The writer finds no room to write in the pipe, and then the segment.
fn answer((segment, away, obstacle): (PathBuf, PathBuf, PathBuf)) {
    fs::remove_dir(obstacle).unwrap();
    let pipe = fs::File::options().read(true).write(true).open(&segment).unwrap();
    fs::rename(away, segment).unwrap();
    drop(pipe);
}

#[tokio::test]
async fn nobody_waits_for_a_disk_that_does_not_answer() {
    let desk = Desk::new();
    let patience = Duration::from_secs(2);
    let config = Config { mode: Mode::Required, segment: 1, patience, ..desk.config() };
    let log = desk.open(&config);
    log.commit(&record("before")).await.unwrap();
    let hung = hang(&desk);
    // Who waits is refused when it takes too long, all of them; who comes then, at once.
    let (first, same) = (record("first"), record("same time"));
    let both = tokio::join!(log.commit(&first), log.commit(&same));
    assert_eq!(both, (Err(NotRecorded), Err(NotRecorded)));
    assert!(log.is_failing());
    let lost = log.lost();
    for _ in 0..1000 {
        assert!(!log.works().await);
        assert_eq!(log.commit(&record("refused")).await, Err(NotRecorded));
    }
    assert_eq!(log.lost(), lost + 1000);
    // What need not be recorded goes on, and is written later.
    assert!(log.append(&record("meanwhile")));
    answer(hung);
    // It fails once more, because a pipe is no segment.
    let again = async {
        while log.commit(&record("after")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
    assert!(!log.is_failing() && log.works().await);
    log.close();
    desk.sound();
    let all: String = desk.segments().iter().map(|f| fs::read_to_string(f).unwrap()).collect();
    for (name, count) in
        [("first", 1), ("same time", 1), ("meanwhile", 1), ("after", 1), ("refused", 0)]
    {
        assert_eq!(all.matches(&format!(r#""request":"{name}""#)).count(), count, "{name}");
    }
}

#[tokio::test]
async fn a_log_whose_disk_does_not_answer_is_closed_all_the_same() {
    let desk = Desk::new();
    let patience = Duration::from_millis(500);
    let config = Config { mode: Mode::Required, segment: 1, patience, ..desk.config() };
    let log = desk.open(&config);
    log.commit(&record("before")).await.unwrap();
    let hung = hang(&desk);
    assert_eq!(log.commit(&record("first")).await, Err(NotRecorded));
    log.close();
    assert!(!log.append(&record("late")) && !log.works().await);
    // What it was about to do it may do yet.
    answer(hung);
}

#[tokio::test]
async fn nobody_waits_for_a_writer_that_panicked() {
    let desk = Desk::new();
    let (calls, key) = (std::sync::atomic::AtomicU32::new(0), Arc::clone(&desk.key));
    let signer: Signer = Arc::new(move || {
        let is_first = calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        assert!(is_first, "it was told to");
        Some(Arc::clone(&key))
    });
    let config = Config { mode: Mode::Required, checkpoint: 1, ..desk.config() };
    let log = DecisionLog::open(&config, &Node::for_tests(1), signer).unwrap();
    assert_eq!(log.commit(&record("first")).await, Err(NotRecorded));
    log.fallen().await;
    assert_eq!(log.commit(&record("second")).await, Err(NotRecorded));
    assert!(!log.append(&record("third")));
    log.close();
}

#[test]
fn a_damaged_end_is_not_written_on() {
    let desk = Desk::filled(3);
    let file = desk.segments().pop().unwrap();
    fs::write(&file, "not a log\n").unwrap();
    let refused = DecisionLog::open(&desk.config(), &Node::for_tests(1), desk.signer());
    assert!(matches!(refused, Err(Unusable::Damaged { .. })));
}

#[test]
fn each_checkpoint_is_signed_with_the_key_of_its_time() {
    let desk = Desk::new();
    let later = Arc::new(SigningKey::generate(Algorithm::Es256).unwrap());
    let now = Arc::new(parking_lot::Mutex::new(Some(Arc::clone(&desk.key))));
    let signer: Signer = {
        let now = Arc::clone(&now);
        Arc::new(move || now.lock().clone())
    };
    let log = DecisionLog::open(&desk.config(), &Node::for_tests(1), signer).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let commit = || {
        // As many as a checkpoint comes after.
        for number in 0..5 {
            assert!(log.append(&record(&number.to_string())));
        }
        runtime.block_on(log.commit(&record("last"))).unwrap();
    };
    commit();
    *now.lock() = Some(Arc::clone(&later));
    commit();
    // While there is no key, the last one signs on.
    *now.lock() = None;
    log.close();
    let verifying = VerifyingKey::from_jwk(later.jwk()).unwrap();
    let asked = parking_lot::Mutex::new(Vec::new());
    let key = |kid: &str| {
        asked.lock().push(kid.to_owned());
        [&desk.verifying, &verifying].into_iter().find(|key| key.kid().as_str() == kid)
    };
    verify(desk.directory.path(), &key, &Known::default()).unwrap();
    let asked = asked.into_inner();
    assert_eq!(asked.first().map(String::as_str), Some(desk.verifying.kid().as_str()));
    assert_eq!(asked.last().map(String::as_str), Some(verifying.kid().as_str()));
    let refused = DecisionLog::open(&desk.config(), &Node::for_tests(1), Arc::new(|| None));
    assert!(matches!(refused, Err(Unusable::NoKey)));
}

/// A log with a name, and where it was when that was last told.
struct Named {
    desk: Desk,
    anchor: Option<Anchor>,
}

impl Named {
    fn new() -> Self {
        Self { desk: Desk::new(), anchor: None }
    }

    fn config(&self) -> Config {
        let (chain, anchor) = (Some("one".to_owned()), self.anchor.clone());
        Config { chain, anchor, mode: Mode::Required, ..self.desk.config() }
    }

    /// A run with so many decisions. One that is not closed ends as a process does that is killed.
    async fn run(&mut self, count: u64, closed: bool) {
        let log = self.desk.open(&self.config());
        for number in 0..count {
            log.commit(&record(&number.to_string())).await.unwrap();
        }
        let heads = log.heads();
        if closed {
            log.close();
            self.anchor = heads.borrow().clone();
            return;
        }
        self.anchor = heads.borrow().clone();
        let left = Desk { directory: tempfile::tempdir().unwrap(), ..self.desk.twin() };
        copy(self.desk.directory.path(), left.directory.path());
        self.desk = left;
    }

    fn known(&self) -> Known {
        let anchors = self.anchor.clone().into_iter().collect();
        Known { chain: Some("one".to_owned()), anchors, ..Known::default() }
    }

    fn found(&self) -> Altered {
        self.desk.verify(&self.known()).unwrap_err()
    }
}

impl Desk {
    /// Another place with the same keys.
    fn twin(&self) -> Self {
        let verifying = VerifyingKey::from_jwk(self.key.jwk()).unwrap();
        Self { directory: tempfile::tempdir().unwrap(), key: Arc::clone(&self.key), verifying }
    }
}

fn copy(from: &Path, to: &Path) {
    for number in segment::list(from).unwrap() {
        fs::copy(segment::path(from, number), segment::path(to, number)).unwrap();
    }
}

/// Three runs, the second of which was killed, with so many decisions each.
async fn three_runs(each: u64) -> Named {
    let mut log = Named::new();
    log.run(each, true).await;
    log.run(each + 1, false).await;
    log.run(each, true).await;
    log.desk.verify(&log.known()).unwrap();
    log
}

#[tokio::test]
async fn any_byte_of_three_runs_and_a_crash_is_named() {
    let log = three_runs(2).await;
    for file in log.desk.segments() {
        let bytes = fs::read(&file).unwrap();
        for place in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << (place % 8);
            fs::write(&file, &changed).unwrap();
            let found = log.found();
            let line = 1 + bytes[..place].iter().filter(|byte| **byte == b'\n').count();
            let line = u64::try_from(line).unwrap();
            assert_eq!(found.file, file, "byte {place}: {found}");
            assert!((line..=line + 1).contains(&found.line), "byte {place}: {found}");
        }
        fs::write(&file, &bytes).unwrap();
    }
    log.desk.verify(&log.known()).unwrap();
}

#[tokio::test]
async fn the_newest_segment_after_a_restart_cannot_be_dropped_unseen() {
    let log = three_runs(7).await;
    let files = log.desk.segments();
    assert!(files.len() > 3);
    // Each by itself, and each with all that follow.
    for place in 0..files.len() {
        for suffix in [false, true] {
            let gone = if suffix { &files[place..] } else { &files[place..=place] };
            let kept: Vec<_> = gone.iter().map(|file| fs::read(file).unwrap()).collect();
            gone.iter().for_each(|file| fs::remove_file(file).unwrap());
            let found = log.found();
            let expected = match (suffix, place) {
                (true, 0) => (log.desk.directory.path(), Found::Nothing),
                _ => (files[place].as_path(), Found::Removed),
            };
            assert_eq!((found.file.as_path(), found.what.clone()), expected, "{found}");
            let is_end = suffix || place + 1 == files.len();
            assert!(!is_end || found.to_string().contains("up to segment"), "{found}");
            gone.iter().zip(kept).for_each(|(file, bytes)| fs::write(file, bytes).unwrap());
        }
    }
    // Whole lines, down to any checkpoint and beyond.
    let last = files.last().unwrap();
    let text = fs::read_to_string(last).unwrap();
    let lines: Vec<_> = text.lines().collect();
    for keep in 1..lines.len() {
        fs::write(last, lines[..keep].join("\n") + "\n").unwrap();
        assert_eq!((&log.found().file, log.found().what), (last, Found::Shortened), "{keep}");
    }
}

#[tokio::test]
async fn an_empty_directory_is_not_a_sound_log() {
    let mut log = three_runs(7).await;
    for file in log.desk.segments() {
        fs::remove_file(file).unwrap();
    }
    let found = log.found();
    assert_eq!(found.what, Found::Nothing);
    assert!(found.expected.unwrap().contains(&log.anchor.as_ref().unwrap().hash));
    // A run that finds it so does not make it sound.
    let before = log.anchor.clone().unwrap();
    log.run(3, true).await;
    assert!(log.anchor.as_ref().unwrap().number > before.number);
    let found = log.found();
    assert_eq!(found.what, Found::Removed);
    assert_eq!(found.file, segment::path(log.desk.directory.path(), 1));
    // Whoever moved it away on purpose says so.
    let known = Known { first: before.segment + 1, ..log.known() };
    log.desk.verify(&known).unwrap();
}

#[tokio::test]
async fn an_older_copy_of_the_log_is_found() {
    let mut log = Named::new();
    log.run(7, true).await;
    let older = log.desk.twin();
    copy(log.desk.directory.path(), older.directory.path());
    let before = log.desk.segments().len();
    log.run(30, true).await;
    log.desk.verify(&log.known()).unwrap();
    let gone = segment::path(older.directory.path(), u64::try_from(before + 1).unwrap());
    log.desk = older;
    let found = log.found();
    assert_eq!((&found.file, found.what), (&gone, Found::Removed));
    // Whoever goes on from there cannot hide it.
    for _ in 0..2 {
        log.run(30, true).await;
        let found = log.found();
        assert_eq!((&found.file, found.what), (&gone, Found::Removed));
    }
}

/// Writes a segment anew from a line on, with hashes that are right.
fn rewrite(file: &Path, from: usize, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let mut rewritten: Vec<String> = lines[..from].iter().map(ToString::to_string).collect();
    let (mut hash, _) = segment::line(lines[from - 1].as_bytes()).unwrap();
    for line in &lines[from..] {
        let record = change(&line[65..]);
        hash = segment::chain(&hash, record.as_bytes());
        rewritten.push(format!("{} {record}", segment::hex(&hash)));
    }
    fs::write(file, rewritten.join("\n") + "\n").unwrap();
}

#[tokio::test]
async fn a_tail_rewritten_with_right_hashes_is_found_after_a_second() {
    let mut log = Named::new();
    log.run(7, true).await;
    // A run that is killed: its last records are not signed yet.
    let desk = log.desk.twin();
    copy(log.desk.directory.path(), desk.directory.path());
    let config = Config { checkpoint: u64::MAX, segment: u64::MAX, ..log.config() };
    log.desk = desk;
    let config = Config { directory: log.desk.directory.path().to_owned(), ..config };
    let open = log.desk.open(&config);
    open.commit(&record("theft")).await.unwrap();
    let file = log.desk.segments().pop().unwrap();
    let heads = open.heads();
    let begun = heads.borrow().clone();
    let forge = |record: &str| record.replace("theft", "alibi");
    let young = log.desk.twin();
    copy(log.desk.directory.path(), young.directory.path());
    rewrite(&segment::path(young.directory.path(), log.desk.segments().len() as u64), 1, forge);
    // So far nothing vouches for it, and that is said.
    let known = Known { anchors: begun.into_iter().collect(), ..log.known() };
    assert!(young.verify(&known).unwrap().unsigned > 0);
    open.close();
    log.anchor = heads.borrow().clone();
    // From the checkpoint on it is found; without it, too, because the store knows of it.
    rewrite(&file, 1, forge);
    assert_eq!(log.found().what, Found::Checkpoint);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    fs::write(&file, lines[..lines.len() - 1].join("\n") + "\n").unwrap();
    assert_eq!(log.found().what, Found::Shortened);
    let last = lines[lines.len() - 2];
    let (hash, _) = segment::line(last.as_bytes()).unwrap();
    let filler = r#"{"request":"filler"}"#;
    let hash = segment::hex(&segment::chain(&hash, filler.as_bytes()));
    let filled = format!("{}\n{hash} {filler}\n", lines[..lines.len() - 1].join("\n"));
    fs::write(&file, filled).unwrap();
    let found = log.found();
    assert_eq!((&found.file, found.what), (&file, Found::Rewritten));
    // Whoever goes on from there does not hide it.
    let next = segment::path(log.desk.directory.path(), log.desk.segments().len() as u64 + 1);
    let rewritten = log.anchor.clone();
    log.run(9, true).await;
    let found = log.found();
    assert_eq!((&found.file, found.line, found.what), (&next, 1, Found::Altered));
    assert_ne!(log.anchor, rewritten);
}

#[tokio::test]
async fn the_log_of_another_node_in_its_place_is_found() {
    let mut log = Named::new();
    log.run(7, true).await;
    let other = log.desk.twin();
    let config = Config { chain: Some("two".to_owned()), ..other.config() };
    other.open(&config).close();
    log.desk = other;
    let found = log.found();
    assert_eq!((found.what, found.line), (Found::Foreign, 1));
    let refused = DecisionLog::open(&log.config(), &Node::for_tests(1), log.desk.signer());
    let config = Config { directory: log.desk.directory.path().to_owned(), ..log.config() };
    drop(refused);
    let refused = DecisionLog::open(&config, &Node::for_tests(1), log.desk.signer());
    assert!(matches!(refused, Err(Unusable::Damaged { .. })));
}

#[tokio::test]
async fn a_reader_goes_on_where_it_was_without_a_gap_or_a_repeat() {
    let log = three_runs(7).await;
    let directory = log.desk.directory.path();
    let all = || {
        let mut reader = Reader::from_segment(directory, None).unwrap();
        let mut entries = Vec::new();
        while let Some(entry) = reader.next().unwrap() {
            entries.push(entry);
        }
        entries
    };
    let entries = all();
    assert_eq!(entries.len() as u64, log.desk.verify(&log.known()).unwrap().records);
    let numbers: Vec<_> = entries.iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, (1..=entries.len() as u64).collect::<Vec<_>>());
    // From each place.
    for cut in 0..=entries.len() {
        let position = match cut {
            0 => Position::start(),
            cut => entries[cut - 1].position(),
        };
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        let mut reader = Reader::after(directory, &position).unwrap();
        for entry in &entries[cut..] {
            assert_eq!(reader.next().unwrap().as_ref(), Some(entry));
        }
        assert!(reader.next().unwrap().is_none());
        assert_eq!(reader.position(), entries.last().unwrap().position());
    }
    // Another line stands there, or none.
    let mut wrong = entries[4].position();
    wrong.hash = entries[5].hash.clone();
    assert!(matches!(Reader::after(directory, &wrong), Err(Stopped::Elsewhere(_))));
    wrong.number = entries.len() as u64 + 1;
    assert!(matches!(Reader::after(directory, &wrong), Err(Stopped::Elsewhere(_))));
    // What was moved away before it was read is missed, and what was read is not.
    let files = log.desk.segments();
    let second = entries.iter().position(|entry| entry.segment == 2).unwrap();
    let third = entries.iter().position(|entry| entry.segment == 3).unwrap();
    fs::remove_file(&files[0]).unwrap();
    let mut reader = Reader::after(directory, &entries[second - 1].position()).unwrap();
    assert_eq!(reader.next().unwrap().as_ref(), Some(&entries[second]));
    let gone = Reader::after(directory, &entries[1].position()).unwrap_err();
    assert!(matches!(gone, Stopped::Gone { after: 3, segment: 2, .. }), "{gone}");
    assert!(matches!(Reader::after(directory, &Position::start()), Err(Stopped::Gone { .. })));
    assert!(matches!(Reader::from_segment(directory, Some(1)), Err(Stopped::Removed(_))));
    // While it is read.
    let mut reader = Reader::from_segment(directory, None).unwrap();
    for entry in &entries[second..third] {
        fs::remove_file(&files[1]).ok();
        assert_eq!(reader.next().unwrap().as_ref(), Some(entry));
    }
    assert_eq!(reader.next().unwrap().as_ref(), Some(&entries[third]));
    let mut reader = Reader::from_segment(directory, Some(3)).unwrap();
    fs::remove_file(&files[3]).unwrap();
    let stopped = std::iter::from_fn(|| reader.next().transpose()).find_map(Result::err).unwrap();
    assert!(matches!(stopped, Stopped::Removed(ref path) if *path == files[3]), "{stopped}");
}

#[tokio::test]
async fn a_reader_follows_a_log_that_is_written_line_by_line() {
    let log = three_runs(7).await;
    let directory = tempfile::tempdir().unwrap();
    let mut reader = None;
    let mut read = Vec::new();
    let mut expected = Vec::new();
    for file in log.desk.segments() {
        let bytes = fs::read(&file).unwrap();
        expected.extend(
            bytes
                .split(|it| *it == b'\n')
                .filter(|it| !it.is_empty())
                .map(|it| String::from_utf8(it[65..].to_vec()).unwrap()),
        );
        let copy = directory.path().join(file.file_name().unwrap());
        // In pieces that end within lines.
        for end in (0..bytes.len()).step_by(97).chain([bytes.len()]) {
            fs::write(&copy, &bytes[..end]).unwrap();
            let reader =
                reader.get_or_insert_with(|| Reader::from_segment(directory.path(), None).unwrap());
            while let Some(entry) = reader.next().unwrap() {
                read.push(entry.record);
            }
        }
    }
    assert_eq!(read, expected);
}

#[tokio::test]
async fn a_log_is_held_against_where_that_of_its_name_was() {
    let log = three_runs(3).await;
    let own = log.anchor.clone().unwrap();
    let other = Anchor { chain: "two".to_owned(), number: 9999, ..own.clone() };
    let known = Known { anchors: vec![other.clone(), own.clone()], ..Known::default() };
    let sound = log.desk.verify(&known).unwrap();
    assert_eq!((sound.chain.as_deref(), sound.anchor), (Some("one"), Some(own.clone())));
    let missing = Anchor { number: own.number + 1, ..own };
    let known = Known { anchors: vec![other, missing], ..Known::default() };
    assert_eq!(log.desk.verify(&known).unwrap_err().what, Found::Shortened);
    // One of before logs had names is proven as ever.
    let unnamed = Desk::filled(3);
    assert_eq!(unnamed.verify(&known).unwrap().anchor, None);
}

#[test]
fn what_comes_quickly_does_not_wait_to_be_much() {
    let queue = Arc::new(Queue::new(8 << 20, Duration::from_secs(5)));
    let (sender, taken) = std::sync::mpsc::channel();
    let writer = std::thread::spawn({
        let queue = Arc::clone(&queue);
        move || {
            let mut buffer = Vec::new();
            queue.take(&mut buffer, Duration::from_secs(600));
            sender.send(buffer.len()).unwrap();
        }
    });
    for _ in 0..600 {
        queue.push(&[b'a'; 1024], false).unwrap();
    }
    let size = taken.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!((512 * 1024..=600 * 1028).contains(&size), "{size}");
    writer.join().unwrap();
}
