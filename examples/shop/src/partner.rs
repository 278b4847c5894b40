//! A partner of the shop: another company, whose access tokens the shop's gateway takes. It has an issuer of
//! its own, with one client and one key, and nothing in common with the platform but the standards.
//!
//! | path | answers with |
//! |---|---|
//! | `/.well-known/oauth-authorization-server` | its metadata (RFC 8414) |
//! | `/keys` | its key set (RFC 7517) |
//! | `/token` | access tokens for its client (RFC 6749 §4.4, RFC 9068) |

use std::{io, net::TcpListener, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Form, State, rejection::FormRejection},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tegata_sdk::{Node, Scope, Secret};
use tokio::task::JoinSet;

/// How long its tokens live, in seconds.
pub const LIFETIME: u64 = 3600;

/// Forms that it understands are small.
const LARGEST_BODY: usize = 16 << 10;

/// The key that a partner signs with.
pub trait Key: Send + Sync {
    /// Its public half, as a JWK.
    fn public(&self) -> Value;

    /// Signs claims as an access token. `None`: it cannot.
    fn sign(&self, claims: &[u8]) -> Option<String>;
}

/// What a partner is.
pub struct PartnerConfig {
    /// Its issuer identifier, which is where it is.
    pub issuer: String,
    /// What its tokens are for.
    pub audience: String,
    /// Its one client.
    pub client: Client,
    /// What it signs with.
    pub key: Box<dyn Key>,
    /// Clock and randomness.
    pub node: Node,
}

/// A client of the partner.
pub struct Client {
    /// Its name.
    pub id: String,
    /// Its secret.
    pub secret: Secret<String>,
    /// What its tokens may be used for.
    pub scope: Scope,
    /// What its tokens say that it is.
    pub roles: Vec<String>,
}

/// A partner that answers. It ends when it is dropped.
#[derive(Debug)]
pub struct Partner {
    _servers: JoinSet<()>,
}

impl Partner {
    /// Answers on these sockets, on the runtime of the caller.
    ///
    /// # Errors
    /// What the system says of a socket that cannot be used.
    pub fn start(sockets: Vec<TcpListener>, config: PartnerConfig) -> io::Result<Self> {
        let router = router(config);
        let mut servers = JoinSet::new();
        for socket in sockets {
            socket.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(socket)?;
            let router = router.clone();
            servers.spawn(async move {
                if let Err(error) = axum::serve(listener, router).await {
                    tracing::error!(%error, "the partner ended");
                }
            });
        }
        Ok(Self { _servers: servers })
    }
}

/// All that a partner answers.
pub fn router(config: PartnerConfig) -> Router {
    let Client { id, secret, .. } = &config.client;
    let credentials = Secret::new(format!("{id}:{}", secret.expose()));
    let office = Arc::new(Office { config, credentials });
    Router::new()
        .route("/.well-known/oauth-authorization-server", get(metadata))
        .route("/keys", get(keys))
        .route("/token", post(token))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(office)
}

/// Where tokens are handed out.
struct Office {
    config: PartnerConfig,
    /// What its client shows: name, colon, secret.
    credentials: Secret<String>,
}

async fn metadata(State(office): State<Arc<Office>>) -> Json<Value> {
    let issuer = &office.config.issuer;
    Json(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/keys"),
        "token_endpoint": format!("{issuer}/token"),
        "grant_types_supported": ["client_credentials"],
        // There is no authorization endpoint.
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "scopes_supported": office.config.client.scope.values().collect::<Vec<_>>(),
    }))
}

async fn keys(State(office): State<Arc<Office>>) -> Json<Value> {
    Json(json!({"keys": [office.config.key.public()]}))
}

