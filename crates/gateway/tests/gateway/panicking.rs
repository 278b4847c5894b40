//! What panics in the gateway, as what has a defect does: a store of sessions, here.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tegata_core::BoxFuture;
use tegata_gateway::{Checked, Head, Renewed, SessionCheck, SessionRefused, decision_log::Mode};
use tegata_token::{Algorithm, SigningKey};

use crate::{
    decisions, echo,
    world::{Plan, World, get, request},
};

/// Panics over some cookies: at once, or later. Of others it knows nothing.
struct Falling;

impl SessionCheck for Falling {
    fn cookie(&self) -> &'static str {
        "session_id"
    }

    fn check<'a>(&'a self, value: &'a str, _: Head<'a>, _: IpAddr) -> BoxFuture<'a, Checked> {
        assert!(value != "falls", "secret-of-a-caller");
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(value != "falls-later", "secret-of-a-caller");
            Checked { verdict: Err(SessionRefused::Unknown), set_cookie: None }
        })
    }

    fn settle<'a>(&'a self, _: &'a Renewed) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}

fn falling(plan: Plan) -> World {
    Plan { sessions: Some(Arc::new(Falling)), ..plan }.start()
}

const NOW: (&str, &str) = ("Cookie", "session_id=falls");
const LATER: (&str, &str) = ("Cookie", "session_id=falls-later");

#[test]
fn what_panics_has_the_last_answer_of_its_connection_and_is_written_down() {
    let directory = tempfile::tempdir().unwrap();
    let key = Arc::new(SigningKey::generate(Algorithm::EdDsa).unwrap());
    for (number, mode) in [Mode::BestEffort, Mode::Required].into_iter().enumerate() {
        let directory = directory.path().join(number.to_string());
        let log = decisions::open(&directory, mode, &key);
        let mut plan = Plan::with(echo::start());
        plan.decisions = Some(log.clone());
        let world = falling(plan);
        let mut names = Vec::new();
        for cookie in [NOW, LATER] {
            // One before it, itself, and one behind it, all sent at once.
            let mut client = world.connect();
            client.write(
                get("/public/before", &[]) + &get("/echo/x", &[cookie]) + &get("/public/y", &[]),
            );
            let before = client.answer().unwrap();
            assert_eq!((before.status, &before.json()["path"]), (200, &json!("/before")));
            assert_eq!(before.field("connection"), None);
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.problem().as_str()), (500, "gateway_failed"));
            assert_eq!(answer.field("connection"), Some("close"));
            assert!(!format!("{answer:?}").contains("secret-of-a-caller"));
            assert!(client.is_closed());
            names.push(json!(answer.field("x-request-id").unwrap()));
        }
        let counted = r#"gateway_requests_total{service="echo",status="500"} 2"#;
        assert!(world.metrics().contains(counted), "{}", world.metrics());
        drop(world);
        log.close();
        let records = decisions::records(&directory);
        let failed: Vec<_> = records.iter().filter(|it| it["status"] == 500).collect();
        let field = |name: &str| failed.iter().map(|it| it[name].clone()).collect::<Vec<_>>();
        assert_eq!(field("request"), names, "{records:?}");
        assert_eq!(field("reason"), ["gateway_failed"; 2]);
        assert_eq!(
            (field("result"), field("path")),
            (vec![json!("deny"); 2], vec![json!("/echo/x"); 2])
        );
    }
}

/// What is left of the body is a request for whoever loses count, and no answer is given to it.
#[test]
fn what_was_left_of_a_body_is_taken_for_no_request() {
    let world = falling(Plan::with(echo::start()));
    let next = get("/public/x", &[]);
    let (length, half) = (next.len().to_string(), (next.len() / 2).to_string());
    let chunk = format!("{:x}\r\n{next}\r\n", next.len());
    let chunked = ("Transfer-Encoding", "chunked");
    for cookie in [NOW, LATER] {
        for (field, rest) in [
            (("Content-Length", &*length), next.clone()),
            (("Content-Length", &*half), String::new()),
            (("Content-Length", "1000000"), next.clone()),
            (chunked, chunk.clone() + "0\r\n\r\n"),
            // A chunk that holds the next request as well, and is not the last.
            (chunked, format!("{:x}\r\n{next}", 2 * next.len())),
        ] {
            let mut client = world.connect();
            client.write(request("POST", "/echo/x", &[cookie, field], "") + &rest + &next);
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.problem().as_str()), (500, "gateway_failed"));
            assert_eq!(answer.field("connection"), Some("close"), "{field:?}");
            assert!(client.is_closed(), "{field:?}");
        }
    }
}

#[test]
fn what_panics_costs_nobody_else_anything() {
    let mut plan = Plan::with(echo::start());
    plan.config.limits.requests = 8;
    let world = falling(plan);
    let (mut other, address) = (world.connect(), world.address);
    assert_eq!(other.ask(&get("/public/x", &[])).status, 200);
    for cookie in [NOW, LATER] {
        // More than there is room for, if each kept its place.
        for _ in 0..20 {
            assert_eq!(world.ask(&get("/echo/x", &[cookie])).status, 500);
            assert_eq!(other.ask(&get("/public/x", &[])).status, 200);
        }
    }
    // With HTTP/2, others of its connection are answered.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let shaken =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.unwrap();
        tokio::spawn(connection);
        for (path, cookie, status) in [
            ("public/x", None, 200),
            ("echo/x", Some(NOW), 500),
            ("public/x", None, 200),
            ("echo/x", Some(LATER), 500),
            ("public/x", None, 200),
        ] {
            let mut asked = http::Request::get(format!("http://gateway.example/{path}"));
            if let Some((name, value)) = cookie {
                asked = asked.header(name, value);
            }
            let asked = sender.send_request(asked.body(Empty::<Bytes>::new()).unwrap());
            let answer = asked.await.unwrap();
            assert_eq!(answer.status(), status);
            assert!(!answer.headers().contains_key("connection"));
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            let body = String::from_utf8(body.to_vec()).unwrap();
            assert_eq!(body.contains("gateway_failed"), status == 500, "{body}");
        }
    });
}
