//! Pairwise clients at the gateway, and in the hands of operators: their tokens say to nobody but the
//! installation of whom they speak, and are taken back like any other.

use serde_json::{Value, json};

use super::{
    administration::Administrator,
    browser::{Browser, CALLBACK, authorization, redeem, tokens},
    demo::{Client, Demo, Person, demo, unique},
    http::parameter,
    jwt::{unverified, verified},
};

/// A pairwise client in this sector.
fn a_client(demo: &Demo, sector: &str) -> Client {
    let (id, secret) = (unique("pairwise"), "a secret that is long enough".to_owned());
    let declared = format!(
        "[[client]]\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\n\
         redirect_uris = [\"{CALLBACK}\"]\nscope = \"openid profile email roles offline_access\"\n\
         subject_type = \"pairwise\"\nsector = \"{sector}\"\nasks_consent = false\n\
         grant_types = [\"authorization_code\", \"refresh_token\"]\n"
    );
    demo.command(&["apply", &demo.file(&declared)]);
    Client { id, secret: Some(secret) }
}

fn access(given: &Value) -> &str {
    given["access_token"].as_str().unwrap()
}

/// What a service behind the gateway received, if it was asked at all.
fn echo(demo: &Demo, token: &str) -> Option<Value> {
    let answer = demo.gateway.get("/echo/x").bearer(token).send();
    (answer.status == 200).then(|| answer.json())
}

fn received(echo: &Value, name: &str) -> String {
    let mut all = echo["headers"].as_array().unwrap().iter();
    let named = all.find(|pair| pair[0].as_str().unwrap().eq_ignore_ascii_case(name)).unwrap();
    named[1].as_str().unwrap().to_owned()
}

#[test]
fn a_service_behind_the_gateway_knows_the_person_whom_the_client_does_not() {
    let demo = demo();
    let person = demo.person("customer");
    let (one, far) = (a_client(demo, "app.example"), a_client(demo, "far.example"));
    let mut names = Vec::new();
    for client in [&one, &far] {
        let given = tokens(demo, client, &person);
        let said = verified(access(&given)).claims;
        let id = verified(given["id_token"].as_str().unwrap()).claims;
        assert_eq!((&said["sub"], &said["sid"]), (&id["sub"], &id["sid"]));
        let text = json!([said, id]).to_string();
        assert!(!text.contains(&person.id), "{text}");
        let seen = echo(demo, access(&given)).unwrap();
        assert_eq!(received(&seen, "x-user-id"), person.id);
        assert_eq!(received(&seen, "x-user-roles"), "customer");
        let internal = verified(&received(&seen, "x-internal-token")).claims;
        assert_eq!((&internal["sub"], internal.get("veil")), (&json!(person.id), None));
        let inspected = demo.command(&["token", "inspect", access(&given)]);
        assert_eq!(
            (&inspected["sub"], &inspected["claims"]["sub"]),
            (&json!(person.id), &said["sub"])
        );
        names.push(said["sub"].clone());
    }
    assert_ne!(names[0], names[1]);
}

/// What a client has of somebody who is signed in.
struct Given {
    person: Person,
    browser: Browser,
    client: Client,
    token: String,
}

fn given(demo: &Demo) -> Given {
    let (person, client) = (demo.person("customer,support"), a_client(demo, "app.example"));
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    let location = browser.authorize(&authorization(&client), &person);
    let code = parameter(&location, "code").unwrap();
    let told = redeem(demo, &client, &code).expect(200).json();
    let token = access(&told).to_owned();
    assert!(echo(demo, &token).is_some());
    Given { person, browser, client, token }
}

