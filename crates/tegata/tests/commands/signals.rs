//! Signals between programs: one transmits, another receives; receivers that are slow, away, or lead
//! elsewhere; a transmitter that dies in between.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tegata_engines::PostgresServer;

use crate::{PATIENCE, Place, Ports, Server, ask, body, get, part, until};

const REVOKED: &str = "https://schemas.openid.net/secevent/caep/event-type/session-revoked";
const PASSWORD: &str = "correct horse battery staple";
/// What the transmitter shows when it sends.
const SHOWN: &str = "a long and private phrase";

/// A program, and the address that its people use.
struct Site {
    place: Place,
    server: Server,
    ports: Ports,
    origin: &'static str,
}

/// Somebody who is signed in.
struct Person {
    cookie: String,
    csrf: String,
    sid: String,
    token: String,
}

fn configuration(origin: &str) -> String {
    crate::CONFIGURATION.replace("http://localhost:8000", origin)
}

impl Site {
    fn start(origin: &'static str, signals: &str, prepare: impl FnOnce(&Place)) -> Self {
        let place = Place::new();
        place.write("tegata.toml", &format!("{}{signals}", configuration(origin)));
        place.write("shown", &format!("{SHOWN}\n"));
        place.write("pw", PASSWORD);
        let user = ["user", "add", "alice", "--email", "Alice@Example.com"];
        place.json(&[&user[..], &["--role", "customer", "--password-file", "pw"]].concat());
        prepare(&place);
        let server = place.serve();
        let ports = server.ports();
        Self { place, server, ports, origin }
    }

    /// A site that transmits to the client `receiver`; and the client's secret.
    fn transmitting() -> (Self, String) {
        Self::transmitting_with("")
    }

    fn transmitting_with(store: &str) -> (Self, String) {
        let mut secret = String::new();
        let site = Self::start("http://localhost:8000", store, |place| {
            let scope = ["--scope", "ssf.manage email"];
            let client = ["client", "add", "receiver", "--grant-type", "client_credentials"];
            let made = place.json(&[&client[..], &scope].concat());
            secret = made["client_secret"].as_str().unwrap().to_owned();
        });
        (site, secret)
    }

    fn sign_in(&self) -> Person {
        let head = format!(
            "POST /api/auth/login HTTP/1.1\r\nOrigin: {}\r\nContent-Type: application/json",
            self.origin
        );
        let said = json!({"username": "alice", "password": PASSWORD}).to_string();
        let (status, answer) = ask(self.ports.public, &head, &said);
        assert_eq!(status, 200, "{answer}");
        let cookie = answer.lines().find(|line| line.contains("session_id=")).unwrap();
        let cookie = cookie.split_once(": ").unwrap().1.split(';').next().unwrap();
        let told = body(&answer);
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        Person {
            cookie: cookie.to_owned(),
            csrf: text("csrf_token"),
            sid: text("sid"),
            token: text("access_token"),
        }
    }

    fn sign_out(&self, person: &Person) {
        let head = format!(
            "POST /api/auth/logout HTTP/1.1\r\nOrigin: {}\r\nCookie: {}\r\nX-CSRF-Token: {}",
            self.origin, person.cookie, person.csrf
        );
        let (status, answer) = ask(self.ports.public, &head, "");
        assert_eq!(status, 204, "{answer}");
    }

    fn is_signed_in(&self, person: &Person) -> bool {
        let head = format!("GET /api/auth/session HTTP/1.1\r\nCookie: {}", person.cookie);
        let (status, answer) = ask(self.ports.public, &head, "");
        assert!(matches!(status, 200 | 401), "{answer}");
        status == 200
    }

    /// What a client of this name asks as a receiver.
    fn asks(&self, secret: &str, head: &str, said: &Value) -> (u16, String) {
        let basic = STANDARD.encode(format!("receiver:{secret}"));
        let form = "Content-Type: application/x-www-form-urlencoded";
        let token =
            format!("POST /oauth2/token HTTP/1.1\r\nAuthorization: Basic {basic}\r\n{form}");
        let (status, answer) = ask(self.ports.public, &token, "grant_type=client_credentials");
        assert_eq!(status, 200, "{answer}");
        let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
        let json = "Content-Type: application/json";
        let head = format!("{head} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n{json}");
        ask(self.ports.public, &head, &said.to_string())
    }

    /// The name of a new stream of sessions that end.
    fn stream(&self, secret: &str, delivery: Option<Value>) -> String {
        let mut asked = json!({"events_requested": [REVOKED], "format": "email"});
        if let Some(delivery) = delivery {
            asked["delivery"] = delivery;
        }
        let (status, answer) = self.asks(secret, "POST /ssf/streams", &asked);
        assert_eq!(status, 201, "{answer}");
        body(&answer)["stream_id"].as_str().unwrap().to_owned()
    }

