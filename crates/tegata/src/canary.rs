//! How long it takes until nobody allows any more what a change of permissions forbids: measured all the
//! time, by changes that concern nobody.
//!
//! What somebody may do is withdrawn in the revocation log, as everything is, so a canary is an entry like
//! any other: committed, pushed, pulled, and confirmed by whoever enforces it.

use std::{sync::Arc, time::Duration};

use tegata_core::{Batch, CommitRefused};
use tegata_token::{
    Entry, Target,
    revocation::{MOST_STALE, Taken},
};

use crate::{background::Rounds, circle, compose::Composed};

/// Whose permissions change. Nobody can have this name: those of clients that begin so are reserved.
pub(crate) const NOBODY: &str = "tegata-canary";

/// For how long the log has to keep that.
const KEPT: Duration = Duration::from_secs(60);

/// Changes what nobody may do, again and again, and notes when the last node forbids it.
pub(crate) async fn sing(composed: Arc<Composed>) {
    let every = composed.config.revocation.canary.get();
    if every.is_zero() {
        return;
    }
    let fails = "how long a change of permissions takes to be known cannot be measured";
    let mut rounds = Rounds::every(every, fails);
    loop {
        rounds.next().await;
        rounds.ended(&once(&composed).await);
    }
}

async fn once(composed: &Composed) -> Result<(), String> {
    let (began, now) = (composed.node.since_boot(), composed.node.now());
    let entry = Entry {
        target: Target::Subject { sub: NOBODY.to_owned(), up_to: now, tokens_only: true },
        places: Vec::new(),
        at: now,
        until: now + KEPT,
        reason: "canary".to_owned(),
        actor: "system".to_owned(),
    };
    let batch = Batch::new(composed.realm.clone());
    let committed = composed.revoker.commit(batch, vec![entry]).await;
    committed.map_err(|refused| match refused {
        CommitRefused::Store(error) => error.to_string(),
        CommitRefused::Conflict { .. } => "others changed the circle".to_owned(),
    })?;
    // However many wait: what was not waited for would be measured as quick.
    let confirmation = circle::confirm_within(composed, began, Taken::Now, MOST_STALE).await;
    composed.permission_propagation.observe(confirmation.after.as_secs_f64());
    Ok(())
}
