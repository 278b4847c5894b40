//! Clients that nobody registered: what they publish at the address that they are called by is asked for
//! here as hostile as it can be. Each test has an address of this machine to itself, because a host is
//! asked only so often.

use std::{sync::Barrier, thread};

use serde_json::{Value, json};
use tegata_core::Node;
use tegata_token::{Algorithm, SigningKey, jws};

use super::{
    administration::Administrator,
    browser::{Browser, CALLBACK, ask_token, authorization, redeem},
    demo::{Client, Demo, Person, demo, unique},
    http::{Answer, encoded, form, parameter},
    jwt::verified,
    publisher::Publisher,
};

fn client(publisher: &Publisher) -> Client {
    Client { id: publisher.address.clone(), secret: None }
}

/// What the authorization endpoint answers to somebody who comes from this client.
fn come_from(demo: &Demo, client: &Client) -> Answer {
    let mut asked = authorization(client);
    asked.retain(|(name, _)| *name != "scope");
    asked.push(("scope", "openid"));
    demo.public.get(&format!("/oauth2/authorize?{}", form(&asked))).send()
}

/// What the token endpoint says to whoever comes in its name.
fn token_error(demo: &Demo, client: &Client) -> (u16, Value) {
    let answer = redeem(demo, client, "ac_1.20000.x");
    (answer.status, answer.json()["error"].clone())
}

fn token_of(demo: &Demo, client: &Client, person: &Person) -> Value {
    let mut asked = authorization(client);
    asked.retain(|(name, _)| *name != "scope");
    asked.push(("scope", "openid profile offline_access"));
    let location = Browser::new(demo.public).authorize(&asked, person);
    let code = parameter(&location, "code").unwrap_or_else(|| panic!("{location}"));
    redeem(demo, client, &code).expect(200).json()
}

fn refresh(demo: &Demo, client: &Client, tokens: &Value) -> Answer {
    let token = tokens["refresh_token"].as_str().unwrap();
    ask_token(demo, client, &[("grant_type", "refresh_token"), ("refresh_token", token)])
}

#[test]
fn people_are_shown_the_host_and_not_what_a_client_calls_itself() {
    let demo = demo();
    let metadata = demo.public.get("/.well-known/openid-configuration").send().json();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    let publisher =
        Publisher::describing("127.0.0.11", &json!({"logo_uri": "https://bank.example/logo.png"}));
    let host = publisher.address.strip_prefix("http://").unwrap().strip_suffix("/it").unwrap();
    let client = client(&publisher);
    let person = demo.person("customer");
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    let mut asked = authorization(&client);
    asked.retain(|(name, _)| *name != "scope");
    asked.push(("scope", "openid"));
    let target = format!("/oauth2/authorize?{}", form(&asked));
    // Asked each time: the answer goes to a program of the machine, which could be anybody's.
    for _ in 0..2 {
        let consent = browser.get(&target).location().to_owned();
        let page = browser.get(&consent).expect(200).text();
        assert!(page.contains(&format!("<h1>{host} asks for access</h1>")), "{page}");
        assert!(page.contains("It calls itself <strong>The Bank</strong>"), "{page}");
        assert!(!page.contains("bank.example"), "{page}");
        let address = browser.submit(&page, &[("decision", "allow")]).location().to_owned();
        assert!(parameter(&address, "code").is_some(), "{address}");
    }
    let page = Browser::new(demo.public).get(come_from(demo, &client).location()).text();
    assert!(page.contains(&format!("<strong>{host}</strong>")), "{page}");
    assert!(!page.contains("bank.example"), "{page}");
    // They see it among those that act for them, and take it back.
    let tokens = token_of(demo, &client, &person);
    let home = browser.get("/login").expect(200).text();
    assert!(home.contains(&format!("<strong>{host}</strong>")), "{home}");
    let csrf = super::browser::tag(&home, "input", "csrf_token").unwrap();
    let csrf = super::browser::attribute(csrf, "value").unwrap();
    let fields = [("csrf_token", csrf.as_str()), ("client", &client.id)];
    let ask = demo.public.post("/login/consents").form(&fields);
    browser.send(ask).expect(303);
    assert_eq!(refresh(demo, &client, &tokens).expect(400).json()["error"], "invalid_grant");
    assert_eq!(publisher.asked(), 1);
}

