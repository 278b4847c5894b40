//! Clients are told that a session has ended (OpenID Connect Back-Channel Logout 1.0).

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use serde_json::{Value, json};

use super::{
    browser::{Browser, CALLBACK, authorization, redeem},
    demo::{Client, Demo, Person, demo, unique, until},
    http::{form, parameter},
    jwt,
};

/// A client whose back channel is at this address.
fn a_client(demo: &Demo, listener: &TcpListener) -> Client {
    let (id, secret) = (unique("heard"), "a secret that is long enough".to_owned());
    let address = format!("http://127.0.0.1:{}/bc?a=b", listener.local_addr().unwrap().port());
    let declared = format!(
        "[[client]]\nclient_id = \"{id}\"\nclient_secret = \"{secret}\"\n\
         redirect_uris = [\"{CALLBACK}\"]\nscope = \"openid offline_access\"\nasks_consent = false\n\
         grant_types = [\"authorization_code\", \"refresh_token\"]\n\
         backchannel_logout_uri = \"{address}\"\n"
    );
    demo.command(&["apply", &demo.file(&declared)]);
    Client { id, secret: Some(secret) }
}

/// The claims of the ID token that a browser's person gets at a client.
fn signed_in_at(demo: &Demo, browser: &mut Browser, client: &Client, person: &Person) -> Value {
    let mut asked = authorization(client);
    asked.retain(|(name, _)| *name != "scope");
    asked.push(("scope", "openid offline_access"));
    let location = browser.authorize(&asked, person);
    let code = parameter(&location, "code").unwrap();
    let answer = redeem(demo, client, &code).expect(200).json();
    jwt::verified(answer["id_token"].as_str().unwrap()).claims
}

/// The next message: its form, and the connection to answer on.
fn message(listener: &TcpListener) -> (String, TcpStream) {
    let (stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length, mut media) = (String::new(), 0, String::new());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line.trim_end(), "POST /bc?a=b HTTP/1.1");
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).unwrap();
        let Some((name, value)) = field.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "content-type" => media = value.to_owned(),
            _ => {}
        }
    }
    assert_eq!(media, "application/x-www-form-urlencoded");
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body = String::from_utf8(body).unwrap();
    (body.strip_prefix("logout_token=").unwrap().to_owned(), stream)
}

fn answer(mut stream: TcpStream, status: &str) {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
}

fn state(demo: &Demo, client: &Client) -> Vec<(String, u64)> {
    let told = demo.command(&["client", "logouts", &client.id]);
    let told = told.as_array().unwrap().iter();
    told.map(|it| (it["state"].as_str().unwrap().to_owned(), it["attempts"].as_u64().unwrap()))
        .collect()
}

#[test]
fn all_clients_of_a_session_hear_that_it_ended_and_one_that_hangs_delays_nobody() {
    let demo = demo();
    let person = demo.person("customer");
    let (silent, good) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (hangs, hears) = (a_client(demo, &silent), a_client(demo, &good));
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    let ids: Vec<_> = [&hangs, &hears, &hears]
        .map(|client| signed_in_at(demo, &mut browser, client, &person))
        .into();
    assert!(ids.iter().all(|id| id["sid"] == ids[0]["sid"]), "{ids:?}");

    let heard = thread::spawn(move || {
        let (token, stream) = message(&good);
        // Not now: it is sent again.
        answer(stream, "503 Service Unavailable");
        let (again, stream) = message(&good);
        answer(stream, "204 No Content");
        (token, again)
    });
    let asked = demo.public.post("/api/auth/logout");
    browser.change(asked).expect(204);
    let (first, token) = heard.join().unwrap();
    let jwt = jwt::verified(&token);
    assert_eq!(jwt.header["typ"], "logout+jwt");
    let claims = jwt.claims;
    assert_eq!(claims["iss"], json!(demo.issuer));
    assert_eq!(claims["aud"], json!(hears.id));
    assert_eq!((&claims["sid"], &claims["sub"]), (&ids[1]["sid"], &ids[1]["sub"]));
    assert_eq!(claims["events"], json!({"http://schemas.openid.net/event/backchannel-logout": {}}));
    assert!(claims.get("nonce").is_none());
    let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!((1..=120).contains(&(exp - iat)), "{claims}");
    assert_ne!(jwt::verified(&first).claims["jti"], claims["jti"]);
    // It is no token of another kind.
    demo.public.get("/oauth2/userinfo").bearer(&token).send().expect(401);
    let hint = form(&[("id_token_hint", token.as_str())]);
    demo.public.get(&format!("/oauth2/logout?{hint}")).send().expect(400);

    until("it is written down", || state(demo, &hears) == [("delivered".to_owned(), 2)]);
    // The other has not answered yet, or is tried again later.
    let waits = state(demo, &hangs);
    assert_eq!(waits.len(), 1, "{waits:?}");
    assert_eq!(waits[0].0, "due", "{waits:?}");
    drop(silent);
}

#[test]
fn a_kill_switch_is_heard_too_and_who_refuses_is_not_asked_again() {
    let demo = demo();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (person, client) = (demo.person("customer"), a_client(demo, &listener));
    let (mut browser, _) = Browser::signed_in(demo.public, &person);
    let id = signed_in_at(demo, &mut browser, &client, &person);
    let heard = thread::spawn(move || {
        let (token, stream) = message(&listener);
        answer(stream, "400 Bad Request");
        token
    });
    demo.command(&["revoke", "--user", &person.username, "--reason", "stolen"]);
    assert_eq!(jwt::verified(&heard.join().unwrap()).claims["sid"], id["sid"]);
    until("it is written down", || state(demo, &client) == [("failed".to_owned(), 1)]);
}

#[test]
fn an_address_in_the_clear_is_not_registered() {
    let demo = demo();
    let declared = "[[client]]\nclient_id = \"clear\"\nredirect_uris = [\"https://a.example/cb\"]\n\
                    backchannel_logout_uri = \"http://a.example/bc\"\n";
    let why = demo.refused(&["apply", &demo.file(declared)], 1);
    assert!(why.contains("backchannel_logout_uri") && why.contains("https"), "{why}");
}
