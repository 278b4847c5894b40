//! Who calls? Plain functions over headers, with a layer for axum as a thin dress.
//!
//! A caller is believed for its token alone: the gateway's internal token in `X-Internal-Token`, or
//! an access token in `Authorization`. Headers that merely state an identity (`X-User-ID`,
//! `X-User-Roles`, `X-User-Context`, `X-Service-Name`) are never read.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderName, header};
use parking_lot::Mutex;
use tegata_core::Node;
use tegata_token::{
    AccessToken, Claims, Expected, ExpectedAudience, InternalToken, Memory, ProtectedResource,
    Refusal, Replays, TransactionToken, Verified, Verifier, certificate::thumbprint, jws::Compact,
    verifier::TokenKind,
};

pub use self::{
    caller::{Caller, Subject, UserContext},
    keys::{KeyRules, KeySource, KeysUnavailable},
    refused::{Reason, Refused},
    transaction::{InTransaction, TXN_TOKEN},
};
use self::{proof::Seen, refused::Challenger};
use crate::{
    revocations::{Revocations, WhenStale},
    trace::Trace,
};

mod caller;
mod keys;
#[cfg(feature = "axum")]
pub mod layer;
pub mod memo;
mod proof;
mod refused;
mod transaction;

/// Where the gateway tells a service who calls.
pub const INTERNAL_TOKEN: HeaderName = HeaderName::from_static("x-internal-token");

/// Which kinds of token a service accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accept {
    /// The gateway's internal tokens alone: every call comes through the gateway.
    Internal,
    /// Access tokens alone: there is no gateway before the service, or it passes them on.
    Bearer,
    /// Both, an internal token before an access token.
    Either,
}

/// Settles who calls one service.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    by: Challenger,
    accept: Accept,
    trusted: Vec<Trusted>,
    revocations: Vec<(Revocations, WhenStale)>,
    replays: Replays,
    /// Where callers reach the service.
    base: Option<String>,
    /// What the service says of itself.
    resource: Option<ProtectedResource>,
    /// Whether transaction tokens are looked at.
    in_transactions: bool,
    node: Node,
}

/// One issuer whose tokens count.
struct Trusted {
    issuer: String,
    keys: KeySource,
    access: Verifier<AccessToken>,
    internal: Verifier<InternalToken>,
    transactions: Verifier<TransactionToken>,
    applied: AtomicU64,
    applying: Mutex<()>,
}

/// An [`Authenticator`] that is being put together.
#[derive(Debug)]
pub struct Builder {
    service: String,
    audiences: Vec<String>,
    issuers: Vec<(String, KeySource)>,
    revocations: Vec<(Revocations, WhenStale)>,
    accept: Accept,
    leeway: Duration,
    memory: Memory,
    base: Option<String>,
    resource: Option<ProtectedResource>,
    trust_domain: Option<String>,
}

impl Authenticator {
    /// Begins an authenticator for the service of this name, which is also the audience that its
    /// tokens must name.
    #[must_use]
    pub fn of(service: &str) -> Builder {
        Builder {
            service: service.to_owned(),
            audiences: vec![service.to_owned()],
            issuers: vec![],
            revocations: vec![],
            accept: Accept::Either,
            leeway: Duration::from_secs(30),
            memory: Memory { tokens: 1_000, ..Memory::default() },
            base: None,
            resource: None,
            trust_domain: None,
        }
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.by.service
    }

    /// What the service says of itself to clients that look for it (RFC 9728), where it was
    /// [described](Builder::described).
    #[must_use]
    pub fn resource(&self) -> Option<&ProtectedResource> {
        self.0.resource.as_ref()
    }

