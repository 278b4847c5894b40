//! What a sidecar answers.
//!
//! | path | answer |
//! |---|---|
//! | `/check`, and all beneath it, by any method | 200 whose request it is, or the refusal to pass on |
//! | `/health/live`, `/health/ready`, `/health` | 200, or 503 where nothing can be judged |
//! | `/metrics` | what is counted |

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Body as _;
use hyper::body::Incoming;
use serde_json::json;
use tegata_sdk::{NotChecked, Problem, SessionContext, authenticate::memo};

use super::{LONGEST_VALUE, Sidecar};

/// What a proxy puts into the request that it forwards. They always stand in the answer, so that what a
/// client sent under these names is replaced, also where there is nothing to say.
const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
const USER_ROLES: HeaderName = HeaderName::from_static("x-user-roles");
const SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
const TRACE_ID: HeaderName = HeaderName::from_static("x-trace-id");

type Answer = Response<Full<Bytes>>;

impl Sidecar {
    pub(super) async fn answer(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        let mut answer = match path {
            "/health/live" => text(StatusCode::OK, "ok\n".to_owned()),
            "/health" | "/health/ready" => self.health(),
            "/metrics" => self.metrics(),
            _ if path == "/check" || path.starts_with("/check/") => self.check(request).await,
            _ => problem(&Problem::new(StatusCode::NOT_FOUND, "ask `/check`")),
        };
        // What follows the head is nobody's business here, and may be long.
        if !request.body().is_end_stream() {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
        answer
    }

    async fn check(&self, request: &Request<Incoming>) -> Answer {
        let inner = &*self.0;
        let node = inner.authenticator.node();
        let began = node.since_boot();
        let headers = request.headers();
        if headers.values().any(|value| value.len() > LONGEST_VALUE) {
            inner.counted.check("too_long", None, node.elapsed(began));
            let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
            return problem(&Problem::new(status, "a header value is longer than 8192 bytes"));
        }
        let (settled, from) = inner.memo.authenticate(&inner.authenticator, headers).await;
        let settled = settled.map(|caller| SessionContext::of(&caller)).map_err(NotChecked::from);
        let is_hit = from == memo::FoundIn::Memo;
        let took = node.elapsed(began);
        match settled {
            Ok(session) => {
                inner.counted.check("valid", Some(is_hit), took);
                told(&session)
            }
            Err(refused) => {
                let status = match refused.status() {
                    StatusCode::SERVICE_UNAVAILABLE => "unavailable",
                    _ => "invalid",
                };
                inner.counted.check(status, Some(is_hit), took);
                tracing::info!(reason = %refused, "refused");
                let mut answer = problem(&refused.problem);
                let headers = answer.headers_mut();
                if let Some(challenge) = refused.challenge {
                    headers.insert(header::WWW_AUTHENTICATE, challenge);
                }
                if let Some(seconds) = refused.retry_after {
                    headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
                }
                answer
            }
        }
    }

    fn health(&self) -> Answer {
        let staleness = self.0.revocations.staleness();
        let seconds = staleness.map(|age| age.as_secs_f64());
        let (status, word) = if self.is_ready() {
            (StatusCode::OK, "healthy")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "unhealthy")
        };
        let mut told = json!({"status": word, "staleness_seconds": seconds});
        if let (false, Some(members)) = (self.is_ready(), told.as_object_mut()) {
            members.insert("reason".to_owned(), "revocations_stale".into());
        }
        json_answer(status, "application/json", told.to_string().into())
    }

    fn metrics(&self) -> Answer {
        let inner = &*self.0;
        let known = (inner.revocations.staleness(), inner.revocations.position());
        match inner.counted.text(known, inner.memo.len()) {
            Ok(shown) => text(StatusCode::OK, shown),
            Err(_) => problem(&Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "")),
        }
    }
}

/// Whose request it is: as JSON, and in headers for proxies.
fn told(session: &SessionContext) -> Answer {
    // Strings, lists of them and a number always have a JSON form.
    let body = serde_json::to_vec(session).unwrap_or_default();
    let mut answer = json_answer(StatusCode::OK, "application/json", body.into());
    let empty = || HeaderValue::from_static("");
    // What cannot stand in a header is left out: less is said, never something else.
    let value = |text: &str| HeaderValue::try_from(text).unwrap_or_else(|_| empty());
    let headers = answer.headers_mut();
    headers.insert(USER_ID, value(session.user_id.as_deref().unwrap_or_default()));
    headers.insert(SESSION_ID, value(session.session_id.as_deref().unwrap_or_default()));
    headers.insert(USER_ROLES, value(&session.roles.join(",")));
    headers.insert(TRACE_ID, value(&session.trace_id));
    answer
}

fn problem(problem: &Problem) -> Answer {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json_answer(status, Problem::MEDIA_TYPE, problem.to_json().into())
}

fn text(status: StatusCode, body: String) -> Answer {
    json_answer(status, "text/plain; version=0.0.4; charset=utf-8", body.into())
}

fn json_answer(status: StatusCode, media_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    // What counts now may be taken back in a moment.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