#[test]
fn whatever_is_taken_back_of_a_person_the_gateway_refuses_from_pairwise_clients() {
    let demo = demo();
    let revoke = |what: &str, value: &str| {
        demo.command(&["revoke", what, value, "--reason", "test", "--wait"]);
    };
    type Take<'a> = &'a dyn Fn(&mut Given);
    let ways: [(&str, Take<'_>); 9] = [
        ("the person", &|it| revoke("--user", &it.person.username)),
        ("the session", &|it| {
            let session = it.browser.get("/api/auth/session").expect(200).json();
            revoke("--session", session["sid"].as_str().unwrap());
        }),
        ("the client", &|it| revoke("--client", &it.client.id)),
        ("the family", &|it| {
            revoke("--family", unverified(&it.token).claims["fid"].as_str().unwrap());
        }),
        ("the token", &|it| revoke("--token", &it.token)),
        ("by themselves, everywhere", &|it| {
            let target = demo.public.post("/api/auth/logout?everywhere=true");
            it.browser.change(target).expect(204);
        }),
        ("they are shut out", &|it| {
            demo.command(&["user", "disable", &it.person.username]);
        }),
        ("they have another password", &|it| {
            let file = demo.file("yet another correct horse\n");
            demo.command(&["user", "passwd", &it.person.username, "--password-file", &file]);
        }),
        ("they may do less", &|it| {
            let less = format!(
                "[[user]]\nusername = \"{}\"\nroles = [\"customer\"]\n",
                it.person.username
            );
            demo.command(&["apply", &demo.file(&less)]);
        }),
    ];
    for (what, take) in ways {
        let mut given = given(demo);
        take(&mut given);
        assert!(echo(demo, &given.token).is_none(), "{what}");
        let service = demo.client("demo-service");
        let asked = demo.public.post("/oauth2/introspect");
        let asked = super::browser::as_client(asked, &service, &[("token", &given.token)]);
        assert_eq!(asked.send().expect(200).json(), json!({"active": false}), "{what}");
        demo.public.get("/oauth2/userinfo").bearer(&given.token).send().expect(401);
    }
}

#[test]
fn operators_make_clients_pairwise_by_command_and_over_http() {
    let demo = demo();
    let by_command = ["--pairwise", "--redirect-uri", "https://app.example/cb"];
    let id = unique("client");
    let made = demo.command(&[&["client", "add", &id], &by_command[..]].concat());
    assert_eq!(made["sector"], "app.example");
    let several = [
        "--pairwise",
        "--redirect-uri",
        "https://a.example/",
        "--redirect-uri",
        "https://b.example/",
    ];
    let other = unique("client");
    let args = [&["client", "add", &other], &several[..]].concat();
    let why = demo.refused(&args, 1);
    assert!(why.contains("sector"), "{why}");
    let made = demo.command(&[&args[..], &["--sector", "A.example"]].concat());
    assert_eq!(made["sector"], "a.example");

    let admin = Administrator::machine(demo, "admin.write");
    let place = format!("/clients/{id}");
    let read = admin.get(&place).expect(200).json();
    assert_eq!(
        (&read["subject_type"], &read["sector"]),
        (&json!("pairwise"), &json!("app.example"))
    );
    // It stays in its sector when it moves, unless another is named.
    let moved = json!({"redirect_uris": ["https://new.example/cb"]});
    assert_eq!(admin.patch(&place, &moved).expect(200).json()["sector"], "app.example");
    let named = json!({"sector": "new.example"});
    assert_eq!(admin.patch(&place, &named).expect(200).json()["sector"], "new.example");
    for wrong in [
        json!({"subject_type": "public"}),
        json!({"sector": "a b"}),
        json!({"audiences": ["orders"]}),
        json!({"grant_types": ["urn:ietf:params:oauth:grant-type:token-exchange"]}),
    ] {
        admin.patch(&place, &wrong).expect(400).problem();
    }
    admin.patch(&place, &json!({"subject_type": "secret"})).expect(400).problem();
    let public = json!({"subject_type": "public", "sector": null});
    let now = admin.patch(&place, &public).expect(200).json();
    assert_eq!((&now["subject_type"], now.get("sector")), (&json!("public"), None));
}
