//! What runs beside the requests is begun anew when it panics, and it is seen that it did.
//!
//! A panic is one line in the form of the log: which task, which thread, which place in the code. What it
//! says of itself is left out, because that can hold whatever the code had in hand. The task is begun anew
//! after a pause, which doubles while it panics again and again. Whatever the node must not be without is
//! [`Weight::Essential`]: where that does not come to live, health says so, and the process ends with a
//! reason, so that whoever runs it begins it anew.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
};
use tegata_core::{BoxFuture, Node, SinceBoot};
use tegata_server::{Check, Severity, Unwell};
use tokio::{sync::watch, task::JoinSet};

use crate::background::pause;

tokio::task_local! {
    /// The task that runs.
    static TASK: &'static str;
}

thread_local! {
    /// Whether this thread is writing down a panic.
    static NOTING: Cell<bool> = const { Cell::new(false) };
}

/// How long a task rests after a panic.
#[derive(Debug, Clone, Copy)]
struct Rests {
    /// After the first.
    first: Duration,
    /// At most.
    longest: Duration,
    /// After how long a life a task counts as well again.
    well: Duration,
}

const RESTS: Rests = Rests {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(30),
    well: Duration::from_secs(60),
};

/// After so many panics in a row, what is essential is given up.
const MOST: u32 = 8;

/// What a task is to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// The node is better with it.
    Helpful,
    /// Without it, the node would serve what it must not, or nothing.
    Essential,
}

/// Watches over the tasks of a process.
pub(crate) struct Supervisor {
    node: Node,
    rests: Rests,
    tasks: Mutex<BTreeMap<&'static str, Fate>>,
    over: watch::Sender<Option<String>>,
}

/// How a task has fared.
#[derive(Debug, Clone, Copy, Default)]
struct Fate {
    panics: u64,
    /// How many of them in a row.
    in_a_row: u32,
    /// It does not run at the moment.
    rests: bool,
}

/// Tasks under a supervisor. They end when this is dropped.
pub(crate) struct Tasks {
    set: JoinSet<()>,
    supervisor: Arc<Supervisor>,
}

impl Supervisor {
    /// Nothing runs yet.
    pub(crate) fn new(node: Node) -> Self {
        Self { node, rests: RESTS, tasks: Mutex::default(), over: watch::Sender::new(None) }
    }

    /// A place for tasks.
    pub(crate) fn tasks(self: &Arc<Self>) -> Tasks {
        Tasks { set: JoinSet::new(), supervisor: Arc::clone(self) }
    }

    /// Answers, with the reason, when the process is to end, because something does not live that it must
    /// not be without.
    pub(crate) async fn ends(&self) -> String {
        let mut over = self.over.subscribe();
        let ended = over.wait_for(Option::is_some).await;
        ended.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Has the process end. The first reason counts.
    pub(crate) fn give_up(&self, why: String) {
        self.over.send_if_modified(|over| {
            let is_first = over.is_none();
            if is_first {
                tracing::error!(%why, "this process ends");
                *over = Some(why);
            }
            is_first
        });
    }

    /// A task has panicked that had lived since `began`. Answers how long it rests, or nothing, where it
    /// is not begun anew.
    fn fell(&self, name: &'static str, weight: Weight, began: SinceBoot) -> Option<Duration> {
        let lived = self.node.elapsed(began);
        let in_a_row = {
            let mut tasks = self.tasks.lock();
            let fate = tasks.entry(name).or_default();
            fate.panics += 1;
            fate.in_a_row = if lived < self.rests.well { fate.in_a_row + 1 } else { 1 };
            fate.rests = true;
            fate.in_a_row
        };
        if weight == Weight::Essential && in_a_row >= MOST {
            self.give_up(format!(
                "the task `{name}` has panicked {in_a_row} times in a row; the lines of the log before \
                 this one say where"
            ));
            return None;
        }
        let rest = self.rests.first * 2_u32.saturating_pow((in_a_row - 1).min(20));
        Some(rest.min(self.rests.longest))
    }

    /// A task begins.
    fn begins(&self, name: &'static str) -> SinceBoot {
        self.tasks.lock().entry(name).or_default().rests = false;
        self.node.since_boot()
    }

    /// What is wrong at the moment.
    fn unwell(&self) -> Option<Unwell> {
        if let Some(why) = self.over.borrow().as_deref() {
            return Some(Unwell::new(Severity::NotReady, "task_given_up", why));
        }
        let tasks = self.tasks.lock();
        let resting: Vec<_> =
            tasks.iter().filter(|(_, fate)| fate.rests).map(|(name, _)| *name).collect();
        (!resting.is_empty()).then(|| {
            let detail = format!("panicked and will be begun anew: {}", resting.join(", "));
            Unwell::new(Severity::Degraded, "task_panicked", detail)
        })
    }
}

impl Tasks {
    /// Runs what `make` makes, and makes it anew where it panics.
    pub(crate) fn keep<F>(
        &mut self,
        name: &'static str,
        weight: Weight,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (supervisor, make) = (Arc::clone(&self.supervisor), Arc::new(make));
        self.set.spawn(async move {
            loop {
                let (began, make) = (supervisor.begins(name), Arc::clone(&make));
                // Making it may panic, too.
                if ran(name, async move { make().await }).await {
                    return;
                }
                let Some(rest) = supervisor.fell(name, weight, began) else { return };
                pause(rest).await;
                tracing::info!(task = name, "begun anew");
            }
        });
    }

