//! Clients without a person: client credentials, exchange, introspection, revocation.

use serde_json::json;
use tegata_oauth::{GrantType, Proven, Provider, Refused, Sees, TokenAnswer};
use tegata_token::{Claims, Entry, Order, Scope, Target};

use super::world::{World, after, claims, error, params, place};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

async fn ask(world: &World, client: &str, pairs: &[(&str, &str)]) -> Result<TokenAnswer, Refused> {
    ask_at(&world.provider, world, client, pairs).await
}

async fn ask_at(
    node: &Provider,
    world: &World,
    client: &str,
    pairs: &[(&str, &str)],
) -> Result<TokenAnswer, Refused> {
    let client = world.named(client).await;
    node.token(&client, &params(pairs), &place(), Proven::default()).await
}

async fn machine(world: &World) {
    world.client("machine", &[GrantType::ClientCredentials], |_| {}).await;
}

#[tokio::test]
async fn client_credentials_speak_for_the_client_alone() {
    let world = World::new().await;
    machine(&world).await;
    let pairs = [("grant_type", "client_credentials"), ("scope", "orders.read")];
    let answer = ask(&world, "machine", &pairs).await.unwrap();
    assert!(answer.refresh_token.is_none() && answer.id_token.is_none());
    let said = claims(&answer.access_token);
    assert_eq!((&said["sub"], &said["client_id"]), (&json!("machine"), &json!("machine")));
    assert_eq!(
        (&said["scope"], &said["aud"]),
        (&json!("orders.read"), &json!("https://api.example"))
    );
    assert_eq!(said["roles"], json!([]));
    assert!(said.get("sid").is_none() && said.get("fid").is_none());
    assert!(said.get("status").is_some());
    let wide = [("grant_type", "client_credentials"), ("scope", "admin")];
    assert_eq!(error(ask(&world, "machine", &wide).await.unwrap_err()), "invalid_scope");
}

#[tokio::test]
async fn a_token_for_one_service_is_short_and_for_whom_it_may_call() {
    let world = World::new().await;
    machine(&world).await;
    let pairs = |audience| [("grant_type", "client_credentials"), ("audience", audience)];
    let answer = ask(&world, "machine", &pairs("orders")).await.unwrap();
    let said = claims(&answer.access_token);
    assert_eq!((&said["aud"], answer.expires_in), (&json!("orders"), 60));
    assert!(said.get("status").is_none());
    for target in ["payments", "nowhere", "\0", ""] {
        if let Err(refused) = ask(&world, "machine", &pairs_raw(target)).await {
            assert_ne!(target, "");
            assert_eq!(error(refused), "invalid_target", "{target}");
        } else {
            assert_eq!(target, "");
        }
    }
    let journal = world.records.pull(tegata_core::Log::Journal, 0, 100).await.unwrap();
    let last: serde_json::Value =
        serde_json::from_slice(&journal.entries.last().unwrap().body).unwrap();
    assert_eq!(last["type"], "TOKEN_ISSUED");
    assert_eq!(last["data"], json!({"service": "machine", "target": "orders", "jti": said["jti"]}));
}

fn pairs_raw(target: &str) -> [(&str, &str); 2] {
    // Control characters never come this far: parameters with them are refused when they are read.
    let target = if target == "\0" { "%00" } else { target };
    [("grant_type", "client_credentials"), ("audience", target)]
}

#[tokio::test]
async fn what_a_client_is_not_registered_for_it_does_not_get() {
    let world = World::new().await;
    machine(&world).await;
    for (grant, expected) in [
        ("authorization_code", "unauthorized_client"),
        ("refresh_token", "unauthorized_client"),
        (EXCHANGE, "unauthorized_client"),
        ("password", "unsupported_grant_type"),
        ("implicit", "unsupported_grant_type"),
        ("", "invalid_request"),
    ] {
        let refused = ask(&world, "machine", &[("grant_type", grant)]).await.unwrap_err();
        assert_eq!(error(refused), expected, "{grant}");
    }
}

