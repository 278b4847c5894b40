//! Clients register themselves (RFC 7591, RFC 7592), and prove themselves with keys that they publish.

use std::thread;

use serde_json::{Value, json};
use tegata_core::Node;
use tegata_token::{Algorithm, SigningKey, jws};

use super::{
    browser::{Browser, CALLBACK, ask_token, authorization, redeem},
    demo::{Client, Demo, demo, until},
    http::{Answer, parameter},
    publisher::Publisher,
};

fn register(demo: &Demo, said: &Value) -> Answer {
    demo.public.post("/oauth2/register").json(said).send()
}

fn web() -> Value {
    json!({"redirect_uris": [CALLBACK], "client_name": "A client", "grant_types":
        ["authorization_code", "refresh_token"], "scope": "openid offline_access orders.read"})
}

fn with(name: &str, value: Value) -> Value {
    let mut said = web();
    said[name] = value;
    said
}

fn as_a_client(registered: &Value) -> Client {
    Client {
        id: registered["client_id"].as_str().unwrap().to_owned(),
        secret: registered["client_secret"].as_str().map(str::to_owned),
    }
}

#[test]
fn a_device_registers_itself_and_waits_for_a_person() {
    let demo = demo();
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    let said = json!({"client_name": "A television", "grant_types": [device],
        "token_endpoint_auth_method": "none", "scope": "openid",
        "userinfo_signed_response_alg": "RS256"});
    let registered = register(demo, &said).expect(201).json();
    assert_eq!(registered["grant_types"], json!([device]));
    assert_eq!(registered["userinfo_signed_response_alg"], "RS256");
    let id = registered["client_id"].as_str().unwrap();
    let asked = demo.public.post("/oauth2/device").form(&[("client_id", id)]).send();
    let asked = asked.expect(200).json();
    let complete = asked["verification_uri_complete"].as_str().unwrap();
    assert!(complete.starts_with(&format!("{}/login/device?user_code=", demo.issuer)));
    let code = asked["device_code"].as_str().unwrap();
    let fields = [("grant_type", device), ("client_id", id), ("device_code", code)];
    let poll = || demo.public.post("/oauth2/token").form(&fields).send().expect(400).json();
    assert_eq!(poll()["error"], "authorization_pending");
    assert_eq!(poll()["error"], "slow_down");
    let unknown = with("userinfo_signed_response_alg", json!("none"));
    assert_eq!(register(demo, &unknown).expect(400).json()["error"], "invalid_client_metadata");
}

#[test]
fn a_client_registers_itself_signs_somebody_in_and_is_gone_with_its_tokens() {
    let demo = demo();
    let metadata = demo.public.get("/.well-known/openid-configuration").send().json();
    let endpoint = metadata["registration_endpoint"].as_str().unwrap();
    assert_eq!(endpoint, format!("{}/oauth2/register", demo.issuer));
    let answer = register(demo, &web()).expect(201);
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let registered = answer.json();
    assert_eq!(registered["token_endpoint_auth_method"], "client_secret_basic");
    assert_eq!(registered["client_secret_expires_at"], 0);
    // It asks people for what such clients may, and for nothing of our services.
    assert_eq!(registered["scope"], "openid offline_access");
    let client = as_a_client(&registered);
    assert_eq!(
        registered["registration_client_uri"],
        format!("{}/oauth2/register/{}", demo.issuer, client.id)
    );

    // As OpenID Connect's own clients do: without PKCE.
    let person = demo.person("customer");
    let mut browser = Browser::new(demo.public);
    let mut asked = authorization(&client);
    asked.retain(|(name, _)| !name.starts_with("code_challenge") && *name != "scope");
    asked.push(("scope", "openid offline_access"));
    let location = browser.authorize(&asked, &person);
    let code = parameter(&location, "code").unwrap();
    let fields =
        [("grant_type", "authorization_code"), ("code", code.as_str()), ("redirect_uri", CALLBACK)];
    let tokens = ask_token(demo, &client, &fields).expect(200).json();
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let access = tokens["access_token"].as_str().unwrap();
    demo.public.get("/oauth2/userinfo").bearer(access).send().expect(200);

    let own = format!("/oauth2/register/{}", client.id);
    let token = registered["registration_access_token"].as_str().unwrap();
    demo.public.ask("DELETE", &own).bearer(token).send().expect(204);
    demo.public.get("/oauth2/userinfo").bearer(access).send().expect(401);
    let fields = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
    ask_token(demo, &client, &fields).expect(401);
    demo.public.get(&own).bearer(token).send().expect(401);
}

