//! A browser, as far as a server can tell: it keeps cookies, says where forms come from, and follows
//! nothing by itself.

use std::{collections::BTreeMap, net::IpAddr};

use axum::{Router, body::Body};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tegata_server::Peer;
use tower::ServiceExt as _;

use super::bench::{Bench, HOME, ISSUER, PASSWORD};

/// A browser with its cookies.
#[derive(Clone)]
pub(crate) struct Browser {
    pub(crate) router: Router,
    pub(crate) address: IpAddr,
    pub(crate) agent: &'static str,
    pub(crate) language: Option<&'static str>,
    /// Name, then value and path.
    pub(crate) jar: BTreeMap<String, (String, String)>,
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

pub(crate) const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Firefox/140.0";

impl Browser {
    pub(crate) fn new(bench: &Bench) -> Self {
        Self {
            router: bench.router.clone(),
            address: HOME,
            agent: FIREFOX,
            language: None,
            jar: BTreeMap::new(),
        }
    }

    /// A browser in which alice is signed in through the browser API, and the answer.
    pub(crate) async fn signed_in(bench: &Bench) -> (Self, Value) {
        let mut browser = Self::new(bench);
        let answer = browser.log_in("alice", PASSWORD).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        let told = answer.json();
        (browser, told)
    }

    pub(crate) async fn log_in(&mut self, username: &str, password: &str) -> Answer {
        let credentials = serde_json::json!({"username": username, "password": password});
        self.call(Method::POST, "/api/auth/login", None, Some(&credentials)).await
    }

    /// Follows a link.
    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.send(Request::get(local(target)).body(Body::empty()).unwrap()).await
    }

    /// Sends a form of our own page.
    pub(crate) async fn submit(&mut self, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.submit_from(target, fields, &[("origin", ISSUER), ("sec-fetch-site", "same-origin")])
            .await
    }

    /// Sends a form with these headers.
    pub(crate) async fn submit_from(
        &mut self,
        target: &str,
        fields: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request =
            Request::post(target).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        // A browser that says where a form comes from says what its answer is for.
        let says = |it: &str| headers.iter().any(|(name, _)| *name == it);
        if says("sec-fetch-site") && !says("sec-fetch-dest") {
            request =
                request.header("sec-fetch-dest", "document").header("sec-fetch-mode", "navigate");
        }
        self.send(request.body(Body::from(encoded(fields))).unwrap()).await
    }

    /// Calls the browser API from a script of our own.
    pub(crate) async fn call(
        &mut self,
        method: Method,
        target: &str,
        csrf: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header("origin", ISSUER)
            .header("sec-fetch-site", "same-origin");
        if let Some(token) = csrf {
            request = request.header("x-csrf-token", token);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    /// Sends a request with the browser's cookies, and keeps what the answer sets.
    pub(crate) async fn send(&mut self, mut request: Request<Body>) -> Answer {
        let path = request.uri().path().to_owned();
        let sent: Vec<_> = self
            .jar
            .iter()
            .filter(|(_, (_, under))| path.starts_with(under.as_str()))
            .map(|(name, (value, _))| format!("{name}={value}"))
            .collect();
        let headers = request.headers_mut();
        if !sent.is_empty() && !headers.contains_key(header::COOKIE) {
            headers.insert(header::COOKIE, sent.join("; ").parse().unwrap());
        }
        headers.insert(header::USER_AGENT, self.agent.parse().unwrap());
        if let Some(language) = self.language {
            headers.insert(header::ACCEPT_LANGUAGE, language.parse().unwrap());
        }
        request.extensions_mut().insert(Peer(self.address));
        let answer = Answer::of(&self.router, request).await;
        self.take(&answer);
        answer
    }

    /// Keeps the cookies that an answer sets, and forgets those that it takes away.
    pub(crate) fn take(&mut self, answer: &Answer) {
        for set in answer.headers.get_all(header::SET_COOKIE) {
            self.keep(set.to_str().unwrap());
        }
    }

    fn keep(&mut self, set: &str) {
        let mut parts = set.split("; ");
        let (name, value) = parts.next().unwrap().split_once('=').unwrap();
        let path = set.split("; ").find_map(|part| part.strip_prefix("Path=")).unwrap();
        if parts.any(|part| part == "Max-Age=0") {
            self.jar.remove(name);
        } else {
            self.jar.insert(name.to_owned(), (value.to_owned(), path.to_owned()));
        }
    }

    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.jar.get(name).map(|(value, _)| value.as_str())
    }
}

impl Answer {
    /// The answer to a request as it is.
    pub(crate) async fn of(router: &Router, request: Request<Body>) -> Self {
        let response = router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let body = String::from_utf8(body).unwrap();
        Self { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} is no JSON", self.body))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// Where the browser is sent.
    pub(crate) fn location(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.body);
        self.header("location")
    }

    /// A parameter of where the browser is sent.
    pub(crate) fn sent_with(&self, name: &str) -> Option<String> {
        let address = url::Url::parse(ISSUER).unwrap().join(self.location()).unwrap();
        let found = address.query_pairs().find(|(known, _)| known == name);
        found.map(|(_, value)| value.into_owned())
    }

    /// The value of a field of the page's form.
    pub(crate) fn field(&self, name: &str) -> &str {
        let start = format!("name=\"{name}\"");
        let (_, after) =
            self.body.split_once(&start).unwrap_or_else(|| panic!("no {name} in {}", self.body));
        let (_, value) = after.split_once("value=\"").unwrap();
        value.split_once('"').unwrap().0
    }
}

/// Fields as a browser encodes them.
pub(crate) fn encoded(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The path and query of an address of ours.
fn local(target: &str) -> &str {
    target.strip_prefix(ISSUER).unwrap_or(target)
}