/// `orders` exchanges the token of a person that the gateway's audience is for.
async fn person_and_orders(world: &World) -> String {
    let web = world.web().await;
    world.client("orders", &[GrantType::TokenExchange], |_| {}).await;
    let code = world.code(&[("scope", "openid orders.read payments.write")]).await;
    world.redeem(&web, &code, &[]).await.unwrap().access_token
}

fn exchange<'a>(subject: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![
        ("grant_type", EXCHANGE),
        ("subject_token", subject),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    all.retain(|(name, _)| !more.iter().any(|(other, _)| other == name));
    all.extend(more);
    all
}

#[tokio::test]
async fn an_exchanged_token_is_narrower_in_every_way_and_keeps_its_origin() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    let origin = claims(&subject);
    after(&world.clock, 5);
    let both = exchange(&subject, &[("audience", "payments"), ("audience", "inventory")]);
    let answer = ask(&world, "orders", &both).await.unwrap();
    assert_eq!(answer.issued_token_type, Some(ACCESS_TOKEN));
    let tokens = answer.tokens.unwrap();
    assert_eq!(tokens.keys().collect::<Vec<_>>(), ["payments", "inventory"]);
    for (target, scope) in [("payments", "payments.write"), ("inventory", "")] {
        let said = claims(tokens[target]["access_token"].as_str().unwrap());
        assert_eq!(said["aud"], target);
        assert_eq!(said["scope"], scope);
        assert_eq!(said["original_jti"], origin["jti"]);
        assert_eq!(said["iat"], world.node.now().secs());
        // What takes the origin back by its time takes this back, wherever it was made.
        assert_eq!(said["lineage"]["iat"], origin["iat"]);
        assert_eq!(said["act"], json!({"sub": "orders"}));
        for kept in ["sub", "sid", "fid", "status", "roles"] {
            assert_eq!(said[kept], origin[kept], "{kept}");
        }
        assert_eq!(said["exp"].as_u64().unwrap(), world.node.now().secs() + 300);
    }
}

/// A node that has not heard of it goes on to exchange, and what it gives lives longer than it took the
/// others to hear.
#[tokio::test]
async fn what_is_derived_after_everything_was_taken_back_falls_however_often_it_was_derived() {
    for of_client in [false, true] {
        let world = World::new().await;
        let subject = person_and_orders(&world).await;
        world.client("payments", &[GrantType::TokenExchange], |_| {}).await;
        after(&world.clock, 5);
        // It knows all there is by now, and for some seconds nobody expects it to know more.
        let deaf = world.deaf();
        let once = exchange(&subject, &[("audience", "payments")]);
        ask_at(&deaf, &world, "orders", &once).await.unwrap();
        after(&world.clock, 1);
        let (sub, up_to) = (world.user.id.to_string(), world.node.now());
        let target = if of_client {
            Target::Client { client: "web".parse().unwrap(), up_to }
        } else {
            Target::Subject { sub, up_to, tokens_only: false }
        };
        let (reason, actor) = ("logout".to_owned(), "test".to_owned());
        let until = up_to + std::time::Duration::from_secs(3600);
        let entry = Entry { target, places: vec![], at: up_to, until, reason, actor };
        let batch = tegata_core::Batch::new(world.provider.realm().clone());
        world.provider.revoker().commit(batch, vec![entry]).await.unwrap();
        after(&world.clock, 1);
        let now = world.node.now().secs();
        let once = ask_at(&deaf, &world, "orders", &once).await.unwrap().access_token;
        after(&world.clock, 1);
        let twice = exchange(&once, &[("audience", "inventory")]);
        let twice = ask_at(&deaf, &world, "payments", &twice).await.unwrap().access_token;
        for (token, iat) in [(&once, now), (&twice, now + 1)] {
            let said = claims(token);
            assert_eq!(said["iat"], iat);
            assert_eq!(said["lineage"]["iat"], claims(&subject)["iat"]);
            assert!(said["exp"].as_u64().unwrap() - iat <= 300);
            assert!(!world.is_active(token).await, "{said}");
        }
        let further = exchange(&once, &[("audience", "inventory")]);
        let refused = ask(&world, "payments", &further).await.unwrap_err();
        assert_eq!(error(refused), "invalid_request");
        // What the person signs in for since then goes on, and so does what is made of it.
        let web = world.web().await;
        let code = world.code(&[("scope", "openid payments.write")]).await;
        let fresh = world.redeem(&web, &code, &[]).await.unwrap().access_token;
        let fresh = exchange(&fresh, &[("audience", "payments")]);
        let fresh = ask(&world, "orders", &fresh).await.unwrap().access_token;
        assert!(world.is_active(&fresh).await);
    }
}

