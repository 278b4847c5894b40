//! What stands in the log of requests that were refused: enough, and not more than a disk can bear.

use std::{
    collections::BTreeMap,
    fmt::{Debug, Write as _},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::body::Body;
use http::{Request, StatusCode, header};
use tegata_core::Parting;
use tegata_server::{Limits, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::{
    bench::{Bench, ISSUER, PANICS, PASSWORD, SECRET, WAY},
    browser::{Answer, Browser},
    flow::basic,
};

/// Everything that is said at `info` and above, with what the spans around it say.
#[derive(Clone, Default)]
struct Said(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    spans: Mutex<BTreeMap<u64, Line>>,
    open: Mutex<Vec<u64>>,
    lines: Mutex<Vec<Line>>,
}

/// Names and values.
#[derive(Debug, Clone, Default)]
struct Line(BTreeMap<String, String>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
}

impl Subscriber for Said {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let id = self.0.next.fetch_add(1, Ordering::SeqCst) + 1;
        let mut line = Line::default();
        attributes.record(&mut line);
        self.0.spans.lock().unwrap().insert(id, line);
        span::Id::from_u64(id)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        for id in self.0.open.lock().unwrap().iter() {
            line.0.extend(self.0.spans.lock().unwrap()[id].0.clone());
        }
        event.record(&mut line);
        self.0.lines.lock().unwrap().push(line);
    }

    fn enter(&self, id: &span::Id) {
        self.0.open.lock().unwrap().push(id.into_u64());
    }

    fn exit(&self, id: &span::Id) {
        self.0.open.lock().unwrap().retain(|open| *open != id.into_u64());
    }
}

impl Said {
    /// The lines about refusals since the last call.
    fn refusals(&self) -> Vec<BTreeMap<String, String>> {
        let lines = std::mem::take(&mut *self.0.lines.lock().unwrap());
        let is_one = |line: &Line| line.0.get("message").is_some_and(|it| it == "refused");
        lines.into_iter().filter(is_one).map(|line| line.0).collect()
    }

    fn everything(&self) -> String {
        let mut all = String::new();
        write!(all, "{:?}", self.0.lines.lock().unwrap()).unwrap();
        all
    }
}

/// A token request of a client, from an address that a header does not change.
fn token(body: &str) -> Request<Body> {
    Request::post("/oauth2/token?hint=hunter3")
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .body(Body::from(body.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn a_refusal_is_one_line_with_its_trace_and_without_what_was_sent() {
    let bench = Bench::new().await;
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    let mut browser = Browser::new(&bench);

    let wrong = "grant_type=client_credentials&client_id=robot&client_secret=hunter2";
    let answer = browser.send(token(wrong)).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);
    let everything = said.everything();
    let lines = said.refusals();
    let [line] = &*lines else { panic!("{lines:?}") };
    for (name, value) in [
        ("status", "401"),
        ("error", "invalid_client"),
        ("address", "192.0.2.7"),
        ("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736"),
        ("method", "POST"),
        ("path", "/oauth2/token"),
        ("left_out", "0"),
    ] {
        assert_eq!(line[name], value, "{line:?}");
    }
    for secret in ["hunter2", "hunter3", SECRET] {
        assert!(!everything.contains(secret), "{everything}");
    }

    // A wrong password, a form of somebody else's page, and what an administrator may not do.
    assert_eq!(browser.log_in("alice", "hunter2").await.status, StatusCode::UNAUTHORIZED);
    let foreign = [("origin", "https://evil.example")];
    let fields = [("username", "alice"), ("password", PASSWORD)];
    let forged = browser.submit_from("/login", &fields, &foreign).await;
    assert!(forged.status.is_client_error(), "{}", forged.status);
    let nobody = Request::get("/admin/v1/users").header("authorization", "Bearer hunter2");
    let refused = browser.send(nobody.body(Body::empty()).unwrap()).await;
    assert!(refused.status.is_client_error(), "{}", refused.status);
    assert!(!said.everything().contains("hunter2"));
    let lines = said.refusals();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[0]["error"], "invalid_credentials");
    assert!(lines.iter().all(|line| line["address"] == "192.0.2.7"), "{lines:?}");
}

/// What a store says, too, is found by the name that the client was told, and that came with the request.
#[tokio::test]
async fn what_the_store_said_stands_under_the_trace_of_the_request() {
    let bench = Bench::new().await;
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    bench.take_away(true);
    let mut request = token("grant_type=client_credentials");
    let credential = basic("service").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, credential);
    let answer = Browser::new(&bench).send(request).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let lines = said.0.lines.lock().unwrap().clone();
    assert!(lines.len() >= 2, "{lines:?}");
    for Line(line) in &lines {
        assert_eq!(line["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736", "{line:?}");
    }
    assert!(format!("{lines:?}").contains("10.0.0.3"));
    let refused = said.refusals();
    assert_eq!(refused[0]["error"], "temporarily_unavailable");
}

#[tokio::test]
async fn who_asks_for_what_panics_is_answered_and_the_log_says_under_which_trace() {
    let bench = Bench::new().await;
    let mut browser = super::console::inside(&bench).await;
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    for _ in 0..2 {
        let answer = browser.get(&format!("/console/api-keys/{PANICS}")).await;
        assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["error"], "server_error");
        let lines = std::mem::take(&mut *said.0.lines.lock().unwrap());
        let line = lines.iter().find(|line| line.0["message"].contains("panicked"));
        assert_eq!(line.unwrap().0["trace_id"], problem["trace_id"].as_str().unwrap());
        for text in [answer.body, format!("{lines:?}")] {
            assert!(!text.contains("secret-of-a-caller"), "{text}");
        }
    }
    // Nobody else notices.
    assert_eq!(browser.get("/console").await.status, StatusCode::OK);
}

/// Each has its own answer, also where all of them are sent at once.
#[tokio::test]
async fn whoever_asks_behind_what_panicked_on_its_connection_has_their_own_answer() {
    let bench = Bench::new().await;
    drop(super::console::inside(&bench).await);
    let mut browser = Browser { address: [127, 0, 0, 1].into(), ..Browser::new(&bench) };
    assert_eq!(browser.log_in("alice", PASSWORD).await.status, StatusCode::OK);
    let cookies: Vec<_> =
        browser.jar.iter().map(|(name, (value, _))| format!("{name}={value}")).collect();
    let (cookies, agent) = (cookies.join("; "), browser.agent);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (router, limits) = (bench.router.clone(), Limits::default());
    let never = std::future::pending();
    tokio::spawn(serve(vec![listener], router, limits, None, Parting::default(), never));
    let get = |path: &str, more: &str| {
        let head = format!("host: a\r\nuser-agent: {agent}\r\ncookie: {cookies}\r\n{more}\r\n");
        format!("GET {path} HTTP/1.1\r\n{head}")
    };
    let falls = get(&format!("/console/api-keys/{PANICS}"), "");
    let last = get("/.well-known/openid-configuration", "connection: close\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    let all = get("/.well-known/jwks.json", "") + &falls + &last;
    stream.write_all(all.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    let answers: Vec<_> = said.split("HTTP/1.1 ").skip(1).collect();
    let [first, second, third] = &answers[..] else { panic!("{said}") };
    assert!(first.starts_with("200 ") && first.contains("\"keys\""), "{said}");
    assert!(second.starts_with("500 ") && second.contains("server_error"), "{said}");
    assert!(third.starts_with("200 ") && third.contains("\"issuer\""), "{said}");
    assert!(!said.contains("secret-of-a-caller"), "{said}");
}

#[tokio::test]
async fn who_has_not_the_secret_of_the_gateway_leaves_a_line_and_no_more_than_a_few() {
    let bench = Bench::new().await;
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    let ask = async |secret: Option<&str>| {
        let request = Request::get("/.well-known/jwks.json");
        let request = match secret {
            Some(secret) => request.header("x-internal-gateway", secret),
            None => request,
        };
        Answer::of(&bench.behind, request.body(Body::empty()).unwrap()).await.status
    };
    let lines = || {
        let lines = std::mem::take(&mut *said.0.lines.lock().unwrap());
        let strange = lines.iter().filter(|line| line.0["message"].contains("gateway's secret"));
        assert!(!format!("{lines:?}").contains("hunter2") && !format!("{lines:?}").contains(WAY));
        strange.map(|line| line.0["left_out"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ask(Some(WAY)).await, StatusCode::OK);
    assert!(lines().is_empty());
    assert_eq!(ask(Some("hunter2")).await, StatusCode::FORBIDDEN);
    assert_eq!(lines(), ["0"]);
    for _ in 0..100 {
        assert_eq!(ask(None).await, StatusCode::FORBIDDEN);
    }
    assert_eq!(lines(), ["0"; 4]);
    // The next line says how many there were.
    bench.advance(60);
    assert_eq!(ask(None).await, StatusCode::FORBIDDEN);
    assert_eq!(lines(), ["96"]);
}

#[tokio::test]
async fn what_is_no_refusal_leaves_no_line() {
    let bench = Bench::new().await;
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    let (mut browser, _) = Browser::signed_in(&bench).await;
    assert_eq!(browser.get("/").await.status, StatusCode::OK);
    // Nothing is there, and nobody is signed in who showed nothing.
    let mut nobody = Browser::new(&bench);
    assert_eq!(nobody.get("/nowhere").await.status, StatusCode::NOT_FOUND);
    assert_eq!(nobody.get("/api/auth/session").await.status, StatusCode::UNAUTHORIZED);
    assert!(said.refusals().is_empty());
}

#[tokio::test]
async fn nobody_fills_a_disk_by_being_refused_or_hides_behind_who_is() {
    let bench = Bench::new().await;
    let said = Said::default();
    let _listening = tracing::subscriber::set_default(said.clone());
    let long = format!("/api/auth/login/{}", "x".repeat(4000));
    let knock = |path: &str| {
        let request = Request::post(path).header("origin", ISSUER);
        request.header(header::CONTENT_LENGTH, "0").body(Body::empty()).unwrap()
    };
    let mut loud = Browser::new(&bench);
    let mut answers = Vec::<Answer>::new();
    for _ in 0..500 {
        answers.push(loud.send(knock("/oauth2/token")).await);
    }
    assert!(answers.iter().all(|answer| answer.status.is_client_error()));
    assert_eq!(said.refusals().len(), 30);
    // Its neighbours are one with it, and somebody else is not.
    loud.address = "192.0.2.200".parse().unwrap();
    loud.send(knock("/oauth2/token")).await;
    assert!(said.refusals().is_empty());
    let mut quiet = Browser::new(&bench);
    quiet.address = "198.51.100.1".parse().unwrap();
    quiet.send(knock("/oauth2/token")).await;
    let lines = said.refusals();
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["left_out"], "471");
    // From everywhere at once.
    for network in 0..=255 {
        for neighbour in 0..2 {
            quiet.address = [10, 0, network, neighbour].into();
            quiet.send(knock("/oauth2/token")).await;
        }
    }
    assert!(said.refusals().len() <= 300);
    bench.clock.advance(Duration::from_secs(60));
    quiet.send(knock(&long)).await;
    assert!(said.everything().len() < 3000, "{}", said.everything());
}
