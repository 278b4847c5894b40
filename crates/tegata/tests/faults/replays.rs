//! What counts once, shown ten thousand times over two nodes with one store, by a crowd that all ask at
//! once: an authorization code, a client assertion, a DPoP proof (at the issuer and at the gateways), a
//! code of an authenticator app, the link of a mail.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};
use tegata_core::Node;
use tegata_engines::{
    EchoServer, MailServer, PostgresDatabase, PostgresServer, RedisServer, TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    http::{Answer, Ask, Client},
    stage,
    time::until,
};
use tegata_identity::TotpSecret;
use tegata_token::{Algorithm, SigningKey, dpop, jws};

use super::PROGRAM;

/// How often each is shown.
const COPIES: usize = 10_000;

/// How many show it at once. Each keeps a connection.
const CROWD: usize = 200;

const ISSUER: &str = "http://localhost:8000";
const CALLBACK: &str = "http://127.0.0.1:9999/callback";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const AGENT: &str = "tegata-replays";

/// Two nodes, and what they share. What is below ends after them.
struct World<'p> {
    nodes: [TegataNode; 2],
    mail: MailServer,
    /// Proves itself by it.
    key: SigningKey,
    _echo: EchoServer,
    _redis: RedisServer,
    _database: PostgresDatabase<'p>,
}

fn now() -> u64 {
    Node::start().now().secs()
}

impl<'p> World<'p> {
    fn start(postgres: &'p PostgresServer) -> Self {
        let program = Path::new(PROGRAM);
        let database = postgres.database();
        let (redis, mail, echo) = (RedisServer::start(), MailServer::start(), EchoServer::start());
        let shared = Shared {
            program: program.to_owned(),
            root_key: root_key(program),
            issuer: ISSUER.to_owned(),
            audience: "http://localhost:8080".to_owned(),
        };
        let own = Own {
            store: database.url_on("127.0.0.1"),
            more: format!(
                "[redis]\nurl = \"{}\"\n[mail]\nurl = \"smtp://127.0.0.1:{}\"\n\
                 from = \"Example <no-reply@example.com>\"\n",
                redis.url(),
                mail.port()
            ),
            ..Own::default()
        };
        let nodes = ["one", "two"].map(|name| TegataNode::start(name, &shared, &own));
        stage::declare(&nodes[0], echo.port()).unwrap();
        let key = SigningKey::generate(Algorithm::Es256).unwrap();
        let more = json!({
            "client": [{
                "client_id": "signer",
                "grant_types": ["client_credentials"],
                "token_endpoint_auth_method": "private_key_jwt",
                "jwks": {"keys": [key.jwk()]},
                "access_token_signed_response_alg": "ES256",
            }],
            "user": [{
                "username": "alice", "password": PASSWORD, "email": "alice@people.example",
            }],
        });
        std::fs::write(nodes[0].directory().join("more.json"), more.to_string()).unwrap();
        nodes[0].command(&["apply", "more.json"]);
        let (_echo, _redis, _database) = (echo, redis, database);
        let world = Self { nodes, mail, key, _echo, _redis, _database };
        // The other reads what is declared once a second.
        let (robot, secret) = stage::ROBOT;
        let token = world.bound(world.public(0), robot, secret);
        let known = |node: usize| {
            let key = &world.key;
            let proof = world.proof(key, "GET", "http://localhost/strict/x", Some(&token));
            let ask = Ask::get("/strict/x").field("Authorization", &format!("DPoP {token}"));
            Client::new(world.gateway(node)).ask(&ask.field("DPoP", &proof))
        };
        for node in [0, 1] {
            let serves = || known(node).is_ok_and(|answer| answer.status == 200);
            assert!(until(Duration::from_secs(60), serves).is_some(), "{node}: {:?}", known(node));
        }
        world
    }

    fn public(&self, node: usize) -> u16 {
        self.nodes[node % 2].ports().public
    }

    fn gateway(&self, node: usize) -> u16 {
        self.nodes[node % 2].ports().gateway
    }

    fn proof(&self, key: &SigningKey, htm: &str, htu: &str, token: Option<&str>) -> String {
        let mut claims = json!({"jti": unique(), "htm": htm, "htu": htu, "iat": now()});
        if let Some(token) = token {
            claims["ath"] = json!(dpop::hash_of(token));
        }
        dpop::make(key, claims.to_string().as_bytes()).unwrap()
    }

