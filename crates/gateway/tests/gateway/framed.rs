//! A service that speaks HTTP/2, without TLS and over it.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body::Frame;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use serde_json::json;
use tegata_mesh::{DeclaredService, upstream::Protocol};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

type Body = BoxBody<Bytes, hyper::Error>;

/// How the service behaves, and what it counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: AtomicUsize,
    /// How many of them there are still.
    pub(crate) open: AtomicUsize,
    pub(crate) requests: AtomicUsize,
    /// How many connections over TLS agreed to HTTP/2, and how many did not.
    pub(crate) agreed: AtomicUsize,
    pub(crate) declined: AtomicUsize,
}

/// The certificate that the client has shown.
type Shown = Option<Arc<[u8]>>;

/// The declaration of such a service.
pub(crate) fn declared(name: &str, address: SocketAddr) -> DeclaredService {
    DeclaredService {
        name: name.into(),
        upstreams: vec![format!("http://{address}")],
        protocol: Protocol::H2c,
        ..DeclaredService::default()
    }
}

/// Starts it on a free port. It ends with the tests.
pub(crate) fn start() -> SocketAddr {
    counted(200, usize::MAX).0
}

/// One that takes so many streams at once, and says goodbye on each connection after so many requests.
pub(crate) fn counted(streams: u32, goodbye: usize) -> (SocketAddr, Arc<Counts>) {
    listening(None, streams, goodbye)
}

/// One over TLS, which speaks HTTP/2 with whoever agrees to it in the handshake.
pub(crate) fn secured(tls: ServerConfig) -> (SocketAddr, Arc<Counts>) {
    listening(Some(TlsAcceptor::from(Arc::new(tls))), 200, usize::MAX)
}

fn listening(tls: Option<TlsAcceptor>, streams: u32, goodbye: usize) -> (SocketAddr, Arc<Counts>) {
    let (started, address) = mpsc::channel();
    let counts = Arc::new(Counts::default());
    let count = Arc::clone(&counts);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            started.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.connections.fetch_add(1, Ordering::SeqCst);
                count.open.fetch_add(1, Ordering::SeqCst);
                let (counts, tls) = (Arc::clone(&count), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve((stream, None), Arc::clone(&counts), streams, goodbye).await,
                        Some(tls) => serve_secured(tls, stream, Arc::clone(&counts)).await,
                    }
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    });
    (address.recv().unwrap(), counts)
}

async fn serve_secured(tls: TlsAcceptor, stream: tokio::net::TcpStream, counts: Arc<Counts>) {
    // Who is refused, or refuses, is told so in the handshake.
    let Ok(stream) = tls.accept(stream).await else { return };
    let connection = stream.get_ref().1;
    let shown = connection.peer_certificates().and_then(|chain| chain.first());
    let shown: Shown = shown.map(|certificate| Arc::from(&**certificate));
    if connection.alpn_protocol() == Some(b"h2") {
        counts.agreed.fetch_add(1, Ordering::SeqCst);
        return serve((stream, shown), counts, 200, usize::MAX).await;
    }
    counts.declined.fetch_add(1, Ordering::SeqCst);
    let service = service_fn(move |request| {
        counts.requests.fetch_add(1, Ordering::SeqCst);
        answer(request, shown.clone())
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn serve<S>((stream, shown): (S, Shown), counts: Arc<Counts>, streams: u32, goodbye: usize)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (leave, mut left) = tokio::sync::mpsc::unbounded_channel();
    let here = Arc::new(AtomicUsize::new(0));
    let service = service_fn(move |request| {
        counts.requests.fetch_add(1, Ordering::SeqCst);
        if here.fetch_add(1, Ordering::SeqCst) + 1 >= goodbye {
            leave.send(()).unwrap();
        }
        answer(request, shown.clone())
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.enable_connect_protocol().max_concurrent_streams(streams);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        Some(()) = left.recv() => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    for (name, value) in
        [("grpc-status", "0"), ("grpc-message", "fine"), ("set-cookie", "a=b"), ("x-user-id", "x")]
    {
        trailers.insert(name, value.parse().unwrap());
    }
    trailers
}

async fn answer(
    mut request: Request<Incoming>,
    shown: Shown,
) -> Result<Response<Body>, Infallible> {
    let empty = || Empty::new().map_err(|never| match never {}).boxed();
    let path = request.uri().path().to_owned();
    if request.method() == Method::CONNECT {
        if path == "/refuse" {
            return Ok(Response::builder().status(403).body(empty()).unwrap());
        }
        let socket = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut socket = TokioIo::new(socket.await.unwrap());
            let mut room = [0; 4096];
            while let Ok(read @ 1..) = socket.read(&mut room).await {
                socket.write_all(&room[..read]).await.unwrap();
            }
            let _ = socket.shutdown().await;
        });
        return Ok(Response::new(empty()));
    }
    let response = Response::builder().header("content-type", "application/grpc");
    let (parts, mut body) = request.into_parts();
    Ok(match path.as_str() {
        // Each part comes back as it came.
        "/stream" => {
            let (hand, parts) = handed();
            tokio::spawn(async move {
                while let Some(Ok(frame)) = body.frame().await {
                    if let Ok(data) = frame.into_data()
                        && hand.send(Frame::data(data)).is_err()
                    {
                        return;
                    }
                }
                let _ = hand.send(Frame::trailers(trailers()));
            });
            response.body(http_body_util::BodyExt::boxed(parts)).unwrap()
        }
        "/endless" => {
            let part = Bytes::from(vec![b'e'; 65536]);
            let parts = futures_util::stream::repeat_with(move || Ok(Frame::data(part.clone())));
            response.body(http_body_util::BodyExt::boxed(StreamBody::new(parts))).unwrap()
        }
        "/only" => {
            // What gRPC calls an answer of trailers alone.
            response.header("grpc-status", "5").body(empty()).unwrap()
        }
        "/hold" => {
            let () = std::future::pending().await;
            response.body(empty()).unwrap()
        }
        _ => {
            let collected = body.collect().await;
            let behind = collected.as_ref().ok().and_then(|body| body.trailers().cloned());
            let bytes = collected.map(|body| body.to_bytes()).unwrap_or_default();
            let list = |fields: &HeaderMap| {
                let text = |value: &http::HeaderValue| value.to_str().unwrap().to_owned();
                fields
                    .iter()
                    .map(|(name, value)| json!([name.as_str(), text(value)]))
                    .collect::<Vec<_>>()
            };
            let seen = json!({
                "version": format!("{:?}", parts.version),
                "certificate": shown.map(|shown| STANDARD.encode(shown)),
                "method": parts.method.as_str(),
                "path": path,
                "scheme": parts.uri.scheme_str(),
                "authority": parts.uri.authority().map(http::uri::Authority::as_str),
                "headers": list(&parts.headers),
                "trailers": behind.as_ref().map(list),
                "body": String::from_utf8_lossy(&bytes),
            });
            let body = Full::new(Bytes::from(seen.to_string()))
                .with_trailers(async { Some(Ok(trailers())) })
                .map_err(|never: Infallible| match never {});
            response.body(body.boxed()).unwrap()
        }
    })
}

type Parts = tokio::sync::mpsc::UnboundedSender<Frame<Bytes>>;

fn handed() -> (Parts, impl http_body::Body<Data = Bytes, Error = hyper::Error> + Send + Sync) {
    let (hand, mut parts) = tokio::sync::mpsc::unbounded_channel();
    let stream = futures_util::stream::poll_fn(move |cx| parts.poll_recv(cx).map(|it| it.map(Ok)));
    (hand, StreamBody::new(stream))
}
