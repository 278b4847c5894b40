//! The operations listener: health and metrics, and nothing about anybody.

use std::collections::BTreeSet;

use super::{
    browser::{Browser, as_client, ask_token},
    demo::{demo, until},
};

#[test]
fn a_running_node_is_alive_and_ready() {
    let demo = demo();
    let live = demo.operations.get("/health/live").send().expect(200);
    assert_eq!(live.field("cache-control"), Some("no-store"));
    assert!(live.json()["status"].is_string());
    let ready = demo.operations.get("/health/ready").send().expect(200).json();
    assert_eq!(ready["status"], "ready");
    for check in ready["checks"].as_array().unwrap() {
        // A machine on which other tests run may be slow; nothing else may be said of anything.
        let is_slow = check["reasons"] == serde_json::json!(["high_latency"]);
        assert!(check["status"] == "healthy" || is_slow, "{check}");
        assert!(check["name"].is_string());
    }
}

/// One page of metrics after something has happened that is counted.
fn metrics() -> String {
    let demo = demo();
    let (mut browser, told) = Browser::signed_in(demo.public, &demo.person("customer"));
    browser.get("/api/auth/session").expect(200);
    let token = told["access_token"].as_str().unwrap();
    demo.gateway.get("/echo/x").bearer(token).send().expect(200);
    demo.gateway.get("/echo/x").bearer("nonsense").send().expect(401);
    let wrong = serde_json::json!({"username": "nobody", "password": "wrong password here"});
    demo.public.post("/api/auth/login").json(&wrong).send().expect(401);
    let mut forger = Browser::new(demo.public);
    forger.plant("session_id", "1.1.forged");
    forger.get("/api/auth/session").expect(401);
    // What a client asks for in vain is counted, and what the provider is asked about.
    let orders = demo.client("orders");
    let exchange = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
    ];
    for (audience, status) in [("payments", 200), ("nowhere", 400)] {
        let fields = [&exchange[..], &[("audience", audience)]].concat();
        ask_token(demo, &orders, &fields).expect(status);
    }
    let asks = demo.client("demo-service");
    let introspect = || demo.public.post("/oauth2/introspect");
    as_client(introspect(), &asks, &[("token", token)]).send().expect(200);
    as_client(introspect(), &asks, &[("token", "nonsense")]).send().expect(200);
    let answer = demo.operations.get("/metrics").send().expect(200);
    let media_type = answer.field("content-type").unwrap();
    assert!(media_type.starts_with("text/plain; version=0.0.4"), "{media_type}");
    answer.text()
}

#[test]
fn metrics_have_their_promised_names_and_labels() {
    let text = metrics();
    for promised in [
        "token_issued_total{service,token_type}",
        "token_validation_duration_seconds_count{service,result}",
        "token_propagations_total{source,target}",
        "token_propagation_errors_total{source,target,error_type}",
        "active_tokens{service}",
        "revocation_check_duration_seconds_count{layer,result}",
        "revocation_checks_total{layer,result}",
        "auth_requests_total{method,result}",
        "auth_errors_total{method,error_type}",
        "auth_request_duration_seconds_count{method}",
        "user_auth_method{method}",
        "gateway_requests_total{service,status}",
        "gateway_request_duration_seconds_count{service}",
        "circuit_breaker_state{name}",
        "policy_decisions_total{decision}",
        "session_errors_total{service,error_type}",
        "session_validation_duration_seconds_count{service,method,status}",
        "active_sessions{service}",
        "revocation_propagation_seconds_count",
        "revocation_staleness_seconds",
        "revocation_position",
    ] {
        let (name, labels) = promised.split_once('{').unwrap_or((promised, "}"));
        let is_of =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let mut labels: Vec<_> =
            labels.trim_end_matches('}').split(',').filter(|it| !it.is_empty()).collect();
        labels.sort_unstable();
        let lines: Vec<_> = text.lines().filter(is_of).collect();
        assert!(!lines.is_empty(), "there is no {promised}");
        for line in lines {
            let own = line.split_once('{').map_or("", |it| it.1.split_once('}').unwrap().0);
            let own = own.split(',').filter(|it| !it.is_empty());
            let mut own: Vec<_> = own.map(|it| it.split('=').next().unwrap()).collect();
            own.sort_unstable();
            assert_eq!(own, labels, "{line}");
        }
    }
}

/// What the gateway finds out of a credential, and what the provider does, is one metric.
#[test]
fn validations_are_told_by_whoever_made_them_and_by_what_came_of_it() {
    let text = metrics();
    for service in ["gateway", "provider"] {
        for result in ["valid", "invalid"] {
            for series in [
                format!(
                    "session_validation_duration_seconds_count{{service=\"{service}\",\
                     method=\"cookie\",status=\"{result}\"}} "
                ),
                format!(
                    "token_validation_duration_seconds_count{{service=\"{service}\",\
                     result=\"{result}\"}} "
                ),
            ] {
                let line = text.lines().find_map(|line| line.strip_prefix(series.as_str()));
                let count: u64 = line.unwrap_or_else(|| panic!("no {series}")).parse().unwrap();
                // At the gateway nobody need have shown a cookie.
                let is_shown = !(service == "gateway" && series.starts_with("session"));
                assert!(count > 0 || !is_shown, "{series}");
            }
        }
    }
}

#[test]
fn metrics_say_how_far_the_revocations_are_known() {
    let text = metrics();
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("there is no {name}")).parse().unwrap()
    };
    assert!((0.0..5.0).contains(&value("revocation_staleness_seconds")));
    let before = value("revocation_position");
    let (mut browser, _) = Browser::signed_in(demo().public, &demo().person("customer"));
    browser.change(demo().public.post("/api/auth/logout")).expect(204);
    let after = || {
        let text = demo().operations.get("/metrics").send().expect(200).text();
        let line = text.lines().find_map(|line| line.strip_prefix("revocation_position "));
        line.unwrap().parse::<f64>().unwrap()
    };
    // It is pulled every half second.
    until("the log has been followed", || after() > before);
}

#[test]
fn metrics_are_well_formed_in_the_text_format() {
    let text = metrics();
    let mut described = BTreeSet::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            let kinds = ["counter", "gauge", "histogram", "summary", "untyped"];
            assert!(kinds.contains(&kind), "{line}");
            assert!(described.insert(name.to_owned()), "{name} is described twice");
        } else if !line.starts_with("# HELP ") {
            let name = line.split(['{', ' ']).next().unwrap();
            let base = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end).filter(|base| described.contains(*base)));
            assert!(described.contains(base.unwrap_or(name)), "`{name}` has no type");
            let value = line.rsplit(' ').next().unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(!text.contains("# EOF") && text.ends_with('\n'));
}

#[test]
fn nothing_about_anybody_is_said_there() {
    let demo = demo();
    let person = demo.person("customer");
    let (_, told) = Browser::signed_in(demo.public, &person);
    let all = ["/metrics", "/health/ready", "/health/live"]
        .map(|path| demo.operations.get(path).send().expect(200).text())
        .concat();
    let sid = told["sid"].as_str().unwrap();
    for private in [person.id.as_str(), &person.username, sid, "demo_", "usr_"] {
        assert!(!all.contains(private), "{private}");
    }
}

#[test]
fn nothing_else_is_served_there() {
    let demo = demo();
    for path in ["/", "/login", "/oauth2/token", "/api/auth/session", "/.well-known/jwks.json"] {
        demo.operations.get(path).send().expect(404).problem();
    }
    for path in ["/metrics", "/health/live", "/health/ready"] {
        demo.operations.post(path).send().expect(405).problem();
    }
}
