//! Access tokens of other issuers: accepted, taken back, and refused whatever breaks.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tegata_core::Node;
use tegata_engines::RedisServer;
use tegata_token::{Algorithm, SigningKey, jws};

use crate::{CONFIGURATION, Place, Server, ask, until};

/// An issuer on this machine, which signs what it likes. Its server answers until the test ends.
struct Idp {
    issuer: String,
    key: SigningKey,
    node: Node,
    down: Arc<AtomicBool>,
    asked: Arc<AtomicU32>,
}

impl Idp {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let (down, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let metadata = json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string();
        let keys = json!({"keys": [key.jwk()]}).to_string();
        let (is_down, count) = (Arc::clone(&down), Arc::clone(&asked));
        serve(listener, move |path| match path {
            _ if is_down.load(Ordering::SeqCst) => None,
            "/.well-known/openid-configuration" => Some(metadata.clone()),
            "/keys" => {
                count.fetch_add(1, Ordering::SeqCst);
                Some(keys.clone())
            }
            _ => None,
        });
        Self { issuer, key, node: Node::start(), down, asked }
    }

    fn claims(&self, jti: &str, sub: &str) -> Value {
        let now = self.node.now().secs();
        json!({
            "iss": self.issuer, "sub": sub, "aud": "http://localhost:8080", "exp": now + 900,
            "iat": now, "jti": jti, "scope": "orders.read",
        })
    }

    fn token(&self, jti: &str, sub: &str) -> String {
        jws::sign(&self.key, "at+jwt", self.claims(jti, sub).to_string().as_bytes()).unwrap()
    }

    fn place(&self, more: &str) -> Place {
        let place = Place::new();
        let service = service();
        place.write(
            "tegata.toml",
            &format!(
                "{CONFIGURATION}{more}[gateway.limits]\nexempt = [\"127.0.0.0/8\"]\n[[issuer]]\nissuer = \"{}\"\ntokens = 1000\n\
                 [[service]]\nname = \"orders\"\nupstreams = [\"{service}\"]\n\
                 [[route]]\npath = \"/orders\"\nservice = \"orders\"\nscope = \"orders.read\"\n",
                self.issuer
            ),
        );
        place
    }
}

/// Answers each request on its own thread: 200 with what is given, or 404.
fn serve(listener: TcpListener, answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) {
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), Arc::clone(&answer));
            thread::spawn(move || {
                let mut request = Vec::new();
                let mut byte = [0];
                while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                    request.push(byte[0]);
                }
                let request = String::from_utf8_lossy(&request);
                let path = request.split(' ').nth(1).unwrap_or_default();
                let (status, body) = match answer(path) {
                    Some(body) => ("200 OK", body),
                    None => ("404 Not Found", String::new()),
                };
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
                // Whoever asked may have gone.
                let _gone = write!(stream, "{head}Connection: close\r\n\r\n{body}");
            });
        }
    });
}

/// A service that says yes to everything.
fn service() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    serve(listener, |_| Some("yes".to_owned()));
    address
}

/// What the gateway answers to a token.
fn status(port: u16, token: &str) -> u16 {
    let head = format!("GET /orders/1 HTTP/1.1\r\nAuthorization: Bearer {token}");
    ask(port, &head, "").0
}

/// The port of the gateway, as soon as it has the keys of the issuer.
fn gateway(server: &Server, idp: &Idp) -> u16 {
    let port = server.ports().gateway;
    until("the keys are known", || status(port, &idp.token("probe", "probe")) == 200);
    port
}

