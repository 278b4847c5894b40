//! A server as it is configured for certificates, and clients that show some.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    ClientConnection, StreamOwned,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use serde_json::{Value, json};
use tegata_core::Node;
use tegata_engines::process::free_ports;
use tegata_token::Jwk;
use tempfile::TempDir;

use super::certificates::{Authority, Shown, authority, client, named};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, killed with its owner.
pub(crate) struct Server {
    child: Child,
    pub(crate) public: u16,
    pub(crate) mtls: u16,
    pub(crate) gateway: u16,
    /// Who signs the certificates of clients, and the server's own.
    pub(crate) ours: Authority,
    directory: TempDir,
}

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Server {
    /// One that speaks TLS, asks for certificates beside its main listener and at the gateway, and
    /// knows these clients.
    pub(crate) fn with_tls(clients: &str) -> Self {
        Self::with_settings("", clients)
    }

    /// The same with something set of `[clients]`.
    pub(crate) fn with_settings(settings: &str, clients: &str) -> Self {
        Self::start(|ports| {
            let [public, mtls, gateway, upstream] = ports;
            let tls = "{ certificate_file = \"own.pem\", key_file = \"own.key\" }";
            format!(
                "[public]\nlisten = \"127.0.0.1:{public}\"\nissuer = \"https://127.0.0.1:{public}\"\n\
                 tls = {tls}\nmtls_listen = \"127.0.0.1:{mtls}\"\nclient_ca_file = \"ca.pem\"\n\
                 [gateway]\nlisten = \"127.0.0.1:{gateway}\"\ntls = {tls}\n\
                 client_certificates = \"tls\"\naudience = \"https://127.0.0.1:{gateway}\"\n\
                 client_ca_file = \"ca.pem\"\n\
                 {}{clients}",
                common(upstream, settings)
            )
        })
    }

    /// One that proxies at 127.0.0.2 tell of certificates.
    pub(crate) fn behind_proxies(clients: &str) -> Self {
        Self::start(|ports| {
            let [public, _, gateway, upstream] = ports;
            let proxies = "client_certificates = \"header\"\ntrusted_proxies = [\"127.0.0.2/32\"]";
            format!(
                "[public]\nlisten = \"127.0.0.1:{public}\"\nissuer = \"http://localhost:{public}\"\n\
                 {proxies}\nclient_ca_file = \"ca.pem\"\n\
                 [gateway]\nlisten = \"127.0.0.1:{gateway}\"\n{proxies}\n\
                 audience = \"http://localhost:{gateway}\"\n{}{clients}",
                common(upstream, "")
            )
        })
    }

    /// One with this configuration: of the ports of its public listener, the one beside it that asks for certificates,
    /// its gateway, and a service.
    pub(crate) fn start(configuration: impl FnOnce([u16; 4]) -> String) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tegata"));
            command.args(args).current_dir(directory.path()).env_clear();
            command
        };
        assert!(run(&["init"]).stdout(Stdio::null()).status().unwrap().success());
        let public = free_ports(3);
        let (mtls, gateway) = (public + 1, public + 2);
        let ours = authority("ours");
        let own = rcgen::KeyPair::generate().unwrap();
        let mut params = named("server", "localhost");
        let address = rcgen::SanType::IpAddress("127.0.0.1".parse().unwrap());
        params.subject_alt_names.push(address);
        let certificate = params.signed_by(&own, &ours).unwrap();
        let text = configuration([public, mtls, gateway, service()]);
        for (name, content) in [
            ("tegata.toml", text),
            ("own.pem", certificate.pem()),
            ("own.key", own.serialize_pem()),
            ("ca.pem", ours.pem()),
        ] {
            fs::write(directory.path().join(name), content).unwrap();
        }
        let mut child = run(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains("started") {
            assert!(log.read_line(&mut all).unwrap() > 0, "the server ended: {all}");
        }
        // It waits for whoever does not read what it says.
        thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, public, mtls, gateway, ours, directory }
    }

    /// Where its files are.
    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Sends a request over TLS, showing this. `None`: the handshake failed, or nothing came back.
    pub(crate) fn attempt(
        &self,
        port: u16,
        shown: Option<&Shown>,
        version: &'static rustls::SupportedProtocolVersion,
        request: &str,
    ) -> Option<Answer> {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let config = client(&self.ours, shown, version);
        let connection = ClientConnection::new(config, name).unwrap();
        exchange(StreamOwned::new(connection, stream), request)
    }

    /// The same, which must be answered, with either version of TLS.
    pub(crate) fn ask(&self, port: u16, shown: Option<&Shown>, request: &str) -> Answer {
        let old = self.attempt(port, shown, &TLS12, request).expect("no answer with TLS 1.2");
        let new = self.attempt(port, shown, &TLS13, request).expect("no answer with TLS 1.3");
        assert_eq!(old.status, new.status, "{old:?} {new:?}");
        new
    }

    /// A token request where certificates are asked for.
    pub(crate) fn token(&self, shown: Option<&Shown>, form: &str) -> Answer {
        self.ask(self.mtls, shown, &post("/oauth2/token", form, ""))
    }

    /// The access token of a token request that must succeed.
    pub(crate) fn access_token(&self, shown: Option<&Shown>, form: &str) -> String {
        self.token(shown, form).access_token()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub(crate) fn access_token(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        let answer = self.json();
        assert_eq!(answer["token_type"], "Bearer");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Asserts that it refuses with this status and error.
    pub(crate) fn refuses(&self, status: u16, error: &str) {
        assert_eq!((self.status, self.json()["error"].as_str()), (status, Some(error)), "{self:?}");
    }

    /// Asserts that a resource refuses the token.
    pub(crate) fn refuses_token(&self) {
        assert_eq!(self.status, 401, "{self:?}");
        let challenge = self.head.lines().find(|line| line.starts_with("www-authenticate: Bearer"));
        assert!(challenge.is_some_and(|it| it.contains("error=\"invalid_token\"")), "{self:?}");
    }
}

/// What both kinds of server have: a service behind the gateway.
fn common(upstream: u16, settings: &str) -> String {
    format!(
        "[operations]\nlisten = \"127.0.0.1:0\"\n[keys]\nalgorithms = [\"ES256\"]\n\
         [clients]\nregistration = \"open\"\nreach = [\"127.0.0.0/8\"]\n{settings}\
         [[service]]\nname = \"orders\"\nupstreams = [\"http://127.0.0.1:{upstream}\"]\n\
         [[route]]\npath = \"/orders\"\nservice = \"orders\"\n"
    )
}

/// A service that says which headers it was sent.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|it| it > 0) {
                head.extend(byte);
            }
            let length = head.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\n\
                 Content-Length: {length}\r\n\r\n"
            );
            let _ = stream.write_all(&[answer.as_bytes(), &head].concat());
        }
    });
    port
}

