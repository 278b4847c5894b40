//! Keys and tokens for a service's own tests, without a server.

use std::sync::Arc;

use serde_json::json;
use tegata_core::{Epoch, Node, TokenId};
use tegata_token::{
    Algorithm, Audience, Claims, KeySet, Scope, SigningKey, Transaction, VerifyingKey,
    claims::Actor, jws,
};

use crate::authenticate::{Authenticator, KeySource};

#[cfg(feature = "axum")]
pub mod endpoint;
#[cfg(feature = "axum")]
pub mod server;

/// An issuer whose key lives in the test. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TestAuthority(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    key: SigningKey,
    node: Node,
}

/// A token that is being put together.
#[derive(Debug, Clone)]
pub struct TestToken {
    authority: TestAuthority,
    claims: Claims,
}

impl TestAuthority {
    /// What stands in `iss`.
    pub const ISSUER: &str = "https://issuer.test";

    /// An authority with a new key, on the clocks of the operating system.
    ///
    /// # Panics
    /// Where the crypto library makes no key.
    #[must_use]
    pub fn new() -> Self {
        Self::on(Node::start())
    }

    /// An authority with a new key, on these clocks.
    ///
    /// # Panics
    /// Where the crypto library makes no key.
    #[must_use]
    pub fn on(node: Node) -> Self {
        #[expect(clippy::expect_used, reason = "this is for tests, which end when they cannot run")]
        let key = SigningKey::generate(Algorithm::Es256).expect("a key");
        Self(Arc::new(Inner { key, node }))
    }

    /// The node whose clock it uses.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// Its public key, as a service would have it.
    #[must_use]
    pub fn keys(&self) -> KeySource {
        KeySource::fixed(self.key_set())
    }

    fn key_set(&self) -> KeySet {
        let key = VerifyingKey::from_jwk(self.0.key.jwk());
        KeySet::new(key.into_iter().map(Arc::new).collect())
    }

    /// Its public key, as an issuer would publish it.
    #[must_use]
    pub fn jwks(&self) -> serde_json::Value {
        json!({ "keys": [self.0.key.jwk()] })
    }

    /// What a service of this name believes, if it trusts this authority alone.
    #[must_use]
    pub fn authenticator(&self, service: &str) -> Authenticator {
        Authenticator::of(service).trusting(Self::ISSUER, self.keys()).on(self.0.node.clone())
    }

    /// A token that speaks for a person, for the service `audience`. It lives 300 s.
    #[must_use]
    pub fn user(&self, user: &str, audience: &str) -> TestToken {
        self.token(user, audience)
    }

    /// A token that speaks for a service itself, for the service `audience`. It lives 60 s.
    #[must_use]
    pub fn service(&self, service: &str, audience: &str) -> TestToken {
        let token = self.token(service, audience).with(|claims| {
            claims.client_id = Some(service.to_owned());
        });
        token.living(60)
    }

    fn token(&self, sub: &str, audience: &str) -> TestToken {
        let node = &self.0.node;
        let now = node.now().secs();
        let claims = Claims {
            iss: Self::ISSUER.to_owned(),
            sub: sub.to_owned(),
            aud: Audience::from(audience),
            iat: now,
            exp: now + 300,
            jti: TokenId::generate(Epoch::FIRST, node.entropy()).as_str().to_owned(),
            ..Claims::default()
        };
        TestToken { authority: self.clone(), claims }
    }

    /// Signs claims as a token of the kind `typ`, whatever they say.
    ///
    /// # Panics
    /// Where the crypto library does not sign.
    #[must_use]
    pub fn sign(&self, typ: &str, claims: &[u8]) -> String {
        #[expect(clippy::expect_used, reason = "this is for tests, which end when they cannot run")]
        jws::sign(&self.0.key, typ, claims).expect("a signature")
    }
}

impl Default for TestAuthority {
    fn default() -> Self {
        Self::new()
    }
}

impl TestToken {
    /// What it says so far.
    #[must_use]
    pub const fn claims(&self) -> &Claims {
        &self.claims
    }

    /// With these roles.
    #[must_use]
    pub fn roles(self, roles: &[&str]) -> Self {
        self.with(|claims| claims.roles = roles.iter().map(|&role| role.to_owned()).collect())
    }

    /// With this scope.
    ///
    /// # Panics
    /// Where the text is no scope.
    #[must_use]
    pub fn scope(self, scope: &str) -> Self {
        #[expect(clippy::expect_used, reason = "this is for tests, which end when they cannot run")]
        let scope = Scope::new(scope).expect("a scope");
        self.with(|claims| claims.scope = scope)
    }

    /// In the hands of this service, which acts for the subject.
    #[must_use]
    pub fn through(self, service: &str) -> Self {
        self.with(|claims| {
            let before = claims.act.take();
            claims.act = Some(Box::new(Actor { sub: service.to_owned(), act: before }));
        })
    }

    /// Living for so many seconds.
    #[must_use]
    pub fn living(self, seconds: u64) -> Self {
        self.with(|claims| claims.exp = claims.iat + seconds)
    }

    /// With claims changed.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Claims)) -> Self {
        change(&mut self.claims);
        self
    }

    /// The token, as an access token.
    #[must_use]
    pub fn access(&self) -> String {
        self.authority.sign("at+jwt", &self.claims.to_json())
    }

    /// The token, as that of a transaction of this name, which this workload asked for. Its audience
    /// is the trust domain.
    #[must_use]
    pub fn transaction(self, txn: &str, workload: &str) -> String {
        let token = self.with(|claims| {
            claims.transaction = Some(Box::new(Transaction {
                txn: txn.to_owned(),
                req_wl: workload.to_owned(),
                ..Transaction::default()
            }));
        });
        token.authority.sign("txntoken+jwt", &token.claims.to_json())
    }

    /// The token, as the gateway's internal token.
    #[must_use]
    pub fn internal(&self) -> String {
        self.authority.sign("tegata-internal+jwt", &self.claims.to_json())
    }
}