#[test]
fn a_registration_is_managed_with_its_own_token_alone() {
    let demo = demo();
    let registered = register(demo, &web()).expect(201).json();
    let other = register(demo, &web()).expect(201).json();
    let own = format!("/oauth2/register/{}", registered["client_id"].as_str().unwrap());
    let token = registered["registration_access_token"].as_str().unwrap();
    let read = demo.public.get(&own).bearer(token).send().expect(200).json();
    assert_eq!(read["client_id"], registered["client_id"]);
    assert!(read.get("client_secret").is_none());
    // What was shown is said again (RFC 7592 §3).
    assert_eq!(read["registration_access_token"], registered["registration_access_token"]);

    let strange = other["registration_access_token"].as_str().unwrap();
    let secret = registered["client_secret"].as_str().unwrap();
    for shown in [strange, secret, "rat_x", "undefined"] {
        for method in ["GET", "PUT", "DELETE"] {
            let ask = demo.public.ask(method, &own).bearer(shown).json(&web());
            let answer = ask.send().expect(401);
            assert!(answer.field("www-authenticate").unwrap().starts_with("Bearer"), "{method}");
        }
    }
    demo.public.get(&own).send().expect(401);
    // A client that an operator declared has none.
    demo.public.get("/oauth2/register/demo-web").bearer(token).send().expect(401);

    let put = |said: &Value| demo.public.ask("PUT", &own).bearer(token).json(said).send();
    put(&web()).expect(400);
    put(&with("client_id", other["client_id"].clone())).expect(400);
    let mut said = with("client_id", registered["client_id"].clone());
    said["client_secret"] = json!("another secret than its own");
    put(&said).expect(400);
    said["client_secret"] = registered["client_secret"].clone();
    said["redirect_uris"] = json!(["https://app.example/cb"]);
    let changed = put(&said).expect(200).json();
    assert_eq!(changed["redirect_uris"], json!(["https://app.example/cb"]));
    // Its secret is the one that it was.
    let client = as_a_client(&registered);
    let refused = redeem(demo, &client, "ac_1.20000.x").json();
    assert_eq!(refused["error"], "invalid_grant");
}

#[test]
fn what_cannot_be_is_not_registered_and_nobody_vouches_for_themselves() {
    let demo = demo();
    for (said, error, word) in [
        (json!({}), "invalid_client_metadata", "redirect_uris"),
        (with("redirect_uris", json!(["http://a.example"])), "invalid_redirect_uri", "https"),
        (
            with("redirect_uris", json!(["https://a.example/#x"])),
            "invalid_redirect_uri",
            "fragment",
        ),
        (with("redirect_uris", json!("https://a.example")), "invalid_client_metadata", "redirect"),
        (with("grant_types", json!(["implicit"])), "invalid_client_metadata", "grant_types"),
        (with("grant_types", json!(["client_credentials"])), "invalid_client_metadata", "vouches"),
        (
            with("grant_types", json!(["urn:ietf:params:oauth:grant-type:token-exchange"])),
            "invalid_client_metadata",
            "vouches",
        ),
        (with("response_types", json!(["code", "token"])), "invalid_client_metadata", "code"),
        (with("subject_type", json!("ephemeral")), "invalid_client_metadata", "subject_type"),
        // Everybody's machine is called so.
        (
            with("subject_type", json!("pairwise")),
            "invalid_client_metadata",
            "sector_identifier_uri",
        ),
        (with("id_token_signed_response_alg", json!("none")), "invalid_client_metadata", "alg"),
        (
            with("token_endpoint_auth_method", json!("client_secret_jwt")),
            "invalid_client_metadata",
            "token_endpoint_auth_method",
        ),
        (
            with("jwks", json!({"keys": [{"kty": "oct", "k": "x"}]})),
            "invalid_client_metadata",
            "symmetric",
        ),
        (
            with("jwks", json!({"keys": [{"kty": "EC", "d": "x"}]})),
            "invalid_client_metadata",
            "private",
        ),
        (with("jwks_uri", json!("http://a.example/jwks")), "invalid_client_metadata", "https"),
        (with("logo_uri", json!("javascript:x")), "invalid_client_metadata", "https"),
        (with("backchannel_logout_uri", json!("/bc")), "invalid_client_metadata", "backchannel"),
        (with("client_name", json!("x".repeat(3000))), "invalid_client_metadata", "client_name"),
    ] {
        let answer = register(demo, &said).expect(400).json();
        assert_eq!(answer["error"], error, "{said}: {answer}");
        assert!(answer["error_description"].as_str().unwrap().contains(word), "{said}: {answer}");
    }
    // What nobody here knows is passed over, and what is ours to give is not given.
    let mut said = web();
    for name in ["may_introspect", "require_pkce", "asks_consent", "audiences", "profile"] {
        said[name] = json!(false);
    }
    said["may_introspect"] = json!(true);
    let client = as_a_client(&register(demo, &said).expect(201).json());
    let fields = [("token", "x")];
    let answer =
        super::browser::as_client(demo.public.post("/oauth2/introspect"), &client, &fields);
    assert_eq!(answer.send().expect(400).json()["error"], "unauthorized_client");
    // A token that does not count is no reason to take it for none.
    demo.public.post("/oauth2/register").bearer("x").json(&web()).send().expect(401);
    demo.public.post("/oauth2/register").body("application/json", b"[1]").send().expect(400);
    demo.public.post("/oauth2/register").body("text/plain", b"{}").send().expect(415);
}

