//! What policies name: what may be proposed to somebody whom they refuse, and nothing else.

use std::collections::BTreeSet;

use serde_json::Value;

/// The names and numbers in a policy.
#[derive(Debug, Default)]
pub(crate) struct Named {
    pub(crate) roles: BTreeSet<Box<str>>,
    /// Scopes, and ways to authenticate.
    pub(crate) texts: BTreeSet<Box<str>>,
    pub(crate) numbers: BTreeSet<u64>,
}

impl Named {
    /// Out of Cedar's form in JSON.
    pub(super) fn of(policy: &Value) -> Self {
        let mut named = Self::default();
        named.take(policy);
        named
    }

    fn take(&mut self, value: &Value) {
        match value {
            Value::Array(all) => all.iter().for_each(|it| self.take(it)),
            Value::Object(members) => {
                let text = |name: &str| members.get(name).and_then(Value::as_str);
                if let (Some("Tegata::Role"), Some(id)) = (text("type"), text("id")) {
                    self.roles.insert(id.into());
                }
                match members.get("Value") {
                    Some(Value::String(text)) => {
                        self.texts.insert(text.as_str().into());
                    }
                    Some(Value::Number(number)) => self.numbers.extend(number.as_u64()),
                    _ => {}
                }
                members.values().for_each(|it| self.take(it));
            }
            _ => {}
        }
    }
}