    fn public(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports.public)
    }
}

fn push_to(url: &str) -> Option<Value> {
    Some(json!({
        "method": "urn:ietf:rfc:8935", "endpoint_url": url,
        "authorization_header": format!("Bearer {SHOWN}"),
    }))
}

/// What a receiver says of a site that transmits.
fn transmitter(of: &Site, more: &str) -> String {
    format!(
        "[[signals.transmitter]]\nname = \"one\"\nissuer = \"{}\"\naudience = \"receiver\"\n\
         jwks_uri = \"{}\"\npeople = [\"email\"]\n{more}\n",
        of.origin,
        of.public("/.well-known/jwks.json")
    )
}

fn counted(site: &Site, line: &str) -> bool {
    get(site.ports.operations, "/metrics").1.contains(line)
}

#[test]
fn whoever_signs_out_at_one_is_signed_out_at_the_other_that_is_told() {
    let (one, secret) = Site::transmitting();
    let told = transmitter(&one, "secret_file = \"shown\"");
    let two = Site::start("http://localhost:8001", &told, |place| {
        place.write("pw", PASSWORD);
        place.json(&["user", "add", "bob", "--role", "customer", "--password-file", "pw"]);
    });
    let stream = one.stream(&secret, push_to(&two.public("/ssf/events/one")));
    let (here, there) = (one.sign_in(), two.sign_in());
    let verify = json!({"stream_id": stream, "state": "x"});
    assert_eq!(one.asks(&secret, "POST /ssf/verify", &verify).0, 204);
    until("the verification arrives", || {
        counted(&two, "signals_received_total{transmitter=\"one\",result=\"stream\"} 1")
    });
    assert!(two.is_signed_in(&there));
    one.sign_out(&here);
    until("the other session has ended", || !two.is_signed_in(&there));
    // The token that was got with it has ended too.
    let family = part(&there.token, 1)["fid"].as_str().unwrap().to_owned();
    until("the family has ended", || {
        !two.place.run(&["revoke", "--family", &family, "--reason", "test"]).status.success()
    });
    until("it is counted", || {
        counted(&one, "signal_deliveries_total{method=\"push\",result=\"delivered\"} 2")
    });
    // Whoever signs in again stays: what was heard counts once.
    let again = two.sign_in();
    assert!(two.is_signed_in(&again) && !two.is_signed_in(&there));
    two.server.stop();
    one.server.stop();
}

#[test]
fn whoever_signs_out_at_one_is_signed_out_at_the_other_that_asks() {
    let (one, secret) = Site::transmitting();
    let stream = one.stream(&secret, None);
    let poll = format!(
        "[signals.transmitter.poll]\nendpoint_url = \"{}\"\ntoken_endpoint = \"{}\"\n\
         client_id = \"receiver\"\nclient_secret_file = \"secret\"\nscope = \"ssf.manage\"",
        one.public(&format!("/ssf/poll/{stream}")),
        one.public("/oauth2/token"),
    );
    let two = Site::start("http://localhost:8001", &transmitter(&one, &poll), |place| {
        place.write("secret", &secret);
    });
    let (here, there) = (one.sign_in(), two.sign_in());
    one.sign_out(&here);
    until("the other session has ended", || !two.is_signed_in(&there));
    until("it is acknowledged", || {
        counted(&one, "signal_deliveries_total{method=\"poll\",result=\"delivered\"} 1")
    });
    // Who is asked takes nothing that is sent.
    let head = "POST /ssf/events/one HTTP/1.1\r\nContent-Type: application/secevent+jwt";
    assert_eq!(ask(two.ports.public, head, "x").0, 404);
    two.server.stop();
    one.server.stop();
}

/// A receiver that answers as it is told, and hands on what it was sent.
struct Fake {
    url: String,
    sent: Receiver<String>,
    answers: Sender<Option<String>>,
}

impl Fake {
    /// Each answer is given to one request; without one, a request is not answered.
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/events", listener.local_addr().unwrap());
        let (tell, sent) = channel();
        let (answers, told) = channel();
        thread::spawn(move || serve(&listener, &tell, &told));
        Self { url, sent, answers }
    }

    fn answer(&self, head: &str) {
        let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        self.answers.send(Some(answer)).unwrap();
    }

    /// The claims of the next signal.
    fn next(&self) -> Value {
        part(&self.sent.recv_timeout(PATIENCE).expect("nothing was sent"), 1)
    }
}

