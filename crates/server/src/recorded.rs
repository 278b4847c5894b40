//! What was decided at the public listener, in the log of decisions.
//!
//! Whatever issues, changes or takes back something is answered only when what was decided is durable, where
//! the log must have it: an answer that cannot be recorded is not given, and while nothing can be recorded
//! nothing is begun. What only verifies is written down without being waited for, and so is what was refused
//! of anything else.
//!
//! A record never holds a body, a query, a header or a credential.

use std::{cell::RefCell, fmt::Write as _, net::IpAddr, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::json;
use tegata_core::{BoxFuture, SinceBoot, StoreError, Timestamp};
use tegata_policy::{Bundle, PolicyId, PolicySet};

use crate::{
    app::App,
    caller,
    headers::{self, NoStore},
    pages,
    problem::Problem,
    refusals::{self, Asked},
    trace::Trace,
};

/// How soon whoever was refused may try again.
const SOON: Duration = Duration::from_secs(1);

/// The status of requests whose client left before the answer.
const LEFT: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::REQUEST_TIMEOUT,
};

/// What was decided about a request.
#[derive(Debug, Clone, Copy)]
pub struct Decision<'d> {
    /// When.
    pub at: Timestamp,
    /// The request.
    pub request: &'d str,
    /// The trace that it belongs to.
    pub trace: &'d str,
    /// The address of the client.
    pub client: IpAddr,
    /// Who asked, where that was found out: a user id or a client id.
    pub subject: Option<&'d str>,
    /// The method.
    pub method: &'d str,
    /// The path, cut where it is longer than any of ours.
    pub path: &'d str,
    /// Whether it was done.
    pub allowed: bool,
    /// Why it was not, in one word.
    pub reason: Option<&'d str>,
    /// The status of the answer.
    pub status: u16,
    /// How long it took.
    pub took: Duration,
    /// The name that whoever asked gave the request, and that it is answered by.
    pub named: Option<&'d str>,
    /// What was decided for whoever asked, who enforces it.
    pub evaluation: Option<Evaluation<'d>>,
}

/// One evaluation among those of a request (AuthZEN).
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'d> {
    /// Which, from 1.
    pub number: usize,
    /// Among how many that were decided.
    pub of: usize,
    /// The digest of the policies that it was decided by, where there are any.
    pub policy_set: Option<&'d str>,
    /// What was asked, and decided.
    pub decided: &'d Evaluated,
}

/// What was asked, and decided about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluated {
    /// What was asked. `None`: that could not be read.
    pub asked: Option<AskedFor>,
    /// Why not. `None`: it is allowed.
    pub reason: Option<&'static str>,
    /// What the reason is about.
    pub about: Option<String>,
    /// The rule of the route, where it is about one.
    pub rule: Option<String>,
    /// The policies that determined it, [`MOST_POLICIES`] at most.
    pub policies: Vec<PolicyId>,
    /// How many more did.
    pub more: usize,
}

/// What was asked about, by its names alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedFor {
    /// Who.
    pub subject: Named,
    /// The action.
    pub action: String,
    /// With what.
    pub resource: Named,
}

/// A subject or a resource. Texts beyond 256 bytes are cut, and end with `…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its type, as it was asked for.
    pub kind: String,
    /// Its id.
    pub id: String,
}

/// How many policies are named with an evaluation.
pub const MOST_POLICIES: usize = 50;

/// The longest text of an evaluation, in bytes. A hundred share one line of a body, and none of them may fill
/// the log with it a hundred times.
const LONGEST: usize = 256;

/// A text as it stands in a record.
pub(crate) fn short(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let mut end = LONGEST;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", text.get(..end).unwrap_or_default())
}

impl Named {
    pub(crate) fn of(kind: &str, id: &str) -> Self {
        Self { kind: short(kind), id: short(id) }
    }
}

/// What was decided about a request for decisions: an extension of its answer.
#[derive(Debug, Clone)]
pub(crate) struct Evaluations {
    policy_set: Option<String>,
    all: Arc<[Evaluated]>,
}

impl Evaluations {
    pub(crate) fn of(set: &PolicySet, all: Vec<Evaluated>) -> Self {
        let digest = |bundle: &Bundle| {
            bundle.digest().iter().fold(String::with_capacity(64), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        };
        Self { policy_set: set.bundle().map(|bundle| digest(bundle)), all: all.into() }
    }
}

/// A decision was not written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decision could not be recorded")]
pub struct NotRecorded;

/// Where decisions are written down.
pub trait Decisions: Send + Sync {
    /// Whether what is issued, changed or taken back must be written down.
    fn is_required(&self) -> bool;

    /// Whether anything can be written down at the moment. Where the last attempt failed, the next one is
    /// waited for.
    fn works(&self) -> BoxFuture<'_, bool>;

