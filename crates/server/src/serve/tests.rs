use std::{
    net::IpAddr,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering},
    task::Context,
};

use axum::{
    Extension,
    middleware::{Next, from_fn},
    routing::{any, get},
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Frame;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, oneshot},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::panicked;

/// A listener that serves until it is told to stop.
struct Served {
    address: SocketAddr,
    parting: Parting,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

/// TLS, and what is told of handshakes that fail.
type Told = tokio::sync::mpsc::UnboundedReceiver<(IpAddr, String)>;

fn told(config: Arc<ServerConfig>) -> (Tls, Told) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let failed = Arc::new(move |peer, error: &io::Error| {
        tell.send((peer, error.to_string())).unwrap();
    });
    (Tls { config, failed }, told)
}

async fn served(router: Router, limits: Limits, tls: Option<Tls>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let parting = Parting::default();
    let serving =
        tokio::spawn(serve(vec![listener], router, limits, tls, parting.clone(), async {
            let _ = stopped.await;
        }));
    Served { address, parting, stop, serving }
}

fn who() -> Router {
    let who = async |Extension(Peer(address)): Extension<Peer>| address.to_string();
    Router::new().route("/", get(who))
}

/// What stands on the wire after this was sent, up to its end.
async fn said(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut said = Vec::new();
    // A connection that is reset has said what it said.
    let _ = stream.read_to_end(&mut said).await;
    String::from_utf8(said).unwrap()
}

/// An answer that panics in the middle.
#[derive(Default)]
struct HalfWay(bool);

impl hyper::body::Body for HalfWay {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        assert!(!std::mem::replace(&mut self.0, true), "it was told to, later");
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"the beginning")))))
    }
}