#[tokio::test]
async fn a_derived_token_says_no_more_of_rights_than_its_service_is_to_see() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    world.client("payments", &[GrantType::TokenExchange], |_| {}).await;
    let sees = |target: &str, roles: &[&str], scope: Option<&str>| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        let scope = scope.map(|scope| Scope::new(scope).unwrap());
        let sees = Sees { roles: Some(roles), scope };
        world.services.1.lock().unwrap().insert(target.to_owned(), sees);
    };
    let rights = |answer: &TokenAnswer| {
        let said = claims(&answer.access_token);
        assert_eq!(said["scope"], answer.scope);
        (said["roles"].clone(), answer.scope.clone())
    };
    let to = |target| exchange(&subject, &[("audience", target)]);
    let whole = (json!(["customer"]), "payments.write".to_owned());
    assert_eq!(rights(&ask(&world, "orders", &to("payments")).await.unwrap()), whole);
    // What is named, and they have not, they are not given.
    sees("payments", &["admin", "customer"], Some("payments.read payments.write"));
    assert_eq!(rights(&ask(&world, "orders", &to("payments")).await.unwrap()), whole);
    sees("payments", &["admin"], Some("payments.read"));
    let narrow = ask(&world, "orders", &to("payments")).await.unwrap();
    assert_eq!(rights(&narrow), (json!([]), String::new()));
    // Nor by asking for it.
    let asked = exchange(&subject, &[("audience", "payments"), ("scope", "payments.write")]);
    let asked = ask(&world, "orders", &asked).await.unwrap();
    assert_eq!(rights(&asked), (json!([]), String::new()));
    // What is left out takes nothing away.
    sees("payments", &[], None);
    let half = ask(&world, "orders", &to("payments")).await.unwrap();
    assert_eq!(rights(&half), (json!([]), "payments.write".to_owned()));
    // Each of several services is told what it is to see.
    let both = exchange(&subject, &[("audience", "payments"), ("audience", "inventory")]);
    let both = ask(&world, "orders", &both).await.unwrap().tokens.unwrap();
    for (target, roles) in [("payments", json!([])), ("inventory", json!(["customer"]))] {
        let said = claims(both[target]["access_token"].as_str().unwrap());
        assert_eq!(said["roles"], roles, "{target}");
    }
    // What one service was not told, it passes on to none that would see it.
    let on = exchange(&narrow.access_token, &[("audience", "inventory")]);
    let on = ask(&world, "payments", &on).await.unwrap();
    assert_eq!(rights(&on), (json!([]), String::new()));
}

#[tokio::test]
async fn an_exchanged_token_never_outlives_its_origin_and_falls_with_it() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    after(&world.clock, 800);
    let pairs = exchange(&subject, &[("audience", "payments")]);
    let derived = ask(&world, "orders", &pairs).await.unwrap();
    assert_eq!(derived.expires_in, 100);
    assert!(world.is_active(&derived.access_token).await);
    let fid = claims(&subject)["fid"].as_str().unwrap().parse().unwrap();
    let order = Order { reason: "stolen".into(), actor: "test".into() };
    world.provider.families().revoke(world.provider.realm(), &fid, &order).await.unwrap();
    assert!(!world.is_active(&derived.access_token).await);
    assert_eq!(error(ask(&world, "orders", &pairs).await.unwrap_err()), "invalid_request");
}

#[tokio::test]
async fn revoking_one_token_takes_what_was_made_from_it() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    let pairs = exchange(&subject, &[("audience", "payments")]);
    let derived = ask(&world, "orders", &pairs).await.unwrap();
    let web = world.web().await;
    world.provider.revoke(&web, &params(&[("token", &subject)])).await.unwrap();
    assert!(!world.is_active(&subject).await && !world.is_active(&derived.access_token).await);
}