fn serve(listener: &TcpListener, tell: &Sender<String>, told: &Receiver<Option<String>>) {
    while let Ok((mut stream, _)) = listener.accept() {
        let Some(signal) = read(&mut stream) else { continue };
        // Whoever listened has gone.
        let Ok(()) = tell.send(signal) else { return };
        let Ok(answer) = told.recv() else { return };
        if let Some(answer) = answer {
            // Whoever asked may have gone.
            let _gone = stream.write_all(answer.as_bytes());
        }
    }
}

/// The body of a request, which must be a signal.
fn read(stream: &mut TcpStream) -> Option<String> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).ok()?;
        all.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&all).into_owned();
        let lower = text.to_ascii_lowercase();
        if let Some((head, rest)) = text.split_once("\r\n\r\n") {
            let length = lower.split("content-length: ").nth(1)?.split("\r\n").next()?;
            if rest.len() == length.parse::<usize>().ok()? {
                let head = head.to_ascii_lowercase();
                assert!(head.contains("content-type: application/secevent+jwt"), "{head}");
                assert!(head.contains(&format!("authorization: bearer {SHOWN}")), "{head}");
                return Some(rest.to_owned());
            }
        }
        if count == 0 {
            return None;
        }
    }
}

#[test]
fn what_arrived_is_sent_again_where_nobody_could_write_it_down_and_no_more_afterwards() {
    let (one, secret) = Site::transmitting();
    let fake = Fake::start();
    one.stream(&secret, push_to(&fake.url));
    let person = one.sign_in();
    one.sign_out(&person);
    let first = fake.next();
    assert_eq!(first["sub_id"]["user"]["email"], "Alice@Example.com");
    assert_eq!(first["sub_id"]["session"]["id"], person.sid);
    // It arrived, and before it is answered, the transmitter dies.
    let Site { place, server, origin, .. } = one;
    server.kill();
    fake.answer("202 Accepted");
    let server = place.serve();
    let ports = server.ports();
    let one = Site { place, server, ports, origin };
    let again = fake.next();
    assert_eq!((&again["jti"], &again["iat"]), (&first["jti"], &first["iat"]));
    fake.answer("202 Accepted");
    until("it is counted", || {
        counted(&one, "signal_deliveries_total{method=\"push\",result=\"delivered\"} 1")
    });
    // What was written down is not sent again, not even after a restart.
    let next = one.sign_in();
    one.sign_out(&next);
    assert_eq!(fake.next()["sub_id"]["session"]["id"], next.sid);
    fake.answer("202 Accepted");
    one.server.stop();
}

#[test]
fn a_receiver_that_does_not_answer_delays_no_other_and_none_leads_elsewhere() {
    let (one, secret) = Site::transmitting();
    let (silent, elsewhere, leading, good) =
        (Fake::start(), Fake::start(), Fake::start(), Fake::start());
    for fake in [&silent, &leading, &good] {
        one.stream(&secret, push_to(&fake.url));
    }
    let person = one.sign_in();
    one.sign_out(&person);
    silent.next();
    leading.next();
    leading.answer(&format!("307 Temporary Redirect\r\nLocation: {}", elsewhere.url));
    assert_eq!(good.next()["sub_id"]["session"]["id"], person.sid);
    good.answer("202 Accepted");
    // While one is silent, another is told the next.
    let next = one.sign_in();
    one.sign_out(&next);
    assert_eq!(good.next()["sub_id"]["session"]["id"], next.sid);
    good.answer("202 Accepted");
    // Who led elsewhere is asked again, and where it led, nobody was.
    assert_eq!(leading.next()["sub_id"]["session"]["id"], person.sid);
    leading.answer("202 Accepted");
    assert_eq!(leading.next()["sub_id"]["session"]["id"], next.sid);
    assert!(elsewhere.sent.try_recv().is_err());
    // The address, which may hold a secret, and what is shown there, nobody is shown.
    let (_, shown) = one.asks(&secret, "GET /ssf/streams", &json!({}));
    assert!(!shown.contains(SHOWN), "{shown}");
    silent.answers.send(None).unwrap();
    one.server.stop();
}

