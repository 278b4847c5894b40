//! Envoy's questions, asked by a client that asks what it likes. With the real Envoy: `tegata/tests/envoy`.

use std::{net::TcpListener, sync::Arc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::{
    config::core::v3::{
        Address as Place, HeaderMap as SaidMap, HeaderValue as Said, HeaderValueOption,
        SocketAddress, address::Address, header_value_option::HeaderAppendAction,
    },
    service::auth::v3::{
        AttributeContext, CheckRequest, CheckResponse, DeniedHttpResponse, OkHttpResponse,
        attribute_context::{HttpRequest, Peer, Request as AskedRequest},
        check_response::HttpResponse,
    },
};
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use serde_json::json;
use tegata_core::{ClientCertificates, Secret, TokenId};
use tegata_gateway::{
    decision_log::{Mode, Stretch, find},
    explain::explain,
    reasons::Phase,
};
use tegata_token::{Algorithm, SigningKey, certificate::thumbprint, revocation::Target};

use crate::{
    decisions,
    dpop::Holder,
    echo,
    world::{Plan, World},
};

const CHECK: &str = "http://tegata/envoy.service.auth.v3.Authorization/Check";

/// A world that answers Envoy, and where.
pub(crate) fn asked(plan: Plan, secret: Option<&str>) -> (World, u16) {
    let world = plan.start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let secret = secret.map(|secret| Secret::new(secret.to_owned()));
    world.gateway.answer_envoy(vec![listener], secret).unwrap();
    (world, port)
}

fn plain() -> (World, u16) {
    asked(Plan::with(echo::start()), None)
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

pub(crate) type Asker = SendRequest<Full<Bytes>>;

pub(crate) async fn connect(port: u16) -> Asker {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let io = TokioIo::new(stream);
    let shaken = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (sender, connection) = shaken.unwrap();
    tokio::spawn(connection);
    sender
}

fn framed(message: &[u8]) -> Bytes {
    let mut all = BytesMut::new();
    all.put_u8(0);
    all.put_u32(message.len().try_into().unwrap());
    all.extend_from_slice(message);
    all.freeze()
}

fn call(body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::post(CHECK).header("content-type", "application/grpc");
    request.header("te", "trailers").body(Full::new(body.into())).unwrap()
}

/// The status of gRPC, and the message, where there is one.
async fn told(asker: &mut Asker, request: Request<Full<Bytes>>) -> (String, Option<CheckResponse>) {
    asker.ready().await.unwrap();
    let answer = asker.send_request(request).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/grpc".parse::<http::HeaderValue>().unwrap())
    );
    let status = answer.headers().get("grpc-status").cloned();
    let body = answer.into_body().collect().await.unwrap();
    let status = status.or_else(|| body.trailers()?.get("grpc-status").cloned());
    let bytes = body.to_bytes();
    let message = (bytes.len() > 5).then(|| CheckResponse::decode(&bytes[5..]).unwrap());
    (status.unwrap().to_str().unwrap().to_owned(), message)
}

/// A question as Envoy asks it.
pub(crate) fn question(method: &str, path: &str, fields: &[(&str, &str)]) -> CheckRequest {
    let socket = SocketAddress { address: "192.0.2.7".to_owned(), ..Default::default() };
    let address = Some(Place { address: Some(Address::SocketAddress(socket)) });
    let said = |(name, value): &(&str, &str)| Said {
        key: (*name).to_owned(),
        raw_value: value.as_bytes().to_vec(),
        ..Default::default()
    };
    let own = [(":authority", "gateway.example"), (":path", path), (":method", method)];
    let headers = own.iter().chain(fields).map(said).collect();
    let http = HttpRequest {
        method: method.to_owned(),
        path: path.to_owned(),
        host: "gateway.example".to_owned(),
        scheme: "http".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        header_map: Some(SaidMap { headers }),
        ..Default::default()
    };
    let request = AskedRequest { http: Some(http), ..Default::default() };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer { address, ..Default::default() }),
            request: Some(request),
            ..Default::default()
        }),
    }
}

/// What Envoy is told to do.
pub(crate) async fn verdict(asker: &mut Asker, question: &CheckRequest) -> CheckResponse {
    let (status, message) = told(asker, call(framed(&question.encode_to_vec()))).await;
    assert_eq!(status, "0");
    message.unwrap()
}

