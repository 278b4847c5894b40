//! Policies from outside: files, the store, the commands.

use std::{fs, path::Path};

use rusqlite::Connection;
use serde_json::{Value, json};
use tegata_engines::{
    EchoServer, PostgresServer, TegataNode,
    process::{free_ports, until as soon},
    tegata::{Own, Shared, root_key},
};

use crate::{CONFIGURATION, PATIENCE, Place, ask, body, get, said, until};

/// One rule, its case beside it, and a rule that nobody has a case for.
const SECRET: &str = "@id(\"no-secrets\")\nforbid (principal, action, resource)\n\
    when { context.path like \"/open/secret*\" };\n";
const CASES: &str = "decide_by = \"table\"\n\n[[case]]\nname = \"nobody sees secrets\"\n\
    principal = \"anonymous\"\naction = \"GET\"\nresource = \"open:/open\"\npath = \"/open/secret/1\"\n\
    expect = \"deny\"\nby = [\"no-secrets\"]\n";

/// A service that answers everybody, and policies in `policies`.
fn place() -> (Place, EchoServer) {
    let (place, echo) = (Place::new(), EchoServer::start());
    fs::create_dir(place.path().join("policies")).unwrap();
    place.write("policies/secrets.cedar", SECRET);
    place.write("policies/secrets.test.toml", CASES);
    place.write("tegata.toml", &configuration(&echo));
    (place, echo)
}

fn configuration(echo: &EchoServer) -> String {
    format!("{CONFIGURATION}[policy]\ndirectory = \"policies\"\n{}", open(echo.port()))
}

fn open(port: u16) -> String {
    format!(
        "[[service]]\nname = \"open\"\nupstreams = [\"http://127.0.0.1:{port}\"]\n\
         [[route]]\npath = \"/open\"\nservice = \"open\"\nauth = \"none\"\n"
    )
}

/// What the gateway answers to what is open, and to what is secret.
fn answers(gateway: u16) -> [u16; 2] {
    [get(gateway, "/open/x").0, get(gateway, "/open/secret/1").0]
}

/// What stands about policies in `/health/ready`.
fn health(operations: u16) -> String {
    let (status, answer) = get(operations, "/health/ready");
    // Whoever still decides by what was sound may be asked.
    assert_eq!(status, 200, "{answer}");
    answer
}