#[tokio::test]
async fn revoking_what_was_made_from_a_token_leaves_the_token_alone() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    let pairs = exchange(&subject, &[("audience", "payments")]);
    let (one, two) = (
        ask(&world, "orders", &pairs).await.unwrap(),
        ask(&world, "orders", &pairs).await.unwrap(),
    );
    let realm = world.provider.realm();
    let orders = world.provider.clients().load(realm, &"orders".parse().unwrap()).await.unwrap();
    let orders = orders.unwrap().value;
    world.provider.revoke(&orders, &params(&[("token", &one.access_token)])).await.unwrap();
    assert!(!world.is_active(&one.access_token).await);
    assert!(world.is_active(&two.access_token).await && world.is_active(&subject).await);
}

#[tokio::test]
async fn a_token_that_has_not_begun_by_this_clock_is_taken_back_all_the_same() {
    let world = World::new().await;
    machine(&world).await;
    let pairs = [("grant_type", "client_credentials")];
    let token = ask(&world, "machine", &pairs).await.unwrap().access_token;
    let now = tegata_core::Clock::now(world.clock.as_ref());
    world.clock.jump(now - std::time::Duration::from_secs(5));
    let realm = world.provider.realm();
    let owner = world.provider.clients().load(realm, &"machine".parse().unwrap()).await.unwrap();
    let owner = owner.unwrap().value;
    world.provider.revoke(&owner, &params(&[("token", &token)])).await.unwrap();
    world.clock.jump(now);
    assert!(!world.is_active(&token).await);
}

#[tokio::test]
async fn a_client_that_is_removed_while_it_asks_gets_nothing_that_lives() {
    let world = World::new().await;
    machine(&world).await;
    let proven = world.named("machine").await;
    // However long the rest of the request takes, on whichever node.
    after(&world.clock, 3);
    world.provider.clients().remove(world.provider.realm(), &proven.id).await.unwrap();
    let order = Order { reason: "client_removed".into(), actor: "test".into() };
    world.provider.take_back_client(&proven.id, &order).await.unwrap();
    after(&world.clock, 3);
    let asked = params(&[("grant_type", "client_credentials")]);
    let refused = world.provider.token(&proven, &asked, &place(), Proven::default()).await;
    assert_eq!(error(refused.unwrap_err()), "invalid_client");
    let given = world.deaf().token(&proven, &asked, &place(), Proven::default()).await.unwrap();
    assert!(!world.is_active(&given.access_token).await);
    assert!(world.provider.registered(&proven.id).await.unwrap().is_none());
}

/// What it is given in the second in which it was taken back begins in the next one.
#[tokio::test]
async fn a_client_that_is_taken_back_and_then_removed_in_one_second_has_nothing() {
    let world = World::new().await;
    machine(&world).await;
    let id = "machine".parse().unwrap();
    let order = Order { reason: "stolen".into(), actor: "test".into() };
    let own = world.node.now().secs();
    world.provider.take_back_client(&id, &order).await.unwrap();
    let asked = [("grant_type", "client_credentials")];
    let given = ask(&world, "machine", &asked).await.unwrap().access_token;
    assert_eq!(claims(&given)["iat"], own + 1);
    world.provider.remove_client(&id, Vec::new(), &order).await.unwrap();
    assert_eq!(world.node.now().secs(), own);
    after(&world.clock, 2);
    assert!(!world.is_active(&given).await);
}