/// RFC 7591 §3.2.1: what is kept is told, and what is told is kept.
#[test]
fn what_a_client_says_of_its_requests_is_kept_told_and_replaced() {
    let demo = demo();
    let mut said = web();
    said["default_max_age"] = json!(3600);
    said["default_acr_values"] = json!(["aal2", "aal1"]);
    said["require_auth_time"] = json!(true);
    let registered = register(demo, &said).expect(201).json();
    for name in ["default_max_age", "default_acr_values", "require_auth_time"] {
        assert_eq!(registered[name], said[name], "{name}");
    }
    let own = format!("/oauth2/register/{}", registered["client_id"].as_str().unwrap());
    let token = registered["registration_access_token"].as_str().unwrap();
    let read = demo.public.get(&own).bearer(token).send().expect(200).json();
    assert_eq!(read["default_acr_values"], said["default_acr_values"]);
    let bare = with("client_id", registered["client_id"].clone());
    let changed = demo.public.ask("PUT", &own).bearer(token).json(&bare).send().expect(200).json();
    assert!(changed.get("default_max_age").is_none(), "{changed}");
    assert!(changed.get("default_acr_values").is_none(), "{changed}");
    // `auth_time` stands in every ID token, whoever asks for it.
    assert_eq!(changed["require_auth_time"], true);
    for (name, value) in [
        ("default_max_age", json!("3600")),
        ("default_max_age", json!(-1)),
        ("default_max_age", json!(1.5)),
        ("default_acr_values", json!("aal2")),
        ("default_acr_values", json!(["aal2 aal1"])),
        ("default_acr_values", json!([""])),
        ("default_acr_values", json!([7])),
        ("default_acr_values", json!(["x".repeat(1500), "y".repeat(1500)])),
        ("require_auth_time", json!("true")),
    ] {
        let refused = register(demo, &with(name, value.clone())).expect(400).json();
        assert_eq!(refused["error"], "invalid_client_metadata", "{name} = {value}");
        assert!(refused["error_description"].as_str().unwrap().contains(name), "{refused}");
    }
    // What nobody here keeps is told by nobody.
    let mut more = web();
    more["software_statement"] = json!("eyJhbGciOiJub25lIn0.e30.");
    more["authorization_details_types"] = json!(["payment"]);
    more["initiate_login_uri"] = json!("https://app.example/login");
    let told = register(demo, &more).expect(201).json();
    for name in ["software_statement", "authorization_details_types", "initiate_login_uri"] {
        assert!(told.get(name).is_none(), "{name}: {told}");
    }
}

