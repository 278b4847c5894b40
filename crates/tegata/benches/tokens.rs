//! What a token costs at the token endpoint, and what it costs to introspect one.
//!
//! Measured is the time that the server's threads are given by the system (`/proc/…/schedstat`), for one
//! request: on one core, this is what decides how many tokens there are in a second, and it does not
//! depend on how the machine is shared with whoever asks. The anchor is one signature of the crypto
//! library with a parsed key; beside it stands npm `oidc-provider`, which keeps everything in memory,
//! while Tegata has its clients and families in SQLite, encrypted. Beside introspection stands also what it
//! takes to ask Redis for a value of that size (`GET`, 64 connections).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot be set up has nothing to say"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tegata_engines::{
    RedisServer,
    process::{free_ports, program},
    tools,
};
use tegata_rounds::{Effort, Table, Unit, timed};
use tempfile::TempDir;

/// How many ask at once.
const ASKING: usize = 64;

const SECRET: &str = "a secret of some length 0123456789";

fn main() {
    let effort = Effort::asked();
    for (algorithm, sign) in signatures() {
        issue(effort, algorithm, sign.as_ref());
    }
    let (_, sign) = signatures().swap_remove(0);
    refresh(effort, sign.as_ref());
    introspect(effort, sign.as_ref());
}

type Sign = Box<dyn Fn(&[u8]) -> usize>;

/// Bare signatures with a parsed key, by the name of the algorithm.
fn signatures() -> Vec<(&'static str, Sign)> {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let of_rsa = move |text: &[u8]| {
        let mut signature = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature).unwrap();
        signature.len()
    };
    let of_ec = move |text: &[u8]| ec.sign(&SystemRandom::new(), text).unwrap().as_ref().len();
    let of_ed = move |text: &[u8]| ed.sign(text).as_ref().len();
    vec![("RS256", Box::new(of_rsa)), ("ES256", Box::new(of_ec)), ("EdDSA", Box::new(of_ed))]
}

/// Notes what a signature takes, on the text of a usual token.
fn note_signature(table: &mut Table, effort: Effort, sign: &dyn Fn(&[u8]) -> usize) {
    let (text, many) = (vec![b'a'; 600], effort.size(2_000, 10));
    let (_, took) = timed(|| (0..many).map(|_| sign(&text)).sum::<usize>());
    table.note("a signature", took.as_nanos() as f64 / many as f64);
}

fn issue(effort: Effort, algorithm: &str, sign: &dyn Fn(&[u8]) -> usize) {
    let tegata = Tegata::start(algorithm, "");
    // Whoever else is measured has no log that could be waited for.
    let hasty = Tegata::start(algorithm, "[audit_log]\nmode = \"best_effort\"\n");
    let peer = Peer::start(effort, algorithm, "jwt", 0);
    let form = "grant_type=client_credentials&scope=orders.read";
    let title = format!("an access token by client credentials, {algorithm}");
    let mut table = Table::new(title, Unit::Nanoseconds);
    for _ in 0..effort.rounds {
        note_signature(&mut table, effort, sign);
        let ours = |_: usize| request("/oauth2/token", "service", form);
        for (name, tegata) in [("Tegata", &tegata), ("Tegata, not durable", &hasty)] {
            let cost = tegata.server.cost(effort, &ours, |it| it["access_token"].is_string());
            table.note(name, cost);
        }
        if let Some(peer) = &peer {
            let theirs = |_: usize| request("/token", "service", form);
            let cost = peer.server.cost(effort, &theirs, |it| it["access_token"].is_string());
            table.note("oidc-provider", cost);
        }
    }
    table.print();
}

fn refresh(effort: Effort, sign: &dyn Fn(&[u8]) -> usize) {
    let tegata = Tegata::start("RS256", "");
    let peer = Peer::start(effort, "RS256", "jwt", ASKING);
    let chains = |tokens: Vec<String>| tokens.into_iter().map(Mutex::new).collect::<Vec<_>>();
    let ours = chains(tegata.refresh_tokens());
    let theirs = chains(peer.as_ref().map(|peer| peer.refresh_tokens.clone()).unwrap_or_default());
    let mut table = Table::new("a refresh with rotation, RS256", Unit::Nanoseconds);
    let turned = |chains: &[Mutex<String>], who: usize, answer: &Value| {
        let fresh = answer["refresh_token"].as_str().unwrap();
        fresh.clone_into(&mut chains[who].lock().unwrap());
    };
    for _ in 0..effort.rounds {
        note_signature(&mut table, effort, sign);
        let form = |chains: &[Mutex<String>], who: usize| {
            format!("grant_type=refresh_token&refresh_token={}", chains[who].lock().unwrap())
        };
        let cost = tegata.server.cost_of(
            effort,
            &|who| request("/oauth2/token", "app", &form(&ours, who)),
            &|who, answer| turned(&ours, who, answer),
        );
        table.note("Tegata", cost);
        if let Some(peer) = &peer {
            let cost = peer.server.cost_of(
                effort,
                &|who| request("/token", "app", &form(&theirs, who)),
                &|who, answer| turned(&theirs, who, answer),
            );
            table.note("oidc-provider", cost);
        }
    }
    table.print();
}

