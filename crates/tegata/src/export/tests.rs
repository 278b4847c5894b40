use super::*;

/// A record about a request with this path.
fn decision(path: &str) -> Item {
    let record = json!({
        "at": 1_795_236_115_542_u64,
        "request": "f7327fb365ca3ce0fe16f1cc2f5c24f2",
        "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
        "client": "192.0.2.7",
        "subject": "usr_alice",
        "jti": "jti-1",
        "sid": "sid-1",
        "method": "GET",
        "path": path,
        "service": "orders",
        "route": "/orders",
        "result": "deny",
        "reason": "token_revoked",
        "rule": "orders:/orders",
        "status": 401,
        "micros": 1280,
    });
    entry(&record)
}

fn entry(record: &Value) -> Item {
    Item::from(decision_log::Entry {
        chain: Some("log-1".to_owned()),
        segment: 1,
        number: 7,
        hash: "0f".repeat(32),
        record: record.to_string(),
    })
}

fn event(kind: &str, data: &Value) -> Item {
    Item::from(events::Entry {
        position: 12,
        event: json!({
            "id": "evt_1",
            "type": kind,
            "version": "1.0",
            "timestamp": "2026-11-21T02:50:47.123Z",
            "realm": "default",
            "node": "node_1",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "data": data,
        }),
    })
}

/// What ends a line, hides a part of it, commands a terminal or ends what it stands in.
const HOSTILE: &str = "/a\n<86>1 2026-01-01T00:00:00Z x tegata - decision [forged] b\r\u{0}\u{7f}\u{1b}[2J\
                       \u{9b}2J\u{85}\u{2028}\u{2029}\u{202e}\"] \\\\] é 😀";

#[test]
fn lines_for_syslog_cannot_be_forged_by_a_path() {
    for form in [Form::Jsonl, Form::Ocsf, Form::Syslog, Form::Otlp] {
        let hostile = [decision(HOSTILE), event("SIGN_IN_FAILED", &json!({"error": HOSTILE}))];
        for message in messages(form, &hostile) {
            let is_plain = message.bytes().all(|byte| (0x20..0x7f).contains(&byte));
            assert!(is_plain, "{form:?}: {message}");
        }
    }
    let messages = messages(Form::Syslog, &[decision(HOSTILE)]);
    let [message] = &*messages else { panic!("{messages:?}") };
    let (parameters, rest) = parameters(message);
    // What was sent comes back, but for what cannot stand in a line.
    let path = HOSTILE.replace('\n', "\\u000a").replace('\r', "\\u000d").replace('\0', "\\u0000");
    let path = path.replace('\u{7f}', "\\u007f").replace('\u{1b}', "\\u001b");
    let path = path.replace('\u{9b}', "\\u009b").replace('\u{85}', "\\u0085");
    let path = path.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029");
    let path = path.replace('\u{202e}', "\\u202e").replace('é', "\\u00e9");
    let path = path.replace('😀', "\\ud83d\\ude00");
    assert_eq!(parameters["path"], path);
    assert_eq!(parameters["result"], "deny");
    let says: Value = serde_json::from_str(rest).unwrap();
    assert_eq!(says["path"], HOSTILE);
}

/// Reads the structured data of a message as RFC 5424 §6.3 says.
fn parameters(message: &str) -> (std::collections::BTreeMap<String, String>, &str) {
    let (_, mut rest) = message.split_once(" [tegata@32473").unwrap();
    let mut found = std::collections::BTreeMap::new();
    loop {
        if let Some(end) = rest.strip_prefix("] ") {
            return (found, end);
        }
        let (name, value) = rest.strip_prefix(' ').unwrap().split_once("=\"").unwrap();
        let mut text = String::new();
        let mut letters = value.char_indices();
        rest = loop {
            match letters.next().unwrap() {
                (place, '"') => break &value[place + 1..],
                (_, ']') => panic!("it ends within a value: {value}"),
                (_, '\\') => match letters.next().unwrap() {
                    (_, it @ ('"' | '\\' | ']')) => text.push(it),
                    (_, it) => text.extend(['\\', it]),
                },
                (_, it) => text.push(it),
            }
        };
        found.insert(name.to_owned(), text);
    }
}

