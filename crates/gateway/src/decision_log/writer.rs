//! The one thread that writes.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::PathBuf,
    sync::Arc,
};

use tegata_core::Node;
use tegata_token::{SigningKey, jws};

use super::{
    Config, GATHER, Signer, Unusable,
    queue::{self, Queue, Taken},
    segment::{self, CHECKPOINT, Hash, NOTHING, Own, Statement, Then},
};

/// Of a write that failed, how often the writer tries again when it is told to stop.
const LAST_TRIES: u32 = 3;

/// Writes the records of a queue.
pub(super) struct Writer {
    config: Config,
    node: Node,
    signer: Signer,
    /// The key that signed last, or will sign first.
    key: Arc<SigningKey>,
    queue: Arc<Queue>,
    file: File,
    chain: Chain,
    /// How many lost records have been recorded.
    lost: u64,
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
    /// Goes on after the last record of the directory, in a new segment.
    pub(super) fn open(
        config: &Config,
        node: &Node,
        signer: Signer,
        queue: Arc<Queue>,
    ) -> Result<Self, Unusable> {
        let key = signer().ok_or(Unusable::NoKey)?;
        let io = |error| Unusable::Io { path: config.directory.clone(), error };
        // Decisions name people and addresses: they are the server's alone.
        DirBuilder::new().recursive(true).mode(0o700).create(&config.directory).map_err(io)?;
        let last = segment::list(&config.directory).map_err(io)?.last().copied();
        let end = match last {
            Some(last) => find_end(config, last)?,
            None => End { segment: 0, number: 0, hash: NOTHING, torn: 0 },
        };
        let chain = Chain {
            segment: end.segment + 1,
            number: end.number,
            hash: end.hash,
            size: 0,
            unsigned: 0,
        };
        let file = create(config, chain.segment).map_err(io)?;
        let node = node.clone();
        let config = config.clone();
        let mut writer = Self { config, node, signer, key, queue, file, chain, lost: 0 };
        let mut out = Vec::new();
        writer.begin(&mut out, end.torn);
        writer.put(&out).map_err(io)?;
        Ok(writer)
    }

