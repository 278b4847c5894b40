//! Whom client certificates at the gateway are of, as the registry says: read again and again, so that no
//! request waits for it.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tegata_core::{
    Batch, BoxFuture, CommitRefused, Expect, Kind, Lifetime, Node, Realm, Records, StoreError,
    Stored, Timestamp, port::Page, repository,
};
use tegata_gateway::{CertifiedClient, CertifiedClients};
use tegata_oauth::{Client, Clients, client::AuthMethod};
use tegata_token::{
    Authorities, ClientCertificate, Holder, Order, SubjectName, Tally, Withdrawable,
};

use crate::{background::Rounds, compose::Composed};

/// Up to when certificates of clients and services are refused, by name.
pub(crate) static CERTIFICATES: Kind =
    Kind { name: "certificates", indexes: &[], lifetime: Lifetime::Kept, secret: false };

/// How often it is looked who there is. What is taken back is known by the log of revocations at once.
const LOOKS: Duration = Duration::from_secs(5);

/// How many are read at a time.
const PIECE: u32 = 500;

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

/// That certificates of a client or a service are refused that began to count up to a moment. The log of
/// revocations forgets that sooner than certificates end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Refused {
    name: String,
    up_to: Timestamp,
}

impl Stored for Refused {
    const KIND: &'static Kind = &CERTIFICATES;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.name
    }
}

/// Whom certificates can be of.
pub(crate) struct CertificateRegistry {
    node: Node,
    records: Arc<dyn Records>,
    clients: Clients,
    realm: Realm,
    /// Those that sign certificates of callers at the gateway.
    pub(crate) authorities: Arc<Authorities>,
    known: ArcSwap<Known>,
    version: AtomicU64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Known {
    clients: Vec<(SubjectName, CertifiedClient)>,
    refused: HashMap<String, Timestamp>,
}

impl CertificateRegistry {
    pub(crate) fn new(
        node: Node,
        records: Arc<dyn Records>,
        clients: Clients,
        realm: Realm,
    ) -> Arc<Self> {
        let (authorities, known) = (Arc::default(), ArcSwap::default());
        let version = AtomicU64::default();
        Arc::new(Self { node, records, clients, realm, authorities, known, version })
    }

    /// Reads who there is now.
    ///
    /// # Errors
    /// What the store says: then what was read before goes on.
    pub(crate) async fn look(&self) -> Result<(), StoreError> {
        let mut found = Known::default();
        let mut after = None;
        loop {
            let page = Page { after, limit: PIECE };
            let clients = self.clients.list(&self.realm, page).await?;
            after = clients.last().map(|client| client.id.as_str().to_owned());
            let is_last = clients.len() < PIECE as usize;
            found.clients.extend(clients.into_iter().filter_map(certified));
            if is_last {
                break;
            }
        }
        let mut after = None;
        loop {
            let page = Page { after, limit: PIECE };
            let records = self.records.as_ref();
            let refused = repository::scan::<Refused>(records, &self.realm, page).await?;
            after = refused.last().map(|found| found.value.name.clone());
            let is_last = refused.len() < PIECE as usize;
            let refused = refused.into_iter().map(|it| (it.value.name, it.value.up_to));
            found.refused.extend(refused);
            if is_last {
                break;
            }
        }
        if **self.known.load() != found {
            self.known.store(Arc::new(found));
            self.version.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    async fn refuse(&self, realm: &Realm, name: &str) -> Result<u64, StoreError> {
        // By the second in which it is ordered, as the log counts.
        let up_to = Timestamp::from_secs(self.node.now().secs());
        let mut tried = 0;
        loop {
            let before = repository::load::<Refused>(self.records.as_ref(), realm, name).await?;
            let expect = match &before {
                Some(before) if before.value.up_to >= up_to => return Ok(0),
                Some(before) => Expect::Version(before.version),
                None => Expect::Absent,
            };
            let refused = Refused { name: name.to_owned(), up_to };
            let batch = Batch::new(realm.clone()).with(refused.put(expect));
            match self.records.commit(batch).await {
                Ok(()) => break,
                Err(CommitRefused::Store(error)) => return Err(error),
                Err(_) if tried < TRIES => tried += 1,
                Err(conflict) => {
                    let detail = conflict.to_string();
                    return Err(StoreError::Unavailable { backend: "store", detail });
                }
            }
        }
        // The log refuses them at once; this goes on when it has forgotten. How many certificates somebody has, only their authority knows.
        Ok(0)
    }
}

/// A client that has a certificate by which it can be known.
fn certified(client: Client) -> Option<(SubjectName, CertifiedClient)> {
    if client.disabled || client.auth != AuthMethod::TlsClientAuth {
        return None;
    }
    let (id, scope) = (client.id.as_str().to_owned(), client.scope);
    Some((client.certificate_name?, CertifiedClient { id, scope }))
}

impl CertifiedClients for CertificateRegistry {
    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn named_by(&self, shown: &ClientCertificate) -> Vec<CertifiedClient> {
        let known = self.known.load();
        let named = known.clients.iter().filter(|(name, _)| shown.is_of(name));
        named.map(|(_, client)| client.clone()).collect()
    }

    fn refused_up_to(&self, name: &str) -> Option<Timestamp> {
        self.known.load().refused.get(name).copied()
    }
}

/// The certificates of clients and services, as a kind of thing that can be taken back.
pub(crate) struct CertificatesOfHolder(pub(crate) Arc<CertificateRegistry>);

impl Withdrawable for CertificatesOfHolder {
    fn kind(&self) -> &'static str {
        "certificates"
    }

    fn concerns(&self, holder: &Holder) -> bool {
        matches!(holder, Holder::Client(_))
    }

    fn withdraw<'a>(
        &'a self,
        realm: &'a Realm,
        holder: &'a Holder,
        _: &'a Order,
        _: &'a Tally,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            match holder {
                Holder::Client(id) => self.0.refuse(realm, id.as_str()).await,
                Holder::User(_) | Holder::Session(_) => Ok(0),
            }
        })
    }
}

