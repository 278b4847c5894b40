use std::sync::Arc;

use proptest::{prelude::*, sample::select};

use super::*;
use crate::{Auth, Bundle, DecideBy, Requirement, Resource, Rules};

const HEADS: [&str; 5] = [
    "principal, action, resource",
    "principal in Tegata::Role::\"boss\", action, resource",
    "principal in Tegata::Role::\"suspended\", action, resource",
    "principal is Tegata::User, action in Tegata::Action::\"unsafe\", resource",
    "principal == Tegata::User::\"alice\", action, resource in Tegata::Service::\"orders\"",
];

const CONDITIONS: [&str; 8] = [
    "",
    "when { context.scopes.contains(\"orders.read\") }",
    "unless { context.scopes.contains(\"orders.read\") }",
    "unless { context has acr && context.acr == \"aal2\" }",
    "when { context has acr && context.acr == \"aal2\" && principal in Tegata::Role::\"clerk\" }",
    "when { context has auth_age && context.auth_age < 300 }",
    "unless { principal in Tegata::Role::\"boss\" || context.path == \"/\" }",
    "when { context has auth_age && context.auth_age + 9223372036854775807 > 1 }",
];

#[derive(Debug, Clone)]
struct Caller {
    kind: PrincipalKind,
    roles: Vec<String>,
    scopes: Vec<String>,
    acr: Option<String>,
    auth_age: Option<u64>,
}

type Policies = Vec<(String, String)>;

fn policies() -> impl Strategy<Value = Policies> {
    let effect = select(vec!["permit", "forbid"]);
    let one = (effect, select(HEADS.to_vec()), select(CONDITIONS.to_vec()));
    let one = one.prop_map(|(effect, head, condition)| format!("{effect} ({head}) {condition};"));
    let all = proptest::collection::vec(one, 0..5);
    all.prop_map(|all| {
        all.into_iter().enumerate().map(|(place, text)| (format!("p{place}"), text)).collect()
    })
}

fn caller() -> impl Strategy<Value = Caller> {
    let some = |all: &'static [&'static str]| {
        proptest::sample::subsequence(all, 0..=all.len())
            .prop_map(|names| names.into_iter().map(str::to_owned).collect::<Vec<_>>())
    };
    let kind = select(vec![PrincipalKind::User, PrincipalKind::User, PrincipalKind::Anonymous]);
    let acr = proptest::option::of(select(vec!["aal1".to_owned(), "aal2".to_owned()]));
    let age = proptest::option::of(select(vec![0_u64, 299, 300, 5_000]));
    (kind, some(&["boss", "clerk", "suspended"]), some(&["orders.read"]), acr, age).prop_map(
        |(kind, roles, scopes, acr, auth_age)| Caller { kind, roles, scopes, acr, auth_age },
    )
}

fn set(policies: &Policies, requirement: &Requirement) -> PolicySet {
    let text: String =
        policies.iter().map(|(id, text)| format!("@id(\"{id}\") {text}\n")).collect();
    let mut rules = Rules::default();
    rules.permit("orders", "/orders", requirement.clone());
    rules.bundle(Arc::new(Bundle::read([], [("a.cedar", text.as_str())]).unwrap()));
    PolicySet::compile(rules).unwrap()
}

fn explain(set: &PolicySet, caller: &Caller) -> Explanation {
    let (roles, scopes) = (caller.roles.iter(), caller.scopes.iter());
    let held = set.recognise(roles.map(String::as_str), scopes.map(String::as_str));
    let (acr, auth_age) = (caller.acr.as_deref(), caller.auth_age);
    let id = "alice";
    let principal = Principal { kind: caller.kind, id, held: &held, acr, auth_age, place: None };
    let action = Action { method: "GET", path: "/orders/1" };
    let resource = Resource { service: "orders", route: "/orders" };
    set.explain(&Request { principal, action, resource })
}

fn after(change: &Change, caller: &Caller, policies: &Policies) -> (Caller, Policies) {
    let mut caller = caller.clone();
    if change.authenticate {
        caller.kind = PrincipalKind::User;
    }
    caller.roles.extend(change.role.iter().chain(&change.more_roles).cloned());
    caller.scopes.extend(change.scopes.iter().cloned());
    caller.acr = change.acr.map(|level| level.as_str().to_owned()).or(caller.acr);
    caller.auth_age = change.max_age.map(MaxAge::secs).or(caller.auth_age);
    let lifted = |id: &str| change.lift_policies.iter().any(|lift| lift.as_str() == id);
    let mut policies: Policies = policies.iter().filter(|(id, _)| !lifted(id)).cloned().collect();
    if change.permit {
        policies.push(("new".to_owned(), "permit (principal, action, resource);".to_owned()));
    }
    (caller, policies)
}

