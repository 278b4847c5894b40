//! Opaque access tokens at the gateway: for which tokens they stand.

use std::{sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tegata_core::{BoxFuture, Node, SinceBoot, StoreError, flight::Flights};
use tegata_gateway::{References, Unresolved};
use tegata_token::ReferenceTokens;

use crate::{compose::Composed, in_time::in_time};

/// How many tokens are kept. A reference stands for the same token for ever, which says itself when it ends
/// and is looked up among the revocations at each request, so what is kept need not be read anew.
const KEPT: usize = 10_000;

/// For how long it is remembered that a reference stands for nothing: it has ended, or the store has lost
/// it. Whoever shows it again and again asks the store no more often.
const MISSED_FOR: Duration = Duration::from_secs(10);

type Resolved = Result<Option<Arc<str>>, StoreError>;

/// What is known of a reference.
#[derive(Clone)]
enum Known {
    /// The token that it stands for.
    Token(Arc<str>),
    /// It stood for none then.
    Missed(SinceBoot),
}

/// Answers the gateway about opaque tokens.
pub(crate) struct ReferenceDoor {
    references: ReferenceTokens,
    node: Node,
    /// By their names: what was shown is kept nowhere.
    known: Cache<String, Known>,
    reading: Flights<String, Resolved>,
}

impl ReferenceDoor {
    pub(crate) fn new(composed: &Composed) -> Self {
        let (references, node) = (composed.references.clone(), composed.node.clone());
        Self { references, node, known: Cache::new(KEPT), reading: Flights::new() }
    }

    async fn look(&self, reference: &str) -> Result<Option<Arc<str>>, Unresolved> {
        // What nobody here issued is not even looked for.
        let Some(name) = self.references.name_of(reference) else { return Ok(None) };
        let now = self.node.since_boot();
        match self.known.get(&name) {
            Some(Known::Token(token)) => return Ok(Some(token)),
            Some(Known::Missed(at)) if now.since(at) < MISSED_FOR => return Ok(None),
            _ => {}
        }
        let (references, text) = (self.references.clone(), reference.to_owned());
        let read = || async move {
            let found = in_time(references.resolve(&text)).await?;
            Ok(found.map(|token| Arc::<str>::from(token.expose().as_str())))
        };
        match self.reading.join(name.clone(), read).await {
            Ok(found) => {
                let known = found.clone().map_or(Known::Missed(now), Known::Token);
                self.known.insert(name, known);
                Ok(found)
            }
            Err(error) => {
                tracing::warn!(%error, "it could not be learnt what an opaque token stands for");
                Err(Unresolved)
            }
        }
    }
}

impl References for ReferenceDoor {
    fn resolve<'a>(
        &'a self,
        reference: &'a str,
    ) -> BoxFuture<'a, Result<Option<Arc<str>>, Unresolved>> {
        Box::pin(self.look(reference))
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::{Ephemeral, Realm, Timestamp};
    use tegata_token::Roots;

    use super::*;
    use crate::compose::for_tests;

    #[tokio::test]
    async fn what_stands_for_nothing_is_asked_about_once_and_what_is_made_up_never() {
        let place = tempfile::tempdir().unwrap();
        let composed = for_tests(place.path()).await;
        // One whose token was lost, as if Redis had been emptied: it is kept somewhere else.
        let elsewhere: Arc<dyn Ephemeral> =
            Arc::new(tegata_store::MemoryEphemeral::new(Arc::clone(composed.node.clock())));
        let realm = Realm::default();
        let roots =
            Roots::open(composed.records.as_ref(), &composed.node, &realm, "reference-token");
        let roots = roots.await.unwrap();
        let node = composed.node.clone();
        let lost = ReferenceTokens::new(node, realm, elsewhere, &roots).unwrap();
        let ends: Timestamp = composed.node.now() + Duration::from_secs(60);
        let lost = lost.issue("token", ends).await.unwrap();
        let door = ReferenceDoor::new(&composed);
        assert_eq!(door.look(lost.expose()).await, Ok(None));
        let name = composed.references.name_of(lost.expose()).unwrap();
        assert!(matches!(door.known.get(&name), Some(Known::Missed(_))));
        let known = composed.references.issue("token", ends).await.unwrap();
        assert_eq!(door.look(known.expose()).await, Ok(Some("token".into())));
        let made_up = format!("{}{}", &known.expose()[..35], &lost.expose()[35..]);
        for text in ["at_", made_up.as_str(), "at_x.y.z"] {
            assert_eq!(door.look(text).await, Ok(None));
            assert_eq!(composed.references.name_of(text), None);
        }
        assert_eq!(door.known.len(), 2);
    }
}
