//! A signal arrives: it is verified, acted on once, and only then acknowledged.

use std::sync::Arc;

use tegata_core::BoxFuture;
use tegata_server::{Inlet, NotHeard, metrics::Signals as Counts};

use super::{act::Outcome, transmitter::Transmitter, way};
use crate::{command::Failed, compose::Composed};

/// For how long keys and configurations of transmitters are waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);

/// Hears the transmitters that are configured.
pub(crate) struct Ear {
    pub(super) composed: Arc<Composed>,
    pub(super) transmitters: Vec<Transmitter>,
    counts: Counts,
}

impl Ear {
    pub(crate) fn open(composed: &Arc<Composed>, counts: Counts) -> Result<Self, Failed> {
        let transport = way::configured(composed, PATIENCE)?;
        let set = &composed.config.signals.transmitter;
        let transmitters =
            set.iter().map(|set| Transmitter::new(set, transport.clone(), composed.node.clone()));
        let transmitters = transmitters.collect::<Result<_, _>>()?;
        Ok(Self { composed: Arc::clone(composed), transmitters, counts })
    }

    /// Acts on a signal of a transmitter, whichever way it came.
    pub(super) async fn take(&self, of: &Transmitter, signal: &str) -> Result<(), NotHeard> {
        let outcome = match of.believe(signal).await {
            Ok(token) => self.act(of, &token).await,
            Err(refused) => Err(refused),
        };
        let result = match &outcome {
            Ok(Outcome::Repeated) => "repeated",
            Ok(Outcome::NobodyOfOurs) => "unknown_subject",
            Ok(Outcome::Done(follows)) => follows.name(),
            Err(NotHeard::Store(_)) => "away",
            Err(_) => "refused",
        };
        self.counts.heard(&of.name, result);
        if let Err(NotHeard::Refused { code, description }) = &outcome {
            tracing::warn!(transmitter = %of.name, code, %description, "a signal was refused");
        }
        outcome.map(|_| ())
    }
}

impl Inlet for Ear {
    fn hear<'a>(
        &'a self,
        name: &'a str,
        authorization: Option<&'a [u8]>,
        signal: &'a str,
    ) -> BoxFuture<'a, Result<(), NotHeard>> {
        Box::pin(async move {
            let named = self.transmitters.iter().find(|it| it.name == name && it.may_send());
            let of = named.ok_or(NotHeard::Unknown)?;
            if !of.is_shown(authorization) {
                self.counts.heard(&of.name, "unauthenticated");
                return Err(NotHeard::Refused {
                    code: "authentication_failed",
                    description: "what was shown in Authorization is not what was agreed"
                        .to_owned(),
                });
            }
            self.take(of, signal).await
        })
    }
}