fn smaller(change: &Change) -> Vec<Change> {
    let mut all = Vec::new();
    let mut push = |edit: &dyn Fn(&mut Change)| {
        let mut less = change.clone();
        edit(&mut less);
        if less != *change {
            all.push(less);
        }
    };
    push(&|c| c.authenticate = false);
    push(&|c| c.permit = false);
    push(&|c| c.role = None);
    push(&|c| c.acr = None);
    push(&|c| c.max_age = None);
    for place in 0..change.more_roles.len() {
        push(&|c| drop(c.more_roles.remove(place)));
    }
    for place in 0..change.scopes.len() {
        push(&|c| drop(c.scopes.remove(place)));
    }
    for place in 0..change.lift_policies.len() {
        push(&|c| drop(c.lift_policies.remove(place)));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn the_smallest_change_suffices_for_cedar_too(
        policies in policies(), caller in caller(),
        decide_by in select(vec![DecideBy::Table, DecideBy::Policies, DecideBy::Both]),
        auth in select(vec![Auth::Required, Auth::Optional]),
    ) {
        let roles = if decide_by == DecideBy::Both { vec!["clerk".to_owned()] } else { Vec::new() };
        let requirement = Requirement { auth, roles, decide_by, ..Requirement::default() };
        let explained = explain(&set(&policies, &requirement), &caller);
        let passes = |change: &Change| {
            let (caller, policies) = after(change, &caller, &policies);
            explain(&set(&policies, &requirement), &caller).allowed
        };
        prop_assert!(passes(&explained.change), "{:?}", explained);
        prop_assert_eq!(explained.allowed, explained.change == Change::default());
        for less in smaller(&explained.change) {
            prop_assert!(!passes(&less), "{:?} would do instead of {:?}", less, explained.change);
        }
    }
}

#[test]
fn what_permits_is_seen_beside_what_forbids() {
    let policies = vec![
        ("p0".to_owned(), "forbid (principal, action, resource);".to_owned()),
        ("p1".to_owned(), "permit (principal, action, resource);".to_owned()),
    ];
    let (kind, none) = (PrincipalKind::User, Vec::new());
    let caller = Caller { kind, roles: none.clone(), scopes: none, acr: None, auth_age: None };
    let requirement = Requirement { decide_by: DecideBy::Policies, ..Requirement::default() };
    let change = explain(&set(&policies, &requirement), &caller).change;
    assert_eq!(serde_json::to_value(change).unwrap(), serde_json::json!({"lift_policies": ["p0"]}));
}

#[test]
fn proposes_what_policies_of_this_route_name_however_many_others_there_are() {
    let mut policies: Policies = (0..200)
        .map(|n| {
            let text = format!("permit (principal in Tegata::Role::\"a{n}\", action, resource in Tegata::Service::\"other\");");
            (format!("p{n}"), text)
        })
        .collect();
    let text = "permit (principal in Tegata::Role::\"zoo-keeper\", action, resource in Tegata::Service::\"orders\");";
    policies.push(("here".to_owned(), text.to_owned()));
    let (kind, none) = (PrincipalKind::User, Vec::new());
    let caller = Caller { kind, roles: none.clone(), scopes: none, acr: None, auth_age: None };
    let requirement = Requirement { decide_by: DecideBy::Policies, ..Requirement::default() };
    let change = explain(&set(&policies, &requirement), &caller).change;
    assert_eq!(
        serde_json::to_value(change).unwrap(),
        serde_json::json!({"more_roles": ["zoo-keeper"]})
    );
}

#[test]
fn says_the_clause_its_place_and_what_it_looked_at() {
    let policies = vec![
        ("strong".to_owned(), "@reason(\"use a second factor\") forbid (principal, action, resource) unless { context has acr && context.acr == \"aal2\" };".to_owned()),
    ];
    let caller = Caller {
        kind: PrincipalKind::User,
        roles: vec!["clerk".to_owned(), "boss".to_owned()],
        scopes: Vec::new(),
        acr: None,
        auth_age: None,
    };
    let explained = explain(&set(&policies, &Requirement::default()), &caller);
    let text = format!("@id(\"strong\") {}", policies[0].1);
    assert_eq!(
        serde_json::to_value(&explained).unwrap(),
        serde_json::json!({
            "allowed": false,
            "reason": "policy_forbids",
            "rule": "orders:/orders",
            "policies": [{
                "id": "strong",
                "effect": "forbid",
                "file": "a.cedar",
                "line": 1,
                "annotations": {"reason": "use a second factor"},
                "text": text,
                "values": {
                    "principal": "Tegata::User::\"alice\"",
                    "action": "GET",
                    "roles": "clerk boss",
                    "context.acr": "(not known)",
                },
            }],
            "change": {"acr": "aal2"},
        })
    );
}