#[test]
fn whoever_is_signed_in_too_weakly_for_what_a_client_registered_is_not_sent_back_with_a_code() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    let mut error_of = |said: &Value, more: &[(&str, &str)]| {
        let client = as_a_client(&register(demo, said).expect(201).json());
        let mut asked = authorization(&client);
        asked.retain(|(name, _)| *name != "scope");
        asked.extend([("scope", "openid"), ("prompt", "none")]);
        asked.extend(more);
        let query = super::http::form(&asked);
        let answer = browser.get(&format!("/oauth2/authorize?{query}"));
        parameter(answer.location(), "error").unwrap()
    };
    // Only their consent is missing.
    assert_eq!(error_of(&web(), &[]), "consent_required");
    let strong = with("default_acr_values", json!(["aal2"]));
    assert_eq!(error_of(&strong, &[]), "login_required");
    assert_eq!(error_of(&strong, &[("acr_values", "aal1")]), "consent_required");
}

#[test]
fn a_client_that_registers_an_algorithm_proves_itself_with_no_other() {
    let demo = demo();
    let [key, other] =
        [Algorithm::Es256, Algorithm::Ps256].map(|it| SigningKey::generate(it).unwrap());
    let mut said = with("jwks", json!({"keys": [key.jwk(), other.jwk()]}));
    said["token_endpoint_auth_method"] = json!("private_key_jwt");
    let both = register(demo, &said).expect(201).json();
    assert!(both.get("token_endpoint_auth_signing_alg").is_none(), "{both}");
    for key in [&key, &other] {
        push(demo, both["client_id"].as_str().unwrap(), key).expect(201);
    }
    said["token_endpoint_auth_signing_alg"] = json!("PS256");
    let one = register(demo, &said).expect(201).json();
    assert_eq!(one["token_endpoint_auth_signing_alg"], "PS256");
    let id = one["client_id"].as_str().unwrap();
    push(demo, id, &key).expect(401);
    push(demo, id, &other).expect(201);
    // It names one of its keys', and none that is not there.
    for alg in ["EdDSA", "RS256", "HS256", "none", ""] {
        said["token_endpoint_auth_signing_alg"] = json!(alg);
        let refused = register(demo, &said).expect(400).json();
        assert_eq!(refused["error"], "invalid_client_metadata", "{alg}");
    }
    // It says nothing of a client that signs no assertion.
    let told = register(demo, &with("token_endpoint_auth_signing_alg", json!("HS256")));
    assert!(told.expect(201).json().get("token_endpoint_auth_signing_alg").is_none());
}

#[test]
fn a_sector_must_know_the_redirect_uris_and_is_asked_without_detours() {
    let demo = demo();
    let good = Publisher::of("200 OK", &json!([CALLBACK]).to_string());
    register(demo, &with("sector_identifier_uri", json!(good.address))).expect(201);
    let bad = Publisher::of("200 OK", "[\"https://other.example/cb\"]");
    let detour = Publisher::of("302 Found", &json!([CALLBACK]).to_string());
    let long = Publisher::of("200 OK", &json!(["x".repeat(300_000), CALLBACK]).to_string());
    for publisher in [bad, detour, long] {
        let said = with("sector_identifier_uri", json!(publisher.address));
        let answer = register(demo, &said).expect(400).json();
        assert!(answer["error_description"].as_str().unwrap().contains("sector"), "{answer}");
        assert_eq!(publisher.asked(), 1);
    }
    // Nobody asks inside the network for them.
    for address in ["https://10.0.0.1/it", "https://169.254.169.254/latest"] {
        register(demo, &with("sector_identifier_uri", json!(address))).expect(400);
    }
}

/// A pairwise client whose answers go there.
fn pairwise(redirect_uris: &[&str]) -> Value {
    let mut said = with("redirect_uris", json!(redirect_uris));
    said["subject_type"] = json!("pairwise");
    said
}