    /// Hands over a decision, and does not wait.
    fn append(&self, decision: &Decision<'_>);

    /// Answers when decisions are durable, all of them.
    ///
    /// # Errors
    /// [`NotRecorded`]: one of them is not.
    fn commit<'a>(
        &'a self,
        decisions: &'a [Decision<'a>],
    ) -> BoxFuture<'a, Result<(), NotRecorded>>;
}

tokio::task_local! {
    /// Who asks, as soon as that is found out.
    static BY: RefCell<Option<String>>;
}

/// Takes note of who asks. Where no request is answered, of nobody.
pub(crate) fn by(subject: &str) {
    let _ = BY.try_with(|by| *by.borrow_mut() = Some(subject.to_owned()));
}

/// What becomes of the record of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weight {
    /// It issues, changes or takes back something, or tries to.
    Decides,
    /// It verifies something, or shows it to an administrator.
    Verifies,
    /// Neither: pages and documents. Only refusals are of interest.
    Shows,
}

impl Weight {
    fn of(method: &Method, path: &str) -> Self {
        let only_looks = matches!(*method, Method::GET | Method::HEAD);
        match path {
            _ if *method == Method::OPTIONS => Self::Shows,
            // Codes are issued there.
            "/oauth2/authorize" => Self::Decides,
            "/oauth2/introspect" | "/oauth2/userinfo" | "/oauth2/revocations" => Self::Verifies,
            // What services keep with sessions, and which cookies somebody agrees to, grants nothing.
            _ if path.starts_with("/api/sessions/") || path.starts_with("/api/consent") => {
                Self::Shows
            }
            _ if only_looks && path.starts_with("/admin/") => Self::Verifies,
            _ if only_looks => Self::Shows,
            _ => Self::Decides,
        }
    }
}

/// A record until it is written down: if whoever asked goes away, too.
struct Pending<'a> {
    app: &'a App,
    log: &'a dyn Decisions,
    weight: Weight,
    asked: Asked,
    trace: Trace,
    method: Method,
    path: String,
    subject: Option<String>,
    began: SinceBoot,
    written: bool,
}

/// How a request was answered.
struct Answered {
    status: StatusCode,
    reason: Option<&'static str>,
    refused: bool,
    evaluations: Option<Evaluations>,
}

impl Pending<'_> {
    fn answered(&self, answer: &Response) -> Answered {
        let (status, reason) = (answer.status(), refusals::error(answer));
        let evaluations = answer.extensions().get::<Evaluations>().cloned();
        Answered { status, reason, refused: self.asked.is_refused(answer), evaluations }
    }

    fn decision<'d>(&'d self, status: StatusCode, reason: Option<&'d str>) -> Decision<'d> {
        // Who is sent elsewhere with an error, or to prove who they are first, did not get what they asked for.
        // At the sign-in page they did: what a client is told afterwards is another matter.
        let refused = status.is_client_error()
            || status.is_server_error()
            || (reason.is_some() && !is_sign_in(&self.path));
        Decision {
            at: self.app.node().now(),
            request: &self.trace.request_id,
            trace: &self.trace.trace_id,
            client: self.asked.address,
            subject: self.subject.as_deref(),
            method: self.method.as_str(),
            path: refusals::path(&self.path),
            // Whoever left was not refused; what they asked for may have been done.
            allowed: !refused || status == LEFT,
            reason,
            status: status.as_u16(),
            took: self.app.node().elapsed(self.began),
            named: self.trace.given(),
            evaluation: None,
        }
    }

    /// What was decided: a line for each, where a request asked for several decisions.
    fn decisions<'d>(&'d self, answered: &'d Answered) -> Vec<Decision<'d>> {
        let whole = self.decision(answered.status, answered.reason);
        let Some(Evaluations { policy_set, all }) = &answered.evaluations else {
            return vec![whole];
        };
        let one = |(index, decided): (usize, &'d Evaluated)| Decision {
            allowed: decided.reason.is_none(),
            reason: decided.reason,
            evaluation: Some(Evaluation {
                number: index + 1,
                of: all.len(),
                policy_set: policy_set.as_deref(),
                decided,
            }),
            ..whole
        };
        all.iter().enumerate().map(one).collect()
    }

    /// Writes it down. Answers whether the answer may be given.
    async fn write(mut self, answered: Answered) -> Result<(), NotRecorded> {
        self.written = true;
        let decisions = self.decisions(&answered);
        match self.weight {
            Weight::Decides if self.log.is_required() => self.log.commit(&decisions).await,
            Weight::Shows if !answered.refused => Ok(()),
            _ => {
                decisions.iter().for_each(|decision| self.log.append(decision));
                Ok(())
            }
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.written && self.weight != Weight::Shows {
            self.subject = BY.try_with(|by| by.borrow().clone()).ok().flatten();
            self.log.append(&self.decision(LEFT, None));
        }
    }
}