    /// The node whose clock and randomness it uses.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    /// [`Refused`] says what to answer.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refused> {
        self.authenticate_on(headers, None).await
    }

    /// The same for a request that came over a connection with a client certificate, whose
    /// SHA-256 thumbprint (base64url) whoever ended the TLS of this connection has computed: a
    /// token that is bound to that certificate (RFC 8705 §3) is accepted.
    ///
    /// # Errors
    /// [`Refused`] says what to answer.
    pub async fn authenticate_on(
        &self,
        headers: &HeaderMap,
        certificate: Option<&str>,
    ) -> Result<Caller, Refused> {
        self.settle(headers, Seen { certificate, request: None }).await
    }

    /// The same for a request over a connection whose client has shown this certificate, in DER, and
    /// has proven in the handshake that it holds the key: the first of what a TLS library calls the
    /// peer's certificates. `None`: it has shown none.
    ///
    /// # Errors
    /// [`Refused`] says what to answer.
    pub async fn authenticate_peer(
        &self,
        headers: &HeaderMap,
        certificate: Option<&[u8]>,
    ) -> Result<Caller, Refused> {
        let thumbprint = certificate.map(thumbprint);
        self.authenticate_on(headers, thumbprint.as_deref()).await
    }

    /// The same for a request of this method to this address, scheme and host included, as its sender
    /// knows it: a token that is bound to a DPoP key is accepted with its proof (RFC 9449 §7.1). A
    /// proof counts once in this process; where the service runs in several, once in each.
    ///
    /// # Errors
    /// [`Refused`] says what to answer.
    pub async fn authenticate_at(
        &self,
        headers: &HeaderMap,
        method: &str,
        url: &str,
    ) -> Result<Caller, Refused> {
        self.settle(headers, Seen { certificate: None, request: Some((method, url)) }).await
    }

    /// The same for a request to this path, under the address that [`Builder::reached_at`] says. Where it says
    /// none, no DPoP proof is looked at, as in [`Self::authenticate`].
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn authenticate_path(
        &self,
        headers: &HeaderMap,
        method: &str,
        path: &str,
    ) -> Result<Caller, Refused> {
        match &self.0.base {
            Some(base) => self.authenticate_at(headers, method, &format!("{base}{path}")).await,
            None => self.authenticate(headers).await,
        }
    }

    async fn settle(&self, headers: &HeaderMap, seen: Seen<'_>) -> Result<Caller, Refused> {
        let presented = self.presented(headers)?;
        let settled = self.settle_token(presented).await.map_err(|reason| self.refuse(reason))?;
        self.admit(settled.claims().clone(), (headers, presented), seen).await
    }

    /// The token that a request shows.
    fn presented<'h>(&self, headers: &'h HeaderMap) -> Result<Presented<'h>, Refused> {
        Presented::of(headers, self.0.accept).map_err(|reason| self.refuse(reason))
    }

    fn refuse(&self, reason: Reason) -> Refused {
        Refused::new(reason, self.0.by.clone())
    }

    /// What a token says that counts.
    async fn settle_token(&self, presented: Presented<'_>) -> Result<Settled, Reason> {
        match presented {
            Presented::Internal(token) => {
                let internal =
                    |trusted: &'_ Trusted, token: &'_ str| trusted.internal.verify(token);
                let (at, verified) = self.verify(token, internal).await?;
                Ok(Settled::Internal(at, verified))
            }
            Presented::Bearer(token) | Presented::Dpop(token) => {
                let access = |trusted: &'_ Trusted, token: &'_ str| trusted.access.verify(token);
                let (at, verified) = self.verify(token, access).await?;
                Ok(Settled::Access(at, verified))
            }
        }
    }

    /// Whether what was settled before still counts: by its times, its key, and what was taken back since.
    async fn settle_again(&self, settled: &Settled) -> Result<(), Reason> {
        let at = match settled {
            Settled::Internal(at, _) | Settled::Access(at, _) => *at,
        };
        let trusted = self.0.trusted.get(at).ok_or(Reason::Token(Refusal::Issuer))?;
        trusted.take_over().await?;
        match settled {
            Settled::Internal(_, verified) => {
                trusted.internal.still_counts(verified)?;
                self.not_taken_back(trusted, verified)
            }
            Settled::Access(_, verified) => {
                trusted.access.still_counts(verified)?;
                self.not_taken_back(trusted, verified)
            }
        }
    }

    /// The caller of a request whose token says this.
    async fn admit(
        &self,
        claims: Claims,
        (headers, presented): (&HeaderMap, Presented<'_>),
        seen: Seen<'_>,
    ) -> Result<Caller, Refused> {
        let refuse = |reason| self.refuse(reason);
        let now = self.0.node.now();
        proof::check(&claims, (headers, presented), seen, &self.0.replays, now).map_err(refuse)?;
        let transaction = self.transaction(headers).await.map_err(refuse)?;
        let trace = Trace::of(headers, self.0.node.entropy());
        let seen = (self.0.by.clone(), now);
        Ok(Caller::new(seen, claims, presented, transaction, trace))
    }

    /// The transaction that a request says it belongs to. One that does not count is refused: it would
    /// be passed on.
    async fn transaction(&self, headers: &HeaderMap) -> Result<Option<InTransaction>, Reason> {
        if !self.0.in_transactions {
            return Ok(None);
        }
        let Some(token) = once(headers, &TXN_TOKEN)? else { return Ok(None) };
        let verify = |trusted: &'_ Trusted, token: &'_ str| trusted.transactions.verify(token);
        let (_, verified) = self.verify(token, verify).await?;
        InTransaction::new(token, verified.claims().clone()).map(Some)
    }

    async fn verify<K: TokenKind>(
        &self,
        token: &str,
        verify: impl Fn(&Trusted, &str) -> Result<Arc<Verified<K>>, Refusal>,
    ) -> Result<(usize, Arc<Verified<K>>), Reason> {
        let (at, trusted) = self.trusted(token)?;
        let verified = self.verified(trusted, token, verify).await?;
        self.not_taken_back(trusted, &verified)?;
        Ok((at, verified))
    }

    /// Whether a token was taken back, as far as is known, and whether enough is.
    fn not_taken_back<K>(&self, trusted: &Trusted, verified: &Verified<K>) -> Result<(), Reason> {
        let (claims, kid, place) = (verified.claims(), verified.kid().as_str(), verified.place());
        for (revocations, when_stale) in &self.0.revocations {
            if revocations.issuer() != trusted.issuer {
                continue;
            }
            // Whether enough is known is asked first: what is learnt in between makes it more.
            let may_judge = revocations.may_judge(claims, *when_stale);
            if revocations.check(claims, kid, place).is_some() {
                return Err(Reason::Revoked);
            }
            if !may_judge {
                return Err(Reason::Stale);
            }
        }
        Ok(())
    }

    async fn verified<K: TokenKind>(
        &self,
        trusted: &Trusted,
        token: &str,
        verify: impl Fn(&Trusted, &str) -> Result<Arc<Verified<K>>, Refusal>,
    ) -> Result<Arc<Verified<K>>, Reason> {
        trusted.take_over().await?;
        match verify(trusted, token) {
            Err(Refusal::UnknownKey) => {
                let kid = Compact::parse(token).ok().and_then(|compact| compact.header.kid);
                if !trusted.keys.look_for(kid.as_deref().unwrap_or_default()).await {
                    return Err(Refusal::UnknownKey.into());
                }
                trusted.take_over().await?;
                Ok(verify(trusted, token)?)
            }
            verified => Ok(verified?),
        }
    }

    /// Whose token this claims to be. Nothing of it is believed yet: the claim only picks the
    /// verifier, which holds the token to it.
    fn trusted(&self, token: &str) -> Result<(usize, &Trusted), Reason> {
        if let [only] = self.0.trusted.as_slice() {
            return Ok((0, only));
        }
        let compact = Compact::parse(token).map_err(Refusal::from)?;
        let claims = Claims::parse(&compact.claims).map_err(Refusal::Claims)?;
        let mut all = self.0.trusted.iter().enumerate();
        let named = all.find(|(_, trusted)| trusted.issuer == claims.iss);
        named.ok_or(Reason::Token(Refusal::Issuer))
    }
}

