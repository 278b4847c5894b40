//! The writer: one thread, one transaction for all who wait, one `fsync`.
//!
//! While the disk confirms a transaction, the next callers queue up; they form the next group. So a
//! lone caller waits for one `fsync`, and sixty-four at once wait for about two. A caller that is
//! refused is rolled back to its savepoint alone. Nobody is answered before the transaction is
//! committed: neither a success nor a conflict is true before that.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};
use tegata_core::{SinceBoot, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::{
    connection::{Patience, Turn},
    fault,
    noted::Noted,
    table,
    unchanged::{self, Unchanged, Version, Written},
};

/// The most callers that share a transaction. It bounds how long the first of them waits.
const GROUP: usize = 512;

/// The writing end, as callers see it.
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Work>>,
    patience: Patience,
}

/// What the writer works with.
pub(super) struct Desk {
    pub(super) connection: Connection,
    pub(super) turn: Turn,
    pub(super) noted: Noted,
    pub(super) unchanged: Arc<Unchanged>,
}

/// The open transaction, as seen by a caller whose turn it is.
pub(super) struct Tx<'c> {
    pub(super) connection: &'c Connection,
    counters: [Counter; 3],
    /// Which records were written, where they may be remembered.
    pub(super) written: Vec<Written>,
}

/// A number that is counted up inside transactions and kept in the database. It is read once in
/// every transaction, never kept between two: another process may have written in between.
#[derive(Clone, Copy)]
struct Counter {
    name: &'static str,
    value: Option<u64>,
    written: bool,
}

/// Which counter.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    /// The last position of the journal.
    Journal,
    /// The last position of the revocation log.
    Revocations,
    /// The last revision given to an ephemeral value.
    Revision,
}

/// Why a caller's work was not done.
pub(super) enum Undone<E> {
    /// The caller is refused; the others go on.
    Refused(E),
    /// The database failed.
    Failed(rusqlite::Error),
}

impl<E> From<rusqlite::Error> for Undone<E> {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error)
    }
}

/// One caller's part of a transaction.
trait Work: Send {
    /// When it was asked for.
    fn since(&self) -> SinceBoot;
    /// Whether it takes several statements, so that a refusal may have something to undo.
    fn has_parts(&self) -> bool;
    /// Does it. `Err` where the whole transaction has failed.
    fn act(&mut self, tx: &mut Tx<'_>) -> Result<Done, rusqlite::Error>;
    /// Tells the caller, once the transaction has ended.
    fn answer(self: Box<Self>, ended: Result<(), &StoreError>);
}

/// Whether a part stays in the transaction.
#[derive(PartialEq, Eq)]
enum Done {
    Kept,
    Undone,
}

struct Job<T, E, F> {
    since: SinceBoot,
    parts: bool,
    act: Option<F>,
    outcome: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl Writer {
    pub(super) fn start(desk: Desk, patience: Patience, most: usize) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(most.max(1));
        std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn({
                let patience = patience.clone();
                move || write(desk, waiting, &patience)
            })
            .map_err(|error| fault::unavailable(format!("no thread to write with: {error}")))?;
        Ok(Self { queue, patience })
    }

    /// How many writes wait for their turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Does something in a transaction, and answers when it is durable. `parts`: whether it takes
    /// several statements, and so must be undone when it is refused halfway.
    ///
    /// Once this has been polled, the work is done even if nobody waits for the answer any more.
    pub(super) async fn run<T, E, F>(&self, parts: bool, act: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, Undone<E>> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let job = Job { since: self.patience.now(), parts, act: Some(act), outcome: None, caller };
        self.queue.try_send(Box::new(job)).map_err(|refused| {
            fault::unavailable(match refused {
                mpsc::error::TrySendError::Full(_) => "too many writes are waiting",
                mpsc::error::TrySendError::Closed(_) => "the writer has ended",
            })
        })?;
        answer.await.unwrap_or_else(|_| {
            let detail = "the writer has ended".to_owned();
            Err(StoreError::Indeterminate { backend: fault::BACKEND, detail }.into())
        })
    }
}

fn write(desk: Desk, mut waiting: mpsc::Receiver<Box<dyn Work>>, patience: &Patience) {
    let Desk { connection, turn, mut noted, unchanged } = desk;
    let mut group = Vec::new();
    let mut last = None;
    loop {
        if group.is_empty() {
            let Some(first) = waiting.blocking_recv() else { return };
            group.push(first);
        }
        while group.len() < GROUP
            && let Ok(next) = waiting.try_recv()
        {
            group.push(next);
        }
        match begin(&connection, &group, &turn) {
            Ok(()) => {
                let ended = transact(&connection, &mut group, &unchanged, &mut last);
                roll_back(&connection);
                if ended.is_ok() {
                    noted.note(&connection);
                }
                answer(std::mem::take(&mut group), &ended);
            }
            // Whoever came later still has time.
            Err(error) if fault::is_busy(&error) => {
                let is_over = |work: &mut Box<dyn Work>| patience.is_over(work.since());
                answer(group.extract_if(.., is_over).collect(), &Err(failed(&error)));
            }
            Err(error) => answer(std::mem::take(&mut group), &Err(failed(&error))),
        }
    }
}

/// Begins a transaction, for as long as the first of the group waits.
fn begin(
    connection: &Connection,
    group: &[Box<dyn Work>],
    turn: &Turn,
) -> Result<(), rusqlite::Error> {
    roll_back(connection);
    let first = group.iter().map(|work| work.since()).min();
    turn.begin(connection, first.unwrap_or_default())
}

/// Tells everybody how the transaction ended.
fn answer(group: Vec<Box<dyn Work>>, ended: &Result<(), StoreError>) {
    if let Err(error) = ended {
        tracing::warn!(%error, writes = group.len(), "a transaction was not committed");
    }
    for work in group {
        work.answer(ended.as_ref().copied());
    }
}

fn failed(error: &rusqlite::Error) -> StoreError {
    fault::fault(error, "database", "transaction")
}

/// Ends a transaction that was not committed. Where even that fails, it is tried again before the
/// next begins.
fn roll_back(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "a transaction could not be rolled back");
    }
}