/// Has a request answered, and what was decided about it written down.
pub(crate) async fn recorded<F>(
    app: &App,
    request: Request,
    answer: impl FnOnce(Request) -> F,
) -> Response
where
    F: Future<Output = Response>,
{
    let Some(log) = app.decisions() else { return answer(request).await };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let weight = Weight::of(&method, &path);
    let reader = match weight {
        Weight::Decides => Reader::of(app, &path, request.headers()),
        Weight::Verifies | Weight::Shows => Reader::default(),
    };
    if weight == Weight::Decides && log.is_required() && !log.works().await {
        return unrecorded(app, &path, reader);
    }
    let address = caller::address(app, request.headers(), request.extensions());
    let Some(trace) = request.extensions().get::<Trace>().cloned() else {
        return answer(request).await;
    };
    let (asked, began) = (Asked::of(&request, address), app.node().since_boot());
    let mut pending = Pending {
        app,
        log,
        weight,
        asked,
        trace,
        method,
        path,
        subject: None,
        began,
        written: false,
    };
    let answering = async move {
        let answer = answer(request).await;
        pending.subject = BY.try_with(|by| by.borrow().clone()).ok().flatten();
        let (path, answered) = (pending.path.clone(), pending.answered(&answer));
        match pending.write(answered).await {
            Ok(()) => answer,
            Err(NotRecorded) => unrecorded(app, &path, reader),
        }
    };
    BY.scope(RefCell::default(), answering).await
}

/// Who reads an answer that comes before anything else of the request is looked at.
#[derive(Default)]
struct Reader {
    /// What a page is made for, where one is wanted.
    page: Option<HeaderMap>,
    /// Whose scripts may read it.
    script: Option<HeaderValue>,
}

impl Reader {
    fn of(app: &App, path: &str, headers: &HeaderMap) -> Self {
        let is_for_scripts = path.starts_with("/api/auth/");
        let script = is_for_scripts.then(|| caller::script(app, headers)).flatten();
        Self { page: page_wanted(headers), script }
    }
}

/// What a page is made for, where one is wanted.
fn page_wanted(headers: &HeaderMap) -> Option<HeaderMap> {
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    accepted.filter(|accepted| accepted.contains("text/html")).map(|_| headers.clone())
}

/// Whether somebody signs in there.
fn is_sign_in(path: &str) -> bool {
    path == "/login"
}

/// What is answered where nothing can be written down.
fn unrecorded(app: &App, path: &str, reader: Reader) -> Response {
    let detail = "what is decided must be recorded, and cannot be at present";
    if let Some(headers) = reader.page {
        let error = StoreError::Full { backend: "the log of decisions", detail: detail.to_owned() };
        return pages::away(app, &headers, error);
    }
    let error = "temporarily_unavailable";
    if path.starts_with("/oauth2/") {
        let body = json!({"error": error, "error_description": detail});
        let mut response = (StatusCode::SERVICE_UNAVAILABLE, NoStore(Json(body))).into_response();
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, SOON.as_secs().into());
        // Scripts of any origin may read what these endpoints answer.
        if ["/oauth2/token", "/oauth2/revoke", "/oauth2/par", "/oauth2/device"].contains(&path) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            let exposed = HeaderValue::from_static("Retry-After");
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
        response.extensions_mut().insert(refusals::Named(error));
        return response;
    }
    let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).named(error).after(SOON);
    let mut response = problem.into_response();
    headers::no_store(response.headers_mut());
    if path.starts_with("/api/auth/") {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = reader.script {
        headers::open_to(origin, response.headers_mut());
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_issues_changes_or_takes_back_must_be_written_down() {
        for (method, path, weight) in [
            (Method::POST, "/oauth2/token", Weight::Decides),
            (Method::POST, "/oauth2/revoke", Weight::Decides),
            (Method::POST, "/oauth2/par", Weight::Decides),
            (Method::GET, "/oauth2/authorize", Weight::Decides),
            (Method::PUT, "/oauth2/register/x", Weight::Decides),
            (Method::POST, "/login", Weight::Decides),
            (Method::POST, "/login/device", Weight::Decides),
            (Method::POST, "/console/keys", Weight::Decides),
            (Method::POST, "/api/auth/refresh", Weight::Decides),
            (Method::DELETE, "/api/auth/sessions/x", Weight::Decides),
            (Method::DELETE, "/admin/v1/users/x", Weight::Decides),
            // A method that nobody knows could change something.
            (Method::from_bytes(b"BREW").unwrap(), "/admin/v1/users", Weight::Decides),
            (Method::GET, "/admin/v1/users", Weight::Verifies),
            (Method::POST, "/oauth2/introspect", Weight::Verifies),
            (Method::GET, "/oauth2/userinfo", Weight::Verifies),
            (Method::GET, "/.well-known/jwks.json", Weight::Shows),
            (Method::OPTIONS, "/oauth2/token", Weight::Shows),
            (Method::GET, "/login", Weight::Shows),
        ] {
            assert_eq!(Weight::of(&method, path), weight, "{method} {path}");
        }
    }
}