/// Looks again and again who there is.
pub(crate) async fn follow(composed: Arc<Composed>) {
    // Where nobody answers for certificates, none counts.
    if composed.config.gateway.client_ca_file.is_none() {
        return std::future::pending().await;
    }
    let mut rounds = Rounds::every(LOOKS, "whom client certificates are of cannot be read");
    loop {
        rounds.next().await;
        let looked = composed.certificates.look().await;
        rounds.ended(&looked);
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::ClientId;

    use super::*;
    use crate::compose::{Composed, for_tests};

    fn registry(composed: &Composed) -> Arc<CertificateRegistry> {
        CertificateRegistry::new(
            composed.node.clone(),
            Arc::clone(&composed.records),
            composed.clients.clone(),
            composed.realm.clone(),
        )
    }

    #[tokio::test]
    async fn what_is_taken_back_is_refused_on_every_node_when_the_log_has_forgotten_it() {
        let place = tempfile::tempdir().unwrap();
        let composed = for_tests(place.path()).await;
        let (here, elsewhere) = (registry(&composed), registry(&composed));
        elsewhere.look().await.unwrap();
        let before = elsewhere.version();
        let holder = Holder::Client(ClientId::new("billing").unwrap());
        let of_holder = CertificatesOfHolder(Arc::clone(&here));
        assert!(of_holder.concerns(&holder));
        let (realm, order) = (
            composed.realm.clone(),
            Order { reason: "theft".to_owned(), actor: "system".to_owned() },
        );
        let at = composed.node.now().secs();
        of_holder.withdraw(&realm, &holder, &order, &Tally::default()).await.unwrap();
        assert_eq!(elsewhere.refused_up_to("billing"), None);
        elsewhere.look().await.unwrap();
        let up_to = elsewhere.refused_up_to("billing").unwrap();
        assert!((at..=at + 60).contains(&up_to.secs()), "{up_to}");
        assert_eq!(elsewhere.refused_up_to("orders"), None);
        // Who keeps what was found of a certificate looks anew when something has changed, and only then.
        assert_eq!(elsewhere.version(), before + 1);
        elsewhere.look().await.unwrap();
        assert_eq!(elsewhere.version(), before + 1);
        // It is never moved back.
        of_holder.withdraw(&realm, &holder, &order, &Tally::default()).await.unwrap();
        elsewhere.look().await.unwrap();
        assert!(elsewhere.refused_up_to("billing").unwrap() >= up_to);
    }
}