impl Builder {
    /// Trusts what this issuer signs with these keys.
    #[must_use]
    pub fn trusting(mut self, issuer: &str, keys: KeySource) -> Self {
        self.issuers.push((issuer.to_owned(), keys));
        self
    }

    /// Refuses what its issuer has taken back, as these revocations say.
    #[must_use]
    pub fn refusing(mut self, revocations: &Revocations, when_stale: WhenStale) -> Self {
        self.revocations.push((revocations.clone(), when_stale));
        self
    }

    /// Accepts tokens for this audience too, such as the public name of an API.
    #[must_use]
    pub fn for_audience(mut self, audience: &str) -> Self {
        self.audiences.push(audience.to_owned());
        self
    }

    /// Says which kinds of token are accepted; without it, [`Accept::Either`].
    #[must_use]
    pub const fn accepting(mut self, accept: Accept) -> Self {
        self.accept = accept;
        self
    }

    /// How far clocks may differ: 30 s without it, 60 s at most.
    #[must_use]
    pub const fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Says where callers reach the service, such as `https://orders.example.com`: then
    /// the layer accepts tokens that are bound to a DPoP key with their proofs, which name that
    /// address.
    #[must_use]
    pub fn reached_at(mut self, base: &str) -> Self {
        self.base = Some(base.trim_end_matches('/').to_owned());
        self
    }

    /// Says what clients are told that look for the service (RFC 9728): tokens for the resource's
    /// identifier are accepted too, and every challenge leads to its description, which the service
    /// publishes with [`layer::description`].
    #[must_use]
    pub fn described(mut self, resource: ProtectedResource) -> Self {
        self.audiences.push(resource.identifier().to_owned());
        self.resource = Some(resource);
        self
    }

