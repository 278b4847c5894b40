//! What clients of Envoy try, and what services see of it.

use serde_json::Value;

use super::{
    browser::{AGENT, Browser},
    demo::{Demo, until},
    http::Answer,
    world::{World, configuration, reason, received, world},
};
use tegata_engines::EnvoyServer;

fn echo(answer: Option<Answer>) -> Value {
    answer.unwrap().expect(200).json()
}

/// A request as it is written.
fn written(target: &str, lines: &[&str]) -> Vec<u8> {
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\nHost: shop.example\r\n{lines}Connection: close\r\n\r\n")
        .into()
}

fn bearer(world: &World) -> (String, String) {
    let person = world.demo.person("customer");
    (format!("Authorization: Bearer {}", world.token(&person)), person.id)
}

#[test]
fn no_identity_header_of_a_client_passes_envoy() {
    let world = world();
    let (bearer, id) = bearer(world);
    let names = [
        "X-User-ID",
        "X-User-Roles",
        "X-Internal-Token",
        "X-Request-ID",
        "X-Service-Name",
        "X-User-Context",
        "X-Trace-ID",
        "Txn-Token",
        "X-Forwarded-User",
        "X-Auth-Request-User",
        "X-Internal-Gateway",
        "X-Envoy-Original-Path",
        "X-Envoy-Internal",
        "X-Envoy-Expected-Rq-Timeout-Ms",
        "Client-Cert",
        "X-Forwarded-Client-Cert",
        "Forwarded",
        "X-Real-IP",
        "X-Original-URL",
        "X-HTTP-Method-Override",
        "Remote-User",
    ];
    for name in names {
        let spellings = [
            name.to_owned(),
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1).to_lowercase(),
            name.replacen('-', ".", 1).to_uppercase(),
        ];
        for path in ["/echo/x", "/public/echo/x"] {
            let lines: Vec<_> = spellings.iter().map(|name| format!("{name}: forged")).collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).chain([&*bearer]).collect();
            let echo = echo(world.behind().raw(&written(path, &lines)));
            assert!(!echo["headers"].to_string().contains("forged"), "{name} at {path}: {echo}");
            let own = path == "/echo/x";
            assert_eq!(received(&echo, "x-user-id").first() == Some(&id), own, "{echo}");
            assert_eq!(received(&echo, "x-internal-token").len(), usize::from(own));
        }
    }
    // A client can have nothing of it taken away again, and its credentials stay here.
    let listed = "Connection: X-User-ID, x-internal-token";
    let lines = [&*bearer, listed, "Cookie: session_id=secret; theme=dark; csrf_token=secret"];
    let echo = echo(world.behind().raw(&written("/public/echo/x", &lines)));
    assert_eq!(received(&echo, "authorization"), Vec::<String>::new());
    assert_eq!(received(&echo, "cookie"), ["theme=dark"]);
    assert_eq!(received(&echo, "x-forwarded-for"), ["127.0.0.1"]);
}

#[test]
fn what_envoy_does_not_show_names_nobody_either() {
    let world = world();
    let base = world.demo.public.port;
    let envoy = EnvoyServer::start(|port| {
        let shown = "allowed_headers: {patterns: [{exact: authorization}]}";
        let at = "                      encode_raw_headers: true\n";
        let text = configuration("shop.yaml", base, port);
        assert!(text.contains(at));
        text.replace(at, &format!("{at}                      {shown}\n"))
    });
    let place = super::http::Place { port: envoy.port() };
    let (bearer, id) = bearer(world);
    let names = ["X-User-ID", "X-User-Roles", "X-Internal-Token", "X-User-Context", "Txn-Token"];
    let forged = names.iter().flat_map(|name| [(*name).to_owned(), name.replace('-', "_")]);
    let lines: Vec<_> = forged.map(|name| format!("{name}: forged")).chain([bearer]).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for (path, who) in [("/public/echo/x", vec![]), ("/echo/x", vec![id])] {
        let echo = echo(place.raw(&written(path, &lines)));
        assert!(!echo["headers"].to_string().contains("forged"), "{echo}");
        assert_eq!(received(&echo, "x-user-id"), who);
    }
}

