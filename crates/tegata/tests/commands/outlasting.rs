//! Requests at the gateway of a running program that last longer than the token or the session they came with.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread::{self, JoinHandle},
};

use tegata_core::Node;
use tegata_faults::time::until;

use crate::{CONFIGURATION, PATIENCE, Place, Server, ask, body, part, sign_in};

/// Whether held answers may go on.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

/// A service that answers at once, or when it may: all of it, or the second half.
struct Service {
    port: u16,
    /// Says that a request is held.
    held: mpsc::Receiver<()>,
    gate: Arc<Gate>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (holds, held) = mpsc::channel();
        let gate = Arc::<Gate>::default();
        let opens = gate.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (holds, gate) = (holds.clone(), opens.clone());
                let stream = stream.unwrap();
                thread::spawn(move || serve(&stream, &holds, &gate));
            }
        });
        Self { port, held, gate }
    }

    fn until_held(&self, many: usize) {
        for _ in 0..many {
            self.held.recv_timeout(PATIENCE).unwrap();
        }
    }
}

/// Serves one connection; what cannot be written, nobody waits for any more.
fn serve(stream: &TcpStream, holds: &mpsc::Sender<()>, gate: &Gate) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let write = |text: &str| (&mut &*stream).write_all(text.as_bytes()).unwrap_or_default();
    while let Some(first) = lines.next() {
        lines.by_ref().take_while(|line| !line.is_empty()).for_each(drop);
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n";
        let (now, later) = match first.split(' ').nth(1) {
            Some("/late") => ("", format!("{head}completed")),
            Some("/half") => (&*format!("{head}comp"), "leted".to_owned()),
            _ => (&*format!("{head}completed"), String::new()),
        };
        write(now);
        if !later.is_empty() {
            holds.send(()).unwrap_or_default();
            gate.wait();
            write(&later);
        }
    }
}

/// A program with this service behind its gateway.
fn program(service: &Service, more: &str) -> (Place, Server) {
    let place = Place::new();
    place.add_user("alice");
    let settings = format!(
        "[gateway.limits]\nper_address = \"1000000/m\"\n[[service]]\nname = \"pages\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         [[route]]\npath = \"/pages\"\nservice = \"pages\"\n",
        service.port
    );
    place.write("tegata.toml", &format!("{CONFIGURATION}{more}{settings}"));
    let server = place.serve();
    (place, server)
}

/// Somebody who is signed in.
struct Person {
    gateway: u16,
    token: String,
    csrf: String,
    cookie: String,
}

impl Person {
    fn sign_in(gateway: u16) -> Self {
        let (status, answer) = sign_in(gateway, "correct horse battery staple", "");
        assert_eq!(status, 200, "{answer}");
        let told = body(&answer);
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: session_id="));
        let cookie = cookie.and_then(|line| line.split(';').next()).unwrap();
        let (token, csrf) = (text("access_token"), text("csrf_token"));
        Self { gateway, token, csrf, cookie: format!("Cookie: session_id={cookie}") }
    }

    /// What they show: their token, or their cookie.
    fn credentials(&self) -> [String; 2] {
        [format!("Authorization: Bearer {}", self.token), self.cookie.clone()]
    }

    fn ask(&self, path: &str, credential: &str) -> (u16, String) {
        ask(self.gateway, &format!("GET /pages{path} HTTP/1.1\r\n{credential}"), "")
    }

    /// Asks for something that is held, with each credential.
    fn ask_all(self: &Arc<Self>, path: &'static str) -> Vec<JoinHandle<(u16, String)>> {
        let ask = |credential: String| {
            let own = self.clone();
            thread::spawn(move || own.ask(path, &credential))
        };
        self.credentials().map(ask).into()
    }
}

fn says_refresh(answer: &str) -> bool {
    answer.to_ascii_lowercase().contains("\r\nx-token-refresh: 1\r\n")
}

#[test]
fn what_was_asked_in_time_is_answered_whole_though_token_and_session_end_meanwhile() {
    let service = Service::start();
    let short = "[tokens]\naccess_lifetime = \"10s\"\nservice_lifetime = \"10s\"\n\
                 bound_service_lifetime = \"10s\"\nexchanged_lifetime = \"10s\"\n\
                 [sessions]\nabsolute = \"10s\"\n";
    let (_place, server) = program(&service, short);
    let person = Arc::new(Person::sign_in(server.ports().gateway));
    let (late, half) = (person.ask_all("/late"), person.ask_all("/half"));
    service.until_held(4);

    let [bearer, cookie] = person.credentials();
    assert!(until(PATIENCE, || person.ask("/quick", &cookie).0 == 401).is_some());
    let (node, ends) = (Node::start(), part(&person.token, 1)["exp"].as_u64().unwrap());
    assert!(until(PATIENCE, || node.now().secs() > ends).is_some());
    service.gate.open();
    let told = |asked: Vec<JoinHandle<(u16, String)>>| -> Vec<String> {
        let answers = asked.into_iter().map(|asked| asked.join().unwrap());
        let whole = |(status, answer): (u16, String)| {
            assert!(status == 200 && answer.ends_with("completed"), "{answer}");
            // Nothing that came so late changes what the browser has.
            assert!(!answer.contains("set-cookie: session_id"), "{answer}");
            answer
        };
        answers.map(whole).collect()
    };
    told(half);
    assert!(says_refresh(&told(late)[0]), "nobody is told that the token has ended");
    // Clocks of those who made a token and of those who see it may differ by seconds, and no more.
    let (status, answer) = person.ask("/quick", &bearer);
    assert!(status == 401 || status == 200 && says_refresh(&answer), "{answer}");
    server.stop();
}

#[test]
fn an_answer_to_whoever_signs_out_meanwhile_breaks_off() {
    let service = Service::start();
    let (_place, server) = program(&service, "");
    let ports = server.ports();
    let person = Arc::new(Person::sign_in(ports.gateway));
    let half = person.ask_all("/half");
    service.until_held(2);
    let Person { cookie, csrf, .. } = &*person;
    let leave = format!(
        "POST /api/auth/logout HTTP/1.1\r\nOrigin: http://localhost:8000\r\n{cookie}\r\n\
         X-CSRF-Token: {csrf}"
    );
    let (status, answer) = ask(ports.public, &leave, "");
    assert_eq!(status, 204, "{answer}");
    for asked in half {
        let (status, answer) = asked.join().unwrap();
        assert!(status == 200 && answer.ends_with("comp"), "{answer}");
    }
    for credential in person.credentials() {
        assert_eq!(person.ask("/quick", &credential).0, 401);
    }
    service.gate.open();
    server.kill();
}
