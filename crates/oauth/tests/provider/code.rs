//! The authorization code grant, from the request to the replay.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tegata_core::{Batch, Realm, SessionId};
use tegata_identity::RoleChange;
use tegata_oauth::{
    ClientMetadata, GrantType, Next, NotAuthorized, Proven, Said, SignedIn, Unsafe,
};
use tegata_token::{Entry, Target, jws};
use tokio::task::JoinSet;

use super::world::{
    CALLBACK, CHALLENGE, World, after, asked, claims, client_key, error, params, place, query,
};

#[tokio::test]
async fn gives_tokens_that_say_what_was_granted() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let code = world.code_for(&who, &[]).await;
    let answer = world.redeem(&web, &code, &[]).await.unwrap();
    let access = claims(&answer.access_token);
    assert_eq!(access["iss"], "https://issuer.example");
    assert_eq!(access["sub"], world.user.id.as_str());
    assert_eq!(access["aud"], "https://api.example");
    assert_eq!(access["scope"], "openid orders.read");
    assert_eq!(access["roles"], json!(["customer"]));
    assert_eq!(access["sid"], who.session.as_str());
    assert_eq!(access["client_id"], "web");
    assert_eq!(access["exp"].as_u64().unwrap() - access["iat"].as_u64().unwrap(), 900);
    let uri = access["status"]["status_list"]["uri"].as_str().unwrap();
    assert!(uri.starts_with("https://issuer.example/status-lists/1."), "{uri}");
    for name in ["jti", "fid"] {
        assert!(access[name].as_str().unwrap().starts_with("1."), "{name}");
    }
    let id = claims(answer.id_token.as_ref().unwrap());
    assert_eq!(
        (&id["aud"], &id["nonce"], &id["sid"]),
        (&json!("web"), &json!("n"), &access["sid"])
    );
    assert!(id.get("at_hash").is_some() && id.get("scope").is_none());
    assert_eq!((answer.token_type, answer.expires_in), ("Bearer", 900));
}

#[tokio::test]
async fn the_answer_carries_state_and_issuer_encoded() {
    let world = World::new().await;
    world.web().await;
    let request = world.request(&[]).await;
    let redirect = world.grant(&request, &world.signed_in()).await;
    assert!(redirect.address().starts_with(&format!("{CALLBACK}?code=ac_1.")));
    assert_eq!(query(redirect.address(), "state"), "s%20t%26ate");
    assert_eq!(query(redirect.address(), "iss"), "https%3A%2F%2Fissuer.example");
    assert!(!format!("{redirect:?}").contains("code="));
}

