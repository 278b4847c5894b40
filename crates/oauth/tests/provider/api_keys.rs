//! API keys in the place of client secrets: what they get, and what they do not.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tegata_core::{ClientId, Secret};
use tegata_oauth::{Basic, GrantType, Proven, Provider, Refused, TokenAnswer};
use tegata_token::{ApiGrant, Order, Scope, Uses, api_key::Made};

use super::world::{SECRET, World, claims, error, params, place};

const HOUR: Duration = Duration::from_secs(3600);

/// `orders` may get tokens for `payments`, `inventory` and `vault`.
async fn world() -> World {
    let world = World::new().await;
    let grants = [GrantType::ClientCredentials, GrantType::TokenExchange];
    world.client("orders", &grants, |it| it.may_introspect = true).await;
    world
}

fn grant(change: impl FnOnce(&mut ApiGrant)) -> ApiGrant {
    let mut grant = ApiGrant {
        scope: Scope::new("orders.read").unwrap(),
        services: vec!["payments".into()],
        tokens: true,
        ..ApiGrant::default()
    };
    change(&mut grant);
    grant
}

async fn make(world: &World, client: &str, grant: ApiGrant, lifetime: Duration) -> Made {
    let client = ClientId::new(client).unwrap();
    world.parts.api_keys.create(&client, "", grant, lifetime).await.unwrap()
}

/// What `orders` gets that shows this in the place of its secret.
async fn ask(
    world: &World,
    secret: &Secret<String>,
    pairs: &[(&str, &str)],
) -> Result<TokenAnswer, Refused> {
    ask_at(&world.provider, secret, pairs).await
}

async fn ask_at(
    node: &Provider,
    secret: &Secret<String>,
    pairs: &[(&str, &str)],
) -> Result<TokenAnswer, Refused> {
    let params = params(&[&[("grant_type", "client_credentials")], pairs].concat());
    let basic = Basic { id: "orders".into(), secret: secret.clone() };
    let client = node.authenticate(Some(&basic), &params, None, "/oauth2/token").await?;
    node.token(&client, &params, &place(), Proven::default()).await
}

const PAYMENTS: [(&str, &str); 1] = [("audience", "payments")];

#[tokio::test]
async fn a_key_gets_a_token_for_a_service_within_what_it_may() {
    let world = world().await;
    let made = make(&world, "orders", grant(|_| {}), HOUR).await;
    let answer = ask(&world, &made.secret, &PAYMENTS).await.unwrap();
    let said = claims(&answer.access_token);
    assert_eq!((&said["sub"], &said["aud"]), (&json!("orders"), &json!("payments")));
    // The client may ask for more, the key may not.
    assert_eq!((&said["scope"], answer.expires_in), (&json!("orders.read"), 60));
    let jti = made.key.jti().unwrap();
    assert_eq!(said["lineage"]["jti"], json!([jti]));
    let journal = world.records.pull(tegata_core::Log::Journal, 0, 100).await.unwrap();
    let last: serde_json::Value =
        serde_json::from_slice(&journal.entries.last().unwrap().body).unwrap();
    assert_eq!(
        (&last["type"], &last["data"]["api_key"]),
        (&json!("TOKEN_ISSUED"), &json!(made.key.id))
    );
    // It is noted that it was used.
    assert_eq!(world.parts.key_uses.take(), [(made.key.id.clone(), world.node.now())]);
    // With its secret, the client gets what it may itself.
    let own = Secret::new(SECRET.to_owned());
    let answer = ask(&world, &own, &[("audience", "inventory")]).await.unwrap();
    let said = claims(&answer.access_token);
    assert!(
        said["scope"].as_str().unwrap().contains("payments.write") && said.get("lineage").is_none()
    );
    assert!(world.parts.key_uses.take().is_empty());
}

#[tokio::test]
async fn a_key_gets_nothing_that_it_may_not() {
    let world = world().await;
    let made = make(&world, "orders", grant(|_| {}), HOUR).await;
    let refused = [
        (vec![("audience", "inventory")], "invalid_target"),
        (vec![("audience", "payments"), ("audience", "inventory")], "invalid_target"),
        (vec![("audience", "nowhere")], "invalid_target"),
        (vec![("audience", "https://api.example")], "invalid_target"),
        // Without a target it would be a token for the gateway, and so for every service.
        (vec![], "invalid_target"),
        (vec![("audience", "payments"), ("scope", "payments.write")], "invalid_scope"),
        (vec![("audience", "payments"), ("scope", "orders.read payments.write")], "invalid_scope"),
    ];
    for (pairs, expected) in refused {
        let refused = ask(&world, &made.secret, &pairs).await.unwrap_err();
        assert_eq!(error(refused), expected, "{pairs:?}");
    }
    // One for all services gets no token for the gateway either, and one for some routes none at all.
    let all = make(&world, "orders", grant(|it| it.services.clear()), HOUR).await;
    assert!(ask(&world, &all.secret, &PAYMENTS).await.is_ok());
    assert_eq!(error(ask(&world, &all.secret, &[]).await.unwrap_err()), "invalid_target");
    let some = make(&world, "orders", grant(|it| it.routes.push("/payments".into())), HOUR).await;
    assert_eq!(error(ask(&world, &some.secret, &PAYMENTS).await.unwrap_err()), "invalid_target");
    // A scope that the client lost, its keys have lost.
    let wide = grant(|it| it.scope = Scope::new("orders.read everything").unwrap());
    let wide = make(&world, "orders", wide, HOUR).await;
    let answer = ask(&world, &wide.secret, &PAYMENTS).await.unwrap();
    assert_eq!(claims(&answer.access_token)["scope"], "orders.read");
}

