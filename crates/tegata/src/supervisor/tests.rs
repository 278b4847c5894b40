use std::{
    io,
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
};

use prometheus_client::{encoding::text, registry::Registry};
use serde_json::Value;
use tokio::sync::Notify;

use super::*;
use crate::{
    config::{LogForm, Observability},
    logging,
};

/// A log in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Logs what this thread says, as JSON.
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let (log, form) = (self.clone(), Observability::default());
        let form = Observability { log: LogForm::Json, ..form };
        tracing::subscriber::set_default(logging::to(&form, move || log.clone()).unwrap().0)
    }

    fn lines(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn panics(&self) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["message"] == "a panic").collect()
    }
}

/// As [`note_panics`], but for the panics of tests that fail.
fn note_those_of_tasks() {
    static SET: Once = Once::new();
    SET.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_of_task = TASK.try_with(|_| ()).is_ok();
            if is_of_task { note(info) } else { before(info) }
        }));
    });
}

fn supervisor() -> Arc<Supervisor> {
    note_those_of_tasks();
    let rests = Rests {
        first: Duration::from_millis(1),
        longest: Duration::from_millis(2),
        well: Duration::from_secs(60),
    };
    Arc::new(Supervisor { rests, ..Supervisor::new(Node::start()) })
}

fn shown(supervisor: &Arc<Supervisor>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Panics(Arc::clone(supervisor))));
    let mut shown = String::new();
    text::encode(&mut shown, &registry).unwrap();
    shown
}

#[tokio::test]
async fn a_task_that_panics_twice_lives_and_each_panic_is_one_line_without_what_it_said() {
    let log = Log::default();
    let _listening = log.listen();
    let supervisor = supervisor();
    let mut tasks = supervisor.tasks();
    let (begun, lives) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (counted, told) = (Arc::clone(&begun), Arc::clone(&lives));
    tasks.keep("trembling", Weight::Essential, move || {
        let (counted, told) = (Arc::clone(&counted), Arc::clone(&told));
        async move {
            tokio::task::yield_now().await;
            let secret = "hunter2";
            assert!(counted.fetch_add(1, Ordering::SeqCst) >= 2, "the password is {secret}");
            told.notify_one();
            std::future::pending::<()>().await;
        }
    });
    lives.notified().await;
    assert_eq!(begun.load(Ordering::SeqCst), 3);
    let panics = log.panics();
    assert_eq!(panics.len(), 2, "{panics:?}");
    for line in &panics {
        assert_eq!((&line["level"], &line["task"]), (&"ERROR".into(), &"trembling".into()));
        let place = line["place"].as_str().unwrap();
        assert!(place.contains("supervisor/tests.rs:"), "{line}");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{line}");
    }
    assert!(!String::from_utf8(log.0.lock().clone()).unwrap().contains("hunter2"));
    assert!(shown(&supervisor).contains("task_panics_total{task=\"trembling\"} 2\n"));
    // It runs again, so nothing is wrong any more.
    Running(supervisor).look().await.unwrap();
}

#[tokio::test]
async fn what_is_essential_and_does_not_come_to_live_ends_the_process() {
    let log = Log::default();
    let _listening = log.listen();
    let supervisor = supervisor();
    let mut tasks = supervisor.tasks();
    tasks.keep("doomed", Weight::Essential, || async { panic!("again") });
    let why = supervisor.ends().await;
    assert!(why.contains("`doomed`"), "{why}");
    tasks.ended().await;
    assert_eq!(log.panics().len(), usize::try_from(MOST).unwrap());
    let unwell = Running(Arc::clone(&supervisor)).look().await.unwrap_err();
    assert_eq!((unwell.severity, unwell.reasons[0].0), (Severity::NotReady, "task_given_up"));
    // The first reason stays.
    supervisor.give_up("something else".to_owned());
    assert_eq!(supervisor.ends().await, why);
}

#[tokio::test]
async fn what_is_helpful_is_tried_for_ever_and_said_to_rest_meanwhile() {
    let supervisor = supervisor();
    let mut tasks = supervisor.tasks();
    let begun = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&begun);
    tasks.keep("hopeless", Weight::Helpful, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async { panic!("again") }
    });
    while begun.load(Ordering::SeqCst) <= 2 * MOST {
        tokio::task::yield_now().await;
    }
    let mut seen = false;
    while !seen {
        tokio::task::yield_now().await;
        let unwell = supervisor.unwell();
        seen = unwell.is_some_and(|unwell| unwell.severity == Severity::Degraded);
    }
    drop(tasks);
    let running = begun.load(Ordering::SeqCst);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(begun.load(Ordering::SeqCst) <= running + 1);
}

#[tokio::test]
async fn a_task_that_ends_by_itself_is_not_begun_anew() {
    let supervisor = supervisor();
    let mut tasks = supervisor.tasks();
    let begun = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&begun);
    tasks.keep("done", Weight::Essential, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        async {}
    });
    tasks.ended().await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    assert!(shown(&supervisor).contains("task_panics_total{task=\"done\"} 0\n"));
}

#[tokio::test]
async fn what_cannot_be_made_twice_ends_the_process_when_it_panics() {
    let supervisor = supervisor();
    let mut tasks = supervisor.tasks();
    tasks.once("only", async { panic!("once") });
    assert!(supervisor.ends().await.contains("`only`"));
    tasks.ended().await;
}

#[test]
fn rests_grow_until_a_task_has_lived_for_a_while() {
    let clock = Arc::new(tegata_core::ManualClock::default());
    let node = Node::with(clock.clone(), Arc::new(tegata_core::SeededEntropy::new(1)));
    let supervisor = Supervisor::new(node);
    let fall = || {
        let began = supervisor.begins("it");
        supervisor.fell("it", Weight::Helpful, began).unwrap().as_millis()
    };
    let rests: Vec<_> = (0..11).map(|_| fall()).collect();
    assert_eq!(rests, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    let began = supervisor.begins("it");
    clock.advance(RESTS.well);
    assert_eq!(supervisor.fell("it", Weight::Helpful, began), Some(RESTS.first));
}
