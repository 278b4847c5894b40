//! This process in the circle of those that may take things back: where several share a store.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::Duration,
};

use tegata_core::{
    Node,
    port::{Heard, Message, Topic},
};
use tegata_token::{
    Circle,
    circle::{Speaker, Standing},
};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    background::{Rounds, every, subscribe},
    compose::{Composed, Startup},
};

/// How often the register is looked at.
const LOOKS: Duration = Duration::from_secs(1);

/// How often the others are told how things stand.
const BEATS: Duration = Duration::from_millis(500);

/// How often strangers make us look at most.
const STRANGERS: Duration = Duration::from_millis(50);

/// For how long whoever starts waits to be admitted before it goes on without.
const PATIENCE: Duration = Duration::from_secs(10);

/// For how long whoever ends tries to leave.
const FAREWELL: Duration = Duration::from_secs(2);

/// The circle, for a process on this data directory. `speaks`: whether the others hear it.
pub(crate) fn open(node: &Node, data: &Path, speaks: bool) -> Result<Arc<Circle>, Startup> {
    let path = data.join("tegata.place");
    let place =
        place(&path, node).map_err(|source| Startup::File { path: path.clone(), source })?;
    Ok(Arc::new(Circle::new(node.clone(), place, speaks)))
}

/// The name of a data directory among those of all nodes, made where there is none.
fn place(path: &Path, node: &Node) -> io::Result<String> {
    match fs::read_to_string(path) {
        // What was cut short while it was written is none.
        Ok(name) if name.ends_with('\n') => return Ok(name.trim_end().to_owned()),
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let name = Circle::name_place(node.entropy());
    let mut options = fs::File::options();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    writeln!(file, "{name}")?;
    file.sync_all()?;
    Ok(name)
}

/// Enters the circle, and waits a while to be admitted. Where that fails, it is tried again beside
/// the requests, and until then nothing can be taken back here.
pub(crate) async fn enter(composed: &Composed) {
    let Some(circle) = &composed.circle else { return };
    let admitted = async {
        let mut ticks = interval(STRANGERS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match circle.look(composed.records.as_ref()).await {
                Ok(Standing::Candidate | Standing::Outside) | Err(_) => {}
                Ok(Standing::Member | Standing::Replaced | Standing::Left) => return,
            }
            tell(composed, circle).await;
        }
    };
    let admitted = timeout(PATIENCE, admitted).await;
    if admitted.is_err() || circle.standing() != Standing::Member {
        tracing::warn!(why = %circle.standing(), "nothing can be taken back on this node yet");
    }
}

/// Leaves the circle, so that nobody waits for this process.
pub(crate) async fn leave(composed: &Composed) {
    let Some(circle) = &composed.circle else { return };
    // Whoever cannot leave is missed until its lease is over, or until it comes back.
    let _ = timeout(FAREWELL, circle.leave(composed.records.as_ref())).await;
}

/// Looks at the register, tells the others how things stand, and hears them.
pub(crate) fn keep(composed: &Arc<Composed>, tasks: &mut JoinSet<()>) {
    let Some(circle) = &composed.circle else { return };
    let stranger = Arc::new(Notify::new());
    tasks.spawn(look(Arc::clone(composed), Arc::clone(circle), Arc::clone(&stranger)));
    tasks.spawn(speak(Arc::clone(composed), Arc::clone(circle)));
    tasks.spawn(hear(Arc::clone(composed), Arc::clone(circle), stranger));
}

async fn look(composed: Arc<Composed>, circle: Arc<Circle>, stranger: Arc<Notify>) {
    let fails = "it cannot be seen which nodes take things back";
    let mut rounds = Rounds::every(LOOKS, fails);
    let mut apart = every(STRANGERS);
    loop {
        tokio::select! {
            () = rounds.next() => {}
            () = stranger.notified() => { apart.tick().await; }
        }
        rounds.ended(&circle.look(composed.records.as_ref()).await);
    }
}

async fn speak(composed: Arc<Composed>, circle: Arc<Circle>) {
    let mut ticks = every(BEATS);
    loop {
        ticks.tick().await;
        tell(&composed, &circle).await;
    }
}

async fn tell(composed: &Composed, circle: &Circle) {
    let message = Message::new(Topic::Heartbeats, circle.beat(&composed.view));
    // Whoever does not hear this hears the next one, or does not believe us.
    let _ = composed.feed.publish(message).await;
}

async fn hear(composed: Arc<Composed>, circle: Arc<Circle>, stranger: Arc<Notify>) {
    loop {
        let mut heartbeats = subscribe(&composed, Topic::Heartbeats).await;
        while let Some(heard) = heartbeats.next().await {
            let Heard::Message(message) = heard else { continue };
            if circle.hear(&message, &composed.view) == Speaker::Stranger {
                stranger.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_keeps_its_name_and_no_two_have_the_same() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let node = Node::for_tests(1);
        let of = |dir: &tempfile::TempDir| place(&dir.path().join("tegata.place"), &node).unwrap();
        let name = of(&one);
        assert_eq!(name.len(), 32);
        assert_eq!(of(&one), name);
        assert_ne!(of(&other), name);
        // One that was cut short counts for nothing.
        fs::write(one.path().join("tegata.place"), &name[..7]).unwrap();
        assert_ne!(of(&one), name[..7]);
    }
}
