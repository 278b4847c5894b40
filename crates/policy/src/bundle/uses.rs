//! What policies use of what is known of a request, so that nothing else is made for them.

use std::ops::BitOr;

use serde_json::Value;

/// Attributes of the context of requests to services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Uses(u16);

/// By place in [`NAMES`].
const NAMES: [&str; 9] =
    ["method", "path", "scopes", "acr", "auth_age", "ip", "now", "hour", "weekday"];

impl Uses {
    pub(crate) const METHOD: Self = Self(1);
    pub(crate) const PATH: Self = Self(1 << 1);
    pub(crate) const SCOPES: Self = Self(1 << 2);
    pub(crate) const ACR: Self = Self(1 << 3);
    pub(crate) const AUTH_AGE: Self = Self(1 << 4);
    pub(crate) const IP: Self = Self(1 << 5);
    pub(crate) const NOW: Self = Self(1 << 6);
    pub(crate) const HOUR: Self = Self(1 << 7);
    pub(crate) const WEEKDAY: Self = Self(1 << 8);
    /// Where a request comes from, and when.
    pub(crate) const PLACE: Self = Self(Self::IP.0 | Self::NOW.0 | Self::HOUR.0 | Self::WEEKDAY.0);
    /// Everything.
    pub(crate) const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Whether one of these is used.
    pub(crate) const fn any_of(self, these: Self) -> bool {
        self.0 & these.0 != 0
    }

    /// What a policy uses, in Cedar's form in JSON. Whatever is not understood uses everything.
    pub(super) fn of(policy: &Value) -> Self {
        match policy {
            Value::Array(all) => all.iter().fold(Self::default(), |used, it| used | Self::of(it)),
            Value::Object(members) => {
                if members.get("Var").and_then(Value::as_str) == Some("context") {
                    return Self::ALL;
                }
                let asked = members.get(".").or_else(|| members.get("has"));
                if let Some(asked) = asked.filter(|it| is_context(it.get("left"))) {
                    return Self::named(asked.get("attr"));
                }
                members.values().fold(Self::default(), |used, it| used | Self::of(it))
            }
            _ => Self::default(),
        }
    }

    fn named(attribute: Option<&Value>) -> Self {
        let name = attribute.and_then(Value::as_str);
        let place = name.and_then(|name| NAMES.iter().position(|it| *it == name));
        match (name, place) {
            (_, Some(place)) => Self(1 << place),
            // Of another schema's context.
            (Some(_), None) => Self::default(),
            (None, None) => Self::ALL,
        }
    }
}

impl BitOr for Uses {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

fn is_context(expression: Option<&Value>) -> bool {
    let variable = expression.and_then(|it| it.get("Var")).and_then(Value::as_str);
    variable == Some("context")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(condition: &str) -> Uses {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        Uses::of(&cedar_policy::Policy::parse(None, text).unwrap().to_json().unwrap())
    }

    #[test]
    fn finds_what_is_used_and_everything_where_it_cannot_tell() {
        for (condition, expected) in [
            ("true", Uses::default()),
            ("context.acr == \"aal2\"", Uses::ACR),
            ("context has acr && context.hour > 8", Uses::ACR | Uses::HOUR),
            ("context[\"ip\"].isLoopback()", Uses::IP),
            ("[context.path, \"x\"].contains(principal.path)", Uses::PATH),
            ("if resource.now then true else {a: context.scopes}.a.contains(\"x\")", Uses::SCOPES),
            ("principal.ip.isLoopback()", Uses::default()),
            ("context.elsewhere.ip.isLoopback()", Uses::default()),
            ("context == {a: 1}", Uses::ALL),
            ("[context].contains(principal)", Uses::ALL),
            ("(if true then context else context).acr == \"a\"", Uses::ALL),
            ("{\"Var\": \"context\"} == principal.x", Uses::default()),
            ("principal.x == \"context\"", Uses::default()),
        ] {
            assert_eq!(uses(condition), expected, "{condition}");
        }
    }

    #[test]
    fn every_name_has_its_bit() {
        let bits = [
            Uses::METHOD,
            Uses::PATH,
            Uses::SCOPES,
            Uses::ACR,
            Uses::AUTH_AGE,
            Uses::IP,
            Uses::NOW,
            Uses::HOUR,
            Uses::WEEKDAY,
        ];
        for (place, bit) in bits.into_iter().enumerate() {
            assert_eq!(Uses::named(Some(&NAMES[place].into())), bit);
        }
    }
}