fn introspect(effort: Effort, sign: &dyn Fn(&[u8]) -> usize) {
    let tegata = Tegata::start("RS256", "");
    // Theirs are opaque: it does not introspect others.
    let peer = Peer::start(effort, "RS256", "opaque", 0);
    let redis = RedisServer::start();
    let form = "grant_type=client_credentials&scope=orders.read";
    let tokens = |server: &Server, path: &str| -> Vec<String> {
        let ask = request(path, "service", form);
        let token = |answer: Value| answer["access_token"].as_str().unwrap().to_owned();
        (0..effort.size(500, 8)).map(|_| token(server.ask(&ask))).collect()
    };
    let ours = tokens(&tegata.server, "/oauth2/token");
    let theirs = peer.as_ref().map(|peer| tokens(&peer.server, "/token")).unwrap_or_default();
    let next = AtomicUsize::new(0);
    let any =
        |tokens: &[String]| tokens[next.fetch_add(1, Ordering::Relaxed) % tokens.len()].clone();
    let mut table = Table::new("introspection of 500 tokens in turn", Unit::Nanoseconds);
    let active = |answer: &Value| answer["active"] == true;
    for _ in 0..effort.rounds {
        note_signature(&mut table, effort, sign);
        let ask =
            |_: usize| request("/oauth2/introspect", "service", &format!("token={}", any(&ours)));
        table.note("Tegata, JWT", tegata.server.cost(effort, &ask, active));
        if let Some(peer) = &peer {
            let ask = |_: usize| {
                request("/token/introspection", "service", &format!("token={}", any(&theirs)))
            };
            table.note("oidc-provider, opaque", peer.server.cost(effort, &ask, active));
        }
        table.note("Redis, `GET`", get(&redis, effort));
    }
    table.print();
}

/// What a `GET` costs Redis, in nanoseconds of a core, which it counts itself.
fn get(redis: &RedisServer, effort: Effort) -> f64 {
    let spent = || -> f64 {
        let seconds = |name: &str| redis.node().info(name).unwrap().parse::<f64>().unwrap();
        seconds("used_cpu_user") + seconds("used_cpu_sys")
    };
    let url = redis.url();
    // `redis-benchmark` takes the parts of an address.
    let (who, place) = url.trim_start_matches("redis://").split_once('@').unwrap();
    let ((user, password), (host, port)) =
        (who.split_once(':').unwrap(), place.split_once(':').unwrap());
    let ask = |command: &str, many: usize| {
        let status = Command::new(program("redis-benchmark", "redis-tools"))
            .args(["-h", host, "-p", port, "--user", user, "-a", password, "-c", "64", "-d", "300"])
            .args(["-q", "-n", &many.to_string(), "-t", command])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "`redis-benchmark` fails");
    };
    ask("set", 64);
    let (many, before) = (effort.size(200_000, 100), spent());
    ask("get", many);
    (spent() - before) * 1e9 / many as f64
}

/// A request of a client, with its secret.
fn request(path: &str, client: &str, form: &str) -> String {
    let secret = SECRET.replace(' ', "+");
    let basic = STANDARD.encode(format!("{client}:{secret}"));
    format!(
        "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    )
}

/// A server, stopped with its owner.
struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// What a request costs the server, in nanoseconds of a core. Every answer must be `good`.
    fn cost(
        &self,
        effort: Effort,
        ask: &(dyn Fn(usize) -> String + Sync),
        good: impl Fn(&Value) -> bool + Sync,
    ) -> f64 {
        self.cost_of(effort, ask, &|_, answer| assert!(good(answer), "{answer}"))
    }

    /// The same, where something is done with each answer. Those who ask are numbered.
    fn cost_of(
        &self,
        effort: Effort,
        ask: &(dyn Fn(usize) -> String + Sync),
        done: &(dyn Fn(usize, &Value) + Sync),
    ) -> f64 {
        let each = effort.size(100, 1);
        let spent = self.spent();
        std::thread::scope(|scope| {
            for who in 0..ASKING {
                scope.spawn(move || {
                    let mut connection = Connection::to(self.port);
                    for _ in 0..each {
                        done(who, &connection.ask(&ask(who)));
                    }
                });
            }
        });
        (self.spent() - spent) / (each * ASKING) as f64
    }

    fn ask(&self, request: &str) -> Value {
        Connection::to(self.port).ask(request)
    }

    /// How long its threads have run, in nanoseconds.
    fn spent(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        let ran = |task: std::io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        };
        tasks.filter_map(ran).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.process), Signal::TERM);
        let _ = self.process.wait();
    }
}

