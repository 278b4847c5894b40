//! What the file says of the pages on which people sign in, and of those that share their origin.

use crate::{CONFIGURATION, Place, ask, body, get, sign_in};

const PASSWORD: &str = "correct horse battery staple";

/// The cookies that an answer sets, as a browser sends them.
fn cookies(answer: &str) -> String {
    let set = answer.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
    let pairs: Vec<_> = set.filter_map(|line| line.split(';').next()).collect();
    pairs.join("; ")
}

fn place(settings: &str) -> Place {
    let place = Place::new();
    place.add_user("alice");
    place.write("tegata.toml", &format!("{CONFIGURATION}{settings}"));
    place
}

#[test]
fn pages_are_given_tokens_unless_the_file_says_that_they_are_not() {
    for (settings, given) in [("", true), ("[tokens]\nfor_pages = false\n", false)] {
        let place = place(settings);
        let server = place.serve();
        let ports = server.ports();
        for port in [ports.public, ports.gateway] {
            let (status, answer) = sign_in(port, PASSWORD, "");
            assert_eq!(status, 200, "{answer}");
            let told = body(&answer);
            assert_eq!(told.get("access_token").is_some(), given, "{settings} {told}");
            assert!(told["csrf_token"].is_string() && told["expires_in"].is_u64(), "{told}");
            assert_eq!(told["sub"].is_string(), !given, "{told}");
            // Whoever has the cookie has the session, with tokens or without.
            let head = format!("GET /api/auth/session HTTP/1.1\r\nCookie: {}", cookies(&answer));
            let (status, session) = ask(port, &head, "");
            assert_eq!(status, 200, "{session}");
            assert_eq!(body(&session)["user"]["username"], "alice");
        }
        server.stop();
    }
}

#[test]
fn a_proof_is_asked_for_where_the_file_says_so() {
    let proof = |value: &str| format!("[sessions]\napproval_proof = \"{value}\"\n");
    for (settings, at_the_issuer, at_the_gateway) in [
        (String::new(), false, true),
        (proof("shared_origin"), false, true),
        (proof("always"), true, true),
        (proof("danger_never"), false, false),
    ] {
        let place = place(&settings);
        let client = ["client", "add", "web", "--grant-type", "authorization_code"];
        let more = ["--redirect-uri", "https://web.example/cb", "--scope", "openid"];
        place.json(&[&client[..], &more].concat());
        let server = place.serve();
        let ports = server.ports();
        for (port, asks) in [(ports.public, at_the_issuer), (ports.gateway, at_the_gateway)] {
            let (status, answer) = sign_in(port, PASSWORD, "");
            assert_eq!(status, 200, "{answer}");
            let cookies = cookies(&answer);
            let read = |target: &str| {
                ask(port, &format!("GET {target} HTTP/1.1\r\nCookie: {cookies}"), "")
            };
            let (status, led) = read(
                "/oauth2/authorize?response_type=code&client_id=web&scope=openid&state=x\
                 &redirect_uri=https%3A%2F%2Fweb.example%2Fcb&code_challenge_method=S256\
                 &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM",
            );
            assert_eq!(status, 303, "{led}");
            let place = led.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
            assert!(place.starts_with("/oauth2/consent?request="), "{place}");
            let (status, page) = read(place);
            assert_eq!(status, 200, "{page}");
            assert!(page.contains("name=\"decision\""), "{page}");
            assert_eq!(page.contains("name=\"password\""), asks, "{settings} {port}: {page}");
        }
        assert_eq!(get(ports.public, "/login").0, 200);
        server.stop();
    }
}
