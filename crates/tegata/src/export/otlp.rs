//! OpenTelemetry logs: the body of an OTLP/HTTP request in JSON (OpenTelemetry Protocol 1.x, "JSON Protobuf
//! Encoding"), with the names of the semantic conventions where there are some.

use serde_json::{Value, json};

use super::{Item, add, ascii};

/// One request with all of these.
pub(super) fn request(items: &[&Item]) -> Value {
    let records: Vec<_> = items.iter().map(|item| record(item)).collect();
    let source = items.first().map_or("-", |item| item.source());
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceLogs": [{
        "resource": {"attributes": [
            text("service.name", "tegata"),
            text("service.version", version),
            text("service.instance.id", source),
        ]},
        "scopeLogs": [{
            "scope": {"name": "tegata.audit_log", "version": version},
            "logRecords": records,
        }],
    }]})
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

/// What of a record is which attribute.
const TEXTS: [(&str, &str); 12] = [
    ("request", "tegata.request"),
    ("client", "client.address"),
    ("subject", "user.id"),
    ("sid", "session.id"),
    ("jti", "tegata.jti"),
    ("method", "http.request.method"),
    ("path", "url.path"),
    ("service", "tegata.service"),
    ("route", "http.route"),
    ("result", "tegata.result"),
    ("reason", "error.type"),
    ("rule", "tegata.rule"),
];

fn record(item: &Item) -> Value {
    let (severity, name) = match (item.own(), item.is_bad()) {
        (Some(_), _) => (17, "ERROR"),
        (None, true) => (13, "WARN"),
        (None, false) => (9, "INFO"),
    };
    let mut attributes = vec![text("log.record.uid", &item.uid())];
    let named = TEXTS.iter().filter_map(|(name, key)| Some(text(key, item.text(name)?)));
    attributes.extend(named);
    // 64-bit numbers are texts in this form.
    let number =
        |key: &str, value: u64| json!({"key": key, "value": {"intValue": value.to_string()}});
    attributes.extend(item.number("status").map(|it| number("http.response.status_code", it)));
    attributes.extend(item.number("micros").map(|it| number("tegata.micros", it)));
    attributes.push(text("tegata.record", &ascii::json(&item.whole())));
    let nanos = (u128::from(item.at()) * 1_000_000).to_string();
    let mut record = json!({
        "timeUnixNano": nanos,
        "observedTimeUnixNano": nanos,
        "severityNumber": severity,
        "severityText": name,
        "eventName": format!("tegata.{}", item.kind().to_ascii_lowercase()),
        "body": {"stringValue": item.sentence()},
        "attributes": attributes,
    });
    let trace = item.text("trace").or_else(|| item.text("trace_id"));
    let is_trace = |it: &&str| it.len() == 32 && it.bytes().all(|it| it.is_ascii_hexdigit());
    if let Some(trace) = trace.filter(is_trace) {
        add(&mut record, "traceId", trace.into());
    }
    record
}
