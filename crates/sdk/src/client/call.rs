//! One call to another service, and its answer.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use tegata_core::{Secret, StepUp};
use url::Url;

use super::{CallFailed, challenge};
use crate::{authenticate::Caller, propagate::TransactionIssued, trace::Trace};

/// A call that is to be made.
#[derive(Debug, Clone)]
pub struct Call {
    pub(super) method: Method,
    pub(super) target: String,
    segments: Vec<String>,
    query: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
    body: Result<Bytes, &'static str>,
    pub(super) behalf: Behalf,
    transaction: Option<Arc<Secret<String>>>,
    pub(super) trace: Option<Trace>,
    pub(super) repeatable: bool,
}

/// For whom a call is made.
#[derive(Debug, Clone)]
pub(super) enum Behalf {
    /// Without any token.
    Nobody,
    /// For the calling service, perhaps because of this caller.
    Service(Option<Caller>),
    /// For this caller.
    Caller(Caller),
}

impl Behalf {
    pub(super) const fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Nobody => None,
            Self::Service(cause) => cause.as_ref(),
            Self::Caller(caller) => Some(caller),
        }
    }
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

impl Call {
    /// A call to a service, with a token of the calling service's own. The path is given in
    /// segments, which are encoded: no segment becomes two, whatever it holds.
    #[must_use]
    pub fn new(method: Method, target: &str, path: &[&str]) -> Self {
        Self {
            // RFC 9110 §9.2.2.
            repeatable: method.is_idempotent(),
            method,
            target: target.to_owned(),
            segments: path.iter().map(|&segment| segment.to_owned()).collect(),
            query: vec![],
            headers: HeaderMap::new(),
            body: Ok(Bytes::new()),
            behalf: Behalf::Service(None),
            transaction: None,
            trace: None,
        }
    }

    /// `GET`; see [`Self::new`].
    #[must_use]
    pub fn get(target: &str, path: &[&str]) -> Self {
        Self::new(Method::GET, target, path)
    }

    /// `POST`; see [`Self::new`].
    #[must_use]
    pub fn post(target: &str, path: &[&str]) -> Self {
        Self::new(Method::POST, target, path)
    }

    /// `DELETE`; see [`Self::new`].
    #[must_use]
    pub fn delete(target: &str, path: &[&str]) -> Self {
        Self::new(Method::DELETE, target, path)
    }

    /// Speaks for this caller, with a token that is made from the caller's and is good for the
    /// target alone.
    #[must_use]
    pub fn on_behalf_of(mut self, caller: &Caller) -> Self {
        self.behalf = Behalf::Caller(caller.clone());
        self
    }

    /// Speaks for the calling service, and says because of which caller.
    #[must_use]
    pub fn because_of(mut self, caller: &Caller) -> Self {
        self.behalf = Behalf::Service(Some(caller.clone()));
        self
    }

    /// Shows no token: for what is open to everybody.
    #[must_use]
    pub fn anonymous(mut self) -> Self {
        self.behalf = Behalf::Nobody;
        self
    }

    /// Belongs to this transaction, whose token goes with it. A call because of a caller, or on its
    /// behalf, belongs to the caller's without that, and passes its token on unchanged.
    #[must_use]
    pub fn in_transaction(mut self, begun: &TransactionIssued) -> Self {
        self.transaction = Some(Arc::clone(&begun.token));
        self
    }

    /// The transaction token that goes with it.
    pub(super) fn transaction(&self) -> Option<&Secret<String>> {
        let of_caller = || Some(self.behalf.caller()?.transaction()?.token());
        self.transaction.as_ref().or_else(of_caller).map(AsRef::as_ref)
    }

    /// Belongs to this trace; a call because of a caller belongs to the caller's.
    #[must_use]
    pub fn within(mut self, trace: &Trace) -> Self {
        self.trace = Some(trace.clone());
        self
    }

