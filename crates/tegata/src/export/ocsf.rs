//! Events of the Open Cybersecurity Schema Framework, version 1.3: API Activity (6003) for decisions,
//! Authentication (3002) for signing in and out, Authorize Session (3003) for tokens that were issued, and
//! Account Change (3001) and Entity Management (3004) for what else changed.

use serde_json::{Map, Value, json};

use super::{Item, add};

/// Which version of the schema the events are of.
const VERSION: &str = "1.3.0";

/// A class, and what happened in it.
struct Class {
    category: (u32, &'static str),
    class: (u32, &'static str),
    activity: (u32, &'static str),
}

const IAM: (u32, &str) = (3, "Identity & Access Management");

impl Class {
    const fn api(activity: (u32, &'static str)) -> Self {
        Self { category: (6, "Application Activity"), class: (6003, "API Activity"), activity }
    }

    const fn authentication(activity: (u32, &'static str)) -> Self {
        Self { category: IAM, class: (3002, "Authentication"), activity }
    }

    const fn account(activity: (u32, &'static str)) -> Self {
        Self { category: IAM, class: (3001, "Account Change"), activity }
    }

    const fn entity(activity: (u32, &'static str)) -> Self {
        Self { category: IAM, class: (3004, "Entity Management"), activity }
    }

    const fn session() -> Self {
        let activity = (1, "Assign Privileges");
        Self { category: IAM, class: (3003, "Authorize Session"), activity }
    }

    /// What no class is made for.
    const fn base() -> Self {
        Self { category: (0, "Uncategorized"), class: (0, "Base Event"), activity: (99, "Other") }
    }

    fn of(item: &Item) -> Self {
        match item {
            Item::Decision(_) if item.own().is_some() => Self::base(),
            Item::Decision(_) => of_decision(item),
            Item::Event { .. } => of_event(item),
        }
    }
}

/// Where people sign in and out, at our own endpoints.
const LOGONS: [&str; 6] = [
    "/login",
    "/login/link",
    "/api/auth/login",
    "/api/auth/login/passkey",
    "/api/auth/mfa",
    "/api/auth/mfa/passkey",
];
const LOGOFFS: [&str; 2] = ["/api/auth/logout", "/oauth2/logout"];

fn of_decision(item: &Item) -> Class {
    let (method, path) = (item.text("method").unwrap_or_default(), item.text("path"));
    if item.text("service") == Some("tegata") && !matches!(method, "GET" | "HEAD") {
        let path = path.unwrap_or_default();
        if LOGONS.contains(&path) {
            return Class::authentication((1, "Logon"));
        }
        if LOGOFFS.contains(&path) {
            return Class::authentication((2, "Logoff"));
        }
    }
    Class::api(match method {
        "" => (0, "Unknown"),
        "POST" => (1, "Create"),
        "GET" | "HEAD" | "OPTIONS" => (2, "Read"),
        "PUT" | "PATCH" => (3, "Update"),
        "DELETE" => (4, "Delete"),
        _ => (99, "Other"),
    })
}

fn of_event(item: &Item) -> Class {
    match item.kind() {
        "SESSION_CREATED" | "SIGN_IN_FAILED" => Class::authentication((1, "Logon")),
        "USER_LOGGED_OUT" | "SESSION_ENDED" => Class::authentication((2, "Logoff")),
        "TOKEN_ISSUED" => Class::session(),
        "CREDENTIAL_CHANGED" if data(item, "credential") == Some("password") => {
            Class::account((3, "Password Change"))
        }
        "CREDENTIAL_CHANGED" | "PERMISSIONS_CHANGED" => Class::account((99, "Other")),
        "TOKEN_REVOKED" | "FAMILY_REVOKED" => Class::entity((4, "Delete")),
        "KEY_ROTATED" | "API_KEY_ROTATED" | "COOKIE_CONSENT_CHANGED" => {
            Class::entity((3, "Update"))
        }
        "REGISTRY_CHANGED" => Class::entity(match data(item, "change") {
            Some("created" | "added" | "registered") => (1, "Create"),
            Some("removed" | "deleted") => (4, "Delete"),
            _ => (3, "Update"),
        }),
        _ => Class::base(),
    }
}

fn data<'i>(item: &'i Item, name: &str) -> Option<&'i str> {
    item.says().get("data")?.get(name)?.as_str()
}

/// One event.
pub(super) fn event(item: &Item) -> Value {
    let class = Class::of(item);
    let (category, (uid, name), activity) = (class.category, class.class, class.activity);
    let is_bad = item.is_bad();
    let severity = match (item.own(), is_bad) {
        (Some(_), _) => (4, "High"),
        (None, true) => (2, "Low"),
        (None, false) => (1, "Informational"),
    };
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| _ = event.insert(name.to_owned(), value);
    put("category_uid", category.0.into());
    put("category_name", category.1.into());
    put("class_uid", uid.into());
    put("class_name", name.into());
    put("activity_id", activity.0.into());
    put("activity_name", activity.1.into());
    put("type_uid", (uid * 100 + activity.0).into());
    put("type_name", format!("{name}: {}", activity.1).into());
    put("severity_id", severity.0.into());
    put("severity", severity.1.into());
    put("status_id", if is_bad { 2 } else { 1 }.into());
    put("status", if is_bad { "Failure" } else { "Success" }.into());
    put("time", item.at().into());
    put("message", item.sentence().into());
    put("metadata", metadata(item));
    if let Some(reason) = item.text("reason").or_else(|| data(item, "error")) {
        put("status_detail", reason.into());
    }
    if let Some(status) = item.number("status") {
        put("status_code", status.to_string().into());
    }
    match item {
        Item::Decision(_) if item.own().is_none() => of_request(item, uid, &mut put),
        Item::Decision(_) => {}
        Item::Event { .. } => of_change(item, uid, &mut put),
    }
    put("unmapped", unmapped(item));
    event.into()
}

/// What every event of the request has.
fn of_request(item: &Item, class: u32, put: &mut impl FnMut(&str, Value)) {
    let text = |name| item.text(name);
    let user = user(text("subject"));
    if let Some(client) = text("client") {
        put("src_endpoint", json!({"ip": client}));
    } else {
        put("src_endpoint", json!({"name": "unknown"}));
    }
    let mut request = json!({"uid": text("request").unwrap_or_default()});
    if let Some(method) = text("method") {
        add(&mut request, "http_method", method.into());
    }
    if let Some(path) = text("path") {
        add(&mut request, "url", json!({"path": path}));
    }
    put("http_request", request);
    if let Some(status) = item.number("status") {
        put("http_response", json!({"code": status}));
    }
    if let Some(micros) = item.number("micros") {
        put("duration", (micros / 1000).into());
    }
    let service = json!({"name": text("service").unwrap_or("unknown")});
    if class == 3002 {
        put("user", user);
        put("service", service);
        put("auth_protocol_id", 99.into());
        put("is_remote", true.into());
        return;
    }
    let mut actor = json!({"user": user});
    if let Some(sid) = text("sid") {
        add(&mut actor, "session", json!({"uid": sid}));
    }
    put("actor", actor);
    let operation = format!(
        "{} {}",
        text("method").unwrap_or("-"),
        text("route").or(text("path")).unwrap_or("-")
    );
    let request = json!({"uid": text("request").unwrap_or_default()});
    put("api", json!({"operation": operation, "service": service, "request": request}));
}

/// What events of the journal have.
fn of_change(item: &Item, class: u32, put: &mut impl FnMut(&str, Value)) {
    let of = |name| data(item, name);
    let user = user(of("user_id").or(of("service")));
    if let Some(address) = of("address") {
        put("src_endpoint", json!({"ip": address}));
    }
    match class {
        3002 => {
            put("user", user);
            put("service", json!({"name": "tegata"}));
            put("auth_protocol_id", 99.into());
            put("is_remote", true.into());
            if let Some(amr) = item.says().get("data").and_then(|it| it.get("amr")) {
                let many = amr.as_array().is_some_and(|amr| amr.iter().any(|it| it == "mfa"));
                put("is_mfa", many.into());
            }
            if let Some(session) = of("session_id") {
                put("session", json!({"uid": session}));
            }
        }
        3003 => {
            put("user", user);
            put("privileges", json!([of("target").unwrap_or("token")]));
            if let Some(jti) = of("jti") {
                put("session", json!({"uid": jti}));
            }
        }
        3001 => put("user", user),
        3004 => {
            let (name, uid) = entity(item);
            put("entity", json!({"type": name, "uid": uid}));
            if let Some(reason) = of("reason") {
                put("comment", reason.into());
            }
            if let Some(actor) = of("actor") {
                put("actor", json!({"user": {"uid": actor, "type_id": 0, "type": "Unknown"}}));
            }
        }
        _ => {}
    }
}

/// What was changed.
fn entity(item: &Item) -> (&'static str, String) {
    let of = |name| data(item, name).unwrap_or("unknown").to_owned();
    match item.kind() {
        "TOKEN_REVOKED" => ("token", of("jti")),
        "FAMILY_REVOKED" => ("token family", of("family")),
        "KEY_ROTATED" => ("signing key", of("kid")),
        "API_KEY_ROTATED" => ("API key", of("old_id")),
        "COOKIE_CONSENT_CHANGED" => ("cookie consent", of("user_id")),
        _ => ("registration", of("subject")),
    }
}

fn user(uid: Option<&str>) -> Value {
    match uid {
        Some(uid) if uid.starts_with("usr_") => json!({"uid": uid, "type_id": 1, "type": "User"}),
        Some(uid) => json!({"uid": uid, "type_id": 0, "type": "Unknown"}),
        None => json!({"name": "unknown", "type_id": 0, "type": "Unknown"}),
    }
}

fn metadata(item: &Item) -> Value {
    let (log, sequence) = match item {
        Item::Decision(record) => ("decisions", record.place.number),
        Item::Event { position, .. } => ("events", *position),
    };
    let mut metadata = json!({
        "version": VERSION,
        "product": {"name": "Tegata", "vendor_name": "Tegata", "version": env!("CARGO_PKG_VERSION")},
        "uid": item.uid(),
        "log_name": log,
        "log_provider": item.source(),
        "sequence": sequence,
        "event_code": item.kind(),
    });
    if let Some(trace) = item.text("trace").or_else(|| item.text("trace_id")) {
        add(&mut metadata, "correlation_uid", trace.into());
    }
    metadata
}

/// What the schema has no place for.
fn unmapped(item: &Item) -> Value {
    match item {
        Item::Decision(record) => {
            let mut rest = Map::new();
            let names = ["rule", "jti", "risk", "unchecked", "count", "result"];
            let of_policies = ["policies", "policy_set", "named", "evaluation"];
            for name in names.into_iter().chain(of_policies) {
                if let Some(value) = record.says.get(name) {
                    rest.insert(name.to_owned(), value.clone());
                }
            }
            rest.insert("hash".to_owned(), record.place.hash.clone().into());
            rest.into()
        }
        Item::Event { event, .. } => event.get("data").cloned().unwrap_or_else(|| json!({})),
    }
}
