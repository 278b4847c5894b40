//! Events as others hear them on the bus: something is done at a node, and what stands in the streams of a
//! Redis is compared with what is promised.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tegata_engines::{
    RedisServer, TegataNode,
    redis::Answer as Told,
    tegata::{Own, Shared, root_key},
};

use super::{
    demo::until,
    http::{Ask, Place},
    jwt::{names, unverified},
};

const ISSUER: &str = "http://localhost:1";
const PASSWORD: &str = "correct horse battery staple";
const SINGLE: &str = "SESSION_CREATED USER_LOGGED_OUT SESSION_ENDED TOKEN_REVOKED API_KEY_ROTATED";

/// A node whose events are heard.
struct Scene {
    node: TegataNode,
    bus: RedisServer,
    _policies: tempfile::TempDir,
}

impl Scene {
    fn start() -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_tegata"));
        let (bus, policies) = (RedisServer::start(), tempfile::tempdir().unwrap());
        let rule = "@id(\"no-secrets\")\nforbid (principal, action, resource)\n\
                    when { context.path like \"/stock/secret*\" };\n";
        fs::write(policies.path().join("secrets.cedar"), rule).unwrap();
        let shared = Shared {
            program: program.to_owned(),
            root_key: root_key(program),
            issuer: ISSUER.to_owned(),
            audience: ISSUER.to_owned(),
        };
        let own = Own {
            store: "sqlite://tegata.db".to_owned(),
            events: Some(bus.url()),
            more: format!(
                "[policy]\ndirectory = \"{}\"\n[[service]]\nname = \"stock\"\n\
                 upstreams = [\"http://127.0.0.1:1\"]\n",
                policies.path().display()
            ),
            ..Own::default()
        };
        Self { node: TegataNode::start("heard", &shared, &own), bus, _policies: policies }
    }

    fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.node.command(args)).unwrap()
    }

    fn public(&self) -> Place {
        Place { port: self.node.ports().public }
    }

    /// What stands in a stream: the fields of each entry, and its body.
    fn heard(&self, stream: &str) -> Vec<(Vec<(String, String)>, Value)> {
        let entries = self.bus.node().ask(&["XRANGE", stream, "-", "+"]).list();
        let fields = entries.iter().filter_map(|entry| entry.list().get(1).map(Told::fields));
        let with_body = |fields: Vec<(String, String)>| {
            let body = fields.iter().find(|(name, _)| name == "body").unwrap().1.clone();
            (fields, serde_json::from_str(&body).unwrap())
        };
        fields.map(with_body).collect()
    }

    /// The events of a type, when there are some; each has what all have.
    fn events(&self, kind: &str) -> Vec<Value> {
        let stream = format!("auth-events.{kind}");
        until(&stream, || !self.heard(&stream).is_empty());
        let all = self.heard(&stream);
        for (fields, event) in &all {
            for name in "id type version timestamp realm node trace_id data".split(' ') {
                assert!(event.get(name).is_some(), "{name}: {event}");
            }
            let said = |name: &str| fields.iter().find(|(own, _)| own == name).unwrap().1.as_str();
            assert_eq!((&event["type"], said("type")), (&json!(kind), kind));
            assert_eq!(event["id"], said("id"));
            assert_eq!((&event["version"], &event["realm"]), (&json!("1.0"), &json!("default")));
            let at = event["timestamp"].as_str().unwrap();
            assert!(at.ends_with('Z') && at.contains('T') && event["node"].is_u64(), "{event}");
            assert!(event["data"].is_object(), "{event}");
        }
        all.into_iter().map(|(_, event)| event).collect()
    }
}

fn from_our_page(ask: Ask) -> Ask {
    ask.field("Origin", ISSUER).field("Sec-Fetch-Site", "same-origin")
}

/// The members of the data, all of which are something.
fn has(event: &Value, promised: &str) {
    for name in promised.split(' ') {
        assert!(!event["data"][name].is_null(), "{name}: {event}");
    }
}