#[test]
fn what_is_no_document_of_the_client_lets_nobody_in() {
    let demo = demo();
    let of = |host: &str| Publisher::describing(host, &json!({}));
    let good = of("127.0.0.12");
    come_from(demo, &client(&good)).expect(303);

    let redirect = of("127.0.0.12");
    redirect.hold().status = "302 Found";
    let gone = of("127.0.0.12");
    gone.hold().status = "404 Not Found";
    let created = of("127.0.0.12");
    created.hold().status = "201 Created";
    let page = of("127.0.0.12");
    page.hold().media_type = "text/html";
    let long = Publisher::describing("127.0.0.12", &json!({"x": "x".repeat(5 * 1024)}));
    for publisher in [&redirect, &gone, &created, &page, &long] {
        let client = client(publisher);
        let answer = come_from(demo, &client).expect(503);
        assert!(answer.text().contains("there is no document"), "{}", answer.text());
        assert_eq!(token_error(demo, &client), (503, json!("temporarily_unavailable")));
        // Not asked again at once.
        assert_eq!(publisher.asked(), 1);
    }

    let of = |changes: Value| Publisher::describing("127.0.0.13", &changes);
    let other = of(json!({"client_id": good.address}));
    let secret = of(json!({"client_secret": "a secret of the client"}));
    let shared = of(json!({"token_endpoint_auth_method": "client_secret_basic"}));
    let script = of(json!({"redirect_uris": ["javascript:alert(1)"]}));
    let keys = of(json!({"jwks_uri": "https://10.0.0.1/keys"}));
    let broken = of(json!({}));
    broken.becomes("{\"client_id\":");
    for (publisher, word) in [
        (&other, "its `client_id` is not the address"),
        (&secret, "client_secret"),
        (&shared, "token_endpoint_auth_method"),
        (&script, "redirect URI"),
        (&keys, "jwks_uri"),
        (&broken, "no JSON object"),
    ] {
        let client = client(publisher);
        let answer = come_from(demo, &client).expect(400);
        assert!(answer.text().contains(word), "{}", answer.text());
        assert!(answer.field("location").is_none());
        assert_eq!(token_error(demo, &client), (401, json!("invalid_client")));
        let fields = [("response_type", "code"), ("redirect_uri", CALLBACK)];
        let fields = [&fields[..], &[("client_id", client.id.as_str())]].concat();
        let pushed = demo.public.post("/oauth2/par").form(&fields).send().expect(401).json();
        assert_eq!(pushed["error"], "invalid_client");
        assert_eq!(publisher.asked(), 1);
    }
}

#[test]
fn nobody_is_asked_inside_the_network_and_no_address_has_a_second_meaning() {
    let demo = demo();
    for (id, status) in [
        ("https://10.0.0.1/client", 503),
        ("https://169.254.169.254/latest/meta-data", 503),
        ("https://192.168.0.1:8443/client", 503),
        ("https://[fd00::1]/client", 503),
        ("https://[::ffff:10.0.0.1]/client", 400),
        ("http://10.0.0.1/client", 400),
        ("http://app.example/client", 400),
        ("https://a:b@10.0.0.1/client", 400),
        ("https://127.0.0.1", 400),
        ("https://127.1/client", 400),
        ("https://app.example/../client", 400),
        ("https://app.example/client#x", 400),
        ("https://app.example\\@10.0.0.1/client", 400),
    ] {
        let client = Client { id: id.to_owned(), secret: None };
        let answer = come_from(demo, &client);
        assert_eq!(answer.status, status, "{id}: {}", answer.text());
        // Nothing tells what is there from what is not.
        let found = ["refused", "reached", "timed", "millis", "may be called"];
        assert!(!found.iter().any(|word| answer.text().contains(word)), "{}", answer.text());
    }
}

#[test]
fn one_that_does_not_answer_is_not_waited_for() {
    let demo = demo();
    let publisher = Publisher::describing("127.0.0.14", &json!({}));
    let client = client(&publisher);
    let held = publisher.hold();
    // It would never be answered: this returns because somebody gave up.
    come_from(demo, &client).expect(503);
    drop(held);
    assert_eq!(token_error(demo, &client).0, 503);
}

