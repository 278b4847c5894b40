//! What was decided at the public listener is written down, and nothing is issued that could not be.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Waker},
};

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use hyper::body::Frame;
use tegata_core::BoxFuture;
use tegata_server::{Decision, Decisions, Evaluated, NotRecorded};

use super::{
    bench::{Bench, SECRET},
    browser::{Answer, Browser},
    flow::{authorize, basic, code, sign_in_on_page},
};

/// A log of decisions in memory.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) required: AtomicBool,
    failing: AtomicBool,
    /// Records are refused, and nobody knows before.
    pub(crate) refusing: AtomicBool,
    all: Mutex<Vec<Written>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) durable: bool,
    pub(crate) what: String,
    pub(crate) subject: Option<String>,
    pub(crate) allowed: bool,
    pub(crate) reason: Option<String>,
    pub(crate) status: u16,
    pub(crate) named: Option<String>,
    pub(crate) evaluation: Option<(usize, usize, Option<String>, Evaluated)>,
    pub(crate) whole: String,
}

impl Kept {
    fn keep(&self, decision: &Decision<'_>, durable: bool) {
        self.all.lock().unwrap().push(Written {
            durable,
            what: format!("{} {}", decision.method, decision.path),
            subject: decision.subject.map(str::to_owned),
            allowed: decision.allowed,
            reason: decision.reason.map(str::to_owned),
            status: decision.status,
            named: decision.named.map(str::to_owned),
            evaluation: decision
                .evaluation
                .map(|it| (it.number, it.of, it.policy_set.map(str::to_owned), it.decided.clone())),
            whole: format!("{decision:?}"),
        });
    }

    pub(crate) fn taken(&self) -> Vec<Written> {
        std::mem::take(&mut *self.all.lock().unwrap())
    }
}

impl Decisions for Kept {
    fn is_required(&self) -> bool {
        self.required.load(Ordering::SeqCst)
    }

    fn works(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::ready(!self.failing.load(Ordering::SeqCst)))
    }

    fn append(&self, decision: &Decision<'_>) {
        self.keep(decision, false);
    }

    fn commit<'a>(
        &'a self,
        decisions: &'a [Decision<'a>],
    ) -> BoxFuture<'a, Result<(), NotRecorded>> {
        Box::pin(async move {
            if self.refusing.load(Ordering::SeqCst) {
                return Err(NotRecorded);
            }
            decisions.iter().for_each(|decision| self.keep(decision, true));
            Ok(())
        })
    }
}

async fn token(browser: &mut Browser, secret: &str) -> Answer {
    let request = Request::post("/oauth2/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let body = format!("grant_type=client_credentials&client_id=robot&client_secret={secret}");
    browser.send(request.body(Body::from(body)).unwrap()).await
}

async fn good(browser: &mut Browser) -> Answer {
    let request = Request::post("/oauth2/token")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::AUTHORIZATION, basic("service"));
    browser.send(request.body(Body::from("grant_type=client_credentials")).unwrap()).await
}

