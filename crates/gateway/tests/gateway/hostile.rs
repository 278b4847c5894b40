//! What must not pass.

use std::net::Shutdown;

use crate::{
    echo,
    world::{Plan, World, get, request},
};

/// Requests that are refused, with the status and the name of the problem.
fn refused(world: &World, cases: &[(&str, u16, &str)]) {
    for (text, status, problem) in cases {
        let mut client = world.connect();
        client.write(text);
        let answer = client.answer().unwrap_or_else(|| panic!("no answer to {text:?}"));
        assert_eq!((answer.status, answer.problem().as_str()), (*status, *problem), "{text:?}");
        assert!(answer.field("x-request-id").is_some());
    }
}

#[test]
fn ambiguous_framing_is_refused_and_the_connection_closed() {
    let world = World::plain();
    let post = "POST /public/x HTTP/1.1\r\nHost: a\r\n";
    let smuggled = "GET /public/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (fields, problem) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "ambiguous_framing"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "ambiguous_framing"),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", "content_length"),
        ("Content-Length: 0\r\nContent-Length: 60\r\n", "content_length"),
        ("Content-Length: 0, 0\r\n", "content_length"),
        ("Content-Length: +0\r\n", "content_length"),
        ("Content-Length: -0\r\n", "content_length"),
        ("Content-Length: 0x0\r\n", "content_length"),
        ("Content-Length: 1e1\r\n", "content_length"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "transfer_encoding"),
        ("Transfer-Encoding: identity, chunked\r\n", "transfer_encoding"),
        ("Transfer-Encoding: chunked;q=1\r\n", "transfer_encoding"),
        ("Transfer-Encoding: \"chunked\"\r\n", "transfer_encoding"),
        ("Transfer-Encoding : chunked\r\n", "field_name"),
        ("X: a\r\n Transfer-Encoding: chunked\r\n", "field_folded"),
        ("X: a\nTransfer-Encoding: chunked\r\n", "line_end"),
        ("X: a\rTransfer-Encoding: chunked\r\n", "field_value"),
    ] {
        let mut client = world.connect();
        client.write(format!("{post}{fields}\r\n0\r\n\r\n{smuggled}"));
        let answer = client.answer().unwrap_or_else(|| panic!("no answer to {fields:?}"));
        assert_eq!((answer.status, answer.problem().as_str()), (400, problem), "{fields:?}");
        assert_eq!(answer.field("connection"), Some("close"));
        // What was smuggled is never answered.
        assert!(client.is_closed(), "{fields:?}");
    }
    let old = "POST /public/x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    refused(&world, &[(old, 400, "transfer_encoding")]);
}