#[test]
fn a_message_of_syslog_has_the_fields_of_its_header() {
    let messages =
        messages(Form::Syslog, &[decision("/orders/1"), event("TOKEN_REVOKED", &json!({}))]);
    assert!(
        messages[0].starts_with(
            "<84>1 2026-11-21T04:41:55.542Z log-1 tegata - decision [tegata@32473 uid=\"log-1:7\" "
        ),
        "{}",
        messages[0]
    );
    assert!(
        messages[1].starts_with(
            "<86>1 2026-11-21T02:50:47.123Z node_1 tegata - TOKEN_REVOKED [tegata@32473 uid=\"evt_1\" "
        ),
        "{}",
        messages[1]
    );
}

/// Holds an event against what OCSF 1.3 says its class has: which members there must be, and of what type.
fn check(event: &Value, class: u64, activity: u64) {
    let number = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_else(|| panic!("{pointer}: {event}"))
    };
    let text = |pointer: &str| {
        let found = event.pointer(pointer).and_then(Value::as_str);
        assert!(found.is_some_and(|it| !it.is_empty()), "{pointer}: {event}");
    };
    assert_eq!(number("/class_uid"), class, "{event}");
    assert_eq!(number("/activity_id"), activity, "{event}");
    assert_eq!(number("/type_uid"), class * 100 + activity);
    assert_eq!(number("/category_uid"), class / 1000);
    assert!(matches!(number("/severity_id"), 1..=6));
    assert!(matches!(number("/status_id"), 1 | 2));
    // Milliseconds, of our century.
    assert!((1_500_000_000_000..4_000_000_000_000).contains(&number("/time")), "{event}");
    assert_eq!(event["metadata"]["version"], "1.3.0");
    for pointer in ["/metadata/product/name", "/metadata/product/vendor_name", "/metadata/uid"] {
        text(pointer);
    }
    assert!(event["unmapped"].is_object());
    let is_user = |pointer: &str| {
        let user = event.pointer(pointer).unwrap_or_else(|| panic!("{pointer}: {event}"));
        assert!(user["uid"].is_string() || user["name"].is_string(), "{event}");
        assert!(user["type_id"].is_u64());
    };
    match class {
        6003 => {
            is_user("/actor/user");
            text("/api/operation");
            text("/api/service/name");
            let from = &event["src_endpoint"];
            assert!(from["ip"].is_string() || from["name"].is_string(), "{event}");
        }
        3002 => {
            is_user("/user");
            text("/service/name");
        }
        3003 => {
            is_user("/user");
            assert!(event["privileges"][0].is_string());
        }
        3001 => is_user("/user"),
        3004 => {
            text("/entity/type");
            text("/entity/uid");
        }
        _ => {}
    }
}

