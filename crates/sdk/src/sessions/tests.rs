use std::sync::{
    Mutex,
    atomic::{AtomicU32, Ordering},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tegata_core::Epoch;

use super::*;
use crate::testing::{TestAuthority, server::TestServer};

/// A store that knows one session, or does not answer. A fake.
struct Known {
    alive: Mutex<Result<Option<(SessionId, UserId)>, StoreError>>,
}

impl SessionStore for Known {
    fn is_alive<'a>(
        &'a self,
        session: &'a SessionId,
        user: &'a UserId,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        let known = self.alive.lock().unwrap().clone();
        Box::pin(
            async move { Ok(known?.is_some_and(|(own, whose)| own == *session && whose == *user)) },
        )
    }
}

fn session_id(authority: &TestAuthority) -> SessionId {
    let node = authority.node();
    SessionId::generate(Epoch::FIRST, node.now(), node.entropy())
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers
}

#[tokio::test]
async fn the_store_is_asked_about_the_session_each_time() {
    let authority = TestAuthority::new();
    let session = session_id(&authority);
    let alice = UserId::new("usr_alice").unwrap();
    let known = Arc::new(Known { alive: Mutex::new(Ok(Some((session.clone(), alice)))) });
    let sessions = Sessions::in_store(authority.authenticator("orders"), known.clone());
    let of = |user: &str, sid: &str| {
        let token = authority.user(user, "orders");
        bearer(&token.with(|claims| claims.sid = Some(sid.to_owned())).access())
    };
    let found = sessions.check(&of("usr_alice", session.as_str())).await.unwrap();
    assert_eq!(found.user_id.as_deref(), Some("usr_alice"));
    assert_eq!(found.session_id.as_deref(), Some(session.as_str()));
    // Somebody else's session, one that nobody has, and what is no name of a session.
    let other = session_id(&authority);
    for (user, sid) in
        [("usr_mallory", session.as_str()), ("usr_alice", other.as_str()), ("usr_alice", "x")]
    {
        let refused = sessions.check(&of(user, sid)).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED, "{user} {sid}");
        assert!(refused.challenge.unwrap().to_str().unwrap().contains("invalid_token"));
    }
    *known.alive.lock().unwrap() =
        Err(StoreError::Unavailable { backend: "the store", detail: "it is away".to_owned() });
    let refused = sessions.check(&of("usr_alice", session.as_str())).await.unwrap_err();
    assert_eq!((refused.status(), refused.retry_after), (StatusCode::SERVICE_UNAVAILABLE, Some(1)));
    *known.alive.lock().unwrap() = Ok(None);
    let refused = sessions.check(&of("usr_alice", session.as_str())).await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    // A service has no session.
    let service = bearer(&authority.service("billing", "orders").access());
    let found = sessions.check(&service).await.unwrap();
    assert_eq!((found.user_id, found.session_id), (None, None));
    assert_eq!(found.service_context.caller.as_deref(), Some("billing"));
}

/// What answers in the place of a sidecar, and which headers it saw last. A fake.
type Impostor = Arc<(AtomicU32, Mutex<HeaderMap>)>;

async fn answer(State(impostor): State<Impostor>, headers: HeaderMap) -> Response {
    *impostor.1.lock().unwrap() = headers;
    let session = r#"{"user_id":"usr_alice","session_id":null,"permissions":[],"roles":["admin"],
        "service_context":{"service":"orders","caller":null},"trace_id":"00","expires_at":1}"#;
    let problem = |status: u16| Problem::new(StatusCode::from_u16(status).unwrap(), "no").to_json();
    let status = |status: u16| StatusCode::from_u16(status).unwrap();
    match impostor.0.load(Ordering::SeqCst) {
        0 => session.into_response(),
        1 => "a page".into_response(),
        2 => (status(204), "").into_response(),
        3 => (status(302), [("location", "http://elsewhere.example/")]).into_response(),
        4 => (status(404), problem(404)).into_response(),
        5 => (status(401), problem(200)).into_response(),
        6 => (status(500), session).into_response(),
        7 => (status(200), "x".repeat(512 << 10)).into_response(),
        _ => (status(401), [("www-authenticate", "Bearer")], problem(401)).into_response(),
    }
}

#[tokio::test]
async fn whatever_else_answers_in_the_place_of_a_sidecar_lets_nobody_pass() {
    let impostor = Impostor::default();
    let router = Router::new().route("/check", get(answer)).with_state(Arc::clone(&impostor));
    let server = TestServer::start(router).await.unwrap();
    let sessions = Sessions::beside(server.url("").parse().unwrap());
    let mut headers = bearer("secret");
    headers.insert(header::COOKIE, "session_id=precious".parse().unwrap());
    headers.insert("x-user-id", "usr_mallory".parse().unwrap());
    assert_eq!(sessions.check(&headers).await.unwrap().roles, ["admin"]);
    let seen = impostor.1.lock().unwrap().clone();
    assert_eq!(seen.get(header::AUTHORIZATION).unwrap(), "Bearer secret");
    assert!(!seen.contains_key(header::COOKIE) && !seen.contains_key("x-user-id"), "{seen:?}");
    for behaves in 1..=7 {
        impostor.0.store(behaves, Ordering::SeqCst);
        let refused = sessions.check(&headers).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{behaves}");
        assert!(!refused.to_string().contains("secret"), "{refused}");
    }
    impostor.0.store(8, Ordering::SeqCst);
    let refused = sessions.check(&headers).await.unwrap_err();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.challenge.unwrap(), "Bearer");
    drop(server);
}

#[tokio::test]
async fn without_a_sidecar_nobody_passes() {
    for place in ["http://127.0.0.1:1", "unix:/nowhere/sidecar.sock"] {
        let sessions = Sessions::beside(place.parse().unwrap());
        let refused = sessions.check(&bearer("x")).await.unwrap_err();
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE, "{place}");
    }
    // Elsewhere than on this machine, nothing is sent.
    let sessions = Sessions::beside("http://192.0.2.1:9010".parse().unwrap());
    let refused = sessions.check(&bearer("x")).await.unwrap_err();
    assert!(refused.to_string().contains("without TLS"), "{refused}");
}

#[test]
fn says_what_the_address_of_a_sidecar_looks_like() {
    for wrong in
        ["", "sidecar", "https://127.0.0.1:9010", "http://a/path", "http://a?x", "unix:", "unix:a"]
    {
        let said = wrong.parse::<Sidecar>().unwrap_err().to_string();
        assert!(said.contains("unix:/run/tegata/sidecar.sock"), "{said}");
    }
}