    /// A token that is bound to the key.
    fn bound(&self, port: u16, client: &str, secret: &str) -> String {
        let place = format!("{ISSUER}/oauth2/token");
        let proof = self.proof(&self.key, "POST", &place, None);
        let ask = Ask::form("/oauth2/token", &[("grant_type", "client_credentials")]);
        let ask = ask.basic(client, secret).field("DPoP", &proof);
        let answer = Client::new(port).ask(&ask).unwrap();
        answer.member("access_token").unwrap_or_else(|| panic!("{}", answer.text()))
    }
}

const PASSWORD: &str = "correct horse battery staple";

fn unique() -> String {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    format!("once-{}", LAST.fetch_add(1, Ordering::SeqCst))
}

/// How many codes may be tried with an `mfa_token`.
const TRIES: usize = 5;

/// Shows it [`COPIES`] times, at the ports in turn, all at once; answers the answers, counted by status.
/// `ask` makes the copy of a number.
fn crowd(
    ports: [u16; 2],
    is_success: impl Fn(&Answer) -> bool + Sync,
    ask: impl Fn(usize) -> Ask + Sync,
) -> (usize, BTreeMap<u16, usize>) {
    crowd_of(COPIES, ports, is_success, ask)
}

/// The same so many times.
fn crowd_of(
    copies: usize,
    ports: [u16; 2],
    is_success: impl Fn(&Answer) -> bool + Sync,
    ask: impl Fn(usize) -> Ask + Sync,
) -> (usize, BTreeMap<u16, usize>) {
    let (next, start) = (AtomicUsize::new(0), Barrier::new(CROWD));
    let (is_success, ask) = (&is_success, &ask);
    let all: Vec<Vec<(u16, bool)>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..CROWD)
            .map(|member| {
                let (next, start) = (&next, &start);
                scope.spawn(move || {
                    let mut client =
                        Client::new(ports[member % 2]).waiting(Duration::from_secs(120));
                    let mut answers = Vec::new();
                    start.wait();
                    loop {
                        let copy = next.fetch_add(1, Ordering::SeqCst);
                        if copy >= copies {
                            return answers;
                        }
                        // Nothing is left without an answer: one that was lost could have been the second.
                        let answer = client.ask(&ask(copy)).unwrap();
                        answers.push((answer.status, is_success(&answer)));
                    }
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut statuses = BTreeMap::new();
    for (status, _) in all.iter().flatten() {
        *statuses.entry(*status).or_default() += 1;
    }
    assert_eq!(statuses.values().sum::<usize>(), copies);
    (all.iter().flatten().filter(|(_, good)| *good).count(), statuses)
}

/// One of all copies counted, and the others were refused so, or because there was too much to do (503):
/// then the one that counted may be among these, too.
fn one_counted(what: &str, good: usize, statuses: &BTreeMap<u16, usize>, refused: u16) {
    println!("{what}: {statuses:?}");
    let busy = statuses.get(&503).copied().unwrap_or_default();
    assert!(good == 1 || (good == 0 && busy > 0), "{what}: {statuses:?}");
    assert_eq!(statuses.get(&200).copied().unwrap_or_default(), good, "{what}: {statuses:?}");
    let others = statuses.get(&refused).copied().unwrap_or_default();
    assert!(others + busy + good == COPIES && others > COPIES / 2, "{what}: {statuses:?}");
}

fn gives_token(answer: &Answer) -> bool {
    answer.status == 200 && answer.member("access_token").is_some()
}

/// A person in a browser, which keeps cookies.
#[derive(Default)]
struct Person {
    cookies: BTreeMap<String, String>,
}

fn sign_in(port: u16) -> Answer {
    let credentials = json!({"username": "alice", "password": PASSWORD});
    let ask = Ask::json("/api/auth/login", &credentials);
    Client::new(port).ask(&ask.field("Origin", ISSUER).field("User-Agent", AGENT)).unwrap()
}

impl Person {
    fn signed_in(port: u16) -> Self {
        let answer = sign_in(port);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let mut person = Self::default();
        person.keep(&answer);
        person
    }

    fn keep(&mut self, answer: &Answer) {
        for line in answer.all("set-cookie") {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.insert(name.to_owned(), value.to_owned());
        }
    }

    /// A request with the cookies, and what the browser says of itself.
    fn dressed(&self, ask: Ask) -> Ask {
        let pairs: Vec<_> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let ask = ask.field("User-Agent", AGENT).field("Origin", ISSUER);
        if pairs.is_empty() { ask } else { ask.field("Cookie", &pairs.join("; ")) }
    }

    fn get(&mut self, port: u16, path: &str) -> Answer {
        let answer = Client::new(port).ask(&self.dressed(Ask::get(path))).unwrap();
        self.keep(&answer);
        answer
    }

    fn submit(&mut self, port: u16, path: &str, fields: &[(&str, &str)]) -> Answer {
        let answer = Client::new(port).ask(&self.dressed(Ask::form(path, fields))).unwrap();
        self.keep(&answer);
        answer
    }
}

/// What stands in a page between two texts.
fn between<'p>(page: &'p str, before: &str, after: &str) -> &'p str {
    let rest = page.split_once(before).unwrap_or_else(|| panic!("no `{before}` in {page}")).1;
    rest.split_once(after).unwrap().0
}

fn csrf_of(page: &str) -> String {
    between(between(page, "name=\"csrf_token\"", ">"), "value=\"", "\"").to_owned()
}

#[test]
fn of_ten_thousand_copies_over_two_nodes_one_counts_of_everything_that_counts_once() {
    let postgres = PostgresServer::listening("", |_| {});
    let world = World::start(&postgres);
    let publics = [0, 1].map(|node| world.public(node));
    let gateways = [0, 1].map(|node| world.gateway(node));
    let (robot, secret) = stage::ROBOT;

    // A DPoP proof at the token endpoint, and at the gateways, where the token is shown.
    let place = format!("{ISSUER}/oauth2/token");
    let proof = world.proof(&world.key, "POST", &place, None);
    let (good, statuses) = crowd(publics, gives_token, |_| {
        let ask = Ask::form("/oauth2/token", &[("grant_type", "client_credentials")]);
        ask.basic(robot, secret).field("DPoP", &proof)
    });
    one_counted("DPoP, issuer", good, &statuses, 400);

    let token = world.bound(publics[0], robot, secret);
    let proof = world.proof(&world.key, "GET", "http://localhost/bounded/x", Some(&token));
    let (good, statuses) = crowd(
        gateways,
        |answer| answer.status == 200,
        |_| {
            let ask = Ask::get("/bounded/x").field("Authorization", &format!("DPoP {token}"));
            ask.field("DPoP", &proof)
        },
    );
    one_counted("DPoP, gateways", good, &statuses, 401);

    // A client assertion.
    let claims = json!({
        "iss": "signer", "sub": "signer", "aud": ISSUER, "iat": now(), "exp": now() + 300, "jti": unique(),
    });
    let assertion = jws::sign(&world.key, "JWT", claims.to_string().as_bytes()).unwrap();
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let (good, statuses) = crowd(publics, gives_token, |_| {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_assertion_type", kind),
            ("client_assertion", assertion.as_str()),
        ];
        Ask::form("/oauth2/token", &fields)
    });
    one_counted("client assertion", good, &statuses, 401);

    // An authorization code. Whoever was given something for it loses it again.
    let mut alice = Person::signed_in(publics[0]);
    let query = tegata_faults::http::form(&[
        ("client_id", stage::WEB.0),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid offline_access"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ]);
    let answer = alice.get(publics[0], &format!("/oauth2/authorize?{query}"));
    let address = answer.field("location").unwrap_or_default().to_owned();
    let code = between(&format!("{address}&"), "code=", "&").to_owned();
    let given = std::sync::Mutex::new(Vec::new());
    let takes = |answer: &Answer| {
        given.lock().unwrap().extend(answer.member("refresh_token"));
        gives_token(answer)
    };
    let (good, statuses) = crowd(publics, takes, |_| {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        Ask::form("/oauth2/token", &fields).basic(stage::WEB.0, stage::WEB.1)
    });
    println!("authorization code: {statuses:?}");
    let known = statuses.keys().all(|status| [200, 400, 503].contains(status));
    assert!(good <= 1 && known && statuses[&400] > COPIES / 2, "{good} {statuses:?}");
    for token in given.into_inner().unwrap() {
        let answer = stage::refresh(&mut Client::new(publics[1]), &token).unwrap();
        assert_eq!(answer.member("error").as_deref(), Some("invalid_grant"));
    }

    // The link of a mail, by which a password is chosen. Each chooses another.
    let visit = |path: &str| {
        let mut person = Person::default();
        let csrf = csrf_of(&person.get(publics[0], path).text());
        (person, csrf)
    };
    let (mut somebody, csrf) = visit("/login/reset");
    let fields = [("csrf_token", csrf.as_str()), ("account", "alice")];
    assert_eq!(somebody.submit(publics[0], "/login/reset", &fields).status, 200);
    let text = world.mail.next().text;
    let link = text.lines().find_map(|line| line.strip_prefix(ISSUER)).unwrap();
    let (page, carried) = link.split_once('#').unwrap();
    let (somebody, csrf) = visit(page);
    let path = page.split('?').next().unwrap();
    let chosen = |copy: usize| format!("a phrase that attempt {copy} has chosen");
    let (good, statuses) = crowd(
        publics,
        |answer| answer.status == 200,
        |copy| {
            let password = chosen(copy);
            let fields =
                [("csrf_token", csrf.as_str()), ("link", carried), ("password", password.as_str())];
            somebody.dressed(Ask::form(path, &fields))
        },
    );
    println!("the link of a mail: {statuses:?}");
    // Hashing takes only so many at once (503); the others are told that it was used (410).
    assert!(good == 1 && statuses.contains_key(&410), "the link of a mail: {statuses:?}");
    assert!(statuses.keys().all(|it| [200, 410, 503].contains(it)), "{statuses:?}");
    assert_eq!(sign_in(publics[1]).status, 401);
    std::fs::write(world.nodes[0].directory().join("pw"), PASSWORD).unwrap();
    world.nodes[0].command(&["user", "passwd", "alice", "--password-file", "pw"]);

    // A code of an authenticator app. She has shown her password in several browsers.
    let mut alice = Person::signed_in(publics[0]);
    let security = "/login/security";
    let csrf = csrf_of(&alice.get(publics[0], security).text());
    let prove = [("csrf_token", csrf.as_str()), ("decision", "prove"), ("password", PASSWORD)];
    let proven = alice.submit(publics[0], security, &prove);
    assert!(proven.status < 400, "{}", proven.text());
    let csrf = csrf_of(&alice.get(publics[0], security).text());
    let begin = [("csrf_token", csrf.as_str()), ("decision", "begin")];
    let page = alice.submit(publics[0], security, &begin).text();
    let app = TotpSecret::from_base32(between(&page, "secret=", "&")).unwrap();
    let shown = app.code_at(Node::start().now() - Duration::from_secs(30));
    let confirm = [("csrf_token", csrf.as_str()), ("decision", "confirm"), ("code", &shown)];
    let confirmed = alice.submit(publics[0], security, &confirm);
    assert!(confirmed.status < 400, "{}", confirmed.text());
    // So many that, shown as often as each may be, none is refused before the code itself is looked at.
    let tokens: Vec<Value> = (0..CROWD / 2)
        .map(|number| {
            let answer = sign_in(publics[number % 2]);
            assert_eq!(
                answer.member("error").as_deref(),
                Some("mfa_required"),
                "{}",
                answer.text()
            );
            answer.json()["mfa_token"].clone()
        })
        .collect();
    let code = app.code_at(Node::start().now());
    let named = std::sync::Mutex::new(BTreeMap::<String, usize>::new());
    let takes = |answer: &Answer| {
        let name = answer.member("error").unwrap_or_default();
        *named.lock().unwrap().entry(name).or_default() += 1;
        gives_token(answer)
    };
    let copies = tokens.len() * TRIES;
    let (good, statuses) = crowd_of(copies, publics, takes, |copy| {
        let token = &tokens[copy % tokens.len()];
        let body = json!({"mfa_token": token, "method": "totp", "code": code.as_str()});
        Ask::json("/api/auth/mfa", &body).field("Origin", ISSUER).field("User-Agent", AGENT)
    });
    let named = named.into_inner().unwrap();
    println!("a code of an app: {statuses:?} {named:?}");
    let count = |name: &str| named.get(name).copied().unwrap_or_default();
    assert!(good == 1 && statuses[&200] == 1, "a code of an app: {statuses:?} {named:?}");
    // The code is what was refused, and neither the token nor whoever tries too often; but for those that
    // came with the token of who has got in by then, and where there was too much to do.
    let (wrong, over, busy) =
        (count("invalid_credentials"), count("mfa_expired"), count("temporarily_unavailable"));
    assert_eq!(statuses.get(&401).copied().unwrap_or_default(), wrong + over, "{statuses:?}");
    assert_eq!(statuses.get(&503).copied().unwrap_or_default(), busy, "{statuses:?}");
    assert_eq!(wrong + over + busy + good, copies, "{statuses:?} {named:?}");
    assert!(over < TRIES && wrong > copies / 2, "{statuses:?} {named:?}");
}
