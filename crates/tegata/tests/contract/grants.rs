//! The token endpoint: codes, refresh tokens and client credentials, as clients see them.

use serde_json::json;

use super::{
    browser::{
        Browser, CALLBACK, CHALLENGE, VERIFIER, a_code, ask_token, authorization, redeem, tokens,
    },
    demo::{Client, demo, unique, until},
    gateway::received,
    http::{encoded, parameter, query},
    jwt::{names, sorted, unverified, verified},
};

#[test]
fn a_code_becomes_tokens_for_both_kinds_of_client() {
    let demo = demo();
    for client in [demo.client("demo-web"), demo.client("demo-spa")] {
        let person = demo.person("customer");
        let mut browser = Browser::new(demo.public);
        let address = browser.authorize(&authorization(&client), &person);
        let mut names_of: Vec<_> = query(&address).into_iter().map(|(name, _)| name).collect();
        names_of.sort();
        assert_eq!(names_of, ["code", "iss", "state"]);
        assert_eq!(parameter(&address, "iss").unwrap(), demo.issuer);
        assert_eq!(parameter(&address, "state").unwrap(), "a state & more");
        let answer = redeem(demo, &client, &parameter(&address, "code").unwrap()).expect(200);
        assert_eq!(answer.field("cache-control"), Some("no-store"));
        let answer = answer.json();
        let members = "access_token expires_in id_token refresh_token scope token_type";
        assert_eq!(names(&answer), sorted(members));
        assert_eq!(answer["token_type"], "Bearer");
        assert_eq!(answer["scope"], "openid profile email roles");

        let id_token = verified(answer["id_token"].as_str().unwrap());
        assert_eq!(id_token.claims["aud"], client.id);
        assert_eq!(id_token.claims["nonce"], "a nonce");
        assert_eq!(id_token.claims["sub"], person.id);
        assert_eq!(id_token.claims["iss"], demo.issuer);
        assert_ne!(id_token.header["typ"], "at+jwt");
        for name in ["exp", "iat", "auth_time", "acr", "amr", "at_hash", "sid"] {
            assert!(!id_token.claims[name].is_null(), "{name}");
        }
    }
}

#[test]
fn an_access_token_of_a_person_has_the_promised_claims_and_no_others() {
    let demo = demo();
    let (person, client) = (demo.person("customer"), demo.client("demo-spa"));
    let answer = tokens(demo, &client, &person);
    let jwt = verified(answer["access_token"].as_str().unwrap());
    assert_eq!(names(&jwt.header), ["alg", "kid", "typ"]);
    assert_eq!((&jwt.header["typ"], &jwt.header["alg"]), (&json!("at+jwt"), &json!("RS256")));
    let promised = "iss sub aud exp iat nbf jti client_id scope roles status sid fid acr amr \
                    auth_time";
    assert_eq!(names(&jwt.claims), sorted(promised));
    let claims = &jwt.claims;
    assert_eq!(claims["iss"], demo.issuer);
    assert_eq!(claims["sub"], person.id);
    assert_eq!(claims["aud"], demo.described["gateway"]);
    assert_eq!(claims["client_id"], client.id);
    assert_eq!(claims["scope"], "openid profile email roles");
    assert_eq!(claims["roles"], json!(["customer"]));
    assert_eq!(claims["amr"], json!(["pwd"]));
    assert_eq!(claims["nbf"], claims["iat"]);
    let seconds = |name: &str| claims[name].as_u64().unwrap();
    // A second can pass between the one and the other.
    let lifetime = seconds("exp") - seconds("iat");
    assert!(lifetime - answer["expires_in"].as_u64().unwrap() <= 60, "{answer}");
    // All begin with the epoch of the issuer.
    for name in ["jti", "fid", "sid"] {
        assert!(claims[name].as_str().unwrap().starts_with("1."), "{name}: {claims}");
    }
    let status = &claims["status"]["status_list"];
    assert_eq!(names(status), ["idx", "uri"]);
    let list = format!("{}/status-lists/1.", demo.issuer);
    assert!(status["uri"].as_str().unwrap().starts_with(&list), "{status}");
}