#[tokio::test]
async fn a_code_that_is_used_twice_takes_back_what_it_gave() {
    let world = World::new().await;
    let web = world.web().await;
    let code = world.code(&[]).await;
    let answer = world.redeem(&web, &code, &[]).await.unwrap();
    assert!(world.is_active(&answer.access_token).await);
    assert_eq!(error(world.redeem(&web, &code, &[]).await.unwrap_err()), "invalid_grant");
    assert!(!world.is_active(&answer.access_token).await);
    let refresh = answer.refresh_token.unwrap();
    assert_eq!(error(world.refresh(&web, &refresh).await.unwrap_err()), "invalid_grant");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_redeem_one_code_at_once_at_most_one_is_served_and_none_keeps_it() {
    let world = Arc::new(World::new().await);
    let web = world.web().await;
    for _ in 0..20 {
        let code = world.code(&[]).await;
        let mut tasks = JoinSet::new();
        for _ in 0..50 {
            let (world, web, code) = (world.clone(), web.clone(), code.clone());
            tasks.spawn(async move { world.redeem(&web, &code, &[]).await.ok() });
        }
        let served: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
        assert!(served.len() <= 1, "{} were served", served.len());
        for answer in served {
            assert!(!world.is_active(&answer.access_token).await);
        }
    }
}

#[tokio::test]
async fn refuses_what_the_request_did_not_promise() {
    let world = World::new().await;
    let web = world.web().await;
    let grants = [GrantType::AuthorizationCode];
    let other = world.client("other", &grants, |_| {}).await;
    for (changes, expected) in [
        (vec![("redirect_uri", "https://app.example/other")], "invalid_grant"),
        (vec![("redirect_uri", "")], "invalid_grant"),
        (vec![("code_verifier", CHALLENGE)], "invalid_grant"),
        (vec![("code_verifier", "")], "invalid_request"),
        (vec![("code", "ac_1.99999.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")], "invalid_grant"),
        (vec![("code", "x")], "invalid_grant"),
        (vec![("code", "")], "invalid_request"),
    ] {
        let code = world.code(&[]).await;
        let refused = world.redeem(&web, &code, &changes).await.unwrap_err();
        assert_eq!(error(refused), expected, "{changes:?}");
    }
    // A stolen code is of no use to another client, and its own client still can use it.
    let code = world.code(&[]).await;
    assert_eq!(error(world.redeem(&other, &code, &[]).await.unwrap_err()), "invalid_grant");
    assert!(world.redeem(&web, &code, &[]).await.is_ok());
}

#[tokio::test]
async fn a_code_lives_a_minute() {
    let world = World::new().await;
    let web = world.web().await;
    let (fresh, old) = (world.code(&[]).await, world.code(&[]).await);
    after(&world.clock, 59);
    assert!(world.redeem(&web, &fresh, &[]).await.is_ok());
    after(&world.clock, 1);
    assert_eq!(error(world.redeem(&web, &old, &[]).await.unwrap_err()), "invalid_grant");
}

#[tokio::test]
async fn a_session_that_has_ended_gives_nothing_more() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let kept = world.redeem(&web, &world.code_for(&who, &[]).await, &[]).await.unwrap();
    let pending = world.code_for(&who, &[]).await;
    end(&world, &who.session).await;
    assert_eq!(error(world.redeem(&web, &pending, &[]).await.unwrap_err()), "invalid_grant");
    let refused = world.refresh(&web, &kept.refresh_token.unwrap()).await.unwrap_err();
    assert_eq!(error(refused), "invalid_grant");
    assert!(!world.is_active(&kept.access_token).await);
}

#[tokio::test]
async fn offline_access_outlives_the_session_and_nothing_else_does() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let scope = [("scope", "openid offline_access")];
    let offline = world.redeem(&web, &world.code_for(&who, &scope).await, &[]).await.unwrap();
    let said = claims(&offline.access_token);
    assert_eq!(said["sid"], who.session.as_str());
    assert_eq!(said["outlives_session"], true);
    end(&world, &who.session).await;
    assert!(world.is_active(&offline.access_token).await);
    let next = world.refresh(&web, &offline.refresh_token.unwrap()).await.unwrap();
    let refresh = next.refresh_token.unwrap();
    // Whatever of its scope a refresh asks for, it is the same sign-in.
    let narrower =
        [("grant_type", "refresh_token"), ("refresh_token", refresh.as_str()), ("scope", "openid")];
    let proven = world.proven(&web).await;
    let narrower =
        world.provider.token(&proven, &params(&narrower), &place(), Proven::default()).await;
    let narrower = narrower.unwrap().access_token;
    let said = claims(&narrower);
    assert_eq!((&said["scope"], &said["outlives_session"]), (&json!("openid"), &json!(true)));
    assert!(world.is_active(&narrower).await);
    // A person who signs out everywhere signs out of it, too.
    let (sub, up_to) = (world.user.id.to_string(), world.node.now());
    commit(&world, Target::Subject { sub, up_to, tokens_only: false }).await;
    assert!(!world.is_active(&narrower).await && !world.is_active(&offline.access_token).await);
    after(&world.clock, 1);
    let bound = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    after(&world.clock, 86_400);
    let late = world.refresh(&web, &bound.refresh_token.unwrap()).await.unwrap_err();
    assert_eq!(error(late), "invalid_grant");
}

async fn end(world: &World, session: &SessionId) {
    commit(world, Target::Session(session.clone())).await;
}

async fn commit(world: &World, target: Target) {
    let at = world.node.now();
    let entry = Entry {
        target,
        places: vec![],
        at,
        until: at + Duration::from_secs(86_400),
        reason: "logout".into(),
        actor: "test".into(),
    };
    let batch = Batch::new(Realm::default());
    world.provider.revoker().commit(batch, vec![entry]).await.unwrap();
}

