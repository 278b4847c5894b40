//! Clients: registering, and proving themselves.

use serde_json::json;
use tegata_core::{Batch, ClientId, Event, EventType, Expect, Secret, Stored as _, repository};
use tegata_oauth::{
    AssertionAudience, Basic, Client, ClientMetadata, Config, GrantType, MutualTls, Provider,
    Refused, client::NotRegistered, register::Registration,
};
use tegata_token::{Algorithm, Order, SigningKey, jws};

use super::world::{CALLBACK, SECRET, World, after, client_key, error, params};

fn basic(id: &str, secret: &str) -> Basic {
    Basic { id: id.into(), secret: Secret::new(secret.to_owned()) }
}

async fn authenticate(
    world: &World,
    basic: Option<&Basic>,
    pairs: &[(&str, &str)],
) -> Result<String, &'static str> {
    let found = world.provider.authenticate(basic, &params(pairs), None, "/oauth2/token").await;
    found.map(|client| client.id.to_string()).map_err(error)
}

#[tokio::test]
async fn a_client_with_a_secret_proves_itself_by_it_in_header_or_form() {
    let world = World::new().await;
    world.web().await;
    let good = basic("web", SECRET);
    assert_eq!(authenticate(&world, Some(&good), &[]).await.unwrap(), "web");
    assert!(authenticate(&world, Some(&good), &[("client_id", "web")]).await.is_ok());
    let form = [("client_id", "web"), ("client_secret", SECRET)];
    assert!(authenticate(&world, None, &form).await.is_ok());
}

#[tokio::test]
async fn unknown_clients_and_wrong_secrets_are_told_the_same() {
    let world = World::new().await;
    world.web().await;
    let refused = async |id: &str, secret: &str| {
        let basic = basic(id, secret);
        match world
            .provider
            .authenticate(Some(&basic), &params(&[]), None, "/oauth2/token")
            .await
            .unwrap_err()
        {
            Refused::OAuth(error) => error,
            Refused::Store(error) => panic!("{error}"),
        }
    };
    let wrong = refused("web", "another secret of the tests").await;
    assert_eq!(wrong.code.name(), "invalid_client");
    for (id, secret) in [("nobody", SECRET), ("web", ""), ("", SECRET), ("usr_x", SECRET)] {
        assert_eq!(refused(id, secret).await, wrong, "{id}");
    }
}

#[tokio::test]
async fn one_way_of_proving_at_a_time_and_one_client() {
    let world = World::new().await;
    world.web().await;
    let good = basic("web", SECRET);
    for (pairs, expected) in [
        (vec![("client_secret", SECRET)], "invalid_request"),
        (vec![("client_assertion", "x")], "invalid_request"),
        (vec![("client_id", "other")], "invalid_client"),
    ] {
        assert_eq!(authenticate(&world, Some(&good), &pairs).await, Err(expected), "{pairs:?}");
    }
    assert_eq!(authenticate(&world, None, &[]).await, Err("invalid_client"));
    assert_eq!(authenticate(&world, None, &[("client_id", "web")]).await, Err("invalid_client"));
}

#[tokio::test]
async fn a_public_client_has_nothing_to_prove_and_must_not_try() {
    let world = World::new().await;
    world.client("spa", &[GrantType::AuthorizationCode], |it| it.public = true).await;
    assert!(authenticate(&world, None, &[("client_id", "spa")]).await.is_ok());
    let tries = basic("spa", "");
    assert_eq!(authenticate(&world, Some(&tries), &[]).await, Err("invalid_client"));
}