#[test]
fn a_sector_is_the_host_of_all_redirect_uris_or_of_their_list() {
    let demo = demo();
    let made = register(demo, &pairwise(&["https://app.example/cb", "https://app.example:1/"]));
    let made = made.expect(201).json();
    assert_eq!(
        (&made["subject_type"], made.get("sector_identifier_uri")),
        (&json!("pairwise"), None)
    );
    let several = ["https://a.example/cb", "https://b.example/cb"];
    let refused = register(demo, &pairwise(&several)).expect(400).json();
    assert_eq!(refused["error"], "invalid_client_metadata");
    let why = refused["error_description"].as_str().unwrap();
    assert!(why.contains("redirect_uris") && why.contains("sector_identifier_uri"), "{why}");
    let listed = |document: &str| {
        let publisher = Publisher::of("200 OK", document);
        let mut said = pairwise(&several);
        said["sector_identifier_uri"] = json!(publisher.address);
        let answer = register(demo, &said);
        assert_eq!(publisher.asked(), 1);
        (answer, publisher.address)
    };
    let (made, address) = listed(&json!(several).to_string());
    let made = made.expect(201).json();
    assert_eq!(made["sector_identifier_uri"], json!(address));
    for other in [
        json!(several[..1]).to_string(),
        json!(["https://a.example/cb", "https://b.example/cb/"]).to_string(),
        json!({"redirect_uris": several}).to_string(),
        "[]".to_owned(),
    ] {
        let (refused, _) = listed(&other);
        assert_eq!(refused.expect(400).json()["error"], "invalid_client_metadata", "{other}");
    }
    // It is read again, as what is registered.
    let own = format!("/oauth2/register/{}", made["client_id"].as_str().unwrap());
    let token = made["registration_access_token"].as_str().unwrap();
    let read = demo.public.get(&own).bearer(token).send().expect(200).json();
    assert_eq!(
        (&read["subject_type"], &read["sector_identifier_uri"]),
        (&json!("pairwise"), &json!(address))
    );
}

/// Whoever is in the sector of another site could compare what they call people.
#[test]
fn nobody_gets_into_the_sector_of_another_with_what_they_have() {
    let demo = demo();
    let victim = "https://victim.example/cb";
    // What does not go through its redirect URIs would not show whose it is.
    let device = "urn:ietf:params:oauth:grant-type:device_code";
    for grants in [json!(["authorization_code", device]), json!([device])] {
        let mut said = pairwise(&[victim]);
        said["grant_types"] = grants;
        let refused = register(demo, &said).expect(400).json();
        assert!(
            refused["error_description"].as_str().unwrap().contains("device_code"),
            "{refused}"
        );
    }

    // The list that a site publishes of its clients is for everybody to read.
    let list = Publisher::of("200 OK", &json!([victim]).to_string());
    let mut said = pairwise(&["https://evil.example/cb"]);
    said["sector_identifier_uri"] = json!(list.address);
    register(demo, &said).expect(400);
    said["redirect_uris"] = json!(["https://evil.example/cb", victim]);
    register(demo, &said).expect(400);

    let evil = "https://evil.example/cb";
    for first in [pairwise(&[evil]), with("redirect_uris", json!([evil]))] {
        let registered = register(demo, &first).expect(201).json();
        let own = format!("/oauth2/register/{}", registered["client_id"].as_str().unwrap());
        let token = registered["registration_access_token"].as_str().unwrap();
        let put = |mut said: Value| {
            said["client_id"] = registered["client_id"].clone();
            demo.public.ask("PUT", &own).bearer(token).json(&said).send()
        };
        let mut listed = pairwise(&[victim]);
        listed["sector_identifier_uri"] = json!(list.address);
        let mut with_device = pairwise(&[evil]);
        with_device["grant_types"] = json!(["authorization_code", device]);
        let is_pairwise = first["subject_type"] == "pairwise";
        // From ids to names and back, too: it would know both of everybody.
        let turned =
            if is_pairwise { with("redirect_uris", json!([evil])) } else { pairwise(&[evil]) };
        for said in [pairwise(&[victim]), pairwise(&[evil, victim]), listed, with_device, turned] {
            let refused = put(said.clone()).expect(400).json();
            assert_eq!(refused["error"], "invalid_client_metadata", "{said}");
        }
        let mut again = first.clone();
        again["redirect_uris"] = json!([evil, "https://evil.example/other"]);
        assert_eq!(put(again).expect(200).json()["subject_type"], registered["subject_type"]);
    }
}