#[tokio::test]
async fn what_is_no_key_of_the_client_for_tokens_proves_nothing() {
    let world = world().await;
    world.client("batch", &[GrantType::ClientCredentials], |_| {}).await;
    let good = make(&world, "orders", grant(|_| {}), HOUR).await;
    let text = good.secret.expose();
    let mut forged = text.clone();
    forged.replace_range(12..13, if &text[12..13] == "a" { "b" } else { "a" });
    let others = make(&world, "batch", grant(|_| {}), HOUR).await;
    let for_the_gateway = make(&world, "orders", grant(|it| it.tokens = false), HOUR).await;
    for (what, secret) in [
        ("forged", forged.as_str()),
        ("cut", &text[..text.len() - 1]),
        ("its id alone", &text[..11]),
        ("another client's", others.secret.expose()),
        ("for the gateway alone", for_the_gateway.secret.expose()),
    ] {
        let refused = ask(&world, &Secret::new(secret.to_owned()), &PAYMENTS).await.unwrap_err();
        assert_eq!(error(refused), "invalid_client", "{what}");
    }
    assert!(world.parts.key_uses.take().is_empty());
    // A client that proves itself otherwise is not proven by a key.
    let named = |it: &mut tegata_oauth::ClientMetadata| {
        it.tls_client_auth_san_dns = Some("orders.example".into());
    };
    world.client("orders", &[GrantType::ClientCredentials], named).await;
    let refused = ask(&world, &good.secret, &PAYMENTS).await.unwrap_err();
    assert_eq!(error(refused), "invalid_client");
}

#[tokio::test]
async fn a_key_counts_at_the_token_endpoint_for_client_credentials_alone() {
    let world = world().await;
    let made = make(&world, "orders", grant(|_| {}), HOUR).await;
    let basic = Basic { id: "orders".into(), secret: made.secret.clone() };
    let nothing = params(&[("token", "x")]);
    for path in
        ["/oauth2/introspect", "/oauth2/revoke", "/oauth2/par", "/oauth2/device", "/oauth2/tokens"]
    {
        let refused = world.provider.authenticate(Some(&basic), &nothing, None, path).await;
        assert_eq!(error(refused.unwrap_err()), "invalid_client", "{path}");
    }
    let client = world.provider.authenticate(Some(&basic), &nothing, None, "/oauth2/token").await;
    let exchange = params(&[("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")]);
    let refused =
        world.provider.token(&client.unwrap(), &exchange, &place(), Proven::default()).await;
    assert_eq!(error(refused.unwrap_err()), "unauthorized_client");
}

#[tokio::test]
async fn what_a_key_gave_ends_with_it() {
    let world = world().await;
    // It lives for less than a token would.
    let brief = make(&world, "orders", grant(|_| {}), Duration::from_secs(20)).await;
    let answer = ask(&world, &brief.secret, &PAYMENTS).await.unwrap();
    let said = claims(&answer.access_token);
    assert_eq!(answer.expires_in, 20);
    assert_eq!(said["exp"], json!(brief.key.expires.secs()));
    world.clock.advance(Duration::from_secs(21));
    assert_eq!(error(ask(&world, &brief.secret, &PAYMENTS).await.unwrap_err()), "invalid_client");

    // Taken back, it gets nothing, from no node, and what it gave does not count.
    let made = make(&world, "orders", grant(|_| {}), HOUR).await;
    let deaf = world.deaf();
    let token = ask(&world, &made.secret, &PAYMENTS).await.unwrap().access_token;
    let client = world.named("orders").await;
    let active = async || {
        let answer = world.provider.introspect(&client, &params(&[("token", &token)])).await;
        answer.unwrap()["active"] == json!(true)
    };
    assert!(active().await);
    let order = Order { reason: "leaked".into(), actor: "test".into() };
    assert_eq!(world.parts.api_keys.revoke(&made.key.id, &order).await.unwrap(), Some(true));
    for node in [&world.provider, &deaf] {
        let refused = ask_at(node, &made.secret, &PAYMENTS).await.unwrap_err();
        assert_eq!(error(refused), "invalid_client");
    }
    assert!(!active().await);
}

/// Notes of use are bounded, and never go back.
#[tokio::test]
async fn the_last_use_of_a_key_is_the_last() {
    let world = world().await;
    let made = make(&world, "orders", grant(|_| {}), HOUR).await;
    let uses: Arc<Uses> = Arc::clone(&world.parts.key_uses);
    let (first, later) = (world.node.now(), world.node.now() + HOUR);
    uses.note(&made.key.id, later);
    uses.note(&made.key.id, first);
    assert_eq!(uses.take(), [(made.key.id, later)]);
    assert!(uses.take().is_empty());
}