#[tokio::test]
async fn a_code_issued_before_a_kill_switch_gives_nothing_after_it() {
    let scope = [("scope", "openid offline_access")];
    for client in [true, false] {
        let world = World::new().await;
        let web = world.web().await;
        let code = world.code(&scope).await;
        after(&world.clock, 5);
        let at = world.node.now();
        let target = if client {
            Target::Client { client: web.id.clone(), up_to: at }
        } else {
            Target::Subject { sub: world.user.id.to_string(), up_to: at, tokens_only: false }
        };
        commit(&world, target).await;
        after(&world.clock, 5);
        assert_eq!(error(world.redeem(&web, &code, &[]).await.unwrap_err()), "invalid_grant");
        let later = world.redeem(&web, &world.code(&scope).await, &[]).await.unwrap();
        assert!(world.refresh(&web, &later.refresh_token.unwrap()).await.is_ok());
    }
}

#[tokio::test]
async fn whoever_signs_in_in_the_second_of_a_kill_switch_can_go_on() {
    let world = World::new().await;
    let web = world.web().await;
    let at = world.node.now() + Duration::from_millis(200);
    commit(
        &world,
        Target::Subject { sub: world.user.id.to_string(), up_to: at, tokens_only: false },
    )
    .await;
    // The sign-in counts from the next second, as the sign-in page makes it.
    let mut who = world.signed_in();
    who.auth_time = tegata_core::Timestamp::from_secs(at.secs() + 1);
    let answer = world.redeem(&web, &world.code_for(&who, &[]).await, &[]).await.unwrap();
    assert!(world.is_active(&answer.access_token).await);
    assert!(world.refresh(&web, &answer.refresh_token.unwrap()).await.is_ok());
}

#[tokio::test]
async fn a_refresh_token_used_twice_ends_its_session_too() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let first = world.redeem(&web, &world.code_for(&who, &[]).await, &[]).await.unwrap();
    let first = first.refresh_token.unwrap();
    world.refresh(&web, &first).await.unwrap();
    after(&world.clock, 11);
    assert_eq!(error(world.refresh(&web, &first).await.unwrap_err()), "invalid_grant");
    let view = world.provider.revoker().view().realm(world.provider.realm());
    assert!(view.session_ended(who.session.as_str()));
}