/// A subject token that was issued after a kill switch begins in the next second. What is made of it falls
/// with whoever made it, though they are removed in the second of the kill switch.
#[tokio::test]
async fn what_a_client_exchanges_within_a_second_falls_with_its_removal() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    let own = world.node.now().secs();
    let until = world.node.now() + std::time::Duration::from_secs(3600);
    let target = Target::Subject {
        sub: world.user.id.to_string(),
        up_to: world.node.now(),
        tokens_only: true,
    };
    let (reason, actor) = ("test".to_owned(), "test".to_owned());
    let entry = Entry { target, places: vec![], at: world.node.now(), until, reason, actor };
    let batch = tegata_core::Batch::new(world.provider.realm().clone());
    world.provider.revoker().commit(batch, vec![entry]).await.unwrap();
    // Nothing is made of what is taken back.
    let pairs = exchange(&subject, &[("audience", "payments")]);
    assert_eq!(error(ask(&world, "orders", &pairs).await.unwrap_err()), "invalid_request");
    let web = world.web().await;
    let code = world.code(&[("scope", "openid payments.write")]).await;
    let subject = world.redeem(&web, &code, &[]).await.unwrap().access_token;
    assert_eq!(claims(&subject)["iat"], own + 1);
    // Looked up in this second, before the removal.
    let orders = world.named("orders").await;
    let pairs = exchange(&subject, &[("audience", "payments")]);
    let made = world.provider.token(&orders, &params(&pairs), &place(), Proven::default()).await;
    let made = made.unwrap().access_token;
    assert!(world.is_active(&made).await);
    let order = Order { reason: "client_removed".into(), actor: "test".into() };
    world.provider.remove_client(&"orders".parse().unwrap(), vec![], &order).await.unwrap();
    assert_eq!(world.node.now().secs(), own);
    assert!(!world.is_active(&made).await);
    assert!(world.is_active(&subject).await);
    // Nor is anything made after it, on a node that learns of it only now.
    let made = world.deaf().token(&orders, &params(&pairs), &place(), Proven::default()).await;
    assert_eq!(error(made.unwrap_err()), "invalid_request");
}

/// A code or a refresh token that is taken while its client is removed gives nothing that lasts.
#[tokio::test]
async fn what_a_client_is_given_while_it_is_removed_falls_with_it() {
    let world = World::new().await;
    let web = world.web().await;
    let first = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    let code = world.code(&[]).await;
    let looked_up = world.proven(&web).await;
    after(&world.clock, 2);
    let order = Order { reason: "client_removed".into(), actor: "test".into() };
    world.provider.remove_client(&web.id, vec![], &order).await.unwrap();
    after(&world.clock, 3);
    let deaf = world.deaf();
    let refreshing =
        [("grant_type", "refresh_token"), ("refresh_token", first.refresh_token.as_ref().unwrap())];
    let redeeming = [
        ("grant_type", "authorization_code"),
        ("code", code.as_str()),
        ("redirect_uri", super::world::CALLBACK),
        ("code_verifier", super::world::VERIFIER),
    ];
    for pairs in [&refreshing[..], &redeeming] {
        match deaf.token(&looked_up, &params(pairs), &place(), Proven::default()).await {
            Ok(given) => assert!(!world.is_active(&given.access_token).await, "{pairs:?}"),
            Err(refused) => assert_eq!(error(refused), "invalid_grant", "{pairs:?}"),
        }
    }
    // Nor has another of its name what it had.
    after(&world.clock, 3);
    let other = world.proven(&world.web().await).await;
    let refused = deaf.token(&other, &params(&refreshing), &place(), Proven::default()).await;
    assert_eq!(error(refused.unwrap_err()), "invalid_grant");
}

#[tokio::test]
async fn a_client_that_is_declared_again_gets_what_lives() {
    let world = World::new().await;
    machine(&world).await;
    let id = "machine".parse().unwrap();
    let order = Order { reason: "client_removed".into(), actor: "test".into() };
    world.provider.take_back_client(&id, &order).await.unwrap();
    let again = ask(&world, "machine", &[("grant_type", "client_credentials")]).await.unwrap();
    after(&world.clock, 1);
    assert!(world.is_active(&again.access_token).await);
}