/// A connection that is used again and again.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn to(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    fn ask(&mut self, request: &str) -> Value {
        let (status, _, body) = self.send(request);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    /// The status, the head and the body of the answer.
    fn send(&mut self, request: &str) -> (u16, String, Vec<u8>) {
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(self.0.read_line(&mut head).unwrap() > 0, "the server hung up: {head}");
        }
        let field = |name: &str| {
            let lines = head.lines().filter_map(|line| line.split_once(':'));
            lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, it)| it)
        };
        let length = field("content-length").map_or(0, |length| length.trim().parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head, body)
    }
}

/// Tegata on SQLite.
struct Tegata {
    server: Server,
    _directory: TempDir,
}

impl Tegata {
    /// One whose configuration says this, too.
    fn start(algorithm: &str, more: &str) -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let run = |args: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_tegata"));
            command.args(args).current_dir(directory.path()).env_clear();
            command
        };
        assert!(run(&["init"]).stdout(Stdio::null()).status().unwrap().success());
        let port = free_ports(1);
        let text = configuration(port, algorithm, more);
        fs::write(directory.path().join("tegata.toml"), text).unwrap();
        let mut process = run(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("started") {
            assert!(log.read_line(&mut said).unwrap() > 0, "the server ended: {said}");
        }
        // What it says later is read by nobody, and must not stop it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { server: Server { process, port }, _directory: directory }
    }

    /// Refresh tokens of as many sign-ins as ask.
    fn refresh_tokens(&self) -> Vec<String> {
        let mut connection = Connection::to(self.server.port);
        let login = r#"{"username": "alice", "password": "correct horse battery staple"}"#;
        let (status, head, body) = connection.send(&format!(
            "POST /api/auth/login HTTP/1.1\r\nHost: localhost:8000\r\nOrigin: http://localhost:8000\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{login}",
            login.len()
        ));
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        let cookie = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            let is_session =
                name.eq_ignore_ascii_case("set-cookie") && value.contains("session_id=");
            is_session.then(|| value.split(';').next().unwrap_or_default())
        });
        let (cookie, mut tokens) = (cookie.unwrap(), Vec::new());
        for _ in 0..ASKING {
            let (_, head, _) = connection.send(&format!(
                "GET /oauth2/authorize?response_type=code&client_id=app&redirect_uri=https://client.example/callback\
                 &scope=openid%20offline_access%20orders.read&code_challenge={CHALLENGE}&code_challenge_method=S256 \
                 HTTP/1.1\r\nHost: localhost:8000\r\nCookie: {cookie}\r\n\r\n"
            ));
            let code = head.split("code=").nth(1).and_then(|rest| rest.split(['&', '\r']).next());
            let form = format!(
                "grant_type=authorization_code&code={}&code_verifier={VERIFIER}\
                 &redirect_uri=https://client.example/callback",
                code.unwrap()
            );
            let answer = self.server.ask(&request("/oauth2/token", "app", &form));
            tokens.push(answer["refresh_token"].as_str().unwrap().to_owned());
        }
        tokens
    }
}

/// Of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn configuration(port: u16, algorithm: &str, more: &str) -> String {
    let client = |id: &str, more: &str| {
        format!(
            "[[client]]\nclient_id = \"{id}\"\nclient_secret = \"{SECRET}\"\n\
             scope = \"openid offline_access orders.read orders.write\"\n\
             access_token_signed_response_alg = \"{algorithm}\"\n{more}\n"
        )
    };
    format!(
        "[public]\nlisten = \"127.0.0.1:{port}\"\nissuer = \"http://localhost:8000\"\n\
         [operations]\nlisten = \"127.0.0.1:0\"\n[gateway]\nlisten = \"127.0.0.1:0\"\n\
         audience = \"https://api.example\"\n\
         {more}[[user]]\nusername = \"alice\"\npassword = \"correct horse battery staple\"\n{}{}",
        client("service", "grant_types = [\"client_credentials\"]\nmay_introspect = true"),
        client(
            "app",
            "grant_types = [\"authorization_code\", \"refresh_token\"]\nasks_consent = false\n\
             redirect_uris = [\"https://client.example/callback\"]"
        ),
    )
}

/// npm `oidc-provider`, in memory.
struct Peer {
    server: Server,
    refresh_tokens: Vec<String>,
}

impl Peer {
    /// Starts it. `None` in a trial, which is about our side alone.
    fn start(effort: Effort, algorithm: &str, format: &str, refresh: usize) -> Option<Self> {
        if effort.trial {
            return None;
        }
        let script = tools::ours("oidc-provider").join("serve.mjs");
        let mut process = Command::new("node")
            .arg(Path::new(&script))
            .current_dir(tools::present("oidc-provider"))
            .envs([("ALG", algorithm), ("FORMAT", format), ("REFRESH", &refresh.to_string())])
            .envs([("NODE_ENV", "production")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        // It may say something else before.
        let said = lines.map(Result::unwrap).find(|line| line.starts_with('{')).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        let port = u16::try_from(said["port"].as_u64().unwrap()).unwrap();
        let tokens = said["refresh_tokens"].as_array().unwrap().iter();
        let refresh_tokens = tokens.map(|token| token.as_str().unwrap().to_owned()).collect();
        Some(Self { server: Server { process, port }, refresh_tokens })
    }
}