#[test]
fn policy_commands_exit_with_0_1_2() {
    let (place, _echo) = place();
    let sound = place.json(&["policy", "check", "policies"]);
    assert_eq!((&sound["sound"], &sound["policies"]), (&json!(true), &json!(1)));
    let passed = place.json(&["policy", "test", "policies"]);
    assert_eq!((&passed["passed"], &passed["failed"]), (&json!(1), &json!(0)));
    assert!(place.refused(&["policy", "check", "nowhere"], 2).contains("nowhere"));

    // A fault is told with its place, as compilers do.
    place.write(
        "policies/worse.cedar",
        "permit (principal, action, resource)\nwhen { context.pth == 1 };\n",
    );
    let output = place.run(&["policy", "check", "policies"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("policies/worse.cedar:2:"), "{told}");
    let output = place.run(&["policy", "check", "policies", "--format", "json"]);
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["sound"], false);
    assert_eq!(
        (&told["faults"][0]["file"], &told["faults"][0]["line"]),
        (&json!("worse.cedar"), &json!(2))
    );
    place.write("policies/worse.cedar", "// nothing\n");
    let output = place.run(&["policy", "check", "policies"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("worse.cedar:1:1: there is no policy")
    );
    fs::remove_file(place.path().join("policies/worse.cedar")).unwrap();

    // A case that fails shows why, and where it stands.
    place.write("policies/secrets.test.toml", &CASES.replace("\"deny\"", "\"allow\""));
    let output = place.run(&["policy", "test", "policies"]);
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stdout).unwrap();
    let expected = "policies/secrets.test.toml:3: it is refused: policy_forbids, by `no-secrets`";
    assert!(told.contains(expected), "{told}");
    assert!(told.contains("FAIL  nobody sees secrets") && told.contains("0 of 1"), "{told}");
    place.write("policies/secrets.test.toml", "[[case]]\nname = 1\n");
    let output = place.run(&["policy", "test", "policies"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("policies/secrets.test.toml:2:"));
    assert!(place.refused(&["policy", "shadow"], 1).contains("shadow"));
}

#[test]
fn explaining_names_the_policy_its_place_and_its_words() {
    let (place, _echo) = place();
    let explain = |more: &[&str]| {
        let usual = ["policy", "explain", "--principal", "user:usr_1", "--action", "GET"];
        place.json(&[&usual[..], more].concat())
    };
    let of_files = ["--directory", "policies", "--decide-by", "table", "--resource", "open:/open"];
    let told = explain(&[&of_files[..], &["--path", "/open/secret/7"]].concat());
    assert_eq!((&told["decision"], &told["reason"]), (&json!("deny"), &json!("policy_forbids")));
    assert_eq!(told["policies"][0]["id"], "no-secrets");
    assert_eq!(told["policies"][0]["place"], "secrets.cedar:1");
    assert!(told["policies"][0]["text"].as_str().unwrap().contains("/open/secret*"));
    assert_eq!(explain(&of_files)["decision"], "allow");
    // By itself, the directory permits nothing.
    let by_itself = ["--directory", "policies", "--resource", "open:/open"];
    assert_eq!(explain(&by_itself)["reason"], "no_policy");

    let server = place.serve();
    let told = explain(&["--resource", "/open/secret/7"]);
    assert_eq!((&told["decision"], &told["route"]), (&json!("deny"), &json!("/open")));
    assert_eq!(told["policies"][0]["id"], "no-secrets");
    assert_eq!(explain(&["--resource", "/open/x"])["decision"], "allow");
    for (resource, word) in [("/nowhere", "no route"), ("/open/%2f", "`/open/%2f`")] {
        let arguments = [
            "policy",
            "explain",
            "--principal",
            "anonymous",
            "--action",
            "GET",
            "--resource",
            resource,
        ];
        assert!(place.refused(&arguments, 1).contains(word), "{resource}");
    }
    let nobody =
        ["policy", "explain", "--principal", "alice", "--action", "GET", "--resource", "/open/x"];
    assert!(place.refused(&nobody, 1).contains("user:ID"));
    server.stop();
}

#[test]
fn a_bundle_that_is_broken_leaves_the_last_good_one_at_work() {
    let (place, echo) = place();
    let server = place.serve();
    let ports = server.ports();
    assert_eq!(answers(ports.gateway), [200, 403]);
    // Cut off anywhere, it permits nothing more. What is still whole without its last line decides alike.
    let whole = SECRET.trim_end().len();
    for cut in (0..whole).step_by(9) {
        place.write("policies/secrets.cedar", &SECRET[..cut]);
        assert_eq!(place.run(&["reload"]).status.code(), Some(1), "{cut}");
        assert_eq!(answers(ports.gateway), [200, 403], "{cut}");
    }
    assert!(health(ports.operations).contains("policies_unsound"));
    let metrics = get(ports.operations, "/metrics").1;
    assert!(metrics.contains("policy_set_sound 0") && metrics.contains("policy_set_version 1"));
    // Policies that say something else than their cases are none, either.
    place.write("policies/secrets.cedar", &SECRET.replace("secret*", "other*"));
    assert!(place.refused(&["reload"], 1).contains("nobody sees secrets"));
    assert_eq!(answers(ports.gateway), [200, 403]);
    // A start finds it as a reload does.
    server.stop();
    let server = place.serve();
    let ports = server.ports();
    assert_eq!(answers(ports.gateway), [200, 403]);
    assert!(health(ports.operations).contains("policies_unsound"));
    // What is mended counts at once.
    place.write("policies/secrets.cedar", &SECRET.replace("/open/", "/open/x"));
    place.write("policies/secrets.test.toml", &CASES.replace("/open/", "/open/x"));
    let told = place.json(&["reload"]);
    assert!(told["policies"].as_str().unwrap().contains("version 2"), "{told}");
    assert_eq!(answers(ports.gateway), [200, 200]);
    assert!(!health(ports.operations).contains("policies_unsound"));
    server.stop();
    drop(echo);
}

#[test]
fn where_none_were_sound_nothing_starts() {
    let (place, _echo) = place();
    place.write("policies/secrets.cedar", &SECRET[..20]);
    assert!(place.refused_after_log(&["serve"], 2).contains("secrets.cedar"));
    fs::remove_file(place.path().join("policies/secrets.cedar")).unwrap();
    assert!(place.refused_after_log(&["serve"], 2).contains("no policy"));
    fs::remove_dir_all(place.path().join("policies")).unwrap();
    assert!(place.refused_after_log(&["serve"], 2).contains("policies"));
}

#[test]
fn a_directory_is_read_whole_and_without_its_links() {
    let (place, _echo) = place();
    let policies = place.path().join("policies");
    let count = || place.json(&["policy", "check", "policies"])["policies"].as_u64().unwrap();
    std::os::unix::fs::symlink("../policies", policies.join("loop")).unwrap();
    fs::create_dir_all(policies.join("of/teams")).unwrap();
    fs::write(
        policies.join("of/teams/a.cedar"),
        "@id(\"a\")\nforbid (principal, action, resource);\n",
    )
    .unwrap();
    fs::create_dir(policies.join(".git")).unwrap();
    fs::write(policies.join(".git/b.cedar"), "nonsense").unwrap();
    fs::write(policies.join("notes.txt"), "nonsense").unwrap();
    assert_eq!(count(), 2);
    // Secrets and configuration of a cluster are mounted as links to files.
    std::os::unix::fs::symlink("of/teams/a.cedar", policies.join("linked.cedar")).unwrap();
    let twice = place.run(&["policy", "check", "policies"]);
    assert!(String::from_utf8_lossy(&twice.stdout).contains('a'), "{}", said(&twice));
    assert_eq!(twice.status.code(), Some(1));
    fs::remove_file(policies.join("linked.cedar")).unwrap();
    // What never ends is not read for ever.
    std::os::unix::fs::symlink("/dev/zero", policies.join("zero.cedar")).unwrap();
    assert!(place.refused(&["policy", "check", "policies"], 2).contains("zero.cedar"));
    fs::remove_file(policies.join("zero.cedar")).unwrap();
    fs::write(policies.join("huge.cedar"), vec![b' '; 9 << 20]).unwrap();
    assert!(place.refused(&["policy", "check", "policies"], 2).contains("huge.cedar"));
    fs::write(policies.join("huge.cedar"), [0xff, 0xfe]).unwrap();
    assert!(place.refused(&["policy", "check", "policies"], 2).contains("UTF-8"));
}

#[test]
fn an_older_bundle_is_not_taken_back() {
    let (place, _echo) = place();
    let server = place.serve();
    let ports = server.ports();
    let store = Connection::open(place.path().join("tegata.db")).unwrap();
    store.busy_timeout(PATIENCE).unwrap();
    let both = ["policy_set", "policy_files"];
    for table in both {
        store
            .execute_batch(&format!("CREATE TABLE kept_{table} AS SELECT * FROM kind_{table}"))
            .unwrap();
    }
    assert_eq!(answers(ports.gateway), [200, 403]);
    // From now on nothing of `open` is for anybody.
    place.write("policies/secrets.cedar", &SECRET.replace("secret*", "*"));
    assert!(place.run(&["reload"]).status.success());
    assert_eq!(answers(ports.gateway), [403, 403]);
    let put_back = || {
        for table in both {
            let sql = format!(
                "BEGIN IMMEDIATE; DELETE FROM kind_{table}; INSERT INTO kind_{table} SELECT * FROM kept_{table}; \
                 COMMIT"
            );
            store.execute_batch(&sql).unwrap();
        }
    };
    put_back();
    until("it is said", || health(ports.operations).contains("policies_older"));
    assert_eq!(answers(ports.gateway), [403, 403]);
    // Taken out altogether, it is not forgotten either.
    store.execute_batch("DELETE FROM kind_policy_set").unwrap();
    until("it is said", || health(ports.operations).contains("policies_gone"));
    assert_eq!(answers(ports.gateway), [403, 403]);
    // Nor does it count for who starts anew on this disk, where no files say otherwise.
    put_back();
    server.stop();
    let text = fs::read_to_string(place.path().join("tegata.toml")).unwrap();
    place.write("tegata.toml", &text.replace("[policy]\ndirectory = \"policies\"\n", ""));
    let server = place.serve();
    let ports = server.ports();
    assert_eq!(answers(ports.gateway), [403, 403]);
    assert!(health(ports.operations).contains("policies_older"));
    // Declared anew, it is newer than all of them.
    place.write("again.toml", "[policy]\ndirectory = \"policies\"\n");
    let told = place.json(&["apply", "again.toml"]);
    assert!(told["changed"][0]["change"].as_str().unwrap().contains("version 3"), "{told}");
    assert!(!health(ports.operations).contains("policies_older"));
    assert_eq!(answers(ports.gateway), [403, 403]);
    // And whoever wants none says so.
    place.json(&["policy", "remove"]);
    assert_eq!(answers(ports.gateway), [200, 200]);
    server.stop();
}

#[test]
fn applied_policies_are_tried_beside_and_reported() {
    let (place, _echo) = place();
    place.write(
        "tegata.toml",
        &fs::read_to_string(place.path().join("tegata.toml"))
            .unwrap()
            .replace("directory = \"policies\"\n", "directory = \"policies\"\nmode = \"shadow\"\n"),
    );
    let server = place.serve();
    let ports = server.ports();
    assert_eq!(answers(ports.gateway), [200, 200]);
    let report = place.json(&["policy", "shadow"]);
    assert_eq!((&report["asked"], &report["differing"]), (&json!(2), &json!(1)));
    let difference = &report["differences"][0];
    assert_eq!(difference["change"], "would_deny");
    assert_eq!(difference["tried_by"], json!(["no-secrets"]));
    assert_eq!(difference["first"]["path"], "/open/secret/1");
    let metrics = get(ports.operations, "/metrics").1;
    assert!(metrics.contains(r#"policy_shadow_total{change="would_deny"} 1"#), "{metrics}");
    // Both at once say two things.
    place.write(
        "both.toml",
        "[policy]\ndirectory = \"policies\"\nmode = \"shadow\"\nshadow = \"policies\"\n",
    );
    assert!(place.refused(&["apply", "both.toml"], 2).contains("keep one"));
    server.stop();
}

#[test]
fn decisions_are_asked_for_at_the_issuer_and_through_the_gateway() {
    let (place, _echo) = place();
    place.write(
        "desk.toml",
        "[[client]]\nclient_id = \"desk\"\nclient_secret = \"a secret that is long enough\"\n\
         grant_types = [\"client_credentials\"]\nscope = \"policy.evaluate\"\n",
    );
    place.json(&["apply", "desk.toml"]);
    let server = place.serve();
    let ports = server.ports();
    // desk:a secret that is long enough
    let basic = "ZGVzazphK3NlY3JldCt0aGF0K2lzK2xvbmcrZW5vdWdo";
    let head = format!(
        "POST /oauth2/token HTTP/1.1\r\nAuthorization: Basic {basic}\r\n\
         Content-Type: application/x-www-form-urlencoded"
    );
    let (status, answer) = ask(ports.public, &head, "grant_type=client_credentials");
    assert_eq!(status, 200, "{answer}");
    let token = body(&answer)["access_token"].as_str().unwrap().to_owned();
    let asked = |path: &str| {
        json!({
            "subject": {"type": "user", "id": "usr_1"},
            "action": {"name": "GET"},
            "resource": {"type": "route", "id": "open:/open"},
            "context": {"path": path},
        })
        .to_string()
    };
    for port in [ports.public, ports.gateway] {
        let head = format!(
            "POST /access/v1/evaluation HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\
             X-Request-ID: of mine; 1\r\nContent-Type: application/json"
        );
        let (status, answer) = ask(port, &head, &asked("/open/x"));
        assert_eq!(status, 200, "{answer}");
        assert!(answer.to_lowercase().contains("\r\nx-request-id: of mine; 1\r\n"), "{answer}");
        assert_eq!(body(&answer)["decision"], true);
        let told = body(&ask(port, &head, &asked("/open/secret/1")).1);
        assert_eq!(told["context"]["policies"], json!(["no-secrets"]), "{told}");
        let (status, answer) = get(port, "/.well-known/authzen-configuration");
        assert_eq!(
            (status, &body(&answer)["policy_decision_point"]),
            (200, &json!("http://localhost:8000"))
        );
        let head = "POST /access/v1/evaluation HTTP/1.1\r\nContent-Type: application/json";
        assert_eq!(ask(port, head, &asked("/open/x")).0, 401);
    }
    // Each decision is in the log, and is explained by the name that the application gave its request.
    let found = |name: &str, more: &[&str]| {
        let told = place.json(&[&["explain", name], more].concat());
        told["records"].as_array().unwrap().clone()
    };
    let evaluations = |records: &[Value]| -> Vec<Value> {
        records.iter().filter(|it| it["record"]["evaluation"].is_object()).cloned().collect()
    };
    // Two through each of both.
    let given = evaluations(&found("of mine; 1", &["--named"]));
    assert_eq!(given.len(), 4, "{given:?}");
    let refused: Vec<_> = given.iter().filter(|it| it["record"]["result"] == "deny").collect();
    assert_eq!(refused.len(), 2);
    for it in refused {
        let (record, explained) = (&it["record"], &it["explained"]);
        assert_eq!(record["policies"], json!(["no-secrets"]));
        assert_eq!(record["reason"], "policy_forbids");
        assert_eq!(record["subject"], "desk");
        assert_eq!(record["policy_set"].as_str().unwrap().len(), 64);
        assert_eq!(record["evaluation"]["subject"], json!({"type": "user", "id": "usr_1"}));
        assert_eq!(record["evaluation"]["resource"], json!({"type": "route", "id": "open:/open"}));
        assert_eq!(explained["changes"][0]["remedy"], "policy");
        assert!(!record.to_string().contains("/open/secret"), "{record}");
    }
    let uuid = "bfe9eb29-ab87-4ca3-be83-a1d5d8305716";
    let head = format!(
        "POST /access/v1/evaluations HTTP/1.1\r\nAuthorization: Bearer {token}\r\n\
         X-Request-ID: {uuid}\r\nContent-Type: application/json"
    );
    let mut several: Value = serde_json::from_str(&asked("/open/x")).unwrap();
    several["evaluations"] = json!([{}, {"context": {"path": "/open/secret/1"}}, {"action": 7}]);
    assert_eq!(ask(ports.public, &head, &several.to_string()).0, 200);
    let records = found(uuid, &[]);
    let results: Vec<_> = records.iter().map(|it| it["record"]["result"].clone()).collect();
    assert_eq!(results, ["allow", "deny", "deny"]);
    assert_eq!(records[2]["record"]["evaluation"]["about"], "`action` must be an object");
    let text = String::from_utf8(place.run(&["explain", uuid]).stdout).unwrap();
    for line in ["evaluation   2 of 3", "subject      user usr_1", "refused: policy_forbids"] {
        assert!(text.contains(line), "{line}: {text}");
    }
    // The log is sound with them.
    assert_eq!(place.json(&["audit-log", "verify"])["sound"], true);
    server.stop();
}

#[test]
fn a_log_shows_who_would_have_been_decided_about_otherwise() {
    let (place, _echo) = place();
    let server = place.serve();
    let gateway = server.ports().gateway;
    assert_eq!(answers(gateway), [200, 403]);
    assert_eq!([get(gateway, "/open/other").0, get(gateway, "/nowhere").0], [200, 404]);
    server.stop();
    fs::create_dir(place.path().join("next")).unwrap();
    place.write("next/next.cedar", &SECRET.replace("secret*", "other*"));
    let told = place.json(&["policy", "test", "next", "--log", "decisions"]);
    assert_eq!([&told["asked"], &told["differing"]], [&json!(3), &json!(2)], "{told}");
    // What leads nowhere is no matter of policies.
    assert!(told["passed_over"].as_u64().unwrap() > 0, "{told}");
    let differences = told["differences"].as_array().unwrap();
    let changes: Vec<_> = differences
        .iter()
        .map(|it| [&it["change"], &it["first"]["path"]].map(|it| it.as_str().unwrap()))
        .collect();
    assert_eq!(changes, [["would_allow", "/open/secret/1"], ["would_deny", "/open/other"]]);
    assert_eq!(differences[1]["by"], json!(["no-secrets"]));
    // What decided then decides the same about all of it.
    let told = place.json(&["policy", "test", "policies", "--log", "decisions"]);
    assert_eq!(told["differing"], 0, "{told}");
    assert!(
        place
            .refused(&["policy", "test", "policies", "--log", "policies"], 2)
            .contains("no segments")
    );
}

#[test]
fn all_nodes_decide_by_the_new_policy_within_a_second() {
    let postgres = PostgresServer::shared();
    let database = postgres.database();
    let echo = EchoServer::start();
    let program = Path::new(env!("CARGO_BIN_EXE_tegata"));
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let node = |name: &str| {
        let own = Own { store: database.url(), more: open(echo.port()), ..Own::default() };
        TegataNode::start(name, &shared, &own)
    };
    let nodes = [node("first"), node("second")];
    let gateways = nodes.each_ref().map(|node| node.ports().gateway);
    assert_eq!(gateways.map(answers), [[200, 200]; 2]);
    let at = |node: &TegataNode, name: &str, text: &str| {
        let path = node.directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    at(&nodes[0], "policies/secrets.cedar", SECRET);
    at(&nodes[0], "policies.toml", "[policy]\ndirectory = \"policies\"\n");
    let file = nodes[0].directory().join("policies.toml");
    nodes[0].command(&["apply", file.to_str().unwrap()]);
    // It counts where it was said, and everywhere soon.
    assert_eq!(answers(gateways[0]), [200, 403]);
    assert!(soon(PATIENCE, || answers(gateways[1]) == [200, 403]));
    // Two who say different things are both told of one that counts.
    at(&nodes[1], "policies/secrets.cedar", &SECRET.replace("secret*", "*"));
    at(&nodes[1], "policies.toml", "[policy]\ndirectory = \"policies\"\n");
    let file = nodes[1].directory().join("policies.toml");
    nodes[1].command(&["apply", file.to_str().unwrap()]);
    assert!(soon(PATIENCE, || gateways.map(answers) == [[403, 403]; 2]));
}

#[test]
fn a_report_of_policies_that_are_tried_counts_all_nodes() {
    let postgres = PostgresServer::shared();
    let database = postgres.database();
    let echo = EchoServer::start();
    let program = Path::new(env!("CARGO_BIN_EXE_tegata"));
    let shared = Shared {
        program: program.to_owned(),
        root_key: root_key(program),
        issuer: "http://localhost:8000".to_owned(),
        audience: "http://localhost:8080".to_owned(),
    };
    let gossip = free_ports(2);
    let node = |number: u16| {
        let more = format!(
            "[cluster]\nname = \"node-{number}\"\nlisten = \"127.0.0.1:{}\"\n\
             seeds = [\"127.0.0.1:{gossip}\", \"127.0.0.1:{}\"]\n{}",
            gossip + number,
            gossip + 1,
            open(echo.port())
        );
        let own = Own { store: database.url(), more, ..Own::default() };
        TegataNode::start(&format!("node-{number}"), &shared, &own)
    };
    let nodes = [node(0), node(1)];
    let write = |name: &str, text: &str| {
        let path = nodes[0].directory().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("policies/secrets.cedar", SECRET);
    write("policies.toml", "[policy]\ndirectory = \"policies\"\nmode = \"shadow\"\n");
    let file = nodes[0].directory().join("policies.toml");
    nodes[0].command(&["apply", file.to_str().unwrap()]);
    // Each asks for a page and a secret, where both nodes try the same policies.
    let report = |node: &TegataNode| -> Value {
        serde_json::from_slice(&node.run(&["policy", "shadow", "--format", "json"]).stdout)
            .unwrap_or_default()
    };
    assert!(soon(PATIENCE, || report(&nodes[0])["nodes"] == json!(["node-0", "node-1"])));
    for node in &nodes {
        assert_eq!(answers(node.ports().gateway), [200, 200]);
    }
    for (node, names) in nodes.iter().zip([["node-0", "node-1"], ["node-1", "node-0"]]) {
        let told = report(node);
        assert_eq!((&told["asked"], &told["differing"]), (&json!(4), &json!(2)), "{told}");
        assert_eq!(told["differences"][0]["count"], 2, "{told}");
        assert_eq!((&told["nodes"], &told["not_counted"]), (&json!(names), &json!([])));
    }
}
