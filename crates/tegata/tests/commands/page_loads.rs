//! Pages that load through the gateway of a running program while the session cookie changes every second: many
//! requests at once, each with the cookie that the browser has by then, and answers that get lost with theirs.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Mutex,
    thread,
};

use tegata_core::{Entropy as _, SeededEntropy};

use crate::{CONFIGURATION, PATIENCE, Place, sign_in};

const LOADS: usize = 1000;
const REQUESTS: usize = 20;
/// How many connections a browser opens to one place.
const LANES: usize = 6;

/// A service that is content with everything.
fn service() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while let Some(Ok(line)) = lines.next() {
                    if line.is_empty()
                        && stream
                            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                            .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// A connection of the browser.
struct Lane(BufReader<TcpStream>);

impl Lane {
    fn to(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(BufReader::new(stream))
    }

    /// Asks for a part of the page; answers the status and the value that the cookie is given.
    fn ask(&mut self, value: &str) -> (String, Option<String>) {
        let request = format!(
            "GET /pages/part HTTP/1.1\r\nHost: localhost:8080\r\nCookie: session_id={value}\r\n\r\n"
        );
        self.0.get_mut().write_all(request.as_bytes()).unwrap();
        let (mut status, mut given, mut length) = (String::new(), None, 0);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the connection broke");
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if status.is_empty() {
                line.split(' ').nth(1).unwrap().clone_into(&mut status);
            }
            given = set(line).or(given);
            if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                length = told.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        (status, given)
    }
}

/// How many of the requests go over this connection.
fn share(lane: usize) -> usize {
    REQUESTS / LANES + usize::from(lane < REQUESTS % LANES)
}

/// The value that a line of a head gives the session cookie.
fn set(line: &str) -> Option<String> {
    let (value, _) = line.strip_prefix("set-cookie: session_id=")?.split_once(';')?;
    Some(value.to_owned())
}

/// How often the value had changed when this one was made.
fn generation(value: &str) -> u64 {
    value.rsplit('.').nth(1).and_then(|number| number.parse().ok()).unwrap()
}

/// What a browser holds, and what became of its requests.
struct Jar {
    value: String,
    /// Which value each was replaced by.
    successors: BTreeMap<String, String>,
    chance: SeededEntropy,
    changes: usize,
    lost: usize,
    late: usize,
}

impl Jar {
    /// Takes what an answer gives, unless that is lost. One thread may be held up longer than a value lives, which no
    /// browser's doing is: so what is older than what is held is not taken.
    fn hear(&mut self, sent: &str, given: Option<String>) {
        let Some(given) = given else { return };
        assert!(!given.is_empty(), "the cookie was taken away");
        let known = self.successors.entry(sent.to_owned()).or_insert_with(|| given.clone());
        assert_eq!(*known, given, "one value was replaced by two");
        let mut byte = [0];
        self.chance.fill(&mut byte);
        if byte[0] % 4 > 0 {
            self.lost += 1;
        } else if generation(&given) > generation(&self.value) {
            self.changes += 1;
            self.value = given;
        }
    }
}

/// Asks for a part of the page with what the jar holds. Whoever is overtaken by a request with a newer value is refused,
/// and asks again with that.
fn part(lane: &mut Lane, jar: &Mutex<Jar>) {
    loop {
        let sent = jar.lock().unwrap().value.clone();
        let (status, given) = lane.ask(&sent);
        let mut jar = jar.lock().unwrap();
        jar.hear(&sent, given);
        if status == "200" {
            return;
        }
        let overtaken = generation(&jar.value) > generation(&sent);
        assert!(status == "401" && overtaken, "{status} after {} changes", jar.changes);
        jar.late += 1;
    }
}

#[test]
fn a_thousand_pages_of_twenty_requests_while_the_cookie_changes_sign_nobody_out() {
    let place = Place::new();
    place.add_user("alice");
    let settings = format!(
        "[sessions]\nrotation = \"1s\"\n[gateway.limits]\nper_address = \"1000000/m\"\n\
         [[service]]\nname = \"pages\"\nupstreams = [\"http://127.0.0.1:{}\"]\n\
         [[route]]\npath = \"/pages\"\nservice = \"pages\"\n",
        service()
    );
    place.write("tegata.toml", &format!("{CONFIGURATION}{settings}"));
    let server = place.serve();
    let gateway = server.ports().gateway;
    let (status, answer) = sign_in(gateway, "correct horse battery staple", "");
    assert_eq!(status, 200, "{answer}");
    let first = answer.lines().find_map(set).unwrap();
    let mut lanes: Vec<_> = (0..LANES).map(|_| Lane::to(gateway)).collect();
    let jar = Mutex::new(Jar {
        value: first.clone(),
        successors: BTreeMap::new(),
        chance: SeededEntropy::new(300),
        changes: 0,
        lost: 0,
        late: 0,
    });
    let mut loads = 0;
    // However fast the machine is, the cookie changes some times.
    while loads < LOADS || jar.lock().unwrap().changes < 5 {
        loads += 1;
        thread::scope(|scope| {
            for (n, lane) in lanes.iter_mut().enumerate() {
                let jar = &jar;
                scope.spawn(move || (0..share(n)).for_each(|_| part(lane, jar)));
            }
        });
    }
    let Jar { value: jar, changes, lost, late, .. } = jar.into_inner().unwrap();
    assert!(lost > changes, "{lost} of the answers were lost, in {changes} changes");
    println!("{loads} loads, {changes} changes, {lost} answers lost, {late} requests too late");
    // Of all the values that there were, the latest counts.
    assert_eq!(Lane::to(gateway).ask(&jar).0, "200");
    assert_eq!(Lane::to(gateway).ask(&first).0, "401");
    assert_eq!(Lane::to(gateway).ask(&jar).0, "200");
    server.stop();
}
