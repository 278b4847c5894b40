//! The one thread that writes.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tegata_core::{Node, SinceBoot};
use tegata_token::{KeyRefused, SigningKey, jws};
use tokio::sync::watch;

use super::{
    Anchor, Config, GATHER, Signer, Unusable, anchor,
    queue::{self, Queue, Taken},
    segment::{self, CHECKPOINT, Hash, NOTHING, Own, Statement, Then},
};

/// After how long what stands unsigned is signed. Whoever can write the files can rewrite what is younger.
const SIGNED_WITHIN: Duration = Duration::from_secs(1);

/// How often at most the log of the program is told how far the log of decisions is.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// After how long a write that failed is tried again.
const AGAIN: Duration = Duration::from_millis(50);

/// While the log cannot be written, one attempt of so many is told: one in ten seconds.
const TOLD_OF: u32 = 200;

/// How long nothing is asked to sign after it could not.
const PUT_OFF: Duration = Duration::from_secs(5);

/// Of a write that failed, how often the writer tries again when it is told to stop.
const LAST_TRIES: u32 = 3;

/// How something is appended to a segment and made durable.
type Append = fn(&mut File, &[u8]) -> io::Result<()>;

/// Writes the records of a queue.
pub(super) struct Writer {
    config: Config,
    node: Node,
    signer: Signer,
    /// The key that signed last, or will sign first.
    key: Arc<SigningKey>,
    queue: Arc<Queue>,
    /// The segment; `None`: an attempt failed, and nothing is written before it has been taken back.
    file: Option<File>,
    chain: Chain,
    /// The last segment whose file was made. Beyond that of `chain`, by an attempt that failed.
    begun: u64,
    /// Makes durable which files there are.
    sync_directory: fn(&Path) -> io::Result<()>,
    /// Appends to a segment and makes that durable.
    append: Append,
    /// How many bytes of an unfinished line were cut off the last segment, where the first one of this run
    /// has not been begun: it is, as soon as there is room.
    starting: Option<u64>,
    /// How many lost records have been recorded.
    lost: u64,
    /// Since when something stands unsigned.
    unsigned_since: Option<SinceBoot>,
    /// When what signs was away.
    put_off: Option<SinceBoot>,
    /// When the log of the program was told of one.
    told: Option<SinceBoot>,
    /// The last checkpoint, until it is durable and that was told.
    unsaid: Option<Statement>,
    /// Where the log is, for whoever keeps that elsewhere: where a segment begins, and checkpoints.
    head: Option<Anchor>,
    heads: watch::Sender<Option<Anchor>>,
}

/// Where the log is. Copied before an attempt, and put back where it fails.
#[derive(Debug, Clone, Copy)]
struct Chain {
    segment: u64,
    /// How many records the log has.
    number: u64,
    hash: Hash,
    /// How large the segment is.
    size: u64,
    /// How many records came since the last checkpoint.
    unsigned: u64,
}

