//! Alert rules and dashboards: that they name what the program exports, that the tools which read
//! them accept them, and that a Prometheus which asks the demo has something to show.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Output,
    sync::Mutex,
};

use serde_json::{Value, json};
use tegata_engines::{
    DynamoKind, DynamoServer, PostgresServer, PrometheusServer, RedisServer, TegataNode,
    process::free_port,
    promtool,
    tegata::{Own, Shared, root_key},
};

use super::{
    browser::{Browser, ask_token},
    demo::{demo, unique, until},
    http::Place,
    jwt::unverified,
    promql::{Exported, Named, exported},
};

/// The dashboards, by their titles.
const TITLES: [&str; 5] = [
    "Cache performance",
    "Cost tracking",
    "Error rates",
    "System availability",
    "Token revocation latency",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn rules() -> PathBuf {
    root().join("deploy/prometheus/tegata.rules.yml")
}

/// The dashboards, in the order of their titles.
fn dashboards() -> Vec<Value> {
    let entries = fs::read_dir(root().join("deploy/grafana")).unwrap();
    let texts = entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let mut all: Vec<Value> = texts.map(|text| serde_json::from_str(&text).unwrap()).collect();
    all.sort_by_key(|dashboard| dashboard["title"].as_str().unwrap().to_owned());
    all
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn good(output: &Output) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// What the demo counts: something of everything.
fn traffic() {
    let demo = demo();
    let person = demo.person("customer");
    let (mut browser, told) = Browser::signed_in(demo.gateway, &person);
    let token = told["access_token"].as_str().unwrap();
    demo.gateway.get("/echo/x").bearer(token).send().expect(200);
    demo.gateway.get("/echo/x").bearer("nonsense").send().expect(401);
    browser.get("/echo/x").expect(200);
    let wrong = json!({"username": unique("nobody"), "password": "wrong password here"});
    demo.public.post("/api/auth/login").json(&wrong).send().expect(401);
    let mut forger = Browser::new(demo.public);
    forger.plant("session_id", "1.1.forged");
    forger.get("/api/auth/session").expect(401);
    for (scope, status) in [(None, 200), (Some("a.scope.that.nobody.has"), 400)] {
        let mut fields = vec![
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("audience", "payments"),
        ];
        fields.extend(scope.map(|scope| ("scope", scope)));
        ask_token(demo, &demo.client("orders"), &fields).expect(status);
    }
    browser.change(demo.gateway.post("/api/auth/logout")).expect(204);
    of_another_issuer();
}

/// What the demo counts of tokens of its partner: one that counts and is taken back, and one that was taken back
/// before, of which a store is asked by now.
fn of_another_issuer() {
    static BEFORE: Mutex<Option<String>> = Mutex::new(None);
    let demo = demo();
    let token = demo.token_of_partner();
    let ask = |token: &str, status| demo.gateway.get("/echo/x").bearer(token).send().expect(status);
    ask(&token, 200);
    ask(&token, 200);
    let issuer = text(&demo.described["partner"]["issuer"]);
    let claims = unverified(&token).claims;
    let named = ["--issuer", issuer, "--jti", text(&claims["jti"]), "--reason", "monitoring"];
    demo.command(&[&["revoke"], &named[..]].concat());
    ask(&token, 401);
    let before = BEFORE.lock().unwrap().replace(token);
    if let Some(before) = before {
        ask(&before, 401);
        ask(&before, 401);
    }
}

/// The metrics of the demo after all of that.
fn of_demo() -> String {
    traffic();
    // The checks of health are made beside.
    let metrics = || demo().operations.get("/metrics").send().expect(200).text();
    until("the checks of health are made", || metrics().contains("\nnode_ready "));
    metrics()
}

/// The metrics of a node on PostgreSQL, Redis and DynamoDB that others could hear, and that takes tokens of
/// another issuer.
fn of_installation() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_tegata"));
    let (postgres, redis) = (PostgresServer::listening("", |_| {}), RedisServer::start());
    let dynamodb = DynamoServer::start(DynamoKind::Dynalite);
    let address = "http://localhost:1".to_owned();
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: address.clone(),
        audience: address,
    };
    let cluster = format!("[cluster]\nlisten = \"127.0.0.1:{}\"\n", free_port());
    let own = Own {
        store: postgres.database().url_on("127.0.0.1"),
        events: Some(redis.url()),
        more: format!(
            "[redis]\nurl = \"{}\"\n{cluster}[revocation]\ndurable = \"{}\"\n\
             [[issuer]]\nissuer = \"http://localhost:2\"\n",
            redis.url(),
            dynamodb.url("measured")
        ),
        environment: ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
            .map(|name| (name.to_owned(), "of-tests".to_owned()))
            .into(),
        ..Own::default()
    };
    let node = TegataNode::start("measured", &shared, &own);
    let metrics = Place { port: node.ports().operations };
    let metrics = || metrics.get("/metrics").send().expect(200).text();
    until("the checks of health are made", || metrics().contains("\nnode_ready "));
    metrics()
}

