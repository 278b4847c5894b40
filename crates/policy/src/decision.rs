//! The answer.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer};

use crate::bundle::Policy;

/// Whether a request may pass, and what determined it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'r> {
    /// It may.
    Allow {
        /// The rule whose requirement it meets.
        rule: &'r RuleId,
        /// The policies that permit it; none where the rule alone was asked for a permit.
        policies: Vec<&'r Policy>,
    },
    /// It may not.
    Deny {
        /// Why not; where several reasons hold, the first in the order of [`ReasonId`], in which what
        /// policies say comes after what the rule says.
        reason: ReasonId,
        /// The rule that it does not meet, or that forbids it. `None`: there is no rule.
        rule: Option<&'r RuleId>,
        /// The policies that forbid it, or in which there was an error.
        policies: Vec<&'r Policy>,
    },
}

/// Why a request is refused. The names are promises: clients, dashboards and tests rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReasonId {
    /// No rule permits it.
    NoRule,
    /// A rule forbids it.
    Forbidden,
    /// The caller is not known, and must be.
    NotAuthenticated,
    /// The route does not take this method.
    MethodNotAllowed,
    /// The caller has none of the roles of which one is needed.
    MissingRole,
    /// The caller's credentials lack a scope.
    MissingScope,
    /// The caller must show more than it did (RFC 9470).
    InsufficientAcr,
    /// The caller must show it again: it was too long ago, or nobody knows when it was (RFC 9470).
    AuthenticationTooOld,
    /// It would pass within the networks of the rule, and comes from elsewhere.
    OutsideNetwork,
    /// It would pass within the hours of the rule, and comes at another time.
    OutsideHours,
    /// A policy forbids it.
    PolicyForbids,
    /// There was an error in a policy that forbids: nobody knows whether it forbids this.
    PolicyError,
    /// No policy permits it, and one has to.
    NoPolicy,
    /// It is about a type of thing of which the schema says nothing.
    UnknownType,
    /// It is an action of which the schema says nothing, or nothing for these types.
    UnknownAction,
    /// A value is not of the type that the schema says.
    InvalidValue,
}

/// The name of a rule. A route's rule is named after its service and prefix, as in
/// `orders:/orders`; a forbid names itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RuleId(Arc<str>);

impl<'r> Decision<'r> {
    /// Whether the request may pass.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allow { .. })
    }

    /// Why it may not.
    #[must_use]
    pub const fn reason(&self) -> Option<ReasonId> {
        match self {
            Self::Allow { .. } => None,
            Self::Deny { reason, .. } => Some(*reason),
        }
    }

    /// The rule that it meets, or that it does not meet, or that forbids it.
    #[must_use]
    pub const fn rule(&self) -> Option<&'r RuleId> {
        match self {
            Self::Allow { rule, .. } => Some(rule),
            Self::Deny { rule, .. } => *rule,
        }
    }

    /// The policies that determined it.
    #[must_use]
    pub fn policies(&self) -> &[&'r Policy] {
        match self {
            Self::Allow { policies, .. } | Self::Deny { policies, .. } => policies,
        }
    }
}

impl ReasonId {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::NoRule,
        Self::Forbidden,
        Self::NotAuthenticated,
        Self::MethodNotAllowed,
        Self::MissingRole,
        Self::MissingScope,
        Self::InsufficientAcr,
        Self::AuthenticationTooOld,
        Self::OutsideNetwork,
        Self::OutsideHours,
        Self::PolicyForbids,
        Self::PolicyError,
        Self::NoPolicy,
        Self::UnknownType,
        Self::UnknownAction,
        Self::InvalidValue,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoRule => "no_rule",
            Self::Forbidden => "forbidden",
            Self::NotAuthenticated => "not_authenticated",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::MissingRole => "missing_role",
            Self::MissingScope => "missing_scope",
            Self::InsufficientAcr => "insufficient_acr",
            Self::AuthenticationTooOld => "authentication_too_old",
            Self::OutsideNetwork => "outside_network",
            Self::OutsideHours => "outside_hours",
            Self::PolicyForbids => "policy_forbids",
            Self::PolicyError => "policy_error",
            Self::NoPolicy => "no_policy",
            Self::UnknownType => "unknown_type",
            Self::UnknownAction => "unknown_action",
            Self::InvalidValue => "invalid_value",
        }
    }
}

impl RuleId {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReasonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for RuleId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_keep_their_names() {
        let names = ReasonId::ALL.map(ReasonId::as_str);
        assert_eq!(
            names,
            [
                "no_rule",
                "forbidden",
                "not_authenticated",
                "method_not_allowed",
                "missing_role",
                "missing_scope",
                "insufficient_acr",
                "authentication_too_old",
                "outside_network",
                "outside_hours",
                "policy_forbids",
                "policy_error",
                "no_policy",
                "unknown_type",
                "unknown_action",
                "invalid_value",
            ]
        );
        for reason in ReasonId::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
