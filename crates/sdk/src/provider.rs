//! The provider's token endpoint, as a service that is one of its clients uses it.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use serde::Deserialize;
use tegata_core::{Breaker, BreakerLimits, BreakerOpen, Node, Secret};
use url::form_urlencoded;

use crate::{
    client::Retries,
    propagate::{TRANSACTION_TOKEN, TransactionIssued},
    transport::{Transport, TransportFailed},
};

/// How a service proves to the provider that it is this client.
#[derive(Debug, Clone)]
pub enum Credential {
    /// By a secret (`client_secret_basic`, RFC 6749 §2.3.1).
    Secret {
        /// The client's id.
        client_id: String,
        /// Its secret.
        secret: Arc<Secret<String>>,
    },
    /// By the client certificate in the transport's TLS configuration (RFC 8705 §2).
    Certificate {
        /// The client's id.
        client_id: String,
    },
}

impl Credential {
    /// A client id and its secret.
    #[must_use]
    pub fn secret(client_id: &str, secret: Secret<String>) -> Self {
        Self::Secret { client_id: client_id.to_owned(), secret: Arc::new(secret) }
    }

    /// The client's id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        match self {
            Self::Secret { client_id, .. } | Self::Certificate { client_id } => client_id,
        }
    }
}

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// The provider failed several times and is left alone.
    #[error("the provider is not asked: {0}")]
    Open(#[from] BreakerOpen),
    /// The provider does not answer.
    #[error("the provider does not answer: {0}")]
    Transport(#[from] TransportFailed),
    /// The provider says no (RFC 6749 §5.2).
    #[error("the provider refuses a token: `{error}` ({description})")]
    Refused {
        /// The code, such as `invalid_client`.
        error: String,
        /// What it says beside.
        description: String,
    },
    /// The provider answers with something else.
    #[error("the provider's answer cannot be used: {0}")]
    Answer(String),
}

/// The provider, seen by one client of it. Cheap to clone.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    token_endpoint: Uri,
    credential: Credential,
    transport: Transport,
    node: Node,
    retries: Retries,
    breaker: Breaker,
}

/// A successful answer of the token endpoint (RFC 6749 §5.1, RFC 8693 §2.2.1), and our `tokens`.
#[derive(Deserialize)]
pub(crate) struct TokenAnswer {
    #[serde(flatten)]
    pub(crate) first: IssuedToken,
    /// One for each audience, where several were asked for.
    #[serde(default)]
    pub(crate) tokens: Option<HashMap<String, IssuedToken>>,
}

#[derive(Deserialize)]
pub(crate) struct IssuedToken {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    issued_token_type: Option<String>,
    expires_in: u64,
    #[serde(default)]
    scope: Option<String>,
}

/// A token that the provider issued, and for how long.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The token.
    pub token: Arc<Secret<String>>,
    /// What it may be used for, where the provider says so.
    pub scope: Option<String>,
    /// For how long it lives from when it was asked for.
    pub lives: Duration,
}

/// No token of a service lives longer; an answer that says otherwise is not believed that far.
const LONGEST_LIFE: Duration = Duration::from_secs(3600);

impl Provider {
    /// The provider with this token endpoint, and who we are to it.
    #[must_use]
    pub fn new(
        token_endpoint: Uri,
        credential: Credential,
        transport: Transport,
        node: Node,
    ) -> Self {
        let breaker = Breaker::new(BreakerLimits::default(), Arc::clone(node.clock()));
        let retries = Retries::default();
        Self(Arc::new(Inner { token_endpoint, credential, transport, node, retries, breaker }))
    }

    /// The same, with other retries.
    #[must_use]
    pub fn retrying(self, retries: Retries) -> Self {
        let Inner { token_endpoint, credential, transport, node, .. } = &*self.0;
        let breaker = Breaker::new(BreakerLimits::default(), Arc::clone(node.clock()));
        Self(Arc::new(Inner {
            token_endpoint: token_endpoint.clone(),
            credential: credential.clone(),
            transport: transport.clone(),
            node: node.clone(),
            retries,
            breaker,
        }))
    }