pub(crate) fn passes(response: CheckResponse) -> OkHttpResponse {
    match response.http_response {
        Some(HttpResponse::OkResponse(passes)) => passes,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refused(response: &CheckResponse) -> (i32, String) {
    match &response.http_response {
        Some(HttpResponse::DeniedResponse(DeniedHttpResponse { status, body, .. })) => {
            let problem: serde_json::Value = serde_json::from_str(body).unwrap_or_default();
            let reason = problem["type"].as_str().unwrap_or_default().to_owned();
            let reason = reason.strip_prefix("urn:tegata:problem:").unwrap_or_default().to_owned();
            (status.as_ref().unwrap().code, reason)
        }
        other => panic!("{other:?}"),
    }
}

/// What is added to the answer of a request that is refused.
pub(crate) fn of_denied(response: &CheckResponse) -> &[HeaderValueOption] {
    match &response.http_response {
        Some(HttpResponse::DeniedResponse(denied)) => &denied.headers,
        other => panic!("{other:?}"),
    }
}

/// The value under a name, which stands once, beside what the service says.
pub(crate) fn added(headers: &[HeaderValueOption], name: &str) -> Option<String> {
    let mut found = headers.iter().filter(|it| it.header.as_ref().unwrap().key == name);
    let first = found.next()?;
    assert!(found.next().is_none(), "`{name}` is added twice");
    assert_eq!(first.append_action, i32::from(HeaderAppendAction::AppendIfExistsOrAdd));
    Some(first.header.as_ref().unwrap().value.clone())
}

/// The value under a name, which is set once and replaces all that there are.
pub(crate) fn set(headers: &[HeaderValueOption], name: &str) -> Option<String> {
    let named = |it: &&HeaderValueOption| it.header.as_ref().unwrap().key == name;
    let mut found = headers.iter().filter(named);
    let first = found.next()?;
    assert!(found.next().is_none(), "`{name}` is set twice");
    assert_eq!(first.append_action, i32::from(HeaderAppendAction::OverwriteIfExistsOrAdd));
    Some(first.header.as_ref().unwrap().value.clone())
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn what_passes_is_changed_as_the_gateway_changes_it() {
    let (world, port) = plain();
    block_on(async {
        let mut asker = connect(port).await;
        let token = bearer(&world.token());
        let fields = [
            ("authorization", token.as_str()),
            ("x-user-id", "usr_mallory"),
            ("x_user_roles", "admin"),
            ("x-envoy-original-path", "/admin/x"),
            ("x-forwarded-for", "203.0.113.9"),
            ("cookie", "session_id=x; theme=dark"),
            ("accept", "*/*"),
        ];
        let asks = question("GET", "/echo/a%20b/%63?x=1", &fields);
        let response = verdict(&mut asker, &asks).await;
        let known = response.dynamic_metadata.clone().unwrap().fields;
        let known: Vec<_> =
            ["service", "route", "user"].map(|name| known[name].kind.clone()).into();
        assert!(
            format!("{known:?}").contains("usr_alice") && format!("{known:?}").contains("echo")
        );
        let ok = passes(response);
        assert_eq!(set(&ok.headers, ":path").as_deref(), Some("/a%20b/c?x=1"));
        assert_eq!(set(&ok.headers, "x-user-id").as_deref(), Some("usr_alice"));
        assert_eq!(set(&ok.headers, "x-user-roles").as_deref(), Some("customer"));
        assert_eq!(set(&ok.headers, "x-forwarded-for").as_deref(), Some("192.0.2.7"));
        assert_eq!(set(&ok.headers, "cookie").as_deref(), Some("theme=dark"));
        assert!(set(&ok.headers, "x-internal-token").is_some_and(|it| it.split('.').count() == 3));
        assert_eq!((set(&ok.headers, "accept"), set(&ok.headers, "host")), (None, None));
        for gone in ["authorization", "x_user_roles", "x-envoy-original-path", "txn-token"] {
            assert!(ok.headers_to_remove.iter().any(|name| name == gone), "{gone}");
        }
        for kept in ["x-user-id", "accept", "host", ":path"] {
            assert!(!ok.headers_to_remove.iter().any(|name| name == kept), "{kept}");
        }
        let id = set(&ok.headers, "x-request-id").unwrap();
        assert_eq!(set(&ok.response_headers_to_add, "x-request-id"), Some(id));
    });
    // It counts like any other.
    assert!(world.metrics().contains(r#"gateway_requests_total{service="echo",status="200"} 1"#));
}

#[test]
fn who_is_nobody_is_named_to_nobody() {
    let (_world, port) = plain();
    block_on(async {
        let mut asker = connect(port).await;
        let forged = [("x-user-id", "usr_mallory"), ("x-internal-token", "forged")];
        for path in ["/public/x", "/maybe/x"] {
            // Also where Envoy does not show what a client said.
            for fields in [&forged[..], &[]] {
                let ok = passes(verdict(&mut asker, &question("GET", path, fields)).await);
                for name in ["x-user-id", "x-user-roles", "x-internal-token"] {
                    assert_eq!(set(&ok.headers, name), None, "{path}");
                    assert!(ok.headers_to_remove.iter().any(|it| it == name), "{path} {name}");
                }
            }
        }
    });
}

#[test]
fn what_is_refused_is_refused_in_the_same_words() {
    let (world, port) = plain();
    let token = bearer(&world.token());
    block_on(async {
        let mut asker = connect(port).await;
        for (method, path, fields, status, reason) in [
            ("GET", "/echo/x", &[][..], 401, "not_authenticated"),
            ("GET", "/nowhere", &[], 404, "no_route"),
            ("GET", "/echo/%00", &[], 400, "path_control"),
            ("GET", "/admin/x", &[("authorization", token.as_str())], 403, "missing_role"),
            ("POST", "/read/x", &[("authorization", &token)], 405, "method_not_allowed"),
            ("CONNECT", "/echo/x", &[], 405, "method_not_allowed"),
            (
                "GET",
                "/echo/x",
                &[("authorization", &token), ("authorization", "a")],
                400,
                "several_authorizations",
            ),
            ("GET", "/echo/x", &[("authorization", "Bearer a,Bearer b")], 401, "token_malformed"),
            ("GET", "/echo/x", &[("upgrade", "websocket")], 501, "upgrade_not_supported"),
            ("GET", "/echo/a#b", &[], 400, "target_illegal_byte"),
        ] {
            let response = verdict(&mut asker, &question(method, path, fields)).await;
            let (got, why) = refused(&response);
            assert_eq!(got, status, "{method} {path}: {why}");
            if reason != "path_control" {
                assert_eq!(why, reason, "{method} {path}");
            }
            // The gateway says the same.
            if !path.contains('#') && method != "CONNECT" {
                let text: String = fields.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
                let own = world.ask(&format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{text}\r\n"));
                assert_eq!(i32::from(own.status), got, "{path}");
                assert_eq!(own.json()["type"], format!("urn:tegata:problem:{why}"), "{path}");
            }
        }
    });
}

#[test]
fn a_frame_that_is_no_request_ends_its_stream_alone() {
    let (_world, port) = plain();
    block_on(async {
        let mut asker = connect(port).await;
        let good = framed(&question("GET", "/public/x", &[]).encode_to_vec());
        let lacks = CheckRequest { attributes: Some(AttributeContext::default()) };
        for (bytes, status) in [
            (Bytes::new(), "13"),
            (Bytes::from_static(&[0, 0, 0]), "13"),
            (Bytes::from_static(&[0, 0, 0, 0, 9, 1]), "13"),
            (Bytes::from_static(&[1, 0, 0, 0, 0]), "12"),
            (Bytes::from_static(&[7, 0, 0, 0, 0]), "13"),
            // A hundred megabytes, of which none need come.
            (Bytes::from_static(&[0, 6, 0, 0, 0]), "8"),
            (framed(&vec![b'x'; 300 * 1024]), "8"),
            (framed(b"\xff\xff\xff\xff"), "3"),
            (framed(&[]), "3"),
            (framed(&lacks.encode_to_vec()), "3"),
            (Bytes::from([&good[..], &good[..]].concat()), "13"),
            (good.slice(..good.len() - 1), "13"),
        ] {
            let shown = format!("{:x?}", &bytes[..bytes.len().min(16)]);
            assert_eq!(told(&mut asker, call(bytes)).await.0, status, "{shown}");
            // Of the same connection.
            assert_eq!(told(&mut asker, call(good.clone())).await.0, "0");
        }
        let other = Request::post("http://tegata/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc");
        let other = other.body(Full::new(good.clone())).unwrap();
        assert_eq!(told(&mut asker, other).await.0, "12");
        for (method, kind, status) in
            [("GET", "application/grpc", 405), ("POST", "application/json", 415)]
        {
            let request = Request::builder().method(method).uri(CHECK).header("content-type", kind);
            let answer = asker.send_request(request.body(Full::default()).unwrap()).await.unwrap();
            assert_eq!(answer.status(), status);
        }
        assert_eq!(told(&mut asker, call(good)).await.0, "0");
    });
}

#[test]
fn a_thousand_questions_that_are_taken_back_cost_others_nothing() {
    let (_world, port) = plain();
    block_on(async {
        let mut asker = connect(port).await;
        let good = framed(&question("GET", "/public/x", &[]).encode_to_vec());
        for _ in 0..20 {
            let storm: Vec<_> = (0..200).map(|_| asker.send_request(call(good.clone()))).collect();
            let kept = told(&mut asker, call(good.clone()));
            tokio::pin!(kept);
            // They are sent, and taken back before anybody has answered.
            let polled = futures_util::future::poll_immediate(&mut kept).await;
            drop(storm);
            let (status, _) = match polled {
                Some(told) => told,
                None => kept.await,
            };
            assert_eq!(status, "0");
        }
        // And a thousand at a time that are waited for.
        let all = (0..1000).map(|_| asker.send_request(call(good.clone())));
        for answer in futures_util::future::join_all(all).await {
            assert_eq!(answer.unwrap().status(), 200);
        }
    });
}

#[test]
fn who_does_not_know_the_secret_learns_nothing() {
    let (world, port) = asked(Plan::with(echo::start()), Some("open sesame"));
    let token = bearer(&world.token());
    block_on(async {
        let mut asker = connect(port).await;
        let asks =
            framed(&question("GET", "/echo/x", &[("authorization", &token)]).encode_to_vec());
        let with = |secret: &str| {
            let mut request = call(asks.clone());
            request.headers_mut().insert("authorization", secret.parse().unwrap());
            request
        };
        for wrong in [call(asks.clone()), with("Bearer open"), with("open sesame")] {
            let (status, message) = told(&mut asker, wrong).await;
            assert_eq!((status.as_str(), message), ("16", None));
        }
        let (status, message) = told(&mut asker, with("Bearer open sesame")).await;
        assert_eq!(status, "0");
        passes(message.unwrap());
    });
}

#[test]
fn a_token_that_is_taken_back_is_refused_at_the_next_question() {
    let (world, port) = plain();
    let claims = world.claims();
    let jti = claims["jti"].as_str().unwrap().to_owned();
    let token = bearer(&world.sign(&claims));
    block_on(async {
        let mut asker = connect(port).await;
        let asks = question("GET", "/echo/x", &[("authorization", &token)]);
        passes(verdict(&mut asker, &asks).await);
        world.revoke(Target::Token(TokenId::new(&jti).unwrap()));
        assert_eq!(refused(&verdict(&mut asker, &asks).await), (401, "token_revoked".to_owned()));
    });
}

#[test]
fn a_proof_counts_once_at_envoy_and_the_gateway_together() {
    let (world, port) = plain();
    let holder = Holder::of(&world);
    block_on(async {
        let mut asker = connect(port).await;
        let credential = holder.credential();
        let ask = |proof: &str| {
            let fields = [("authorization", credential.as_str()), ("dpop", proof)];
            question("GET", "/echo/x", &fields)
        };
        let proof = holder.proof(&world, &[]);
        let ok = passes(verdict(&mut asker, &ask(&proof)).await);
        for gone in ["authorization", "dpop"] {
            assert!(ok.headers_to_remove.iter().any(|name| name == gone), "{gone}");
        }
        assert!(set(&ok.response_headers_to_add, "dpop-nonce").is_some());
        let again = holder.ask(&world, "/echo/x", &[&proof]);
        assert_eq!(again.status, 401, "{again:?}");
        let proof = holder.proof(&world, &[]);
        assert_eq!(holder.ask(&world, "/echo/x", &[&proof]).status, 200);
        assert_eq!(refused(&verdict(&mut asker, &ask(&proof)).await).1, "dpop_replayed");
        // For another host or scheme than Envoy was asked with.
        let elsewhere = [("htu", json!("http://evil.example/echo/x"))];
        let proof = holder.proof(&world, &elsewhere);
        assert_eq!(refused(&verdict(&mut asker, &ask(&proof)).await).1, "dpop_proof");
    });
}

#[test]
fn limits_count_the_client_that_envoy_tells_of() {
    let mut plan = Plan::with(echo::start());
    plan.config.limits.per_address = "3/h".parse().ok();
    let (_world, port) = asked(plan, None);
    block_on(async {
        let mut asker = connect(port).await;
        let from = |address: &str| {
            let mut asks = question("GET", "/public/x", &[("x-forwarded-for", "203.0.113.9")]);
            let socket = SocketAddress { address: address.to_owned(), ..Default::default() };
            let source = asks.attributes.as_mut().unwrap().source.as_mut().unwrap();
            source.address = Some(Place { address: Some(Address::SocketAddress(socket)) });
            asks
        };
        for _ in 0..3 {
            let ok = passes(verdict(&mut asker, &from("192.0.2.7")).await);
            assert!(set(&ok.response_headers_to_add, "ratelimit").is_some());
        }
        let too_many = verdict(&mut asker, &from("192.0.2.7")).await;
        assert_eq!(refused(&too_many), (429, "too_many_requests".to_owned()));
        passes(verdict(&mut asker, &from("192.0.2.8")).await);
    });
}

#[test]
fn who_connects_and_says_nothing_is_not_waited_for_and_nobody_keeps_the_gateway() {
    let mut plan = Plan::with(echo::start());
    plan.real_time = true;
    plan.config.deadlines.head = Duration::from_secs(1);
    let (world, port) = asked(plan, None);
    let silent = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    silent.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Settings come, and then the end.
    let read = std::io::Read::read_to_end(&mut &silent, &mut Vec::new());
    assert!(read.is_ok() || read.is_err_and(|it| it.kind() == std::io::ErrorKind::ConnectionReset));
    block_on(async {
        let mut asker = connect(port).await;
        let asks = question("GET", "/public/x", &[]);
        passes(verdict(&mut asker, &asks).await);
        let gateway = world;
        // Though Envoy keeps its connection.
        tokio::task::spawn_blocking(move || gateway.gateway.shutdown()).await.unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    });
}

#[test]
fn what_envoy_is_told_is_written_down_like_any_other_decision() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = decisions::open(directory.path(), Mode::Required, &key);
    let mut plan = Plan::with(echo::start());
    plan.decisions = Some(log.clone());
    let (world, port) = asked(plan, None);
    let token = bearer(&world.token());
    block_on(async {
        let mut asker = connect(port).await;
        let fields = [("authorization", token.as_str())];
        passes(verdict(&mut asker, &question("GET", "/echo/%61?secret=1", &fields)).await);
        refused(&verdict(&mut asker, &question("GET", "/admin/x", &fields)).await);
        refused(&verdict(&mut asker, &question("GET", "/echo/x", &[])).await);
        refused(&verdict(&mut asker, &question("G T", "/echo/x", &[])).await);
    });
    drop(world);
    log.close();
    let records = decisions::records(directory.path());
    let field = |name: &str| records.iter().map(|record| record[name].clone()).collect::<Vec<_>>();
    // Where decisions must be written down, they are before anybody acts on them.
    assert_eq!(field("result"), ["allow", "answer", "deny", "answer", "deny", "answer", "deny"]);
    assert_eq!(field("path")[..2], ["/echo/a", "/echo/a"]);
    assert_eq!(field("reason")[2..3], ["missing_role"]);
    assert_eq!(field("reason")[6], "request_line_malformed");
    assert_eq!(field("client"), ["192.0.2.7"; 7]);
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains(&world_token(&token)) && !text.contains("secret"));
}

#[test]
fn what_cannot_be_read_is_on_record_under_the_name_that_envoy_is_told_and_counted_as_answered() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    let log = decisions::open(directory.path(), Mode::Required, &key);
    let mut plan = Plan::with(echo::start());
    plan.decisions = Some(log.clone());
    let (world, port) = asked(plan, None);
    let cases = [
        (question("G T", "/echo/x", &[]), 400, "request_line_malformed"),
        (question("GET", "/echo/\u{1}", &[]), 400, "target_illegal_byte"),
        (question("GET", "/echo/x", &[("bad name", "x")]), 400, "field_name"),
        (question("GET", "/echo/x", &[("x-note", "a\0b")]), 400, "field_value"),
    ];
    block_on(async {
        let mut asker = connect(port).await;
        for (asks, status, reason) in &cases {
            let response = verdict(&mut asker, asks).await;
            assert_eq!(refused(&response), (*status, (*reason).to_owned()));
            let name = name_of(&response);
            let found = find(directory.path(), &name, &Stretch::default()).unwrap();
            let [seen] = &found.seen[..] else { panic!("{found:?}") };
            assert!(seen.sound);
            let record = &seen.record;
            assert_eq!(
                (&record["client"], &record["result"]),
                (&json!("192.0.2.7"), &json!("deny"))
            );
            assert_eq!((&record["request"], &record["status"]), (&json!(name), &json!(status)));
            let told = explain(record);
            assert!(!told.allowed && told.means.is_some() && !told.changes.is_empty(), "{told:?}");
            let (reason, phase) = (Some((*reason).to_owned()), Some(Phase::Admit));
            assert_eq!((told.reason, told.phase), (reason, phase));
        }
        let line =
            |status| format!(r#"gateway_requests_total{{service="gateway",status="{status}"}} "#);
        assert!(world.metrics().contains(&(line(400) + "4\n")), "{}", world.metrics());
        // Where it cannot be recorded, nothing is said of what is wrong, and nothing counted.
        log.close();
        for (asks, ..) in &cases {
            let response = verdict(&mut asker, asks).await;
            assert_eq!(refused(&response), (503, "decision_log_unavailable".to_owned()));
            let found = find(directory.path(), &name_of(&response), &Stretch::default()).unwrap();
            assert!(found.seen.is_empty());
        }
        let metrics = world.metrics();
        assert!(metrics.contains(&(line(400) + "4\n")), "{metrics}");
        assert!(metrics.contains(&(line(503) + "4\n")), "{metrics}");
    });
}

/// The name of the request, as Envoy's own log can have it; the client is told the same.
fn name_of(response: &CheckResponse) -> String {
    use envoy_types::pb::google::protobuf::value::Kind;
    let known = &response.dynamic_metadata.as_ref().unwrap().fields["request"];
    let Some(Kind::StringValue(name)) = &known.kind else { panic!("{known:?}") };
    let Some(HttpResponse::DeniedResponse(denied)) = &response.http_response else {
        panic!("{response:?}")
    };
    let told = |it: &&HeaderValueOption| it.header.as_ref().unwrap().key == "x-request-id";
    let told = denied.headers.iter().find(told).unwrap().header.as_ref().unwrap();
    assert_eq!(told.value, *name);
    name.clone()
}

fn world_token(bearer: &str) -> String {
    bearer.trim_start_matches("Bearer ").to_owned()
}

#[test]
fn a_certificate_that_envoy_tells_of_is_the_clients_own() {
    let made = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        params.self_signed(&key).unwrap()
    };
    let (own, other) = (made("own.example"), made("other.example"));
    // As Envoy writes it.
    let told = |pem: String| {
        pem.bytes().fold(String::new(), |all, byte| match byte {
            byte if byte.is_ascii_alphanumeric() => all + &char::from(byte).to_string(),
            byte => all + &format!("%{byte:02X}"),
        })
    };
    let (shown, others) = (told(own.pem()), told(other.pem()));
    for (counts, set) in [(true, ClientCertificates::Tls), (false, ClientCertificates::Off)] {
        let mut plan = Plan::with(echo::start());
        plan.config.client_certificates = set;
        let (world, port) = asked(plan, None);
        let mut claims = world.claims();
        claims["cnf"] = json!({"x5t#S256": thumbprint(own.der())});
        let token = bearer(&world.sign(&claims));
        block_on(async {
            let mut asker = connect(port).await;
            for (told, passing) in
                [(&*shown, counts), (&*others, false), ("", false), ("%zz", false)]
            {
                let mut asks = question("GET", "/echo/x", &[("authorization", &token)]);
                let source = asks.attributes.as_mut().unwrap().source.as_mut().unwrap();
                told.clone_into(&mut source.certificate);
                let response = verdict(&mut asker, &asks).await;
                if passing {
                    passes(response);
                } else {
                    assert_eq!(refused(&response), (401, "token_certificate".to_owned()));
                }
            }
        });
    }
}

#[test]
fn a_websocket_is_asked_for_where_the_route_takes_them() {
    let mut plan = Plan::with(echo::start());
    plan.routes = json!([
        {"path": "/socket", "service": "echo", "websocket": true},
        {"path": "/echo", "service": "echo"},
    ]);
    let (world, port) = asked(plan, None);
    let token = bearer(&world.token());
    let own = [
        ("authorization", token.as_str()),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", "chat"),
    ];
    block_on(async {
        let mut asker = connect(port).await;
        let ok = passes(verdict(&mut asker, &question("GET", "/socket/x", &own)).await);
        assert_eq!(set(&ok.headers, ":path").as_deref(), Some("/x"));
        assert_eq!(set(&ok.headers, "x-user-id").as_deref(), Some("usr_alice"));
        // What makes it a WebSocket stays, and is not said in another way.
        for kept in ["connection", "upgrade", "sec-websocket-key", "sec-websocket-protocol"] {
            assert!(!ok.headers_to_remove.iter().any(|name| name == kept), "{kept}");
        }
        assert_eq!(
            (set(&ok.headers, "upgrade"), set(&ok.headers, "sec-websocket-key")),
            (None, None)
        );
        let elsewhere = verdict(&mut asker, &question("GET", "/echo/x", &own)).await;
        assert_eq!(refused(&elsewhere), (501, "upgrade_not_supported".to_owned()));
        // Without a key it is none: so Envoy shows those that came with HTTP/2.
        let keyless = verdict(&mut asker, &question("GET", "/socket/x", &own[..4])).await;
        assert_eq!(refused(&keyless), (400, "websocket".to_owned()));
    });
}

#[test]
fn where_bodies_are_judged_nobody_passes_whom_envoy_shows() {
    let mut plan = Plan::with(echo::start());
    let more = json!([
        {"path": "/graphql/shop", "service": "echo", "auth": "optional",
         "graphql": {"schema": include_str!("graphql.graphql"), "upstream_path": "/gql"}},
        {"path": "/part", "service": "echo", "auth": "none", "strip_prefix": false},
    ]);
    plan.routes.as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
    plan.bffs =
        json!([{"name": "home", "part": [{"name": "it", "path": "/part/x", "select": ["path"]}]}]);
    let (world, port) = asked(plan, None);
    let token = bearer(&world.token());
    let json = ("content-type", "application/json");
    // With the body or without it, whole or cut, as text or as bytes: what Envoy shows of a body is what it
    // is set to show, and the service would get all of it.
    let good = r#"{"query": "{ product(id: 1) { id } }"}"#;
    let bodies: [(&str, &[u8], bool); 4] = [
        ("", b"", false),
        (good, b"", false),
        ("", good.as_bytes(), false),
        (&good[..9], b"", true),
    ];
    block_on(async {
        let mut asker = connect(port).await;
        for (text, bytes, cut) in bodies {
            let mut fields = vec![json, ("authorization", token.as_str())];
            if cut {
                fields.push(("x-envoy-auth-partial-body", "true"));
            }
            let with_body = |method: &str, path: &str| {
                let mut asked = question(method, path, &fields);
                let request = asked.attributes.as_mut().unwrap().request.as_mut().unwrap();
                let http = request.http.as_mut().unwrap();
                (http.body, http.raw_body) = (text.to_owned(), bytes.to_vec());
                asked
            };
            for (method, path) in [
                ("POST", "/graphql/shop"),
                ("GET", "/graphql/shop?query=%7Bproduct(id:1)%7Bid%7D%7D"),
                ("POST", "/graphql/shop/x"),
            ] {
                let answer = verdict(&mut asker, &with_body(method, path)).await;
                let (status, reason) = refused(&answer);
                assert!(
                    (status, reason.as_str()) == (403, "graphql_unseen") || path.ends_with("/x"),
                    "{method} {path}: {status} {reason}"
                );
            }
            // Nor is anything put together: Envoy has one service for a request.
            let answer = verdict(&mut asker, &with_body("GET", "/bff/home")).await;
            assert_eq!(refused(&answer), (404, "no_route".to_owned()));
            // Elsewhere a body is nothing to the decision.
            passes(verdict(&mut asker, &with_body("POST", "/echo/x")).await);
        }
        // A question with a body that is larger than any question ends without an answer, and nothing passes.
        let mut asked = question("POST", "/echo/x", &[json, ("authorization", &token)]);
        let request = asked.attributes.as_mut().unwrap().request.as_mut().unwrap();
        request.http.as_mut().unwrap().raw_body = vec![b'x'; 5 << 20];
        let (status, message) = told(&mut asker, call(framed(&asked.encode_to_vec()))).await;
        assert!(status != "0" && message.is_none(), "{status}");
    });
}