#[test]
fn the_tools_accept_metrics_and_rules() {
    let place = root().join("deploy/prometheus");
    good(&promtool(&place, &["check", "rules", "tegata.rules.yml"], ""));
    good(&promtool(&place, &["test", "rules", "tegata.tests.yml"], ""));
    for metrics in [of_demo(), of_installation()] {
        let judged = promtool(&place, &["check", "metrics"], &metrics);
        good(&judged);
        assert!(judged.stderr.is_empty(), "{}", String::from_utf8_lossy(&judged.stderr));
    }
}

/// The metrics that others rely on, by name and type. What is counted of risk and of migrations comes with
/// them.
const PROMISED: [(&str, &str); 22] = [
    ("token_issued_total", "counter"),
    ("token_validation_duration_seconds", "histogram"),
    ("token_propagations_total", "counter"),
    ("token_propagation_errors_total", "counter"),
    ("active_tokens", "gauge"),
    ("revocation_check_duration_seconds", "histogram"),
    ("revocation_checks_total", "counter"),
    ("revocation_propagation_seconds", "histogram"),
    ("session_validation_duration_seconds", "histogram"),
    ("active_sessions", "gauge"),
    ("session_errors_total", "counter"),
    ("auth_requests_total", "counter"),
    ("auth_errors_total", "counter"),
    ("auth_request_duration_seconds", "histogram"),
    ("user_auth_method", "gauge"),
    ("gateway_requests_total", "counter"),
    ("gateway_request_duration_seconds", "histogram"),
    ("circuit_breaker_state", "gauge"),
    ("policy_decisions_total", "counter"),
    ("permission_propagation_seconds", "histogram"),
    ("revocation_staleness_seconds", "gauge"),
    ("revocation_position", "gauge"),
];

/// Of which nothing is there before it happens: by whom and for whom, and what there is to break, is not
/// known before; nor how old what is known is, before it has been read.
const NOTHING_YET: [&str; 4] = [
    "token_propagations_total",
    "token_propagation_errors_total",
    "circuit_breaker_state",
    "revocation_staleness_seconds",
];

#[test]
fn a_fresh_node_has_all_that_is_promised_before_anything_happens() {
    let program = Path::new(env!("CARGO_BIN_EXE_tegata"));
    let address = "http://localhost:1".to_owned();
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: address.clone(),
        audience: address,
    };
    let own = Own { store: "sqlite://tegata.db".to_owned(), ..Own::default() };
    let node = TegataNode::start("fresh", &shared, &own);
    let metrics = Place { port: node.ports().operations };
    let metrics = metrics.get("/metrics").send().expect(200).text();
    let lines = || metrics.lines();
    for (name, kind) in PROMISED {
        let help = lines().find_map(|line| line.strip_prefix(&format!("# HELP {name} ")));
        assert!(help.is_some_and(|help| !help.is_empty()), "nothing says what {name} is");
        let said = format!("# TYPE {name} {kind}");
        assert!(lines().any(|line| line == said), "`{said}` is not in\n{metrics}");
        let of_it = |line: &&str| {
            let rest = line.strip_prefix(name).unwrap_or("-");
            rest.starts_with(['{', ' ']) || rest.starts_with("_bucket") || rest.starts_with("_sum")
        };
        let shown = lines().any(|line| of_it(&line));
        assert!(shown || NOTHING_YET.contains(&name), "{name} has no row");
    }
    // Where it is known what can go wrong, it has gone wrong 0 times.
    for row in [
        "auth_errors_total{method=\"password\",error_type=\"invalid_credentials\"} 0",
        "auth_errors_total{method=\"refresh_token\",error_type=\"temporarily_unavailable\"} 0",
        "auth_requests_total{method=\"token-exchange\",result=\"failure\"} 0",
        "session_errors_total{service=\"gateway\",error_type=\"replayed\"} 0",
        "session_errors_total{service=\"provider\",error_type=\"bound\"} 0",
        "token_issued_total{service=\"provider\",token_type=\"refresh\"} 0",
        "revocation_checks_total{layer=\"memory\",result=\"revoked\"} 0",
        "policy_decisions_total{decision=\"deny\"} 0",
        "gateway_requests_total{service=\"gateway\",status=\"503\"} 0",
    ] {
        assert!(lines().any(|line| line == row), "`{row}` is not in\n{metrics}");
    }
}