    /// Writes until the queue is closed.
    pub(super) fn run(mut self) {
        let (mut buffer, mut out) = (Vec::new(), Vec::new());
        loop {
            let taken = self.queue.take(&mut buffer, GATHER);
            let written = self.write_all(&taken, &buffer, &mut out);
            buffer.clear();
            if taken.closed {
                if written {
                    self.close(&mut out);
                }
                break;
            }
        }
        self.queue.note_ended();
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
            let before = self.chain;
            out.clear();
            match self.write(buffer, lost, out) {
                Ok(()) => {
                    self.lost = lost;
                    self.queue.note_written(taken.count);
                    return true;
                }
                Err(error) => {
                    tracing::error!(%error, directory = %self.config.directory.display(),
                        "the decision log cannot be written; trying again");
                    self.take_back(before);
                    self.queue.note_failing();
                    tries += 1;
                    if taken.closed && tries >= LAST_TRIES {
                        return false;
                    }
                    // Waits a moment, or until the log is closed; what comes meanwhile stays.
                    self.queue.pause(GATHER);
                    if self.queue.is_closed() && tries >= LAST_TRIES {
                        return false;
                    }
                }
            }
        }
    }

    fn write(&mut self, buffer: &[u8], lost: u64, out: &mut Vec<u8>) -> io::Result<()> {
        if lost > self.lost {
            let own = Own::Lost { count: lost - self.lost, at: self.node.now().millis() };
            self.add_own(out, &own);
        }
        for record in queue::records(buffer) {
            self.add(out, record);
            if self.chain.unsigned >= self.config.checkpoint {
                self.checkpoint(out, Then::More)?;
            }
            if self.chain.size >= self.config.segment {
                self.checkpoint(out, Then::Next)?;
                self.put(out)?;
                out.clear();
                self.next_segment(out)?;
            }
        }
        self.put(out)
    }

    /// Ends the log with a checkpoint.
    fn close(&mut self, out: &mut Vec<u8>) {
        out.clear();
        let before = self.chain;
        if let Err(error) = self.checkpoint(out, Then::Closed).and_then(|()| self.put(out)) {
            tracing::error!(%error, "the decision log ends without its last checkpoint");
            self.take_back(before);
        }
    }

    fn next_segment(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        self.file = create(&self.config, self.chain.segment + 1)?;
        self.chain.segment += 1;
        self.chain.size = 0;
        self.begin(out, 0);
        Ok(())
    }

    fn begin(&mut self, out: &mut Vec<u8>, torn: u64) {
        let own = Own::Begin {
            segment: self.chain.segment,
            number: self.chain.number,
            node: self.node.id().to_string(),
            at: self.node.now().millis(),
            torn,
        };
        self.add_own(out, &own);
    }

    fn checkpoint(&mut self, out: &mut Vec<u8>, then: Then) -> io::Result<()> {
        let statement = Statement {
            segment: self.chain.segment,
            number: self.chain.number,
            hash: segment::hex(&self.chain.hash),
            at: self.node.now().millis(),
            then,
        };
        let statement = serde_json::to_vec(&statement)?;
        if let Some(key) = (self.signer)() {
            self.key = key;
        }
        let jws = jws::sign(&self.key, CHECKPOINT, &statement).map_err(io::Error::other)?;
        self.add_own(out, &Own::Checkpoint { jws });
        self.chain.unsigned = 0;
        Ok(())
    }

    fn add_own(&mut self, out: &mut Vec<u8>, own: &Own) {
        // Texts and numbers always have a JSON form.
        let record = serde_json::to_vec(own).unwrap_or_default();
        self.add(out, &record);
    }

    fn add(&mut self, out: &mut Vec<u8>, record: &[u8]) {
        let start = out.len();
        self.chain.hash = segment::chain(&self.chain.hash, record);
        out.extend_from_slice(segment::hex(&self.chain.hash).as_bytes());
        out.push(b' ');
        out.extend_from_slice(record);
        out.push(b'\n');
        self.chain.number += 1;
        self.chain.unsigned += 1;
        self.chain.size += u64::try_from(out.len() - start).unwrap_or(u64::MAX);
    }

    /// Writes and makes durable.
    fn put(&mut self, out: &[u8]) -> io::Result<()> {
        if out.is_empty() {
            return Ok(());
        }
        self.file.write_all(out)?;
        self.file.sync_data()
    }

    /// Undoes an attempt that failed, as far as the disk lets it.
    fn take_back(&mut self, before: Chain) {
        if self.chain.segment != before.segment {
            // Segments that the attempt began are removed; the one before is gone on with.
            for begun in before.segment + 1..=self.chain.segment {
                let _ = std::fs::remove_file(segment::path(&self.config.directory, begun));
            }
            let path = segment::path(&self.config.directory, before.segment);
            if let Ok(file) = OpenOptions::new().write(true).open(path) {
                self.file = file;
            }
        }
        self.chain = before;
        let cut = self.file.set_len(before.size);
        if let Err(error) = cut.and_then(|()| self.file.seek(SeekFrom::End(0))) {
            tracing::error!(%error, "the decision log may hold a part of what was not written");
        }
    }
}

/// Makes the file of a segment. Whoever writes the same directory at once finds it there.
fn create(config: &Config, segment: u64) -> io::Result<File> {
    let path = segment::path(&config.directory, segment);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    File::open(&config.directory)?.sync_all()?;
    Ok(file)
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
        std::fs::remove_file(&path).map_err(io)?;
        return match last.checked_sub(1).filter(|before| *before > 0) {
            Some(before) => find_end(config, before),
            None => Ok(End { segment: 0, number: 0, hash: NOTHING, torn }),
        };
    };
    let begin = segment::line(first).and_then(|(_, record)| serde_json::from_slice(record).ok());
    let Some(Own::Begin { number, .. }) = begin else {
        return Err(damaged("the last segment has no beginning"));
    };
    let count = u64::try_from(lines.clone().count()).unwrap_or(u64::MAX);
    let end = lines.next_back().and_then(segment::line);
    let (hash, _) = end.ok_or_else(|| damaged("the last line has no hash"))?;
    Ok(End { segment: last, number: number + count, hash, torn })
}