    /// The node whose clock and randomness it uses.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.0.node
    }

    /// The breaker before the token endpoint.
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.0.breaker
    }

    /// A token of the service's own for one target (RFC 6749 §4.4; `audience` as in RFC 8693).
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub async fn client_credentials(&self, target: &str) -> Result<Issued, TokenRefused> {
        let form = [("grant_type", "client_credentials"), ("audience", target)];
        self.ask(&form).await?.first.accept()
    }

    /// A token of the service's own for whatever has this scope (RFC 6749 §4.4): for whom it is, the
    /// provider says.
    ///
    /// # Errors
    /// [`TokenRefused`].
    pub async fn client_credentials_for_scope(&self, scope: &str) -> Result<Issued, TokenRefused> {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        self.ask(&form).await?.first.accept()
    }

    /// Whether a token counts, by the word of an introspection endpoint of the provider (RFC 7662). It is
    /// asked once, and left alone for a while where it fails again and again. That a node knows too little
    /// to say (503) is an answer: where several stand behind one address, the next may know.
    ///
    /// # Errors
    /// [`TokenRefused`]: it does not say.
    pub async fn is_active(&self, endpoint: &Uri, token: &str) -> Result<bool, TokenRefused> {
        #[derive(Deserialize)]
        struct Told {
            active: bool,
        }
        let permit = self.0.breaker.admit()?;
        let answered = self.0.transport.send(self.request(endpoint, &[("token", token)])?).await;
        match &answered {
            Ok(answer)
                if !answer.status().is_server_error()
                    || answer.status() == StatusCode::SERVICE_UNAVAILABLE =>
            {
                permit.succeeded();
            }
            _ => permit.failed(),
        }
        let answer = answered?;
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(TokenRefused::Answer(format!("introspection is answered {status}")));
        }
        let told = serde_json::from_slice::<Told>(answer.body());
        let told = told.map_err(|_| TokenRefused::Answer("it does not say `active`".to_owned()))?;
        Ok(told.active)
    }

    /// Asks the token endpoint. To ask again does no harm: each answer is a token of its own.
    pub(crate) async fn ask(&self, form: &[(&str, &str)]) -> Result<TokenAnswer, TokenRefused> {
        let mut attempt = 0;
        loop {
            let permit = self.0.breaker.admit()?;
            let request = self.request(&self.0.token_endpoint, form)?;
            let answered = self.0.transport.send(request).await;
            let failed = match &answered {
                Ok(answer) => answer.status().is_server_error(),
                Err(error) => error.is_passing(),
            };
            if failed {
                permit.failed();
            } else {
                permit.succeeded();
            }
            if !failed || !self.0.retries.pause(attempt, self.0.node.entropy()).await {
                return read(&answered?);
            }
            attempt += 1;
        }
    }

    /// The transport by which it is reached.
    pub(crate) fn transport(&self) -> &Transport {
        &self.0.transport
    }

    /// A form for one of the provider's endpoints, from this client.
    pub(crate) fn request(
        &self,
        endpoint: &Uri,
        form: &[(&str, &str)],
    ) -> Result<Request<Bytes>, TokenRefused> {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form);
        let mut request = Request::post(endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ACCEPT, "application/json");
        match &self.0.credential {
            Credential::Certificate { client_id } => {
                body.append_pair("client_id", client_id);
            }
            Credential::Secret { client_id, secret } => {
                // RFC 6749 §2.3.1: both are form-encoded before they are joined.
                let encode = |text: &str| -> String {
                    form_urlencoded::byte_serialize(text.as_bytes()).collect()
                };
                let pair = format!("{}:{}", encode(client_id), encode(secret.expose()));
                let mut value =
                    HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
                        .map_err(|_| TokenRefused::Answer("the secret has no form".to_owned()))?;
                value.set_sensitive(true);
                request = request.header(header::AUTHORIZATION, value);
            }
        }
        request
            .body(body.finish().into())
            .map_err(|_| TransportFailed::Address(endpoint.to_string()).into())
    }
}

