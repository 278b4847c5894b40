//! Calls to other services: with a token for the one that is called, within a time, again where
//! that does no harm, and not at all where it would be in vain.

use std::{collections::HashMap, fmt, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use tegata_core::{Breaker, BreakerLimits, BreakerOpen, BreakerState, Node};
use url::Url;

use self::{call::Behalf, retry::Budget, tokens::Tokens};
pub use self::{
    call::{Call, CannotBeRead, Reply},
    retry::Retries,
};
use crate::{
    authenticate::{Caller, TXN_TOKEN},
    provider::{Provider, TokenRefused},
    trace::Trace,
    transport::{Transport, TransportFailed},
};

mod call;
pub mod challenge;
mod retry;
mod tokens;

/// The calling service's name, for logs. It proves nothing.
pub const SERVICE_NAME: HeaderName = HeaderName::from_static("x-service-name");
/// The caller in short, for logs. It proves nothing.
pub const USER_CONTEXT: HeaderName = HeaderName::from_static("x-user-context");
/// The trace's name, for those who do not read `traceparent`.
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

/// A context that is longer than most servers take of one header is left out.
const LONGEST_CONTEXT: usize = 4096;

/// Why a call has no answer. An answer with a status that says no is an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallFailed {
    /// Nobody said where this service is.
    #[error("there is no target `{0}`: name it when the client is built")]
    UnknownTarget(String),
    /// The call cannot be written as a request.
    #[error("a call to `{target}` cannot be made: {rule}")]
    Malformed {
        /// Which service.
        target: String,
        /// What is wrong.
        rule: &'static str,
    },
    /// The service failed several times in a row and is left alone.
    #[error("`{target}` is not asked: {open}")]
    Open {
        /// Which service.
        target: String,
        /// For how long.
        open: BreakerOpen,
    },
    /// There is no token for the call.
    #[error("there is no token for `{target}`: {refused}")]
    Token {
        /// Which service.
        target: String,
        /// Why.
        refused: TokenRefused,
    },
    /// There is no answer.
    #[error("`{target}` does not answer: {failed}")]
    Transport {
        /// Which service.
        target: String,
        /// Why.
        failed: TransportFailed,
    },
}

/// An address that cannot be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the address `{address}` of `{target}` is not an `http` or `https` URL")]
pub struct BadTarget {
    target: String,
    address: String,
}

/// Calls other services in the name of one. Cheap to clone; clones share tokens and connections.
#[derive(Clone)]
pub struct ServiceClient(Arc<Inner>);

struct Inner {
    service: String,
    targets: HashMap<String, Target>,
    tokens: Tokens,
    transport: Transport,
    retries: Retries,
    budget: Budget,
    node: Node,
}

struct Target {
    base: Url,
    breaker: Breaker,
}

/// A [`ServiceClient`] that is being put together.
#[derive(Debug)]
pub struct Builder {
    service: String,
    provider: Provider,
    targets: Vec<(String, String)>,
    transport: Transport,
    retries: Retries,
    breaker: BreakerLimits,
}

impl ServiceClient {
    /// Begins a client of the service of this name, which gets its tokens from this provider.
    #[must_use]
    pub fn of(service: &str, provider: Provider) -> Builder {
        Builder {
            service: service.to_owned(),
            provider,
            targets: vec![],
            transport: Transport::default(),
            retries: Retries::default(),
            breaker: BreakerLimits::default(),
        }
    }

    /// Makes a call.
    ///
    /// # Errors
    /// [`CallFailed`] where there is no answer.
    pub async fn send(&self, call: Call) -> Result<Reply, CallFailed> {
        let name = call.target.clone();
        let target = self.0.targets.get(&name);
        let target = target.ok_or_else(|| CallFailed::UnknownTarget(name.clone()))?;
        let (url, body) = call.written(&target.base)?;
        self.0.budget.call();
        let (mut attempt, mut renewed) = (0, false);
        let mut last = None;
        loop {
            let headers = self.headers(&call).await?;
            let permit = match (target.breaker.admit(), last.take()) {
                (Ok(permit), _) => permit,
                (Err(_), Some(last)) => return last,
                (Err(open), None) => return Err(CallFailed::Open { target: name, open }),
            };
            let answered = self.0.transport.send(request(&call, &url, &body, headers)?).await;
            match &answered {
                Ok(answer) if answer.status().is_server_error() => permit.failed(),
                Err(error) if error.is_passing() => permit.failed(),
                _ => permit.succeeded(),
            }
            // The token may have been withdrawn, or its key: once, a new one is worth a try. Where the
            // person has to do something, a new one would say the same.
            if matches!(&answered, Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED
                    && challenge::step_up(answer.headers()).is_none())
                && !renewed
                && self.forget(&call)
            {
                renewed = true;
                continue;
            }
            let again = match &answered {
                Ok(answer) => call.repeatable && is_passing(answer.status()),
                Err(error) => error.is_passing() && (call.repeatable || error.was_not_sent()),
            };
            let outcome = answered
                .map(|answer| Reply::new(&name, answer))
                .map_err(|failed| CallFailed::Transport { target: name.clone(), failed });
            if !again
                || !self.0.budget.retry()
                || !self.0.retries.pause(attempt, self.0.node.entropy()).await
            {
                return outcome;
            }
            last = Some(outcome);
            attempt += 1;
        }
    }

