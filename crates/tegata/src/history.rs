//! What this node has seen of its store, so that it notices when an older one stands in its place.
//!
//! A database that was brought back from a backup, and a standby that took over and lacked the latest,
//! look well. What was taken back since does not stand in them, and what was spent can be spent again. So
//! the node keeps in its data directory the epoch of the store, and the last entry of each log: where the
//! entry is not there any more, or another stands in its place, the store has another past, and nothing is
//! served from it until `tegata restore --declare` has said so.
//!
//! Refreshes and sign-ins of which no log tells are not noticed, where nothing else happened after them.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_core::{Epoch, EventId, Log, Records, StoreError};
use tokio::sync::watch;

use crate::{
    background::every,
    compose::{Composed, Startup},
    installation::Installation,
};

pub(crate) mod elsewhere;

/// How often the store is looked at.
const LOOKS: Duration = Duration::from_millis(500);

/// Where it is noted, in the data directory.
const FILE: &str = "tegata.seen";

/// What was seen of a store. What a later version notes besides is passed over, so that one can go back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    /// When its installation was made, which tells it from others.
    made: u64,
    epoch: u32,
    journal: Option<Anchor>,
    revocations: Option<Anchor>,
}

/// The last entry of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Anchor {
    position: u64,
    id: EventId,
}

/// Why a store cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Doubt {
    /// It has another past than the one that was seen.
    #[error("{0}; stop every node, and run `tegata restore --declare`")]
    SetBack(String),
    /// It is another than this process began with, and that has been said.
    #[error("{0}; start it again")]
    Declared(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Seen {
    /// What a store shows at the moment.
    pub(crate) async fn of(
        installation: &Installation,
        records: &dyn Records,
    ) -> Result<Self, StoreError> {
        let (made, epoch) = (installation.made.millis(), installation.epoch.0);
        let nothing = Self { made, epoch, journal: None, revocations: None };
        nothing.advanced(records).await.map_err(|doubt| match doubt {
            Doubt::Store(error) => error,
            // Of what was not seen, nothing differs.
            other => StoreError::Misused { detail: other.to_string() },
        })
    }

    /// The epoch.
    pub(crate) const fn epoch(self) -> Epoch {
        Epoch(self.epoch)
    }

    /// Whether a store goes on from here. One of a later epoch does: that it was brought back has been
    /// said. So does that of another installation, of which nothing was seen.
    pub(crate) async fn check(
        &self,
        installation: &Installation,
        records: &dyn Records,
    ) -> Result<(), Doubt> {
        let epoch = installation.epoch.0;
        if self.made != installation.made.millis() || epoch > self.epoch {
            return Ok(());
        }
        if epoch < self.epoch {
            let (now, before) = (epoch, self.epoch);
            return Err(Doubt::SetBack(format!(
                "the store is older than what this node has seen of it: its epoch is {now}, and was \
                 {before}"
            )));
        }
        self.advanced(records).await.map(drop)
    }

    /// The same store a moment later, if it goes on from here.
    async fn advanced(&self, records: &dyn Records) -> Result<Self, Doubt> {
        let journal = advanced(records, Log::Journal, self.journal).await?;
        let revocations = advanced(records, Log::Revocations, self.revocations).await?;
        Ok(Self { journal, revocations, ..*self })
    }

    /// What the node on this data directory has seen.
    pub(crate) fn read(data: &Path) -> Result<Option<Self>, Startup> {
        let path = data.join(FILE);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Startup::File { path, source }),
        };
        let seen = serde_json::from_slice(&text);
        seen.map(Some).map_err(|_| Startup::SeenDamaged(path))
    }

    fn write(&self, data: &Path) -> io::Result<()> {
        let (path, new) = (data.join(FILE), data.join(format!("{FILE}.new")));
        let mut options = File::options();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        // What a crash leaves is either of the two, and whole.
        file.sync_data()?;
        fs::rename(new, path)
    }
}

impl Anchor {
    /// How far a log goes that this entry stands in.
    async fn check(self, log: Log, records: &dyn Records) -> Result<u64, Doubt> {
        let Self { position, id } = self;
        let pull = records.pull(log, position.saturating_sub(1), 1).await?;
        let (head, name) = (pull.head, log.name());
        let set_back = |why| {
            let what = format!("the store is older than what this node has seen of it: {why}");
            Err(Doubt::SetBack(what))
        };
        if head < position {
            return set_back(format!("its log `{name}` ends at {head}, and went up to {position}"));
        }
        match pull.entries.first() {
            Some(entry) if entry.position == position && entry.id != id => set_back(format!(
                "at {position} of its log `{name}` stands another entry than before"
            )),
            // It has been trimmed away, as what is long dead is.
            _ => Ok(head),
        }
    }
}