#[test]
fn a_thousand_requests_in_one_name_ask_its_address_once() {
    const AT_ONCE: usize = 50;
    let demo = demo();
    let publisher = Publisher::describing("127.0.0.15", &json!({}));
    let client = client(&publisher);
    let held = publisher.hold();
    let start = Barrier::new(AT_ONCE + 1);
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                start.wait();
                for _ in 0..1000 / AT_ONCE {
                    assert_eq!(token_error(demo, &client), (400, json!("invalid_grant")));
                }
            });
        }
        start.wait();
        publisher.wait_for_somebody();
        drop(held);
    });
    assert_eq!(publisher.asked(), 1);
}

#[test]
fn a_host_is_not_asked_for_whatever_somebody_invents() {
    let demo = demo();
    let victim = Publisher::at("127.0.0.16");
    let statuses: Vec<_> = (0..150)
        .map(|n| Client { id: format!("{}/{n}", victim.address), secret: None })
        .map(|client| token_error(demo, &client).0)
        .collect();
    // What is asked is told to be no document of theirs; the rest is not asked.
    assert_eq!(statuses[0], 401);
    assert_eq!(statuses[149], 503);
    // A minute's worth, and what came back while this went on.
    assert!((60..150).contains(&victim.asked()), "{}", victim.asked());
    let asked = usize::try_from(victim.asked()).unwrap();
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), asked);
    // Others are none the worse for it.
    come_from(demo, &client(&Publisher::describing("127.0.0.17", &json!({})))).expect(303);
}

fn assertion(demo: &Demo, client: &str, key: &SigningKey) -> String {
    let now = Node::start().now().secs();
    let claims = json!({
        "iss": client, "sub": client, "aud": demo.issuer, "iat": now, "exp": now + 60,
        "jti": unique("described"),
    });
    jws::sign(key, "JWT", claims.to_string().as_bytes()).unwrap()
}