/// Where a client publishes its keys.
pub(crate) struct Publisher {
    pub(crate) address: String,
    said: Arc<Mutex<(String, String)>>,
    asked: Arc<AtomicU32>,
}

impl Publisher {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://127.0.0.1:{}/keys", listener.local_addr().unwrap().port());
        let said = ("200 OK".to_owned(), json!({"keys": []}).to_string());
        let said = Arc::new(Mutex::new(said));
        let served = Arc::clone(&said);
        let asked = Arc::<AtomicU32>::default();
        let counted = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let (status, body) = served.lock().unwrap().clone();
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = write!(
                    stream,
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self { address, said, asked }
    }

    /// From now on, this is all that it publishes.
    pub(crate) fn publishes(&self, key: Jwk) {
        let keys = vec![key];
        self.says("200 OK", &json!({"keys": keys}));
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }

    /// From now on, this is what it answers. A status may bring header lines with it.
    pub(crate) fn says(&self, status: &str, body: &Value) {
        *self.said.lock().unwrap() = (status.to_owned(), body.to_string());
    }
}

/// A name that nothing has yet.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("once-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let node = Node::start();
    let began = node.since_boot();
    while !is_so() {
        assert!(node.elapsed(began) < PATIENCE, "in vain was it waited until {what}");
        thread::yield_now();
    }
}

/// Sends a request in the clear, from an address of this machine.
pub(crate) fn ask_from(own: [u8; 4], port: u16, request: &str) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((own, 0).into()).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    exchange(stream, request).expect("no answer")
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, request: &str) -> Option<Answer> {
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // Servers need not say goodbye.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// A form, with these header lines besides.
pub(crate) fn post(path: &str, form: &str, lines: &str) -> String {
    let length = form.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {length}\r\n\r\n{form}"
    )
}

/// A request with a token, and these header lines besides.
pub(crate) fn get(path: &str, token: &str, lines: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{lines}\
         Authorization: Bearer {token}\r\n\r\n"
    )
}

/// The header line of a client with a secret.
pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(format!("{id}:{secret}")))
}

/// The declaration of a client that acts in its own name.
pub(crate) fn machine(id: &str, rest: &str) -> String {
    format!(
        "[[client]]\nclient_id = \"{id}\"\ngrant_types = [\"client_credentials\"]\n\
         scope = \"orders.read\"\n{rest}\n"
    )
}

/// The declaration of a client with a key and perhaps a certificate of its own making.
pub(crate) fn own(id: &str, shown: &Shown, exactly: bool) -> String {
    let jwk = shown.jwk();
    let x5c = if exactly {
        format!("x5c = [\"{}\"]", STANDARD.encode(&shown.der))
    } else {
        String::new()
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    machine(id, "token_endpoint_auth_method = \"self_signed_tls_client_auth\"")
        + &format!(
            "[[client.jwks.keys]]\nkty = \"EC\"\ncrv = \"P-256\"\nx = \"{}\"\ny = \"{}\"\n{x5c}\n",
            text(&jwk.x),
            text(&jwk.y)
        )
}

/// A request for a token in the client's own name.
pub(crate) fn credentials(id: &str) -> String {
    format!("grant_type=client_credentials&client_id={id}")
}

/// What a token says that it is bound to.
pub(crate) fn bound_to(token: &str) -> Value {
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    serde_json::from_slice::<Value>(&claims).unwrap()["cnf"].clone()
}
