//! What of the console changes by itself: who reads it, how much at once, until when, and what it does not
//! say.

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tegata_core::Timestamp;
use tegata_server::{
    Peer,
    admin::Operation,
    lookout::{Confirmed, Sighted, TakenBack},
};
use tokio::time::{interval, timeout};
use tower::ServiceExt as _;

use super::{
    bench::{Bench, HOME, PASSWORD, ROOT_KEY, SECRET},
    browser::{Browser, FIREFOX},
    console::{change_role, inside},
    second_factor::Enrolled,
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

/// Secrets of everybody, under names of what they are: those of the bench, and what somebody might one day
/// answer beside what is asked for.
struct Planted(Vec<(&'static str, String)>);

impl Planted {
    fn new(world: &Enrolled, browser: &Browser, others: &Browser) -> Self {
        let planted = [
            ("client_secret", "cs_planted_1f4b8e"),
            ("secret", "cs_planted_before_77"),
            ("registration_access_token", "rat_planted_91"),
            ("refresh_token", "rt_1.9.planted_refresh"),
            ("access_token", "eyJhbGciOiJFUzI1NiJ9.planted.access"),
            ("id_token", "eyJhbGciOiJFUzI1NiJ9.planted.id"),
            ("cookie", "planted-session-cookie-value"),
            ("password_hash", "$argon2id$v=19$m=19456$planted"),
            ("totp_secret", "JBSWY3DPEHPKPLANTED"),
            ("recovery_code", "plan-ted1-code"),
            ("private", "-----BEGIN PRIVATE KEY-----planted"),
            ("d", "870MB6gfuTJ4HtUnUvYMyJpr5eUZNPplanted"),
            ("api_key", "tgk_planted_api_key"),
        ];
        let planted = planted.map(|(name, value)| (name, value.to_owned()));
        let cookie = |browser: &Browser, name| browser.cookie(name).unwrap().to_owned();
        let real = [
            ("the session's cookie", cookie(browser, "session_id")),
            ("the refresh token", cookie(browser, "refresh_token")),
            ("another's session cookie", cookie(others, "session_id")),
            ("another's refresh token", cookie(others, "refresh_token")),
            ("the secret of the app", world.app.to_base32().expose().clone()),
            ("the password", PASSWORD.to_owned()),
            ("the secret of a client", SECRET.to_owned()),
            ("the root key", ROOT_KEY.to_owned()),
        ];
        Self(planted.into_iter().chain(real).collect())
    }

    /// The same thing with all of them beside what is asked for.
    fn beside(&self, mut told: Value) -> Value {
        for (name, value) in &self.0 {
            told[*name] = value.as_str().into();
        }
        told
    }

    /// Those that are in a text: as they are, or as pages, addresses and events write them.
    fn found_in(&self, text: &str) -> Vec<&'static str> {
        let is_in = |secret: &str| {
            let escaped: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let html = secret.replace('&', "&#38;").replace('"', "&#34;");
            text.contains(secret) || text.contains(&escaped) || text.contains(&html)
        };
        self.0.iter().filter(|(_, secret)| is_in(secret)).map(|(name, _)| *name).collect()
    }
}

/// A name that every page has to show: whoever looks at what was not rendered finds no secret in it.
const SHOWN: &str = "shown-for-certain";

#[tokio::test]
async fn what_is_shown_and_sent_has_no_token_and_no_secret() {
    let world = Enrolled::new().await;
    let bench = &world.bench;
    change_role(bench, true).await;
    let (mut browser, _) = world.signed_in().await;
    // What an app shows counts once.
    bench.advance(60);
    let (others, _) = world.signed_in().await;
    let planted = Planted::new(&world, &browser, &others);
    let who = bench.alice.id.to_string();
    let tell = |operation, told: Value| bench.administered.tell(operation, told);
    let person = planted.beside(json!({
        "id": who, "username": SHOWN, "email": "alice@people.example", "roles": ["admin"],
        "email_verified": true, "disabled": false, "created": "2026-01-02T03:04:05.678Z",
    }));
    let client = planted.beside(json!({
        "client_id": "web", "client_name": SHOWN, "token_endpoint_auth_method": "client_secret_basic",
        "grant_types": ["authorization_code"], "redirect_uris": ["https://shop.example/back"],
    }));
    let session = planted.beside(json!({
        "sid": SHOWN, "user_id": who, "started": "", "ends": "", "last_access": "", "amr": ["pwd"],
    }));
    let key = planted.beside(json!({
        "kid": SHOWN, "algorithm": "ES256", "state": "next", "at": "2026-01-02T03:04:05Z",
        "seen_by": 1, "readers": 2, "not_seen_by": ["192.0.2.0/24"],
    }));
    let factors = json!({"passkeys": 1, "totp_since": "2026-01-02", "recovery_codes": 8});
    tell(Operation::UserFactors, planted.beside(factors));
    tell(Operation::User, person.clone());
    tell(Operation::Users, planted.beside(json!({"items": [person]})));
    tell(Operation::Client, client.clone());
    tell(Operation::Clients, planted.beside(json!({"items": [client]})));
    tell(Operation::Sessions, planted.beside(json!({"items": [session]})));
    tell(Operation::Keys, planted.beside(json!({"items": [key]})));
    let done = planted.beside(json!({"revoked": {"session": SHOWN}, "proof": {"families": 1}}));
    for operation in [Operation::Revoke, Operation::SessionEnd, Operation::UserRevoke] {
        tell(operation, done.clone());
    }
    *bench.lookout.taken_back.lock().unwrap() = vec![taken_back(SHOWN)];
    bench.lookout.sighted.lock().unwrap().node = SHOWN.to_owned();

    // It finds what there is.
    assert_eq!(planted.found_in(&planted.beside(json!({})).to_string()).len(), planted.0.len());
    let (user, client) = (format!("/console/users/{who}"), "/console/clients/web".to_owned());
    for (here, parts) in [
        ("/console".to_owned(), &["health", "activity", "points", "latest"][..]),
        ("/console/sessions".to_owned(), &["sessions"]),
        ("/console/users".to_owned(), &[]),
        (user.clone(), &["person", "sessions"]),
        ("/console/clients".to_owned(), &[]),
        (client.clone(), &[]),
        ("/console/keys".to_owned(), &["keys"]),
        ("/console/revocations".to_owned(), &["latest"]),
    ] {
        let page = browser.get(&here).await;
        assert_eq!(page.status, StatusCode::OK, "{here}: {}", page.body);
        assert!(page.body.contains(SHOWN), "{here}: {}", page.body);
        assert_eq!(planted.found_in(&page.body), [""; 0], "{here}");
        // Nor do headers say more of it than the cookie that they set.
        for (name, value) in &page.headers {
            let found = planted.found_in(value.to_str().unwrap());
            assert!(name == header::SET_COOKIE || found.is_empty(), "{here}: {name}: {found:?}");
        }
        let csrf = page.field("csrf_token").to_owned();
        let (_, mut rest) = here.split_at("/console".len());
        rest = rest.trim_start_matches('/');
        let (name, id) = rest.split_once('/').unwrap_or((rest, ""));
        let name = if name.is_empty() { "overview" } else { name };
        let id = if id.is_empty() { String::new() } else { format!("&id={id}") };
        let target = format!("/console/events?page={name}{id}&lang=en");
        let mut stream = open(&browser, &target, &[]).await.ok().unwrap();
        let mut all = String::new();
        for part in parts {
            all += &format!("{:?}\n", stream.part(part).await);
        }
        // And what comes when something is new.
        if parts.contains(&"latest") {
            *bench.lookout.taken_back.lock().unwrap() = vec![taken_back("later")];
            bench.lookout.stir();
            let event = stream.part("latest").await;
            assert!(event.data["html"].as_str().unwrap().contains("later"));
            all += &format!("{event:?}\n");
            *bench.lookout.taken_back.lock().unwrap() = vec![taken_back(SHOWN)];
        }
        assert_eq!(all.lines().count() > 0, !parts.is_empty());
        assert_eq!(planted.found_in(&all), [""; 0], "{target}");
        for secret in [csrf.as_str(), "csrf", "name=\"wait\""] {
            assert!(!all.contains(secret), "{target}: {all}");
        }
    }

    // What is asked once more, and what became of it. A token that is taken back is a secret, too.
    let token = "eyJhbGciOiJFUzI1NiJ9.planted.access";
    for (here, wish) in [
        (
            "/console/revocations",
            &[("do", "revoke"), ("kind", "token"), ("name", token), ("reason", "lost")][..],
        ),
        (user.as_str(), &[("do", "kill"), ("reason", "lost")]),
        ("/console/sessions", &[("do", "end:x")]),
    ] {
        let csrf = browser.get(here).await.field("csrf_token").to_owned();
        let fields = [&[("csrf_token", csrf.as_str()), ("lang", "en")][..], wish].concat();
        let asked = browser.submit(here, &fields).await;
        assert_eq!(asked.status, StatusCode::OK, "{here}: {}", asked.body);
        // The form that asks once more has to carry it, unseen.
        let carried =
            format!("<input form=\"act\" type=\"hidden\" name=\"name\" value=\"{token}\">");
        let seen = asked.body.replace(&carried, "");
        assert_eq!(planted.found_in(&seen), [""; 0], "{here}");
        let confirmed = [&fields[..], &[("confirmed", "yes")]].concat();
        let done = browser.submit(here, &confirmed).await;
        assert_eq!(done.status, StatusCode::OK, "{here}: {}", done.body);
        assert!(done.body.contains("Sign-ins with tokens"), "{here}: {}", done.body);
        assert_eq!(planted.found_in(&done.body), [""; 0], "{here}");
    }
    let mut stream =
        open(&browser, "/console/events?page=orders&id=7&lang=en", &[]).await.ok().unwrap();
    assert_eq!(planted.found_in(&format!("{:?}", stream.part("confirmation").await)), [""; 0]);
}
