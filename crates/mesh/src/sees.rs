//! What of a caller's rights a service is told: `sees` of a service. Whether a caller may pass is decided by all
//! of its rights; what goes on inside is told what the service has use for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    map::{Check, Rule},
    name::{RoleName, Scope},
};

/// `sees` as it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSees {
    /// The roles that it knows, of which it is told those that the caller has. Left out: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roles: Option<Vec<String>>,
    /// The scopes that it knows, separated by spaces, of which it is told those that the caller's credentials
    /// have. Left out: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// The same, checked. Takes away, and never adds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sees {
    /// Roles that it is told of. `None`: all.
    pub roles: Option<BTreeSet<RoleName>>,
    /// Scopes that it is told of. `None`: all.
    pub scopes: Option<BTreeSet<Scope>>,
}

impl Sees {
    pub(crate) fn check(declared: Option<&DeclaredSees>, check: &mut Check<'_>) -> Self {
        let Some(DeclaredSees { roles, scope }) = declared else { return Self::default() };
        if roles.is_none() && scope.is_none() {
            let reason = "says nothing: name `roles` or `scope`, or leave it out";
            check.fault(Rule::Word { key: "sees", reason });
        }
        let scopes = scope.as_deref().map(|text| {
            let names: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            check.names(&names, Scope::new)
        });
        Self { roles: roles.as_ref().map(|names| check.names(names, RoleName::new)), scopes }
    }

    /// Whether it is told of a role of the caller.
    #[must_use]
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.as_ref().is_none_or(|seen| seen.contains(role))
    }

    /// Whether it is told of a scope of the caller's credentials.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.as_ref().is_none_or(|seen| seen.contains(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeclaredService, ServiceMap};

    fn read(sees: &str) -> Result<Sees, String> {
        let text = format!(r#"{{"name": "a", "upstreams": ["http://a:1"], "sees": {sees}}}"#);
        let declared: DeclaredService =
            serde_json::from_str(&text).map_err(|error| error.to_string())?;
        // It is read again as it is written.
        let written = serde_json::to_string(&declared).unwrap();
        assert_eq!(serde_json::from_str::<DeclaredService>(&written).unwrap(), declared);
        let map = ServiceMap::check(&[declared], &[]).map_err(|invalid| invalid.to_string())?;
        Ok(map.service("a").unwrap().sees.clone())
    }

    #[test]
    fn what_is_named_is_seen_and_a_list_of_nothing_is_none() {
        let some = read(r#"{"roles": ["customer"], "scope": " orders.read  orders.write "}"#);
        let some = some.unwrap();
        assert!(some.has_role("customer") && !some.has_role("admin") && !some.has_role("custom"));
        assert!(some.has_scope("orders.write") && !some.has_scope("orders"));
        let none = read(r#"{"roles": [], "scope": ""}"#).unwrap();
        assert!(!none.has_role("customer") && !none.has_role("") && !none.has_scope("orders"));
        // What is left out takes nothing away.
        let half = read(r#"{"roles": []}"#).unwrap();
        assert!(!half.has_role("customer") && half.has_scope("anything"));
        let all = read("null").unwrap();
        assert!(all == Sees::default() && all.has_role("customer") && all.has_scope("orders"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (sees, says) in [
            ("{}", "`sees` says nothing"),
            (r#"{"roles": ["Not A Role"]}"#, "is not a role name"),
            (r#"{"scope": "a\"b"}"#, "is not a scope"),
            (r#"{"role": []}"#, "unknown field `role`"),
            (r#"{"roles": "customer"}"#, "expected a sequence"),
            (r#"["customer"]"#, "invalid"),
        ] {
            let wrong = read(sees).unwrap_err();
            assert!(wrong.contains(says), "{sees}: {wrong}");
        }
    }

    #[test]
    fn what_older_programs_do_not_know_is_not_written_without_need() {
        let plain = DeclaredService { name: "a".into(), ..DeclaredService::default() };
        assert!(serde_json::to_value(&plain).unwrap().get("sees").is_none());
    }
}
