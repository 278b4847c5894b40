//! A fake of the provider for the tests of services that call others: a token endpoint that issues
//! what it is asked for, and the key set.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tegata_core::{Epoch, TokenId};
use tegata_token::{
    AccessToken, Claims, Expected, ExpectedAudience, InternalToken, Memory, Scope, Transaction,
    Verifier, verifier::TokenKind,
};

use super::{TestAuthority, TestToken};
use crate::propagate::{ACCESS_TOKEN, GRANT, TRANSACTION_TOKEN};

/// A fake provider. It knows every client, by the secret [`Self::SECRET`], lets every client ask
/// for every audience, and filters no scope: it is no test of the provider's policy.
#[derive(Clone)]
pub struct FakeProvider(Arc<Inner>);

struct Inner {
    authority: TestAuthority,
    access: Verifier<AccessToken>,
    internal: Verifier<InternalToken>,
    asked: AtomicU64,
    failing: AtomicU32,
}

impl FakeProvider {
    /// The secret of every client.
    pub const SECRET: &str = "secret of a test";

    /// A provider that issues the tokens of this authority.
    #[must_use]
    pub fn of(authority: &TestAuthority) -> Self {
        Self(Arc::new(Inner {
            authority: authority.clone(),
            access: verifier(authority),
            internal: verifier(authority),
            asked: AtomicU64::new(0),
            failing: AtomicU32::new(0),
        }))
    }

    /// `POST /oauth2/token` and `GET /.well-known/jwks.json`.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/oauth2/token", post(token))
            .route("/.well-known/jwks.json", get(jwks))
            .with_state(self.clone())
    }

    /// How often a token was asked for.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Answers the next so many questions with 503.
    pub fn fail_next(&self, times: u32) {
        self.0.failing.store(times, Ordering::SeqCst);
    }

    fn issue(&self, client: &str, form: &[(String, String)]) -> Result<Value, &'static str> {
        let value =
            |name: &str| form.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let audiences: Vec<_> = form
            .iter()
            .filter(|(name, _)| name == "audience")
            .map(|(_, audience)| audience.as_str())
            .collect();
        let [first, ..] = audiences.as_slice() else { return Err("invalid_target") };
        match value("grant_type") {
            Some("client_credentials") if audiences.len() == 1 => {
                Ok(self.answer(&self.0.authority.service(client, first)))
            }
            Some(GRANT) => {
                let token = value("subject_token").ok_or("invalid_request")?;
                let claims = match value("subject_token_type") {
                    Some(ACCESS_TOKEN) => self.0.access.verify(token).map(|t| t.claims().clone()),
                    Some("urn:ietf:params:oauth:token-type:jwt") => {
                        self.0.internal.verify(token).map(|t| t.claims().clone())
                    }
                    _ => return Err("invalid_request"),
                }
                .map_err(|_| "invalid_request")?;
                if value("requested_token_type") == Some(TRANSACTION_TOKEN) {
                    return self.transaction(&claims, client, first, form);
                }
                let mut answer = self.answer(&self.narrow(&claims, client, first));
                if audiences.len() > 1 {
                    let tokens: HashMap<_, _> = audiences
                        .iter()
                        .map(|aud| (*aud, self.answer(&self.narrow(&claims, client, aud))))
                        .collect();
                    if let Some(answer) = answer.as_object_mut() {
                        answer.insert("tokens".to_owned(), json!(tokens));
                    }
                }
                Ok(answer)
            }
            _ => Err("unsupported_grant_type"),
        }
    }

    /// What the provider makes of a token: the same subject and roles for one audience, no longer
    /// than the original, with the client as its actor.
    fn narrow(&self, original: &Claims, client: &str, audience: &str) -> TestToken {
        self.0
            .authority
            .user(&original.sub, audience)
            .with(|claims| {
                claims.exp = claims.exp.min(original.exp);
                claims.roles.clone_from(&original.roles);
                claims.scope = original.scope.clone();
                (claims.sid, claims.fid) = (original.sid.clone(), original.fid.clone());
                claims.outlives_session = original.outlives_session;
                let mut lineage = original.lineage.as_deref().cloned().unwrap_or_default();
                lineage.first_issued(original.first_issued(), claims.iat);
                claims.lineage = lineage.claim();
                claims.act.clone_from(&original.act);
                let jti = original.original_jti.as_ref().unwrap_or(&original.jti);
                claims.original_jti = Some(jti.clone());
            })
            .through(client)
    }

    /// A token of a transaction that begins, in the trust domain that is asked for.
    fn transaction(
        &self,
        original: &Claims,
        client: &str,
        domain: &str,
        form: &[(String, String)],
    ) -> Result<Value, &'static str> {
        let value =
            |name: &str| form.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
        let scope = Scope::new(value("scope").unwrap_or_default()).map_err(|_| "invalid_scope")?;
        let context = |name: &str| {
            let read = value(name).map(Transaction::context).transpose();
            read.map_err(|_| "invalid_request")
        };
        let txn = TokenId::generate(Epoch::FIRST, self.0.authority.node().entropy());
        let transaction = Transaction {
            txn: txn.as_str().to_owned(),
            req_wl: client.to_owned(),
            tctx: context("request_details")?,
            rctx: context("request_context")?,
        };
        let token = self.0.authority.user(&original.sub, domain).living(60).with(|claims| {
            claims.scope = scope;
            claims.transaction = Some(Box::new(transaction));
        });
        Ok(json!({
            "access_token": self.0.authority.sign("txntoken+jwt", &token.claims.to_json()),
            "token_type": "N_A",
            "issued_token_type": TRANSACTION_TOKEN,
            "expires_in": 60,
        }))
    }

    fn answer(&self, token: &TestToken) -> Value {
        let now = self.0.authority.node().now().secs();
        json!({
            "access_token": token.access(),
            "token_type": "Bearer",
            "issued_token_type": ACCESS_TOKEN,
            "expires_in": token.claims.exp.saturating_sub(now),
            "scope": token.claims.scope,
        })
    }
}

