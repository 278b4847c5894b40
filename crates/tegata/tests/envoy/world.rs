//! The demo, and Envoy before its shop, with the files that are in `deploy/envoy`.

use std::{collections::HashMap, fs, sync::LazyLock};

use serde_json::Value;
use tegata_engines::EnvoyServer;

use super::{
    browser::{Browser, ask_token},
    demo::{Demo, Person},
    http::{Answer, Place},
};

/// A demo that answers Envoy, and an Envoy.
pub(crate) struct World {
    pub(crate) demo: Demo,
    pub(crate) envoy: EnvoyServer,
}

/// The world of this process, made when the first test asks for it.
pub(crate) fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(|| {
        let demo = Demo::start(&["--ext-authz"]);
        let base = demo.public.port;
        let envoy = EnvoyServer::start(|port| configuration("shop.yaml", base, port));
        World { demo, envoy }
    });
    &WORLD
}

impl World {
    /// Envoy, where clients come.
    pub(crate) fn behind(&self) -> Place {
        Place { port: self.envoy.port() }
    }

    /// The access token of somebody who has just signed in.
    pub(crate) fn token(&self, person: &Person) -> String {
        let (_, answer) = Browser::signed_in(self.demo.public, person);
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// A token of a machine.
    pub(crate) fn of_a_machine(&self) -> String {
        of_a_machine(&self.demo)
    }

    /// Takes a token back.
    pub(crate) fn revoke(&self, token: &str) {
        let client = self.demo.client("demo-service");
        let ask = self.demo.public.post("/oauth2/revoke");
        super::browser::as_client(ask, &client, &[("token", token)]).send().expect(200);
    }
}

/// A token of a machine.
pub(crate) fn of_a_machine(demo: &Demo) -> String {
    let client = demo.client("demo-service");
    let answer = ask_token(demo, &client, &[("grant_type", "client_credentials")]);
    answer.expect(200).json()["access_token"].as_str().unwrap().to_owned()
}

/// A file of `deploy/envoy`, for a demo with this port base and an Envoy on this port.
pub(crate) fn configuration(file: &str, base: u16, port: u16) -> String {
    let path = format!("{}/../../deploy/envoy/{file}", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut ports =
        HashMap::from([(8000, base), (8080, base + 1), (9001, base + 3), (10_000, port)]);
    ports.extend((0..13).map(|number| (8100 + number, base + 10 + number)));
    renumbered(&text, &ports)
}

/// The text with other ports. All at once: a new number may look like another old one.
fn renumbered(text: &str, ports: &HashMap<u16, u16>) -> String {
    let mut all = String::new();
    for part in text.split_inclusive(|letter: char| !letter.is_ascii_digit()) {
        let digits = part.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let rest = &part[digits.len()..];
        match digits.parse().ok().and_then(|number: u16| ports.get(&number)) {
            Some(port) => all += &port.to_string(),
            None => all += digits,
        }
        all += rest;
    }
    all
}

/// What the echo received under a name.
pub(crate) fn received(echo: &Value, name: &str) -> Vec<String> {
    let all = echo["headers"].as_array().unwrap().iter();
    let named = all.filter(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name));
    named.map(|pair| pair[1].as_str().unwrap().to_owned()).collect()
}

/// Why a request was refused, where a problem document says so.
pub(crate) fn reason(answer: &Answer) -> Option<String> {
    if answer.all("content-type") != ["application/problem+json"] {
        return None;
    }
    let problem: Value = serde_json::from_slice(&answer.body).ok()?;
    let id = problem["type"].as_str()?;
    Some(id.strip_prefix("urn:tegata:problem:").unwrap_or(id).to_owned())
}

#[test]
fn ports_are_renumbered_all_at_once() {
    let ports = HashMap::from([(8000, 8100), (8100, 8000)]);
    assert_eq!(renumbered("a: 8000, b:8100 c 81000 8000", &ports), "a: 8100, b:8000 c 81000 8100");
}