#[tokio::test]
async fn an_assertion_counts_once_and_only_by_the_clients_own_key() {
    let world = World::new().await;
    let (key, other) = (
        SigningKey::generate(Algorithm::Es256).unwrap(),
        SigningKey::generate(Algorithm::Es256).unwrap(),
    );
    let jwks = json!({"keys": [key.jwk()]});
    world
        .client("svc", &[GrantType::ClientCredentials], |it| {
            it.jwks = serde_json::from_value(jwks).unwrap();
        })
        .await;
    let assertion = |key: &SigningKey, jti: &str, sub: &str| {
        let now = world.node.now().secs();
        let claims = json!({
            "iss": sub, "sub": sub, "aud": "https://issuer.example",
            "iat": now, "exp": now + 60, "jti": jti,
        });
        jws::sign(key, "JWT", claims.to_string().as_bytes()).unwrap()
    };
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let prove = async |text: &str, kind: &str| {
        let pairs = [("client_assertion", text), ("client_assertion_type", kind)];
        authenticate(&world, None, &pairs).await
    };
    let first = assertion(&key, "a", "svc");
    assert_eq!(prove(&first, kind).await.unwrap(), "svc");
    assert_eq!(prove(&first, kind).await, Err("invalid_client"));
    after(&world.clock, 1);
    assert!(prove(&assertion(&key, "b", "svc"), kind).await.is_ok());
    assert_eq!(prove(&assertion(&other, "c", "svc"), kind).await, Err("invalid_client"));
    assert_eq!(prove(&assertion(&key, "d", "web"), kind).await, Err("invalid_client"));
    assert_eq!(prove(&assertion(&key, "e", "svc"), "x").await, Err("invalid_client"));
    assert_eq!(prove("x", kind).await, Err("invalid_client"));
    // Its key is what it proves itself with, not a secret.
    let secret = basic("svc", SECRET);
    assert_eq!(authenticate(&world, Some(&secret), &[]).await, Err("invalid_client"));
}

#[tokio::test]
async fn who_signs_for_the_token_endpoint_is_told_for_whom_to_sign() {
    let world = World::new().await;
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let (stranger, jwks) =
        (SigningKey::generate(Algorithm::Es256).unwrap(), json!({"keys": [key.jwk()]}));
    world
        .client("svc", &[GrantType::ClientCredentials], |it| {
            it.jwks = serde_json::from_value(jwks).unwrap();
        })
        .await;
    let told = async |key: &SigningKey| {
        let claims = json!({
            "iss": "svc", "sub": "svc", "aud": "https://issuer.example/oauth2/token",
            "exp": world.node.now().secs() + 60, "jti": "a",
        });
        let text = jws::sign(key, "JWT", claims.to_string().as_bytes()).unwrap();
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let pairs = [("client_assertion", text.as_str()), ("client_assertion_type", kind)];
        match world.provider.authenticate(None, &params(&pairs), None, "/oauth2/token").await {
            Err(Refused::OAuth(error)) => error.description,
            other => panic!("{other:?}"),
        }
    };
    assert!(told(&key).await.contains("must be the issuer identifier"));
    assert_eq!(told(&stranger).await, "client_assertion is not valid");
}