/// Where handlers panic: before they have read anything, and in the middle of the answer.
fn falling() -> Router {
    who()
        .route("/falls", any(async || -> &'static str { panic!("it was told to") }))
        .route("/late", get(async || Body::new(HalfWay::default())))
        .layer(from_fn(async |request, next: Next| {
            panicked::caught(next.run(request)).await.unwrap_or_else(Panicked::into_response)
        }))
}

/// What is asked for behind what panics.
const NEXT: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// How many answers these are. No body of ours looks like one.
fn answers(said: &str) -> usize {
    said.matches("HTTP/1.1 ").count()
}

#[tokio::test]
async fn whoever_asks_behind_what_panicked_has_their_own_answer() {
    let served = served(falling(), Limits::default(), None).await;
    let first = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let falls = "/falls HTTP/1.1\r\nhost: a\r\n";
    for second in [format!("GET {falls}\r\n"), format!("POST {falls}content-length: 0\r\n\r\n")] {
        let all = said(served.address, [first, second.as_str(), NEXT].concat().as_bytes()).await;
        let each: Vec<_> = all.split("HTTP/1.1 ").skip(1).collect();
        let [before, fallen, behind] = &each[..] else { panic!("{second}: {all}") };
        for served in [before, behind] {
            assert!(served.starts_with("200 OK\r\n") && served.ends_with("127.0.0.1"), "{all}");
        }
        assert!(fallen.starts_with("500 ") && fallen.contains("server_error"), "{all}");
        assert!(!fallen.contains("connection: close"), "{all}");
    }
}

/// Of what it left of its body, nobody knows where that ends.
#[tokio::test]
async fn what_panics_with_a_body_is_the_last_on_its_connection() {
    let served = served(falling(), Limits::default(), None).await;
    let length = NEXT.len();
    for fields in [
        // The body is a request, all of it, a part of it, and one that was promised.
        format!("content-length: {length}\r\n\r\n{NEXT}"),
        format!("content-length: {}\r\n\r\n", length / 2),
        format!("content-length: 1000000\r\n\r\n{NEXT}"),
        format!("content-length: {length}\r\nexpect: 100-continue\r\n\r\n"),
        format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n{NEXT}\r\n0\r\n\r\n"),
        format!("transfer-encoding: chunked\r\n\r\n{length:x}\r\n"),
    ] {
        let first = format!("POST /falls HTTP/1.1\r\nhost: a\r\n{fields}");
        let all = said(served.address, (first.clone() + NEXT).as_bytes()).await;
        let (head, body) = all.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 500 "), "{first}: {all}");
        assert!(head.contains("\r\nconnection: close"), "{first}: {all}");
        assert_eq!((answers(&all), body.contains("server_error")), (1, true), "{first}: {all}");
    }
}

/// The client sees that it is not whole: the last chunk never comes.
#[tokio::test]
async fn an_answer_that_panics_half_way_ends_its_connection() {
    let served = served(falling(), Limits::default(), None).await;
    let late = format!("GET /late HTTP/1.1\r\nhost: a\r\n\r\n{NEXT}");
    let all = said(served.address, late.as_bytes()).await;
    assert!(answers(&all) <= 1 && !all.contains("\r\n0\r\n"), "{all}");
    assert!(!all.contains("127.0.0.1"), "{all}");
    assert!(said(served.address, NEXT.as_bytes()).await.ends_with("127.0.0.1"));
}

#[tokio::test]
async fn with_http_2_what_panics_costs_its_own_stream_alone() {
    let (config, connector) = both_sides();
    let (tls, _told) = told(config);
    let served = served(falling(), Limits::default(), Some(tls)).await;
    let mut sender = http2(served.address, &connector).await;
    for (path, status) in [("/", 200), ("/falls", 500), ("/", 200), ("/falls", 500), ("/", 200)] {
        let request = Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert!(!response.headers().contains_key(header::CONNECTION));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body.starts_with(b"127.0.0.1"), status == 200);
    }
}

#[tokio::test]
async fn whoever_comes_while_it_is_about_to_stop_is_answered_and_asked_to_go_elsewhere() {
    let served = served(who(), Limits::default(), None).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut first = vec![0; 4096];
    let length = stream.read(&mut first).await.unwrap();
    let first = std::str::from_utf8(&first[..length]).unwrap();
    assert!(first.starts_with("HTTP/1.1 200 OK\r\n") && !first.contains("close"), "{first}");
    served.parting.begin();
    // A connection of before, and a new one: each has its answer, and ends with it.
    stream.write_all(request).await.unwrap();
    let mut last = String::new();
    stream.read_to_string(&mut last).await.unwrap();
    for answer in [last, said(served.address, request).await] {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn whoever_had_connected_when_it_stopped_is_answered() {
    let Served { address, stop, serving, .. } = served(who(), Limits::default(), None).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        waiting.push(TcpStream::connect(address).await.unwrap());
    }
    // The last one is answered, so all of them were let in; the others have asked for nothing.
    let last = waiting.pop().unwrap();
    let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let ask = async |mut stream: TcpStream| {
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
    };
    ask(last).await;
    let _ = stop.send(());
    // It has been told, once nobody new is let in.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for stream in waiting {
        ask(stream).await;
    }
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn tells_handlers_who_is_at_the_other_end() {
    let served = served(who(), Limits::default(), None).await;
    let answer =
        said(served.address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn cuts_whoever_takes_too_long_over_a_header() {
    let limits = Limits { header_time: Duration::from_millis(50), ..Limits::default() };
    let served = served(who(), limits, None).await;
    for slow in [&b""[..], b"GET / HT", b"GET / HTTP/1.1\r\nhost: a\r\nx: "] {
        // This would wait for ever if it were not cut.
        let answer = said(served.address, slow).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }
}

#[tokio::test]
async fn refuses_heads_that_are_too_large_and_goes_on() {
    let served = served(who(), Limits::default(), None).await;
    let mut large = b"GET / HTTP/1.1\r\nhost: a\r\nx: ".to_vec();
    large.extend(vec![b'a'; 512 * 1024]);
    large.extend(b"\r\n\r\n");
    let mut many = b"GET / HTTP/1.1\r\nhost: a\r\n".to_vec();
    for number in 0..200 {
        many.extend(format!("x{number}: a\r\n").bytes());
    }
    many.extend(b"\r\n");
    for head in [large, many] {
        let answer = said(served.address, &head).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let answer =
        said(served.address, b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("200 OK"));
}

#[tokio::test]
async fn cuts_whoever_does_not_read_the_answer() {
    let router = Router::new().route("/", get(async || vec![b'a'; 64 * 1024 * 1024]));
    let limits =
        Limits { connections: 1, write_time: Duration::from_millis(50), ..Limits::default() };
    let served = served(router, limits, None).await;
    let mut deaf = TcpStream::connect(served.address).await.unwrap();
    deaf.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    // The only place is free again: this would wait for ever otherwise.
    let answer = said(served.address, b"GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    assert!(answer.await.starts_with("HTTP/1.1 404 "));
}

#[tokio::test]
async fn one_client_does_not_take_the_places_of_the_others() {
    let limits = Limits { connections_each: 2, uncounted_connections: vec![], ..Limits::default() };
    let first = served(who(), limits.clone(), None).await;
    let ask = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(first.address).await.unwrap();
        stream.write_all(ask).await.unwrap();
        // It has its place when it is answered.
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    assert_eq!(said(first.address, ask).await, "");
    let close = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let other: SocketAddr = "127.0.0.2:0".parse().unwrap();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(other).unwrap();
    let mut neighbour = socket.connect(first.address).await.unwrap();
    neighbour.write_all(close).await.unwrap();
    let mut answer = String::new();
    neighbour.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("127.0.0.2"), "{answer}");
    // A proxy brings everybody.
    let uncounted_connections = vec!["127.0.0.0/8".parse().unwrap()];
    let served = served(who(), Limits { uncounted_connections, ..limits }, None).await;
    let open = async || TcpStream::connect(served.address).await.unwrap();
    let _held = [open().await, open().await, open().await];
    assert!(said(served.address, close).await.contains("200 OK"));
}

#[tokio::test]
async fn answers_what_is_under_way_before_it_ends() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let ended = Arc::new(AtomicBool::new(false));
    let router = {
        let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
        let slow = move || {
            let (begun, finish) = (Arc::clone(&begun), Arc::clone(&finish));
            async move {
                begun.notify_one();
                finish.notified().await;
                "done"
            }
        };
        Router::new().route("/", get(slow))
    };
    let Served { address, stop, serving, .. } = served(router, Limits::default(), None).await;
    let client = tokio::spawn(said(address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    begun.notified().await;
    stop.send(()).unwrap();
    let serving = {
        let ended = Arc::clone(&ended);
        tokio::spawn(async move {
            serving.await.unwrap().unwrap();
            ended.store(true, Ordering::SeqCst);
        })
    };
    // Whoever connects now is not served any more.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!ended.load(Ordering::SeqCst));
    finish.notify_one();
    assert!(client.await.unwrap().ends_with("done"));
    serving.await.unwrap();
}

#[tokio::test]
async fn lets_no_more_connect_than_there_are_places() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let served = served(who(), limits, None).await;
    let mut first = TcpStream::connect(served.address).await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut byte = [0_u8];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = TcpStream::connect(served.address).await.unwrap();
    second.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let waiting = second.read_to_end(&mut answer);
    tokio::pin!(waiting);
    assert!(is_pending(&mut waiting).await, "the second has no place yet");
    drop(first);
    waiting.await.unwrap();
    assert!(String::from_utf8(answer).unwrap().contains("200 OK"));
}

/// Whether a future is not ready, after everybody else had a turn.
async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    tokio::select! {
        biased;
        _ = future => false,
        () = tokio::task::yield_now() => true,
    }
}

/// TLS for HTTP/2, and who speaks it.
fn both_sides() -> (Arc<ServerConfig>, TlsConnector) {
    let certificate =
        CertificateDer::from_pem_slice(include_bytes!("only-for-tests.certificate.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("only-for-tests.key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let mut client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![b"h2".to_vec()];
    (Arc::new(server), TlsConnector::from(Arc::new(client)))
}

type Http2 = hyper::client::conn::http2::SendRequest<Empty<Bytes>>;

async fn http2(address: SocketAddr, connector: &TlsConnector) -> Http2 {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let stream = TokioIo::new(connector.connect(name, stream).await.unwrap());
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn whoever_is_cut_off_holds_nothing_any_more() {
    let (held, begun) = (Arc::new(()), Arc::new(Notify::new()));
    let router = {
        let (held, begun) = (Arc::clone(&held), Arc::clone(&begun));
        let endless = move || {
            let (held, begun) = (Arc::clone(&held), Arc::clone(&begun));
            async move {
                begun.notify_one();
                std::future::pending::<()>().await;
                drop(held);
            }
        };
        Router::new().route("/", get(endless))
    };
    let limits = Limits { drain: Duration::from_millis(10), ..Limits::default() };
    let (config, connector) = both_sides();
    let plain = served(router.clone(), limits.clone(), None).await;
    let over_tls = served(router, limits, Some(told(config).0)).await;
    let client = tokio::spawn(said(plain.address, b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    begun.notified().await;
    let mut sender = http2(over_tls.address, &connector).await;
    let request = Request::get("https://localhost/").body(Empty::new()).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    begun.notified().await;
    for served in [plain, over_tls] {
        served.stop.send(()).unwrap();
        served.serving.await.unwrap().unwrap();
    }
    // Neither client has gone.
    while Arc::strong_count(&held) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.await.unwrap(), "");
    assert!(answer.await.unwrap().is_err());
}

#[tokio::test]
async fn speaks_http_2_where_the_handshake_agreed_on_it() {
    let (config, connector) = both_sides();
    let (tls, mut told) = told(config);
    let served = served(who(), Limits::default(), Some(tls)).await;
    let mut sender = http2(served.address, &connector).await;
    let request = Request::get("https://localhost/").body(Empty::new()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    assert_eq!(response.version(), Version::HTTP_2);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let address: IpAddr = std::str::from_utf8(&body).unwrap().parse().unwrap();
    assert!(address.is_loopback());
    // Plain HTTP on a TLS listener is nobody's request.
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    assert!(!String::from_utf8_lossy(&said).contains("200"));
    // And that is told.
    let (peer, why) = told.recv().await.unwrap();
    assert!(peer.is_loopback() && why.contains("InvalidContentType"), "{why}");
    // So is whoever goes away without a word.
    drop(TcpStream::connect(served.address).await.unwrap());
    assert!(told.recv().await.is_some());
}
