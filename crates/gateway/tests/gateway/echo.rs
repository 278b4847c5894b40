//! A service that answers with the request it received.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::json;

/// Starts it on a free port. It ends with the tests.
pub(crate) fn start() -> SocketAddr {
    counting().0
}

/// The same, with how many requests it was asked.
pub(crate) fn counting() -> (SocketAddr, Arc<AtomicU32>) {
    let (started, address) = mpsc::channel();
    let asked = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&asked);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            started.send(listener.local_addr().unwrap()).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    let mut service = http1::Builder::new();
                    service.max_headers(200);
                    let counted = |request| {
                        counter.fetch_add(1, Ordering::SeqCst);
                        echo(request)
                    };
                    let counted = service_fn(counted);
                    let _ = service.serve_connection(TokioIo::new(stream), counted).await;
                });
            }
        });
    });
    (address.recv().unwrap(), asked)
}

async fn echo(request: Request<Incoming>) -> Result<Response<Full<bytes::Bytes>>, Infallible> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let headers: Vec<_> = parts
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]))
        .collect();
    let seen = json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    });
    let response = Response::builder()
        .header("content-type", "application/json")
        .header("connection", "X-Hop")
        .header("x-hop", "for the gateway alone")
        .header("keep-alive", "timeout=5")
        .header("x-internal-token", "leaked")
        .header("x-token-refresh", "1")
        .header("x-fine", "yes")
        .body(Full::new(seen.to_string().into()));
    Ok(response.unwrap())
}