/// What a browser shows of an answer that it was not meant to see is no page, runs nothing, is framed by nobody
/// and kept nowhere: whichever way the refusal was written.
#[test]
fn every_refusal_carries_what_pages_carry() {
    let mut plan = Plan::with(echo::start());
    plan.config.hsts = Some(std::time::Duration::from_secs(86_400));
    let world = plan.start();
    for (text, status) in [
        // Nothing of it can be read, so it is answered by hand.
        ("GET /public/x HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", 400),
        ("GET /public/x HTTP/1.1\r\n\r\n", 400),
        ("nonsense\r\n\r\n", 400),
        ("GET /nowhere/x HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        ("GET /echo/x HTTP/1.1\r\nHost: a\r\n\r\n", 401),
    ] {
        let mut client = world.connect();
        client.write(text);
        let answer = client.answer().unwrap_or_else(|| panic!("no answer to {text:?}"));
        assert_eq!(answer.status, status, "{text:?}");
        answer.problem();
        for (name, value) in [
            ("cache-control", "no-store"),
            (
                "content-security-policy",
                "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("strict-transport-security", "max-age=86400"),
        ] {
            assert_eq!(answer.fields(name), [value], "{name} for {text:?}");
        }
    }
}

#[test]
fn a_bad_request_behind_a_good_one_is_refused_alone() {
    let world = World::plain();
    let mut client = world.connect();
    let good = get("/public/good", &[]);
    let bad = "POST /public/bad HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\nx";
    client.write(format!("{good}{good}{bad}{good}"));
    for _ in 0..2 {
        let answer = client.answer().unwrap();
        assert_eq!(answer.json()["path"], "/good", "{}", answer.json());
    }
    assert_eq!(client.answer().unwrap().problem(), "content_length");
    assert!(client.is_closed());
}

#[test]
fn malformed_chunks_end_the_request_and_the_connection() {
    let world = World::plain();
    let head = "POST /public/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for chunks in
        ["x\r\n", "-1\r\n", "1\nA\n0\n\n", "2\r\nABC\r\n0\r\n\r\n", "0\r\n folded: x\r\n\r\n"]
    {
        // With the head, and after it has been taken.
        for apart in [false, true] {
            let mut client = world.connect();
            let rest = format!("{chunks}{}", get("/public/smuggled", &[]));
            if apart {
                client.write(head.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n"));
                assert_eq!(client.head().unwrap().0, 100);
                client.write(rest);
            } else {
                client.write(format!("{head}{rest}"));
            }
            let answer = client.answer().unwrap_or_else(|| panic!("no answer to {chunks:?}"));
            let problem = if apart { "body_malformed" } else { "chunk_malformed" };
            assert_eq!((answer.status, answer.problem().as_str()), (400, problem), "{chunks:?}");
            assert!(client.is_closed(), "{chunks:?}");
        }
    }
}

#[test]
fn limits_hold_before_anything_is_parsed() {
    let world = World::plain();
    let path = format!("/public/{}", "a".repeat(8192));
    let value = "v".repeat(8193);
    let big = "v".repeat(8000);
    let block: Vec<_> = (0..5).map(|_| ("X-Big", big.as_str())).collect();
    let many: Vec<_> = (0..100).map(|_| ("X-Many", "1")).collect();
    refused(
        &world,
        &[
            (&get(&path, &[]), 414, "target_too_long"),
            (&get("/public/x", &[("X-Long", &value)]), 431, "fields_too_large"),
            (&get("/public/x", &block), 431, "fields_too_large"),
            (&get("/public/x", &many), 431, "too_many_fields"),
            (&"G".repeat(100_000), 414, "target_too_long"),
            (&format!("GET / HTTP/1.1\r\n{}", "x".repeat(100_000)), 431, "fields_too_large"),
            (&format!("GET /{} HTTP/1.1\r\n", "x".repeat(1_000_000)), 414, "target_too_long"),
        ],
    );
    let fits: Vec<_> = (0..99).map(|_| ("X-Many", "1")).collect();
    assert_eq!(world.ask(&get("/public/x", &fits)).status, 200);
    assert_eq!(world.ask(&get("/public/x", &[("X-Long", &value[..8192])])).status, 200);
    let path = format!("/public/{}", "a".repeat(8192 - "/public/".len()));
    assert_eq!(world.ask(&get(&path, &[])).status, 200);
}

#[test]
fn malformed_requests_get_a_problem_and_never_a_5xx_but_for_their_version() {
    let world = World::plain();
    refused(
        &world,
        &[
            ("GET\r\n\r\n", 400, "request_line_malformed"),
            ("GET /\r\n\r\n", 400, "request_line_malformed"),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400, "request_line_malformed"),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505, "http_version"),
            ("GET / HTTP/1.1\r\nHost a\r\n\r\n", 400, "field_name"),
            ("GET / HTTP/1.1\r\n: a\r\n\r\n", 400, "field_name"),
            ("GET /\u{0} HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target_illegal_byte"),
            ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400, "target_illegal_byte"),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\n", 400, "line_end"),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\r\n", 400, "request_line_malformed"),
        ],
    );
}

