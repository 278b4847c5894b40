//! What of somebody's rights a service is told.

use std::collections::BTreeSet;

use tegata_token::Scope;

/// What of somebody's rights a service is told: what they have, as far as it is named here. Takes away, and never
/// adds. By default, all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sees {
    /// Roles. `None`: all.
    pub roles: Option<BTreeSet<String>>,
    /// Scopes. `None`: all.
    pub scope: Option<Scope>,
}

impl Sees {
    /// Nothing at all: for a service of which nothing is known.
    #[must_use]
    pub fn nothing() -> Self {
        Self { roles: Some(BTreeSet::new()), scope: Some(Scope::default()) }
    }

    /// Those of somebody's roles that are told.
    #[must_use]
    pub fn roles_of(&self, roles: &[String]) -> Vec<String> {
        let seen = |role: &&String| self.roles.as_ref().is_none_or(|seen| seen.contains(*role));
        roles.iter().filter(seen).cloned().collect()
    }

    /// What of a scope is told.
    #[must_use]
    pub fn scope_of(&self, scope: &Scope) -> Scope {
        self.scope.as_ref().map_or_else(|| scope.clone(), |seen| scope.narrowed_to(seen))
    }
}
