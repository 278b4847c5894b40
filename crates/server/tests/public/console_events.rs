//! What of the console changes by itself: who reads it, how much at once, until when, and what it does not
//! say.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tegata_core::Timestamp;
use tegata_server::{
    Peer,
    lookout::{Confirmed, Sighted, TakenBack},
};
use tokio::time::{interval, timeout};
use tower::ServiceExt as _;

use super::{
    bench::{Bench, HOME},
    browser::{Browser, FIREFOX},
    console::{change_role, inside},
};

const OVERVIEW: &str = "/console/events?page=overview&lang=en";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A stream, as its reader sees it.
struct Stream {
    body: Body,
    text: String,
}

#[derive(Debug, Default)]
struct Event {
    name: String,
    id: Option<String>,
    data: Value,
}

async fn open(
    browser: &Browser,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Stream, (StatusCode, Value)> {
    let cookies: Vec<_> =
        browser.jar.iter().map(|(name, (value, _))| format!("{name}={value}")).collect();
    let mut request = Request::get(target)
        .header(header::COOKIE, cookies.join("; "))
        .header(header::USER_AGENT, FIREFOX);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer(HOME));
    let response = browser.router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    if status != StatusCode::OK {
        let body = response.into_body().collect().await.unwrap().to_bytes();
        return Err((status, serde_json::from_slice(&body).unwrap_or_default()));
    }
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    Ok(Stream { body: response.into_body(), text: String::new() })
}

impl Stream {
    /// The next event. `None`: it has ended.
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    event.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned)
                };
                if let Some(name) = field("event: ") {
                    let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                    return Some(Event { name, id: field("id: "), data });
                }
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("an event");
            self.text += std::str::from_utf8(&frame?.unwrap().into_data().unwrap()).unwrap();
        }
    }

    /// The next of this part of the page.
    async fn part(&mut self, part: &str) -> Event {
        loop {
            let event = self.next().await.expect("a part");
            if event.name == "part" && event.data["part"] == part {
                return event;
            }
        }
    }

    /// How it ends.
    async fn end(mut self) -> (String, String) {
        loop {
            let event = self.next().await.expect("an end");
            if event.name != "part" {
                assert!(self.next().await.is_none());
                return (event.name, event.data["why"].as_str().unwrap().to_owned());
            }
        }
    }
}

fn taken_back(name: &str) -> TakenBack {
    TakenBack {
        position: 1,
        kind: "user",
        name: name.to_owned(),
        at: Timestamp::from_secs(1),
        reason: "stolen".to_owned(),
        actor: "operator".to_owned(),
        confirmed: Confirmed {
            by: vec!["this".to_owned()],
            after: Some(Duration::from_millis(41)),
            ..Confirmed::default()
        },
    }
}

#[tokio::test]
async fn who_looks_on_sees_what_is_taken_back_and_by_how_many_it_is_refused() {
    let bench = Bench::new().await;
    let browser = inside(&bench).await;
    let mut stream =
        open(&browser, OVERVIEW, &[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "empty")])
            .await
            .ok()
            .unwrap();
    for part in ["health", "activity", "points", "latest"] {
        let event = stream.part(part).await;
        assert!(!event.data["html"].as_str().unwrap().is_empty());
    }
    *bench.lookout.taken_back.lock().unwrap() = vec![taken_back("usr_1")];
    bench.lookout.stir();
    let event = stream.part("latest").await;
    let html = event.data["html"].as_str().unwrap();
    assert!(
        html.contains("usr_1") && html.contains("Refused by the only point after 41 ms"),
        "{html}"
    );

    // Whoever comes back is sent what differs, and whoever comes anew everything.
    let last = event.id.unwrap();
    drop(stream);
    bench.lookout.sighted.lock().unwrap().node = "renamed".to_owned();
    for (target, headers) in [
        (OVERVIEW.to_owned(), vec![("last-event-id", last.as_str())]),
        (format!("{OVERVIEW}&after={}", last.replace(',', "%2C")), vec![]),
    ] {
        let mut back = open(&browser, &target, &headers).await.ok().unwrap();
        let first = back.next().await.unwrap();
        assert_eq!(first.data["part"], "health");
        assert!(first.data["html"].as_str().unwrap().contains("renamed"));
    }
    for unknown in ["", "x", "latest.0", &"a.b,".repeat(500)] {
        let mut anew = open(&browser, OVERVIEW, &[("last-event-id", unknown)]).await.ok().unwrap();
        for part in ["health", "activity", "points", "latest"] {
            assert_eq!(anew.next().await.unwrap().data["part"], part, "{unknown}");
        }
    }
}

#[tokio::test]
async fn who_may_not_enter_does_not_look_on() {
    let bench = Bench::new().await;
    let nobody = Browser::new(&bench);
    assert_eq!(open(&nobody, OVERVIEW, &[]).await.err().unwrap().0, StatusCode::UNAUTHORIZED);
    let (browser, _) = Browser::signed_in(&bench).await;
    let (status, problem) = open(&browser, OVERVIEW, &[]).await.err().unwrap();
    assert_eq!((status, problem["error"].as_str()), (StatusCode::FORBIDDEN, Some("role")));
    change_role(&bench, true).await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "document")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-dest", "iframe")],
    ] {
        let refused = open(&browser, OVERVIEW, headers).await.err().unwrap();
        assert_eq!(refused.0, StatusCode::FORBIDDEN, "{headers:?}");
    }
    for nothing in
        ["/console/events", "/console/events?page=nothing", "/console/events?page=orders&id=x"]
    {
        assert_eq!(open(&browser, nothing, &[]).await.err().unwrap().0, StatusCode::NOT_FOUND);
    }
    assert!(open(&browser, OVERVIEW, &[]).await.is_ok());
}

