//! Signing keys that rotate by themselves while services verify.

use std::{collections::BTreeSet, time::Duration};

use http::{HeaderMap, HeaderValue, Uri};
use tegata_sdk::{
    Authenticator, Credential, KeySource, Node, Provider, Secret, Transport, authenticate::KeyRules,
};

use crate::{CONFIGURATION, Place, part};

/// What follows the section of keys.
const HASTE: &str = "rotate_every = \"3s\"
jwks_max_age = \"2s\"

[[client]]
client_id = \"orders\"
client_secret = \"the secret of the orders service\"
grant_types = [\"client_credentials\"]
audiences = [\"orders\"]
";

const ISSUER: &str = "http://localhost:8000";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_by_themselves_and_no_token_is_refused() {
    let place = Place::new();
    place.write("tegata.toml", &format!("{CONFIGURATION}{HASTE}"));
    let server = place.serve();
    let port = server.ports().public;
    let jwks = format!("http://127.0.0.1:{port}/.well-known/jwks.json").parse().unwrap();
    let keys = KeySource::fetched(jwks, Transport::default(), Node::start(), KeyRules::default());
    let service = Authenticator::of("orders").trusting(ISSUER, keys).on(Node::start());
    let endpoint: Uri = format!("http://127.0.0.1:{port}/oauth2/token").parse().unwrap();
    let orders = || {
        // One that asks anew each time: others keep a token for two thirds of its life.
        let secret = Secret::new("the secret of the orders service".to_owned());
        let credential = Credential::secret("orders", secret);
        Provider::new(Uri::clone(&endpoint), credential, Transport::default(), Node::start())
    };
    let (mut signed_by, mut first, node) = (BTreeSet::new(), None, Node::start());
    let begun = node.since_boot();
    while signed_by.len() < 4 {
        assert!(node.elapsed(begun) < Duration::from_secs(120), "{signed_by:?}");
        let issued = orders().client_credentials("orders").await.unwrap();
        let token = issued.token.expose().clone();
        let first = first.get_or_insert_with(|| token.clone());
        for alive in [&token, &*first] {
            let mut headers = HeaderMap::new();
            let bearer = HeaderValue::try_from(format!("Bearer {alive}")).unwrap();
            headers.insert("authorization", bearer);
            let verified = service.authenticate(&headers).await;
            assert!(verified.is_ok(), "{:?}", verified.err());
        }
        signed_by.insert(part(&token, 0)["kid"].as_str().unwrap().to_owned());
    }
    server.stop();
    // Each step is in the ring: the one that signs, the next, and those before.
    let listed = place.json(&["key", "list"]);
    let states: Vec<_> = listed.as_array().unwrap().iter().map(|key| &key["state"]).collect();
    let count = |state: &str| states.iter().filter(|it| **it == state).count();
    assert_eq!((count("current"), count("next")), (1, 1), "{listed}");
    assert!(count("previous") >= 3, "{listed}");
}

#[test]
fn it_is_known_who_has_fetched_the_next_key_and_who_has_not() {
    let place = Place::new();
    let server = place.serve();
    let fetch = |program: &str| {
        let head = format!("GET /.well-known/jwks.json HTTP/1.1\r\nUser-Agent: {program}/1.0 (x)");
        assert_eq!(crate::ask(server.ports().public, &head, "").0, 200);
    };
    let next = || {
        let listed = place.json(&["key", "list"]);
        let keys = listed.as_array().unwrap().clone();
        // Nobody waits for whoever has not seen a key that signs already.
        assert!(
            keys.iter().all(|it| (it["state"] == "next") == it["readers"].is_u64()),
            "{listed}"
        );
        keys.into_iter().find(|it| it["state"] == "next").unwrap()
    };
    fetch("orders");
    let key = next();
    assert_eq!((&key["seen_by"], &key["readers"]), (&1.into(), &1.into()), "{key}");
    // Another one is next, which nobody has fetched yet.
    place.json(&["key", "rotate", "--force"]);
    let key = next();
    assert_eq!((&key["seen_by"], &key["readers"]), (&0.into(), &1.into()), "{key}");
    let missing = key["not_seen_by"][0].as_str().unwrap();
    assert!(missing.starts_with("127.0.0.0/24 orders, last at 2"), "{missing}");
    fetch("payments");
    let key = next();
    assert_eq!((&key["seen_by"], &key["readers"]), (&1.into(), &2.into()), "{key}");
    fetch("orders");
    let key = next();
    assert_eq!(
        (&key["seen_by"], &key["not_seen_by"]),
        (&2.into(), &serde_json::json!([])),
        "{key}"
    );
    server.stop();
}
