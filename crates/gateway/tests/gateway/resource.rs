//! What the gateway says of itself to clients that look for it (RFC 9728).

use serde_json::{Value, json};
use tegata_token::{Algorithm, ProtectedResource};

use crate::{
    echo,
    world::{AUDIENCE, Answer, ISSUER, Plan, World, get, request},
};

const AT: &str = "/.well-known/oauth-protected-resource";

fn described(identifier: &str) -> World {
    let mut plan = Plan::with(echo::start());
    let resource = ProtectedResource::new(identifier, vec![ISSUER.into()]).unwrap();
    plan.config.resource = Some(resource.accepting_proofs());
    plan.start()
}

/// Whether every challenge of an answer leads to the description, and to nothing else.
fn leads(answer: &Answer, address: &str) -> bool {
    let challenges = answer.fields("www-authenticate");
    let parameter = format!(r#"resource_metadata="{address}""#);
    !challenges.is_empty()
        && challenges.iter().all(|challenge| {
            challenge.ends_with(&parameter) && challenge.matches("resource_metadata").count() == 1
        })
}

#[test]
fn says_what_it_is_whoever_asks_and_whatever_they_call_it() {
    let world = described(AUDIENCE);
    let expected = json!({
        "resource": AUDIENCE,
        "authorization_servers": [ISSUER],
        "scopes_supported": ["orders.read"],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": Algorithm::NAMES,
    });
    for text in [
        get(AT, &[]),
        get(AT, &[("X-Forwarded-Host", "evil.example"), ("Forwarded", "host=evil.example")]),
        get(AT, &[("Authorization", "Bearer nonsense"), ("Cookie", "session_id=x")]),
        get(&format!("{AT}?resource=https://evil.example"), &[]),
        get(AT, &[]).replace("gateway.example", "evil.example"),
    ] {
        let answer = world.ask(&text);
        assert_eq!((answer.status, answer.field("content-type")), (200, Some("application/json")));
        assert_eq!(answer.json(), expected, "{text}");
        assert_eq!(answer.field("cache-control"), Some("public, max-age=300"));
        assert_eq!(answer.field("set-cookie"), None);
    }
    let head = world.ask(&request("HEAD", AT, &[], ""));
    assert_eq!((head.status, head.body.len()), (200, 0));
    for method in ["POST", "DELETE", "OPTIONS"] {
        let refused = world.ask(&request(method, AT, &[], ""));
        assert_eq!((refused.status, refused.field("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    // Nothing else is at a path that resembles it: there is no such resource here.
    for path in ["/", "/orders", "x", "/..", "/%2e"] {
        assert_ne!(world.ask(&get(&format!("{AT}{path}"), &[])).status, 200, "{path}");
    }
}

#[test]
fn every_challenge_leads_to_it_and_no_request_steers_where() {
    let world = described(AUDIENCE);
    let address = format!("{AUDIENCE}{AT}");
    let token = world.token();
    let weak = [("Authorization", format!("Bearer {token}"))];
    let evil = ("X-Forwarded-Host", "evil.example".to_owned());
    for (path, fields, status, challenges) in [
        ("/echo/x", vec![], 401, 2),
        ("/echo/x", vec![evil.clone()], 401, 2),
        ("/echo/x", vec![("Authorization", "Bearer x.y.z".to_owned())], 401, 1),
        ("/echo/x", vec![("Authorization", "DPoP x.y.z".to_owned())], 401, 1),
        ("/echo/x", vec![("Authorization", "Basic eDp5".to_owned())], 401, 1),
        ("/strong/x", weak.to_vec(), 401, 1),
        ("/both/%22,x=%22", weak.iter().cloned().chain([evil]).collect(), 401, 1),
    ] {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let text = get(path, &fields).replace("gateway.example", "evil.example");
        let answer = world.ask(&text);
        assert_eq!(answer.status, status, "{text}");
        assert!(leads(&answer, &address), "{answer:?}");
        assert_eq!(answer.fields("www-authenticate").len(), challenges, "{answer:?}");
        assert!(!answer.problem().is_empty());
    }
    let nobody = world.ask(&get("/echo/x", &[]));
    let bearer = format!(r#"Bearer resource_metadata="{address}""#);
    assert!(nobody.fields("www-authenticate").contains(&bearer.as_str()), "{nobody:?}");
    // A refusal without a challenge gets none.
    assert_eq!(world.get("/admin/x", &token).field("www-authenticate"), None);
    let mut claims = world.claims();
    claims["scope"] = json!("orders.write");
    let narrow = world.get("/read/x", &world.sign(&claims));
    assert!(narrow.status == 403 && leads(&narrow, &address), "{narrow:?}");
}

#[test]
fn a_resource_with_a_path_is_described_below_the_well_known_one() {
    let world = described("https://api.example/v1");
    let at = format!("{AT}/v1");
    let answer = world.ask(&get(&at, &[]));
    assert_eq!(
        (answer.status, &answer.json()["resource"]),
        (200, &json!("https://api.example/v1"))
    );
    assert_eq!(world.ask(&get(AT, &[])).status, 404);
    let nobody = world.ask(&get("/echo/x", &[]));
    assert!(leads(&nobody, &format!("https://api.example{at}")), "{nobody:?}");
}

#[test]
fn the_description_follows_the_map_and_is_not_there_unless_it_is_wanted() {
    let world = described(AUDIENCE);
    let mut plan = Plan::with(echo::start());
    plan.routes = json!([
        {"path": "/b", "service": "echo", "scope": "b.read a.read"},
        {"path": "/a", "service": "echo", "scope": "a.read"},
    ]);
    world.gateway.replace(&plan.map(), vec![]).unwrap();
    let told = world.ask(&get(AT, &[])).json();
    assert_eq!(told["scopes_supported"], json!(["a.read", "b.read"]));
    plan.routes = json!([{"path": "/a", "service": "echo"}]);
    world.gateway.replace(&plan.map(), vec![]).unwrap();
    assert_eq!(world.ask(&get(AT, &[])).json()["scopes_supported"], Value::Null);
    let plain = World::plain();
    assert_eq!(plain.ask(&get(AT, &[])).status, 404);
    let challenge = plain.ask(&get("/echo/x", &[]));
    assert_eq!(challenge.field("www-authenticate"), Some("Bearer"));
}

#[test]
fn hosts_that_are_not_served_and_scripts_of_other_origins_are_held_to_the_same_rules() {
    let mut plan = Plan::with(echo::start());
    plan.config.hosts = vec!["gateway.example".into()];
    plan.config.cors.origins = vec!["https://app.example".into()];
    plan.config.resource = Some(ProtectedResource::new(AUDIENCE, vec![ISSUER.into()]).unwrap());
    let world = plan.start();
    let elsewhere = get(AT, &[]).replace("gateway.example", "evil.example");
    assert_eq!(world.ask(&elsewhere).status, 421);
    for (origin, allowed) in [("https://app.example", true), ("https://evil.example", false)] {
        let answer = world.ask(&get(AT, &[("Origin", origin)]));
        assert_eq!(answer.status, 200);
        let said = answer.field("access-control-allow-origin");
        assert_eq!(said, allowed.then_some(origin));
    }
}