#[test]
fn a_signal_is_believed_only_where_everything_of_it_is_right() {
    let (one, secret) = Site::transmitting();
    let told = transmitter(&one, "secret_file = \"shown\"");
    let two = Site::start("http://localhost:8001", &told, |_| {});
    let fake = Fake::start();
    one.stream(&secret, push_to(&fake.url));
    let (here, there) = (one.sign_in(), two.sign_in());
    one.sign_out(&here);
    let signal = fake.sent.recv_timeout(PATIENCE).unwrap();
    fake.answer("202 Accepted");
    let send = |shown: &str, signal: &str| {
        let head = format!(
            "POST /ssf/events/one HTTP/1.1\r\nAuthorization: {shown}\r\n\
             Content-Type: application/secevent+jwt"
        );
        let (status, answer) = ask(two.ports.public, &head, signal);
        let err = if status == 400 {
            body(&answer)["err"].as_str().unwrap().to_owned()
        } else {
            String::new()
        };
        (status, err)
    };
    let bearer = format!("Bearer {SHOWN}");
    let refused = |code: &str| (400, code.to_owned());
    assert_eq!(send("Bearer another phrase", &signal), refused("authentication_failed"));
    assert_eq!(send(SHOWN, &signal), refused("authentication_failed"));
    let parts: Vec<_> = signal.split('.').collect();
    let encode =
        |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text.as_bytes());
    let with_header =
        |header: Value| format!("{}.{}.{}", encode(&header.to_string()), parts[1], parts[2]);
    let header = part(&signal, 0);
    let mut changed = part(&signal, 1);
    changed["jti"] = "another".into();
    let altered = format!("{}.{}.{}", parts[0], encode(&changed.to_string()), parts[2]);
    assert_eq!(send(&bearer, &altered), refused("invalid_key"));
    for (name, value, code) in [
        ("alg", json!("none"), "invalid_key"),
        ("alg", json!("HS256"), "invalid_key"),
        ("typ", json!("at+jwt"), "invalid_request"),
        ("typ", json!("JWT"), "invalid_request"),
    ] {
        let mut header = header.clone();
        header[name] = value.clone();
        assert_eq!(send(&bearer, &with_header(header)), refused(code), "{name} = {value}");
    }
    // A key that was not there a moment ago may be there now, and cannot be asked for yet.
    let mut unknown = header;
    unknown["kid"] = "another".into();
    let unknown = send(&bearer, &with_header(unknown));
    assert!(unknown.0 == 503 || unknown == refused("invalid_key"), "{unknown:?}");
    // Another kind of token of the same issuer, with a good signature.
    assert_eq!(send(&bearer, &here.token), refused("invalid_request"));
    for odd in ["", "x", "a.b.c", "..", "{}"] {
        assert_eq!(send(&bearer, odd).0, 400, "{odd}");
    }
    assert!(two.is_signed_in(&there));
    assert_eq!(send(&bearer, &signal), (202, String::new()));
    assert!(!two.is_signed_in(&there));
    // Said again, it ends nothing more.
    let again = two.sign_in();
    assert_eq!(send(&bearer, &signal), (202, String::new()));
    assert!(two.is_signed_in(&again));
    two.server.stop();
    one.server.stop();
}

#[test]
fn of_two_nodes_one_delivers_and_when_it_dies_the_other() {
    let database = PostgresServer::shared().database();
    let store = format!("[store]\nurl = \"{}\"\n", database.url());
    let (one, secret) = Site::transmitting_with(&store);
    let place = Place::new();
    fs::copy(one.place.path().join("root.key"), place.path().join("root.key")).unwrap();
    place.write("tegata.toml", &format!("{}{store}", configuration(one.origin)));
    let server = place.serve();
    let ports = server.ports();
    let two = Site { place, server, ports, origin: one.origin };
    let fake = Fake::start();
    one.stream(&secret, push_to(&fake.url));
    let person = two.sign_in();
    two.sign_out(&person);
    let first = fake.next();
    assert_eq!(first["sub_id"]["session"]["id"], person.sid);
    fake.answer("202 Accepted");
    let delivered = "signal_deliveries_total{method=\"push\",result=\"delivered\"} 1";
    until("it is counted", || counted(&one, delivered) || counted(&two, delivered));
    assert!(!(counted(&one, delivered) && counted(&two, delivered)));
    let (dying, staying) = if counted(&one, delivered) { (one, two) } else { (two, one) };
    dying.server.kill();
    let person = staying.sign_in();
    staying.sign_out(&person);
    let mut next = fake.next();
    if next["jti"] == first["jti"] {
        // It died before it had written down that this arrived.
        fake.answer("202 Accepted");
        next = fake.next();
    }
    assert_eq!(next["sub_id"]["session"]["id"], person.sid);
    fake.answer("202 Accepted");
    let delivered = delivered.trim_end_matches(" 1");
    until("it is counted", || counted(&staying, delivered));
    staying.server.stop();
}