/// What was granted for `offline_access` is not of the session that it began in, and still says which that was.
#[test]
fn an_access_token_for_offline_access_names_its_session_and_outlives_it() {
    let demo = demo();
    let (id, secret) = (unique("offline"), "a secret that is long enough".to_owned());
    let declared = format!(
        "[[client]]\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\n\
         redirect_uris = [\"{CALLBACK}\"]\nscope = \"openid profile offline_access\"\n\
         asks_consent = false\ngrant_types = [\"authorization_code\", \"refresh_token\"]\n"
    );
    demo.command(&["apply", &demo.file(&declared)]);
    let client = Client { id, secret: Some(secret) };
    let person = demo.person("customer");
    let (mut browser, told) = Browser::signed_in(demo.public, &person);
    let mut given = |scope| {
        let mut asked = authorization(&client);
        asked.retain(|(name, _)| *name != "scope");
        asked.push(("scope", scope));
        let code = parameter(&browser.authorize(&asked, &person), "code").unwrap();
        redeem(demo, &client, &code).expect(200).json()
    };
    let (bound, offline) = (given("openid"), given("openid profile offline_access"));
    let access = |answer: &serde_json::Value| answer["access_token"].as_str().unwrap().to_owned();
    for (answer, outlives) in [(&bound, json!(null)), (&offline, json!(true))] {
        let claims = verified(&access(answer)).claims;
        assert_eq!((&claims["sid"], &claims["outlives_session"]), (&told["sid"], &outlives));
    }
    let status = |token: &str| demo.gateway.get("/echo/x").bearer(token).send().status;
    let internal = demo.gateway.get("/echo/x").bearer(&access(&offline)).send().expect(200).json();
    let internal = received(&internal, "x-internal-token");
    let internal = verified(&internal[0]).claims;
    assert_eq!((&internal["sid"], &internal["outlives_session"]), (&told["sid"], &json!(true)));

    demo.command(&["session", "end", told["sid"].as_str().unwrap()]);
    until("the session has ended", || status(&access(&bound)) == 401);
    assert_eq!(status(&access(&offline)), 200);
    // A refresh may ask for less, and it is the same sign-in all the same.
    let token = offline["refresh_token"].as_str().unwrap();
    let fields =
        [("grant_type", "refresh_token"), ("refresh_token", token), ("scope", "openid profile")];
    let narrower = ask_token(demo, &client, &fields).expect(200).json();
    let claims = verified(&access(&narrower)).claims;
    assert_eq!((&claims["sid"], &claims["scope"]), (&told["sid"], &json!("openid profile")));
    assert_eq!(status(&access(&narrower)), 200);
    // Signing out everywhere is for all that a person holds.
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    browser.change(demo.public.post("/api/auth/logout?everywhere=true")).expect(204);
    until("it is taken back", || status(&access(&narrower)) == 401);
    assert_eq!(status(&access(&offline)), 401);
    let token = narrower["refresh_token"].as_str().unwrap();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
    let refused = ask_token(demo, &client, &fields).expect(400).json();
    assert_eq!(refused["error"], "invalid_grant");
}

