//! Whom a client certificate is of that is a credential by itself: a service, by the SPIFFE ID in it, or a
//! registered client that proves itself with `tls_client_auth` (RFC 8705 §2.1).

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tegata_core::{SinceBoot, Timestamp};
use tegata_policy::PrincipalKind;
use tegata_token::{
    Authorities, Claims, ClientCertificate, Lineage, Scope,
    certificate::{CertifiedCaller, NobodysCertificate, NotVouched},
};

use crate::{gate::Gate, route::Routing};

/// How many certificates are remembered.
const KEPT: usize = 1000;

/// How long what was found of a certificate is believed. An authority that is no longer trusted is taken for
/// one for as long.
const BELIEVED: Duration = Duration::from_secs(10);

/// Who answers for certificates, and whom they can be of.
pub struct Certificates {
    /// The authorities that are trusted to say whom a certificate is of.
    pub authorities: Arc<Authorities>,
    /// Knows registered clients.
    pub clients: Arc<dyn CertifiedClients>,
}

/// Knows the registered clients that certificates can be of. Asked for a request, so it answers from memory.
pub trait CertifiedClients: Send + Sync {
    /// Which version of them this is: what was found with another is looked for anew.
    fn version(&self) -> u64;

    /// The clients whose registered name the certificate has, and that may use it.
    fn named_by(&self, shown: &ClientCertificate) -> Vec<CertifiedClient>;

    /// Up to when certificates of a client or a service are refused, by when they begin to count.
    fn refused_up_to(&self, name: &str) -> Option<Timestamp>;
}

/// A registered client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertifiedClient {
    /// Its id.
    pub id: String,
    /// The scope it may ask for, which is what it has by its certificate.
    pub scope: Scope,
}

/// Whom a certificate is of.
#[derive(Debug)]
pub(crate) struct CertifiedIdentity {
    /// What a token of theirs would say.
    pub(crate) claims: Claims,
    /// The name of the client or the service.
    pub(crate) name: String,
    pub(crate) kind: PrincipalKind,
    pub(crate) thumbprint: String,
}

/// Why a certificate is nobody's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    #[error("it has expired, or does not count yet")]
    Time,
    #[error(transparent)]
    Vouched(#[from] NotVouched),
    #[error(transparent)]
    Nobodys(#[from] NobodysCertificate),
    #[error("no service has its SPIFFE ID, and no registered client its name")]
    Stranger,
    #[error("it is of several: {0}")]
    Several(String),
    #[error("certificates of `{0}` that are as old are taken back")]
    TakenBack(String),
}

/// The certificates of callers.
pub(crate) struct Certified {
    parts: Certificates,
    kept: Cache<String, Known>,
}

#[derive(Clone)]
struct Known {
    at: SinceBoot,
    /// Of the routes and of the clients.
    versions: (u64, u64),
    /// Also why it is nobody's: whoever shows such a one shows it again.
    found: Result<Arc<CertifiedIdentity>, Arc<Unknown>>,
}

impl Certified {
    pub(crate) fn new(parts: Certificates) -> Self {
        Self { parts, kept: Cache::new(KEPT) }
    }

    /// Whom a certificate is of.
    pub(crate) fn look(
        &self,
        shown: &ClientCertificate,
        gate: &Gate,
    ) -> Result<Arc<CertifiedIdentity>, Arc<Unknown>> {
        let (now, since) = (gate.node.now(), gate.node.since_boot());
        if !shown.counts_at(now) {
            return Err(Arc::new(Unknown::Time));
        }
        let versions = (gate.routing.generation, self.parts.clients.version());
        let known = self.kept.get(shown.thumbprint());
        let known = known.filter(|it| it.versions == versions && since.since(it.at) < BELIEVED);
        if let Some(known) = known {
            return known.found;
        }
        let found = self.find(shown, &gate.routing, now).map(Arc::new).map_err(Arc::new);
        if let Err(why) = &found {
            let certificate = shown.thumbprint();
            tracing::info!(certificate, %why, "a client certificate makes nobody known");
        }
        let known = Known { at: since, versions, found: found.clone() };
        self.kept.insert(shown.thumbprint().to_owned(), known);
        found
    }

    fn find(
        &self,
        shown: &ClientCertificate,
        routing: &Routing,
        now: Timestamp,
    ) -> Result<CertifiedIdentity, Unknown> {
        self.parts.authorities.vouch(shown, now)?;
        let CertifiedCaller { uris, from, until } = shown.caller()?;
        let uri = uris.first();
        let services: Vec<&str> = uri.map(|uri| routing.of_spiffe_id(uri)).unwrap_or_default();
        let clients = self.parts.clients.named_by(shown);
        // A service is a client, too, where one of its name is registered.
        let names = clients.iter().map(|client| client.id.as_str());
        let names: BTreeSet<&str> = services.iter().copied().chain(names).collect();
        let name = match names.len() {
            0 => return Err(Unknown::Stranger),
            1 => names.into_iter().collect::<String>(),
            _ => return Err(Unknown::Several(names.into_iter().collect::<Vec<_>>().join(", "))),
        };
        // INVARIANT: entries of the log of revocations are forgotten once no token can be as old as they
        // are. Certificates live longer, so this is asked beside.
        let refused = self.parts.clients.refused_up_to(&name);
        if refused.is_some_and(|up_to| Timestamp::from_secs(from) <= up_to) {
            return Err(Unknown::TakenBack(name));
        }
        let is_service = !services.is_empty();
        let claims = Claims {
            sub: uri.filter(|_| is_service).unwrap_or(&name).clone(),
            client_id: Some(name.clone()),
            // What takes back what the client had until a moment takes back certificates from before.
            iat: from,
            exp: until,
            scope: clients.into_iter().next().map(|client| client.scope).unwrap_or_default(),
            lineage: Lineage { client: vec![name.clone()], ..Lineage::default() }.claim(),
            ..Claims::default()
        };
        let kind = if is_service { PrincipalKind::Service } else { PrincipalKind::Client };
        Ok(CertifiedIdentity { claims, name, kind, thumbprint: shown.thumbprint().to_owned() })
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("authorities", &self.authorities)
            .finish_non_exhaustive()
    }
}
