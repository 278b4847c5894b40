use super::*;

fn service(name: &str) -> DeclaredService {
    DeclaredService {
        name: name.to_owned(),
        upstreams: vec!["http://127.0.0.1:9900".to_owned()],
        roles: vec!["customer".to_owned()],
        ..DeclaredService::default()
    }
}

fn route(path: &str, service: &str) -> DeclaredRoute {
    DeclaredRoute::new(path, service)
}

fn faults(services: &[DeclaredService], routes: &[DeclaredRoute]) -> Vec<String> {
    match ServiceMap::check(services, routes) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.faults.iter().map(Fault::to_string).collect(),
    }
}

#[test]
fn a_service_without_a_route_gets_its_name_stripped_and_protected() {
    let map = ServiceMap::check(&[service("orders")], &[]).unwrap();
    let route = map.routes().next().unwrap();
    assert_eq!((route.path.as_str(), route.service.as_str()), ("/orders", "orders"));
    assert_eq!((route.auth, route.strip_prefix), (AuthMode::Required, true));
    assert_eq!(route.roles, map.service("orders").unwrap().roles);
}

#[test]
fn a_declared_route_takes_the_place_of_the_default() {
    let map = ServiceMap::check(&[service("orders")], &[route("/shop", "orders")]).unwrap();
    assert_eq!(map.routes().map(|route| route.path.as_str()).collect::<Vec<_>>(), ["/shop"]);
}

#[test]
fn roles_of_a_route_replace_those_of_its_service_and_open_routes_inherit_none() {
    let own = DeclaredRoute { roles: vec!["admin".into()], ..route("/admin", "orders") };
    let open = DeclaredRoute { auth: AuthMode::None, ..route("/open", "orders") };
    let either = DeclaredRoute { auth: AuthMode::Optional, ..route("/either", "orders") };
    let map = ServiceMap::check(&[service("orders")], &[own, open, either]).unwrap();
    let roles: Vec<Vec<&str>> =
        map.routes().map(|route| route.roles.iter().map(RoleName::as_str).collect()).collect();
    assert_eq!(roles, [vec!["admin"], vec![], vec![]]);
}