async fn token(
    State(office): State<Arc<Office>>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Result<Response, Refused> {
    let Form(pairs) = form.map_err(|_| Refused::Request("the body is no form"))?;
    let asked = Asked::read(&headers, &pairs)?;
    let issued = office.issue(&asked)?;
    Ok((NEVER_STORED, Json(issued)).into_response())
}

/// What somebody asks for at the token endpoint.
struct Asked {
    /// Name, colon, secret, as they were shown.
    credentials: Option<Secret<Vec<u8>>>,
    grant: Option<String>,
    scope: Option<String>,
}

impl Asked {
    fn read(headers: &HeaderMap, pairs: &[(String, String)]) -> Result<Self, Refused> {
        let take = |name: &str| {
            // RFC 6749 §3.2: what has no value is as if it were not there, and nothing stands twice.
            let mut all = pairs.iter().filter(|(own, value)| own == name && !value.is_empty());
            match (all.next(), all.next()) {
                (found, None) => Ok(found.map(|(_, value)| value.clone())),
                _ => Err(Refused::Request("a parameter stands twice")),
            }
        };
        let mut lines = headers.get_all(header::AUTHORIZATION).iter();
        let credentials = match (lines.next(), lines.next(), take("client_secret")?) {
            (Some(line), None, None) => line.to_str().ok().and_then(basic),
            (None, None, Some(secret)) => {
                let id = take("client_id")?.unwrap_or_default();
                Some(format!("{id}:{secret}").into_bytes())
            }
            (None, None, None) => None,
            // RFC 6749 §2.3: one way in a request.
            _ => return Err(Refused::Request("the client authenticates in more than one way")),
        };
        let credentials = credentials.map(Secret::new);
        Ok(Self { credentials, grant: take("grant_type")?, scope: take("scope")? })
    }
}

/// What stands in `Authorization: Basic …`. Name and secret of the one client are the same when they are
/// form-encoded (RFC 6749 §2.3.1), so they are compared as they are.
fn basic(line: &str) -> Option<Vec<u8>> {
    let (scheme, rest) = line.split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("basic");
    is_basic.then(|| STANDARD.decode(rest.trim()).ok()).flatten()
}

impl Office {
    fn issue(&self, asked: &Asked) -> Result<Value, Refused> {
        let shown = asked.credentials.as_ref().ok_or(Refused::Client)?;
        if !self.credentials.matches(shown.expose()) {
            return Err(Refused::Client);
        }
        match asked.grant.as_deref() {
            Some("client_credentials") => {}
            Some(_) => return Err(Refused::Grant),
            None => return Err(Refused::Request("`grant_type` is missing")),
        }
        let PartnerConfig { issuer, audience, client, key, node } = &self.config;
        let scope = match &asked.scope {
            Some(text) => Scope::new(text).map_err(|_| Refused::Scope)?,
            None => client.scope.clone(),
        };
        if !client.scope.covers(&scope) {
            return Err(Refused::Scope);
        }
        let mut name = [0; 16];
        node.entropy().fill(&mut name);
        let now = node.now().secs();
        let claims = json!({
            "iss": issuer,
            "sub": client.id,
            "client_id": client.id,
            "aud": audience,
            "iat": now,
            "exp": now + LIFETIME,
            // Digits, so that it can be typed after an option.
            "jti": format!("{:032x}", u128::from_be_bytes(name)),
            "scope": scope.as_str(),
            "roles": client.roles,
        });
        let token = key.sign(claims.to_string().as_bytes()).ok_or(Refused::NotSigned)?;
        // The token stands first, for whoever cuts it out by hand.
        Ok(json!({
            "access_token": token,
            "token_type": "Bearer",
            "expires_in": LIFETIME,
            "scope": scope.as_str(),
        }))
    }
}

/// RFC 6749 §5.1.
const NEVER_STORED: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Why there is no token.
#[derive(Debug, Clone, Copy)]
enum Refused {
    Request(&'static str),
    Client,
    Grant,
    Scope,
    NotSigned,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (status, error, detail) = match self {
            Self::Request(why) => (StatusCode::BAD_REQUEST, "invalid_request", why),
            Self::Client => {
                let why = "the client is not known, or did not prove itself";
                (StatusCode::UNAUTHORIZED, "invalid_client", why)
            }
            Self::Grant => {
                let why = "there is only `client_credentials`";
                (StatusCode::BAD_REQUEST, "unsupported_grant_type", why)
            }
            Self::Scope => {
                let why = "the client may not ask for this scope";
                (StatusCode::BAD_REQUEST, "invalid_scope", why)
            }
            Self::NotSigned => {
                let why = "the token could not be signed";
                (StatusCode::INTERNAL_SERVER_ERROR, "server_error", why)
            }
        };
        let body = Json(json!({"error": error, "error_description": detail}));
        let mut response = (status, NEVER_STORED, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Basic realm=\"partner\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests;