#[test]
fn what_is_done_at_a_node_is_heard_with_the_promised_members() {
    let scene = Scene::start();
    fs::write(scene.node.directory().join("pw"), PASSWORD).unwrap();
    let add = ["user", "add", "alice", "--role", "customer", "--password-file", "pw"];
    let user = scene.json(&add)["id"].clone();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let login = scene.public().post("/api/auth/login");
    let login = login.field("traceparent", &format!("00-{trace}-b7ad6b7169203331-01"));
    let login = login.json(&json!({"username": "alice", "password": PASSWORD}));
    let answer = from_our_page(login).send().expect(200);
    let cookies = answer.all("set-cookie");
    let cookies: Vec<_> = cookies.iter().map(|it| it.split(';').next().unwrap()).collect();
    let told = answer.json();
    let token = told["access_token"].as_str().unwrap();
    scene.node.command(&["revoke", "--token", token, "--reason", "stolen"]);
    let logout = from_our_page(scene.public().post("/api/auth/logout"));
    let logout = logout.field("Cookie", &cookies.join("; "));
    logout.field("X-CSRF-Token", told["csrf_token"].as_str().unwrap()).send().expect(204);
    scene.node.command(&["key", "rotate", "--force"]);
    let made = scene.json(&["apikey", "create", "--service", "stock", "--name", "nightly"]);
    let rotated = scene.json(&["apikey", "rotate", made["id"].as_str().unwrap(), "--grace", "1h"]);

    let [created] = &scene.events("SESSION_CREATED")[..] else { panic!("one session began") };
    has(created, "user_id session_id");
    assert_eq!(created["data"]["user_id"], user);
    // The handle, and never the cookie's value.
    assert_eq!(created["data"]["session_id"], told["sid"]);
    assert_eq!(created["trace_id"], trace);
    let [out] = &scene.events("USER_LOGGED_OUT")[..] else { panic!("one person signed out") };
    assert_eq!(out["data"], json!({"user_id": user, "session_id": told["sid"]}));
    let [ended] = &scene.events("SESSION_ENDED")[..] else { panic!("one session ended") };
    has(ended, "user_id session_id reason");
    assert_eq!(ended["data"]["session_id"], told["sid"]);
    let [revoked] = &scene.events("TOKEN_REVOKED")[..] else { panic!("one token was revoked") };
    assert_eq!(revoked["data"]["jti"], unverified(token).claims["jti"]);
    assert_eq!(revoked["data"]["reason"], "stolen");
    // Nothing that came from outside caused it, and that is said.
    assert_eq!(revoked.get("trace_id"), Some(&Value::Null));
    let keys = scene.events("KEY_ROTATED");
    keys.iter().for_each(|event| has(event, "kid"));
    let [key] = &scene.events("API_KEY_ROTATED")[..] else { panic!("one key was rotated") };
    has(key, "old_id new_id overlap_end");
    assert_eq!((&key["data"]["old_id"], &key["data"]["new_id"]), (&made["id"], &rotated["id"]));
    let policies = scene.events("POLICY_CHANGED");
    has(&policies[0], "version digest policies");

    // All of them stand together as well, each once.
    let all = scene.heard("auth-events");
    for kind in SINGLE.split(' ') {
        assert_eq!(all.iter().filter(|(_, event)| event["type"] == kind).count(), 1, "{kind}");
    }
    let secret = cookies.iter().find_map(|it| it.strip_prefix("session_id=")).unwrap();
    let texts = all.iter().map(|(_, event)| event.to_string()).collect::<String>();
    assert!(!texts.contains(secret) && !texts.contains(token));
}

#[test]
fn who_keeps_copies_hears_what_is_no_longer_true() {
    let scene = Scene::start();
    fs::write(scene.node.directory().join("pw"), PASSWORD).unwrap();
    let add = ["user", "add", "alice", "--role", "customer", "--password-file", "pw"];
    let user = scene.json(&add)["id"].as_str().unwrap().to_owned();
    let login = scene.public().post("/api/auth/login");
    let login = login.json(&json!({"username": "alice", "password": PASSWORD}));
    let told = from_our_page(login).send().expect(200).json();
    scene.node.command(&["session", "end", told["sid"].as_str().unwrap()]);
    let keys = || -> Vec<String> {
        let heard = scene.heard("cache-invalidation");
        heard.iter().map(|(_, said)| said["key"].as_str().unwrap().to_owned()).collect()
    };
    let session = format!("/{}", told["sid"].as_str().unwrap());
    for name in [session, format!("/{user}")] {
        until(&name, || keys().iter().any(|key| key.ends_with(&name)));
    }
    for (_, said) in scene.heard("cache-invalidation") {
        assert_eq!(said["action"], "invalidate");
        assert!(said["timestamp"].as_str().unwrap().ends_with('Z'), "{said}");
        let promised = ["action", "key", "timestamp"];
        assert!(promised.iter().all(|name| names(&said).contains(name)), "{said}");
    }
}
