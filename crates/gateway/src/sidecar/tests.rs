use tegata_core::{ManualClock, Node, Secret, SeededEntropy};
use tegata_sdk::{Credential, Provider, Transport, WhenStale, testing::TestAuthority};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
    sync::oneshot,
};

use super::*;

const ASK: &[u8] = b"GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// A sidecar that has heard of nobody, on a port and on a socket.
struct World {
    port: std::net::SocketAddr,
    socket: std::path::PathBuf,
    _stop: oneshot::Sender<()>,
    _yard: tempfile::TempDir,
}

impl World {
    async fn within(bounds: Bounds) -> Self {
        let node = Node::with(Arc::new(ManualClock::default()), Arc::new(SeededEntropy::new(1)));
        let authority = TestAuthority::on(node.clone());
        let credential = Credential::secret("orders", Secret::new("secret".to_owned()));
        let nowhere = || "http://127.0.0.1:1/".parse().unwrap();
        let provider = Provider::new(nowhere(), credential, Transport::default(), node.clone());
        let revocations =
            Revocations::of(TestAuthority::ISSUER, nowhere(), provider, authority.keys());
        let authenticator = Authenticator::of("orders")
            .trusting(TestAuthority::ISSUER, authority.keys())
            .refusing(&revocations, WhenStale::Strict)
            .on(node);
        let limits = MemoLimits::default();
        let sidecar = Sidecar::new(authenticator, revocations, Duration::from_secs(5), limits);
        let yard = tempfile::tempdir().unwrap();
        let socket = yard.path().join("s.sock");
        let port = bind(&"127.0.0.1:0".parse().unwrap(), false).await.unwrap();
        let Listening::Tcp(listener) = &port else { panic!("a port is a port") };
        let address = listener.local_addr().unwrap();
        let unix = bind(&Place::Socket(socket.clone()), false).await.unwrap();
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(sidecar.serve_within(bounds, vec![port, unix], async {
            let _ = stopped.await;
        }));
        Self { port: address, socket, _stop: stop, _yard: yard }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.port).await.unwrap()
    }

    async fn said(&self, sent: &[u8]) -> String {
        said(self.connect().await, sent).await
    }
}

/// All that is answered, until the connection is closed.
async fn said(mut stream: impl AsyncRead + AsyncWrite + Unpin, sent: &[u8]) -> String {
    // Who refuses need not read all of it.
    let _ = stream.write_all(sent).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn whoever_asks_and_never_reads_gives_its_place_back() {
    let world =
        World::within(Bounds { taking: Duration::from_millis(50), places: 1, ..BOUNDS }).await;
    let mut deaf = world.connect().await;
    let many = b"GET /check HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000);
    let asking = tokio::spawn(async move { while deaf.write_all(&many).await.is_ok() {} });
    // This waits for the only place, for ever if need be.
    assert!(world.said(ASK).await.starts_with("HTTP/1.1 200 "));
    asking.await.unwrap();
}

#[tokio::test]
async fn whoever_sends_nothing_gives_its_place_back() {
    let world =
        World::within(Bounds { head: Duration::from_millis(50), places: 1, ..BOUNDS }).await;
    let _silent = world.connect().await;
    assert!(world.said(ASK).await.starts_with("HTTP/1.1 200 "));
    // Nor does a byte now and then hold it.
    let slow = world.connect().await;
    let (_, mut slow) = slow.into_split();
    let dripping = tokio::spawn(async move {
        let pause = Duration::from_millis(5);
        while slow.write_all(b"G").await.is_ok() {
            let _ = tokio::time::timeout(pause, std::future::pending::<()>()).await;
        }
    });
    assert!(world.said(ASK).await.starts_with("HTTP/1.1 200 "));
    dripping.abort();
}

#[tokio::test]
async fn whoever_takes_all_places_of_the_port_takes_none_of_the_socket() {
    let head = Duration::from_secs(3_600);
    let world = World::within(Bounds { places: 2, head, ..BOUNDS }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = world.connect().await;
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        // It has its place when it is answered.
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    let stream = UnixStream::connect(&world.socket).await.unwrap();
    assert!(said(stream, ASK).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn what_is_longer_than_it_may_be_is_refused_with_a_word_about_it() {
    let world = World::within(BOUNDS).await;
    let head = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{fields}\r\n")
    };
    let field = |length: usize| format!("x: {}\r\n", "a".repeat(length));
    for (target, fields, told) in [
        ("/check", field(8_192).repeat(3), "401"),
        ("/check", "x: a\r\n".repeat(98), "401"),
        ("/check", field(8_193), "431"),
        ("/check", field(8_192).repeat(4), "431"),
        ("/check", field(8_192).repeat(100), "431"),
        ("/check", "x: a\r\n".repeat(99), "431"),
        ("/check", "x: a\r\n".repeat(1_000), "431"),
        (&format!("/check/{}", "a".repeat(8_192 - 7)), String::new(), "401"),
        (&format!("/check/{}", "a".repeat(8_192 - 6)), String::new(), "414"),
        (&format!("/check/{}", "a".repeat(100_000)), String::new(), "4"),
    ] {
        let answer = world.said(head(target, &fields).as_bytes()).await;
        let sent = (target.len(), fields.len());
        assert!(answer.starts_with(&format!("HTTP/1.1 {told}")), "{sent:?}: {answer}");
    }
}