#[tokio::test]
async fn a_stream_ends_with_the_role_the_session_the_proof_and_the_process() {
    let seen = async |browser: &Browser| {
        let mut stream = open(browser, OVERVIEW, &[]).await.ok().unwrap();
        stream.part("latest").await;
        stream
    };
    let bench = Bench::with(|config| config.console_proof = Duration::from_secs(400)).await;
    let browser = inside(&bench).await;
    let stream = seen(&browser).await;
    change_role(&bench, false).await;
    let real = tokio::time::Instant::now();
    assert_eq!(stream.end().await, ("outside".to_owned(), "role".to_owned()));
    assert!(real.elapsed() < Duration::from_secs(3));

    change_role(&bench, true).await;
    let stream = seen(&browser).await;
    bench.advance(401);
    bench.catch_up().await;
    assert_eq!(stream.end().await, ("outside".to_owned(), "proof".to_owned()));

    let (browser, told) = Browser::signed_in(&bench).await;
    let stream = seen(&browser).await;
    let sid = tegata_core::SessionId::new(told["sid"].as_str().unwrap()).unwrap();
    bench.sessions.end(&bench.realm, &sid, &tegata_session::Reason::Logout, "test").await.unwrap();
    assert_eq!(stream.end().await, ("outside".to_owned(), "session".to_owned()));

    let (browser, _) = Browser::signed_in(&bench).await;
    let stream = seen(&browser).await;
    bench.parting.begin();
    assert_eq!(stream.end().await, ("anew".to_owned(), "drain".to_owned()));
    assert_eq!(
        open(&browser, OVERVIEW, &[]).await.err().unwrap().0,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[tokio::test]
async fn while_nobody_knows_whether_somebody_may_look_they_see_nothing() {
    let bench = Bench::new().await;
    let browser = inside(&bench).await;
    let mut stream = open(&browser, OVERVIEW, &[]).await.ok().unwrap();
    stream.part("latest").await;
    bench.take_away(true);
    *bench.lookout.taken_back.lock().unwrap() = vec![taken_back("usr_hidden")];
    bench.lookout.stir();
    let event = stream.next().await.unwrap();
    assert_eq!((event.name.as_str(), &event.data["why"]), ("anew", &Value::from("away")));
}

#[tokio::test]
async fn nobody_has_more_than_four_streams() {
    let bench = Bench::new().await;
    let browser = inside(&bench).await;
    let mut streams = Vec::new();
    for _ in 0..4 {
        streams.push(open(&browser, OVERVIEW, &[]).await.ok().unwrap());
    }
    let (status, problem) = open(&browser, OVERVIEW, &[]).await.err().unwrap();
    assert_eq!(
        (status, problem["error"].as_str()),
        (StatusCode::TOO_MANY_REQUESTS, Some("too_many_streams"))
    );
    // Another session has its own.
    let (other, _) = Browser::signed_in(&bench).await;
    assert!(open(&other, OVERVIEW, &[]).await.is_ok());
    // One that is closed gives its place back.
    streams.pop();
    let again = async {
        let mut ticks = interval(Duration::from_millis(10));
        while open(&browser, OVERVIEW, &[]).await.is_err() {
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, again).await.unwrap();
}

#[tokio::test]
async fn who_reads_slowly_is_told_to_begin_anew() {
    let bench = Bench::new().await;
    let browser = inside(&bench).await;
    let stream = open(&browser, OVERVIEW, &[]).await.ok().unwrap();
    let lookout = Arc::clone(&bench.lookout);
    let stirring = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(5));
        for count in 0_u64.. {
            ticks.tick().await;
            *lookout.sighted.lock().unwrap() =
                Sighted { node: count.to_string(), ..Sighted::default() };
            *lookout.taken_back.lock().unwrap() = vec![taken_back(&count.to_string())];
            lookout.stir();
        }
    });
    let ended = async {
        let mut ticks = interval(Duration::from_millis(10));
        while bench.lookout.readers() == 0 {
            ticks.tick().await;
        }
        while bench.lookout.readers() > 0 {
            ticks.tick().await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    stirring.abort();
    // What waited is bounded, and the last word is said.
    let mut events = 0;
    let mut stream = stream;
    loop {
        let event = stream.next().await.unwrap();
        if event.name == "anew" {
            assert_eq!(event.data["why"], "behind");
            break;
        }
        events += 1;
    }
    assert!(events <= 16, "{events}");
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn what_is_sent_has_no_token_and_no_secret() {
    let bench = Bench::new().await;
    let browser = inside(&bench).await;
    let cookie = browser.cookie("session_id").unwrap().to_owned();
    let user = format!("/console/events?page=users&id={}", bench.alice.id);
    for target in [
        OVERVIEW,
        "/console/events?page=sessions",
        "/console/events?page=keys",
        "/console/events?page=revocations",
        &user,
    ] {
        let mut stream = open(&browser, target, &[]).await.ok().unwrap();
        let first = stream.next().await.unwrap();
        let said = format!("{first:?}");
        for secret in ["csrf", &cookie, "password", "name=\"wait\""] {
            assert!(!said.contains(secret), "{target}: {said}");
        }
    }
}
