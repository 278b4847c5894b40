//! Signals to and from other systems: what runs beside the requests of a server.
//!
//! | module | subject |
//! |---|---|
//! | [`push`] | who has signals pushed gets them |
//! | [`poll`] | transmitters that are asked |
//! | [`inlet`] | a signal arrives, by either way |
//! | [`transmitter`] | who is heard, and by which keys it is believed |
//! | [`act`] | what follows from a signal is done |
//! | [`lease`] | of several nodes one does it |
//! | [`way`] | how other systems are reached |

use std::sync::Arc;

use tegata_core::{Network, Outward};
use tegata_oauth::signals::{StreamRules, Streams};
use tegata_server::metrics::Signals as Counts;
use tegata_session::Environment;

use crate::{
    command::Failed,
    compose::Composed,
    supervisor::{Tasks, Weight},
};

mod act;
pub(crate) mod inlet;
pub(crate) mod lease;
mod poll;
mod push;
mod transmitter;
pub(crate) mod way;

pub(crate) use inlet::Ear;

/// The streams of an installation.
pub(crate) fn streams(composed: &Composed) -> Streams {
    let rules = StreamRules {
        outward: outward(composed),
        default_subjects: composed.config.signals.default_subjects,
        ..StreamRules::default()
    };
    Streams::new(composed.provider.clone(), rules)
}

/// Starts delivering, and asking those who are to be asked.
pub(crate) fn start(
    tasks: &mut Tasks,
    composed: &Arc<Composed>,
    ear: &Arc<Ear>,
    streams: Streams,
    counts: Counts,
) -> Result<(), Failed> {
    let sender = push::Sender::new(way::outward(composed, outward(composed))?);
    let all = Arc::clone(composed);
    tasks.keep("signals_push", Weight::Helpful, move || {
        push::deliver(Arc::clone(&all), streams.clone(), sender.clone(), counts.clone())
    });
    for poller in poll::pollers(composed, ear)? {
        let poller = Arc::new(tokio::sync::Mutex::new(poller));
        tasks.keep("signals_poll", Weight::Helpful, move || {
            let poller = Arc::clone(&poller);
            async move { poller.lock().await.ask().await }
        });
    }
    Ok(())
}

/// Which addresses receivers may name. In development, receivers are on this machine too.
fn outward(composed: &Composed) -> Outward {
    let mut allowed = composed.config.signals.reach.clone();
    if composed.config.public.environment == Environment::Development {
        allowed.extend(Network::loopback());
    }
    Outward::new(allowed)
}
