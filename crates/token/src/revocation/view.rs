//! What this node knows to be revoked, of all realms, and how it comes to know it: by the log, by what
//! others push, by notices.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tegata_core::{
    Epoch, EventId, Log, Node, NodeId, Realm, Records, SinceBoot, StoreError, Timestamp, port::Pull,
};

use super::{
    CLOCK_ERROR, Entry, LONGEST_ACCESS, Notice, Snapshots, news::News, notice::TakenBack,
    realm::RealmView,
};
use crate::{
    circle::LATE,
    foreign::{ForeignView, Walk},
};

/// How many entries are pulled at once.
const PULL: u32 = 1000;

/// For how long what can name nothing alive is kept all the same. How long tokens live today says
/// nothing of those that were issued before it was changed, and while the wall clock is ahead, the
/// living look dead.
pub const GRACE: Duration = Duration::from_secs(LONGEST_ACCESS.as_secs() + CLOCK_ERROR.as_secs());

/// What a clock that is ahead takes for dead is told to stores all the same, within this.
const LONG_PAST: Duration = Duration::from_secs(86_400);

/// A process that runs ticks more often than this.
const STOOD: Duration = Duration::from_secs(3);

/// The revocations of all realms, and how far the log has been followed.
pub struct View {
    node: Node,
    realms: ArcSwap<HashMap<Realm, Arc<RealmView>>>,
    progress: Mutex<Progress>,
    /// What was taken back of other issuers, where tokens of others are accepted.
    foreign: Option<(Realm, Arc<ForeignView>)>,
    /// Why the log cannot be followed beyond where it is.
    stopped: Mutex<Option<String>>,
    /// The log is read by one at a time.
    reading: futures_util::lock::Mutex<()>,
    /// What is uncertain is changed by one at a time.
    perhaps: Mutex<()>,
    /// The issuer's epoch, as far as it is known here: what is of one before is refused.
    epoch: AtomicU32,
    /// The latest moment, in ms since 1970, at which something could be taken for dead here.
    judged: AtomicU64,
    news: News,
    /// What it begins with when it begins anew.
    snapshots: Option<Snapshots>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    position: u64,
    /// The entry that stands there, where it was read.
    last: Option<EventId>,
    // `None` until the log has been read to its end once.
    pulled: Option<SinceBoot>,
    waiting: Duration,
    /// When everything was known for the last time, as those vouch who could have acknowledged it.
    vouched: Option<SinceBoot>,
    /// When the log was last asked, of the times that are over, whatever the answer was.
    asked: Option<SinceBoot>,
    /// When something was last heard of which nobody knows whether it is in the log.
    perhaps: Option<SinceBoot>,
    /// When this process was last seen to run.
    ticked: Option<SinceBoot>,
    /// When it went on after it had stood still.
    woke: Option<SinceBoot>,
    /// Whether there is an entry that cannot be read.
    stopped: bool,
    /// When the store was asked last, and by how much its clock and ours differed.
    apart: Option<(SinceBoot, Duration)>,
}

impl View {
    /// A view that knows nothing yet, and is stale until it has [caught up](Self::catch_up), of
    /// tokens that live [`LONGEST_ACCESS`] at most.
    #[must_use]
    pub fn new(node: Node) -> Self {
        let (realms, progress, stopped, reading, perhaps, epoch, judged) = Default::default();
        let news = News::of(NodeId::generate(node.entropy()));
        let (foreign, snapshots) = (None, None);
        Self {
            node,
            realms,
            progress,
            foreign,
            stopped,
            reading,
            perhaps,
            epoch,
            judged,
            news,
            snapshots,
        }
    }

    /// The same, for an issuer of this epoch, which its notices say.
    #[must_use]
    pub fn of_epoch(self, epoch: Epoch) -> Self {
        self.epoch.store(epoch.0, Ordering::Relaxed);
        self
    }

