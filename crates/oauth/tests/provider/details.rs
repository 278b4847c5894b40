//! Rich authorization requests (RFC 9396): shown, granted as they are, and only ever narrowed.

use serde_json::{Value, json};
use tegata_oauth::{Client, GrantType, Next, NotAuthorized, Proven, Said};

use super::world::{World, asked, claims, error, params, place};

const PAY: &str = r#"[{"type":"payment","actions":["read","pay"],"to":"DE00"},{"type":"account","actions":["read"]}]"#;
const READ: &str = r#"[{"type":"payment","actions":["read"],"to":"DE00"}]"#;
const MORE: &str = r#"[{"type":"payment","actions":["read","pay"],"to":"DE11"}]"#;

async fn client(world: &World) -> Client {
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    let types = ["payment", "account", "unknown"].map(str::to_owned);
    world.client("web", &grants, |it| it.authorization_details_types = types.into()).await
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn they_are_in_the_token_the_answer_and_introspection_and_refreshes_only_narrow_them() {
    let world = World::new().await;
    let web = client(&world).await;
    let code = world.code(&[("authorization_details", PAY)]).await;
    let answer = world.redeem(&web, &code, &[("authorization_details", READ)]).await.unwrap();
    assert_eq!(claims(&answer.access_token)["authorization_details"], value(READ));
    assert_eq!(json!(answer)["authorization_details"], value(READ));
    let asking = [GrantType::ClientCredentials];
    let asking = world.client("inspector", &asking, |it| it.may_introspect = true).await;
    let said = params(&[("token", &answer.access_token)]);
    let said = world.provider.introspect(&asking, &said).await.unwrap();
    assert_eq!(said["authorization_details"], value(READ));
    let said = params(&[("token", answer.refresh_token.as_ref().unwrap())]);
    let said = world.provider.introspect(&asking, &said).await.unwrap();
    assert_eq!(said["authorization_details"], value(PAY));

    let refresh = async |token: &str, details: Option<&str>| {
        let mut all = vec![("grant_type", "refresh_token"), ("refresh_token", token)];
        all.extend(details.map(|details| ("authorization_details", details)));
        world
            .provider
            .token(&world.proven(&web).await, &params(&all), &place(), Proven::default())
            .await
    };
    let token = answer.refresh_token.unwrap();
    for wider in [MORE, r#"[{"type":"payment"}]"#, r#"[{"type":"unknown"}]"#] {
        let refused = refresh(&token, Some(wider)).await.unwrap_err();
        assert_eq!(error(refused), "invalid_authorization_details", "{wider}");
    }
    let all = refresh(&token, None).await.unwrap();
    assert_eq!(claims(&all.access_token)["authorization_details"], value(PAY));
}

#[tokio::test]
async fn whoever_asks_in_detail_alone_gets_no_scope_besides() {
    let world = World::new().await;
    let web = client(&world).await;
    let code = world.code(&[("authorization_details", PAY), ("scope", "")]).await;
    let answer = world.redeem(&web, &code, &[]).await.unwrap();
    let said = claims(&answer.access_token);
    assert_eq!((&said["scope"], &said["authorization_details"]), (&json!(""), &value(PAY)));
    assert!(answer.id_token.is_none());
}

#[tokio::test]
async fn whoever_has_agreed_before_is_asked_again() {
    let world = World::new().await;
    let web = client(&world).await;
    let who = world.signed_in();
    let request = world.request(&[("authorization_details", PAY)]).await;
    world.provider.remember_consent(&who.user, &web, &request.asked_of_person()).await.unwrap();
    let next = world.provider.next(&request, &web, Some(&who), Said::default()).await.unwrap();
    assert_eq!(next, Next::AskConsent);
}

#[tokio::test]
async fn what_cannot_be_read_or_is_of_another_type_is_refused() {
    let world = World::new().await;
    client(&world).await;
    world.client("plain", &[GrantType::AuthorizationCode], |_| {}).await;
    let big = format!(r#"[{{"type":"payment","x":"{}"}}]"#, "x".repeat(3000));
    let deep = format!(r#"[{{"type":"payment","x":{}{}}}]"#, "[".repeat(50), "]".repeat(50));
    for (client, bad) in [
        ("web", "x"),
        ("web", r#"{"type":"payment"}"#),
        ("web", r#"[{"actions":["pay"]}]"#),
        ("web", r#"[{"type":"payment","type":"account"}]"#),
        ("web", r#"[{"type":"payment","x":{"a":1,"a":2}}]"#),
        ("web", &big),
        ("web", &deep),
        // Nobody understands it, though the client may ask for it.
        ("web", r#"[{"type":"unknown"}]"#),
        ("web", r#"[{"type":"payment"},{"type":"other"}]"#),
        ("plain", r#"[{"type":"payment"}]"#),
    ] {
        let asked = asked(&[("client_id", client), ("authorization_details", bad)]);
        let refused = world.provider.authorization_request(&asked).await.unwrap_err();
        let NotAuthorized::Redirect(back) = refused else { panic!("{refused:?}") };
        assert!(back.address().contains("error=invalid_authorization_details"), "{bad}");
    }
}

#[tokio::test]
async fn other_grants_do_not_take_them() {
    let world = World::new().await;
    let machine = world.client("machine", &[GrantType::ClientCredentials], |_| {}).await;
    let all = [("grant_type", "client_credentials"), ("authorization_details", READ)];
    let refused = world
        .provider
        .token(&world.proven(&machine).await, &params(&all), &place(), Proven::default())
        .await
        .unwrap_err();
    assert_eq!(error(refused), "invalid_authorization_details");
}