    /// Gets the tokens for several calls on behalf of one caller in one exchange. The calls find
    /// them.
    ///
    /// # Errors
    /// [`TokenRefused`]: then none of the calls could be made.
    pub async fn prepare(&self, caller: &Caller, targets: &[&str]) -> Result<(), TokenRefused> {
        self.0.tokens.narrow(caller, targets).await
    }

    /// The breakers and what they do, by name: the targets', and `provider`.
    #[must_use]
    pub fn breakers(&self) -> Vec<(&str, BreakerState)> {
        let targets = self.0.targets.iter();
        let mut states: Vec<_> =
            targets.map(|(name, target)| (name.as_str(), target.breaker.state())).collect();
        states.push(("provider", self.0.tokens.provider().breaker().state()));
        states.sort_unstable_by_key(|(name, _)| *name);
        states
    }

    /// The service's name.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.0.service
    }

    async fn headers(&self, call: &Call) -> Result<HeaderMap, CallFailed> {
        let mut headers = call.headers.clone();
        let token = match &call.behalf {
            Behalf::Nobody => None,
            Behalf::Service(_) => Some(self.0.tokens.own(&call.target).await),
            Behalf::Caller(caller) => Some(self.0.tokens.for_caller(caller, &call.target).await),
        };
        if let Some(token) = token {
            let refused = |refused| CallFailed::Token { target: call.target.clone(), refused };
            let token = token.map_err(refused)?;
            let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| refused(TokenRefused::Answer("the token is not ASCII".into())))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Some(token) = call.transaction() {
            let mut value = HeaderValue::try_from(token.expose().as_str()).map_err(|_| {
                let rule = "its transaction token is not ASCII";
                CallFailed::Malformed { target: call.target.clone(), rule }
            })?;
            value.set_sensitive(true);
            headers.insert(TXN_TOKEN, value);
        }
        let entropy = self.0.node.entropy();
        let caller = call.behalf.caller();
        let begun;
        let trace = if let Some(caller) = caller {
            caller.trace()
        } else {
            begun = call.trace.clone().unwrap_or_else(|| Trace::begin(entropy));
            &begun
        };
        trace.carry(&mut headers, entropy);
        let context = caller
            .and_then(|caller| serde_json::to_string(&caller.context()).ok())
            .filter(|context| context.len() <= LONGEST_CONTEXT);
        let stated = [
            (SERVICE_NAME, Some(self.0.service.clone())),
            (TRACE_ID, Some(trace.trace_id())),
            (USER_CONTEXT, context),
        ];
        for (name, value) in stated {
            if let Some(value) = value.and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(name, value);
            }
        }
        Ok(headers)
    }

    /// Forgets the token of a call. Answers whether there was one.
    fn forget(&self, call: &Call) -> bool {
        match &call.behalf {
            Behalf::Nobody => false,
            Behalf::Service(_) => self.0.tokens.forget(None, &call.target),
            Behalf::Caller(caller) => self.0.tokens.forget(Some(caller), &call.target),
        }
    }
}

impl Builder {
    /// Says where a service is. Its name is the audience of the tokens for it.
    #[must_use]
    pub fn target(mut self, name: &str, address: &str) -> Self {
        self.targets.push((name.to_owned(), address.to_owned()));
        self
    }

    /// Calls over this transport; without it, plain HTTP on this machine with a second for each
    /// attempt.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// How often a call is repeated: three times without it.
    #[must_use]
    pub const fn retrying(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// When a target is left alone: after five failures, for 30 s, without it.
    #[must_use]
    pub const fn breaking(mut self, limits: BreakerLimits) -> Self {
        self.breaker = limits;
        self
    }

    /// The client.
    ///
    /// # Errors
    /// [`BadTarget`] names an address that cannot be called.
    pub fn build(self) -> Result<ServiceClient, BadTarget> {
        let node = self.provider.node().clone();
        let mut targets = HashMap::new();
        for (name, address) in self.targets {
            let base = Url::parse(&address).ok().filter(|url| {
                matches!(url.scheme(), "http" | "https") && url.username().is_empty()
            });
            let Some(base) = base else { return Err(BadTarget { target: name, address }) };
            let breaker = Breaker::new(self.breaker, Arc::clone(node.clock()));
            targets.insert(name, Target { base, breaker });
        }
        Ok(ServiceClient(Arc::new(Inner {
            service: self.service,
            targets,
            tokens: Tokens::new(self.provider),
            transport: self.transport,
            retries: self.retries,
            budget: Budget::default(),
            node,
        })))
    }
}

impl fmt::Debug for ServiceClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceClient({}, {} targets)", self.0.service, self.0.targets.len())
    }
}

/// Statuses by which somebody says that another attempt may end otherwise.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

fn request(
    call: &Call,
    url: &Url,
    body: &Bytes,
    headers: HeaderMap,
) -> Result<Request<Bytes>, CallFailed> {
    let mut request = Request::new(body.clone());
    *request.method_mut() = call.method.clone();
    *request.headers_mut() = headers;
    *request.uri_mut() = url.as_str().parse().map_err(|_| CallFailed::Malformed {
        target: call.target.clone(),
        rule: "its address is not a URI",
    })?;
    Ok(request)
}

#[cfg(test)]
mod tests;