    /// The issuer's epoch, as far as it is known here. A restore of a backup raises it, and what was
    /// issued before does not count any more.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Relaxed))
    }

    /// The same, which also learns what was taken back of other issuers, for a realm that accepts
    /// their tokens.
    #[must_use]
    pub fn with_foreign(mut self, realm: Realm, foreign: Arc<ForeignView>) -> Self {
        self.foreign = Some((realm, foreign));
        self
    }

    /// The same, which begins with these where it has to begin anew.
    #[must_use]
    pub fn with_snapshots(mut self, snapshots: Snapshots) -> Self {
        self.snapshots = Some(snapshots);
        self
    }

    /// The log, as far as it has been applied, from its beginning: what of it takes back something of
    /// other issuers.
    #[must_use]
    pub fn foreign_walk(&self) -> Walk {
        let realm = self.foreign.as_ref().map(|(realm, _)| realm.clone()).unwrap_or_default();
        Walk::until(realm, self.position())
    }

    /// The revocations of one realm. To be asked for once and kept.
    #[must_use]
    pub fn realm(&self, realm: &Realm) -> Arc<RealmView> {
        if let Some(view) = self.realms.load().get(realm) {
            return Arc::clone(view);
        }
        self.realms.rcu(|realms| {
            let mut realms = HashMap::clone(realms);
            realms.entry(realm.clone()).or_default();
            realms
        });
        self.realms.load().get(realm).map(Arc::clone).unwrap_or_default()
    }

    /// Applies an entry. Entries may come in any order and any number of times.
    pub fn apply(&self, realm: &Realm, entry: &Entry) {
        self.apply_at(realm, entry, None);
    }

    /// As [`Self::apply`], of an entry that stands in the log at this position.
    fn apply_at(&self, realm: &Realm, entry: &Entry, position: Option<u64>) {
        let now = self.node.now();
        self.judge_at(now);
        if !is_kept(entry.until, now) {
            self.learn_late(realm, entry, position);
            return;
        }
        let of_realm = self.realm(realm);
        self.news.noting(realm, entry, || of_realm.apply(entry, now));
        if let Some(foreign) = self.foreign(realm) {
            foreign.learn(entry, position);
        }
    }

    /// Has a durable store told of what is dead, if it was not told and has not been dead for long: where
    /// this clock is ahead, it may be alive.
    fn learn_late(&self, realm: &Realm, entry: &Entry, position: Option<u64>) {
        let Some(foreign) = self.foreign(realm) else { return };
        let untold = position.is_some_and(|position| position > foreign.filled());
        if untold && is_kept(entry.until + LONG_PAST, self.node.now()) {
            foreign.learn(entry, position);
        }
    }

    fn foreign(&self, realm: &Realm) -> Option<&ForeignView> {
        let (own, foreign) = self.foreign.as_ref()?;
        (own == realm).then_some(foreign)
    }

    /// Calls this whenever something was learnt to be taken back.
    pub fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.news.listen(listener);
    }

    /// Whether there is something to tell a verifier that has been told so much, by processes: how many
    /// pieces of news.
    #[must_use]
    pub fn has_news(&self, told: &BTreeMap<String, u64>) -> bool {
        told.get(&self.news.instance.to_string()) != Some(&self.news.count())
    }

    /// What to tell such a verifier of this realm: what it has missed since, or everything where that is
    /// not known. Whoever asked it, and with what words, is not in it yet. `None`: the log has not been
    /// read yet.
    #[must_use]
    pub fn notice(&self, realm: &Realm, told: &BTreeMap<String, u64>) -> Option<Notice> {
        // How old it is, before what it is: what is learnt in between makes it younger than it says.
        let (staleness, position) = (self.staleness()?, self.position());
        let instance = self.news.instance.to_string();
        let since = told.get(&instance).and_then(|after| self.news.since(realm, *after));
        let whole = since.is_none();
        let (taken_back, news) = match since {
            Some((entries, news)) => {
                let few = RealmView::default();
                for entry in &entries {
                    few.apply(entry, self.node.now());
                }
                (TakenBack::all_of(&few), news)
            }
            None => {
                let news = self.news.count();
                (TakenBack::all_of(&self.realm(realm)), news)
            }
        };
        Some(Notice {
            iss: String::new(),
            iat: self.node.now().secs(),
            nonce: String::new(),
            instance,
            news,
            position,
            epoch: Some(self.epoch()),
            // Rounded up: no notice is younger than it says.
            staleness_ms: u64::try_from(staleness.as_millis())
                .unwrap_or(u64::MAX)
                .saturating_add(1),
            waited_ms: 0,
            whole,
            taken_back,
        })
    }

    /// Takes over a notice that answers a question which was asked at `asked`. Of a process that has told
    /// nothing before, only a whole one says what is known: another makes nothing younger.
    ///
    /// # Errors
    /// What in it cannot be read. Part of it may have been taken over, which does no harm.
    pub fn take_over(
        &self,
        realm: &Realm,
        notice: &Notice,
        asked: SinceBoot,
    ) -> Result<(), &'static str> {
        let now = self.node.now();
        self.judge_at(now);
        notice.taken_back.apply_to(&self.realm(realm), now)?;
        if let Some(epoch) = notice.epoch {
            self.epoch.fetch_max(epoch.0, Ordering::Relaxed);
        }
        // Nobody made it later than now.
        let made = SinceBoot(asked.0 + notice.waited()).min(self.node.since_boot());
        let mut progress = self.progress.lock();
        if notice.position > progress.position {
            (progress.position, progress.last) = (notice.position, None);
        }
        let until = |at: SinceBoot, age: Duration| at.0.saturating_sub(age);
        let newer = until(made, notice.staleness());
        if progress.pulled.is_none_or(|last| newer > until(last, progress.waiting)) {
            (progress.pulled, progress.waiting) = (Some(made), notice.staleness());
        }
        Ok(())
    }

    /// The revocations of all realms of which something was asked or learnt.
    pub(super) fn all_realms(&self) -> Arc<HashMap<Realm, Arc<RealmView>>> {
        self.realms.load_full()
    }

    /// What is known to be taken back of other issuers.
    pub(super) fn foreign_view(&self) -> Option<&ForeignView> {
        self.foreign.as_ref().map(|(_, foreign)| foreign.as_ref())
    }

    /// Notes that what is dead at this moment may be missing here from now on.
    pub(crate) fn judge_at(&self, moment: Timestamp) {
        self.judged.fetch_max(moment.millis(), Ordering::AcqRel);
    }

    /// The latest moment at which something could be taken for dead here. Where the clock was ahead, it is
    /// one that has not come.
    pub(super) fn judged(&self) -> Timestamp {
        Timestamp::from_millis(self.judged.load(Ordering::Acquire))
    }

    /// Begins anew where the clock was ahead and is not any more: what it took for dead may be alive, and is
    /// missing here. Until everything has been learnt again, nothing is known. Answers whether it did.
    pub fn begin_anew_if_misjudged(&self) -> bool {
        let now = self.node.now();
        if self.judged() <= now + CLOCK_ERROR {
            return false;
        }
        let mut progress = self.progress.lock();
        (progress.position, progress.last) = (0, None);
        (progress.pulled, progress.vouched) = (None, None);
        drop(progress);
        self.judged.store(now.millis(), Ordering::Release);
        tracing::warn!("the clock was ahead; everything that was taken back is learnt again");
        true
    }

    /// What is kept of the log is taken over, which need not be read again.
    async fn begin_with_what_was_kept(&self, records: &dyn Records) {
        let Some(snapshots) = &self.snapshots else { return };
        if let Err(error) = snapshots.begin(self, records).await {
            let why = "the snapshot of what was taken back cannot be used; the log is read";
            tracing::warn!(%error, "{why}");
        }
        // Also where only a part of it was taken over.
        self.news.skip();
    }

    /// Goes on from a position of the log up to which everything is known, and the entry that stands there,
    /// if that is known. Nothing of it was read yet.
    pub(super) fn begin_after(&self, position: u64, last: Option<EventId>) {
        let mut progress = self.progress.lock();
        (progress.position, progress.last) = (position, last);
    }

    /// How far the log was read, and the entry that stands there.
    pub(super) fn read_up_to(&self) -> Option<(u64, EventId)> {
        let progress = *self.progress.lock();
        Some((progress.position, progress.last?))
    }

    /// Refuses what an entry names of which nobody knows whether it is in the log: until the log has
    /// been read so late that it would be.
    pub(crate) fn apply_perhaps(&self, realm: &Realm, entry: &Entry) {
        let now = self.node.now();
        if !is_kept(entry.until, now) {
            return;
        }
        let only = self.perhaps.lock();
        self.progress.lock().perhaps = Some(self.node.since_boot());
        if let Some(foreign) = self.foreign(realm) {
            foreign.learn_perhaps(entry);
        }
        self.realm(realm).apply_perhaps(entry, now);
        drop(only);
    }

    /// Forgets what was uncertain, where the log says by now what is so.
    fn forget_perhaps(&self) {
        let only = self.perhaps.lock();
        let Some(last) = self.progress.lock().perhaps else { return };
        if !self.knows_all_until(SinceBoot(last.0 + LATE)) {
            return;
        }
        self.progress.lock().perhaps = None;
        for realm in self.realms.load().values() {
            realm.forget_perhaps();
        }
        if let Some((_, foreign)) = &self.foreign {
            foreign.forget_perhaps();
        }
        drop(only);
    }

    /// Applies what the log has gained since the last time. What it had gained when this was called
    /// is known when it answers, except for entries that have no position yet, whose age
    /// [`Self::staleness`] counts.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Corrupt`] names the position of an entry that cannot be
    /// read, beyond which the view does not go.
    pub async fn catch_up(&self, records: &dyn Records) -> Result<(), StoreError> {
        let _only = self.reading.lock().await;
        if self.begin_anew_if_misjudged() {
            self.begin_with_what_was_kept(records).await;
        }
        let read = self.read(records).await;
        let stopped = match &read {
            Err(error @ StoreError::Corrupt { .. }) => Some(error.to_string()),
            _ => None,
        };
        self.progress.lock().stopped = stopped.is_some();
        *self.stopped.lock() = stopped;
        read?;
        self.forget_perhaps();
        Ok(())
    }

    /// As [`Self::catch_up`], unless no more than `enough` can be unknown by then: of many who ask at
    /// once, one reads.
    ///
    /// # Errors
    /// As [`Self::catch_up`].
    pub async fn know(&self, records: &dyn Records, enough: Duration) -> Result<(), StoreError> {
        let _only = self.reading.lock().await;
        if self.staleness().is_some_and(|age| age <= enough) {
            return Ok(());
        }
        self.read(records).await
    }

    /// As [`Self::catch_up`], unless everything is known already that had been acknowledged anywhere at
    /// this moment: of many who ask at once, one reads. Answers whether it is known now; what has no
    /// position yet is not.
    ///
    /// # Errors
    /// As [`Self::catch_up`].
    pub async fn know_until(
        &self,
        records: &dyn Records,
        moment: SinceBoot,
    ) -> Result<bool, StoreError> {
        let _only = self.reading.lock().await;
        if !self.knows_all_until(moment) {
            self.read(records).await?;
        }
        Ok(self.knows_all_until(moment))
    }

    async fn read(&self, records: &dyn Records) -> Result<(), StoreError> {
        loop {
            let began = self.node.since_boot();
            let Progress { position: after, last, .. } = *self.progress.lock();
            let pulled = pull(records, after, last).await;
            self.progress.lock().asked = Some(began);
            let pull = pulled?;
            let (mut position, mut last) = (after, last);
            for positioned in &pull.entries {
                (position, last) = (positioned.position, Some(positioned.id));
                let read = Entry::from_bytes(&positioned.body);
                let entry = read.map_err(|detail| corrupt(position, detail))?;
                self.apply_at(&positioned.realm, &entry, Some(position));
            }
            let mut progress = self.progress.lock();
            let apart = pull.clock.map(|clock| {
                let now = self.node.now();
                (self.node.since_boot(), now.since(clock).max(clock.since(now)))
            });
            progress.apart = apart.or(progress.apart);
            if position >= progress.position {
                (progress.position, progress.last) = (position, last);
            }
            if progress.position >= pull.head {
                // INVARIANT: both are of one pull. Of two at once, the one that began first may end
                // last, and what waited for a position when the other began was not there for it.
                if progress.pulled.is_none_or(|last| began >= last) {
                    progress.pulled = Some(began);
                    progress.waiting = pull.waiting;
                }
                return Ok(());
            }
            if pull.entries.is_empty() {
                // The log has entries, but they were trimmed away between two pulls: the dead are
                // not missed.
                progress.position = progress.position.max(pull.tail.saturating_sub(1));
                progress.last = None;
            }
        }
    }

    /// The position up to which the log has been applied.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.progress.lock().position
    }

    /// For how long a revocation could have been acknowledged elsewhere without being known here:
    /// the time since the last pull began, and the age of the oldest entry that had no position
    /// then; or the time since all who could have acknowledged one [vouched](crate::circle) for it
    /// that they had not, where that is shorter. `None`: the log has not been read yet.
    #[must_use]
    pub fn staleness(&self) -> Option<Duration> {
        let progress = *self.progress.lock();
        let now = self.node.since_boot();
        let pulled = now.since(progress.pulled?) + progress.waiting;
        // What others vouch for is of no use to whoever does not understand it.
        if progress.stopped {
            return Some(pulled);
        }
        Some(progress.vouched.map_or(pulled, |vouched| pulled.min(now.since(vouched))))
    }

    /// Why the log cannot be followed any further, where waiting does not help: an entry of it cannot be
    /// read.
    #[must_use]
    pub fn stopped(&self) -> Option<String> {
        self.stopped.lock().clone()
    }

    /// Notes that everything was known at this moment that had been acknowledged anywhere.
    pub(crate) fn vouch(&self, until: SinceBoot) {
        let mut progress = self.progress.lock();
        progress.vouched = progress.vouched.max(Some(until));
    }

    /// Notes that this process runs. To be called at least twice a second.
    pub fn tick(&self) {
        let now = self.node.since_boot();
        let mut progress = self.progress.lock();
        let before = progress.ticked.replace(now);
        if before.is_some_and(|before| now.since(before) > STOOD) {
            progress.woke = Some(now);
        }
    }

    /// Whether this process has stood still and has not asked the log since: what is known is then not
    /// what could be known in a moment. Always `false` where nobody [ticks](Self::tick).
    #[must_use]
    pub fn has_stood_still(&self) -> bool {
        let progress = *self.progress.lock();
        let stands = progress.ticked.is_some_and(|ticked| self.node.elapsed(ticked) > STOOD);
        stands || progress.woke.is_some_and(|woke| progress.asked.is_none_or(|it| it < woke))
    }

    /// By how much the clock of this node differed from that of the store when the log was read
    /// last. `None`: it was not read within the last `age`, or the store has no clock of its own.
    #[must_use]
    pub fn clock_apart(&self, age: Duration) -> Option<Duration> {
        let (at, apart) = self.progress.lock().apart?;
        (self.node.elapsed(at) <= age).then_some(apart)
    }

    /// Whether the log says everything that had been acknowledged anywhere at this moment: it was read
    /// later, and whatever had no position then is younger.
    #[must_use]
    pub fn knows_all_until(&self, moment: SinceBoot) -> bool {
        let Progress { pulled, waiting, .. } = *self.progress.lock();
        let until = pulled.and_then(|pulled| pulled.0.checked_sub(waiting));
        until.is_some_and(|until| until >= moment.0)
    }

    /// Forgets what names nothing that can be alive.
    pub fn forget(&self) {
        let now = self.node.now();
        self.judge_at(now);
        for realm in self.realms.load().values() {
            realm.forget(now);
        }
        if let Some((_, foreign)) = &self.foreign {
            foreign.forget(|until| is_kept(until, now));
        }
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({:?})", self.progress.lock())
    }
}