#[test]
fn one_host_that_is_a_host() {
    let world = World::plain();
    for host in [
        "", "a b", "a/b", "user@a", "a:80:80", "a:port", "a:", "[::1", "[::1]x", "a,b", "a\\b",
        "a?b", "a%00b",
    ] {
        let answer = world.ask(&format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!((answer.status, answer.problem().as_str()), (400, "host"), "{host:?}");
    }
    for text in [
        "GET /public/x HTTP/1.1\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
        "GET http://b/public/x HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(world.ask(text).problem(), "host", "{text:?}");
    }
    for text in [
        "GET /public/x HTTP/1.0\r\n\r\n",
        "GET http://A:80/public/x HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n",
    ] {
        assert_eq!(world.ask(text).json()["path"], "/x", "{text:?}");
    }
}

#[test]
fn a_host_that_is_not_served_is_misdirected() {
    let mut plan = Plan::with(echo::start());
    plan.config.hosts = vec!["api.example".into()];
    let world = plan.start();
    let ask = |host: &str| world.ask(&format!("GET /public/x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert_eq!(ask("API.example:8080").status, 200);
    assert_eq!((ask("other.example").status, ask("api.example.evil").status), (421, 421));
}

#[test]
fn paths_that_two_readers_read_differently_are_refused() {
    let world = World::plain();
    for (path, problem) in [
        ("/public/../admin/x", "path_dot_segment"),
        ("/public/%2e%2e/admin", "path_dot_segment"),
        ("/public/.%2E/admin", "path_dot_segment"),
        ("/public/..%2fadmin", "path_encoded_slash"),
        ("/public%2fadmin", "path_encoded_slash"),
        ("/public/%5cadmin", "path_backslash"),
        ("/public\\..\\admin", "path_backslash"),
        ("//public/x", "path_empty_segment"),
        ("/public//admin", "path_empty_segment"),
        ("/public/;/admin", "path_parameters"),
        ("/public/x;jsessionid=1", "path_parameters"),
        ("/public/%252e%252e/admin", "path_double_encoding"),
        ("/public/%00", "path_nul"),
        ("/public/%0d%0aX:1", "target_control"),
        ("/public/%c0%ae%c0%ae/", "path_not_utf8"),
        ("/public/%", "path_malformed_escape"),
        ("/public/%zz", "path_malformed_escape"),
    ] {
        let answer = world.ask(&get(path, &[]));
        assert_eq!((answer.status, answer.problem().as_str()), (400, problem), "{path}");
    }
    let star = world.ask(&request("OPTIONS", "*", &[], ""));
    assert_eq!(star.problem(), "path_not_absolute");
}

#[test]
fn paths_with_the_shape_of_sql_are_refused() {
    let world = World::plain();
    for path in [
        "/public/1%20UNION%20SELECT%20x",
        "/public/1+union+all+select+x",
        "/public/x';DROP%20TABLE%20users",
        "/public/x%27%20drop%20table%20users",
        "/public/InSeRt%20iNtO%20users",
        "/public/delete%20from%20users",
    ] {
        let answer = world.ask(&get(path, &[]));
        assert_eq!(answer.status, 400, "{path}");
    }
    for path in
        ["/public/credit-union/select-plan", "/public/delete/from", "/public/dropdown/tables"]
    {
        assert_eq!(world.ask(&get(path, &[])).status, 200, "{path}");
    }
}

#[test]
fn the_normalised_path_is_what_is_decided_about_and_what_is_forwarded() {
    let world = World::plain();
    for (path, seen) in [
        ("/public/a", "/a"),
        ("/p%75blic/%61", "/a"),
        ("/public", "/"),
        ("/public/", "/"),
        ("/public/%c3%a9", "/%C3%A9"),
        ("/whole/a%7Eb", "/whole/a~b"),
        ("/public/a?x=%2e%2e/&y=a%20b", "/a"),
    ] {
        assert_eq!(world.ask(&get(path, &[])).json()["path"], seen, "{path}");
    }
    let query = world.ask(&get("/public/a?x=%2e%2e/&y=a%20b&y=;", &[]));
    assert_eq!(query.json()["query"], "x=%2e%2e/&y=a%20b&y=;");
    // A spelling of a protected prefix does not slip through an open one.
    assert_eq!(world.ask(&get("/%61dmin/x", &[])).status, 401);
    assert_eq!(world.ask(&get("/ADMIN/x", &[])).status, 404);
}

#[test]
fn other_protocols_and_tunnels_are_refused_before_what_follows_is_read() {
    let world = World::plain();
    let smuggled = get("/public/smuggled", &[]);
    for (text, status) in [
        (get("/public/x", &[("Connection", "Upgrade"), ("Upgrade", "websocket")]), 501),
        (get("/public/x", &[("Upgrade", "TLS/1.0")]), 501),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n".to_owned(), 405),
        (request("TRACE", "/public/x", &[], ""), 405),
        (get("/public/x", &[("Expect", "200-ok")]), 417),
    ] {
        let mut client = world.connect();
        client.write(format!("{text}{smuggled}"));
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, status, "{text:?}");
        answer.problem();
        assert!(client.is_closed(), "{text:?}");
    }
    let offered =
        [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c"), ("HTTP2-Settings", "x")];
    let answer = world.ask(&get("/public/x", &offered));
    assert_eq!(answer.status, 200);
    for name in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(answer.seen(name), None, "{name}");
    }
}

#[test]
fn forged_identity_is_gone_whatever_its_spelling() {
    let world = World::plain();
    let names = [
        "X-User-ID",
        "x-user-id",
        "X_User_ID",
        "X.User.ID",
        "X-User_ID",
        "X-User-Roles",
        "X_USER_ROLES",
        "X-Request-ID",
        "X_Request_ID",
        "X-Internal-Token",
        "X.Internal.Token",
        "X-Service-Name",
        "X_Service_Name",
        "X-User-Context",
        "Txn-Token",
        "Txn_Token",
        "X-Trace-ID",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "X-Forwarded-For",
        "X_Forwarded_For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Uri",
        "X-Forwarded-User",
        "Forwarded",
        "X-Real-IP",
        "Client-Cert",
        "Client_Cert",
        "Client-Cert-Chain",
        "X-Middleware-Subrequest",
    ];
    for name in names {
        for path in ["/public/x", "/maybe/x"] {
            let answer = world.ask(&get(path, &[(name, "forged"), ("X-Fine", "yes")]));
            assert_eq!(answer.status, 200);
            assert!(!answer.json().to_string().contains("forged"), "{name} {}", answer.json());
            assert_eq!(answer.seen("x-fine").as_deref(), Some("yes"));
        }
    }
    let nobody = world.ask(&get("/public/x", &[("X-User-ID", "forged")]));
    for name in ["x-user-id", "x-user-roles", "x-internal-token"] {
        assert_eq!(nobody.seen(name), None);
    }
}

#[test]
fn connection_takes_away_nothing_that_the_gateway_says() {
    let world = World::plain();
    let listed = "close, X-User-ID, X-Internal-Token, X-Forwarded-For, Host, Authorization, X-Mine";
    let token = format!("Bearer {}", world.token());
    let fields = [
        ("Connection", listed),
        ("Authorization", token.as_str()),
        ("X-Mine", "mine"),
        ("TE", "trailers"),
    ];
    let answer = world.ask(&get("/echo/x", &fields));
    assert_eq!(answer.status, 200, "{}", answer.json());
    assert_eq!(answer.seen("x-user-id").as_deref(), Some("usr_alice"));
    assert!(answer.seen("x-internal-token").is_some());
    assert_eq!(answer.seen("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    for gone in ["x-mine", "connection", "te", "keep-alive", "authorization"] {
        assert_eq!(answer.seen(gone), None, "{gone}");
    }
}

#[test]
fn trailers_bring_nothing_past_the_check_of_the_head() {
    let world = World::plain();
    let answer = world.ask(
        "POST /public/x HTTP/1.1\r\nHost: a\r\nTrailer: X-User-ID\r\nTransfer-Encoding: chunked\r\n\r\n\
         2\r\nhi\r\n0\r\nX-User-ID: forged\r\n\r\n",
    );
    assert_eq!(answer.json()["body"], "hi");
    assert!(!answer.json().to_string().contains("forged"));
}

#[test]
fn a_client_that_hangs_up_at_any_byte_leaves_the_gateway_serving() {
    let world = World::plain();
    let text = request("POST", "/public/x", &[], "hello");
    for end in 0..text.len() {
        let mut client = world.connect();
        client.write(&text[..end]);
        let _ = client.stream.shutdown(Shutdown::Write);
    }
    assert_eq!(world.ask(&text).json()["body"], "hello");
}

#[test]
fn bodies_are_as_large_as_the_route_allows() {
    let mut plan = Plan::with(echo::start());
    plan.config.limits.body = 10;
    plan.config.limits.body_of = [("/whole".to_owned(), 20)].into();
    let world = plan.start();
    let post = |path: &str, len: usize| world.ask(&request("POST", path, &[], &"b".repeat(len)));
    assert_eq!(post("/public/x", 10).status, 200);
    assert_eq!(post("/public/x", 11).problem(), "body_too_large");
    assert_eq!(post("/whole/x", 20).status, 200);
    assert_eq!(post("/whole/x", 21).status, 413);
    let mut client = world.connect();
    client.write("POST /public/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.write("8\r\nbbbbbbbb\r\n8\r\nbbbbbbbb\r\n0\r\n\r\n");
    let answer = client.answer().unwrap();
    assert_eq!((answer.status, answer.problem().as_str()), (413, "body_too_large"));
    assert!(client.is_closed());
}

#[test]
fn no_worker_stands_before_the_pages_on_which_people_sign_in() {
    let script = [("Service-Worker", "script")];
    let world = |public: bool| {
        let mut plan = Plan::with(echo::start());
        if public {
            plan.config.public = Some(format!("http://{}", echo::start()).parse().unwrap());
        }
        plan.start()
    };
    let asked = world(true);
    // A script stands before what is in its directory, whatever else is written in its address.
    for path in ["/sw.js", "/sw.js?v=2", "/%73w.js", "/", "/api/sw.js", "/assets/sw.js"] {
        for says in ["script", "x", ""] {
            let refused = asked.ask(&get(path, &[("Service-Worker", says)]));
            assert_eq!(
                (refused.status, refused.problem().as_str()),
                (403, "worker_scope"),
                "{path}"
            );
        }
    }
    // One of a directory of its own is its service's business; and so are scripts that are none.
    for path in ["/public/sw.js", "/public/login/sw.js", "/public/assets/tegata/sw.js"] {
        assert_eq!(asked.ask(&get(path, &script)).status, 200, "{path}");
    }
    assert_eq!(asked.ask(&get("/sw.js", &[])).problem(), "no_route");
    // Tegata's own are Tegata's.
    assert_eq!(asked.ask(&get("/login/sw.js", &script)).status, 200);
    // Where nobody signs in, nothing is to be kept.
    assert_eq!(world(false).ask(&get("/sw.js", &script)).problem(), "no_route");
}