#[tokio::test]
async fn exchange_refuses_what_it_does_not_understand_or_may_not_do() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    world.client("stranger", &[GrantType::TokenExchange], |_| {}).await;
    for (more, expected) in [
        (vec![], "invalid_request"),
        (vec![("audience", "nowhere")], "invalid_target"),
        (vec![("audience", "orders")], "invalid_target"),
        (vec![("audience", "payments"), ("scope", "admin")], "invalid_scope"),
        (vec![("audience", "payments"), ("actor_token", "x")], "invalid_request"),
        (vec![("audience", "payments"), ("actor_token_type", ACCESS_TOKEN)], "invalid_request"),
        (vec![("audience", "payments"), ("requested_token_type", "urn:x")], "invalid_request"),
        (vec![("audience", "payments"), ("subject_token_type", "urn:x")], "invalid_request"),
        (vec![("audience", "payments"), ("subject_token", "x.y.z")], "invalid_request"),
        (vec![("audience", "payments"), ("subject_token", "")], "invalid_request"),
    ] {
        let refused = ask(&world, "orders", &exchange(&subject, &more)).await.unwrap_err();
        assert_eq!(error(refused), expected, "{more:?}");
    }
    let pairs = exchange(&subject, &[("audience", "payments")]);
    assert_eq!(error(ask(&world, "stranger", &pairs).await.unwrap_err()), "invalid_target");
    // A token for another service is not this client's to exchange.
    let derived = ask(&world, "orders", &pairs).await.unwrap().access_token;
    let again = exchange(&derived, &[("audience", "inventory")]);
    assert_eq!(error(ask(&world, "orders", &again).await.unwrap_err()), "invalid_request");
}

#[tokio::test]
async fn a_chain_of_actors_ends() {
    let world = World::new().await;
    world
        .client("orders", &[GrantType::TokenExchange], |it| {
            it.audiences = vec!["payments".into(), "inventory".into()];
        })
        .await;
    let web = world.web().await;
    let mut subject = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap().access_token;
    for target in ["payments", "inventory", "payments", "inventory"] {
        let pairs = exchange(&subject, &[("audience", target)]);
        subject = ask(&world, "orders", &pairs).await.unwrap().access_token;
    }
    let parsed = Claims::parse(claims(&subject).to_string().as_bytes()).unwrap();
    let chain = std::iter::successors(parsed.act.as_deref(), |actor| actor.act.as_deref());
    assert_eq!(chain.count(), 4);
    let fifth = exchange(&subject, &[("audience", "payments")]);
    assert_eq!(error(ask(&world, "orders", &fifth).await.unwrap_err()), "invalid_request");
}

#[tokio::test]
async fn introspection_answers_only_those_who_may_ask_and_tells_nothing_of_what_is_wrong() {
    let world = World::new().await;
    let web = world.web().await;
    let answer = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    let may_not = world.provider.introspect(&web, &params(&[("token", "x")])).await.unwrap_err();
    assert_eq!(error(may_not), "unauthorized_client");

    let asking = world
        .client("inspector", &[GrantType::ClientCredentials], |it| it.may_introspect = true)
        .await;
    let introspect = async |token: &str| {
        world.provider.introspect(&asking, &params(&[("token", token)])).await.unwrap()
    };
    let active = introspect(&answer.access_token).await;
    assert_eq!((&active["active"], &active["username"]), (&json!(true), &json!("alice")));
    let refresh = answer.refresh_token.as_deref().unwrap();
    assert_eq!(introspect(refresh).await["token_type"], "refresh_token");
    let id_token = answer.id_token.as_deref().unwrap();
    for bad in ["x", "x.y.z", id_token, "rt_1.1.1.a.0.AA"] {
        assert_eq!(introspect(bad).await, json!({"active": false}), "{bad}");
    }
    let next = world.refresh(&web, refresh).await.unwrap();
    assert_eq!(introspect(refresh).await, json!({"active": false}));
    after(&world.clock, 901);
    assert_eq!(introspect(&next.access_token).await, json!({"active": false}));
}

#[tokio::test]
async fn revocation_is_the_owners_and_is_no_oracle() {
    let world = World::new().await;
    let web = world.web().await;
    let other = world.client("other", &[GrantType::AuthorizationCode], |_| {}).await;
    let answer = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    let refresh = answer.refresh_token.unwrap();
    for token in [&answer.access_token, &refresh] {
        let refused = world.provider.revoke(&other, &params(&[("token", token)])).await;
        assert_eq!(error(refused.unwrap_err()), "unauthorized_client");
        assert!(world.is_active(token).await);
    }
    for unknown in ["x", "x.y.z", "rt_1.1.1.a.0.AA"] {
        assert!(world.provider.revoke(&other, &params(&[("token", unknown)])).await.is_ok());
    }
    // Taking back the refresh token takes back the access token, and doing it again is no error.
    for _ in 0..2 {
        world.provider.revoke(&web, &params(&[("token", &refresh)])).await.unwrap();
    }
    assert!(!world.is_active(&answer.access_token).await && !world.is_active(&refresh).await);
}