/// The last entry of a log, in which this one stands.
async fn advanced(
    records: &dyn Records,
    log: Log,
    before: Option<Anchor>,
) -> Result<Option<Anchor>, Doubt> {
    let head = match before {
        Some(anchor) => anchor.check(log, records).await?,
        None => records.pull(log, u64::MAX, 1).await?.head,
    };
    if before.is_some_and(|anchor| anchor.position == head) {
        return Ok(before);
    }
    let Some(position) = head.checked_sub(1) else { return Ok(None) };
    let entry = records.pull(log, position, 1).await?.entries.into_iter().next();
    let entry = entry.map(|entry| Anchor { position: entry.position, id: entry.id });
    // Where the last has been trimmed away, the one before says as much.
    Ok(entry.or(before))
}

/// What is seen of the store while this process runs.
pub(crate) struct History {
    data: PathBuf,
    installation: Installation,
    seen: Mutex<Seen>,
    written: Mutex<Option<Seen>>,
    over: watch::Sender<Option<String>>,
}

impl History {
    /// Compares a store with what was seen of it from this data directory.
    pub(crate) async fn open(
        data: &Path,
        installation: &Installation,
        records: &dyn Records,
    ) -> Result<Self, Startup> {
        if let Some(before) = Seen::read(data)? {
            before.check(installation, records).await.map_err(|doubt| match doubt {
                Doubt::Store(error) => Startup::Store(error),
                other => Startup::SetBack(other.to_string()),
            })?;
        }
        let seen = Mutex::new(Seen::of(installation, records).await?);
        let over = watch::Sender::new(None);
        let (data, installation) = (data.to_owned(), installation.clone());
        Ok(Self { data, installation, seen, written: Mutex::default(), over })
    }

    /// The installation as it was when this process began.
    fn installation(&self) -> Installation {
        self.installation.clone()
    }