#[test]
fn one_with_keys_proves_itself_by_them_and_by_nothing_less() {
    let demo = demo();
    let [own, other] = [(); 2].map(|()| SigningKey::generate(Algorithm::Es256).unwrap());
    let keys = Publisher::of("200 OK", &json!({"keys": [own.jwk()]}).to_string());
    let near = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": keys.address});
    let publisher = Publisher::describing("127.0.0.1", &near);
    let id = publisher.address.as_str();
    let push = |fields: &[(&str, &str)]| {
        let base = [
            ("client_id", id),
            ("response_type", "code"),
            ("redirect_uri", CALLBACK),
            ("scope", "openid"),
            ("code_challenge", super::browser::CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        demo.public.post("/oauth2/par").form(&[&base[..], fields].concat()).send()
    };
    push(&[]).expect(401);
    push(&[("client_secret", "x")]).expect(401);
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let prove = |key: &SigningKey| {
        let assertion = assertion(demo, id, key);
        push(&[("client_assertion_type", kind), ("client_assertion", &assertion)])
    };
    prove(&other).expect(401);
    let pushed = prove(&own).expect(201).json();
    let fields = [("client_id", id), ("request_uri", pushed["request_uri"].as_str().unwrap())];
    demo.public.get(&format!("/oauth2/authorize?{}", form(&fields))).send().expect(303);
}

#[test]
fn operators_see_it_and_take_back_what_it_has() {
    let demo = demo();
    let inspector = demo.new_client(&["--grant-type", "client_credentials", "--may-introspect"]);
    let is_active = |token: &str| {
        let ask = demo.public.post("/oauth2/introspect");
        let answer = super::browser::as_client(ask, &inspector, &[("token", token)]).send();
        answer.expect(200).json()
    };
    let publisher = Publisher::describing("127.0.0.18", &json!({}));
    let client = client(&publisher);
    let person = demo.person("customer");
    let tokens = token_of(demo, &client, &person);
    let access = tokens["access_token"].as_str().unwrap();
    let told = is_active(access);
    assert_eq!((&told["active"], &told["client_id"]), (&json!(true), &json!(client.id)));
    let jti = verified(access).claims["jti"].as_str().unwrap().to_owned();
    assert_eq!(demo.command(&["token", "trace", &jti])["issued"]["client_id"], client.id.as_str());
    let listed = demo.command(&["client", "list"]);
    let listed = listed.as_array().unwrap().iter().find(|it| it["client_id"] == client.id.as_str());
    assert_eq!(listed.unwrap()["described"], "taken");
    // What it can do is not changed here.
    demo.refused(&["client", "rotate-secret", &client.id], 1);
    let administrator = Administrator::machine(demo, "admin.read admin.write");
    let own = format!("/clients/{}", encoded(&client.id));
    administrator.patch(&own, &json!({"scope": "orders.read"})).expect(409);

    demo.command(&["revoke", "--client", &client.id, "--reason", "test", "--wait"]);
    assert_eq!(is_active(access)["active"], false);
    refresh(demo, &client, &tokens).expect(400);
    assert_eq!(demo.command(&["token", "trace", &jti])["issued"]["client_id"], client.id.as_str());
}

#[test]
fn one_that_is_refused_has_nothing_any_more_and_gets_nothing_until_it_is_removed() {
    let demo = demo();
    let administrator = Administrator::machine(demo, "admin.read admin.write");
    let person = demo.person("customer");
    let publisher = Publisher::describing("127.0.0.21", &json!({}));
    let client = client(&publisher);
    let own = format!("/clients/{}", encoded(&client.id));
    let tokens = token_of(demo, &client, &person);
    let access = tokens["access_token"].as_str().unwrap();
    demo.public.get("/oauth2/userinfo").bearer(access).send().expect(200);
    administrator.post(&format!("{own}/refuse"), &json!({})).expect(400);
    let refused = administrator.post(&format!("{own}/refuse"), &json!({"reason": "spam"}));
    let refused = refused.expect(200).json();
    assert_eq!((&refused["refused"], &refused["families"]), (&json!(client.id), &json!(1)));
    assert_eq!(administrator.get(&own).expect(200).json()["described"], "refused");
    demo.public.get("/oauth2/userinfo").bearer(access).send().expect(401);
    assert_eq!(refresh(demo, &client, &tokens).expect(401).json()["error"], "invalid_client");
    assert!(come_from(demo, &client).expect(400).text().contains("the client is refused here"));

    demo.command(&["client", "remove", &client.id]);
    come_from(demo, &client).expect(303);
    demo.command(&["client", "refuse", &client.id, "--reason", "again"]);
    come_from(demo, &client).expect(400);
    // One that is registered is removed instead.
    let why = demo.refused(&["client", "refuse", "demo-web", "--reason", "x"], 1);
    assert!(why.contains("remove"), "{why}");
}

#[test]
fn what_it_may_do_is_not_its_own_choice_and_nobody_else_does_it_in_its_name() {
    let demo = demo();
    let own = json!({
        "scope": "openid admin.write orders.read", "may_introspect": true, "asks_consent": false,
        "audiences": ["orders"], "grant_types": ["authorization_code", "client_credentials"],
    });
    let publisher = Publisher::describing("127.0.0.19", &own);
    let client = client(&publisher);
    let scope_error = |scope: &str| {
        let mut asked = authorization(&client);
        asked.retain(|(name, _)| *name != "scope");
        asked.push(("scope", scope));
        let answer = demo.public.get(&format!("/oauth2/authorize?{}", form(&asked))).send();
        parameter(answer.location(), "error")
    };
    for scope in ["openid admin.write", "openid orders.read", "openid roles"] {
        assert_eq!(scope_error(scope).as_deref(), Some("invalid_scope"), "{scope}");
    }
    let fields = [("grant_type", "client_credentials")];
    let refused = ask_token(demo, &client, &fields).expect(400).json();
    assert_eq!(refused["error"], "unauthorized_client");
    let fields = [("token", "x"), ("client_id", client.id.as_str())];
    demo.public.post("/oauth2/introspect").form(&fields).send().expect(400);
    // It may not be used by others, whoever they are.
    let code = {
        let person = demo.person("customer");
        let mut asked = authorization(&client);
        asked.retain(|(name, _)| *name != "scope");
        asked.push(("scope", "openid"));
        let location = Browser::new(demo.public).authorize(&asked, &person);
        parameter(&location, "code").unwrap()
    };
    let other = Publisher::describing("127.0.0.20", &json!({}));
    let refused = redeem(demo, &self::client(&other), &code).expect(400).json();
    assert_eq!(refused["error"], "invalid_grant");
    redeem(demo, &client, &code).expect(200);
}
