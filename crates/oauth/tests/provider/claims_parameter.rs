//! The parameter `claims`: given where it was asked for and agreed to, and nowhere else.

use serde_json::json;
use tegata_oauth::{
    AuthorizationRequest, Client, Credential, GrantType, Next, NotAuthorized, Said,
    userinfo::Userinfo,
};

use super::world::{World, asked, claims};

const EMAIL: &str = r#"{"userinfo":{"preferred_username":null},"id_token":{"roles":{"essential":true},"auth_time":{"essential":true},"picture":null}}"#;

async fn client(world: &World) -> Client {
    let grants = [GrantType::AuthorizationCode, GrantType::RefreshToken];
    world.client("web", &grants, |it| it.scope = "openid profile roles orders.read".into()).await
}

async fn next(world: &World, request: &AuthorizationRequest, client: &Client) -> Next {
    let who = world.signed_in();
    world.provider.next(request, client, Some(&who), Said::default()).await.unwrap()
}

#[tokio::test]
async fn single_claims_are_given_where_they_were_asked_for() {
    let world = World::new().await;
    let web = client(&world).await;
    let code = world.code(&[("claims", EMAIL)]).await;
    let answer = world.redeem(&web, &code, &[]).await.unwrap();
    let id = claims(answer.id_token.as_ref().unwrap());
    assert_eq!(id["roles"], json!(["customer"]));
    assert!(id.get("preferred_username").is_none() && id.get("picture").is_none());
    let shown = Credential::Bearer(&answer.access_token);
    let info = plain(&world, &shown).await;
    assert_eq!(info["preferred_username"], "alice");
    assert!(info.get("roles").is_none());
    // The grant keeps them, through a refresh.
    let refreshed = world.refresh(&web, &answer.refresh_token.unwrap()).await.unwrap();
    let shown = Credential::Bearer(&refreshed.access_token);
    let info = plain(&world, &shown).await;
    assert_eq!(info["preferred_username"], "alice");
    // Without them there is none.
    let answer = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    let shown = Credential::Bearer(&answer.access_token);
    let info = plain(&world, &shown).await;
    assert_eq!(info.keys().collect::<Vec<_>>(), ["sub"]);
}

#[tokio::test]
async fn a_person_is_asked_for_what_the_claims_come_to() {
    let world = World::new().await;
    let web = client(&world).await;
    let plain = world.request(&[]).await;
    let user = &world.user.id;
    world.provider.remember_consent(user, &web, &plain.asked_of_person()).await.unwrap();
    assert_eq!(next(&world, &plain, &web).await, Next::Answer);
    let more = world.request(&[("claims", EMAIL)]).await;
    assert_eq!(more.asked_of_person().as_str(), "openid orders.read profile roles");
    assert_eq!(next(&world, &more, &web).await, Next::AskConsent);
    world.provider.remember_consent(user, &web, &more.asked_of_person()).await.unwrap();
    assert_eq!(next(&world, &more, &web).await, Next::Answer);
}

/// A consent as it was written before `profile` said more than a user name and a language.
#[derive(serde::Serialize, serde::Deserialize)]
struct Before {
    key: String,
    user: tegata_core::UserId,
    client: tegata_core::ClientId,
    scope: tegata_token::Scope,
    at: tegata_core::Timestamp,
}

impl tegata_core::Stored for Before {
    const KIND: &'static tegata_core::Kind = &tegata_oauth::consent::CONSENTS;
    const FORM: u8 = 1;
    fn key(&self) -> &str {
        &self.key
    }
    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![("user", self.user.as_str().to_owned())]
    }
}