/// What a client may name in the issuer's place is said by whoever runs this, and never for FAPI.
#[tokio::test]
async fn an_endpoint_stands_in_the_issuers_place_where_that_was_set_and_not_for_fapi() {
    let world = World::new().await;
    let (key, register) = client_key();
    let jwks = json!({"keys": [key.jwk()]});
    world.client("svc", &[GrantType::ClientCredentials], register).await;
    world
        .client("bank", &[GrantType::ClientCredentials], |it| {
            it.jwks = serde_json::from_value(jwks).unwrap();
            it.profile = serde_json::from_value(json!("fapi2")).unwrap();
        })
        .await;
    let config = Config {
        assertion_audience: AssertionAudience::DangerIssuerOrEndpoint,
        mtls: Some(MutualTls { at: Some("https://mtls.example".into()) }),
        ..world.provider.config().clone()
    };
    let lenient = Provider::new(config, world.parts.clone());
    let mut last = 0;
    let mut signed = |client: &str, aud: &serde_json::Value| {
        last += 1;
        let claims = json!({
            "iss": client, "sub": client, "aud": aud, "exp": world.node.now().secs() + 60,
            "jti": last.to_string(),
        });
        jws::sign(&key, "JWT", claims.to_string().as_bytes()).unwrap()
    };
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let counts = async |provider: &Provider, assertion: &str| {
        let pairs = [("client_assertion", assertion), ("client_assertion_type", kind)];
        provider.authenticate(None, &params(&pairs), None, "/oauth2/par").await.is_ok()
    };
    let issuer = "https://issuer.example";
    for (aud, of_strict, of_lenient, of_fapi) in [
        (json!(issuer), true, true, true),
        (json!([issuer]), true, true, false),
        (json!("https://issuer.example/oauth2/token"), false, true, false),
        (json!("https://issuer.example/oauth2/par"), false, true, false),
        (json!("https://mtls.example/oauth2/token"), false, true, false),
        (json!(["https://mtls.example/oauth2/par"]), false, true, false),
        (json!([issuer, "https://issuer.example/oauth2/par"]), false, false, false),
        (json!(["https://issuer.example/oauth2/par", "https://evil.example"]), false, false, false),
        (json!("https://issuer.example/oauth2/introspect"), false, false, false),
        (json!("https://issuer.example/"), false, false, false),
        (json!("https://mtls.example"), false, false, false),
        (json!("/oauth2/par"), false, false, false),
    ] {
        let strict = counts(&world.provider, &signed("svc", &aud)).await;
        assert_eq!(strict, of_strict, "{aud}");
        assert_eq!(counts(&lenient, &signed("svc", &aud)).await, of_lenient, "{aud}");
        assert_eq!(counts(&lenient, &signed("bank", &aud)).await, of_fapi, "{aud}");
    }
}

#[tokio::test]
async fn a_new_secret_works_beside_the_one_before_and_not_beside_older_ones() {
    let world = World::new().await;
    let web = world.web().await;
    let clients = world.provider.clients();
    let realm = world.provider.realm();
    let works =
        async |secret: &str| authenticate(&world, Some(&basic("web", secret)), &[]).await.is_ok();
    let second = clients.rotate_secret(realm, &web.id).await.unwrap();
    assert!(works(SECRET).await && works(second.expose()).await);
    let third = clients.rotate_secret(realm, &web.id).await.unwrap();
    assert!(!works(SECRET).await && works(second.expose()).await && works(third.expose()).await);
}

#[tokio::test]
async fn what_somebody_else_does_to_a_client_counts_with_its_next_request() {
    let world = World::new().await;
    let web = world.web().await;
    let (records, realm) = (world.records.as_ref(), world.provider.realm());
    let works = async || authenticate(&world, Some(&basic("web", SECRET)), &[]).await.is_ok();
    assert!(works().await && works().await);
    let load = || repository::load::<Client>(records, realm, "web");
    let commit = async |change| {
        records.commit(Batch::new(realm.clone()).with(change)).await.unwrap();
    };
    let before = load().await.unwrap().unwrap();
    let without = Client { secrets: Vec::new(), ..before.value.clone() };
    commit(before.replace(&without)).await;
    assert!(!works().await);
    commit(load().await.unwrap().unwrap().replace(&before.value)).await;
    assert!(works().await);
    commit(load().await.unwrap().unwrap().remove()).await;
    assert!(!works().await);
    // Of the version that was read first, and not the same.
    commit(without.put(Expect::Absent)).await;
    assert_eq!(load().await.unwrap().unwrap().version, before.version);
    assert!(!works().await);
    assert_eq!(world.provider.client(&web.id).await.unwrap(), Some(without));
}

#[tokio::test]
async fn declaring_is_idempotent_and_keeps_the_secret() {
    let world = World::new().await;
    let clients = world.provider.clients();
    let realm = world.provider.realm();
    let metadata = ClientMetadata {
        client_id: "app".into(),
        redirect_uris: vec!["https://app.example/cb".into()],
        ..ClientMetadata::default()
    };
    let first = clients.declare(realm, &metadata, None).await.unwrap();
    assert!(first.is_new && first.changed);
    let secret = first.secret.unwrap();
    after(&world.clock, 5);
    let again = clients.declare(realm, &metadata, None).await.unwrap();
    assert!(!again.is_new && !again.changed && again.secret.is_none());
    let other = ClientMetadata { scope: "openid".into(), ..metadata };
    assert!(clients.declare(realm, &other, None).await.unwrap().changed);
    assert!(authenticate(&world, Some(&basic("app", secret.expose())), &[]).await.is_ok());
    let weak = Secret::new("short".to_owned());
    let refused = clients.declare(realm, &other, Some(&weak)).await.unwrap_err();
    assert!(matches!(refused, NotRegistered::WeakSecret(_)), "{refused}");
}