#[test]
fn a_client_that_moves_within_its_sector_calls_people_the_same() {
    let demo = demo();
    let person = demo.person("customer");
    let list = Publisher::of("200 OK", &json!([CALLBACK]).to_string());
    let mut said = pairwise(&[CALLBACK]);
    said["sector_identifier_uri"] = json!(list.address);
    let registered = register(demo, &said).expect(201).json();
    let client = as_a_client(&registered);
    let known = || {
        let mut asked = authorization(&client);
        asked.retain(|(name, _)| *name != "scope");
        asked.push(("scope", "openid"));
        let location = Browser::new(demo.public).authorize(&asked, &person);
        let code = parameter(&location, "code").unwrap();
        let tokens = redeem(demo, &client, &code).expect(200).json();
        let id = super::jwt::verified(tokens["id_token"].as_str().unwrap()).claims;
        let access = tokens["access_token"].as_str().unwrap();
        let info = demo.public.get("/oauth2/userinfo").bearer(access).send().expect(200).json();
        assert_eq!(info["sub"], id["sub"]);
        assert_ne!(id["sub"], person.id);
        id["sub"].clone()
    };
    let before = known();
    let own = format!("/oauth2/register/{}", client.id);
    let token = registered["registration_access_token"].as_str().unwrap();
    said["client_id"] = registered["client_id"].clone();
    said["redirect_uris"] = json!([CALLBACK, "https://elsewhere.example/cb"]);
    let put = || demo.public.ask("PUT", &own).bearer(token).json(&said).send();
    put().expect(400);
    list.becomes(&json!([CALLBACK, "https://elsewhere.example/cb"]).to_string());
    put().expect(200);
    assert_eq!(known(), before);
}

#[test]
fn a_client_that_is_removed_while_it_changes_its_registration_stays_removed() {
    let demo = demo();
    let registered = register(demo, &web()).expect(201).json();
    let client = as_a_client(&registered);
    let token = registered["registration_access_token"].as_str().unwrap().to_owned();
    let publisher = Publisher::of("200 OK", &json!([CALLBACK]).to_string());
    let mut said = with("client_id", registered["client_id"].clone());
    said["sector_identifier_uri"] = json!(publisher.address);
    let own = format!("/oauth2/register/{}", client.id);
    // It answers when this is given back.
    let held = publisher.hold();
    let public = demo.public;
    let asks = thread::spawn(move || public.ask("PUT", &own).bearer(&token).json(&said).send());
    publisher.wait_for_somebody();
    demo.command(&["client", "remove", &client.id]);
    drop(held);
    assert_ne!(asks.join().unwrap().status, 200);
    let listed = demo.command(&["client", "list"]).to_string();
    assert!(!listed.contains(&client.id), "{listed}");
}

fn assertion(demo: &Demo, client: &str, key: &SigningKey) -> String {
    let now = Node::start().now().secs();
    let jti = super::demo::unique("assertion");
    let claims = json!({
        "iss": client, "sub": client, "aud": demo.issuer, "iat": now, "exp": now + 60, "jti": jti,
    });
    jws::sign(key, "JWT", claims.to_string().as_bytes()).unwrap()
}

fn push(demo: &Demo, client: &str, key: &SigningKey) -> Answer {
    let assertion = assertion(demo, client, key);
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let fields = [
        ("client_id", client),
        ("client_assertion_type", kind),
        ("client_assertion", assertion.as_str()),
        ("response_type", "code"),
        ("redirect_uri", CALLBACK),
        ("scope", "openid"),
    ];
    demo.public.post("/oauth2/par").form(&fields).send()
}

#[test]
fn keys_that_a_client_publishes_are_followed_when_it_changes_them() {
    let demo = demo();
    let (old, new) = (
        SigningKey::generate(Algorithm::Es256).unwrap(),
        SigningKey::generate(Algorithm::Ps256).unwrap(),
    );
    let set = |key: &SigningKey| json!({"keys": [key.jwk()]}).to_string();
    let publisher = Publisher::of("200 OK", &set(&old));
    let mut said = with("jwks_uri", json!(publisher.address));
    said["token_endpoint_auth_method"] = json!("private_key_jwt");
    let registered = register(demo, &said).expect(201).json();
    assert!(registered.get("client_secret").is_none());
    let client = registered["client_id"].as_str().unwrap();
    push(demo, client, &old).expect(201);
    let asked = publisher.asked();
    (0..20).for_each(|_| drop(push(demo, client, &old).expect(201)));
    assert_eq!(publisher.asked(), asked, "a set that is known was asked for again");
    // A key that is not published, however often it is shown, is asked for once in a while.
    (0..20).for_each(|_| drop(push(demo, client, &new).expect(401)));
    assert!(publisher.asked() <= asked + 20);
    publisher.becomes(&set(&new));
    until("the new key counts", || push(demo, client, &new).status == 201);
    push(demo, client, &old).expect(401);
}
