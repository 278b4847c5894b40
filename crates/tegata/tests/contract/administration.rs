//! Administration over HTTP, as somebody's own program does it.

use serde_json::{Value, json};

use super::{
    browser::{Browser, CALLBACK, VERIFIER, ask_token, authorization, tokens},
    demo::{Client, Demo, Person, demo, unique},
    http::{Answer, Ask, encoded, parameter},
};

/// Somebody who may administer.
pub(crate) struct Administrator {
    pub(crate) token: String,
}

impl Administrator {
    /// A client in its own name.
    pub(crate) fn machine(demo: &Demo, scope: &str) -> Self {
        let audience = format!("{}/admin/v1", demo.issuer);
        let args = ["--grant-type", "client_credentials", "--audience", &audience];
        let client = demo.new_client(&[&args[..], &["--scope", scope]].concat());
        Self::with(&ask_token(demo, &client, &[("grant_type", "client_credentials")]))
    }

    /// A person, at the demo's client for that.
    pub(crate) fn person(demo: &Demo, person: &Person) -> Self {
        let client = demo.client("demo-admin");
        let mut asked = authorization(&client);
        asked.retain(|(name, _)| *name != "scope");
        asked.push(("scope", "admin.read admin.write"));
        let location = Browser::new(demo.public).authorize(&asked, person);
        let code = parameter(&location, "code").unwrap_or_else(|| panic!("{location}"));
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", CALLBACK),
            ("code_verifier", VERIFIER),
        ];
        Self::with(&ask_token(demo, &client, &fields))
    }

    fn with(answer: &Answer) -> Self {
        let told = answer.clone().expect(200).json();
        Self { token: told["access_token"].as_str().unwrap().to_owned() }
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask {
        demo().public.ask(method, &format!("/admin/v1{path}")).bearer(&self.token)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path).json(body).send()
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask("PATCH", path).json(body).send()
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).send()
    }
}

fn machine() -> Administrator {
    Administrator::machine(demo(), "admin.read admin.write")
}

/// An administrator who allows, in this browser, what a program without one asks for.
fn by_device(browser: &mut Browser) -> Administrator {
    let client = demo().client("demo-admin");
    let asked = [("client_id", client.id.as_str()), ("scope", "admin.read admin.write")];
    let asked = demo().public.post("/oauth2/device").form(&asked).send().expect(200).json();
    let text = |name: &str| asked[name].as_str().unwrap();
    let page = browser.get("/login/device").expect(200).text();
    let asks = browser.submit(&page, &[("user_code", text("user_code"))]).expect(200).text();
    browser.submit(&asks, &[("decision", "allow")]).expect(200);
    let fields = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
        ("device_code", text("device_code")),
    ];
    Administrator::with(&ask_token(demo(), &client, &fields))
}