#[test]
fn a_token_of_another_issuer_counts_until_it_is_taken_back_and_never_after() {
    let idp = Idp::start();
    let place = idp.place("");
    let server = place.serve();
    let port = gateway(&server, &idp);
    let tokens = ["t1", "t2", "t3", "t4"].map(|jti| idp.token(jti, &format!("sub-{jti}")));
    for token in &tokens {
        assert_eq!(status(port, token), 200);
    }
    let by_issuer = |args: &[&str]| {
        let args = [&["revoke", "--issuer", &idp.issuer][..], args, &["--reason", "test"]].concat();
        place.json(&args)
    };
    let answer = by_issuer(&["--jti", "t1", "--wait"]);
    assert_eq!(answer["revoked"], json!({"issuer": idp.issuer, "jti": "t1"}));
    assert!(answer["confirmed"].is_object(), "{answer}");
    let answer = by_issuer(&["--user", "sub-t2"]);
    assert!(answer["up_to"].is_string(), "{answer}");
    let args = ["revoke", "--token", &tokens[2], "--reason", "test"];
    assert_eq!(place.json(&args)["revoked"], json!({"issuer": idp.issuer, "jti": "t3"}));
    let refused = [401, 401, 401, 200];
    let statuses = |port| tokens.each_ref().map(|token| status(port, token));
    assert_eq!(statuses(port), refused);
    // What a client got up to now, and in the next half minute, because its clock may be ahead.
    let of_client = |jti: &str, name: &str| {
        let mut claims = idp.claims(jti, "sub-of-client");
        claims[name] = json!("reporter");
        jws::sign(&idp.key, "at+jwt", claims.to_string().as_bytes()).unwrap()
    };
    let of_clients = [of_client("c1", "client_id"), of_client("c2", "azp")];
    assert_eq!(of_clients.each_ref().map(|token| status(port, token)), [200, 200]);
    let answer = by_issuer(&["--client", "reporter", "--wait"]);
    let said = json!({"issuer": idp.issuer, "client": "reporter"});
    assert_eq!(answer["revoked"], said);
    assert!(answer["up_to"].is_string() && answer["confirmed"].is_object(), "{answer}");
    assert_eq!(of_clients.each_ref().map(|token| status(port, token)), [401, 401]);
    assert_eq!(status(port, &tokens[3]), 200, "what others got counts");
    // It is known after a restart, whether it was told to other stores by then or not.
    server.kill();
    let answer = by_issuer(&["--jti", "t4"]);
    assert!(answer["revoked"].is_object(), "{answer}");
    let server = place.serve();
    let port = gateway(&server, &idp);
    assert_eq!(statuses(port), [401; 4]);
    server.stop();
    let server = place.serve();
    let port = gateway(&server, &idp);
    assert_eq!(statuses(port), [401; 4]);
    // While the issuer is away, its keys count, and what was taken back does not.
    idp.down.store(true, Ordering::SeqCst);
    assert_eq!(status(port, &idp.token("t5", "sub-t5")), 200);
    assert_eq!(statuses(port), [401; 4]);
    assert_eq!(of_clients.each_ref().map(|token| status(port, token)), [401, 401]);
    server.stop();
}

#[test]
fn a_key_of_another_issuer_that_was_taken_back_signs_nothing_that_counts() {
    let idp = Idp::start();
    let place = idp.place("");
    let server = place.serve();
    let port = gateway(&server, &idp);
    let before = idp.token("t1", "alice");
    assert_eq!(status(port, &before), 200);
    let kid = idp.key.kid().as_str();
    let revoke = ["revoke", "--issuer", &idp.issuer, "--reason", "stolen", "--key"];
    let other = place.json(&[&revoke[..], &["another-key"]].concat());
    assert_eq!(other["revoked"], json!({"issuer": idp.issuer, "key": "another-key"}));
    assert_eq!(status(port, &before), 200);
    let answer = place.json(&[&revoke[..], &[kid]].concat());
    assert_eq!(answer["revoked"], json!({"issuer": idp.issuer, "key": kid}));
    // Whatever it signed, or will, whatever that says of when; the issuer publishes it all the same.
    let late = |claims: &mut Value| claims["iat"] = json!(idp.node.now().secs() + 25);
    let mut claims = idp.claims("t2", "bob");
    late(&mut claims);
    let after = jws::sign(&idp.key, "at+jwt", claims.to_string().as_bytes()).unwrap();
    assert_eq!([&before, &after].map(|token| status(port, token)), [401, 401]);
    server.kill();
    let server = place.serve();
    let port = server.ports().gateway;
    // Until its keys are known, none of its tokens counts: 503.
    until("the keys are known", || status(port, &before) == 401);
    assert_eq!(status(port, &after), 401);
    server.stop();
}

#[test]
fn what_cannot_be_taken_back_is_not_said_to_be() {
    let idp = Idp::start();
    let place = idp.place("");
    for (args, why) in [
        (&["--issuer", "https://other.example", "--jti", "x"][..], idp.issuer.as_str()),
        (&["--issuer", &idp.issuer, "--jti", ""], "empty"),
        (&["--token", &idp.token("t1", "a").replace('.', "..")], "token"),
    ] {
        let said = place.refused(&[&["revoke"], args, &["--reason", "test"]].concat(), 1);
        assert!(said.contains(why), "{said}");
    }
    // A token that somebody else signed is nobody's to take back.
    let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
    let forged = jws::sign(&stranger, "at+jwt", idp.claims("t1", "a").to_string().as_bytes());
    let said = place.refused(&["revoke", "--token", &forged.unwrap(), "--reason", "test"], 1);
    assert!(said.contains("not a token of"), "{said}");
    let both = ["revoke", "--issuer", &idp.issuer, "--family", "1.2.x", "--reason", "test"];
    assert_eq!(place.run(&both).status.code(), Some(2));
    idp.down.store(true, Ordering::SeqCst);
    let said = place.refused(&["revoke", "--token", &idp.token("t1", "a"), "--reason", "x"], 1);
    assert!(said.contains("--jti"), "{said}");
}