    /// Adds a parameter to the query.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        self.query.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends this as JSON.
    #[must_use]
    pub fn json(mut self, body: &impl Serialize) -> Self {
        self.body = serde_json::to_vec(body).map(Bytes::from).map_err(|_| "its body is not JSON");
        self.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        self
    }

    /// Names what the call does, in `Idempotency-Key`, so that doing it twice is doing it once. The
    /// call may then be repeated whatever its method.
    #[must_use]
    pub fn once(mut self, key: &str) -> Self {
        match HeaderValue::try_from(key) {
            Ok(key) => {
                self.headers.insert(IDEMPOTENCY_KEY, key);
                self.repeatable = true;
            }
            Err(_) => self.body = Err("its idempotency key has no form as a header"),
        }
        self
    }

    /// The address and the body.
    pub(super) fn written(&self, base: &Url) -> Result<(Url, Bytes), CallFailed> {
        let malformed = |rule| CallFailed::Malformed { target: self.target.clone(), rule };
        // A segment of dots would leave the path that the caller of this function meant.
        if self.segments.iter().any(|segment| matches!(segment.as_str(), "" | "." | "..")) {
            return Err(malformed("a segment of its path is empty or made of dots"));
        }
        let body = self.body.clone().map_err(malformed)?;
        let mut url = base.clone();
        url.path_segments_mut()
            .map_err(|()| malformed("its target has no path"))?
            .pop_if_empty()
            .extend(&self.segments);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok((url, body))
    }
}

/// The answer to a call.
#[derive(Debug, Clone)]
pub struct Reply {
    target: String,
    response: Response<Bytes>,
}

/// An answer is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{target}` answered {status} with a body that is not what was expected")]
pub struct CannotBeRead {
    target: String,
    status: StatusCode,
}

impl Reply {
    pub(super) fn new(target: &str, response: Response<Bytes>) -> Self {
        Self { target: target.to_owned(), response }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Whether the status is 2xx.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status().is_success()
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// What the service asks of the person on whose behalf it was called (RFC 9470): that they
    /// authenticate more strongly, or once more. It is passed on with
    /// [`Caller::ask_step_up`](crate::Caller::ask_step_up). `None`: it asks for nothing of the kind.
    #[must_use]
    pub fn step_up(&self) -> Option<StepUp> {
        let refused = self.status() == StatusCode::UNAUTHORIZED;
        refused.then(|| challenge::step_up(self.headers())).flatten()
    }

    /// The body as it came.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        self.response.body()
    }

    /// The body, read as JSON.
    ///
    /// # Errors
    /// [`CannotBeRead`] where it is something else.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, CannotBeRead> {
        let unread = |_| CannotBeRead { target: self.target.clone(), status: self.status() };
        serde_json::from_slice(self.response.body()).map_err(unread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(path: &[&str]) -> Result<String, CallFailed> {
        let base = Url::parse("http://127.0.0.1:8100/api/").unwrap();
        Call::get("orders", path).query("q", "a b&c").written(&base).map(|(url, _)| url.to_string())
    }

    #[test]
    fn no_segment_leaves_its_place() {
        assert_eq!(
            address(&["orders", "a/../../b?x#y%2e é"]).unwrap(),
            "http://127.0.0.1:8100/api/orders/a%2F..%2F..%2Fb%3Fx%23y%252e%20%C3%A9?q=a+b%26c"
        );
        for bad in ["", ".", ".."] {
            assert!(
                matches!(address(&["orders", bad]), Err(CallFailed::Malformed { .. })),
                "{bad}"
            );
        }
    }

    #[test]
    fn only_what_does_no_harm_twice_is_repeatable() {
        assert!(Call::get("a", &["b"]).repeatable && Call::delete("a", &["b"]).repeatable);
        assert!(!Call::post("a", &["b"]).repeatable);
        assert!(Call::post("a", &["b"]).once("k").repeatable);
        let base = Url::parse("http://127.0.0.1/").unwrap();
        assert!(Call::post("a", &["b"]).once("k\n").written(&base).is_err());
    }
}