#[tokio::test]
async fn declaring_the_same_secret_again_does_not_undo_a_rotation() {
    let world = World::new().await;
    let web = world.web().await;
    let (clients, realm) = (world.provider.clients(), world.provider.realm());
    clients.rotate_secret(realm, &web.id).await.unwrap();
    let newest = clients.rotate_secret(realm, &web.id).await.unwrap();
    let works =
        async |secret: &str| authenticate(&world, Some(&basic("web", secret)), &[]).await.is_ok();
    world.web().await;
    assert!(works(newest.expose()).await && !works(SECRET).await);
    let metadata = ClientMetadata {
        client_id: "web".into(),
        redirect_uris: vec!["https://app.example/cb".into()],
        ..ClientMetadata::default()
    };
    let other = Secret::new("another secret, declared anew".to_owned());
    clients.declare(realm, &metadata, Some(&other)).await.unwrap();
    assert!(works(other.expose()).await && !works(newest.expose()).await);
}

#[tokio::test]
async fn an_assertion_of_a_client_with_a_long_name_counts() {
    let world = World::new().await;
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let jwks = json!({"keys": [key.jwk()]});
    let name = "s".repeat(255);
    world
        .client(&name, &[GrantType::ClientCredentials], |it| {
            it.jwks = serde_json::from_value(jwks).unwrap();
        })
        .await;
    let now = world.node.now().secs();
    let claims = json!({
        "iss": name, "sub": name, "aud": "https://issuer.example", "exp": now + 60, "jti": "a",
    });
    let text = jws::sign(&key, "JWT", claims.to_string().as_bytes()).unwrap();
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let pairs = [("client_assertion", text.as_str()), ("client_assertion_type", kind)];
    assert!(authenticate(&world, None, &pairs).await.is_ok());
    assert_eq!(authenticate(&world, None, &pairs).await, Err("invalid_client"));
}

#[tokio::test]
async fn nobody_takes_the_name_of_our_own_pages() {
    let world = World::new().await;
    let metadata = ClientMetadata {
        client_id: "tegata-browser".into(),
        redirect_uris: vec!["https://app.example/cb".into()],
        ..ClientMetadata::default()
    };
    let realm = world.provider.realm();
    let refused = world.provider.clients().declare(realm, &metadata, None).await.unwrap_err();
    assert!(matches!(refused, NotRegistered::Reserved(_)), "{refused}");
}

#[tokio::test]
async fn a_removed_client_is_gone() {
    let world = World::new().await;
    let web = world.web().await;
    let clients = world.provider.clients();
    clients.remove(world.provider.realm(), &web.id).await.unwrap();
    let good = basic("web", SECRET);
    assert_eq!(authenticate(&world, Some(&good), &[]).await, Err("invalid_client"));
    let again = clients.remove(world.provider.realm(), &web.id).await.unwrap_err();
    assert!(matches!(again, NotRegistered::Unknown(_)));
    // The store goes on.
    let event = Event::new(&world.node, world.provider.realm(), EventType::RegistryChanged, []);
    world.commit(Batch::new(world.provider.realm().clone()).journal(&event)).await;
}

#[tokio::test]
async fn what_a_client_was_given_is_refused_from_the_moment_it_is_gone() {
    let world = World::new().await;
    let web = world.web().await;
    let given = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap().access_token;
    assert!(world.is_active(&given).await);
    let order = Order { reason: "client_removed".into(), actor: "test".into() };
    world.provider.remove_client(&web.id, Vec::new(), &order).await.unwrap();
    // Nothing more was done, and nothing more has to be.
    assert!(!world.is_active(&given).await);
    let again = world.provider.remove_client(&web.id, Vec::new(), &order).await.unwrap_err();
    assert_eq!(again, NotRegistered::Unknown(web.id));
}

