//! Pages that load through the gateway of a running program while the session cookie changes every second: many
//! requests at once, and answers that get lost with the cookie that they had.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
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
    let chance = SeededEntropy::new(300);
    let is_lost = || {
        let mut byte = [0];
        chance.fill(&mut byte);
        byte[0] % 4 > 0
    };
    let mut lanes: Vec<_> = (0..LANES).map(|_| Lane::to(gateway)).collect();
    let (mut jar, mut loads, mut changes, mut lost) = (first.clone(), 0, 0, 0);
    // However fast the machine is, the cookie changes some times.
    while loads < LOADS || changes < 5 {
        loads += 1;
        let answers: Vec<_> = thread::scope(|scope| {
            let value = &jar;
            let load = move |(n, lane): (usize, &'_ mut Lane)| {
                (0..share(n)).map(|_| lane.ask(value)).collect::<Vec<_>>()
            };
            let part = |lane| scope.spawn(move || load(lane));
            let parts: Vec<_> = lanes.iter_mut().enumerate().map(part).collect();
            parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
        });
        assert_eq!(answers.len(), REQUESTS);
        let refused: Vec<_> = answers.iter().filter(|(status, _)| status != "200").collect();
        assert!(refused.is_empty(), "load {loads}, after {changes} changes: {refused:?}");
        let given: Vec<_> = answers.into_iter().filter_map(|(_, given)| given).collect();
        let values: BTreeSet<_> = given.iter().collect();
        assert!(values.len() <= 1, "one load was given two successors");
        let arrived: Vec<_> = given.iter().filter(|_| !is_lost()).collect();
        lost += given.len() - arrived.len();
        if let Some(value) = arrived.last() {
            changes += 1;
            (*value).clone_into(&mut jar);
        }
    }
    assert!(lost > changes, "{lost} of the answers were lost, in {changes} changes");
    // Of all the values that there were, the latest counts.
    assert_eq!(Lane::to(gateway).ask(&jar).0, "200");
    assert_eq!(Lane::to(gateway).ask(&first).0, "401");
    assert_eq!(Lane::to(gateway).ask(&jar).0, "200");
    server.stop();
}
