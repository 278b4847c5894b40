//! Why a request passed or was refused, and the smallest change that would have let it pass: from its record
//! alone, so that it can be said on any machine that has the log.

use serde::Serialize;
use serde_json::{Value, json};
use tegata_core::Timestamp;

use crate::reasons::{Phase, Reason, Remedy};

/// A record, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Whether it was let pass.
    pub allowed: bool,
    /// The reason that it did not, or came to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The phase that gives this reason. `None`: it is none of the gateway's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// What it means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub means: Option<Said>,
    /// What has to change; all of it. Nothing, where nothing has to.
    pub changes: Vec<Wanted>,
}

/// A text in two languages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Said {
    /// English.
    pub en: String,
    /// Japanese.
    pub ja: String,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// Of which kind.
    pub remedy: Remedy,
    /// What belongs to it: a role, scopes, a method, a moment. `null`: nothing.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub value: Value,
    /// The same in words.
    pub says: Said,
}

impl Said {
    fn of([en, ja]: [impl Into<String>; 2]) -> Self {
        Self { en: en.into(), ja: ja.into() }
    }
}

impl Wanted {
    fn of(remedy: Remedy, value: Value, says: [String; 2]) -> Self {
        Self { remedy, value, says: Said::of(says) }
    }
}

/// Explains a record.
#[must_use]
pub fn explain(record: &Value) -> Explained {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let allowed = was_allowed(record);
    let Some(id) = text("reason") else {
        let (reason, phase, means) = (None, None, None);
        return Explained { allowed, reason, phase, means, changes: Vec::new() };
    };
    let reason = Reason::of(id);
    let mut changes = record.get("change").map(by_the_rule).unwrap_or_default();
    if changes.is_empty() {
        changes.extend(until(record, reason));
    }
    if let Some(reason) = reason.filter(|_| changes.is_empty()) {
        changes.push(Wanted::of(reason.remedy, Value::Null, reason.change.map(str::to_owned)));
    }
    Explained {
        allowed,
        reason: Some(id.to_owned()),
        phase: reason.map(|reason| reason.phase),
        means: reason.map(|reason| Said::of(reason.means)),
        changes,
    }
}

/// Whether it was let pass. A line that says how it went says so of what was decided, too.
fn was_allowed(record: &Value) -> bool {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    match text("result") {
        Some("deny") => false,
        Some("answer") => match record.get("phases").and_then(Value::as_array) {
            Some(phases) => phases.iter().all(|phase| {
                let outcome = phase.get("outcome").and_then(Value::as_str);
                outcome != Some("refused")
            }),
            // Lines of before do not say it, and the reason does.
            None => text("reason")
                .and_then(Reason::of)
                .is_none_or(|reason| matches!(reason.phase, Phase::Forward | Phase::Bff)),
        },
        _ => true,
    }
}

/// What the rule of the route said that was missing.
fn by_the_rule(change: &Value) -> Vec<Wanted> {
    let flag = |name: &str| change.get(name).and_then(Value::as_bool) == Some(true);
    let text = |name: &str| change.get(name).and_then(Value::as_str);
    let names = |name: &str| -> Vec<&str> {
        let all = change.get(name).and_then(Value::as_array).into_iter().flatten();
        all.filter_map(Value::as_str).collect()
    };
    let mut all = Vec::new();
    let mut want = |remedy, value, says: [String; 2]| all.push(Wanted::of(remedy, value, says));
    if flag("add_rule") {
        let says = ["declare a route that permits it", "許可するルートを宣言してください"];
        want(Remedy::Declare, Value::Null, says.map(str::to_owned));
    }
    let lift = names("lift");
    if !lift.is_empty() {
        let named = lift.join("`, `");
        let says = [
            format!("lift `{named}`, or have it not match"),
            format!("`{named}` を外すか、当てはまらないようにしてください"),
        ];
        want(Remedy::Lift, json!({"rules": lift}), says);
    }
    if flag("authenticate") {
        let says = ["sign in, or send a credential", "サインインするか、認証情報を送ってください"];
        want(Remedy::Authenticate, Value::Null, says.map(str::to_owned));
    }
    if let Some(method) = text("method") {
        let says =
            [format!("use the method `{method}`"), format!("メソッド `{method}` を使ってください")];
        want(Remedy::Method, json!({"method": method}), says);
    }
    if let Some(role) = text("role") {
        let says = [
            format!("give the caller the role `{role}`"),
            format!("呼び出し元にロール `{role}` を与えてください"),
        ];
        want(Remedy::Role, json!({"role": role}), says);
    }
    let more = names("more_roles");
    if !more.is_empty() {
        let named = more.join("`, `");
        let says = [
            format!("give the caller the roles `{named}`, too"),
            format!("呼び出し元にロール `{named}` も与えてください"),
        ];
        want(Remedy::Role, json!({"roles": more}), says);
    }
    let scopes = names("scopes");
    if !scopes.is_empty() {
        let named = scopes.join(" ");
        let says = [
            format!("get a token that also has the scope `{named}`"),
            format!("スコープ `{named}` も持つトークンを得てください"),
        ];
        want(Remedy::Scope, json!({"scopes": scopes}), says);
    }
    let (acr, age) = (change.get("acr"), change.get("max_age"));
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if acr.is_some() || age.is_some() {
        let acr_en = acr.map(|it| format!(" in the way `{}`", shown(it))).unwrap_or_default();
        let age_en =
            age.map(|it| format!(", no longer ago than {}", shown(it))).unwrap_or_default();
        let acr_ja = acr.map(|it| format!("`{}` の方法で", shown(it))).unwrap_or_default();
        let age_ja = age.map(|it| format!("{} 以内に", shown(it))).unwrap_or_default();
        let says = [
            format!("sign in again{acr_en}{age_en}"),
            format!("{age_ja}{acr_ja}もう一度サインインしてください"),
        ];
        want(Remedy::StepUp, json!({"acr": acr, "max_age": age}), says);
    }
    if flag("within") {
        let says = [
            "come from one of the networks of the route, in its hours",
            "ルートの定めるネットワークから、定められた時間に送ってください",
        ];
        want(Remedy::Within, Value::Null, says.map(str::to_owned));
    }
    let policies = names("lift_policies");
    if !policies.is_empty() {
        let named = policies.join("`, `");
        let says = [
            format!("change the policies `{named}`: they refuse it"),
            format!("拒否しているポリシー `{named}` を変えてください"),
        ];
        want(Remedy::Policy, json!({"policies": policies}), says);
    }
    if flag("permit") {
        let says = ["have a policy permit it", "許可するポリシーを加えてください"];
        want(Remedy::Policy, json!({"permit": true}), says.map(str::to_owned));
    }
    all
}

