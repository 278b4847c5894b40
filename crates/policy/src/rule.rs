//! The words in which rules are written.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tegata_core::StepUp;

use crate::{bundle::Bundle, request::PrincipalKind, within::Within};

/// What a route requires of a request. All of it must hold. The default requires a caller that is
/// known, and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Requirement {
    /// Whether the caller must be known.
    pub auth: Auth,
    /// Any one of these roles. Empty: none is needed.
    pub roles: Vec<String>,
    /// All of these scopes.
    pub scopes: Vec<String>,
    /// Any one of these methods. Empty: every method.
    pub methods: Vec<String>,
    /// How strongly and how recently the caller was authenticated.
    pub step_up: StepUp,
    /// From where and when a caller has all of its rights.
    pub within: Within,
    /// Who is asked for a permit.
    pub decide_by: DecideBy,
}

/// Who is asked for a permit: what a route says of roles and scopes, Cedar policies, or both. What
/// forbids wins over all of them, and so does everything else that the route asks for: that callers are
/// known, methods, how they were authenticated, from where and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DecideBy {
    /// The roles and scopes of the route. Policies can forbid.
    #[default]
    Table,
    /// A policy has to permit it. Such a route can name neither roles nor scopes.
    Policies,
    /// The roles and scopes of the route, and a policy besides.
    Both,
}

/// Whether a caller must be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// It must.
    #[default]
    Required,
    /// It may.
    Optional,
    /// It need not be looked at. Such a requirement can name nothing but methods.
    None,
}

/// What is forbidden, whatever permits it. A request matches when it matches every list that is not
/// empty, and it matches a list when it matches one of its entries. With every list empty it
/// forbids everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forbid {
    /// The name under which refusals cite it; unique.
    pub id: String,
    /// Services.
    #[serde(default)]
    pub services: Vec<String>,
    /// Routes, as declared prefixes.
    #[serde(default)]
    pub routes: Vec<String>,
    /// Methods.
    #[serde(default)]
    pub methods: Vec<String>,
    /// Kinds of caller.
    #[serde(default)]
    pub kinds: Vec<PrincipalKind>,
    /// Ids of callers.
    #[serde(default)]
    pub principals: Vec<String>,
    /// Roles that the caller has.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Scopes that the caller has.
    #[serde(default)]
    pub scopes: Vec<String>,
}

impl Forbid {
    /// Forbids everything, until lists narrow it.
    #[must_use]
    pub fn named(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            services: Vec::new(),
            routes: Vec::new(),
            methods: Vec::new(),
            kinds: Vec::new(),
            principals: Vec::new(),
            roles: Vec::new(),
            scopes: Vec::new(),
        }
    }
}

/// Rules before they are compiled.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub(crate) permits: Vec<(String, String, Requirement)>,
    pub(crate) forbids: Vec<Forbid>,
    pub(crate) bundle: Option<Arc<Bundle>>,
}

impl Rules {
    /// Permits what meets `requirement` on a route of a service.
    pub fn permit(&mut self, service: &str, route: &str, requirement: Requirement) {
        self.permits.push((service.to_owned(), route.to_owned(), requirement));
    }

    /// Forbids.
    pub fn forbid(&mut self, forbid: Forbid) {
        self.forbids.push(forbid);
    }

    /// Decides by the policies of a bundle, too. The last one counts.
    pub fn bundle(&mut self, bundle: Arc<Bundle>) {
        self.bundle = Some(bundle);
    }
}