#[tokio::test]
async fn whom_another_issuer_knows_is_not_passed_on() {
    let world = World::new().await;
    world.client("orders", &[GrantType::TokenExchange], |_| {}).await;
    let now = world.node.now().secs();
    let key = world.provider.keys().now().signer(tegata_token::Algorithm::Es256).unwrap();
    let internal = |sub: &str| {
        let jti = tegata_core::TokenId::generate(tegata_core::Epoch::FIRST, world.node.entropy());
        let claims = json!({
            "iss": "https://issuer.example", "sub": sub, "aud": "orders", "exp": now + 60,
            "iat": now, "jti": jti.as_str(), "scope": "", "roles": [],
        });
        let claims = claims.to_string();
        tegata_token::jws::sign(&key, "tegata-internal+jwt", claims.as_bytes()).unwrap()
    };
    for (sub, passes) in [("usr_1", true), ("https://idp.example usr_1", false)] {
        let subject = internal(sub);
        let pairs = exchange(&subject, &[("audience", "payments")]);
        assert_eq!(ask(&world, "orders", &pairs).await.is_ok(), passes, "{sub}");
    }
}

#[tokio::test]
async fn no_service_can_show_another_what_it_was_sent_for_both() {
    let world = World::new().await;
    world.client("batch", &[GrantType::ClientCredentials], |_| {}).await;
    let pairs = |second| {
        let first = [("grant_type", "client_credentials"), ("audience", "payments")];
        [&first[..], &[second]].concat()
    };
    // Whoever is sent a bearer token for two can pass for its client at the other.
    for second in [("audience", "inventory"), ("resource", "https://api.example/inventory")] {
        let refused = ask(&world, "batch", &pairs(second)).await.unwrap_err();
        assert_eq!(error(refused), "invalid_target");
        let (shown, asked) = (super::mtls::any(), params(&pairs(second)));
        let client = world.named("batch").await;
        // A certificate that nothing is bound to changes nothing.
        let proven = Proven { key: None, certificate: Some(&shown) };
        let refused = world.provider.token(&client, &asked, &place(), proven).await;
        assert_eq!(error(refused.unwrap_err()), "invalid_target");
        let key = tegata_token::SigningKey::generate(tegata_token::Algorithm::Es256).unwrap();
        let key = super::dpop::proven(&world, &key, second.0).await;
        let proven = Proven { key: Some(&key), certificate: None };
        let answer = world.provider.token(&client, &asked, &place(), proven).await;
        let said = claims(&answer.unwrap().access_token);
        let audience = said["aud"].as_array().unwrap();
        assert!(audience.len() == 2 && audience.contains(&json!("inventory")));
        assert!(said["cnf"]["jkt"].is_string());
    }
    // The same service twice is one.
    let answer = ask(&world, "batch", &pairs(("audience", "payments"))).await.unwrap();
    assert_eq!(claims(&answer.access_token)["aud"], "payments");
}