/// The places of the faults that an answer names.
fn faults(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 400, "{}", answer.text());
    let errors = answer.problem()["errors"].as_array().unwrap().clone();
    errors.iter().map(|fault| fault["pointer"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_administrator_of_the_demo_signs_in_and_administers() {
    let described = &demo().described["admin"];
    let text = |name: &str| described[name].as_str().unwrap().to_owned();
    let admin =
        Person { id: String::new(), username: text("username"), password: text("password") };
    let admin = Administrator::person(demo(), &admin);
    let found = admin.get("/users?username=alice").expect(200).json();
    assert_eq!(found["items"][0]["username"], "alice");
    assert_eq!(found["items"].as_array().unwrap().len(), 1);
    let device = by_device(&mut Browser::signed_in(demo().public, &demo().person("admin")).0);
    device.get("/users").expect(200);
    // The token is for that and for nothing else, and others are not for that.
    demo().gateway.get("/echo/x").bearer(&admin.token).send().expect(401);
    let spa = tokens(demo(), &demo().client("demo-spa"), &demo().person("admin"));
    let other = Administrator { token: spa["access_token"].as_str().unwrap().to_owned() };
    assert_eq!(other.get("/users").expect(401).problem()["error"], "invalid_token");
    // Whoever is no administrator is not made one by the client that they sign in at.
    let customer = Administrator::person(demo(), &demo().person("customer"));
    assert_eq!(customer.get("/users").expect(403).problem()["error"], "access_denied");
}

#[test]
fn people_are_added_read_and_changed_and_their_secrets_are_told_to_nobody() {
    let (admin, name) = (machine(), unique("person"));
    let said = json!({"username": format!(" {} ", name.to_uppercase()), "email": "a@b.example",
        "roles": ["customer"], "locale": "ja", "password": "correct horse battery staple"});
    let added = admin.post("/users", &said).expect(201);
    let user = added.json();
    assert_eq!((&user["username"], &user["roles"]), (&json!(name), &json!(["customer"])));
    let place = format!("/users/{}", user["id"].as_str().unwrap());
    assert_eq!(added.field("location"), Some(format!("/admin/v1{place}").as_str()));
    let read = admin.get(&place).expect(200);
    assert_eq!((read.json(), read.field("etag")), (user.clone(), added.field("etag")));
    for answer in [&added, &read] {
        assert!(!answer.text().contains("horse") && !answer.text().contains("argon2"));
    }
    let person = Person {
        id: user["id"].as_str().unwrap().to_owned(),
        username: name,
        password: "correct horse battery staple".to_owned(),
    };
    Browser::new(demo().public).sign_in(&person).expect(200);
    assert_eq!(admin.post("/users", &said).expect(409).problem()["error"], "conflict");

    let changed = admin.patch(&place, &json!({"email": null, "roles": ["a", "b"]})).expect(200);
    let now = changed.json();
    assert_eq!((&now["email"], &now["roles"]), (&Value::Null, &json!(["a", "b"])));
    assert_eq!(now["locale"], "ja");
    assert_ne!(changed.field("etag"), read.field("etag"));
    // A change that was decided on by what is not so any more is not made.
    let stale = read.field("etag").unwrap();
    let late = admin.ask("PATCH", &place).field("If-Match", stale).json(&json!({"roles": []}));
    assert_eq!(late.send().expect(412).problem()["error"], "overtaken");
    let tag = changed.field("etag").unwrap();
    let fresh = admin.ask("PATCH", &place).field("If-Match", tag).json(&json!({"locale": "en"}));
    assert_eq!(fresh.send().expect(200).json()["roles"], json!(["a", "b"]));

    for (body, pointer) in [
        (json!({"roles": ["UPPER"]}), "/roles"),
        (json!({"email": "none"}), "/email"),
        (json!({"locale": "?"}), "/locale"),
        (json!({"disabled": "yes"}), "/disabled"),
        (json!({"username": "other"}), "/username"),
        (json!({"id": "usr_other"}), "/id"),
    ] {
        assert_eq!(faults(&admin.patch(&place, &body)), [pointer], "{body}");
    }
    for (body, pointer) in [
        (json!({"username": "usr_x"}), "/username"),
        (json!({"username": "a/b"}), "/username"),
        (json!({"username": unique("p"), "password": "password"}), "/password"),
        (json!({"username": unique("p"), "password_hash": "plain"}), "/password_hash"),
        (json!({"username": unique("p"), "password": "x", "password_hash": "y"}), ""),
    ] {
        assert_eq!(faults(&admin.post("/users", &body)), [pointer], "{body}");
    }
}

#[test]
fn a_new_password_and_being_disabled_end_what_there_was() {
    let (admin, person) = (machine(), demo().person("customer"));
    let place = format!("/users/{}", person.id);
    let token = tokens(demo(), &demo().client("demo-spa"), &person);
    let token = token["access_token"].as_str().unwrap().to_owned();
    let opens = |token: &str| demo().gateway.get("/echo/x").bearer(token).send().status;
    assert_eq!(opens(&token), 200);
    let password = json!({"password": "another correct horse"});
    let set = admin.ask("PUT", &format!("{place}/password")).json(&password).send().expect(204);
    assert!(set.body.is_empty());
    assert_eq!(opens(&token), 401);
    let person = Person { password: "another correct horse".to_owned(), ..person };
    let (mut browser, _) = Browser::signed_in(demo().public, &person);
    assert_eq!(
        admin.patch(&place, &json!({"disabled": true})).expect(200).json()["disabled"],
        true
    );
    browser.get("/api/auth/session").expect(401);
    Browser::new(demo().public).sign_in(&person).expect(401);
    admin.patch(&place, &json!({"disabled": false})).expect(200);
    Browser::new(demo().public).sign_in(&person).expect(200);
    let factors = format!("{place}/second-factors");
    let none = json!({"passkeys": 0, "totp_since": null, "recovery_codes": 0});
    assert_eq!(admin.get(&factors).expect(200).json(), none);
    assert_eq!(admin.delete(&factors).expect(200).json()["second_factors"], "there were none");
}

#[test]
fn nobody_takes_the_role_from_themselves_and_who_loses_it_is_out_at_once() {
    let (one, other) = (demo().person("admin"), demo().person("admin"));
    let (own, theirs) = (format!("/users/{}", one.id), format!("/users/{}", other.id));
    let admin = Administrator::person(demo(), &one);
    for change in [json!({"roles": []}), json!({"disabled": true}), json!({"roles": ["admins"]})] {
        let refused = admin.patch(&own, &change).expect(409).problem();
        assert!(refused["detail"].as_str().unwrap().contains("another administrator"), "{refused}");
    }
    // What leaves it to them is their own affair.
    admin.patch(&own, &json!({"roles": ["admin", "auditor"], "disabled": false})).expect(200);
    let second = Administrator::person(demo(), &other);
    second.get("/users").expect(200);
    admin.patch(&theirs, &json!({"roles": ["customer"]})).expect(200);
    // The token says that it has the role, which was taken from it.
    let refused = second.get("/users");
    assert!([401, 403].contains(&refused.status), "{}", refused.text());
    assert!([401, 403].contains(&second.patch(&theirs, &json!({"roles": ["admin"]})).status));
}

#[test]
fn people_are_named_by_their_ids_and_odd_names_name_nobody() {
    let (admin, person) = (machine(), demo().person("customer"));
    for name in [
        person.username.as_str(),
        "..",
        "usr_",
        "usr_nobody",
        "usr_\0",
        "%00",
        "usr_%2e%2e",
        "usr_a/b",
        "\u{202e}",
        "usr_\u{e9}",
        &"usr_x".repeat(60),
        "*",
        "' OR 1=1 --",
    ] {
        for path in ["/users/{}", "/users/{}/second-factors", "/sessions/{}", "/services/{}"] {
            let answer = admin.get(&path.replace("{}", &encoded(name)));
            assert_eq!(answer.expect(404).problem()["error"], "not_found", "{name} {path}");
        }
        let consent = format!("/consents/{0}/{0}", encoded(name));
        admin.delete(&consent).expect(404).problem();
    }
    let by_name = json!({"reason": "test", "user": person.username});
    assert_eq!(faults(&admin.post("/tokens/revoke", &by_name)), ["/user"]);
}

#[test]
fn a_client_is_given_a_secret_once_and_changed_but_never_made_an_administrator() {
    let (admin, id) = (machine(), unique("a/b?c%25"));
    let said =
        json!({"client_id": id, "grant_types": ["client_credentials"], "scope": "orders.read"});
    let added = admin.post("/clients", &said).expect(201);
    let secret = added.json()["client_secret"].as_str().unwrap().to_owned();
    let place = format!("/clients/{}", encoded(&id));
    assert_eq!(added.field("location"), Some(format!("/admin/v1{place}").as_str()));
    let read = admin.get(&place).expect(200);
    assert!(!read.text().contains("secret\"") && !read.text().contains(&secret));
    assert_eq!(read.json()["scope"], "orders.read");
    let service = |secret: &str| Client { id: id.clone(), secret: Some(secret.to_owned()) };
    let token = |secret: &str| {
        ask_token(demo(), &service(secret), &[("grant_type", "client_credentials")]).status
    };
    assert_eq!((token(&secret), token("another secret of 16")), (200, 401));
    admin.post("/clients", &said).expect(409).problem();

    let rotated = admin.ask("POST", &format!("{place}/rotate-secret")).send().expect(200).json();
    let fresh = rotated["client_secret"].as_str().unwrap();
    assert_eq!((token(fresh), token(&secret)), (200, 200));
    // Whoever names the client as it was before makes no second secret.
    let again = admin.ask("POST", &format!("{place}/rotate-secret")).field("If-Match", "\"1\"");
    assert_eq!(again.send().expect(412).problem()["error"], "overtaken");
    assert_eq!((token(fresh), token(&secret)), (200, 200));
    let changed = admin.patch(&place, &json!({"client_name": "Named", "scope": null})).expect(200);
    let now = changed.json();
    assert_eq!((&now["client_name"], &now["scope"]), (&json!("Named"), &json!("")));
    assert_eq!(now["grant_types"], json!(["client_credentials"]));
    assert_eq!(token(fresh), 200);

    // Disabled, it is nobody, and what it has is refused; whatever else is changed does not enable it.
    let held = ask_token(demo(), &service(fresh), &[("grant_type", "client_credentials")]).json();
    let held = json!({"token": held["access_token"]});
    let standing = || admin.post("/tokens/inspect", &held).expect(200).json()["standing"].clone();
    assert_eq!(standing(), "valid");
    let disabled = admin.patch(&place, &json!({"disabled": true})).expect(200).json();
    assert_eq!((&disabled["disabled"], token(fresh)), (&json!(true), 401));
    assert_ne!(standing(), "valid");
    let renamed = admin.patch(&place, &json!({"client_name": "Renamed"})).expect(200).json();
    assert_eq!((&renamed["disabled"], token(fresh)), (&json!(true), 401));
    admin.patch(&place, &json!({"disabled": false})).expect(200);
    assert_eq!(token(fresh), 200);
    assert_ne!(standing(), "valid");

    for (body, pointer) in [
        (json!({"scope": "orders.read admin.write"}), "/scope"),
        (json!({"scope": "admin.read"}), "/scope"),
        (json!({"grant_types": ["password"]}), "/grant_types/0"),
        (json!({"redirect_uri": "x"}), "/redirect_uri"),
        (json!({"client_id": "other"}), "/client_id"),
        (json!({"grant_types": ["authorization_code"]}), ""),
        (json!({"redirect_uris": ["http://evil.example"]}), ""),
    ] {
        assert_eq!(faults(&admin.patch(&place, &body)), [pointer], "{body}");
    }
    let mut other = said;
    other["client_id"] = json!(unique("client"));
    other["scope"] = json!("admin.write");
    assert_eq!(faults(&admin.post("/clients", &other)), ["/scope"]);
    other["client_id"] = json!("tegata-browser");
    other["scope"] = json!("");
    assert_eq!(faults(&admin.post("/clients", &other)), ["/client_id"]);

    assert_eq!(admin.delete(&place).expect(200).json()["removed"], json!(id));
    assert_eq!(token(fresh), 401);
    admin.get(&place).expect(404);
    admin.delete(&place).expect(404);
}

#[test]
fn clients_that_administer_are_declared_and_not_become_through_here() {
    let admin = machine();
    let audience = format!("{}/admin/v1", demo().issuer);
    let args = ["--grant-type", "client_credentials", "--scope", "admin.read"];
    let other = demo().new_client(&[&args[..], &["--audience", &audience]].concat());
    let place = format!("/clients/{}", other.id);
    for answer in [
        admin.ask("POST", &format!("{place}/rotate-secret")).send(),
        admin.patch(&place, &json!({"scope": ""})),
        admin.patch(&place, &json!({"client_name": "x"})),
    ] {
        assert_eq!(answer.expect(403).problem()["error"], "not_allowed");
    }
    // Taking it away is no gain.
    admin.delete(&place).expect(200);
}

#[test]
fn services_are_registered_served_changed_and_removed() {
    let (admin, name) = (machine(), unique("svc"));
    let echo = admin.get("/services/echo").expect(200).json();
    let said = json!({"name": name, "upstreams": echo["upstreams"]});
    admin.post("/services", &said).expect(201);
    let (_, answer) = Browser::signed_in(demo().public, &demo().person("customer"));
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let path = format!("/{name}/x");
    let status = || demo().gateway.get(&path).bearer(&token).send().status;
    // It is answered when the gateway serves it.
    assert_eq!(status(), 200);
    let place = format!("/services/{name}");
    let changed = admin.patch(&place, &json!({"roles": ["staff"]})).expect(200);
    assert_eq!((&changed.json()["roles"], status()), (&json!(["staff"]), 403));
    admin.post("/services", &said).expect(409).problem();
    assert_eq!(faults(&admin.patch(&place, &json!({"upstreams": ["ftp://x"]}))), [""]);
    assert_eq!(faults(&admin.post("/services", &json!({"name": "A", "upstreams": []}))), [""]);
    admin.delete(&place).expect(200);
    assert_eq!(status(), 404);
    admin.delete(&place).expect(404);
}

#[test]
fn how_a_service_is_reached_is_declared_changed_and_taken_away() {
    let (admin, name) = (machine(), unique("svc"));
    // Nobody is there.
    let declared = json!({"name": name, "upstreams": ["http://127.0.0.1:1"], "max_requests": 9,
        "retry": {"attempts": 1}, "health": {"path": "/up"},
        "breaker": {"failures": 2, "answer": {"status": 200, "body": "[1]"}}});
    let told = admin.post("/services", &declared).expect(201).json();
    assert_eq!((&told["max_requests"], &told["health"]["interval"]), (&json!(9), &json!("5s")));
    assert_eq!(told["breaker"]["open_for"], "1m");
    let (_, answer) = Browser::signed_in(demo().public, &demo().person("customer"));
    let token = answer["access_token"].as_str().unwrap().to_owned();
    let call = || demo().gateway.get(&format!("/{name}/x")).bearer(&token).send();
    call().expect(502);
    call().expect(502);
    assert_eq!(call().expect(200).json(), json!([1]));
    let metrics = demo().operations.get("/metrics").send().expect(200).text();
    assert!(metrics.contains(&format!("circuit_breaker_state{{name=\"service/{name}\"}} 2")));
    let place = format!("/services/{name}");
    let change = json!({"breaker": null, "health": {"path": "/well", "interval": "10s"}});
    let told = admin.patch(&place, &change).expect(200).json();
    assert_eq!((&told["health"]["interval"], told.get("breaker")), (&json!("10s"), None));
    assert_eq!(told["max_requests"], 9);
    let told = admin.patch(&place, &json!({"breaker": false})).expect(200).json();
    assert_eq!(told["breaker"], false);
    let told = admin.patch(&place, &json!({"max_waiting": 4})).expect(200).json();
    assert_eq!((&told["max_requests"], &told["max_waiting"]), (&json!(9), &json!(4)));
    let narrowed = json!({
        "networks": ["10.0.0.0/8"], "hours": ["Sat,Sun 08:00-18:00 UTC"], "outside": {"methods": ["GET"]},
    });
    let told = admin.patch(&place, &narrowed).expect(200).json();
    for (member, wanted) in narrowed.as_object().unwrap() {
        assert_eq!(&told[member], wanted);
    }
    let told = admin.patch(&place, &json!({"networks": null, "hours": null, "outside": null}));
    assert_eq!(told.expect(200).json().get("networks"), None);
    let told = admin.patch(&place, &json!({"protocol": "h2c"})).expect(200).json();
    assert_eq!(told["protocol"], "h2c");
    let told = admin.patch(&place, &json!({"protocol": null})).expect(200).json();
    assert_eq!(told.get("protocol"), None);
    let told = admin.patch(&place, &json!({"identity": "headers"})).expect(200).json();
    assert_eq!(told["identity"], "headers");
    let told = admin.patch(&place, &json!({"identity": null})).expect(200).json();
    assert_eq!(told.get("identity"), None);
    for sees in [json!({"roles": ["admin"]}), json!({"roles": [], "scope": ""})] {
        assert_eq!(admin.patch(&place, &json!({"sees": sees})).expect(200).json()["sees"], sees);
    }
    let told = admin.patch(&place, &json!({"sees": null})).expect(200).json();
    assert_eq!(told.get("sees"), None);
    call().expect(502);
    for wrong in [
        json!({"ca_file": "/etc/ca.pem"}),
        json!({"health": {"path": "up"}}),
        json!({"max_requests": 0}),
        json!({"max_requests": null, "max_waiting": 5}),
        json!({"breaker": {"open_for": "never"}}),
        json!({"breaker": true}),
        json!({"sees": {}}),
        json!({"sees": {"roles": ["No Role"]}}),
        json!({"sees": []}),
    ] {
        admin.patch(&place, &wrong).expect(400).problem();
    }
    assert_eq!(faults(&admin.patch(&place, &json!({"health": {"way": "/"}}))).len(), 2);
    admin.delete(&place).expect(200);
}

#[test]
fn sessions_and_tokens_are_seen_and_ended_and_tokens_are_asked_about() {
    let (admin, person) = (machine(), demo().person("customer"));
    let token = tokens(demo(), &demo().client("demo-web"), &person);
    let text = |name: &str| token[name].as_str().unwrap().to_owned();
    let (access, refresh) = (text("access_token"), text("refresh_token"));
    let sessions = format!("/sessions?user={}", person.id);
    let listed = admin.get(&sessions).expect(200).json();
    let session = &listed["items"][0];
    assert_eq!((&session["user_id"], &session["acr"]), (&json!(person.id), &json!("aal1")));
    let place = format!("/sessions/{}", session["sid"].as_str().unwrap());
    assert_eq!(admin.get(&place).expect(200).json()["sid"], session["sid"]);
    let families = admin.get(&format!("/tokens?user={}", person.id)).expect(200);
    let listed = families.json();
    let mut clients = listed["items"].as_array().unwrap().iter().map(|it| &it["client_id"]);
    assert!(clients.any(|client| client == "demo-web"), "{listed}");
    for secret in [&access, &refresh] {
        assert!(!families.text().contains(secret.as_str()));
        let asked = admin.post("/tokens/inspect", &json!({"token": secret})).expect(200).json();
        assert_eq!(asked["standing"], "valid");
    }
    assert_eq!(faults(&admin.post("/tokens/inspect", &json!({"token": "a password"}))), ["/token"]);
    assert_eq!(faults(&admin.get("/tokens?user=usr_1&client=x")), ["?"]);

    let ended = admin.delete(&format!("{place}?wait=confirmed")).expect(200).json();
    let says = ended["confirmed"]["says"].as_str().unwrap();
    assert!(says.starts_with("refused by the only point after "), "{says}");
    demo().gateway.get("/echo/x").bearer(&access).send().expect(401);
    assert_eq!(admin.get(&sessions).expect(200).json()["items"], json!([]));
    admin.get(&place).expect(404);
    admin.delete(&place).expect(404);
    let asked = admin.post("/tokens/inspect", &json!({"token": access})).expect(200).json();
    assert!(asked["standing"].as_str().unwrap().contains("revoked"), "{asked}");
}

#[test]
fn everything_of_a_person_is_taken_back_by_one_call_that_proves_it() {
    let (admin, person) = (machine(), demo().person("customer"));
    let (mut browser, signed_in) = Browser::signed_in(demo().public, &person);
    let own = signed_in["access_token"].as_str().unwrap().to_owned();
    let theirs = tokens(demo(), &demo().client("demo-spa"), &person);
    let theirs = theirs["access_token"].as_str().unwrap().to_owned();
    let path = format!("/users/{}/revoke?wait=confirmed", person.id);
    assert_eq!(faults(&admin.post(&path, &json!({}))), ["/reason"]);
    let revoked = admin.post(&path, &json!({"reason": "stolen"})).expect(200).json();
    let count = |kind: &str| revoked["proof"][kind].as_u64().unwrap();
    assert!(count("sessions") >= 2 && count("families") >= 2, "{revoked}");
    assert!(revoked["confirmed"]["by"].as_array().is_some_and(|by| by.len() == 1), "{revoked}");
    for token in [&own, &theirs] {
        demo().gateway.get("/echo/x").bearer(token).send().expect(401);
    }
    browser.get("/api/auth/session").expect(401);
    let again = admin.post(&path, &json!({"reason": "once more"})).expect(200).json();
    assert_eq!(again["proof"]["families"], 0, "{again}");
}

#[test]
fn what_is_to_be_taken_back_is_named_once() {
    let (admin, person) = (machine(), demo().person("customer"));
    let revoke = |body: &Value| admin.post("/tokens/revoke", body);
    for body in
        [json!({"reason": "x"}), json!({"reason": "x", "user": person.id, "client": "demo-web"})]
    {
        assert_eq!(faults(&revoke(&body)), [""], "{body}");
    }
    for name in ["family", "session", "jti"] {
        assert_eq!(faults(&revoke(&json!({"reason": "x", name: "../x"}))), [format!("/{name}")]);
    }
    for (name, unknown) in [("client", "nobody"), ("key", "nobody"), ("user", "usr_nobody")] {
        revoke(&json!({"reason": "x", name: unknown})).expect(404).problem();
    }
    assert_eq!(faults(&revoke(&json!({"reason": "x", "token": "x"}))), ["/token"]);
    let token = tokens(demo(), &demo().client("demo-spa"), &person);
    let token = token["access_token"].as_str().unwrap();
    revoke(&json!({"reason": "x", "token": token})).expect(200);
    demo().gateway.get("/echo/x").bearer(token).send().expect(401);
}

#[test]
fn keys_are_listed_and_one_that_is_needed_is_not_retired() {
    let admin = machine();
    let keys = admin.get("/keys").expect(200).json();
    let current = keys["items"].as_array().unwrap().iter();
    let current: Vec<_> = current.filter(|key| key["state"] == "current").collect();
    assert!(!current.is_empty(), "{keys}");
    let kid = encoded(current[0]["kid"].as_str().unwrap());
    assert_eq!(
        admin.ask("POST", &format!("/keys/{kid}/retire")).send().expect(409).problem()["error"],
        "conflict"
    );
    admin.ask("POST", "/keys/nobody/retire").send().expect(404).problem();
    let force = json!({"algorithm": "EdDSA", "force": true});
    let rotated = admin.post("/keys/rotate", &force).expect(200).json();
    assert_eq!(rotated["items"][0]["algorithm"], "EdDSA");
    // Verifiers cannot have seen the next one.
    admin.post("/keys/rotate", &json!({"algorithm": "EdDSA"})).expect(409).problem();
    assert_eq!(faults(&admin.post("/keys/rotate", &json!({"algorithm": "HS256"}))), ["/algorithm"]);
}

#[test]
fn a_consent_that_is_withdrawn_is_asked_for_again_and_ends_what_it_gave() {
    let (admin, person) = (machine(), demo().person("customer"));
    let client = demo().client("demo-web");
    let first = tokens(demo(), &client, &person);
    let of = format!("/consents?user={}", person.id);
    let listed = admin.get(&of).expect(200).json();
    assert_eq!(listed["items"][0]["client_id"], "demo-web");
    let narrowed = admin.get(&format!("{of}&client=demo-spa")).expect(200).json();
    assert_eq!(narrowed["items"], json!([]));
    let place = format!("/consents/{}/demo-web", person.id);
    assert_eq!(admin.delete(&place).expect(200).json()["families"], 1);
    let access = first["access_token"].as_str().unwrap();
    demo().gateway.get("/echo/x").bearer(access).send().expect(401);
    admin.delete(&place).expect(404).problem();
    assert_eq!(admin.get(&of).expect(200).json()["items"], json!([]));
    // The browser is asked again; `authorize` agrees where it is.
    tokens(demo(), &client, &person);
    assert_eq!(admin.get(&of).expect(200).json()["items"].as_array().unwrap().len(), 1);
}