/// When a limit would have let it pass.
fn until(record: &Value, reason: Option<&Reason>) -> Option<Wanted> {
    reason.filter(|reason| reason.phase == Phase::Limit)?;
    let limit = record.get("inputs")?.get("limit")?;
    let number = |name: &str| limit.get(name).and_then(Value::as_u64);
    let label = limit.get("label")?.as_str()?;
    let (quota, window, wait) = (number("quota")?, number("window")?, number("wait")?);
    let at = Timestamp::from_millis(
        record.get("at")?.as_u64()?.saturating_add(wait.saturating_mul(1000)),
    );
    let says = [
        format!("send it again from {at} on: the limit `{label}` lets {quota} pass in {window} s"),
        format!("{at} 以降に再送してください。上限 `{label}` は {window} 秒に {quota} 件です"),
    ];
    Some(Wanted::of(
        Remedy::Wait,
        json!({"until": at.to_string(), "seconds": wait, "limit": label}),
        says,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reasons::REASONS;

    #[test]
    fn every_reason_has_a_change_and_what_passed_has_none() {
        for reason in REASONS {
            for id in reason.ids {
                let told = explain(&json!({"result": "deny", "reason": id}));
                assert!(!told.allowed);
                assert_eq!(told.phase, Some(reason.phase));
                assert_eq!(told.changes[0].remedy, reason.remedy, "{id}");
            }
        }
        let told = explain(&json!({"result": "allow", "status": 200}));
        assert!(told.allowed && told.changes.is_empty() && told.reason.is_none());
    }

    #[test]
    fn a_reason_of_somebody_else_and_a_line_of_before_are_no_trouble() {
        let told = explain(&json!({"result": "deny", "reason": "invalid_grant", "change": 3}));
        assert_eq!((told.phase, told.changes.len()), (None, 0));
        let old = json!({"at": 1, "request": "x", "result": "deny", "reason": "missing_role"});
        assert_eq!(explain(&old).changes[0].remedy, Remedy::Role);
    }

    #[test]
    fn all_that_the_rule_wants_is_told_with_its_names() {
        let change = json!({
            "lift": ["no-writing"], "authenticate": true, "method": "GET", "role": "admin",
            "scopes": ["a", "b"], "acr": "aal2", "max_age": "5m", "within": true,
            "lift_policies": ["p"], "permit": true,
        });
        let told = explain(&json!({"result": "deny", "reason": "forbidden", "change": change}));
        let remedies: Vec<_> = told.changes.iter().map(|it| it.remedy).collect();
        assert_eq!(
            remedies,
            [
                Remedy::Lift,
                Remedy::Authenticate,
                Remedy::Method,
                Remedy::Role,
                Remedy::Scope,
                Remedy::StepUp,
                Remedy::Within,
                Remedy::Policy,
                Remedy::Policy,
            ]
        );
        let says: Vec<_> = told.changes.iter().map(|it| it.says.en.as_str()).collect();
        assert_eq!(says[0], "lift `no-writing`, or have it not match");
        assert_eq!(says[5], "sign in again in the way `aal2`, no longer ago than 5m");
    }

    #[test]
    fn a_limit_says_when() {
        let limit = json!({"label": "caller", "quota": 3, "window": 60, "left": 0, "wait": 20});
        let record = json!({"at": 1_767_225_600_000_u64, "result": "deny",
            "reason": "too_many_requests", "inputs": {"limit": limit}});
        let told = explain(&record);
        assert_eq!(told.changes[0].value["until"], "2026-01-01T00:00:20.000Z");
        assert!(told.changes[0].says.en.contains("`caller` lets 3 pass in 60 s"));
    }
}