#[tokio::test]
async fn a_secret_is_given_to_the_client_that_was_read_and_to_no_other() {
    let world = World::new().await;
    let web = world.web().await;
    let (clients, realm) = (world.provider.clients(), world.provider.realm());
    let read = clients.load(realm, &web.id).await.unwrap().unwrap();
    let powerful = |it: &mut ClientMetadata| it.scope = "openid admin.write".into();
    world.client("web", &[GrantType::AuthorizationCode], powerful).await;
    let refused = clients.rotate_secret_of(realm, &read).await.unwrap_err();
    assert_eq!(refused, NotRegistered::Overtaken(web.id.clone()));
    assert!(authenticate(&world, Some(&basic("web", SECRET)), &[]).await.is_ok());
    let read = clients.load(realm, &web.id).await.unwrap().unwrap();
    let secret = clients.rotate_secret_of(realm, &read).await.unwrap();
    assert!(authenticate(&world, Some(&basic("web", secret.expose())), &[]).await.is_ok());
}

#[tokio::test]
async fn to_disable_a_client_changes_nothing_else_of_it() {
    let world = World::new().await;
    let config = Config { registration: Registration::Open, ..world.provider.config().clone() };
    let open = Provider::new(config, world.parts.clone());
    let (clients, realm) = (open.clients(), open.realm());
    let said = json!({"redirect_uris": [CALLBACK]});
    let made = open.register(said.as_object().unwrap(), None).await.unwrap();
    let id = ClientId::new(made["client_id"].as_str().unwrap()).unwrap();
    // What no client is given any more, because the name means something else by now.
    let clients = clients.clone().without([(id.as_str().to_owned(), "a service")]);
    let load = async || clients.load(realm, &id).await.unwrap().unwrap();
    let before = load().await;
    assert!(before.value.registration.is_some());
    assert!(clients.disable(realm, &before, true).await.unwrap().changed);
    let refused = clients.disable(realm, &before, true).await.unwrap_err();
    assert_eq!(refused, NotRegistered::Overtaken(id.clone()));
    let after = load().await;
    assert_eq!(after.value, Client { disabled: true, ..before.value.clone() });
    assert!(!clients.disable(realm, &after, true).await.unwrap().changed);
    clients.disable(realm, &after, false).await.unwrap();
    assert_eq!(load().await.value, before.value);
}

/// Who may act by a client's tokens is said by an operator, and not undone or said by the client.
#[tokio::test]
async fn a_client_that_registers_itself_says_nothing_of_who_may_act() {
    let world = World::new().await;
    let config = Config { registration: Registration::Open, ..world.provider.config().clone() };
    let open = Provider::new(config, world.parts.clone());
    let realm = open.realm();
    let said = json!({"redirect_uris": [CALLBACK], "may_act": "thief"});
    let made = open.register(said.as_object().unwrap(), None).await.unwrap();
    let id = ClientId::new(made["client_id"].as_str().unwrap()).unwrap();
    let token = made["registration_access_token"].as_str().unwrap();
    let found = open.clients().load(realm, &id).await.unwrap().unwrap();
    assert_eq!(found.value.may_act, None);
    let orders = ClientId::new("orders").unwrap();
    let granted = Client { may_act: Some(orders.clone()), ..found.value.clone() };
    world.commit(Batch::new(realm.clone()).with(found.replace(&granted))).await;
    for may_act in [json!("thief"), json!(null), json!("")] {
        let mut said = json!({"client_id": id, "redirect_uris": [CALLBACK]});
        if may_act != "" {
            said["may_act"] = may_act;
        }
        let said = said.as_object().unwrap();
        let told = open.register_anew(id.as_str(), token, said).await.unwrap();
        assert!(told.get("may_act").is_none(), "{told}");
        let found = open.clients().load(realm, &id).await.unwrap().unwrap();
        assert_eq!(found.value.may_act.as_ref(), Some(&orders));
    }
}
