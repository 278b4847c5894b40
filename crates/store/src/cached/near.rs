//! The nearer store: copies of records as values with a short lifetime.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | when it was read from the store, milliseconds since 1970, big-endian |
//! | 8 | the record's version |
//! | … | its body |

use std::{sync::Arc, time::Duration};

use tegata_core::{
    Clock, Ephemeral, Kind, Realm, Timestamp,
    port::{Body, Held, Put, Record, Space, Swap},
};

/// Where copies of records are kept.
pub static NEAR: Space = Space { name: "near", indexed: false };

/// How often a copy is replaced that others replace too.
const TRIES: u32 = 8;

/// A nearer store. What it cannot do is left undone: the store itself knows everything.
pub(super) struct Near {
    store: Arc<dyn Ephemeral>,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
}

impl Near {
    pub(super) const fn new(
        store: Arc<dyn Ephemeral>,
        clock: Arc<dyn Clock>,
        lifetime: Duration,
    ) -> Self {
        Self { store, clock, lifetime }
    }

    /// A copy, and how old it is.
    pub(super) async fn read(
        &self,
        realm: &Realm,
        kind: &'static Kind,
        key: &str,
    ) -> Option<(Record, Duration)> {
        let held = self.store.recent(realm, &NEAR, &name(kind, key)?).await.ok()??;
        let (read, version, body) = parse(&held)?;
        let now = self.clock.now();
        // One from the future was written by a clock that is wrong, and may be of any age.
        if read > now {
            return None;
        }
        let age = now.since(read);
        let record = Record { key: key.to_owned(), version, body: Body::Plain(body.to_vec()) };
        (age < self.lifetime).then_some((record, age))
    }

    /// Keeps a copy, unless there is one of a later version.
    pub(super) async fn write(&self, realm: &Realm, kind: &'static Kind, record: &Record) {
        let Some(name) = name(kind, &record.key) else { return };
        let Body::Plain(body) = &record.body else { return };
        let mut value = self.clock.now().millis().to_be_bytes().to_vec();
        value.extend_from_slice(&record.version.to_be_bytes());
        value.extend_from_slice(body);
        let put = || Put {
            key: name.clone(),
            value: value.clone(),
            lifetime: self.lifetime,
            index: None,
        };
        let Ok(mut stands) = self.store.get(realm, &NEAR, &name).await else { return };
        for _ in 0..TRIES {
            let outcome = match &stands {
                None => match self.store.add(realm, &NEAR, put()).await {
                    Ok(true) => return,
                    Ok(false) => self.store.get(realm, &NEAR, &name).await,
                    Err(error) => Err(error),
                },
                Some(held) if parse(held).is_some_and(|(_, there, _)| there > record.version) => {
                    return;
                }
                Some(held) => match self.store.swap(realm, &NEAR, held.revision, put()).await {
                    Ok(Swap::Won(_)) => return,
                    Ok(Swap::Lost(held)) => Ok(Some(held)),
                    Ok(Swap::Gone) => Ok(None),
                    Err(error) => Err(error),
                },
            };
            let Ok(now) = outcome else { break };
            stands = now;
        }
        // What could not be replaced is not to be left either.
        self.forget(realm, kind, &record.key).await;
    }

    /// Removes a copy.
    pub(super) async fn forget(&self, realm: &Realm, kind: &'static Kind, key: &str) {
        if let Some(name) = name(kind, key) {
            let _ = self.store.take(realm, &NEAR, &name).await;
        }
    }
}

/// The key of a copy. `None`: it would be too long, so there is none.
fn name(kind: &Kind, key: &str) -> Option<String> {
    let name = format!("{}/{key}", kind.name);
    (name.len() <= 255).then_some(name)
}

fn parse(held: &Held) -> Option<(Timestamp, u64, &[u8])> {
    let (read, rest) = held.value.split_first_chunk::<8>()?;
    let (version, body) = rest.split_first_chunk::<8>()?;
    let read = Timestamp::from_millis(u64::from_be_bytes(*read));
    Some((read, u64::from_be_bytes(*version), body))
}