#[test]
fn dashboards_have_the_form_that_is_imported() {
    let all = dashboards();
    let titles: Vec<_> = all.iter().map(|dashboard| text(&dashboard["title"])).collect();
    assert_eq!(titles, TITLES);
    let mut names = BTreeSet::new();
    for (dashboard, title) in all.iter().zip(TITLES) {
        assert!(dashboard["id"].is_null(), "{title}: an id is given by whoever imports it");
        assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36, "{title}");
        assert!(names.insert(text(&dashboard["uid"]).to_owned()), "{title}");
        let variables = list(&dashboard["templating"]["list"]);
        assert_eq!(variables[0]["type"], "datasource", "{title}");
        assert_eq!(variables[0]["name"], "datasource", "{title}");
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            let name = format!("{title}: {}", text(&panel["title"]));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}");
            assert!(!text(&panel["description"]).is_empty(), "{name}");
            assert!(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{name}");
            assert!(panel["gridPos"]["w"].as_u64().unwrap() <= 24, "{name}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
            let targets = list(&panel["targets"]);
            assert!(!targets.is_empty(), "{name}");
            let letters: BTreeSet<_> = targets.iter().map(|it| text(&it["refId"])).collect();
            assert_eq!(letters.len(), targets.len(), "{name}");
            for target in targets {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{name}");
            }
        }
    }
}

/// What a dashboard asks of Prometheus: the panel, and the expression with its variables replaced.
fn asked(dashboard: &Value) -> Vec<(String, String)> {
    let variables = list(&dashboard["templating"]["list"]).iter();
    let variables = variables.filter(|it| it["type"] == "textbox" || it["name"] == "job");
    let values = variables.map(|it| (text(&it["name"]), text(&it["current"]["value"])));
    let mut values: Vec<_> = values.chain([("__rate_interval", "20s")]).collect();
    // A name may begin with another.
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    let mut asked = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            let mut expression = text(&target["expr"]).to_owned();
            for (name, value) in &values {
                expression = expression.replace(&format!("${name}"), value);
            }
            assert!(!expression.contains('$'), "{expression}");
            let name = format!("{}: {}", text(&dashboard["title"]), text(&panel["title"]));
            asked.push((name, expression));
        }
    }
    asked
}

/// Whether a query finds a number.
fn finds(prometheus: &PrometheusServer, expression: &str) -> bool {
    let answer: Value = serde_json::from_str(&prometheus.query(expression)).unwrap();
    let found = list(&answer["data"]["result"]).iter();
    found.map(|it| text(&it["value"][1])).any(|it| it.parse::<f64>().unwrap().is_finite())
}

/// What nodes tell each other is measured by; of a single one it stays empty.
const OF_OTHERS: &str = "revocation_propagation_seconds";

/// The layers that are asked of other issuers' tokens alone. The demo has no Redis.
const OF_OTHER_ISSUERS: [&str; 3] = ["cache", "filter", "durable"];