impl IssuedToken {
    /// The transaction token that was asked for.
    pub(crate) fn accept_transaction(self) -> Result<TransactionIssued, TokenRefused> {
        if self.issued_token_type.as_deref() != Some(TRANSACTION_TOKEN) {
            let what = "what was issued is not a transaction token";
            return Err(TokenRefused::Answer(what.to_owned()));
        }
        let lives = Duration::from_secs(self.expires_in).min(LONGEST_LIFE);
        Ok(TransactionIssued { token: Arc::new(Secret::new(self.access_token)), lives })
    }

    pub(crate) fn accept(self) -> Result<Issued, TokenRefused> {
        // RFC 6749 §7.1: a token of a kind that is not known is not used.
        if self.token_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
            return Err(TokenRefused::Answer("the token is not a bearer token".to_owned()));
        }
        Ok(Issued {
            token: Arc::new(Secret::new(self.access_token)),
            scope: self.scope,
            lives: Duration::from_secs(self.expires_in).min(LONGEST_LIFE),
        })
    }
}

fn read(answer: &Response<Bytes>) -> Result<TokenAnswer, TokenRefused> {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    if answer.status() == StatusCode::OK {
        return serde_json::from_slice(answer.body())
            .map_err(|_| TokenRefused::Answer("it is not a token answer".to_owned()));
    }
    match serde_json::from_slice::<Refusal>(answer.body()) {
        Ok(said) => {
            Err(TokenRefused::Refused { error: said.error, description: said.error_description })
        }
        Err(_) => Err(TokenRefused::Answer(format!("its status is {}", answer.status()))),
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Provider({} as {})", self.0.token_endpoint, self.0.credential.client_id())
    }
}

#[cfg(test)]
mod tests {
    use axum::{Json, Router, routing::any};
    use parking_lot::Mutex;
    use serde_json::json;
    use tegata_core::{BreakerState, Node};

    use super::*;
    use crate::{testing::server::TestServer, transport::TransportLimits};

    /// Several nodes behind one address. Of whom it is served, the test says.
    #[tokio::test]
    async fn nodes_that_know_too_little_do_not_keep_one_that_knows_from_being_asked() {
        let turns: Arc<Mutex<Vec<u16>>> = Arc::default();
        let balancer = Arc::clone(&turns);
        let answer = async move || {
            let status = balancer.lock().pop().unwrap_or(200);
            (StatusCode::from_u16(status).unwrap(), Json(json!({"active": true})))
        };
        let server = TestServer::start(Router::new().fallback(any(answer))).await.unwrap();
        let credential = Credential::secret("gateway", Secret::new("of the gateway".to_owned()));
        let transport = Transport::new(TransportLimits::default());
        let at = |path| server.url(path).parse::<Uri>().unwrap();
        let node = Node::for_tests(1);
        let provider = Provider::new(at("/oauth2/token"), credential, transport, node);
        let endpoint = at("/oauth2/introspect");
        let ask = async |status: u16| {
            turns.lock().push(status);
            provider.is_active(&endpoint, "a token").await
        };
        // Many that are stale, and now and then one that is silent, for which the balancer speaks.
        for turn in 0..40 {
            let refused = ask(if turn % 4 == 3 { 504 } else { 503 }).await;
            assert!(matches!(refused, Err(TokenRefused::Answer(_))), "{turn}: {refused:?}");
        }
        assert_eq!(ask(200).await, Ok(true));
        // Where nobody is there, nobody is asked for a while.
        for _ in 0..BreakerLimits::default().failures {
            assert!(matches!(ask(504).await, Err(TokenRefused::Answer(_))));
        }
        assert_eq!(provider.breaker().state(), BreakerState::Open);
        assert!(matches!(ask(200).await, Err(TokenRefused::Open(_))));
    }
}
