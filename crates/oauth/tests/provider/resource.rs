//! Resource indicators (RFC 8707): a token is for what was asked for, of what was granted.

use serde_json::json;
use tegata_oauth::{Client, GrantType, NotAuthorized, Proven};

use super::world::{World, asked, claims, error, params, place};

const ONE: &str = "https://one.example";
const TWO: &str = "https://two.example/api";

async fn client(world: &World) -> Client {
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    world.client("web", &grants, |it| it.audiences = vec![ONE.into(), TWO.into()]).await
}

#[tokio::test]
async fn a_token_request_may_ask_for_fewer_resources_and_later_for_others() {
    let world = World::new().await;
    let web = client(&world).await;
    let code = world.code(&[("resource", ONE), ("resource", TWO)]).await;
    let answer = world.redeem(&web, &code, &[("resource", ONE)]).await.unwrap();
    assert_eq!(claims(&answer.access_token)["aud"], ONE);
    let mut token = answer.refresh_token.unwrap();
    for (asked, expected) in [
        (&[TWO][..], json!(TWO)),
        (&[], json!([ONE, TWO])),
        (&[TWO, ONE], json!([TWO, ONE])),
        (&[ONE], json!(ONE)),
    ] {
        let mut all = vec![("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
        all.extend(asked.iter().map(|uri| ("resource", *uri)));
        let answer = world
            .provider
            .token(&world.proven(&web).await, &params(&all), &place(), Proven::default())
            .await
            .unwrap();
        assert_eq!(claims(&answer.access_token)["aud"], expected);
        token = answer.refresh_token.unwrap();
    }
}

#[tokio::test]
async fn what_was_not_granted_cannot_be_asked_for_and_nothing_is_used_up() {
    let world = World::new().await;
    let web = client(&world).await;
    let code = world.code(&[("resource", ONE)]).await;
    for bad in [TWO, "https://nowhere.example", "one", "https://one.example#f"] {
        let refused = world.redeem(&web, &code, &[("resource", bad)]).await.unwrap_err();
        assert_eq!(error(refused), "invalid_target", "{bad}");
    }
    let answer = world.redeem(&web, &code, &[]).await.unwrap();
    assert_eq!(claims(&answer.access_token)["aud"], ONE);
    let token = answer.refresh_token.unwrap();
    let all = [("grant_type", "refresh_token"), ("refresh_token", &token), ("resource", TWO)];
    let refused = world
        .provider
        .token(&world.proven(&web).await, &params(&all), &place(), Proven::default())
        .await
        .unwrap_err();
    assert_eq!(error(refused), "invalid_target");
    assert!(world.refresh(&web, &token).await.is_ok());
}

#[tokio::test]
async fn a_resource_of_another_client_or_that_is_none_is_refused() {
    let world = World::new().await;
    client(&world).await;
    for bad in ["https://other.example", "orders", "/one", "https://one.example#f"] {
        let refused = world.provider.authorization_request(&asked(&[("resource", bad)])).await;
        let NotAuthorized::Redirect(back) = refused.unwrap_err() else { panic!("{bad}") };
        assert!(back.address().contains("error=invalid_target"), "{bad}");
    }
}