#[test]
fn every_panel_shows_something_that_is_exported() {
    let own = exported(&of_demo());
    let mut all = exported(&of_installation());
    all.extend(own.clone());
    let prometheus = PrometheusServer::scraping("tegata", demo().operations.port, &rules());
    let mut empty = Vec::new();
    for (panel, expression) in dashboards().iter().flat_map(asked) {
        let named = Named::of(&expression);
        assert!(!named.metrics.is_empty(), "{panel} shows nothing");
        assert_eq!(named.missing(&all), Vec::<String>::new(), "{panel}: {expression}");
        // What only an installation has, the demo cannot fill; nor what only others can say.
        let by_demo = |metric: &str| own.contains_key(metric) && !metric.starts_with(OF_OTHERS);
        if named.metrics.iter().all(|(metric, _)| by_demo(metric)) {
            empty.push((panel, expression));
        }
    }
    assert!(empty.len() > 40, "{}", empty.len());
    // A panel that shows one layer looks filled; each of them is seen.
    empty.extend(OF_OTHER_ISSUERS.map(|layer| {
        let checks = format!("revocation_checks_total{{job=\"tegata\",layer=\"{layer}\"}}");
        (format!("the layer {layer}"), format!("sum(rate({checks}[20s])) > 0"))
    }));
    // A rate is the difference of what was seen twice, so that something must happen in between.
    let empty = std::cell::RefCell::new(empty);
    until("every panel shows something", || {
        traffic();
        let mut empty = empty.borrow_mut();
        empty.retain(|(_, expression)| !finds(&prometheus, expression));
        println!("{} panels are empty: {empty:?}", empty.len());
        empty.is_empty()
    });
    rules_are_good(&prometheus, &all);
}

/// Checks what Prometheus made of the rules.
fn rules_are_good(prometheus: &PrometheusServer, exported: &Exported) {
    let read = || -> Value { serde_json::from_str(&prometheus.get("/api/v1/rules").1).unwrap() };
    let all = |answer: &Value| -> Vec<Value> {
        let groups = list(&answer["data"]["groups"]).iter();
        groups.flat_map(|group| list(&group["rules"]).to_vec()).collect()
    };
    until("all rules are evaluated", || all(&read()).iter().all(|rule| rule["health"] == "ok"));
    let tests = fs::read_to_string(root().join("deploy/prometheus/tegata.tests.yml")).unwrap();
    let rules = all(&read());
    let mut exported = exported.clone();
    // Others may ask for what rules record, which has the label that all are grouped by.
    let recorded = rules.iter().filter(|rule| rule["type"] == "recording");
    exported.extend(recorded.map(|rule| (text(&rule["name"]).to_owned(), ["job".into()].into())));
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = text(&rule["name"]);
        assert!(names.insert(name.to_owned()), "{name} is there twice");
        let missing = Named::of(text(&rule["query"])).missing(&exported);
        assert_eq!(missing, Vec::<String>::new(), "{name}");
        if rule["type"] == "recording" {
            continue;
        }
        let severity = text(&rule["labels"]["severity"]);
        assert!(["warning", "critical"].contains(&severity), "{name}: {severity}");
        let tested = format!("{{alertname=\"{name}\",severity=\"{severity}\"}}");
        assert!(tests.contains(&tested), "nothing shows that {name} fires");
        for annotation in ["summary", "description"] {
            assert!(!text(&rule["annotations"][annotation]).is_empty(), "{name}: {annotation}");
        }
        leads_somewhere(name, text(&rule["annotations"]["docs"]));
    }
    for promised in ["HighTokenValidationLatency", "TokenPropagationFailure"] {
        assert!(names.contains(promised), "{promised}");
    }
}

fn leads_somewhere(name: &str, link: &str) {
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let document = fs::read_to_string(root().join(file));
    let document = document.unwrap_or_else(|error| panic!("{name}: `{link}`: {error}"));
    let heading = |line: &str| -> String {
        let line = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        line.chars().filter(|it| it.is_alphanumeric() || matches!(it, '-' | '_')).collect()
    };
    let mut headings = document.lines().filter(|line| line.starts_with('#')).map(heading);
    assert!(anchor.is_empty() || headings.any(|it| it == anchor), "{name}: `{link}`");
}
