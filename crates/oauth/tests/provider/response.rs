//! How answers travel: in a query or a form, signed or not.

use tegata_oauth::{Client, Code, NotAuthorized, OAuthError, Redirect};
use tegata_token::{Algorithm, VerifyingKey, jws::Compact};

use super::world::{CALLBACK, World, asked, claims, query};

async fn code(world: &World, mode: &str) -> Redirect {
    let request = world.request(&[("response_mode", mode)]).await;
    world.grant(&request, &world.signed_in()).await
}

fn field<'r>(redirect: &'r Redirect, name: &str) -> &'r str {
    let fields = redirect.fields().unwrap();
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str()).unwrap()
}

#[tokio::test]
async fn a_form_carries_what_a_query_would_and_the_address_nothing() {
    let world = World::new().await;
    world.web().await;
    let redirect = code(&world, "form_post").await;
    assert_eq!(redirect.address(), CALLBACK);
    assert!(field(&redirect, "code").starts_with("ac_"));
    assert_eq!(field(&redirect, "state"), "s t&ate");
    assert_eq!(field(&redirect, "iss"), "https://issuer.example");
    assert!(!format!("{redirect:?}").contains("ac_"));
}

#[tokio::test]
async fn a_signed_answer_is_for_its_client_alone_and_says_it_all() {
    let world = World::new().await;
    world.web().await;
    for mode in ["jwt", "query.jwt", "form_post.jwt"] {
        let redirect = code(&world, mode).await;
        let response = if mode == "form_post.jwt" {
            assert_eq!(redirect.fields().unwrap().len(), 1);
            field(&redirect, "response").to_owned()
        } else {
            assert!(!redirect.address().contains("code="), "{}", redirect.address());
            query(redirect.address(), "response")
        };
        let said = claims(&response);
        assert_eq!(said["iss"], "https://issuer.example");
        assert_eq!(said["aud"], "web");
        assert_eq!(said["state"], "s t&ate");
        assert!(said["code"].as_str().unwrap().starts_with("ac_"));
        assert_eq!(said["exp"].as_u64().unwrap(), world.node.now().secs() + 60);
        assert!(is_genuine(&world, &response));
        // Whoever changes a character of it is found out.
        let (head, rest) = response.split_once('.').unwrap();
        let (body, signature) = rest.split_once('.').unwrap();
        let other = if body.ends_with('A') { 'B' } else { 'A' };
        let altered = format!("{head}.{}{other}.{signature}", &body[..body.len() - 1]);
        assert!(!is_genuine(&world, &altered));
    }
}

fn is_genuine(world: &World, response: &str) -> bool {
    let Ok(compact) = Compact::parse(response) else { return false };
    let signer = world.provider.keys().now().signer(Algorithm::Es256).unwrap();
    let key = VerifyingKey::from_jwk(signer.jwk()).unwrap();
    key.verifies(compact.signed.as_bytes(), &compact.signature)
}

#[tokio::test]
async fn errors_travel_the_same_way() {
    let world = World::new().await;
    world.web().await;
    for mode in ["form_post", "query.jwt"] {
        let asked = asked(&[("response_mode", mode), ("response_type", "token")]);
        let refused = world.provider.authorization_request(&asked).await.unwrap_err();
        let NotAuthorized::Redirect(redirect) = refused else { panic!("{refused:?}") };
        if mode == "form_post" {
            assert_eq!(field(&redirect, "error"), "unsupported_response_type");
        } else {
            let said = claims(&query(redirect.address(), "response"));
            assert_eq!(said["error"], "unsupported_response_type");
        }
        let request = world.request(&[("response_mode", mode)]).await;
        let error = OAuthError::new(Code::AccessDenied, "no");
        let redirect = world.provider.refuse_request(&request, &error).await.unwrap();
        assert_eq!(redirect.fields().is_some(), mode == "form_post");
    }
}

#[tokio::test]
async fn a_form_is_posted_to_web_addresses_alone() {
    let world = World::new().await;
    let grants = [tegata_oauth::GrantType::AuthorizationCode];
    let uri = "com.example.app:/cb";
    let _: Client =
        world.client("app", &grants, |client| client.redirect_uris = vec![uri.into()]).await;
    let asked =
        asked(&[("client_id", "app"), ("redirect_uri", uri), ("response_mode", "form_post")]);
    let refused = world.provider.authorization_request(&asked).await.unwrap_err();
    let NotAuthorized::Redirect(redirect) = refused else { panic!("{refused:?}") };
    assert_eq!(query(redirect.address(), "error"), "invalid_request");
}