/// Whether a list that was closed at `end`, or a name that names nothing alive from then on, is
/// still kept.
pub(crate) fn is_kept(end: Timestamp, now: Timestamp) -> bool {
    // INVARIANT: no token lives longer than `LONGEST_ACCESS` after its list was closed.
    end + GRACE > now
}

/// An entry of the log that cannot be read.
pub(crate) fn corrupt(position: u64, detail: String) -> StoreError {
    StoreError::Corrupt {
        backend: "the record store",
        kind: Log::Revocations.name(),
        key: position.to_string(),
        detail,
    }
}

/// What the log holds after a position, if it goes on from the entry that stood there.
async fn pull(
    records: &dyn Records,
    after: u64,
    last: Option<EventId>,
) -> Result<Pull, StoreError> {
    let before = after - u64::from(last.is_some()).min(after);
    let mut pull = records.pull(Log::Revocations, before, PULL).await?;
    if pull.head < after {
        return Err(set_back(after, pull.head));
    }
    if before == after {
        return Ok(pull);
    }
    match pull.entries.first() {
        Some(first) if first.position == after => {
            if last != Some(first.id) {
                return Err(set_back(after, pull.head));
            }
            pull.entries.remove(0);
            Ok(pull)
        }
        // It was trimmed away, which happens to what is dead.
        _ => records.pull(Log::Revocations, after, PULL).await,
    }
}

/// The log is shorter than what was read of it, or went on from elsewhere. Whatever it gains now stands at positions that are taken
/// for known, so it cannot be followed.
fn set_back(known: u64, head: u64) -> StoreError {
    let detail = format!(
        "the log ends at {head}, and has been read up to {known}, where another entry stands now or \
         none: the store was brought back from a \
         backup; stop every node, and run `tegata restore --declare`"
    );
    corrupt(known, detail)
}

#[cfg(test)]
mod tests;