#[tokio::test]
async fn what_is_issued_and_refused_is_written_down_with_who_asked_and_without_secrets() {
    let bench = Bench::new().await;
    bench.decisions.required.store(true, Ordering::SeqCst);
    let mut browser = Browser::new(&bench);
    bench.decisions.taken();
    assert_eq!(good(&mut browser).await.status, StatusCode::OK);
    assert_eq!(token(&mut browser, "hunter2").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(browser.log_in("alice", "hunter2").await.status, StatusCode::UNAUTHORIZED);
    let nobody = Request::get("/admin/v1/users").header("authorization", "Bearer hunter2");
    let refused = browser.send(nobody.body(Body::empty()).unwrap()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    // Nothing of this is a decision.
    assert_eq!(browser.get("/.well-known/jwks.json").await.status, StatusCode::OK);
    assert_eq!(browser.get("/nowhere").await.status, StatusCode::NOT_FOUND);
    let all = bench.decisions.taken();
    let brief: Vec<_> = all
        .iter()
        .map(|it| (it.what.as_str(), it.subject.as_deref(), it.reason.as_deref(), it.status))
        .collect();
    assert_eq!(
        brief,
        [
            ("POST /oauth2/token", Some("service"), None, 200),
            ("POST /oauth2/token", None, Some("invalid_client"), 401),
            ("POST /api/auth/login", None, Some("invalid_credentials"), 401),
            ("GET /admin/v1/users", None, Some("invalid_token"), 401),
        ]
    );
    assert!(all[0].allowed && all[1..].iter().all(|it| !it.allowed));
    // What only looks waits for no disk.
    assert_eq!(all.iter().map(|it| it.durable).collect::<Vec<_>>(), [true, true, true, false]);
    let (_, whose) = Browser::signed_in(&bench).await;
    drop(whose);
    let signed_in = bench.decisions.taken();
    let alice = Some(bench.alice.id.as_str().to_owned());
    assert!(signed_in.iter().any(|it| it.subject == alice && it.allowed), "{signed_in:?}");
    for it in all.iter().chain(&signed_in) {
        assert!(!it.whole.contains("hunter2") && !it.whole.contains(SECRET), "{it:?}");
    }
}

#[tokio::test]
async fn nothing_is_issued_that_could_not_be_written_down() {
    let bench = Bench::new().await;
    bench.decisions.required.store(true, Ordering::SeqCst);
    let mut browser = Browser::new(&bench);
    for flag in [&bench.decisions.failing, &bench.decisions.refusing] {
        flag.store(true, Ordering::SeqCst);
        let answer = good(&mut browser).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        assert_eq!(answer.headers[header::RETRY_AFTER], "1");
        assert!(answer.body.contains("temporarily_unavailable"), "{}", answer.body);
        assert!(!answer.body.contains("access_token"), "{}", answer.body);
        let answer = browser.log_in("alice", super::bench::PASSWORD).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        assert!(!answer.headers.contains_key(header::SET_COOKIE));
        // A person reads a page.
        let page = Request::post("/login").header(header::ACCEPT, "text/html");
        let page = page.header("accept-language", "ja").body(Body::empty()).unwrap();
        let answer = browser.send(page).await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        assert!(answer.body.contains("lang=\"ja\""), "{}", answer.body);
        // Verification goes on, and what it needs.
        assert_eq!(browser.get("/.well-known/jwks.json").await.status, StatusCode::OK);
        let form = "application/x-www-form-urlencoded";
        let introspect = Request::post("/oauth2/introspect").header(header::CONTENT_TYPE, form);
        let introspect = introspect.header(header::AUTHORIZATION, basic("service"));
        let answer = browser.send(introspect.body(Body::from("token=none")).unwrap()).await;
        assert!(answer.status != StatusCode::SERVICE_UNAVAILABLE, "{}", answer.body);
        flag.store(false, Ordering::SeqCst);
        assert_eq!(good(&mut browser).await.status, StatusCode::OK);
    }
    // Where it need not be, what cannot be written down is issued.
    bench.decisions.required.store(false, Ordering::SeqCst);
    bench.decisions.failing.store(true, Ordering::SeqCst);
    assert_eq!(good(&mut browser).await.status, StatusCode::OK);
}

#[tokio::test]
async fn who_goes_away_before_the_answer_is_written_down_too() {
    let bench = Bench::new().await;
    bench.decisions.required.store(true, Ordering::SeqCst);
    let mut browser = Browser::new(&bench);
    bench.decisions.taken();
    {
        // A body of which nothing comes: the client is known before, and leaves.
        let (_sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let request = Request::post("/oauth2/token")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let request = request.body(Body::new(Endless(receiver))).unwrap();
        let mut leaves = Box::pin(browser.send(request));
        let mut context = Context::from_waker(Waker::noop());
        assert!(leaves.as_mut().poll(&mut context).is_pending());
        assert!(bench.decisions.taken().is_empty());
    }
    let left = bench.decisions.taken();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((left[0].status, left[0].what.as_str()), (499, "POST /oauth2/token"));
}

#[tokio::test]
async fn who_is_sent_elsewhere_without_what_they_asked_for_was_refused() {
    let bench = Bench::new().await;
    bench.decisions.required.store(true, Ordering::SeqCst);
    let mut browser = Browser::new(&bench);
    let silent = authorize(&[("prompt", "none")]);
    bench.decisions.taken();
    browser.get(&silent).await;
    let posted = authorize(&[("prompt", "none"), ("response_mode", "form_post")]);
    assert_eq!(browser.get(&posted).await.status, StatusCode::OK);
    let answer = sign_in_on_page(&mut browser, &authorize(&[])).await;
    let page = browser.get(answer.location()).await;
    let form = |decision| {
        let token = page.field("csrf_token");
        [("csrf_token", token), ("request", page.field("request")), ("decision", decision)]
    };
    browser.submit("/oauth2/consent", &form("deny")).await;
    code(&mut browser, &authorize(&[])).await;
    let all = bench.decisions.taken();
    let brief: Vec<_> = all
        .iter()
        .map(|it| (it.what.as_str(), it.allowed, it.reason.as_deref(), it.status))
        .collect();
    let (asks, says) = ("GET /oauth2/authorize", "POST /oauth2/consent");
    assert_eq!(
        brief,
        [
            (asks, false, Some("login_required"), 303),
            (asks, false, Some("login_required"), 200),
            (asks, false, Some("login_required"), 303),
            // They signed in, whatever they have to agree to then.
            ("POST /login", true, None, 303),
            (says, false, Some("access_denied"), 303),
            (asks, false, Some("consent_required"), 303),
            (says, true, None, 303),
        ]
    );
    assert!(all.iter().all(|it| it.durable), "{all:?}");
    // Nobody is signed in any more who could change something on a page.
    let mut nobody = Browser::new(&bench);
    nobody.submit("/login/sessions", &[("sid", "x")]).await;
    let last = bench.decisions.taken().pop().unwrap();
    assert_eq!((last.allowed, last.reason.as_deref()), (false, Some("login_required")));
}

#[tokio::test]
async fn scripts_of_allowed_origins_can_read_that_nothing_can_be_written_down() {
    let bench = Bench::new().await;
    bench.decisions.required.store(true, Ordering::SeqCst);
    let mut browser = Browser::new(&bench);
    for flag in [&bench.decisions.failing, &bench.decisions.refusing] {
        flag.store(true, Ordering::SeqCst);
        for (origin, allowed) in [
            (Some("https://app.example.com"), true),
            (Some("https://evil.example"), false),
            (Some("null"), false),
            (None, false),
        ] {
            for path in ["/api/auth/refresh", "/api/auth/logout"] {
                let request = Request::post(path).header(header::CONTENT_TYPE, "application/json");
                let request = origin.into_iter().fold(request, |it, own| it.header("origin", own));
                let answer = browser.send(request.body(Body::from("{}")).unwrap()).await;
                let fields = &answer.headers;
                assert!(fields.get_all(header::VARY).iter().any(|it| it == "Origin"), "{origin:?}");
                let open = fields.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                let expected = origin.filter(|_| allowed).map(str::as_bytes);
                assert_eq!(open.map(http::HeaderValue::as_bytes), expected, "{path}");
                let with_cookies = fields.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
                assert_eq!(with_cookies, allowed, "{path}");
                if allowed {
                    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
                    assert_eq!(fields[header::ACCESS_CONTROL_EXPOSE_HEADERS], "Retry-After");
                }
            }
        }
        flag.store(false, Ordering::SeqCst);
    }
}

/// A body of which nothing comes.
struct Endless(tokio::sync::mpsc::Receiver<Bytes>);

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
