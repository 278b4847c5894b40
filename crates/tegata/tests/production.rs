//! The program as it faces the internet: with TLS and the cookies of production.

#![cfg(test)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tegata_engines::process::free_ports;
use tempfile::TempDir;

const CERTIFICATES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gateway/tests/gateway/tls");

/// A server with a certificate, killed with its owner.
struct Server {
    child: Child,
    public: u16,
    gateway: u16,
    trust: Arc<ClientConfig>,
    _directory: TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let run = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tegata"));
            command.args(args).current_dir(directory.path()).env_clear();
            command
        };
        assert!(run(&["init"]).stdout(Stdio::null()).status().unwrap().success());
        let public = free_ports(2);
        let gateway = public + 1;
        let tls = "{ certificate_file = \"certificate.pem\", key_file = \"key.pem\" }";
        for name in ["certificate.pem", "key.pem"] {
            let from = format!("{CERTIFICATES}/{name}");
            fs::copy(from, directory.path().join(name)).unwrap();
        }
        let text = format!(
            "[public]\nlisten = \"127.0.0.1:{public}\"\nissuer = \"https://127.0.0.1:{public}\"\n\
             environment = \"production\"\ntls = {tls}\n\
             [gateway]\nlisten = \"127.0.0.1:{gateway}\"\ntls = {tls}\n\
             audience = \"https://127.0.0.1:{gateway}\"\n\
             [operations]\nlisten = \"127.0.0.1:0\"\n\
             [[user]]\nusername = \"alice\"\npassword = \"correct horse battery staple\"\n"
        );
        fs::write(directory.path().join("tegata.toml"), text).unwrap();
        let mut child = run(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains("started") {
            assert!(log.read_line(&mut all).unwrap() > 0, "the server ended: {all}");
        }
        Self { child, public, gateway, trust: trust(), _directory: directory }
    }

    /// Sends a request and reads the answer to its end.
    fn ask(&self, port: u16, request: &str) -> String {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::clone(&self.trust), name).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // Servers need not say goodbye.
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn trust() -> Arc<ClientConfig> {
    let pem = fs::read(format!("{CERTIFICATES}/certificate.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn fields<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
}

#[test]
fn cookies_are_those_of_production_at_both_doors_and_nothing_is_said_in_the_clear() {
    let server = Server::start();
    let body = r#"{"username":"alice","password":"correct horse battery staple"}"#;
    for port in [server.public, server.gateway] {
        let answer = server.ask(
            port,
            &format!(
                "POST /api/auth/login HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
                 Origin: https://127.0.0.1:{port}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ),
        );
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let cookies = fields(&answer, "set-cookie");
        let cookie = |name: &str| {
            let found = cookies.iter().find(|it| it.starts_with(&format!("{name}=")));
            found.unwrap_or_else(|| panic!("no {name} in {cookies:?}"))
        };
        let session = cookie("__Host-session_id");
        for attribute in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
            assert!(session.contains(attribute), "{session}");
        }
        assert!(!session.to_ascii_lowercase().contains("domain="), "{session}");
        let refresh = cookie("__Secure-refresh_token");
        for attribute in ["; Secure", "; HttpOnly", "; SameSite=Strict", "; Path=/api/auth"] {
            assert!(refresh.contains(attribute), "{refresh}");
        }
        let strictly = "max-age=31536000; includeSubDomains";
        assert_eq!(fields(&answer, "strict-transport-security"), [strictly]);

        // The name that development uses is nobody's here.
        let value = session.split(['=', ';']).nth(1).unwrap();
        let session = |cookie: &str| {
            let head = format!("GET /api/auth/session HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n");
            let more = format!("Cookie: {cookie}={value}\r\nConnection: close\r\n\r\n");
            server.ask(port, &(head + &more))
        };
        assert!(session("__Host-session_id").starts_with("HTTP/1.1 200 "));
        assert!(session("session_id").starts_with("HTTP/1.1 401 "));

        let mut clear = TcpStream::connect(("127.0.0.1", port)).unwrap();
        clear.write_all(b"GET /login HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        let mut said = Vec::new();
        let _ = clear.read_to_end(&mut said);
        assert!(!said.starts_with(b"HTTP/"), "{}", String::from_utf8_lossy(&said));
    }
}