    /// Answers, with the reason, when nothing may be made from this store any more.
    pub(crate) async fn ends(&self) -> String {
        let mut over = self.over.subscribe();
        let ended = over.wait_for(Option::is_some).await;
        ended.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Writes what was seen, unless it stands there.
    async fn write(&self) -> io::Result<()> {
        let seen = *self.seen.lock();
        if self.written.lock().as_ref() == Some(&seen) {
            return Ok(());
        }
        let data = self.data.clone();
        let done = tokio::task::spawn_blocking(move || seen.write(&data)).await;
        done.unwrap_or_else(|error| Err(io::Error::other(error)))?;
        *self.written.lock() = Some(seen);
        Ok(())
    }

    /// Looks at the store, and remembers what there is now.
    async fn look(&self, records: &dyn Records) -> Result<(), Doubt> {
        let before = *self.seen.lock();
        let found = Installation::find(records).await?.map(|found| found.value);
        let same = found.filter(|found| found.made.millis() == before.made);
        let Some(installation) = same else {
            let why = "the store is not that of this installation any more";
            return Err(Doubt::Declared(why.to_owned()));
        };
        if installation.epoch > before.epoch() {
            return Err(Doubt::Declared(format!(
                "a backup was brought back while this node ran: the epoch is {}, and was {}",
                installation.epoch, before.epoch
            )));
        }
        if installation.epoch < before.epoch() {
            return before.check(&installation, records).await;
        }
        *self.seen.lock() = before.advanced(records).await?;
        Ok(())
    }
}

/// Looks at the store again and again. Where it has another past than before, nothing is signed from
/// then on, and whoever runs the server stops it: what is in memory came from a store that is not there
/// any more.
pub(crate) async fn watch(composed: Arc<Composed>) {
    let history = &composed.history;
    let mut ticks = every(LOOKS);
    let mut failing = false;
    loop {
        ticks.tick().await;
        match history.look(composed.records.as_ref()).await {
            Ok(()) => {}
            // That it cannot be asked is said elsewhere.
            Err(Doubt::Store(_)) => continue,
            Err(doubt) => {
                let why = doubt.to_string();
                composed.keys.withhold_for_good(why.clone());
                history.over.send_replace(Some(why));
                return;
            }
        }
        let noted = history.write().await;
        if let Err(error) = &noted
            && !failing
        {
            tracing::warn!(%error, "`{}` cannot be written", history.data.join(FILE).display());
        }
        failing = noted.is_err();
    }
}

/// Notes what there is, in place of whatever was seen before.
pub(crate) async fn begin_anew(data: &Path, records: &dyn Records) -> Result<(), Startup> {
    let Some(found) = Installation::find(records).await? else { return Ok(()) };
    let file = |source| Startup::File { path: data.join(FILE), source };
    Seen::of(&found.value, records).await?.write(data).map_err(file)
}

/// Notes what there is at the end.
pub(crate) async fn note(composed: &Composed) {
    let history = &composed.history;
    if history.look(composed.records.as_ref()).await.is_ok() {
        // What was noted before it says less, and nothing wrong.
        let _ = history.write().await;
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Batch, Event, EventType, ManualClock, Node, Realm};
    use tegata_store::MemoryRecords;

    use super::*;
    use crate::compose::kinds;

    /// A store in which so much has happened, by chance another thing each time.
    async fn store(events: u32) -> (MemoryRecords, Installation) {
        let node = Node::for_tests(1);
        let clock = Arc::new(ManualClock::default());
        let records = MemoryRecords::new(&kinds(), clock).unwrap();
        let installation = Installation::open(&records, &node).await.unwrap();
        happen(&records, &Node::start(), events).await;
        (records, installation)
    }

    async fn happen(records: &MemoryRecords, node: &Node, events: u32) {
        for _ in 0..events {
            let realm = Realm::default();
            let event = Event::new(node, &realm, EventType::RegistryChanged, []);
            records.commit(Batch::new(realm).journal(&event)).await.unwrap();
        }
    }

    async fn doubted(seen: &Seen, installation: &Installation, records: &MemoryRecords) -> bool {
        match seen.check(installation, records).await {
            Ok(()) => false,
            Err(doubt) => {
                assert!(doubt.to_string().contains("tegata restore --declare"), "{doubt}");
                true
            }
        }
    }

    #[tokio::test]
    async fn a_store_that_is_behind_or_went_another_way_is_noticed() {
        let (records, installation) = store(5).await;
        let seen = Seen::of(&installation, &records).await.unwrap();
        assert!(!doubted(&seen, &installation, &records).await);
        happen(&records, &Node::start(), 3).await;
        assert!(!doubted(&seen, &installation, &records).await);
        let (behind, same) = store(4).await;
        assert!(doubted(&seen, &same, &behind).await);
        // As long, and longer, with something else in it.
        for events in [5, 9] {
            let (apart, same) = store(events).await;
            assert!(doubted(&seen, &same, &apart).await);
            // Unless that was declared.
            assert!(!doubted(&seen, &same.in_epoch(Epoch(9)), &apart).await);
        }
        let (empty, same) = store(0).await;
        assert!(doubted(&seen, &same, &empty).await);
        let later = Seen { epoch: 7, ..seen };
        assert!(doubted(&later, &installation, &records).await);
        // Of another installation nothing was seen.
        let other = Seen { made: 7, ..later };
        assert!(!doubted(&other, &installation, &records).await);
    }

    #[tokio::test]
    async fn what_was_seen_is_found_again() {
        let place = tempfile::tempdir().unwrap();
        let (records, installation) = store(2).await;
        assert!(Seen::read(place.path()).unwrap().is_none());
        let seen = Seen::of(&installation, &records).await.unwrap();
        seen.write(place.path()).unwrap();
        assert_eq!(Seen::read(place.path()).unwrap(), Some(seen));
        let mut later = serde_json::to_value(seen).unwrap();
        later["more"] = 1.into();
        later["journal"]["more"] = 1.into();
        fs::write(place.path().join(FILE), later.to_string()).unwrap();
        assert_eq!(Seen::read(place.path()).unwrap(), Some(seen));
        fs::write(place.path().join(FILE), "{}").unwrap();
        assert!(matches!(Seen::read(place.path()), Err(Startup::SeenDamaged(_))));
    }

    #[tokio::test]
    async fn a_restore_that_is_declared_while_it_runs_ends_a_node() {
        let (records, installation) = store(2).await;
        let place = tempfile::tempdir().unwrap();
        let history = History::open(place.path(), &installation, &records).await.unwrap();
        happen(&records, &Node::start(), 1).await;
        history.look(&records).await.unwrap();
        let found = Installation::find(&records).await.unwrap().unwrap();
        let raised = found.replace(&installation.in_epoch(Epoch(2)));
        records.commit(Batch::new(Realm::default()).with(raised)).await.unwrap();
        let doubt = history.look(&records).await.unwrap_err();
        assert!(doubt.to_string().contains("start it again"), "{doubt}");
    }
}
