//! The consoles of two nodes: what is ended at one goes from the live pages of the other.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    sync::mpsc,
    time::Duration,
};

use serde_json::{Value, json};
use tegata_faults::{
    http::{Answer, Ask},
    stage::Stage,
    time::Stopwatch,
};

use super::two_that_hear_each_other;

const AGENT: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
const PASSWORD: &str = "a long and private phrase";

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Somebody who has signed in at a node.
struct Person<'a> {
    stage: &'a Stage,
    node: usize,
    cookie: String,
    sid: String,
}

impl<'a> Person<'a> {
    fn signs_in(stage: &'a Stage, node: usize, name: &str) -> Self {
        let credentials = json!({"username": name, "password": PASSWORD});
        let ask = Ask::json("/api/auth/login", &credentials).field("User-Agent", AGENT);
        let answer = stage.public(node).ask(&ask.field("Origin", stage.cluster().issuer()));
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let cookie = answer.all("set-cookie").find(|it| it.starts_with("session_id=")).unwrap();
        let cookie = cookie.split(';').next().unwrap().to_owned();
        Self { stage, node, cookie, sid: answer.member("sid").unwrap() }
    }

    fn asks(&self, ask: Ask) -> Answer {
        let ask = ask.field("Cookie", &self.cookie).field("User-Agent", AGENT);
        self.stage.public(self.node).ask(&ask).unwrap()
    }

    /// Ends a session in the console. Answers what the page says.
    fn ends(&self, sid: &str) -> String {
        let page = self.asks(Ask::get("/console/sessions")).text();
        let (_, token) = page.split_once("name=\"csrf_token\" value=\"").unwrap();
        let token = token.split('"').next().unwrap();
        let wish = format!("end:{sid}");
        let fields = [("csrf_token", token), ("do", wish.as_str()), ("confirmed", "yes")];
        let ask = Ask::form("/console/sessions", &fields);
        let answer = self.asks(ask.field("Origin", self.stage.cluster().issuer()));
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Looks at a live page. Every state of its sessions is told, as soon as it is sent.
    fn looks_at(&self, page: &str) -> mpsc::Receiver<String> {
        let port = self.stage.cluster().member(self.node).node.ports().public;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let request = format!(
            "GET /console/events?{page}&lang=en HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\
             User-Agent: {AGENT}\r\n\r\n",
            self.cookie
        );
        stream.write_all(request.as_bytes()).unwrap();
        let (told, hears) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                let Some(data) = line.strip_prefix("data: ") else { continue };
                let data: Value = serde_json::from_str(data).unwrap();
                let html = data["html"].as_str().unwrap_or_default();
                if data["part"] == "sessions" && told.send(html.to_owned()).is_err() {
                    return;
                }
            }
        });
        hears
    }
}

/// Waits until this is so of what is shown.
fn shown(page: &mpsc::Receiver<String>, is: impl Fn(&str) -> bool) {
    let mut last = String::new();
    while !is(&last) {
        last = page.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it stays: {last}"));
    }
}

#[test]
fn what_is_ended_at_one_console_goes_from_the_live_pages_of_the_other_within_a_second() {
    let stage = two_that_hear_each_other();
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("password");
    std::fs::write(&file, PASSWORD).unwrap();
    for (name, role) in [("boss", "admin"), ("guest", "customer")] {
        let file = file.to_str().unwrap();
        let add = ["user", "add", name, "--password-file", file, "--role", role];
        let added = stage.cluster().member(0).node.run(&add);
        assert!(added.status.success(), "{added:?}");
    }
    let (here, there) = (Person::signs_in(&stage, 0, "boss"), Person::signs_in(&stage, 1, "boss"));
    let told = stage.cluster().member(0).node.command(&["user", "show", "guest"]);
    let guest: Value = serde_json::from_str(&told).unwrap();
    let own = format!("page=users&id={}", guest["id"].as_str().unwrap());
    let (all, of_one) = (there.looks_at("page=sessions"), there.looks_at(&own));
    let mut took = Vec::new();
    for round in 0..6 {
        let victim = Person::signs_in(&stage, round % 2, "guest");
        let is_there = |html: &str| html.contains(&victim.sid);
        shown(&all, is_there);
        shown(&of_one, is_there);
        let watch = Stopwatch::start();
        let page = here.ends(&victim.sid);
        shown(&all, |html| !html.is_empty() && !is_there(html));
        shown(&of_one, |html| !html.is_empty() && !is_there(html));
        took.push(watch.read());
        assert!(page.contains("Refused by all 2 points after"), "{page}");
        assert_eq!(victim.asks(Ask::get("/api/auth/session")).status, 401);
    }
    println!("gone from the pages of the other node after {took:?}");
    assert!(took.iter().all(|took| *took < Duration::from_secs(1)), "{took:?}");
}