#[tokio::test]
async fn whoever_agreed_to_less_is_asked_once_more_for_their_profile() {
    use tegata_core::{Batch, Realm, port::Page, repository};
    let world = World::new().await;
    let web = client(&world).await;
    let (user, realm) = (&world.user.id, Realm::default());
    let scope = |text: &str| tegata_token::Scope::new(text).unwrap();
    let agreed = scope("openid profile orders.read");
    world.provider.remember_consent(user, &web, &agreed).await.unwrap();
    assert!(world.provider.has_consent(user, &web, &agreed).await.unwrap());
    // As a node of a version before writes it back.
    let page = Page { after: None, limit: 10 };
    let records = world.records.as_ref();
    let found = repository::find::<Before>(records, &realm, "user", user.as_str(), page).await;
    let found = found.unwrap().pop().unwrap();
    let batch = Batch::new(realm.clone()).with(found.replace(&found.value));
    records.commit(batch).await.unwrap();
    let counts =
        async |text: &str| world.provider.has_consent(user, &web, &scope(text)).await.unwrap();
    assert!(!counts("openid profile").await && !counts("profile").await);
    // For what says what it said, they are not asked.
    assert!(counts("openid orders.read").await);
    let request = world.request(&[("scope", "openid profile")]).await;
    assert_eq!(next(&world, &request, &web).await, Next::AskConsent);
    let single = world.request(&[("claims", r#"{"userinfo":{"birthdate":null}}"#)]).await;
    assert_eq!(next(&world, &single, &web).await, Next::AskConsent);
    // What they agree to beside it says nothing of it.
    world.provider.remember_consent(user, &web, &scope("openid roles")).await.unwrap();
    assert!(counts("openid roles orders.read").await && !counts("openid profile").await);
    world.provider.remember_consent(user, &web, &scope("openid profile")).await.unwrap();
    assert!(counts("openid profile roles orders.read").await);
    world.provider.remember_consent(user, &web, &scope("openid")).await.unwrap();
    assert!(counts("openid profile").await);
}

#[tokio::test]
async fn a_claim_beyond_the_clients_scope_is_not_given() {
    let world = World::new().await;
    let grants = [GrantType::AuthorizationCode];
    let web = world.client("web", &grants, |it| it.scope = "openid orders.read".into()).await;
    let answer = world.redeem(&web, &world.code(&[("claims", EMAIL)]).await, &[]).await.unwrap();
    assert!(claims(answer.id_token.as_ref().unwrap()).get("roles").is_none());
    let shown = Credential::Bearer(&answer.access_token);
    let info = plain(&world, &shown).await;
    assert_eq!(info.keys().collect::<Vec<_>>(), ["sub"]);
}

#[tokio::test]
async fn the_answer_is_about_the_person_that_claims_names() {
    let world = World::new().await;
    let web = client(&world).await;
    let named = |sub: &str| json!({"id_token": {"sub": {"value": sub}}}).to_string();
    let own = world.request(&[("claims", &named(world.user.id.as_str()))]).await;
    assert_eq!(next(&world, &own, &web).await, Next::AskConsent);
    let other = world.request(&[("claims", &named("usr_other")), ("prompt", "none")]).await;
    let refused = next(&world, &other, &web).await;
    assert!(
        matches!(&refused, Next::Refuse(e) if e.code.name() == "login_required"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn an_essential_level_that_nobody_can_reach_is_refused_and_a_wish_is_not() {
    let world = World::new().await;
    let web = client(&world).await;
    let acr = |essential: bool, values: &[&str]| {
        let acr = json!({"essential": essential, "values": values});
        json!({"id_token": {"acr": acr}}).to_string()
    };
    for (essential, values, expected) in [
        (true, &["urn:other:gold"][..], "refused"),
        (true, &["aal1", "urn:other:gold"], "asked"),
        (true, &["aal2", "urn:other:gold"], "asked for more"),
        (true, &[], "asked"),
        (false, &["urn:other:gold"], "asked"),
    ] {
        let request = world.request(&[("claims", &acr(essential, values))]).await;
        match next(&world, &request, &web).await {
            Next::Refuse(error) => {
                assert_eq!(error.code.name(), "unmet_authentication_requirements");
                assert_eq!(expected, "refused", "{values:?}");
            }
            Next::StepUp => assert_eq!(expected, "asked for more", "{values:?}"),
            other => assert_eq!((other, expected), (Next::AskConsent, "asked"), "{values:?}"),
        }
    }
}

#[tokio::test]
async fn what_is_too_large_or_ambiguous_is_refused() {
    let world = World::new().await;
    client(&world).await;
    let many: Vec<_> = (0..1000).map(|n| format!("\"c{n}\":null")).collect();
    let deep = format!(r#"{{"userinfo":{{"x":{}{}}}}}"#, "[".repeat(40), "]".repeat(40));
    for bad in [
        "x",
        "[]",
        r#"{"userinfo":[]}"#,
        r#"{"userinfo":{"email":true}}"#,
        r#"{"userinfo":{"email":{"essential":"yes"}}}"#,
        r#"{"userinfo":{"email":null,"email":null}}"#,
        r#"{"userinfo":{},"userinfo":{}}"#,
        r#"{"id_token":{"acr":{"values":[1]}}}"#,
        r#"{"id_token":{"sub":{"value":"usr_a"}},"userinfo":{"sub":{"value":"usr_b"}}}"#,
        &deep,
        &format!("{{\"userinfo\":{{{}}}}}", many.join(",")),
    ] {
        let refused = world.provider.authorization_request(&asked(&[("claims", bad)])).await;
        let NotAuthorized::Redirect(back) = refused.unwrap_err() else { panic!("{bad}") };
        assert!(back.address().contains("error=invalid_request&"), "{bad}");
    }
}

/// What userinfo tells a client that wants it plain.
async fn plain(
    world: &World,
    shown: &Credential<'_>,
) -> serde_json::Map<String, serde_json::Value> {
    match world.provider.userinfo(shown).await.unwrap().0 {
        Userinfo::Plain(info) => info,
        Userinfo::Signed(jwt) => panic!("{jwt} is signed"),
    }
}

/// What the person of the world is known by.
async fn known(world: &World) -> serde_json::Value {
    let all = json!({
        "name": "Alice Liddell", "given_name": "Alice", "family_name": "Liddell", "nickname": "Al",
        "profile": "https://people.example/alice", "picture": "https://people.example/alice.png",
        "website": "https://alice.example", "gender": "female", "birthdate": "0000-05-04",
        "zoneinfo": "Europe/London", "phone_number": "+441632960001",
        "address": {"locality": "Oxford", "country": "GB"},
    });
    let change = tegata_identity::ProfileChange::read(all.as_object().unwrap()).unwrap();
    let locale = Some(Some(tegata_identity::Locale::new("en-GB").unwrap()));
    let amendment =
        tegata_identity::Amendment { claims: Some(change), locale, ..Default::default() };
    let (realm, id) = (tegata_core::Realm::default(), &world.user.id);
    world.users.amend(&realm, id, &amendment, Default::default(), "test").await.unwrap();
    all
}

#[tokio::test]
async fn each_scope_gives_what_it_stands_for_and_no_more() {
    let world = World::new().await;
    let before = world.node.now().secs();
    let all = known(&world).await;
    let scope = "openid profile email phone address";
    let grants = [GrantType::AuthorizationCode];
    let web = world.client("web", &grants, |it| it.scope = scope.into()).await;
    for (asked, names) in [
        ("openid", &[][..]),
        ("openid phone", &["phone_number", "phone_number_verified"]),
        ("openid address", &["address"]),
        (
            "openid profile",
            &[
                "name",
                "given_name",
                "family_name",
                "nickname",
                "profile",
                "picture",
                "website",
                "gender",
                "birthdate",
                "zoneinfo",
                "locale",
                "preferred_username",
                "updated_at",
            ],
        ),
    ] {
        let code = world.code(&[("scope", asked)]).await;
        let answer = world.redeem(&web, &code, &[]).await.unwrap();
        let info = plain(&world, &Credential::Bearer(&answer.access_token)).await;
        let mut told: Vec<_> = info.keys().filter(|name| *name != "sub").cloned().collect();
        let mut wanted: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        told.sort();
        wanted.sort();
        assert_eq!(told, wanted, "{asked}");
        for (name, value) in &info {
            if let Some(set) = all.get(name) {
                assert_eq!(value, set, "{name}");
            }
        }
        // None of it is in the ID token, nor in the access token.
        for token in [answer.id_token.as_ref().unwrap(), &answer.access_token] {
            for name in names {
                assert!(claims(token).get(*name).is_none(), "{name}");
            }
        }
        if asked.contains("phone") {
            assert_eq!(info["phone_number_verified"], false);
        }
        if asked.contains("profile") {
            assert!(info["updated_at"].as_u64().unwrap() >= before);
            assert_eq!(info["locale"], "en-GB");
        }
    }
}

/// A refresh token that a version before gave, for a `profile` of a user name and a language.
#[tokio::test]
async fn a_grant_from_before_tells_of_the_profile_what_its_person_agreed_to() {
    use tegata_core::{Batch, Realm, port::Page, repository};
    use tegata_token::Family;
    let world = World::new().await;
    known(&world).await;
    let web = client(&world).await;
    let (realm, records, user) = (Realm::default(), world.records.as_ref(), &world.user.id);
    let code = world.code(&[("scope", "openid profile")]).await;
    let answer = world.redeem(&web, &code, &[]).await.unwrap();
    let told = async |token: &str| {
        let info = plain(&world, &Credential::Bearer(token)).await;
        info.contains_key("preferred_username").then(|| info.contains_key("birthdate"))
    };
    assert_eq!(told(&answer.access_token).await, Some(true));
    // As they stood before: neither says what `profile` means.
    let page = || Page { after: None, limit: 10 };
    let family = repository::scan::<Family>(records, &realm, page()).await.unwrap().pop().unwrap();
    let mut older = family.value.clone();
    older.grant.whole_profile = false;
    let consent = repository::find::<Before>(records, &realm, "user", user.as_str(), page()).await;
    let consent = consent.unwrap().pop().unwrap();
    let batch = Batch::new(realm.clone());
    let batch = batch.with(family.replace(&older)).with(consent.replace(&consent.value));
    world.commit(batch).await;
    assert_eq!(told(&answer.access_token).await, Some(false));
    let refreshed = world.refresh(&web, &answer.refresh_token.unwrap()).await.unwrap();
    assert_eq!(told(&refreshed.access_token).await, Some(false));
    // What is agreed to beside it changes nothing, and being asked for it once more does.
    let scope = |text: &str| tegata_token::Scope::new(text).unwrap();
    world.provider.remember_consent(user, &web, &scope("openid roles")).await.unwrap();
    assert_eq!(told(&refreshed.access_token).await, Some(false));
    world.provider.remember_consent(user, &web, &scope("openid profile")).await.unwrap();
    assert_eq!(told(&refreshed.access_token).await, Some(true));
    let next = world.refresh(&web, &refreshed.refresh_token.unwrap()).await.unwrap();
    assert_eq!(told(&next.access_token).await, Some(true));
}

#[tokio::test]
async fn single_claims_of_the_profile_are_given_to_whoever_may_ask_for_them() {
    let world = World::new().await;
    let all = known(&world).await;
    let grants = [GrantType::AuthorizationCode];
    let web = world.client("web", &grants, |it| it.scope = "openid profile address".into()).await;
    let wish = r#"{"userinfo":{"name":null,"phone_number":{"essential":true},"middle_name":null},"id_token":{"birthdate":null,"address":null,"phone_number_verified":null}}"#;
    let request = world.request(&[("claims", wish), ("scope", "openid")]).await;
    // The person is asked for what they come to, and for no telephone number.
    assert_eq!(request.asked_of_person().as_str(), "openid profile address");
    let code = world.code(&[("claims", wish), ("scope", "openid")]).await;
    let answer = world.redeem(&web, &code, &[]).await.unwrap();
    let info = plain(&world, &Credential::Bearer(&answer.access_token)).await;
    assert_eq!(info.keys().collect::<Vec<_>>(), ["name", "sub"]);
    assert_eq!(info["name"], all["name"]);
    let id = claims(answer.id_token.as_ref().unwrap());
    assert_eq!((&id["birthdate"], &id["address"]), (&all["birthdate"], &all["address"]));
    assert!(id.get("name").is_none() && id.get("phone_number_verified").is_none());
}