#[test]
fn what_envoy_normalises_is_what_was_judged() {
    let world = world();
    let base = world.demo.public.port;
    // However Envoy reads paths: as they are, or put in order before anybody is asked.
    let normalising = |text: &str| {
        text.replace("normalize_path: false", "normalize_path: true")
            .replace("merge_slashes: false", "merge_slashes: true")
    };
    let configured = |port| configuration("shop.yaml", base, port);
    let unescaping =
        |port| normalising(&configured(port)).replace("KEEP_UNCHANGED", "UNESCAPE_AND_FORWARD");
    let others = [
        EnvoyServer::start(|port| normalising(&configured(port))),
        EnvoyServer::start(unescaping),
        // Fields put together, and without what is no text.
        EnvoyServer::start(|port| {
            configured(port).replace("encode_raw_headers: true", "encode_raw_headers: false")
        }),
    ];
    let ports = [world.behind().port].into_iter().chain(others.iter().map(EnvoyServer::port));
    let (bearer, _) = bearer(world);
    for port in ports {
        let envoy = super::http::Place { port };
        for target in [
            "/public/echo/a//b",
            "/public/echo/./a/%2e/b",
            "/public/echo/%61",
            "/public//echo/x",
            "/public/%65cho/x",
            "/public/echo/x?y=//../%2e",
            "/public/echo/x%2fy",
            "/public/echo/..%2f..%2fstaff/echo/x",
            "/public/echo/../../staff/echo/x",
            "/public/echo/%2e%2e/%2e%2e/staff/echo/x",
            "/public/echo/..;/..;/staff/echo/x",
            "/public/echo/..\\..\\staff/echo/x",
            "/public/echo/%5c..%5c..%5cstaff/echo/x",
            "/public/echo/x%00",
            "/public/echo/x#/../../staff/echo/x",
            "/staff/echo/x",
            "/staff//echo/x",
            "/%73taff/echo/x",
            "/public/../staff/echo/x",
        ] {
            for lines in [&[][..], &[&*bearer]] {
                let answer = envoy.raw(&written(target, lines)).unwrap();
                assert_ne!(answer.status, 500, "{target}");
                if answer.status != 200 {
                    continue;
                }
                // What passes came from a way that is open, is what a careful reader reads, and is nothing that
                // a service could read further.
                let echo = answer.json();
                let path = echo["path"].as_str().unwrap();
                assert!(!target.contains("staff") || !path.contains("staff"), "{target}: {echo}");
                assert!(
                    !path.contains("//") && !path.contains("..") && !path.contains("%2e"),
                    "{echo}"
                );
                let own = world.demo.gateway.raw(&written(target, lines)).unwrap();
                if own.status == 200 {
                    assert_eq!(own.json()["path"], echo["path"], "{target}");
                    assert_eq!(own.json()["query"], echo["query"], "{target}");
                }
            }
        }
        // Who calls is who calls, also where fields are put together.
        let echo =
            echo(envoy.raw(&written("/echo/x", &[&bearer, "Cookie: a=b", "Cookie: session_id=c"])));
        assert_eq!(received(&echo, "cookie"), ["a=b"]);
        assert_eq!(received(&echo, "authorization"), Vec::<String>::new());
    }
}

#[test]
fn bytes_that_are_no_text_pass_as_they_were_judged_or_not_at_all() {
    let world = world();
    let base = world.demo.public.port;
    let joined = EnvoyServer::start(|port| {
        let text = configuration("shop.yaml", base, port);
        text.replace("encode_raw_headers: true", "encode_raw_headers: false")
    });
    for port in [world.behind().port, joined.port()] {
        let place = super::http::Place { port };
        let head = b"GET /public/echo/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n";
        let cookie = b"Cookie: sess\xffion_id=secret; theme=d\xffrk; session_id\xff=secret\r\n\r\n";
        let answer = place.raw(&[&head[..], cookie].concat()).unwrap();
        if answer.status == 200 {
            let cookies = received(&answer.json(), "cookie").join("");
            let legible: String = cookies.chars().filter(char::is_ascii).collect();
            assert!(!legible.contains("session_id=secret"), "{cookies}");
        }
        let target =
            b"GET /public/echo/\xff/../../staff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        if let Some(answer) = place.raw(target) {
            assert_eq!(answer.status, 400, "{}", answer.text());
        }
    }
}

#[test]
fn a_taken_back_token_is_refused_at_envoy_within_a_second() {
    let world = world();
    let token = world.of_a_machine();
    let ask = world.behind().get("/echo/x").bearer(&token);
    ask.send().expect(200);
    world.revoke(&token);
    // The demo is one node, which knows what it has taken back when it says so.
    let refused = ask.send().expect(401);
    assert_eq!(reason(&refused).as_deref(), Some("token_revoked"));
    assert!(refused.all("www-authenticate")[0].contains("invalid_token"));
}

#[test]
fn people_sign_in_through_envoy_and_their_session_counts_there() {
    let world = world();
    let person = world.demo.person("customer");
    let (browser, _) = Browser::signed_in(world.demo.public, &person);
    let cookie = format!("session_id={}", browser.cookie("session_id").unwrap());
    let ask = world.behind().get("/echo/x").field("Cookie", &cookie).field("User-Agent", AGENT);
    let echo = ask.send().expect(200).json();
    assert_eq!(received(&echo, "x-user-id"), [person.id]);
    assert_eq!(received(&echo, "cookie"), Vec::<String>::new());
    // What changes something needs more than a cookie.
    let ask = world.behind().post("/echo/x").field("Cookie", &cookie).field("User-Agent", AGENT);
    assert_eq!(reason(&ask.send().expect(403)).as_deref(), Some("csrf"));
    let page = world.behind().get("/login").send().expect(200);
    assert!(page.text().contains("name=\"password\""));
    world.behind().get("/.well-known/jwks.json").send().expect(200);
}

#[test]
fn envoy_knows_for_its_own_log_who_called_what() {
    let base = Demo::start(&["--ext-authz"]);
    let envoy = EnvoyServer::start(|port| {
        let text = configuration("shop.yaml", base.public.port, port);
        let metadata =
            |key: &str| format!("%DYNAMIC_METADATA(envoy.filters.http.ext_authz:{key})%");
        let line: Vec<_> = ["service", "route", "user", "reason"].map(metadata).into();
        let log = format!(
            "access_log: [{{name: envoy.access_loggers.stdout, typed_config: {{\"@type\": \
             type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog, \
             log_format: {{text_format_source: {{inline_string: \"seen {}\\n\"}}}}}}}}]\n",
            line.join(" ")
        );
        let at = "                stat_prefix: shop\n";
        text.replace(at, &format!("{at}                {log}"))
    });
    let place = super::http::Place { port: envoy.port() };
    place.get("/public/echo/x").send().expect(200);
    place.get("/echo/x").send().expect(401);
    place.get("/echo/x").bearer(&super::world::of_a_machine(&base)).send().expect(200);
    for line in [
        "seen echo /public/echo - -",
        "seen - - - not_authenticated",
        "seen echo /echo demo-service -",
    ] {
        until(line, || envoy.said().contains(line));
    }
}
