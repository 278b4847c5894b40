//! Access tokens that say nothing.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;
use tegata_core::Log;
use tegata_oauth::{
    Credential, GrantType, TokenFormat,
    userinfo::{NoUserinfo, Userinfo},
};
use tegata_token::revocation::Taken;

use super::world::{World, after, claims, params};

const GRANTS: [GrantType; 2] = [GrantType::AuthorizationCode, GrantType::RefreshToken];

#[tokio::test]
async fn a_reference_is_what_its_token_is_wherever_the_issuer_is_asked() {
    let world = World::new().await;
    let web = world
        .client("web", &GRANTS, |client| {
            client.token_format = Some(TokenFormat::Reference);
            client.may_introspect = true;
        })
        .await;
    let code = world.code(&[("scope", "openid orders.read")]).await;
    let told = world.redeem(&web, &code, &[]).await.unwrap();
    let (reference, provider) = (told.access_token.as_str(), &world.provider);
    assert!(reference.starts_with("at_") && !reference.contains('.'), "{reference}");
    // The ID token goes with what the client was given (OpenID Connect Core §3.1.3.6).
    let half = URL_SAFE_NO_PAD.encode(&digest(&SHA256, reference.as_bytes()).as_ref()[..16]);
    let id_token = told.id_token.unwrap();
    assert_eq!(claims(&id_token)["at_hash"], json!(half));

    let (info, _) = provider.userinfo(&Credential::Bearer(reference)).await.unwrap();
    let Userinfo::Plain(info) = info else { panic!("{info:?}") };
    assert_eq!(info["sub"], json!(world.user.id));
    let asked = params(&[("token", reference)]);
    let introspected = provider.introspect(&web, &asked).await.unwrap();
    assert_eq!(introspected["active"], json!(true));
    assert_eq!(introspected["sub"], json!(world.user.id));
    assert_eq!(introspected["scope"], json!("openid orders.read"));
    // Nothing in the log tells it, or the token that it stands for.
    let inside = provider.resolved(reference).await.unwrap().into_owned();
    assert_eq!(inside.matches('.').count(), 2);
    let log = world.records.pull(Log::Journal, 0, 100).await.unwrap();
    for entry in log.entries {
        let text = String::from_utf8_lossy(&entry.body).into_owned();
        assert!(!text.contains(reference) && !text.contains(&inside));
    }
    // What was meant for something else is no token here.
    for other in
        [&id_token, &format!("at_{inside}"), &format!("{reference}x"), &inside.replace('.', "")]
    {
        let told = provider.introspect(&web, &params(&[("token", other)])).await.unwrap();
        assert_eq!(told, json!({"active": false}), "{other}");
    }

    // A refresh gives another; each is taken back by itself, or with its family.
    let next = world.refresh(&web, told.refresh_token.as_ref().unwrap()).await.unwrap();
    assert!(next.access_token.starts_with("at_") && next.access_token != reference);
    assert_eq!(provider.revoke(&web, &asked).await.unwrap(), Taken::Now);
    assert_eq!(provider.revoke(&web, &asked).await.unwrap(), Taken::Before);
    assert_eq!(provider.introspect(&web, &asked).await.unwrap(), json!({"active": false}));
    let refused = provider.userinfo(&Credential::Bearer(reference)).await;
    assert_eq!(refused.unwrap_err(), NoUserinfo::InvalidToken);
    assert!(world.is_active(&next.access_token).await);
    let family = params(&[("token", next.refresh_token.as_ref().unwrap())]);
    assert_eq!(provider.revoke(&web, &family).await.unwrap(), Taken::Now);
    assert!(!world.is_active(&next.access_token).await);
    assert_eq!(
        world.provider.revoke(&web, &params(&[("token", "at_made-up")])).await.unwrap(),
        Taken::Nothing
    );
}

#[tokio::test]
async fn a_reference_ends_with_its_token() {
    let world = World::new().await;
    let web = world
        .client("web", &GRANTS, |client| client.token_format = Some(TokenFormat::Reference))
        .await;
    let code = world.code(&[]).await;
    let told = world.redeem(&web, &code, &[]).await.unwrap();
    assert!(world.is_active(&told.access_token).await);
    after(&world.clock, told.expires_in + 2);
    assert!(!world.is_active(&told.access_token).await);
    // And nothing of it is kept much longer.
    after(&world.clock, 120);
    let resolved = world.provider.resolved(&told.access_token).await.unwrap();
    assert_eq!(resolved, told.access_token);
}