impl fmt::Debug for FakeProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeProvider")
    }
}

fn verifier<K: TokenKind>(authority: &TestAuthority) -> Verifier<K> {
    let expected = Expected {
        issuer: TestAuthority::ISSUER.to_owned(),
        audience: ExpectedAudience::DangerAny,
        leeway: Duration::ZERO,
    };
    let memory = Memory { tokens: 0, ..Memory::default() };
    let verifier = Verifier::new(expected, &memory, Arc::clone(authority.node().clock()));
    verifier.use_keys(authority.key_set());
    verifier
}

async fn token(
    State(provider): State<FakeProvider>,
    headers: HeaderMap,
    Form(form): Form<Vec<(String, String)>>,
) -> Response {
    provider.0.asked.fetch_add(1, Ordering::SeqCst);
    let fail = |left: u32| left.checked_sub(1);
    if provider.0.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fail).is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Some(client) = client(&headers) else {
        return (StatusCode::UNAUTHORIZED, Json(json!({"error": "invalid_client"})))
            .into_response();
    };
    match provider.issue(&client, &form) {
        Ok(answer) => ([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, Json(json!({ "error": error }))).into_response(),
    }
}

async fn jwks(State(provider): State<FakeProvider>) -> Json<Value> {
    Json(provider.0.authority.jwks())
}

/// The client of `client_secret_basic`, if its secret is right.
fn client(headers: &HeaderMap) -> Option<String> {
    let basic = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(basic).ok()?).ok()?;
    let (id, secret) = pair.split_once(':')?;
    let decode = |text: &str| {
        let (value, _) = url::form_urlencoded::parse(text.as_bytes()).next()?;
        Some(value.into_owned())
    };
    (decode(secret)? == FakeProvider::SECRET).then(|| decode(id)).flatten()
}