#[tokio::test]
async fn nobody_is_asked_for_an_authentication_that_is_not_there() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    for (values, answered) in [
        ("aal1", true),
        ("aal3 aal1", true),
        ("urn:of:others", true),
        ("aal3", false),
        ("aal", false),
        ("aal3 aal22", false),
    ] {
        let request = world.request(&[("acr_values", values)]).await;
        let said = Said { consented: true };
        let next = world.provider.next(&request, &web, Some(&who), said).await.unwrap();
        match next {
            Next::Answer => assert!(answered, "{values}"),
            Next::Refuse(error) => {
                assert!(!answered, "{values}");
                assert_eq!(error.code.name(), "unmet_authentication_requirements");
            }
            other => panic!("{values}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn whoever_is_signed_in_too_weakly_is_asked_for_the_rest_alone() {
    let world = World::new().await;
    let web = world.web().await;
    let weak = world.signed_in();
    let strong = SignedIn { acr: "aal2".into(), ..weak.clone() };
    for (fields, of_weak, of_strong) in [
        (vec![("acr_values", "aal1")], Next::Answer, Next::Answer),
        (vec![("acr_values", "aal2")], Next::StepUp, Next::Answer),
        (vec![("acr_values", "aal3 aal2")], Next::StepUp, Next::Answer),
        // Who has to sign in again does so with both.
        (vec![("acr_values", "aal2"), ("prompt", "login")], Next::SignIn, Next::SignIn),
    ] {
        let request = world.request(&fields).await;
        let said = Said { consented: true };
        for (who, expected) in [(&weak, of_weak), (&strong, of_strong)] {
            // The request arrived after the sign-in.
            let before = request.at - Duration::from_secs(5);
            let who = SignedIn { auth_time: before, ..who.clone() };
            let next = world.provider.next(&request, &web, Some(&who), said).await.unwrap();
            assert_eq!(next, expected, "{fields:?} {}", who.acr);
        }
    }
    let silent = world.request(&[("acr_values", "aal2"), ("prompt", "none")]).await;
    let next = world.provider.next(&silent, &web, Some(&weak), Said::default()).await.unwrap();
    assert!(matches!(next, Next::Refuse(error) if error.code.name() == "login_required"));
}

#[tokio::test]
async fn a_refresh_follows_changed_roles_and_refuses_the_disabled() {
    let world = World::new().await;
    let web = world.web().await;
    let first = world.redeem(&web, &world.code(&[]).await, &[]).await.unwrap();
    let roles = ["admin"].into_iter().map(|role| tegata_identity::Role::new(role).unwrap());
    let change = RoleChange::Set(roles.collect());
    let realm = Realm::default();
    world.users.change_roles(&realm, &world.user.id, &change, "test").await.unwrap();
    let second = world.refresh(&web, &first.refresh_token.unwrap()).await.unwrap();
    assert_eq!(claims(&second.access_token)["roles"], json!(["admin"]));
    world.users.disable(&realm, &world.user.id, "test").await.unwrap();
    let third = world.refresh(&web, &second.refresh_token.unwrap()).await.unwrap_err();
    assert_eq!(error(third), "invalid_grant");
    assert!(!world.is_active(&second.access_token).await);
}

#[tokio::test]
async fn a_request_with_nowhere_safe_to_answer_gets_a_page() {
    let world = World::new().await;
    world.web().await;
    let refused = async |pairs: &[(&str, &str)]| {
        world.provider.authorization_request(&params(pairs)).await.unwrap_err()
    };
    let unknown = refused(&[("client_id", "nobody"), ("redirect_uri", CALLBACK)]).await;
    assert_eq!(unknown, NotAuthorized::Page(Unsafe::Client));
    for uri in ["https://evil.example/cb", "https://app.example/cb/", "", "javascript:alert(1)"] {
        let refused = refused(&[("client_id", "web"), ("redirect_uri", uri)]).await;
        let registered_once = uri.is_empty();
        match refused {
            NotAuthorized::Page(Unsafe::RedirectUri) => assert!(!registered_once, "{uri}"),
            NotAuthorized::Redirect(_) => assert!(registered_once, "{uri}"),
            other => panic!("{other:?}"),
        }
    }
    // OpenID Connect asks for it even where there is one only.
    let named_by_nobody = refused(&[("client_id", "web"), ("scope", "profile openid")]).await;
    assert_eq!(named_by_nobody, NotAuthorized::Page(Unsafe::RedirectUri));
}

#[tokio::test]
async fn every_other_fault_is_told_to_the_client_with_its_state() {
    let world = World::new().await;
    world.web().await;
    world.client("machine", &[GrantType::ClientCredentials], |_| {}).await;
    for (changes, expected) in [
        (vec![("response_type", "token")], "unsupported_response_type"),
        (vec![("response_type", "")], "invalid_request"),
        (vec![("response_mode", "fragment")], "invalid_request"),
        (vec![("scope", "openid admin")], "invalid_scope"),
        (vec![("code_challenge", "")], "invalid_request"),
        (vec![("code_challenge_method", "plain")], "invalid_request"),
        (vec![("prompt", "none login")], "invalid_request"),
        (vec![("prompt", "dance")], "invalid_request"),
        (vec![("max_age", "-1")], "invalid_request"),
        (vec![("request", "eyJ")], "invalid_request_object"),
        (vec![("request_uri", "https://evil.example")], "request_uri_not_supported"),
        (vec![("resource", "https://nowhere.example")], "invalid_target"),
        (vec![("client_id", "machine")], "unauthorized_client"),
    ] {
        let mut all = vec![
            ("client_id", "web"),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("state", "kept"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        all.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        all.extend(&changes);
        match world.provider.authorization_request(&params(&all)).await.unwrap_err() {
            NotAuthorized::Redirect(redirect) => {
                assert!(redirect.address().starts_with(CALLBACK));
                assert_eq!(query(redirect.address(), "error"), expected, "{changes:?}");
                assert_eq!(query(redirect.address(), "state"), "kept");
            }
            other => panic!("{changes:?}: {other:?}"),
        }
    }
}

/// OpenID Connect Core §3.1.2.1, §5.4, §11; the values of services are refused as before.
#[tokio::test]
async fn what_openid_connect_offers_and_a_client_may_not_have_is_passed_over() {
    let world = World::new().await;
    world.client("bare", &[GrantType::AuthorizationCode], |it| it.scope = "openid".into()).await;
    let asked = async |scope: &str| {
        let pairs = [("client_id", "bare"), ("redirect_uri", CALLBACK), ("scope", scope)];
        let rest = [("response_type", "code"), ("code_challenge", CHALLENGE)];
        let method = [("code_challenge_method", "S256")];
        let all = [pairs.as_slice(), &rest, &method].concat();
        world.provider.authorization_request(&params(&all)).await.map(|(request, _)| request.scope)
    };
    let all = "address openid profile email phone offline_access";
    assert_eq!(asked(all).await.unwrap().as_str(), "openid");
    for wide in ["openid address admin", "profile", "offline_access"] {
        assert!(asked(wide).await.is_err(), "{wide}");
    }
}

#[tokio::test]
async fn a_person_is_asked_for_what_is_missing_and_for_nothing_else() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    let request = world.request(&[]).await;
    let next = async |request, who, consented| {
        world.provider.next(request, &web, who, Said { consented }).await.unwrap()
    };
    assert_eq!(next(&request, None, false).await, Next::SignIn);
    assert_eq!(next(&request, Some(&who), false).await, Next::AskConsent);
    assert_eq!(next(&request, Some(&who), true).await, Next::Answer);
    world.provider.remember_consent(&who.user, &web, &request.scope).await.unwrap();
    assert_eq!(next(&request, Some(&who), false).await, Next::Answer);
    let wider = world.request(&[("scope", "openid profile orders.read")]).await;
    assert_eq!(next(&wider, Some(&who), false).await, Next::AskConsent);
    let again = world.request(&[("prompt", "consent")]).await;
    assert_eq!(next(&again, Some(&who), false).await, Next::AskConsent);

    let silent = world.request(&[("prompt", "none")]).await;
    let silent_wide = world.request(&[("prompt", "none"), ("scope", "openid profile")]).await;
    assert_eq!(next(&silent, Some(&who), false).await, Next::Answer);
    let code = |next| match next {
        Next::Refuse(error) => error.code.name(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(next(&silent, None, false).await), "login_required");
    assert_eq!(code(next(&silent_wide, Some(&who), false).await), "consent_required");
}

#[tokio::test]
async fn a_sign_in_that_is_too_old_or_was_asked_anew_does_not_count() {
    let world = World::new().await;
    let web = world.web().await;
    let who = world.signed_in();
    after(&world.clock, 100);
    let next = async |changes: &[(&str, &str)], who| {
        let request = world.request(changes).await;
        world.provider.next(&request, &web, Some(who), Said { consented: true }).await.unwrap()
    };
    assert_eq!(next(&[("max_age", "100")], &who).await, Next::Answer);
    assert_eq!(next(&[("max_age", "99")], &who).await, Next::SignIn);
    assert_eq!(next(&[("prompt", "login")], &who).await, Next::SignIn);
    let anew = world.signed_in();
    assert_eq!(next(&[("prompt", "login")], &anew).await, Next::Answer);
    assert_eq!(next(&[("max_age", "0")], &anew).await, Next::Answer);
    // Ten seconds and a half ago it is eleven to whoever knows the whole second alone, as tokens say it.
    world.clock.advance(Duration::from_millis(900));
    let late = world.signed_in();
    world.clock.advance(Duration::from_millis(10_500));
    assert_eq!(next(&[("max_age", "10")], &late).await, Next::SignIn);
    assert_eq!(next(&[("max_age", "11")], &late).await, Next::Answer);
}

/// OpenID Connect Dynamic Client Registration 1.0 §2: what is registered counts where a request is silent.
#[tokio::test]
async fn what_a_client_registered_as_its_wish_counts_until_a_request_says_otherwise() {
    let world = World::new().await;
    let (key, register) = client_key();
    let web = world
        .client("web", &[GrantType::AuthorizationCode], |it| {
            register(it);
            it.default_max_age = Some(60);
            it.default_acr_values = vec!["aal2".into(), "aal1".into()];
        })
        .await;
    let silent = world.request(&[]).await;
    assert_eq!(silent.max_age, Some(60));
    assert_eq!(silent.acr_values, ["aal2", "aal1"]);
    // In a request object, and where it is pushed, as anywhere.
    let object = json!({
        "iss": "web", "aud": "https://issuer.example", "client_id": "web", "response_type": "code",
        "redirect_uri": CALLBACK, "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    });
    let object = jws::sign(&key, "oauth-authz-req+jwt", object.to_string().as_bytes()).unwrap();
    let signed = params(&[("client_id", "web"), ("request", &object), ("max_age", "5")]);
    let (signed, _) = world.provider.authorization_request(&signed).await.unwrap();
    assert_eq!((signed.max_age, signed.acr_values), (Some(60), silent.acr_values.clone()));
    let pushed = world.provider.push(&web, &asked(&[])).await.unwrap().request_uri;
    let pushed = params(&[("client_id", "web"), ("request_uri", &pushed)]);
    let (pushed, _) = world.provider.authorization_request(&pushed).await.unwrap();
    assert_eq!((pushed.max_age, pushed.acr_values), (Some(60), silent.acr_values.clone()));
    // Each overrides its own, whichever way it is said.
    for (changes, max_age, acr_values) in [
        (("max_age", "0"), 0, vec!["aal2", "aal1"]),
        (("max_age", "3600"), 3600, vec!["aal2", "aal1"]),
        (("acr_values", "aal1"), 60, vec!["aal1"]),
        (("claims", r#"{"id_token": {"acr": {"value": "aal1"}}}"#), 60, vec!["aal1"]),
        (("claims", r#"{"id_token": {"acr": {"essential": true, "value": "aal1"}}}"#), 60, vec![]),
        (("claims", r#"{"id_token": {"name": null}}"#), 60, vec!["aal2", "aal1"]),
    ] {
        let request = world.request(&[changes]).await;
        assert_eq!(request.max_age, Some(max_age), "{changes:?}");
        assert_eq!(request.acr_values, acr_values, "{changes:?}");
    }
    // And it is kept.
    let who = world.signed_in();
    let next = async |changes: &[(&str, &str)]| {
        let request = world.request(changes).await;
        world.provider.next(&request, &web, Some(&who), Said { consented: true }).await.unwrap()
    };
    assert_eq!(next(&[]).await, Next::Answer);
    after(&world.clock, 61);
    assert_eq!(next(&[]).await, Next::SignIn);
    assert_eq!(next(&[("max_age", "61")]).await, Next::Answer);
    let strict = |it: &mut ClientMetadata| it.default_acr_values = vec!["aal2".into()];
    let strict = world.client("web", &[GrantType::AuthorizationCode], strict).await;
    for (changes, expected) in
        [(vec![], Next::StepUp), (vec![("acr_values", "aal1")], Next::Answer)]
    {
        let request = world.request(&changes).await;
        let said = Said { consented: true };
        let next = world.provider.next(&request, &strict, Some(&who), said).await.unwrap();
        assert_eq!(next, expected, "{changes:?}");
    }
}

#[tokio::test]
async fn a_request_is_held_under_a_handle_that_nobody_guesses() {
    let world = World::new().await;
    world.web().await;
    let request = world.request(&[]).await;
    let handle = world.provider.hold(&request).await.unwrap();
    let (held, client) = world.provider.held(&handle).await.unwrap().unwrap();
    assert_eq!((held, client.id.as_str()), (request, "web"));
    for other in ["", "x", "../x", &"a".repeat(300), "a b"] {
        assert_eq!(world.provider.held(other).await.unwrap(), None);
    }
    world.provider.release(&handle).await.unwrap();
    assert_eq!(world.provider.held(&handle).await.unwrap(), None);
    let handle = world.provider.hold(&world.request(&[]).await).await.unwrap();
    after(&world.clock, 1800);
    assert_eq!(world.provider.held(&handle).await.unwrap(), None);
}
