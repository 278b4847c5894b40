//! Delegations as people write them: `[[delegation]]` of the configuration and of files for
//! `tegata apply`. Each lets one actor speak for others at some services.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tegata_core::ClientId;

use crate::{
    declared::DeclaredService,
    map::{Check, InvalidMap, Rule},
    name::{RoleName, Scope, ServiceName},
};

/// `[[delegation]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredDelegation {
    /// Its name, unique.
    pub name: String,
    /// Who acts: a client, most often a service.
    pub actor: String,
    /// Other clients that may exchange with the actor's token, so that the actor need not do it itself.
    #[serde(default)]
    pub through: Vec<String>,
    /// The services at which it acts. Each names the actor among its `callers`.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Whether the actor gets transaction tokens.
    #[serde(default)]
    pub transactions: bool,
    /// For whom: people who have one of these roles. With neither `roles` nor `clients`: for everybody.
    #[serde(default)]
    pub roles: Vec<String>,
    /// For whom: clients that speak for themselves.
    #[serde(default)]
    pub clients: Vec<String>,
    /// The scope that its tokens have at most, separated by spaces; what is said elsewhere where this
    /// is left out.
    #[serde(default)]
    pub scope: Option<String>,
    /// How many actors its tokens may name at most; never more than `tokens.longest_chain`.
    #[serde(default)]
    pub max_depth: Option<usize>,
    /// Whether its tokens name no actor: whoever is called takes the actor for the person.
    #[serde(default)]
    pub impersonate: bool,
}

/// Who decides about tokens for a service that speak for somebody else than the client that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DelegationMode {
    /// Whoever is among its `callers` gets them, unless delegations name it and the service.
    #[default]
    Callers,
    /// Delegations alone.
    Declared,
}

impl DelegationMode {
    /// Whether it is that of [`Self::Callers`].
    #[must_use]
    pub fn is_of_callers(&self) -> bool {
        *self == Self::Callers
    }
}

/// Checks delegations together with the services that they name.
///
/// # Errors
/// All faults at once.
pub fn check(
    delegations: &[DeclaredDelegation],
    services: &[DeclaredService],
) -> Result<(), InvalidMap> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for declared in delegations {
        let entry = format!("[[delegation]] `{}`", declared.name);
        let mut check = Check { entry, faults: &mut faults };
        if !names.insert(declared.name.as_str()) {
            check.fault(Rule::DuplicateDelegation);
        }
        check_one(declared, services, &mut check);
    }
    if faults.is_empty() { Ok(()) } else { Err(InvalidMap { faults }) }
}

fn check_one(declared: &DeclaredDelegation, services: &[DeclaredService], check: &mut Check<'_>) {
    check.name(ServiceName::new(&declared.name));
    let clients = declared.through.iter().chain(&declared.clients);
    for client in std::iter::once(&declared.actor).chain(clients) {
        if let Err(invalid) = ClientId::new(client) {
            check.fault(Rule::Client(invalid));
        }
    }
    check.names(&declared.roles, RoleName::new);
    let scope = declared.scope.as_deref().unwrap_or_default();
    let values: Vec<String> = scope.split_whitespace().map(str::to_owned).collect();
    check.names(&values, Scope::new);
    if declared.targets.is_empty() && !declared.transactions {
        check.fault(Rule::NothingDelegated);
    }
    for target in &declared.targets {
        match services.iter().find(|service| service.name == *target) {
            None => check.fault(Rule::UnknownService(target.clone())),
            Some(service) => {
                let asking = std::iter::once(&declared.actor).chain(&declared.through);
                for actor in asking.filter(|actor| !service.callers.contains(actor)) {
                    let (service, actor) = (service.name.clone(), actor.clone());
                    check.fault(Rule::NoCaller { service, actor });
                }
            }
        }
    }
    if declared.max_depth == Some(0) {
        check.fault(Rule::NoDepth);
    }
    if declared.impersonate {
        if declared.roles.is_empty() {
            check.fault(Rule::ImpersonatesAnybody);
        }
        if !declared.through.is_empty() || !declared.clients.is_empty() {
            check.fault(Rule::ImpersonatesOthers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services() -> Vec<DeclaredService> {
        let service = |name: &str, callers: &[&str]| DeclaredService {
            name: name.into(),
            upstreams: vec!["http://127.0.0.1:1".into()],
            callers: callers.iter().map(|caller| (*caller).to_owned()).collect(),
            roles: vec![],
            delegation: DelegationMode::default(),
            ..DeclaredService::default()
        };
        vec![service("payments", &["orders", "batch"]), service("users", &[])]
    }

    fn delegation() -> DeclaredDelegation {
        DeclaredDelegation {
            name: "orders-pays".into(),
            actor: "orders".into(),
            targets: vec!["payments".into()],
            ..DeclaredDelegation::default()
        }
    }

    fn rules(delegations: &[DeclaredDelegation]) -> String {
        check(delegations, &services()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_left_out_is_safe() {
        let text = r#"{"name": "a", "actor": "orders", "targets": ["payments"]}"#;
        let declared: DeclaredDelegation = serde_json::from_str(text).unwrap();
        assert!(!declared.impersonate && !declared.transactions && declared.through.is_empty());
        assert_eq!(check(&[declared], &services()), Ok(()));
        let unknown = r#"{"name": "a", "actor": "orders", "target": "payments"}"#;
        assert!(serde_json::from_str::<DeclaredDelegation>(unknown).is_err());
        // A service that says nothing is written as before there was anything to say.
        let written = serde_json::to_value(&services()[0]).unwrap();
        assert!(written.get("delegation").is_none());
    }

    #[test]
    fn refuses_what_could_never_count_or_would_allow_too_much() {
        let names = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let roles = names(&["support"]);
        let cases = [
            (DeclaredDelegation { name: "A".into(), ..delegation() }, "a service name"),
            (DeclaredDelegation { actor: "usr_1".into(), ..delegation() }, "usr_"),
            (DeclaredDelegation { targets: vec![], ..delegation() }, "name `targets`"),
            (DeclaredDelegation { targets: names(&["nowhere"]), ..delegation() }, "no service"),
            (DeclaredDelegation { targets: names(&["users"]), ..delegation() }, "`callers`"),
            (DeclaredDelegation { through: names(&["web"]), ..delegation() }, "`callers`"),
            (DeclaredDelegation { roles: names(&["A"]), ..delegation() }, "a role name"),
            (DeclaredDelegation { scope: Some("a\"b".into()), ..delegation() }, "a scope"),
            (DeclaredDelegation { max_depth: Some(0), ..delegation() }, "max_depth"),
            (DeclaredDelegation { impersonate: true, ..delegation() }, "`roles`"),
            (
                DeclaredDelegation {
                    impersonate: true,
                    roles: roles.clone(),
                    through: names(&["batch"]),
                    ..delegation()
                },
                "`through`",
            ),
        ];
        for (declared, word) in cases {
            let told = rules(std::slice::from_ref(&declared));
            assert!(told.contains(word), "{declared:?}: {told}");
        }
        assert!(rules(&[delegation(), delegation()]).contains("twice"));
        let impersonates = DeclaredDelegation { impersonate: true, roles, ..delegation() };
        assert_eq!(check(&[impersonates], &services()), Ok(()));
        let through = DeclaredDelegation { through: names(&["batch"]), ..delegation() };
        assert_eq!(check(&[through], &services()), Ok(()));
        let transactions =
            DeclaredDelegation { targets: vec![], transactions: true, ..delegation() };
        assert_eq!(check(&[transactions], &services()), Ok(()));
    }
}
