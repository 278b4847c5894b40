use std::sync::atomic::{AtomicU32, Ordering};

use axum::{Router, extract::Request as AxumRequest, routing::any};
use tokio::{io::AsyncWriteExt as _, net::TcpListener};

use super::*;
use crate::testing::server::TestServer;

fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

fn limits() -> TransportLimits {
    TransportLimits { timeout: Duration::from_secs(30), ..TransportLimits::default() }
}

#[tokio::test]
async fn sends_the_path_and_the_host_and_reads_the_answer() {
    let seen = any(|request: AxumRequest| async move {
        let host = request.headers()["host"].to_str().unwrap().to_owned();
        format!("{} {} {host}", request.method(), request.uri())
    });
    let server = TestServer::start(Router::new().fallback(seen)).await.unwrap();
    let answer = Transport::new(limits()).send(get(&server.url("/a/b?c=d"))).await.unwrap();
    let expected = format!("GET /a/b?c=d {}", server.address());
    assert_eq!(answer.body(), expected.as_bytes());
}

#[tokio::test]
async fn uses_a_connection_again_and_opens_another_when_it_was_closed() {
    // A server that answers each request.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&connections);
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let service = hyper::service::service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(Response::new(Full::new(Bytes::from("ok"))))
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    let transport = Transport::new(limits());
    for _ in 0..5 {
        assert_eq!(transport.send(get(&url)).await.unwrap().body(), "ok");
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
    transport.close_idle();
    assert_eq!(transport.send(get(&url)).await.unwrap().body(), "ok");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
    server.abort();
}

#[tokio::test]
async fn opens_no_more_connections_than_allowed() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (inside, peak) = (Arc::clone(&now), Arc::clone(&most));
    let slow = any(move || async move {
        peak.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        inside.fetch_sub(1, Ordering::SeqCst);
    });
    let server = TestServer::start(Router::new().fallback(slow)).await.unwrap();
    let transport = Transport::new(TransportLimits { open: 3, ..limits() });
    let url = server.url("/");
    let all = futures_util::future::join_all((0..50).map(|_| transport.send(get(&url)))).await;
    assert!(all.iter().all(Result::is_ok));
    assert!(most.load(Ordering::SeqCst) <= 3);
}

#[tokio::test]
async fn gives_up_on_who_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let after = Duration::from_millis(20);
    let transport = Transport::new(TransportLimits { timeout: after, ..limits() });
    let failed = transport.send(get(&url)).await.unwrap_err();
    assert!(matches!(failed, TransportFailed::Timeout { .. }), "{failed}");
    assert!(failed.is_passing() && !failed.was_not_sent());
}

#[tokio::test]
async fn tells_a_port_that_is_closed_from_a_connection_that_breaks() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let broken = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await.unwrap();
    });
    let transport = Transport::new(limits());
    let failed = transport.send(get(&url)).await.unwrap_err();
    assert!(matches!(failed, TransportFailed::Broken { .. }), "{failed}");
    broken.await.unwrap();
    let failed = transport.send(get(&url)).await.unwrap_err();
    assert!(matches!(failed, TransportFailed::Unreachable { .. }), "{failed}");
    assert!(failed.was_not_sent());
}

#[tokio::test]
async fn refuses_an_answer_that_does_not_end() {
    let long = any(|| async { "x".repeat(5000) });
    let server = TestServer::start(Router::new().fallback(long)).await.unwrap();
    let transport = Transport::new(TransportLimits { answer: 4999, ..limits() });
    let failed = transport.send(get(&server.url("/"))).await.unwrap_err();
    assert!(matches!(failed, TransportFailed::TooLong { limit: 4999, .. }), "{failed}");
}

#[tokio::test]
async fn sends_no_token_in_the_clear_to_another_machine() {
    let transport = Transport::new(limits());
    for url in [
        "http://orders.example/",
        "http://127.0.0.1.example/",
        "http://localhost.example/",
        "http://10.0.0.1/",
        "http://[fe80::1]/",
    ] {
        let failed = transport.send(get(url)).await.unwrap_err();
        assert!(matches!(failed, TransportFailed::PlainHttp(_)), "{url}");
    }
    assert!(matches!(
        transport.send(get("https://orders.example/")).await.unwrap_err(),
        TransportFailed::NoTls(_)
    ));
    for url in ["/path", "ftp://127.0.0.1/", "http://user@127.0.0.1/", "orders"] {
        let failed = transport.send(get(url)).await.unwrap_err();
        assert!(matches!(failed, TransportFailed::Address(_)), "{url}");
    }
    for url in ["http://127.0.0.1/", "http://[::1]/", "http://localhost:1/"] {
        assert!(transport.origin(&url.parse().unwrap()).is_ok(), "{url}");
    }
    let everywhere = transport.danger_plain_http();
    assert!(everywhere.origin(&"http://orders.example/".parse().unwrap()).is_ok());
}

#[tokio::test]
async fn calls_no_address_that_others_name_and_only_we_can_reach() {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let answer = any(move || async move {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let server = TestServer::start(Router::new().fallback(answer)).await.unwrap();
    let port = Uri::try_from(server.url("/")).unwrap().port_u16().unwrap();
    let outward = Transport::new(limits()).only_to(Outward::default());
    // A name is looked up before it is believed: this one leads here.
    for host in ["localhost", "127.0.0.1"] {
        let failed = outward.send(get(&format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(failed.to_string().contains("may be called"), "{host}: {failed}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    let loopback = Outward::new(tegata_core::Network::loopback().to_vec());
    let allowed = Transport::new(limits()).only_to(loopback);
    assert!(allowed.send(get(&format!("http://localhost:{port}/"))).await.is_ok());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn follows_no_redirect() {
    let elsewhere = any(|| async { axum::response::Redirect::to("http://127.0.0.1:1/") });
    let server = TestServer::start(Router::new().fallback(elsewhere)).await.unwrap();
    let answer = Transport::new(limits()).send(get(&server.url("/"))).await.unwrap();
    assert_eq!(answer.status(), http::StatusCode::SEE_OTHER);
}
