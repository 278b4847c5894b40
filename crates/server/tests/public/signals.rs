//! Streams of signals as receivers order and poll them, and signals as transmitters send them.

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_core::{Batch, Event, EventType};
use tegata_oauth::signals::SignalKind;

use super::{
    bench::{Bench, ISSUER},
    browser::Answer,
    flow::token_of_machine,
};

/// A receiver with a token.
struct Receiver<'b> {
    bench: &'b Bench,
    token: String,
}

impl<'b> Receiver<'b> {
    async fn new(bench: &'b Bench, id: &str, scope: &str) -> Self {
        Self { bench, token: token_of_machine(bench, id, scope).await }
    }

    async fn ask(&self, method: Method, target: &str, body: Option<Value>) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        Answer::of(&self.bench.router, request.body(body).unwrap()).await
    }

    async fn post(&self, target: &str, body: Value) -> Answer {
        self.ask(Method::POST, target, Some(body)).await
    }

    /// The name of a new stream that is polled.
    async fn stream(&self) -> String {
        let asked = json!({"events_requested": [SignalKind::SessionRevoked.uri(), "urn:unknown"]});
        let made = self.post("/ssf/streams", asked).await;
        assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
        made.json()["stream_id"].as_str().unwrap().to_owned()
    }

    async fn poll(&self, stream: &str, body: Value) -> Value {
        let answer = self.post(&format!("/ssf/poll/{stream}"), body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    }
}

async fn ends(bench: &Bench, session: &str) {
    let data = [("user_id", json!("usr_1")), ("session_id", json!(session))];
    let event = Event::new(&bench.node, &bench.realm, EventType::SessionEnded, data);
    bench.records.commit(Batch::new(bench.realm.clone()).journal(&event)).await.unwrap();
}