    /// Runs what cannot be made twice, and without which the process ends.
    pub(crate) fn once(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let supervisor = Arc::clone(&self.supervisor);
        self.set.spawn(async move {
            let began = supervisor.begins(name);
            if !ran(name, task).await {
                supervisor.fell(name, Weight::Helpful, began);
                supervisor.give_up(format!("the task `{name}` has panicked"));
            }
        });
    }

    /// Waits until all have ended.
    pub(crate) async fn ended(&mut self) {
        while self.set.join_next().await.is_some() {}
    }
}

/// Runs a task. Answers whether it ended without a panic.
async fn ran(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> bool {
    // In a task of its own, which catches panics, and ends when this is dropped.
    let mut one = JoinSet::new();
    one.spawn(TASK.scope(name, task));
    !matches!(one.join_next().await, Some(Err(error)) if error.is_panic())
}

/// Has every panic of the process be a line in the form of its log.
pub(crate) fn note_panics() {
    panic::set_hook(Box::new(note));
}

/// Writes down a panic: where it was, and nothing of what it says.
fn note(info: &PanicHookInfo<'_>) {
    // What panics while a panic is written down is not written down.
    if NOTING.replace(true) {
        return;
    }
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    let thread = thread.name().unwrap_or_default();
    let task = TASK.try_with(|name| *name).ok();
    if tracing::enabled!(tracing::Level::ERROR) {
        tracing::error!(task, thread, place, "a panic");
    } else {
        // The log is told to leave it out, and whoever looks for a reason finds none otherwise.
        let task = task.unwrap_or("-");
        let _ = writeln!(io::stderr(), "a panic: task {task}, thread {thread}, {place}");
    }
    NOTING.set(false);
}

/// How often tasks panicked.
pub(crate) struct Panics(pub(crate) Arc<Supervisor>);

impl Collector for Panics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "Panics of what runs beside the requests, which is begun anew";
        let mut panics =
            encoder.encode_descriptor("task_panics", help, None, MetricType::Counter)?;
        for (name, fate) in self.0.tasks.lock().iter() {
            let labels = [("task", *name)];
            ConstCounter::new(fate.panics).encode(panics.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Panics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Panics")
    }
}

/// What runs beside the requests runs.
pub(crate) struct Running(pub(crate) Arc<Supervisor>);

impl Check for Running {
    fn name(&self) -> &'static str {
        "tasks"
    }

    fn look(&self) -> BoxFuture<'_, Result<(), Unwell>> {
        let unwell = self.0.unwell();
        Box::pin(async move { unwell.map_or(Ok(()), Err) })
    }
}

#[cfg(test)]
mod tests;
