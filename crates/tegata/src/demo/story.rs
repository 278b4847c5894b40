//! `tegata demo --once`: the whole story, told from outside.
//!
//! The demo is started as another process and spoken to over HTTP and through commands, as anybody
//! would. Each step says what held and how long it took; one that does not hold ends the story.

use std::{path::Path, time::Duration};

use tegata_core::Node;

use super::{Demo, Ports};
use crate::{command::Failed, run::Stop};

mod actor;
mod child;
mod guard;
mod partner;
mod steps;

use actor::Actor;
use child::Child;

/// Everything the steps need.
pub(super) struct Stage {
    node: Node,
    child: Child,
    issuer: String,
    gateway: String,
    description: serde_json::Value,
    /// The browser of the customer.
    browser: Actor,
    /// What earlier steps leave for later ones.
    kept: Kept,
}

/// What earlier steps leave for later ones.
#[derive(Default)]
struct Kept {
    session_token: String,
    subject: String,
    refresh_token: String,
    access_token: String,
    id_token: String,
    revoked_token: String,
    /// Of the partner: one that goes on, and one that was taken back.
    partner_tokens: (String, String),
}

/// Why a step did not hold.
pub(super) type Told = Result<String, String>;

/// Plays the story.
pub(super) async fn play(demo: &Demo, ports: &Ports, data: &Path) -> Result<(), Failed> {
    let mut stop = Stop::listen()?;
    tokio::select! {
        told = tell(demo, ports, data) => told,
        // The demo, which is killed with its owner, ends with the story.
        _ = stop.asked() => Err(Failed::Operation("the story was interrupted".to_owned())),
    }
}

async fn tell(demo: &Demo, ports: &Ports, data: &Path) -> Result<(), Failed> {
    let node = Node::start();
    let began = node.since_boot();
    let (child, description) = Child::start(demo, data).await?;
    say_line!(
        "tegata demo --once: {} serves after {} ms",
        ports.issuer(),
        node.elapsed(began).as_millis()
    );
    let mut stage = Stage {
        issuer: ports.issuer(),
        gateway: ports.gateway_url(),
        browser: Actor::new(&ports.issuer()),
        kept: Kept::default(),
        node,
        child,
        description,
    };
    let mut failed = 0_u32;
    for (number, name) in (1..).zip(steps::NAMES) {
        let began = stage.node.since_boot();
        let told = steps::step(&mut stage, number).await;
        let millis = stage.node.elapsed(began).as_millis();
        match told {
            Ok(detail) => say_line!("  ok   {number:>2} {name} ({millis} ms)\n          {detail}"),
            Err(why) => {
                failed += 1;
                say_line!("  FAIL {number:>2} {name} ({millis} ms)\n          {why}");
            }
        }
    }
    stage.child.stop().await;
    let held =
        steps::NAMES.len() - usize::try_from(failed).unwrap_or(usize::MAX).min(steps::NAMES.len());
    say_line!(
        "{held} steps held, {failed} did not ({} ms in all)",
        stage.node.elapsed(began).as_millis()
    );
    if failed == 0 {
        Ok(())
    } else {
        Err(Failed::Operation(format!("{failed} steps did not hold")))
    }
}

/// For how long the demo may take to serve, and a step to become true.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