#[test]
fn names_the_entry_and_the_rule_of_each_fault_at_once() {
    let twice = DeclaredService {
        upstreams: vec![
            "ftp://x".into(),
            "http://u:hunter2@x".into(),
            "http://a".into(),
            "http://A:80/".into(),
        ],
        roles: vec!["Boss".into()],
        ..service("orders")
    };
    let nowhere = DeclaredService { upstreams: vec![], ..service("ghost") };
    let bad = DeclaredRoute {
        methods: vec!["get".into(), "TRACE".into()],
        scope: "a\"b".into(),
        auth: AuthMode::None,
        roles: vec!["admin".into()],
        acr: vec!["aal3".into(), "AAL2".into(), "aal2\r\nX: y".into()],
        max_age: Some("5m".parse().unwrap()),
        ..route("/orders/", "order")
    };
    let found = faults(
        &[service("orders"), twice, nowhere, service("Bad_Name")],
        &[bad, route("/login/x", "orders"), route("/x", "orders"), route("/x", "ghost")],
    );
    let expected = [
        "[[service]] `orders`: `upstreams` holds `ftp://x`: it must begin",
        "[[service]] `orders`: `upstreams` holds `…@…`: it must not hold credentials",
        "[[service]] `orders`: `upstreams` holds `http://a:80` twice",
        "[[service]] `orders`: `Boss` is not a role name",
        "[[service]] `orders`: this service is declared twice",
        "[[service]] `ghost`: `upstreams` is empty",
        "[[service]] `Bad_Name`: `Bad_Name` is not a service name",
        "[[route]] `/orders/`: `path` must be `/`",
        "[[route]] `/orders/`: there is no service `order`",
        "[[route]] `/orders/`: `methods` holds `get`",
        "[[route]] `/orders/`: `methods` holds `TRACE`",
        "[[route]] `/orders/`: `a\\\"b` is not a scope",
        "[[route]] `/orders/`: `acr` holds `aal3`: a sign-in reaches `aal1` and `aal2`",
        "[[route]] `/orders/`: `acr` holds `AAL2`",
        "[[route]] `/orders/`: `acr` holds `aal2\\r\\nX: y`",
        "[[route]] `/orders/`: `roles` needs a caller that is known",
        "[[route]] `/orders/`: `acr` needs a caller that is known",
        "[[route]] `/orders/`: `max_age` needs a caller that is known",
        "[[route]] `/login/x`: `/login` and what is below it is answered by Tegata",
        "[[route]] `/x`: this prefix is declared twice",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert!(found.iter().all(|fault| !fault.contains("hunter2")));
}

#[test]
fn refuses_prefixes_with_two_spellings_and_prefixes_of_its_own() {
    for bad in [
        "", "orders", "/orders/", "//", "/a//b", "/a/../b", "/.", "/a%20b", "/a:b", "/a;b", "/a b",
        "/a?b", "/é", "/*",
    ] {
        assert_eq!(faults(&[service("orders")], &[route(bad, "orders")]).len(), 1, "{bad:?}");
    }
    for reserved in RESERVED {
        for path in [reserved.to_owned(), format!("{reserved}/x")] {
            assert_eq!(faults(&[service("orders")], &[route(&path, "orders")]).len(), 1, "{path}");
        }
        let beside = format!("{reserved}x");
        assert!(faults(&[service("orders")], &[route(&beside, "orders")]).is_empty());
    }
    assert!(faults(&[service("orders")], &[route("/", "orders")]).is_empty());
    assert!(faults(&[service("orders")], &[route("/api", "orders")]).is_empty());
}

#[test]
fn a_service_cannot_take_a_reserved_path_by_its_name() {
    assert_eq!(faults(&[service("login")], &[]).len(), 1);
    assert!(faults(&[service("login")], &[route("/sign-in", "login")]).is_empty());
}

#[test]
fn what_is_asked_of_the_sign_in_needs_a_caller_and_stands_in_the_order_of_its_author() {
    let asks = DeclaredRoute {
        acr: vec!["aal2".into(), "aal1".into(), "aal2".into()],
        max_age: Some("5m".parse().unwrap()),
        ..route("/pay", "orders")
    };
    let map = ServiceMap::check(&[service("orders")], std::slice::from_ref(&asks)).unwrap();
    let step_up = &map.routes().next().unwrap().step_up;
    assert_eq!(step_up.acr, [Acr::Aal2, Acr::Aal1]);
    assert_eq!(step_up.max_age.map(tegata_core::MaxAge::secs), Some(300));
    for auth in [AuthMode::Optional, AuthMode::None] {
        let open = DeclaredRoute { auth, ..asks.clone() };
        assert_eq!(faults(&[service("orders")], &[open]).len(), 2, "{auth:?}");
    }
}

#[test]
fn how_a_service_is_reached_is_checked_word_by_word() {
    let base = r#"{"name": "a", "upstreams": ["https://a:1", "https://b:1"], WORDS}"#;
    let read = |words: &str| serde_json::from_str::<DeclaredService>(&base.replace("WORDS", words));
    let good = r#""health": {"path": "/up", "interval": "250ms"}, "max_requests": 7,
        "max_waiting": 3,
        "retry": {"budget": 20, "statuses": [503]},
        "breaker": {"answer": {"body": "[]", "status": 200}}, "ca_file": "/etc/ca.pem",
        "client_certificate_file": "/etc/c.pem", "client_key_file": "/etc/k.pem",
        "server_name": "orders.internal", "spiffe_id": "spiffe://example.org/ns/a/sa/b",
        "identity": "headers""#;
    let declared = read(good).unwrap();
    let reach = ServiceMap::check(std::slice::from_ref(&declared), &[]).unwrap();
    let reach = &reach.service("a").unwrap().reach;
    let health = reach.health.clone().unwrap();
    assert_eq!(
        (health.interval.to_string(), health.timeout.to_string()),
        ("250ms".into(), "1s".into())
    );
    assert_eq!((health.healthy, health.unhealthy), (2, 3));
    assert_eq!((reach.retry.attempts, reach.retry.budget), (3, 20));
    let breaker = reach.breaker.clone().unwrap();
    assert_eq!((breaker.failures, breaker.open_for.to_string()), (5, "1m".into()));
    assert_eq!(reach.max_requests.map(std::num::NonZero::get), Some(7));
    assert_eq!(reach.max_waiting.map(std::num::NonZero::get), Some(3));
    assert!(reach.outward.client.is_some());
    assert_eq!(declared.identity, IdentityForm::Headers);
    // It is read again as it is written, and what is left out is not written.
    let written = serde_json::to_string(&declared).unwrap();
    assert_eq!(serde_json::from_str::<DeclaredService>(&written).unwrap(), declared);
    let plain = serde_json::to_value(service("plain")).unwrap();
    assert_eq!(plain.as_object().unwrap().len(), 4, "{plain}");

    for (words, names) in [
        (r#""health": {"path": "up"}"#, "`health.path`"),
        (r##""health": {"path": "/up#x"}"##, "`health.path`"),
        (r#""health": {"path": "/up\r\nX: y"}"#, "`health.path`"),
        (r#""health": {"path": "/up", "unhealthy": 0}"#, "`health`"),
        (r#""max_requests": 0"#, "`max_requests`"),
        (r#""max_waiting": 3"#, "`max_waiting` needs `max_requests`"),
        (r#""retry": {"attempts": 0}"#, "`retry.attempts`"),
        (r#""retry": {"budget": 101}"#, "`retry.budget`"),
        (r#""retry": {"statuses": [200]}"#, "`retry.statuses`"),
        (r#""breaker": {"failures": 0}"#, "`breaker.failures`"),
        (r#""breaker": {"answer": {"status": 101}}"#, "`breaker.answer.status`"),
        (r#""breaker": {"answer": {"content_type": "a\nb"}}"#, "`breaker.answer.content_type`"),
        (r#""ca_file": "ca.pem""#, "`ca_file` must be a full path"),
        (r#""client_key_file": "/k.pem""#, "`client_key_file` needs"),
        (r#""client_certificate_file": "/c.pem""#, "`client_certificate_file` needs"),
        (r#""server_name": "a b""#, "`server_name`"),
        (r#""spiffe_id": "spiffe://example.org""#, "`spiffe_id`"),
        (r#""spiffe_id": "spiffe://example.org/a/../b""#, "`spiffe_id`"),
        (r#""spiffe_id": "https://example.org/a""#, "`spiffe_id`"),
    ] {
        let found = faults(&[read(words).unwrap()], &[]);
        assert!(found.len() == 1 && found[0].contains(names), "{words}: {found:?}");
    }
    // What is about TLS says nothing where there is none.
    let clear = read(good).unwrap();
    let clear = DeclaredService { upstreams: vec!["http://a:1".to_owned()], ..clear };
    assert_eq!(faults(&[clear], &[]).len(), 5);
    for words in [
        r#""health": {}"#,
        r#""health": {"path": "/", "interval": "0s"}"#,
        r#""breaker": {"open_for": 60}"#,
        r#""retry": {"on": []}"#,
    ] {
        assert!(read(words).is_err(), "{words}");
    }
}

#[test]
fn the_addresses_of_a_service_are_reached_as_its_protocol_needs() {
    let speaks = |protocol, url: &str| DeclaredService {
        protocol,
        upstreams: vec![url.to_owned()],
        ..service("orders")
    };
    for (protocol, url) in [
        (Protocol::Http1, "http://a"),
        (Protocol::Http1, "https://a"),
        (Protocol::H2, "https://a"),
        (Protocol::H2c, "http://a"),
    ] {
        let map = ServiceMap::check(&[speaks(protocol, url)], &[]).unwrap();
        let upstream = &map.service("orders").unwrap().upstreams[0];
        assert_eq!(
            (upstream.protocol(), upstream.scheme().name()),
            (protocol, &url[..url.len() - 4])
        );
    }
    for (protocol, url, says) in [
        (Protocol::H2, "http://a", "`protocol = \"h2\"` needs addresses with `https://`"),
        (Protocol::H2c, "https://a", "`protocol = \"h2c\"` needs addresses with `http://`"),
    ] {
        let found = faults(&[speaks(protocol, url)], &[]);
        assert!(found.len() == 1 && found[0].contains(says), "{found:?}");
    }
    let mut twice = speaks(Protocol::H2c, "http://a");
    twice.upstreams.push("http://A:80/".to_owned());
    assert_eq!(faults(&[twice], &[]).len(), 1);
}

#[test]
fn a_route_with_sockets_takes_the_method_that_they_begin_with() {
    let with = |methods: &[&str]| DeclaredRoute {
        websocket: true,
        methods: methods.iter().map(|method| (*method).to_owned()).collect(),
        ..route("/live", "orders")
    };
    assert!(faults(&[service("orders")], &[with(&[])]).is_empty());
    assert!(faults(&[service("orders")], &[with(&["POST", "GET"])]).is_empty());
    let found = faults(&[service("orders")], &[with(&["POST"])]);
    assert!(found.len() == 1 && found[0].contains("`websocket` needs `GET`"), "{found:?}");
}