impl Writer {
    /// Goes on after the last record of the directory, in a new segment; or after what is known of it from
    /// elsewhere, where that is further on: what is missing stays to be seen. Where there is no room to
    /// begin, that is tried again until there is.
    pub(super) fn open(
        config: &Config,
        node: &Node,
        signer: Signer,
        (queue, heads): (Arc<Queue>, watch::Sender<Option<Anchor>>),
    ) -> Result<Self, Unusable> {
        let key = signer().ok_or(Unusable::NoKey)?;
        let io = |error| Unusable::Io { path: config.directory.clone(), error };
        let found = match segment::list(&config.directory) {
            Ok(segments) => segments.last().map(|last| find_end(config, *last)).transpose()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        let mut end = found.unwrap_or(End { segment: 0, number: 0, hash: NOTHING, torn: 0 });
        if let Some(known) = &config.anchor
            && !anchor::stands_in(&config.directory, known).map_err(io)?
        {
            let Anchor { segment, number, .. } = *known;
            tracing::error!(segment, number, directory = %config.directory.display(),
                "the decision log is not what it was: its end was removed or rewritten, or an older \
                 copy stands in its place; `tegata audit-log verify` says where");
            // INVARIANT: what follows is chained to what was there, and so never hides what was done.
            let hash = segment::unhex(known.hash.as_bytes()).unwrap_or(NOTHING);
            let (segment, number) = (segment.max(end.segment), number.max(end.number));
            end = End { segment, number, hash, torn: end.torn };
        }
        let chain = Chain {
            segment: end.segment,
            number: end.number,
            hash: end.hash,
            size: 0,
            unsigned: 0,
        };
        let mut writer = Self {
            config: config.clone(),
            node: node.clone(),
            signer,
            key,
            queue,
            file: None,
            chain,
            begun: chain.segment,
            sync_directory,
            append,
            starting: Some(end.torn),
            lost: 0,
            unsigned_since: None,
            put_off: None,
            told: None,
            unsaid: None,
            head: None,
            heads,
        };
        match writer.recover() {
            Ok(()) => writer.tell(),
            Err(error) if is_full(&error) => {
                tracing::error!(%error, directory = %config.directory.display(),
                    "there is no room for the decision log; trying again");
                writer.queue.note_failing();
            }
            Err(error) => return Err(io(error)),
        }
        Ok(writer)
    }

    /// Writes until the queue is closed.
    pub(super) fn run(mut self) {
        let (mut buffer, mut out) = (Vec::new(), Vec::new());
        self.begin_when_there_is_room();
        loop {
            let taken = self.queue.take(&mut buffer, GATHER);
            let written = self.write_all(&taken, &buffer, &mut out);
            buffer.clear();
            if written {
                self.sign_what_is_old(&mut out);
            }
            if taken.closed {
                if written {
                    self.close(&mut out);
                }
                break;
            }
        }
        self.queue.note_ended();
    }

    /// Begins the first segment of this run, where there was no room for it: whoever waits for the log to
    /// be there has nothing to write as long as it is not.
    fn begin_when_there_is_room(&mut self) {
        if self.starting.is_none() {
            return;
        }
        let mut tries = 0;
        while let Err(error) = self.recover() {
            tries += 1;
            self.complain(&error, tries);
            // Whoever waits for an attempt hears of each.
            self.queue.note_failing();
            self.queue.pause(AGAIN);
            if self.queue.is_closed() {
                return;
            }
        }
        self.queue.note_working();
        self.tell();
        tracing::info!("over: there is room for the decision log");
    }

    fn complain(&self, error: &io::Error, tries: u32) {
        if tries % TOLD_OF == 1 {
            tracing::error!(%error, directory = %self.config.directory.display(),
                "the decision log cannot be written; trying again");
        }
    }

    /// Writes records until it has worked. Answers `false` where it has not, and the log is told to
    /// stop.
    fn write_all(&mut self, taken: &Taken, buffer: &[u8], out: &mut Vec<u8>) -> bool {
        let lost = self.queue.lost();
        if buffer.is_empty() && lost == self.lost {
            return true;
        }
        let mut tries = 0;
        loop {
            match self.attempt(buffer, lost, out) {
                Ok(()) => {
                    self.lost = lost;
                    self.tell();
                    self.queue.note_written(taken.count);
                    if tries > 0 {
                        tracing::info!(tries, "over: the decision log can be written");
                    }
                    return true;
                }
                Err(error) => {
                    tries += 1;
                    self.complain(&error, tries);
                    self.queue.note_failing();
                    if taken.closed && tries >= LAST_TRIES {
                        return false;
                    }
                    // Waits a moment, or until the log is closed; what comes meanwhile stays.
                    self.queue.pause(AGAIN);
                    if self.queue.is_closed() && tries >= LAST_TRIES {
                        return false;
                    }
                }
            }
        }
    }

    /// Writes records, all of them or none.
    fn attempt(&mut self, buffer: &[u8], lost: u64, out: &mut Vec<u8>) -> io::Result<()> {
        self.recover()?;
        let before = self.chain;
        out.clear();
        self.write(buffer, lost, out).inspect_err(|_| self.take_back(before))
    }

    fn write(&mut self, buffer: &[u8], lost: u64, out: &mut Vec<u8>) -> io::Result<()> {
        if lost > self.lost {
            let own = Own::Lost { count: lost - self.lost, at: self.node.now().millis() };
            self.add_own(out, &own);
        }
        for record in queue::records(buffer) {
            self.add(out, record);
            if self.chain.unsigned >= self.config.checkpoint {
                self.checkpoint_or_later(out, Then::More)?;
            }
            if self.chain.size >= self.config.segment
                && self.checkpoint_or_later(out, Then::Next)?
            {
                self.put(out)?;
                out.clear();
                self.next_segment(out, 0)?;
            }
        }
        self.put(out)
    }

    /// Signs what has stood unsigned for a while, so that of a log that grows slowly, too, little can be
    /// rewritten or cut off unseen. Where nothing comes, nothing is signed.
    fn sign_what_is_old(&mut self, out: &mut Vec<u8>) {
        // What was signed too soon after the last to be told then.
        self.tell();
        let is_old = |since: SinceBoot| self.node.elapsed(since) >= SIGNED_WITHIN;
        let is_put_off = self.put_off.is_some_and(|at| self.node.elapsed(at) < PUT_OFF);
        if is_put_off || !self.unsigned_since.is_some_and(is_old) {
            return;
        }
        out.clear();
        let before = self.chain;
        let signed = self.recover().and_then(|()| self.checkpoint(out, Then::More));
        match signed.and_then(|()| self.put(out)) {
            Ok(()) => {
                self.put_off = None;
                self.tell();
            }
            Err(error) => {
                // Not each round where it fails, and not a line each time.
                if self.put_off.is_none() {
                    tracing::warn!(%error, "the end of the decision log is not signed");
                }
                self.put_off = Some(self.node.since_boot());
                self.take_back(before);
            }
        }
    }

    /// Ends the log with a checkpoint.
    fn close(&mut self, out: &mut Vec<u8>) {
        if self.starting.is_some() {
            return;
        }
        out.clear();
        let before = self.chain;
        match self.checkpoint(out, Then::Closed).and_then(|()| self.put(out)) {
            Ok(()) => self.tell(),
            Err(error) => {
                self.head = None;
                tracing::error!(%error, "the decision log ends without its last checkpoint");
                self.take_back(before);
            }
        }
    }

    fn next_segment(&mut self, out: &mut Vec<u8>, torn: u64) -> io::Result<()> {
        let next = self.chain.segment + 1;
        let file = create(&self.config, next)?;
        // From here on it is this attempt's, to be taken back with it.
        self.begun = next;
        (self.sync_directory)(&self.config.directory)?;
        self.file = Some(file);
        self.chain.segment = next;
        self.chain.size = 0;
        self.begin(out, torn);
        Ok(())
    }

    fn begin(&mut self, out: &mut Vec<u8>, torn: u64) {
        let own = Own::Begin {
            segment: self.chain.segment,
            number: self.chain.number,
            node: self.node.id().to_string(),
            at: self.node.now().millis(),
            torn,
            chain: self.config.chain.clone(),
        };
        self.add_own(out, &own);
        self.head = self.anchor();
    }

    /// Where the log is, if it has a name that others could know it by.
    fn anchor(&self) -> Option<Anchor> {
        let Chain { segment, number, hash, .. } = self.chain;
        let (chain, at) = (self.config.chain.clone()?, self.node.now());
        Some(Anchor { chain, segment, number, hash: segment::hex(&hash), at })
    }

    /// A checkpoint, unless what signs is away: a key in a token. What was decided is written down all the
    /// same, in the same segment, and is signed when it is back. Answers whether it was made.
    fn checkpoint_or_later(&mut self, out: &mut Vec<u8>, then: Then) -> io::Result<bool> {
        if self.put_off.is_some_and(|at| self.node.elapsed(at) < PUT_OFF) {
            return Ok(false);
        }
        match self.checkpoint(out, then) {
            Ok(()) => {
                self.put_off = None;
                Ok(true)
            }
            Err(error) if is_about_a_vault(&error) => {
                tracing::warn!(%error, "the decision log goes on unsigned");
                self.put_off = Some(self.node.since_boot());
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn checkpoint(&mut self, out: &mut Vec<u8>, then: Then) -> io::Result<()> {
        let statement = Statement {
            segment: self.chain.segment,
            number: self.chain.number,
            hash: segment::hex(&self.chain.hash),
            at: self.node.now().millis(),
            then,
        };
        let signed = serde_json::to_vec(&statement)?;
        if let Some(key) = (self.signer)() {
            self.key = key;
        }
        let jws = jws::sign_waiting(&self.key, CHECKPOINT, &signed).map_err(io::Error::other)?;
        self.add_own(out, &Own::Checkpoint { jws });
        self.chain.unsigned = 0;
        self.unsigned_since = None;
        self.unsaid = Some(statement);
        // With the checkpoint's own record, so that it cannot be cut off unseen either.
        self.head = self.anchor();
        Ok(())
    }

    /// Tells how far the log is: whoever keeps that elsewhere, and now and then the log of the program, which
    /// is elsewhere where that is shipped. What is cut off behind a checkpoint that somebody knows is found.
    fn tell(&mut self) {
        if let Some(head) = self.head.take() {
            self.heads.send_replace(Some(head));
        }
        let is_due = |told: SinceBoot| self.node.elapsed(told) >= TOLD_EVERY;
        let is_due = self.told.is_none_or(is_due);
        let told = self.unsaid.take_if(|it| is_due || it.then != Then::More);
        let Some(statement) = told else { return };
        self.told = Some(self.node.since_boot());
        let Statement { segment, number, hash, .. } = statement;
        tracing::info!(segment, number, hash, "a checkpoint of the decision log");
    }

    fn add_own(&mut self, out: &mut Vec<u8>, own: &Own) {
        // Texts and numbers always have a JSON form.
        let record = serde_json::to_vec(own).unwrap_or_default();
        self.add(out, &record);
    }

    fn add(&mut self, out: &mut Vec<u8>, record: &[u8]) {
        let start = out.len();
        self.chain.hash = segment::chain(&self.chain.hash, record);
        segment::write_hex(out, &self.chain.hash);
        out.push(b' ');
        out.extend_from_slice(record);
        out.push(b'\n');
        self.chain.number += 1;
        self.chain.unsigned += 1;
        self.unsigned_since.get_or_insert_with(|| self.node.since_boot());
        self.chain.size += u64::try_from(out.len() - start).unwrap_or(u64::MAX);
    }

    /// Writes and makes durable.
    fn put(&mut self, out: &[u8]) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        let file = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        (self.append)(file, out)
    }

    /// Undoes an attempt that failed; where the disk does not let it, before the next one.
    fn take_back(&mut self, before: Chain) {
        self.chain = before;
        self.file = None;
        self.unsaid = None;
        self.head = None;
        self.unsigned_since = (before.unsigned > 0).then(|| self.node.since_boot());
        if let Err(error) = self.recover() {
            tracing::error!(%error, "the decision log may hold a part of what was not written");
        }
    }

    /// Brings the files back to where the log is: removes segments that were begun beyond it, finds
    /// its segment again, and cuts off what was written behind its end.
    fn recover(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            return Ok(());
        }
        while self.begun > self.chain.segment {
            match fs::remove_file(segment::path(&self.config.directory, self.begun)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => self.begun -= 1,
            }
        }
        if let Some(torn) = self.starting {
            return self.start(torn);
        }
        let path = segment::path(&self.config.directory, self.chain.segment);
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(self.chain.size)?;
        file.seek(SeekFrom::End(0))?;
        self.file = Some(file);
        Ok(())
    }
}

impl Writer {
    /// Begins the first segment of this run.
    fn start(&mut self, torn: u64) -> io::Result<()> {
        // Decisions name people and addresses: they are the server's alone.
        DirBuilder::new().recursive(true).mode(0o700).create(&self.config.directory)?;
        let before = self.chain;
        let mut out = Vec::new();
        let begun = self.next_segment(&mut out, torn).and_then(|()| self.put(&out));
        if let Err(error) = begun {
            // What was begun is removed before the next attempt.
            self.chain = before;
            self.file = None;
            self.head = None;
            self.unsigned_since = None;
            return Err(error);
        }
        self.starting = None;
        Ok(())
    }
}

/// Whether there is no room.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Makes the file of a segment. Whoever writes the same directory at once finds it there.
fn create(config: &Config, segment: u64) -> io::Result<File> {
    let path = segment::path(&config.directory, segment);
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// INVARIANT: after an error, all that this was given is written anew before it counts. A system that could not
/// write a page says so once, and forgets the page.
fn append(file: &mut File, out: &[u8]) -> io::Result<()> {
    file.write_all(out)?;
    file.sync_data()
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

/// Where a log ends.
struct End {
    segment: u64,
    number: u64,
    hash: Hash,
    torn: u64,
}

/// Reads the last segment, and cuts off a line that was not finished.
fn find_end(config: &Config, last: u64) -> Result<End, Unusable> {
    let path: PathBuf = segment::path(&config.directory, last);
    let io = |error| Unusable::Io { path: path.clone(), error };
    let damaged =
        |detail: &str| Unusable::Damaged { path: path.clone(), detail: detail.to_owned() };
    let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(io)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(io)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let torn = u64::try_from(bytes.len() - whole).unwrap_or(u64::MAX);
    if torn > 0 {
        file.set_len(u64::try_from(whole).unwrap_or(0)).map_err(io)?;
        file.sync_all().map_err(io)?;
        bytes.truncate(whole);
    }
    let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let first = lines.clone().next();
    let Some(first) = first else {
        // Nothing was finished: the segment is begun again.
        fs::remove_file(&path).map_err(io)?;
        return match last.checked_sub(1).filter(|before| *before > 0) {
            Some(before) => find_end(config, before),
            None => Ok(End { segment: 0, number: 0, hash: NOTHING, torn }),
        };
    };
    let begin = segment::line(first).and_then(|(_, record)| serde_json::from_slice(record).ok());
    let Some(Own::Begin { number, chain, .. }) = begin else {
        return Err(damaged("the last segment has no beginning"));
    };
    if config.chain.is_some() && chain.is_some() && chain != config.chain {
        return Err(damaged("this is the log of another node"));
    }
    let count = u64::try_from(lines.clone().count()).unwrap_or(u64::MAX);
    let end = lines.next_back().and_then(segment::line);
    let (hash, _) = end.ok_or_else(|| damaged("the last line has no hash"))?;
    Ok(End { segment: last, number: number + count, hash, torn })
}

/// Whether a key that is in a token did not sign.
fn is_about_a_vault(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<KeyRefused>());
    matches!(inner, Some(KeyRefused::Vault(_) | KeyRefused::NotOurs(_)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use tegata_core::{
        BoxFuture, ManualClock, SeededEntropy,
        port::{KeyInVault, PublicHalf, Scheme, Vault, VaultRefused},
    };
    use tegata_token::{Algorithm, VerifyingKey};

    use super::{
        super::{Known, verify},
        *,
    };

    /// A writer that begins a segment with each record, and one such record.
    fn writer(directory: &Path) -> (Writer, Vec<u8>) {
        let config = Config { segment: 1, ..Config::at(directory) };
        let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
        let signer: Signer = Arc::new(move || Some(Arc::clone(&key)));
        let queue = Arc::new(Queue::new(config.queue, config.patience));
        let heads = watch::Sender::new(None);
        let writer = Writer::open(&config, &Node::for_tests(1), signer, (queue, heads)).unwrap();
        let record = br#"{"request":"1"}"#;
        let len = u32::try_from(record.len()).unwrap().to_le_bytes();
        (writer, [&len[..], record].concat())
    }

    fn attempt(writer: &mut Writer, buffer: &[u8]) -> bool {
        writer.attempt(buffer, 0, &mut Vec::new()).is_ok()
    }

    /// How often the record stands in the log, and in how many segments the log is.
    fn found(directory: &Path) -> (usize, usize) {
        let segments = segment::list(directory).unwrap();
        let count = |segment: &u64| {
            let text = fs::read_to_string(segment::path(directory, *segment)).unwrap();
            text.matches(r#"{"request":"1"}"#).count()
        };
        (segments.iter().map(count).sum(), segments.len())
    }

    #[test]
    fn a_segment_whose_name_cannot_be_made_durable_is_begun_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut writer, buffer) = writer(directory.path());
        writer.sync_directory = |_| Err(io::ErrorKind::QuotaExceeded.into());
        for _ in 0..3 {
            assert!(!attempt(&mut writer, &buffer));
            assert_eq!(found(directory.path()), (0, 1));
        }
        writer.sync_directory = sync_directory;
        assert!(attempt(&mut writer, &buffer));
        assert_eq!(found(directory.path()), (1, 2));
    }

    /// `EIO`.
    const BROKEN: i32 = 5;

    #[test]
    fn what_a_broken_disk_took_a_part_of_is_written_anew_and_stands_once() {
        let directory = tempfile::tempdir().unwrap();
        let (mut writer, buffer) = writer(directory.path());
        let ways: [Append; 3] = [
            |_, _| Err(io::Error::from_raw_os_error(BROKEN)),
            // In the middle of a line.
            |file, out| {
                file.write_all(&out[..out.len() / 2])?;
                Err(io::Error::from_raw_os_error(BROKEN))
            },
            // All of it is there, but nobody knows for how long.
            |file, out| {
                file.write_all(out)?;
                Err(io::Error::from_raw_os_error(BROKEN))
            },
        ];
        // A record follows in the segment, and one begins the next.
        for (size, segments) in [(u64::MAX, 1), (1, 2), (1, 3)] {
            writer.config.segment = size;
            let before = found(directory.path());
            for way in ways {
                writer.append = way;
                assert!(!attempt(&mut writer, &buffer));
                assert_eq!(found(directory.path()), before);
            }
            writer.append = append;
            assert!(attempt(&mut writer, &buffer));
            assert_eq!(found(directory.path()), (before.0 + 1, segments));
        }
        let key = VerifyingKey::from_jwk(writer.key.jwk()).unwrap();
        writer.close(&mut Vec::new());
        verify(directory.path(), &|_| Some(&key), &Known::default()).unwrap();
    }

    #[test]
    fn what_stands_unsigned_for_a_second_is_signed_once() {
        let directory = tempfile::tempdir().unwrap();
        let (mut writer, buffer) = writer(directory.path());
        writer.config.segment = u64::MAX;
        let clock = Arc::new(ManualClock::default());
        writer.node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        writer.unsigned_since = None;
        let checkpoints = || {
            let text = fs::read_to_string(segment::path(directory.path(), 1)).unwrap();
            text.matches(r#""log":"checkpoint""#).count()
        };
        // However long nothing came before.
        clock.advance(SIGNED_WITHIN * 100);
        assert!(attempt(&mut writer, &buffer));
        let mut out = Vec::new();
        writer.sign_what_is_old(&mut out);
        assert_eq!(checkpoints(), 0);
        clock.advance(SIGNED_WITHIN / 2);
        assert!(attempt(&mut writer, &buffer));
        clock.advance(SIGNED_WITHIN / 2);
        for _ in 0..3 {
            writer.sign_what_is_old(&mut out);
            assert_eq!((checkpoints(), writer.chain.unsigned), (1, 0));
            clock.advance(SIGNED_WITHIN);
        }
        // It goes on from there.
        assert!(attempt(&mut writer, &buffer));
        writer.sign_what_is_old(&mut out);
        assert_eq!(checkpoints(), 1);
        clock.advance(SIGNED_WITHIN);
        writer.sign_what_is_old(&mut out);
        assert_eq!(checkpoints(), 2);
    }

    /// A vault with one key, which may be away.
    struct Chest {
        key: SigningKey,
        away: AtomicBool,
    }

    impl Chest {
        fn signed(&self, message: &[u8]) -> Result<Vec<u8>, VaultRefused> {
            if self.away.load(Ordering::Acquire) {
                return Err(VaultRefused::Unavailable { detail: "it is away".to_owned() });
            }
            Ok(self.key.sign(message).unwrap())
        }
    }

    impl Vault for Chest {
        fn make(&self, _: Scheme) -> BoxFuture<'_, Result<KeyInVault, VaultRefused>> {
            let x = URL_SAFE_NO_PAD.decode(self.key.jwk().x.as_deref().unwrap()).unwrap();
            let made = KeyInVault { handle: Vec::new(), public: PublicHalf::Ed25519(x) };
            Box::pin(std::future::ready(Ok(made)))
        }

        fn sign<'a>(
            &'a self,
            _: &'a [u8],
            _: Scheme,
            message: &'a [u8],
        ) -> BoxFuture<'a, Result<Vec<u8>, VaultRefused>> {
            Box::pin(std::future::ready(self.signed(message)))
        }

        fn sign_waiting(&self, _: &[u8], _: Scheme, m: &[u8]) -> Result<Vec<u8>, VaultRefused> {
            self.signed(m)
        }

        fn destroy<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<(), VaultRefused>> {
            Box::pin(std::future::ready(Ok(())))
        }

        fn trouble(&self, _: &[u8]) -> Option<String> {
            None
        }

        fn signed_within(&self, _: Duration) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn what_a_token_does_not_sign_is_written_and_signed_when_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let (mut writer, buffer) = writer(directory.path());
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let chest = Arc::new(Chest { key, away: AtomicBool::new(false) });
        let vault: Arc<dyn Vault> = Arc::clone(&chest) as _;
        let key = Arc::new(SigningKey::make(&vault, Algorithm::EdDsa).await.unwrap());
        writer.signer = Arc::new(move || Some(Arc::clone(&key)));
        let clock = Arc::new(ManualClock::default());
        writer.node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        // A segment would begin with each record, and each would be signed.
        chest.away.store(true, Ordering::Release);
        for count in 1..=3 {
            assert!(attempt(&mut writer, &buffer));
            assert_eq!(found(directory.path()), (count, 1));
        }
        chest.away.store(false, Ordering::Release);
        // Whoever was away a moment ago is not asked again with each record.
        assert!(attempt(&mut writer, &buffer));
        assert_eq!((found(directory.path()), writer.chain.unsigned > 0), ((4, 1), true));
        clock.advance(PUT_OFF);
        assert!(attempt(&mut writer, &buffer));
        assert_eq!(found(directory.path()), (5, 2));
        let text = fs::read_to_string(segment::path(directory.path(), 1)).unwrap();
        assert_eq!(text.matches(r#""log":"checkpoint""#).count(), 1);
    }

    #[test]
    fn nothing_counts_as_written_while_the_segment_cannot_be_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let (mut writer, buffer) = writer(directory.path());
        let (own, away) = (segment::path(directory.path(), 1), directory.path().join("away"));
        fs::rename(&own, &away).unwrap();
        // It fails when the next segment has been begun, and has to go on with this one.
        writer.sync_directory = |_| Err(io::ErrorKind::QuotaExceeded.into());
        assert!(!attempt(&mut writer, &buffer));
        writer.sync_directory = sync_directory;
        for _ in 0..3 {
            assert!(!attempt(&mut writer, &buffer));
            assert_eq!(found(directory.path()), (0, 0));
        }
        fs::rename(&away, &own).unwrap();
        assert!(attempt(&mut writer, &buffer));
        assert_eq!(found(directory.path()), (1, 2));
    }
}