#[test]
fn ocsf_members_have_their_names_and_types() {
    let denied = ocsf::event(&decision("/orders/1"));
    check(&denied, 6003, 2);
    for (pointer, value) in [
        ("/actor/user/uid", json!("usr_alice")),
        ("/actor/session/uid", json!("sid-1")),
        ("/src_endpoint/ip", json!("192.0.2.7")),
        ("/http_request/http_method", json!("GET")),
        ("/http_request/url/path", json!("/orders/1")),
        ("/http_request/uid", json!("f7327fb365ca3ce0fe16f1cc2f5c24f2")),
        ("/http_response/code", json!(401)),
        ("/status_id", json!(2)),
        ("/status_code", json!("401")),
        ("/status_detail", json!("token_revoked")),
        ("/duration", json!(1)),
        ("/time", json!(1_795_236_115_542_u64)),
        ("/metadata/uid", json!("log-1:7")),
        ("/metadata/sequence", json!(7)),
        ("/metadata/correlation_uid", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("/unmapped/rule", json!("orders:/orders")),
    ] {
        assert_eq!(denied.pointer(pointer), Some(&value), "{pointer}: {denied}");
    }
    // What could not be read has little.
    let bare =
        json!({"at": 1_795_236_115_542_u64, "request": "r", "client": "::1", "result": "deny"});
    check(&ocsf::event(&entry(&bare)), 6003, 0);
    let own = |path: &str| {
        json!({"at": 1_795_236_115_542_u64, "request": "r", "client": "::1", "method": "POST",
               "path": path, "service": "tegata", "result": "allow", "status": 200})
    };
    check(&ocsf::event(&entry(&own("/api/auth/login"))), 3002, 1);
    check(&ocsf::event(&entry(&own("/api/auth/logout"))), 3002, 2);
    check(&ocsf::event(&entry(&own("/oauth2/token"))), 6003, 1);
    let lost = json!({"log": "lost", "count": 3, "at": 1_795_236_115_542_u64});
    check(&ocsf::event(&entry(&lost)), 0, 99);
    for (kind, data, class, activity) in [
        ("SESSION_CREATED", json!({"user_id": "usr_a", "amr": ["pwd", "mfa"]}), 3002, 1),
        ("SIGN_IN_FAILED", json!({"error": "wrong", "address": "192.0.2.1"}), 3002, 1),
        ("USER_LOGGED_OUT", json!({"user_id": "usr_a"}), 3002, 2),
        ("SESSION_ENDED", json!({"user_id": "usr_a"}), 3002, 2),
        ("TOKEN_ISSUED", json!({"service": "api", "target": "orders", "jti": "j"}), 3003, 1),
        ("CREDENTIAL_CHANGED", json!({"user_id": "usr_a", "credential": "password"}), 3001, 3),
        ("PERMISSIONS_CHANGED", json!({"user_id": "usr_a"}), 3001, 99),
        ("TOKEN_REVOKED", json!({"jti": "j", "reason": "lost", "actor": "operator"}), 3004, 4),
        ("FAMILY_REVOKED", json!({"family": "f"}), 3004, 4),
        ("KEY_ROTATED", json!({"kid": "k"}), 3004, 3),
        ("REGISTRY_CHANGED", json!({"subject": "orders", "change": "removed"}), 3004, 4),
        ("SIGNAL_RECEIVED", json!({}), 0, 99),
    ] {
        check(&ocsf::event(&event(kind, &data)), class, activity);
    }
    let mfa = ocsf::event(&event("SESSION_CREATED", &json!({"user_id": "u", "amr": ["mfa"]})));
    assert_eq!(mfa["is_mfa"], true);
}

#[test]
fn what_the_log_says_of_itself_is_handed_on_as_it_stands_and_to_no_other_form() {
    let begin = json!({"log": "begin", "segment": 1, "number": 0, "node": "n", "at": 1});
    let mut items = vec![entry(&begin)];
    assert_eq!(messages(Form::Jsonl, &items).len(), 1);
    for form in [Form::Ocsf, Form::Syslog, Form::Otlp] {
        assert!(messages(form, &items).is_empty(), "{form:?}");
    }
    // That something is missing is told to all.
    items.push(entry(&json!({"log": "lost", "count": 3, "at": 1})));
    for form in [Form::Ocsf, Form::Syslog, Form::Otlp] {
        let told = messages(form, &items);
        assert!(
            told.len() == 1 && told[0].contains("3 decisions were not recorded")
                || form == Form::Syslog
        );
        assert!(told[0].contains("lost"), "{form:?}: {}", told[0]);
    }
    let whole: Value = serde_json::from_str(&messages(Form::Jsonl, &items[..1])[0]).unwrap();
    // The place is that of the record, whatever the record calls so.
    assert_eq!((&whole["number"], &whole["log"]), (&7.into(), &"begin".into()));
}

#[test]
fn a_request_of_otlp_has_the_names_and_types_of_its_protocol() {
    let messages = messages(Form::Otlp, &[decision("/orders/1"), decision("/orders/2")]);
    let [message] = &*messages else { panic!("{messages:?}") };
    let request: Value = serde_json::from_str(message).unwrap();
    let of = &request["resourceLogs"][0];
    assert_eq!(of["resource"]["attributes"][0]["key"], "service.name");
    let records = of["scopeLogs"][0]["logRecords"].as_array().unwrap();
    assert_eq!(records.len(), 2);
    let record = &records[0];
    assert_eq!(record["timeUnixNano"], "1795236115542000000");
    assert_eq!(record["severityNumber"], 13);
    assert_eq!(record["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(record["body"]["stringValue"].as_str().unwrap().contains("GET /orders/1: deny"));
    let attributes = record["attributes"].as_array().unwrap();
    let value = |key: &str| {
        let found = attributes.iter().find(|it| it["key"] == key);
        found.unwrap_or_else(|| panic!("{key}: {record}"))["value"].clone()
    };
    assert_eq!(value("http.response.status_code"), json!({"intValue": "401"}));
    assert_eq!(value("http.request.method"), json!({"stringValue": "GET"}));
    assert_eq!(value("log.record.uid"), json!({"stringValue": "log-1:7"}));
    // A trace that is none is left out.
    let bare = entry(&json!({"at": 1, "trace": "none", "result": "allow"}));
    assert!(
        otlp::request(&[&bare])["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            .get("traceId")
            .is_none()
    );
}

#[test]
fn the_time_of_an_event_is_that_which_it_says() {
    for at in [0, 951_782_399_999, 951_782_400_000, 1_709_164_800_123, 1_795_236_115_542] {
        assert_eq!(millis(&Timestamp::from_millis(at).to_string()), Some(at));
    }
    for bad in ["", "yesterday", "2026-11-21", "0000-00-00T00:00:00Z"] {
        assert_eq!(millis(bad), None, "{bad}");
    }
}

#[test]
fn where_it_goes_is_read_strictly() {
    use sink::Target;
    let read = |text: &str, form| Target::read(text, form);
    assert_eq!(read("-", Form::Jsonl), Ok(Target::Out));
    assert_eq!(read("a/b.jsonl", Form::Jsonl), Ok(Target::File("a/b.jsonl".into())));
    let tcp = |host: &str, tls| Target::Tcp { host: host.to_owned(), port: 6514, tls };
    assert_eq!(read("tls://siem.example:6514", Form::Syslog), Ok(tcp("siem.example", true)));
    assert_eq!(read("tcp://[::1]:6514/", Form::Syslog), Ok(tcp("::1", false)));
    let otlp = |text: &str| match read(text, Form::Otlp) {
        Ok(Target::Http(uri)) => uri.to_string(),
        other => panic!("{other:?}"),
    };
    assert_eq!(otlp("http://127.0.0.1:4318"), "http://127.0.0.1:4318/v1/logs");
    assert_eq!(otlp("https://a.example/"), "https://a.example/v1/logs");
    assert_eq!(otlp("https://a.example/otlp/v1/logs"), "https://a.example/otlp/v1/logs");
    for (bad, form) in [
        ("tcp://siem.example", Form::Syslog),
        ("tcp://siem.example:1/path", Form::Syslog),
        ("tcp://u:p@siem.example:1", Form::Syslog),
        ("tcp://:1", Form::Syslog),
        ("udp://siem.example:514", Form::Syslog),
        ("tcp://siem.example:1", Form::Otlp),
        ("http://siem.example", Form::Syslog),
        ("http://", Form::Jsonl),
    ] {
        assert!(read(bad, form).is_err(), "{bad}");
    }
}
