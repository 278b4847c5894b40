//! A client of the FAPI 2.0 Security Profile, from the request to the refresh.

use serde_json::json;
use tegata_oauth::{
    Client, GrantType, NotAuthorized, Proven, ProvenKey, Refused, Showing, TokenAnswer,
};
use tegata_token::{Algorithm, SigningKey, dpop, jws};

use super::world::{
    CALLBACK, CHALLENGE, VERIFIER, World, after, asked, claims, client_key, error, params, place,
    query,
};

/// A key that was just proven.
async fn proven(world: &World) -> ProvenKey {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let place = "https://issuer.example/oauth2/token";
    let iat = world.node.now().secs();
    let claims = json!({"jti": "a", "htm": "POST", "htu": place, "iat": iat}).to_string();
    let proof = dpop::make(&key, claims.as_bytes()).unwrap();
    let showing = Showing { proof: &proof, method: "POST", path: "/oauth2/token" };
    world.provider.dpop_proof(&showing, None, None).await.unwrap()
}

async fn bank(world: &World) -> Client {
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let (_, register) = client_key();
    world
        .client("bank", &grants, |client| {
            register(client);
            client.profile = serde_json::from_value(json!("fapi2")).unwrap();
        })
        .await
}

async fn code(world: &World, bank: &Client) -> String {
    let pushed = asked(&[("client_id", "bank")]);
    let uri = world.provider.push(bank, &pushed).await.unwrap().request_uri;
    let of = params(&[("client_id", "bank"), ("request_uri", &uri)]);
    let (request, _) = world.provider.authorization_request(&of).await.unwrap();
    let redirect = world.grant(&request, &world.signed_in()).await;
    assert_eq!(query(redirect.address(), "iss"), "https%3A%2F%2Fissuer.example");
    query(redirect.address(), "code")
}

async fn redeem(
    world: &World,
    bank: &Client,
    code: &str,
    key: Option<&ProvenKey>,
) -> Result<TokenAnswer, Refused> {
    let all = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    world.provider.token(&world.proven(bank).await, &params(&all), &place(), Proven::by(key)).await
}

#[tokio::test]
async fn its_requests_are_pushed_and_say_everything() {
    let world = World::new().await;
    let bank = bank(&world).await;
    let plain = asked(&[("client_id", "bank")]);
    let refused = world.provider.authorization_request(&plain).await.unwrap_err();
    let NotAuthorized::Redirect(back) = refused else { panic!("{refused:?}") };
    assert!(back.address().contains("error=invalid_request&"), "{}", back.address());
    for missing in ["redirect_uri", "code_challenge"] {
        let without = asked(&[("client_id", "bank"), ("scope", "orders.read"), (missing, "")]);
        let refused = world.provider.push(&bank, &without).await.unwrap_err();
        assert_eq!(error(refused), "invalid_request", "{missing}");
    }
}

#[tokio::test]
async fn its_request_objects_say_from_when_and_until_when_they_count() {
    let world = World::new().await;
    let grants = [GrantType::AuthorizationCode];
    let (key, register) = client_key();
    let bank = world
        .client("bank", &grants, |client| {
            register(client);
            client.profile = serde_json::from_value(json!("fapi2")).unwrap();
        })
        .await;
    let now = world.node.now().secs();
    let mut object = json!({
        "iss": "bank", "aud": "https://issuer.example", "client_id": "bank",
        "response_type": "code", "redirect_uri": CALLBACK, "scope": "orders.read",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    });
    for (nbf, exp, good) in
        [(None, None, false), (Some(now), None, false), (Some(now), Some(now + 300), true)]
    {
        object["nbf"] = json!(nbf.unwrap_or_default());
        object["exp"] = json!(exp.unwrap_or_default());
        let members = object.as_object_mut().unwrap();
        members.retain(|name, value| !matches!(name.as_str(), "nbf" | "exp") || value != 0);
        let text = jws::sign(&key, "oauth-authz-req+jwt", object.to_string().as_bytes()).unwrap();
        let pushed = world.provider.push(&bank, &params(&[("request", &text)])).await;
        assert_eq!(pushed.is_ok(), good, "{nbf:?} {exp:?}");
    }
}

#[tokio::test]
async fn its_tokens_are_bound_to_a_key_or_not_given() {
    let world = World::new().await;
    let bank = bank(&world).await;
    let key = proven(&world).await;
    let code = code(&world, &bank).await;
    let refused = redeem(&world, &bank, &code, None).await.unwrap_err();
    assert_eq!(error(refused), "invalid_request");
    // The code was not used up for it.
    let answer = redeem(&world, &bank, &code, Some(&key)).await.unwrap();
    let all = [
        ("grant_type", "refresh_token"),
        ("refresh_token", answer.refresh_token.as_ref().unwrap()),
    ];
    let refused = world
        .provider
        .token(&world.proven(&bank).await, &params(&all), &place(), Proven::default())
        .await
        .unwrap_err();
    assert_eq!(error(refused), "invalid_request");
}

#[tokio::test]
async fn its_refresh_token_stays() {
    let world = World::new().await;
    let bank = bank(&world).await;
    let key = proven(&world).await;
    let first = redeem(&world, &bank, &code(&world, &bank).await, Some(&key)).await.unwrap();
    let token = first.refresh_token.clone().unwrap();
    for _ in 0..3 {
        after(&world.clock, 60);
        let all = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        let next = world
            .provider
            .token(&world.proven(&bank).await, &params(&all), &place(), Proven::by(Some(&key)))
            .await
            .unwrap();
        assert_eq!(next.refresh_token.as_ref(), Some(&token));
        assert_ne!(next.access_token, first.access_token);
    }
    assert!(world.is_active(&first.access_token).await);
}

#[tokio::test]
async fn its_codes_live_a_minute_and_its_tokens_are_not_signed_with_rs256() {
    let world = World::new().await;
    let bank = bank(&world).await;
    let key = proven(&world).await;
    assert_ne!(bank.access_token_alg, Algorithm::Rs256);
    let (fresh, old) = (code(&world, &bank).await, code(&world, &bank).await);
    after(&world.clock, 59);
    let answer = redeem(&world, &bank, &fresh, Some(&key)).await.unwrap();
    assert_eq!(claims(&answer.access_token)["client_id"], "bank");
    after(&world.clock, 1);
    let late = redeem(&world, &bank, &old, Some(&key)).await.unwrap_err();
    assert_eq!(error(late), "invalid_grant");
}
