//! Request objects: what is signed counts, and nothing else.

use serde_json::{Value, json};
use tegata_oauth::{GrantType, NotAuthorized, Redirect};
use tegata_token::{SigningKey, jws};

use super::world::{CALLBACK, CHALLENGE, World, asked, client_key, error, params};

const GRANTS: [GrantType; 1] = [GrantType::AuthorizationCode];

fn claims() -> Value {
    json!({
        "iss": "signer", "aud": "https://issuer.example", "client_id": "signer",
        "response_type": "code", "redirect_uri": CALLBACK, "scope": "openid orders.read",
        "state": "inside", "nonce": "n", "code_challenge": CHALLENGE,
        "code_challenge_method": "S256", "max_age": 60,
    })
}

fn object(key: &SigningKey, changes: &[(&str, Value)]) -> String {
    let mut claims = claims();
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    jws::sign(key, "oauth-authz-req+jwt", claims.to_string().as_bytes()).unwrap()
}

async fn refused(world: &World, pairs: &[(&str, &str)]) -> Redirect {
    match world.provider.authorization_request(&params(pairs)).await.unwrap_err() {
        NotAuthorized::Redirect(redirect) => redirect,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn parameters_beside_the_object_count_for_nothing() {
    let world = World::new().await;
    let (key, register) = client_key();
    let client = world.client("signer", &GRANTS, register).await;
    let object = object(&key, &[]);
    let beside = [
        ("client_id", "signer"),
        ("request", object.as_str()),
        ("redirect_uri", "https://evil.example"),
        ("scope", "payments.write"),
        ("state", "outside"),
        ("prompt", "none"),
        ("resource", "https://nowhere.example"),
    ];
    let (request, _) = world.provider.authorization_request(&params(&beside)).await.unwrap();
    assert_eq!(request.state.as_deref(), Some("inside"));
    assert_eq!(request.scope.as_str(), "openid orders.read");
    assert_eq!((request.max_age, request.prompt.none), (Some(60), false));
    // What stands outside is not filled in, either.
    let mut bare = claims();
    bare.as_object_mut().unwrap().remove("code_challenge");
    let bare = jws::sign(&key, "JWT", bare.to_string().as_bytes()).unwrap();
    let outside =
        [("client_id", "signer"), ("request", bare.as_str()), ("code_challenge", CHALLENGE)];
    let back = refused(&world, &outside).await;
    assert!(back.address().contains("error=invalid_request&"), "{}", back.address());
    // The same where it is pushed.
    let refused = world.provider.push(&client, &params(&outside)).await.unwrap_err();
    assert_eq!(error(refused), "invalid_request");
    assert!(world.provider.push(&client, &params(&beside)).await.is_ok());
}

#[tokio::test]
async fn an_object_that_is_not_the_clients_own_is_refused() {
    let world = World::new().await;
    let (key, register) = client_key();
    let (other, register_other) = client_key();
    let client = world.client("signer", &GRANTS, register).await;
    world.client("other", &GRANTS, register_other).await;
    let unsigned = {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims().to_string()))
    };
    let secs = world.node.now().secs();
    for (text, why) in [
        (unsigned, "unsigned"),
        (object(&other, &[]), "another client's key"),
        (object(&key, &[("iss", json!("other"))]), "iss"),
        (object(&key, &[("client_id", json!("other"))]), "client_id"),
        (object(&key, &[("aud", json!("https://elsewhere.example"))]), "aud"),
        (object(&key, &[("exp", json!(secs - 60))]), "expired"),
        (object(&key, &[("request_uri", json!("https://evil.example"))]), "nested"),
        (object(&key, &[("sub", json!("signer"))]), "an assertion"),
    ] {
        let outer = [("client_id", "signer"), ("request", &text), ("redirect_uri", CALLBACK)];
        let back = refused(&world, &outer).await;
        assert!(back.address().contains("error=invalid_request_object"), "{why}");
        let refused = world.provider.push(&client, &params(&outer)).await.unwrap_err();
        assert_eq!(error(refused), "invalid_request_object", "{why}");
    }
    // Another client cannot bring it, whatever it says of itself.
    let text = object(&key, &[]);
    let outer = [("client_id", "other"), ("request", &text), ("redirect_uri", CALLBACK)];
    let back = refused(&world, &outer).await;
    assert!(back.address().contains("error=invalid_request_object"));
}

#[tokio::test]
async fn a_client_that_must_sign_cannot_do_without() {
    let world = World::new().await;
    let (key, register) = client_key();
    world
        .client("signer", &GRANTS, |client| {
            register(client);
            client.require_signed_request_object = true;
        })
        .await;
    let unsigned = asked(&[("client_id", "signer")]);
    let refused = world.provider.authorization_request(&unsigned).await.unwrap_err();
    let NotAuthorized::Redirect(back) = refused else { panic!("{refused:?}") };
    assert!(back.address().contains("error=invalid_request&"), "{}", back.address());
    let text = object(&key, &[]);
    let signed = params(&[("client_id", "signer"), ("request", &text)]);
    assert!(world.provider.authorization_request(&signed).await.is_ok());
}

#[tokio::test]
async fn nothing_is_fetched_and_nothing_stands_beside_a_reference() {
    let world = World::new().await;
    world.web().await;
    let outer = [("client_id", "web"), ("redirect_uri", CALLBACK)];
    let fetched = [&outer[..], &[("request_uri", "https://app.example/request")]].concat();
    let back = refused(&world, &fetched).await;
    assert!(back.address().contains("error=request_uri_not_supported"));
    let both = [
        &outer[..],
        &[("request_uri", "urn:ietf:params:oauth:request_uri:x"), ("request", "x.y.z")],
    ]
    .concat();
    let back = refused(&world, &both).await;
    assert!(back.address().contains("error=invalid_request&"));
}