    /// Says in which trust domain the service is, as the provider has it in `tokens.trust_domain`: then
    /// a `Txn-Token` is verified, [told](Caller::transaction) and passed on. Without it, the header is
    /// not looked at.
    #[must_use]
    pub fn in_trust_domain(mut self, domain: &str) -> Self {
        self.trust_domain = Some(domain.to_owned());
        self
    }

    /// How many verified tokens are remembered: 1,000 without it, for at most 300 s each.
    #[must_use]
    pub fn remembering(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// The authenticator, on the node's clock. One without issuer accepts nobody.
    #[must_use]
    pub fn on(self, node: Node) -> Authenticator {
        let trusted = self.issuers.into_iter().map(|(issuer, keys)| {
            let expected = Expected {
                issuer: issuer.clone(),
                audience: ExpectedAudience::OneOf(self.audiences.clone()),
                leeway: self.leeway,
            };
            let clock = node.clock();
            let domain = ExpectedAudience::OneOf(self.trust_domain.iter().cloned().collect());
            let of_domain = Expected { audience: domain, ..expected.clone() };
            Trusted {
                access: Verifier::new(expected.clone(), &self.memory, Arc::clone(clock)),
                internal: Verifier::new(expected, &self.memory, Arc::clone(clock)),
                transactions: Verifier::new(of_domain, &self.memory, Arc::clone(clock)),
                issuer,
                keys,
                applied: AtomicU64::new(0),
                applying: Mutex::new(()),
            }
        });
        let trusted = trusted.collect();
        let proofs = self.base.is_some();
        let resource = self.resource.map(|it| if proofs { it.accepting_proofs() } else { it });
        let metadata = resource.as_ref().map(|resource| resource.parameter().into());
        let by = Challenger { service: self.service.into(), metadata };
        let (accept, revocations) = (self.accept, self.revocations);
        let (base, replays) = (self.base, Replays::new(proof::MOST));
        let in_transactions = self.trust_domain.is_some();
        Authenticator(Arc::new(Inner {
            by,
            resource,
            accept,
            trusted,
            revocations,
            replays,
            base,
            in_transactions,
            node,
        }))
    }
}

impl Trusted {
    /// Gives the verifiers the set of keys that counts now.
    async fn take_over(&self) -> Result<(), Reason> {
        let published = self.keys.current().await?;
        if published.version > self.applied.load(Ordering::Acquire) {
            let _one = self.applying.lock();
            if published.version > self.applied.load(Ordering::Acquire) {
                self.access.use_keys(published.set());
                self.internal.use_keys(published.set());
                self.transactions.use_keys(published.set());
                self.applied.store(published.version, Ordering::Release);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authenticator({}, {:?})", self.0.by.service, self.0.accept)
    }
}

/// A token that was found to count, and which of the trusted issuers vouched for it.
#[derive(Clone)]
enum Settled {
    Internal(usize, Arc<Verified<InternalToken>>),
    Access(usize, Arc<Verified<AccessToken>>),
}

impl Settled {
    fn claims(&self) -> &Claims {
        match self {
            Self::Internal(_, verified) => verified.claims(),
            Self::Access(_, verified) => verified.claims(),
        }
    }
}

/// The token that a request shows.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Presented<'h> {
    /// In `X-Internal-Token`.
    Internal(&'h str),
    /// In `Authorization`, by itself.
    Bearer(&'h str),
    /// In `Authorization`, with a proof in `DPoP`.
    Dpop(&'h str),
}

impl<'h> Presented<'h> {
    fn of(headers: &'h HeaderMap, accept: Accept) -> Result<Self, Reason> {
        if accept != Accept::Bearer
            && let Some(token) = once(headers, &INTERNAL_TOKEN)?
        {
            return Ok(Self::Internal(token));
        }
        if accept == Accept::Internal {
            return Err(Reason::Missing);
        }
        let Some(credentials) = once(headers, &header::AUTHORIZATION)? else {
            return Err(Reason::Missing);
        };
        let (scheme, token) = credentials.split_once(' ').unwrap_or((credentials, ""));
        let with_proof = scheme.eq_ignore_ascii_case("dpop");
        if !with_proof && !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Reason::Missing);
        }
        match token.trim_start_matches(' ') {
            "" => Err(Reason::Malformed("`Authorization` names no token")),
            token if with_proof => Ok(Self::Dpop(token)),
            token => Ok(Self::Bearer(token)),
        }
    }
}

/// The value of a header that must not stand twice: of two, another reader might take the other.
fn once<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Reason> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            value.to_str().map(Some).map_err(|_| Reason::Malformed("a token is not ASCII"))
        }
        (Some(_), Some(_)) => Err(Reason::Malformed("there are several tokens in one header")),
    }
}

#[cfg(test)]
mod tests;
