//! A service that follows what is taken back refuses it, whichever way it was reached.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use tegata_sdk::{
    Authenticator, Credential, KeySource, Node, Provider, Revocations, Secret, Transport,
    WhenStale,
    authenticate::{KeyRules, Reason},
};

use crate::{CONFIGURATION, Place};

const CLIENTS: &str = "
[[client]]
client_id = \"orders\"
client_secret = \"the secret of the orders service\"
grant_types = [\"client_credentials\"]
may_introspect = true
audiences = [\"orders\"]

[[client]]
client_id = \"curious\"
client_secret = \"the secret of a curious service\"
grant_types = [\"client_credentials\"]
audiences = [\"orders\"]
";

const ISSUER: &str = "http://localhost:8000";

fn provider(port: u16, client: &str, secret: &str) -> Provider {
    let credential = Credential::secret(client, Secret::new(secret.to_owned()));
    let endpoint = format!("http://127.0.0.1:{port}/oauth2/token").parse().unwrap();
    Provider::new(endpoint, credential, Transport::default(), Node::start())
}

fn revocations(port: u16, provider: Provider, keys: &KeySource) -> Revocations {
    let endpoint = format!("http://127.0.0.1:{port}/oauth2/revocations").parse().unwrap();
    Revocations::of(ISSUER, endpoint, provider, keys.clone())
}

fn service_of(revocations: &Revocations, keys: &KeySource) -> Authenticator {
    Authenticator::of("orders")
        .trusting(ISSUER, keys.clone())
        .refusing(revocations, WhenStale::Strict)
        .on(Node::start())
}

async fn refused(service: &Authenticator, token: &str) -> Option<Reason> {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    service.authenticate(&headers).await.err().map(|refused| refused.reason)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_refuses_what_is_taken_back_while_it_waits_for_news() {
    let place = Place::new();
    place.write("tegata.toml", &format!("{CONFIGURATION}{CLIENTS}"));
    let server = place.serve();
    let port = server.ports().public;
    let jwks = format!("http://127.0.0.1:{port}/.well-known/jwks.json").parse().unwrap();
    let keys = KeySource::fetched(jwks, Transport::default(), Node::start(), KeyRules::default());
    let orders = provider(port, "orders", "the secret of the orders service");
    let own = revocations(port, orders.clone(), &keys);
    let service = service_of(&own, &keys);
    let curious = provider(port, "curious", "the secret of a curious service");
    let not_told = revocations(port, curious, &keys).ask(Duration::ZERO).await.unwrap_err();
    assert!(not_told.to_string().contains("may_introspect"), "{not_told}");

    own.ask(Duration::ZERO).await.unwrap();
    let following = tokio::spawn(own.clone().follow());
    let (mut slowest, mut last, node) = (Duration::ZERO, String::new(), Node::start());
    for _ in 0..20 {
        let issued = orders.client_credentials("orders").await.unwrap();
        let token = issued.token.expose().clone();
        assert_eq!(refused(&service, &token).await, None);
        let form = format!("token={token}");
        let head = "POST /oauth2/revoke HTTP/1.1\r\n\
                    Authorization: Basic b3JkZXJzOnRoZStzZWNyZXQrb2YrdGhlK29yZGVycytzZXJ2aWNl\r\n\
                    Content-Type: application/x-www-form-urlencoded";
        let (status, answer) = crate::ask(port, head, &form);
        assert_eq!(status, 200, "{answer}");
        let acknowledged = node.since_boot();
        while refused(&service, &token).await != Some(Reason::Revoked) {
            assert!(node.elapsed(acknowledged) < Duration::from_secs(5), "it was not told");
            tokio::task::yield_now().await;
        }
        slowest = slowest.max(node.elapsed(acknowledged));
        last = token;
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    assert!(own.staleness().unwrap() < Duration::from_secs(5));

    // Who begins is told everything, also by a process that has begun.
    following.abort();
    server.stop();
    let server = place.serve();
    let port = server.ports().public;
    let anew =
        revocations(port, provider(port, "orders", "the secret of the orders service"), &keys);
    anew.ask(Duration::ZERO).await.unwrap();
    let service = service_of(&anew, &keys);
    assert_eq!(refused(&service, &last).await, Some(Reason::Revoked));
    server.stop();
}