#[test]
fn a_code_counts_once_for_its_client_with_its_verifier() {
    let demo = demo();
    let (person, client) = (demo.person("customer"), demo.client("demo-web"));
    let fields = |code: &str, verifier: &str, uri: &str| {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", uri),
            ("code_verifier", verifier),
        ];
        let answer = ask_token(demo, &client, &fields).expect(400).json();
        answer["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(fields("ac_nothing", VERIFIER, CALLBACK), "invalid_grant");
    assert_eq!(fields(&a_code(demo, &client, &person), CHALLENGE, CALLBACK), "invalid_grant");
    let other = "http://127.0.0.1:9999/other";
    assert_eq!(fields(&a_code(demo, &client, &person), VERIFIER, other), "invalid_grant");
    let stolen = a_code(demo, &client, &person);
    let thief = redeem(demo, &demo.client("demo-spa"), &stolen).expect(400).json();
    assert_eq!(thief["error"], "invalid_grant");

    let code = a_code(demo, &client, &person);
    let token = redeem(demo, &client, &code).expect(200).json();
    let token = token["access_token"].as_str().unwrap();
    demo.gateway.get("/echo/x").bearer(token).send().expect(200);
    let replayed = redeem(demo, &client, &code).expect(400).json();
    assert_eq!(replayed["error"], "invalid_grant");
    // What the code gave has been taken back.
    demo.gateway.get("/echo/x").bearer(token).send().expect(401);
}

#[test]
fn a_refresh_gives_a_successor_a_retry_gives_it_again_and_reuse_ends_all() {
    let demo = demo();
    for client in [demo.client("demo-web"), demo.client("demo-spa")] {
        let person = demo.person("customer");
        let first = tokens(demo, &client, &person);
        let text =
            |answer: &serde_json::Value, name: &str| answer[name].as_str().unwrap().to_owned();
        let refresh = |token: &str| {
            ask_token(demo, &client, &[("grant_type", "refresh_token"), ("refresh_token", token)])
        };
        let first = text(&first, "refresh_token");
        let second = refresh(&first).expect(200).json();
        // The answer was lost; the client asks again.
        let again = refresh(&first).expect(200).json();
        assert_eq!(second["refresh_token"], again["refresh_token"]);
        let jti = |answer: &serde_json::Value| {
            verified(answer["access_token"].as_str().unwrap()).claims["jti"].clone()
        };
        assert_eq!(jti(&second), jti(&again));
        assert_ne!(second["refresh_token"], first);
        let third = refresh(&text(&second, "refresh_token")).expect(200).json();
        let access = text(&third, "access_token");
        demo.gateway.get("/echo/x").bearer(&access).send().expect(200);
        // The successor was used, so whoever comes with the first one has stolen it.
        assert_eq!(refresh(&first).expect(400).json()["error"], "invalid_grant");
        assert_eq!(
            refresh(&text(&third, "refresh_token")).expect(400).json()["error"],
            "invalid_grant"
        );
        demo.gateway.get("/echo/x").bearer(&access).send().expect(401);
    }
}

#[test]
fn a_refresh_token_is_of_its_client_and_its_scope_only_narrows() {
    let demo = demo();
    let (person, client) = (demo.person("customer"), demo.client("demo-web"));
    let token = tokens(demo, &client, &person)["refresh_token"].as_str().unwrap().to_owned();
    let fields = [("grant_type", "refresh_token"), ("refresh_token", token.as_str())];
    let thief = ask_token(demo, &demo.client("demo-spa"), &fields).expect(400).json();
    assert_eq!(thief["error"], "invalid_grant");
    let wider = [&fields[..], &[("scope", "openid offline_access")]].concat();
    let wider = ask_token(demo, &client, &wider).expect(400).json();
    assert_eq!(wider["error"], "invalid_scope");
    let narrower = [&fields[..], &[("scope", "openid")]].concat();
    let answer = ask_token(demo, &client, &narrower);
    // Whether a thief's attempt ended the family is the provider's choice; never is more given.
    if answer.status == 200 {
        let claims = unverified(answer.json()["access_token"].as_str().unwrap()).claims;
        assert_eq!(claims["scope"], "openid");
    } else {
        assert_eq!(answer.expect(400).json()["error"], "invalid_grant");
    }
}

#[test]
fn clients_prove_themselves_in_the_header_or_in_the_form_and_not_in_both() {
    let demo = demo();
    let client = demo.client("demo-service");
    let (id, secret) = (client.id.as_str(), client.secret.as_deref().unwrap());
    let grant = ("grant_type", "client_credentials");
    let token = || demo.public.post("/oauth2/token");
    token().basic(id, secret).form(&[grant]).send().expect(200);
    token().form(&[grant, ("client_id", id), ("client_secret", secret)]).send().expect(200);
    let both = [grant, ("client_id", id), ("client_secret", secret)];
    let answer = token().basic(id, secret).form(&both).send();
    assert_eq!(answer.expect(400).json()["error"], "invalid_request");

    let wrong = token().basic(id, "wrong").form(&[grant]).send().expect(401);
    assert!(wrong.field("www-authenticate").unwrap().starts_with("Basic "));
    assert_eq!(wrong.json()["error"], "invalid_client");
    let unknown = token().basic(&unique("nobody"), "wrong").form(&[grant]).send().expect(401);
    // Whether a client exists is not told.
    assert_eq!(unknown.body, wrong.body);
    for fields in [
        vec![grant, ("client_id", id), ("client_secret", "wrong")],
        vec![grant, ("client_id", id), ("client_secret", "")],
        vec![grant, ("client_id", id)],
        vec![grant],
    ] {
        let answer = token().form(&fields).send();
        assert_eq!(answer.json()["error"], "invalid_client", "{fields:?}");
        assert_eq!(answer.status, 401, "{fields:?}");
    }
    for header in ["Basic", "Basic !!!", "Basic e30=", "Bearer x", "Basic Zm9v"] {
        let answer = token().field("Authorization", header).form(&[grant]).send();
        assert!(matches!(answer.status, 400 | 401), "{header}: {}", answer.text());
    }
}

#[test]
fn client_credentials_give_a_token_for_the_gateway_or_for_one_service() {
    let demo = demo();
    let client = demo.client("demo-service");
    let grant = ("grant_type", "client_credentials");
    let answer = ask_token(demo, &client, &[grant, ("scope", "orders.read")]).expect(200).json();
    assert_eq!(names(&answer), sorted("access_token token_type expires_in scope"));
    let jwt = verified(answer["access_token"].as_str().unwrap());
    assert_eq!(jwt.header["typ"], "at+jwt");
    for name in "iss sub aud exp iat nbf jti client_id scope roles status".split(' ') {
        assert!(!jwt.claims[name].is_null(), "{name}: {}", jwt.claims);
    }
    assert_eq!(jwt.claims["sub"], client.id);
    assert_eq!(jwt.claims["aud"], demo.described["gateway"]);
    assert_eq!(jwt.claims["scope"], "orders.read");
    for of_people in ["sid", "acr", "amr", "auth_time"] {
        assert!(jwt.claims[of_people].is_null(), "{}", jwt.claims);
    }
    let wider = ask_token(demo, &client, &[grant, ("scope", "openid")]).expect(400).json();
    assert_eq!(wider["error"], "invalid_scope");

    let orders = demo.client("orders");
    let answer = ask_token(demo, &orders, &[grant, ("audience", "payments")]).expect(200).json();
    assert_eq!(answer["expires_in"], 60);
    let jwt = verified(answer["access_token"].as_str().unwrap());
    for name in "iss sub aud exp iat jti scope".split(' ') {
        assert!(!jwt.claims[name].is_null(), "{name}: {}", jwt.claims);
    }
    assert_eq!((&jwt.claims["sub"], &jwt.claims["aud"]), (&json!("orders"), &json!("payments")));
    for audience in ["reviews", "nowhere", &encoded("http://evil.example/")] {
        let answer = ask_token(demo, &orders, &[grant, ("audience", audience)]).expect(400);
        assert_eq!(answer.json()["error"], "invalid_target", "{audience}");
    }
}

#[test]
fn grants_that_a_client_does_not_have_are_refused_by_name() {
    let demo = demo();
    let service = demo.client("demo-service");
    let error = |grant: &str| {
        let answer = ask_token(demo, &service, &[("grant_type", grant)]).expect(400).json();
        answer["error"].as_str().unwrap().to_owned()
    };
    assert_eq!(error("password"), "unsupported_grant_type");
    assert_eq!(error("implicit"), "unsupported_grant_type");
    assert_eq!(error(""), "invalid_request");
    assert_eq!(error("refresh_token"), "unauthorized_client");
    assert_eq!(error("authorization_code"), "unauthorized_client");
    assert_eq!(error("urn:ietf:params:oauth:grant-type:token-exchange"), "unauthorized_client");
}