#[tokio::test]
async fn a_token_for_several_services_is_for_those_that_may_be_called_or_is_none() {
    let world = World::new().await;
    let grants = [GrantType::ClientCredentials];
    world.client("batch", &grants, |it| it.tls_client_certificate_bound_access_tokens = true).await;
    let shown = super::mtls::any();
    let ask = async |world: &World, client: &str, pairs: &[(&str, &str)]| {
        let proven = Proven { key: None, certificate: Some(&shown) };
        let client = world.named(client).await;
        world.provider.token(&client, &params(pairs), &place(), proven).await
    };
    let own = |more: &[(&'static str, &'static str)]| {
        [&[("grant_type", "client_credentials")], more].concat()
    };
    let both =
        own(&[("audience", "payments"), ("audience", "inventory"), ("audience", "payments")]);
    let answer = ask(&world, "batch", &both).await.unwrap();
    let said = claims(&answer.access_token);
    assert_eq!((&said["aud"], answer.expires_in), (&json!(["payments", "inventory"]), 300));
    let journal = world.records.pull(tegata_core::Log::Journal, 0, 100).await.unwrap();
    let told = journal.entries.iter().map(|entry| {
        serde_json::from_slice::<serde_json::Value>(&entry.body).unwrap()["data"]["target"].clone()
    });
    let told: Vec<_> = told.filter(|target| !target.is_null()).collect();
    assert_eq!(told, ["payments", "inventory"]);
    // By the addresses that they are called at, and by both.
    for several in [
        &[
            ("resource", "https://api.example/payments"),
            ("resource", "https://api.example/inventory/"),
        ][..],
        &[("resource", "https://api.example/payments"), ("audience", "inventory")],
    ] {
        let answer = ask(&world, "batch", &own(several)).await.unwrap();
        assert_eq!(claims(&answer.access_token)["aud"], json!(["payments", "inventory"]));
    }
    // One of them that may not be called, or is not there, or is no service, and there is no token.
    for bad in [
        ("audience", "orders"),
        ("audience", "nowhere"),
        ("audience", "https://api.example"),
        ("resource", "https://api.example"),
        ("resource", "https://api.example/orders"),
        ("resource", "https://api.example/inventory/1"),
        ("resource", "https://elsewhere.example/inventory"),
        ("resource", "inventory"),
        ("resource", "https://api.example/inventory#x"),
    ] {
        for pairs in [own(&[("audience", "payments"), bad]), own(&[bad, ("audience", "payments")])]
        {
            let refused = ask(&world, "batch", &pairs).await.unwrap_err();
            assert_eq!(error(refused), "invalid_target", "{bad:?}");
        }
    }
    let names: Vec<_> = (0..17).map(|number| format!("service-{number}")).collect();
    let many = names.iter().map(|name| ("audience", name.as_str()));
    let many: Vec<_> = [("grant_type", "client_credentials")].into_iter().chain(many).collect();
    assert_eq!(error(ask(&world, "batch", &many).await.unwrap_err()), "invalid_target");
}

#[tokio::test]
async fn a_token_for_several_audiences_of_the_client_lives_as_any() {
    let world = World::new().await;
    let grants = [GrantType::ClientCredentials];
    let one = "https://api.example/payments";
    world.client("batch", &grants, |it| it.audiences = vec!["mail".into(), one.into()]).await;
    let pairs = [
        ("grant_type", "client_credentials"),
        ("resource", one),
        ("audience", "mail"),
        ("audience", "https://api.example"),
    ];
    let answer = ask(&world, "batch", &pairs).await.unwrap();
    let said = claims(&answer.access_token);
    // What it is registered for by this very name is that, and no service.
    assert_eq!(said["aud"], json!([one, "mail", "https://api.example"]));
    assert_eq!(answer.expires_in, 900);
    assert!(said.get("status").is_some());
}

#[tokio::test]
async fn a_resource_names_the_service_of_an_exchange_by_its_address() {
    let world = World::new().await;
    let subject = person_and_orders(&world).await;
    let payments = exchange(&subject, &[("resource", "https://api.example/payments")]);
    let answer = ask(&world, "orders", &payments).await.unwrap();
    let said = claims(&answer.access_token);
    assert_eq!((&said["aud"], &said["scope"]), (&json!("payments"), &json!("payments.write")));
    let both = [
        ("resource", "https://api.example/payments"),
        ("audience", "payments"),
        ("audience", "inventory"),
    ];
    let answer = ask(&world, "orders", &exchange(&subject, &both)).await.unwrap();
    assert_eq!(answer.tokens.unwrap().keys().collect::<Vec<_>>(), ["payments", "inventory"]);
    for bad in [
        "payments",
        "/payments",
        "https://api.example/payments#x",
        "https://api.example/payments/1",
        "https://elsewhere.example/payments",
        "https://api.example/nowhere",
        "https://api.example",
    ] {
        let pairs = exchange(&subject, &[("resource", bad)]);
        assert_eq!(
            error(ask(&world, "orders", &pairs).await.unwrap_err()),
            "invalid_target",
            "{bad}"
        );
    }
}