#[tokio::test]
async fn the_transmitter_says_where_everything_is() {
    let bench = Bench::new().await;
    let request = Request::get("/.well-known/ssf-configuration").body(Body::empty()).unwrap();
    let answer = Answer::of(&bench.router, request).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let said = answer.json();
    assert_eq!(said["spec_version"], "1_0");
    assert_eq!(said["issuer"], ISSUER);
    assert_eq!(said["default_subjects"], "ALL");
    let methods = json!(["urn:ietf:rfc:8935", "urn:ietf:rfc:8936"]);
    assert_eq!(said["delivery_methods_supported"], methods);
    assert_eq!(said["authorization_schemes"], json!([{"spec_urn": "urn:ietf:rfc:6749"}]));
    for (name, path) in [
        ("jwks_uri", "/.well-known/jwks.json"),
        ("configuration_endpoint", "/ssf/streams"),
        ("status_endpoint", "/ssf/status"),
        ("add_subject_endpoint", "/ssf/subjects:add"),
        ("remove_subject_endpoint", "/ssf/subjects:remove"),
        ("verification_endpoint", "/ssf/verify"),
    ] {
        assert_eq!(said[name], format!("{ISSUER}{path}"), "{name}");
        let request = Request::get(path).body(Body::empty()).unwrap();
        assert_ne!(
            Answer::of(&bench.router, request).await.status,
            StatusCode::NOT_FOUND,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_stream_is_made_read_changed_and_removed() {
    let bench = Bench::new().await;
    let receiver = Receiver::new(&bench, "receiver", "ssf.manage").await;
    let none = receiver.ask(Method::GET, "/ssf/streams", None).await;
    assert_eq!((none.json(), none.header("cache-control")), (json!([]), "no-store"));
    let id = receiver.stream().await;
    let at = format!("/ssf/streams?stream_id={id}");
    let read = receiver.ask(Method::GET, &at, None).await.json();
    assert_eq!(read["aud"], "receiver");
    assert_eq!(read["events_delivered"], json!([SignalKind::SessionRevoked.uri()]));
    assert_eq!(read["events_requested"].as_array().unwrap().len(), 2);
    let poll = json!({
        "method": "urn:ietf:rfc:8936", "endpoint_url": format!("{ISSUER}/ssf/poll/{id}"),
    });
    assert_eq!(read["delivery"], poll);
    let push = json!({
        "stream_id": id, "description": "mine",
        "delivery": {
            "method": "urn:ietf:rfc:8935", "endpoint_url": "https://receiver.example/",
            "authorization_header": "Bearer hunter2",
        },
    });
    let changed = receiver.ask(Method::PATCH, "/ssf/streams", Some(push)).await;
    assert_eq!(changed.status, StatusCode::OK);
    assert!(!changed.body.contains("hunter2"), "{}", changed.body);
    let changed = changed.json();
    assert_eq!(changed["delivery"]["endpoint_url"], "https://receiver.example/");
    assert_eq!(changed["events_delivered"], read["events_delivered"]);
    // What is pushed is not polled.
    let polled = receiver.post(&format!("/ssf/poll/{id}"), json!({})).await;
    assert_eq!(polled.status, StatusCode::NOT_FOUND);
    let replaced =
        receiver.ask(Method::PUT, "/ssf/streams", Some(json!({"stream_id": id}))).await.json();
    assert_eq!((&replaced["delivery"], &replaced["description"]), (&poll, &Value::Null));
    assert_eq!(replaced["events_requested"], json!([]));
    assert_eq!(receiver.ask(Method::GET, "/ssf/streams", None).await.json()[0], replaced);
    let removed = receiver.ask(Method::DELETE, &at, None).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
    assert_eq!(receiver.ask(Method::GET, &at, None).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn addresses_that_only_we_can_reach_are_refused() {
    let bench = Bench::new().await;
    let receiver = Receiver::new(&bench, "receiver", "ssf.manage").await;
    for url in [
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/",
        "http://receiver.example/",
        "https://localhost:8000/",
    ] {
        let delivery = json!({"method": "urn:ietf:rfc:8935", "endpoint_url": url});
        let refused = receiver.post("/ssf/streams", json!({"delivery": delivery})).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{url}");
        assert!(refused.json()["detail"].as_str().unwrap().contains("endpoint_url"), "{url}");
    }
}

#[tokio::test]
async fn who_may_not_is_told_what_is_missing() {
    let bench = Bench::new().await;
    let receiver = Receiver::new(&bench, "receiver", "ssf.manage").await;
    let id = receiver.stream().await;
    let reader = Receiver::new(&bench, "reader", "ssf.read").await;
    let nobody = Receiver { bench: &bench, token: "nonsense".into() };
    for (method, target) in [
        (Method::POST, "/ssf/streams"),
        (Method::PATCH, "/ssf/streams"),
        (Method::PUT, "/ssf/streams"),
        (Method::POST, "/ssf/status"),
        (Method::POST, "/ssf/subjects:add"),
        (Method::POST, "/ssf/subjects:remove"),
        (Method::POST, "/ssf/verify"),
    ] {
        let body = || Some(json!({"stream_id": id, "subject": {}, "status": "paused"}));
        let refused = nobody.ask(method.clone(), target, body()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{target}");
        assert!(refused.header("www-authenticate").contains("invalid_token"), "{target}");
        let refused = reader.ask(method.clone(), target, body()).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{target}");
        assert!(refused.header("www-authenticate").contains("scope=\"ssf.manage\""), "{target}");
    }
    // What belongs to somebody else is not there.
    let other = Receiver::new(&bench, "other", "ssf.manage").await;
    for (method, target, body) in [
        (Method::GET, format!("/ssf/streams?stream_id={id}"), None),
        (Method::DELETE, format!("/ssf/streams?stream_id={id}"), None),
        (Method::GET, format!("/ssf/status?stream_id={id}"), None),
        (Method::PATCH, "/ssf/streams".into(), Some(json!({"stream_id": id}))),
        (Method::POST, "/ssf/status".into(), Some(json!({"stream_id": id, "status": "paused"}))),
        (Method::POST, "/ssf/verify".into(), Some(json!({"stream_id": id}))),
        (Method::POST, format!("/ssf/poll/{id}"), Some(json!({}))),
    ] {
        let refused = other.ask(method, &target, body).await;
        assert_eq!(refused.status, StatusCode::NOT_FOUND, "{target}");
    }
    let request = Request::get("/ssf/streams").body(Body::empty()).unwrap();
    let refused = Answer::of(&bench.router, request).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    let challenge = "Bearer realm=\"tegata\", scope=\"ssf.read\"";
    assert_eq!(refused.header("www-authenticate"), challenge);
    assert!(!refused.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_poll_gives_what_is_due_until_it_is_acknowledged() {
    let bench = Bench::new().await;
    let receiver = Receiver::new(&bench, "receiver", "ssf.manage").await;
    let id = receiver.stream().await;
    let now = json!({"returnImmediately": true});
    assert_eq!(receiver.poll(&id, now.clone()).await, json!({"sets": {}, "moreAvailable": false}));
    ends(&bench, "1.2.a").await;
    ends(&bench, "1.2.b").await;
    let one = receiver.poll(&id, json!({"maxEvents": 1})).await;
    assert_eq!((one["sets"].as_object().unwrap().len(), &one["moreAvailable"]), (1, &json!(true)));
    let both = receiver.poll(&id, now.clone()).await;
    let names: Vec<_> = both["sets"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(names.len(), 2);
    let acks = json!({"maxEvents": 0, "ack": names[..1]});
    // Only said, and nothing asked: then nobody waits. Said again, it changes nothing.
    for _ in 0..2 {
        let said = receiver.poll(&id, acks.clone()).await;
        assert_eq!(said, json!({"sets": {}, "moreAvailable": true}));
    }
    let left = receiver.poll(&id, now.clone()).await;
    assert_eq!(left["sets"].as_object().unwrap().keys().collect::<Vec<_>>(), [&names[1]]);
    let errors = json!({
        "returnImmediately": true,
        "setErrs": {&names[1]: {"err": "invalid_key", "description": "unknown"}},
    });
    assert_eq!(receiver.poll(&id, errors).await, json!({"sets": {}, "moreAvailable": false}));
    let many: Vec<_> = (0..1001).map(|number| number.to_string()).collect();
    let refused = receiver.post(&format!("/ssf/poll/{id}"), json!({"ack": many})).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_verification_is_asked_for_now_and_then_and_a_status_is_told() {
    let bench = Bench::new().await;
    let receiver = Receiver::new(&bench, "receiver", "ssf.manage").await;
    let id = receiver.stream().await;
    let ask = json!({"stream_id": id, "state": "s"});
    assert_eq!(receiver.post("/ssf/verify", ask.clone()).await.status, StatusCode::NO_CONTENT);
    let soon = receiver.post("/ssf/verify", ask).await;
    assert_eq!(soon.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(soon.header("retry-after"), "10");
    let sets = receiver.poll(&id, json!({"returnImmediately": true})).await;
    assert_eq!(sets["sets"].as_object().unwrap().len(), 1);
    let paused = json!({"stream_id": id, "status": "paused", "reason": "holiday"});
    assert_eq!(receiver.post("/ssf/status", paused.clone()).await.json(), paused);
    let told = receiver.ask(Method::GET, &format!("/ssf/status?stream_id={id}"), None).await;
    assert_eq!(told.json(), paused);
    for bad in [json!({"stream_id": id, "status": "on"}), json!({"stream_id": id}), json!([])] {
        let refused = receiver.post("/ssf/status", bad.clone()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{bad}");
    }
    let subject = json!({"format": "iss_sub", "iss": ISSUER, "sub": "usr_1"});
    let body = json!({"stream_id": id, "subject": subject});
    assert_eq!(receiver.post("/ssf/subjects:add", body.clone()).await.status, StatusCode::OK);
    let removed = receiver.post("/ssf/subjects:remove", body).await;
    assert_eq!(removed.status, StatusCode::NO_CONTENT);
}

async fn send(bench: &Bench, name: &str, media_type: &str, shown: &str, signal: &str) -> Answer {
    let request = Request::post(format!("/ssf/events/{name}"))
        .header(header::CONTENT_TYPE, media_type)
        .header(header::AUTHORIZATION, shown)
        .body(Body::from(signal.to_owned()))
        .unwrap();
    Answer::of(&bench.router, request).await
}

#[tokio::test]
async fn a_signal_is_accepted_or_refused_as_the_rfc_says() {
    let bench = Bench::new().await;
    let secevent = "application/secevent+jwt";
    let sent = async |shown, signal| send(&bench, "known", secevent, shown, signal).await;
    let good = sent("Bearer shown", "good").await;
    assert_eq!((good.status, good.body.as_str()), (StatusCode::ACCEPTED, ""));
    for (shown, signal, err) in
        [("Bearer shown", "bad", "invalid_key"), ("Bearer other", "good", "authentication_failed")]
    {
        let refused = sent(shown, signal).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST);
        assert_eq!(refused.header("content-type"), "application/json");
        assert_eq!(refused.json()["err"], err);
        assert_eq!(refused.json()["description"], "\"as it says\"");
    }
    // What is not known to have happened is tried again.
    assert_eq!(sent("Bearer shown", "away").await.status, StatusCode::SERVICE_UNAVAILABLE);
    for media_type in ["application/json", "application/jwt", "text/plain", ""] {
        let refused = send(&bench, "known", media_type, "Bearer shown", "good").await;
        assert_eq!(refused.json()["err"], "invalid_request", "{media_type}");
    }
    let long = sent("Bearer shown", &"x".repeat(8193)).await;
    assert_eq!(
        (long.status, &long.json()["err"]),
        (StatusCode::BAD_REQUEST, &json!("invalid_request"))
    );
    for name in ["unknown", "..", "%00"] {
        let nowhere = send(&bench, name, secevent, "Bearer shown", "good").await;
        assert_eq!(nowhere.status, StatusCode::NOT_FOUND, "{name}");
    }
    // Two values are none.
    let request = Request::post("/ssf/events/known")
        .header(header::CONTENT_TYPE, secevent)
        .header(header::AUTHORIZATION, "Bearer shown")
        .header(header::AUTHORIZATION, "Bearer shown")
        .body(Body::from("good"))
        .unwrap();
    let refused = Answer::of(&bench.router, request).await;
    assert_eq!(refused.json()["err"], "authentication_failed");
}