/// Lets everybody act, and commits. `last`: as which this connection saw the database when it committed
/// last.
fn transact(
    connection: &Connection,
    group: &mut [Box<dyn Work>],
    unchanged: &Unchanged,
    last: &mut Option<Version>,
) -> Result<(), StoreError> {
    let mut tx = Tx::new(connection);
    for work in group {
        tx.admit(work.as_mut()).map_err(|error| failed(&error))?;
    }
    tx.keep_counters().map_err(|error| failed(&error))?;
    let seen = unchanged::version(connection).map_err(|error| failed(&error))?;
    unchanged.begin(last.replace(seen) == Some(seen));
    let commit = || connection.prepare_cached("COMMIT")?.execute([]).map(drop);
    let committed = commit();
    match committed {
        Ok(()) => unchanged.end(&tx.written, || unchanged::version(connection) == Ok(seen)),
        Err(_) => unchanged.end_unsure(),
    }
    committed.map_err(|error| fault::commit_fault(&error))
}

impl<'c> Tx<'c> {
    fn new(connection: &'c Connection) -> Self {
        let counter = |name| Counter { name, value: None, written: false };
        let counters = [counter("journal"), counter("revocations"), counter("revision")];
        Self { connection, counters, written: Vec::new() }
    }

    fn admit(&mut self, work: &mut dyn Work) -> rusqlite::Result<()> {
        if !work.has_parts() {
            return work.act(self).map(drop);
        }
        let before = self.counters;
        self.run("SAVEPOINT caller")?;
        if work.act(self)? == Done::Undone {
            self.run("ROLLBACK TO caller")?;
            self.counters = before;
        }
        self.run("RELEASE caller")
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn counter(&mut self, count: Count) -> &mut Counter {
        let [journal, revocations, revision] = &mut self.counters;
        match count {
            Count::Journal => journal,
            Count::Revocations => revocations,
            Count::Revision => revision,
        }
    }

    /// How far it was counted, the work of earlier callers in this transaction included.
    pub(super) fn count(&mut self, count: Count) -> rusqlite::Result<u64> {
        let connection = self.connection;
        let counter = self.counter(count);
        if let Some(value) = counter.value {
            return Ok(value);
        }
        let value = read_counter(connection, counter.name)?;
        counter.value = Some(value);
        Ok(value)
    }

    /// Counts on, to `value`.
    pub(super) fn count_to(&mut self, count: Count, value: u64) {
        let counter = self.counter(count);
        counter.value = Some(value);
        counter.written = true;
    }

    fn keep_counters(&self) -> rusqlite::Result<()> {
        for counter in self.counters.iter().filter(|counter| counter.written) {
            if let Some(value) = counter.value {
                write_counter(self.connection, counter.name, value)?;
            }
        }
        Ok(())
    }
}

/// A counter as it stands in the database; 0 before it was first written.
pub(super) fn read_counter(connection: &Connection, name: &str) -> rusqlite::Result<u64> {
    let mut statement =
        connection.prepare_cached("SELECT value FROM tegata_counter WHERE name = ?1")?;
    let value = statement.query_row([name], |row| table::number(row, 0)).optional()?;
    Ok(value.unwrap_or(0))
}

pub(super) fn write_counter(
    connection: &Connection,
    name: &str,
    value: u64,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO tegata_counter (name, value) VALUES (?1, ?2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )?;
    statement.execute((name, table::stored(value))).map(drop)
}

impl<T, E, F> Work for Job<T, E, F>
where
    T: Send,
    E: From<StoreError> + Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, Undone<E>> + Send,
{
    fn since(&self) -> SinceBoot {
        self.since
    }

    fn has_parts(&self) -> bool {
        self.parts
    }

    fn act(&mut self, tx: &mut Tx<'_>) -> Result<Done, rusqlite::Error> {
        let Some(act) = self.act.take() else {
            return Ok(Done::Undone);
        };
        let (outcome, done) = match act(tx) {
            Ok(value) => (Ok(value), Done::Kept),
            Err(Undone::Refused(refused)) => (Err(refused), Done::Undone),
            Err(Undone::Failed(error)) if fault::is_of_statement(&error) => {
                (Err(fault::fault(&error, "record", "written").into()), Done::Undone)
            }
            Err(Undone::Failed(error)) => return Err(error),
        };
        self.outcome = Some(outcome);
        Ok(done)
    }

    fn answer(self: Box<Self>, ended: Result<(), &StoreError>) {
        let answer = match (ended, self.outcome) {
            (Ok(()), Some(outcome)) => outcome,
            // Whoever was refused changed nothing, whatever became of the transaction. But what
            // it was refused for may not have happened either.
            (Err(error @ StoreError::Indeterminate { .. }), Some(Err(_))) => {
                Err(fault::unavailable(error.to_string()).into())
            }
            (Err(error), _) => Err(error.clone().into()),
            (Ok(()), None) => Err(fault::unavailable("the write was passed over").into()),
        };
        // A caller that has gone needs no answer.
        let _heard = self.caller.send(answer);
    }
}