#[test]
fn an_issuer_that_is_away_is_said_to_be_and_asked_for_seldom() {
    let idp = Idp::start();
    idp.down.store(true, Ordering::SeqCst);
    let place = idp.place("");
    let server = place.serve();
    let ports = server.ports();
    assert_eq!(status(ports.gateway, &idp.token("t1", "a")), 503);
    let check = || {
        let checks = place.json(&["doctor"]);
        let checks = checks.as_array().unwrap().clone();
        let named = checks.into_iter().find(|it| it["check"].as_str().unwrap().contains("issuers"));
        named.unwrap()["detail"].as_str().unwrap().to_owned()
    };
    until("it is said", || check().contains("cannot be fetched"));
    idp.down.store(false, Ordering::SeqCst);
    until("it is known", || status(ports.gateway, &idp.token("t1", "a")) == 200);
    until("it is said", || check() == "healthy");
    // Tokens with keys that nobody has cause no more than one question in ten seconds.
    let before = idp.asked.load(Ordering::SeqCst);
    let began = idp.node.since_boot();
    for number in 0..200 {
        let stranger = SigningKey::generate(Algorithm::Es256).unwrap();
        let claims = idp.claims(&number.to_string(), "a").to_string();
        let forged = jws::sign(&stranger, "at+jwt", claims.as_bytes()).unwrap();
        assert_eq!(status(ports.gateway, &forged), 401);
    }
    let asked = u64::from(idp.asked.load(Ordering::SeqCst) - before);
    let most = idp.node.elapsed(began).as_secs() / 10 + 1;
    assert!(asked <= most, "{asked} of {most}");
    server.stop();
}

/// How many are on record in the store that is asked last.
fn on_record(place: &Place) -> i64 {
    let Ok(file) = rusqlite::Connection::open(place.path().join("tegata.db")) else { return 0 };
    let count = "SELECT count(*) FROM backstop";
    file.query_row(count, [], |row| row.get(0)).unwrap_or_default()
}

#[test]
fn redis_that_loses_what_it_was_told_lets_nothing_pass() {
    let idp = Idp::start();
    let redis = RedisServer::start();
    let place = idp.place(&format!("[redis]\nurl = \"{}\"\n", redis.url()));
    let server = place.serve();
    let port = gateway(&server, &idp);
    let names: Vec<_> = (0..8).map(|number| format!("t{number}")).collect();
    let tokens: Vec<_> = names.iter().map(|jti| idp.token(jti, "alice")).collect();
    for jti in &names {
        let issuer = ["revoke", "--issuer", &idp.issuer, "--jti", jti];
        place.json(&[&issuer[..], &["--reason", "test"]].concat());
    }
    // With the mark that says how far it was filled.
    until("the durable store has all", || on_record(&place) == 9);
    let keys = || {
        let all = redis.node().ask(&["KEYS", "*foreign_withdrawn*"]).list();
        let names = all.iter().map(|name| name.text()).filter(|name| name.contains(":foreign."));
        names.collect::<Vec<_>>()
    };
    until("Redis has all", || keys().len() == 8);
    let counted = |layer: &str| {
        let (_, metrics) = crate::get(server.ports().operations, "/metrics");
        let line = format!("revocation_checks_total{{layer=\"{layer}\",result=\"revoked\"}} ");
        let found = metrics.lines().find_map(|it| it.strip_prefix(&line));
        found.map_or(0, |count| count.parse::<u64>().unwrap())
    };
    assert_eq!(status(port, &tokens[0]), 401);
    assert_eq!((counted("redis"), counted("durable")), (1, 0));
    // One write is lost.
    for key in keys() {
        redis.node().ask(&["DEL", &key]);
    }
    assert_eq!(status(port, &tokens[1]), 401);
    assert_eq!((counted("redis"), counted("durable")), (1, 1));
    // All of it is lost; then it is filled anew.
    redis.node().ask(&["FLUSHALL"]);
    assert_eq!(status(port, &tokens[2]), 401);
    until("Redis is filled anew", || keys().len() == 8);
    // It comes back with nothing.
    redis.kill();
    assert_eq!(status(port, &tokens[3]), 401);
    redis.launch();
    assert_eq!(status(port, &tokens[4]), 401);
    until("Redis is filled anew", || {
        redis.node().try_ask(&["PING"]).is_some() && keys().len() == 8
    });
    // What was not taken back passes all the while.
    assert_eq!(status(port, &idp.token("other", "alice")), 200);
    server.stop();
}
