use std::{collections::BTreeSet, time::Duration};

use proptest::{collection::vec, prelude::*, sample::select};
use tegata_core::{Acr, MaxAge, StepUp};

use super::*;
use crate::{explain::Change, request::Resource};

const ROLES: [&str; 5] = ["admin", "auditor", "customer", "suspended", "unlisted"];
const SCOPES: [&str; 4] = ["orders.read", "orders.write", "all", "unlisted"];
const METHODS: [&str; 4] = ["GET", "POST", "DELETE", "PURGE"];
const ACRS: [&str; 3] = ["aal1", "aal2", "silver"];
const AGES: [u64; 3] = [0, 60, 3600];

/// A caller, as the tests write one.
#[derive(Debug, Clone)]
struct Caller {
    kind: PrincipalKind,
    id: String,
    roles: BTreeSet<String>,
    scopes: BTreeSet<String>,
    acr: Option<String>,
    auth_age: Option<u64>,
}

fn alice() -> Caller {
    Caller {
        kind: PrincipalKind::User,
        id: "usr_alice".to_owned(),
        roles: BTreeSet::from(["customer".to_owned()]),
        scopes: BTreeSet::from(["orders.read".to_owned()]),
        acr: Some("aal1".to_owned()),
        auth_age: Some(60),
    }
}

fn nobody() -> Caller {
    Caller {
        kind: PrincipalKind::Anonymous,
        id: String::new(),
        roles: BTreeSet::new(),
        scopes: BTreeSet::new(),
        acr: None,
        auth_age: None,
    }
}

fn orders() -> Requirement {
    Requirement {
        roles: vec!["customer".into(), "admin".into()],
        scopes: vec!["orders.read".into()],
        methods: vec!["GET".into(), "POST".into()],
        ..Requirement::default()
    }
}

fn rules(requirement: &Requirement, forbids: &[Forbid]) -> Rules {
    let mut rules = Rules::default();
    rules.permit("orders", "/orders", requirement.clone());
    for forbid in forbids {
        rules.forbid(forbid.clone());
    }
    rules
}

fn set(requirement: &Requirement, forbids: &[Forbid]) -> PolicySet {
    PolicySet::compile(rules(requirement, forbids)).unwrap()
}

fn with_request<T>(
    set: &PolicySet,
    caller: &Caller,
    method: &str,
    ask: impl FnOnce(&Request<'_>) -> T,
) -> T {
    let held = set.recognise(
        caller.roles.iter().map(String::as_str),
        caller.scopes.iter().map(String::as_str),
    );
    ask(&Request {
        principal: Principal {
            kind: caller.kind,
            id: &caller.id,
            held: &held,
            acr: caller.acr.as_deref(),
            auth_age: caller.auth_age,
            place: None,
        },
        action: Action { method, path: "/orders/1" },
        resource: Resource { service: "orders", route: "/orders" },
    })
}

fn reason(set: &PolicySet, caller: &Caller, method: &str) -> Option<ReasonId> {
    with_request(set, caller, method, |request| set.decide(request).reason())
}

fn change(set: &PolicySet, caller: &Caller, method: &str) -> Change {
    with_request(set, caller, method, |request| set.explain(request).change)
}

#[test]
fn denies_what_no_rule_permits() {
    let set = set(&orders(), &[]);
    with_request(&set, &alice(), "GET", |request| {
        for (service, route) in [("orders", "/"), ("payments", "/orders"), ("", "")] {
            let elsewhere = Request { resource: Resource { service, route }, ..*request };
            let decision = set.decide(&elsewhere);
            assert_eq!(
                decision,
                Decision::Deny { reason: ReasonId::NoRule, rule: None, policies: Vec::new() }
            );
            assert!(set.explain(&elsewhere).change.add_rule);
        }
    });
    with_request(&PolicySet::default(), &alice(), "GET", |request| {
        assert!(!PolicySet::default().decide(request).is_allowed());
    });
}

#[test]
fn allows_what_meets_the_whole_requirement_and_names_the_rule() {
    let set = set(&orders(), &[]);
    with_request(&set, &alice(), "GET", |request| {
        let Decision::Allow { rule, .. } = set.decide(request) else { panic!("denied") };
        assert_eq!(rule.as_str(), "orders:/orders");
    });
}

#[test]
fn names_what_is_missing() {
    let step_up = Requirement { step_up: StepUp::to(Acr::Aal2), ..orders() };
    let without = |edit: fn(&mut Caller)| {
        let mut caller = alice();
        edit(&mut caller);
        caller
    };
    let set_orders = set(&orders(), &[]);
    for (caller, method, expected) in [
        (nobody(), "GET", ReasonId::NotAuthenticated),
        (nobody(), "DELETE", ReasonId::NotAuthenticated),
        (alice(), "DELETE", ReasonId::MethodNotAllowed),
        (alice(), "get", ReasonId::MethodNotAllowed),
        (without(|caller| caller.roles.clear()), "GET", ReasonId::MissingRole),
        (without(|caller| caller.scopes.clear()), "GET", ReasonId::MissingScope),
    ] {
        assert_eq!(reason(&set_orders, &caller, method), Some(expected));
    }
    let set = set(&step_up, &[]);
    assert_eq!(reason(&set, &alice(), "GET"), Some(ReasonId::InsufficientAcr));
    assert_eq!(reason(&set, &without(|c| c.acr = None), "GET"), Some(ReasonId::InsufficientAcr));
    assert_eq!(reason(&set, &without(|c| c.acr = Some("aal3".into())), "GET"), None);
}

#[test]
fn how_strongly_is_asked_before_how_long_ago() {
    let minute = StepUp::to(Acr::Aal2).within(Duration::from_secs(60));
    let set = set(&Requirement { step_up: minute, ..orders() }, &[]);
    for (acr, auth_age, expected) in [
        (Some("aal2"), Some(60), None),
        (Some("aal2"), Some(61), Some(ReasonId::AuthenticationTooOld)),
        (Some("aal2"), None, Some(ReasonId::AuthenticationTooOld)),
        (Some("aal1"), Some(0), Some(ReasonId::InsufficientAcr)),
        (Some("aal1"), Some(61), Some(ReasonId::InsufficientAcr)),
        (None, None, Some(ReasonId::InsufficientAcr)),
    ] {
        let caller = Caller { acr: acr.map(str::to_owned), auth_age, ..alice() };
        assert_eq!(reason(&set, &caller, "GET"), expected, "{acr:?} {auth_age:?}");
    }
}

#[test]
fn roles_of_nobody_open_nothing() {
    let set = set(&orders(), &[]);
    let forged = Caller { kind: PrincipalKind::Anonymous, ..alice() };
    assert_eq!(reason(&set, &forged, "GET"), Some(ReasonId::NotAuthenticated));
    let optional = Requirement { auth: Auth::Optional, ..orders() };
    assert_eq!(
        reason(&self::set(&optional, &[]), &forged, "GET"),
        Some(ReasonId::NotAuthenticated)
    );
}

#[test]
fn optional_and_open_routes_pass_nobody() {
    for auth in [Auth::Optional, Auth::None] {
        let open = Requirement { auth, ..Requirement::default() };
        assert_eq!(reason(&set(&open, &[]), &nobody(), "GET"), None);
    }
    let required = set(&Requirement::default(), &[]);
    assert_eq!(reason(&required, &nobody(), "GET"), Some(ReasonId::NotAuthenticated));
}

#[test]
fn each_list_of_a_forbid_narrows_it() {
    let none = Forbid::named("f");
    let here = Forbid {
        services: vec!["orders".into()],
        routes: vec!["/x".into(), "/orders".into()],
        methods: vec!["POST".into()],
        kinds: vec![PrincipalKind::User],
        principals: vec!["usr_alice".into()],
        roles: vec!["customer".into()],
        scopes: vec!["orders.read".into()],
        ..none.clone()
    };
    let refused = |forbid: &Forbid, method| {
        reason(&set(&orders(), std::slice::from_ref(forbid)), &alice(), method)
            == Some(ReasonId::Forbidden)
    };
    assert!(refused(&none, "GET") && refused(&here, "POST") && !refused(&here, "GET"));
    for other in [
        Forbid { services: vec!["payments".into()], ..here.clone() },
        Forbid { routes: vec!["/order".into()], ..here.clone() },
        Forbid { kinds: vec![PrincipalKind::Service], ..here.clone() },
        Forbid { principals: vec!["usr_bob".into()], ..here.clone() },
        Forbid { roles: vec!["admin".into()], ..here.clone() },
        Forbid { scopes: vec!["orders.write".into()], ..here },
    ] {
        assert!(!refused(&other, "POST"), "{other:?}");
    }
}

#[test]
fn refuses_rules_that_contradict_themselves() {
    let compile = |requirement: Requirement, forbids: &[Forbid]| {
        PolicySet::compile(rules(&requirement, forbids)).err()
    };
    let minute = StepUp::default().within(Duration::from_secs(60));
    for (asked, expected) in [
        (orders(), "roles"),
        (Requirement { step_up: StepUp::to(Acr::Aal1), ..Requirement::default() }, "acr"),
        (Requirement { step_up: minute, ..Requirement::default() }, "max_age"),
    ] {
        let open = Requirement { auth: Auth::None, ..asked };
        let refused = compile(open, &[]);
        assert!(
            matches!(refused, Some(InvalidRules::OpenYetRestricted { key, .. }) if key == expected)
        );
    }
    let twice = [Forbid::named("a"), Forbid::named("a")];
    assert_eq!(compile(orders(), &twice), Some(InvalidRules::DuplicateForbid("a".into())));
    assert_eq!(compile(orders(), &[Forbid::named("")]), Some(InvalidRules::UnnamedForbid));
    let mut double = rules(&orders(), &[]);
    double.permit("orders", "/orders", Requirement { auth: Auth::None, ..Requirement::default() });
    assert!(matches!(PolicySet::compile(double), Err(InvalidRules::DuplicateRoute { .. })));
}

#[test]
fn a_caller_recognised_by_older_rules_is_judged_by_the_newer() {
    let older = set(&orders(), &[]);
    let held = older.recognise(["customer", "suspended"], ["orders.read"]);
    let forbid = Forbid { roles: vec!["suspended".into()], ..Forbid::named("no-suspended") };
    let newer = set(&orders(), &[forbid]);
    let rule = newer.route("orders", "/orders").unwrap();
    let principal = Principal {
        kind: PrincipalKind::User,
        id: "usr_alice",
        held: &held,
        acr: None,
        auth_age: None,
        place: None,
    };
    let decision = rule.decide(&principal, Action { method: "GET", path: "/orders/1" });
    assert_eq!(decision.reason(), Some(ReasonId::Forbidden));
}

#[test]
fn says_the_smallest_change_as_data() {
    let set = set(&orders(), &[]);
    let bare = Caller { roles: BTreeSet::new(), scopes: BTreeSet::new(), ..alice() };
    let explained = with_request(&set, &bare, "DELETE", |request| set.explain(request));
    assert_eq!(
        serde_json::to_value(explained).unwrap(),
        serde_json::json!({
            "allowed": false,
            "reason": "method_not_allowed",
            "rule": "orders:/orders",
            "change": {"method": "GET", "role": "customer", "scopes": ["orders.read"]},
        })
    );
}

#[test]
fn proposes_no_role_that_is_itself_forbidden() {
    let forbid = Forbid { roles: vec!["customer".into()], ..Forbid::named("no-customers") };
    let set = set(&orders(), &[forbid]);
    let bare = Caller { roles: BTreeSet::new(), ..alice() };
    let change = change(&set, &bare, "GET");
    assert_eq!((change.role.as_deref(), change.lift.len()), (Some("admin"), 0));
}

fn names(from: &'static [&'static str]) -> impl Strategy<Value = Vec<String>> {
    proptest::sample::subsequence(from, 0..=from.len())
        .prop_map(|names| names.into_iter().map(str::to_owned).collect())
}

fn caller() -> impl Strategy<Value = Caller> {
    let kind = select(vec![
        PrincipalKind::Anonymous,
        PrincipalKind::User,
        PrincipalKind::Client,
        PrincipalKind::Service,
    ]);
    let id = select(vec!["usr_alice", "usr_bob", "checkout"]);
    let acr = proptest::option::of(select(ACRS.to_vec()));
    let auth = (acr, proptest::option::of(select(AGES.to_vec())));
    (kind, id, names(&ROLES), names(&SCOPES), auth).prop_map(|(kind, id, roles, scopes, auth)| {
        Caller {
            kind,
            id: id.to_owned(),
            roles: roles.into_iter().collect(),
            scopes: scopes.into_iter().collect(),
            acr: auth.0.map(str::to_owned),
            auth_age: auth.1,
        }
    })
}

fn requirement() -> impl Strategy<Value = Requirement> {
    let auth = select(vec![Auth::Required, Auth::Optional, Auth::None]);
    let names = (names(&ROLES[..3]), names(&SCOPES[..3]), names(&METHODS));
    (auth, names, step_up()).prop_map(|(auth, (roles, scopes, methods), step_up)| match auth {
        Auth::None => Requirement { auth, methods, ..Requirement::default() },
        _ => Requirement { auth, roles, scopes, methods, step_up, ..Requirement::default() },
    })
}

fn step_up() -> impl Strategy<Value = StepUp> {
    let acr = proptest::sample::subsequence(Acr::REACHED.to_vec(), 0..=2).prop_shuffle();
    let max_age = proptest::option::of(select(vec![1, 60, 300]));
    let max_age = max_age.prop_map(|age| age.map(|secs| MaxAge::of(Duration::from_secs(secs))));
    (acr, max_age).prop_map(|(acr, max_age)| StepUp { acr, max_age })
}

fn forbids() -> impl Strategy<Value = Vec<Forbid>> {
    let few = |from: &'static [&'static str]| prop_oneof![2 => Just(Vec::new()), 1 => names(from)];
    let kinds = proptest::option::of(select(vec![PrincipalKind::User, PrincipalKind::Service]));
    let principals = proptest::option::of(select(vec!["usr_alice", "checkout"]));
    let forbid = (few(&METHODS), kinds, principals, few(&ROLES), few(&SCOPES));
    vec(forbid, 0..3).prop_map(|forbids| {
        let numbered = forbids.into_iter().enumerate();
        numbered
            .map(|(number, (methods, kinds, principals, roles, scopes))| Forbid {
                methods,
                kinds: kinds.into_iter().collect(),
                principals: principals.into_iter().map(str::to_owned).collect(),
                roles,
                scopes,
                ..Forbid::named(&format!("f{number}"))
            })
            .collect()
    })
}

/// The caller, the method and the forbids after a change.
fn apply(
    change: &Change,
    caller: &Caller,
    method: &str,
    forbids: &[Forbid],
) -> (Caller, String, Vec<Forbid>) {
    let mut caller = caller.clone();
    if change.authenticate {
        caller.kind = PrincipalKind::User;
    }
    caller.roles.extend(change.role.clone());
    caller.scopes.extend(change.scopes.iter().cloned());
    caller.acr = change.acr.map(|level| level.as_str().to_owned()).or(caller.acr);
    caller.auth_age = change.max_age.map(MaxAge::secs).or(caller.auth_age);
    let method = change.method.clone().unwrap_or_else(|| method.to_owned());
    let lifted = |forbid: &&Forbid| change.lift.iter().any(|id| id.as_str() == forbid.id);
    (caller, method, forbids.iter().filter(|forbid| !lifted(forbid)).cloned().collect())
}

/// Every change that lacks one part of `change`.
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
    push(&|c| c.method = None);
    push(&|c| c.role = None);
    push(&|c| c.acr = None);
    push(&|c| c.max_age = None);
    for index in 0..change.scopes.len() {
        push(&|c| drop(c.scopes.remove(index)));
    }
    for index in 0..change.lift.len() {
        push(&|c| drop(c.lift.remove(index)));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn more_roles_and_scopes_never_deny_unless_a_forbid_names_them(
        requirement in requirement(), forbids in forbids(), caller in caller(),
        roles in names(&ROLES), scopes in names(&SCOPES), method in select(METHODS.to_vec()),
    ) {
        let set = set(&requirement, &forbids);
        let named = |role: &String, lists: fn(&Forbid) -> &Vec<String>| {
            forbids.iter().any(|forbid| lists(forbid).contains(role))
        };
        let mut more = caller.clone();
        more.roles.extend(roles.into_iter().filter(|role| !named(role, |f| &f.roles)));
        more.scopes.extend(scopes.into_iter().filter(|scope| !named(scope, |f| &f.scopes)));
        if reason(&set, &caller, method).is_none() {
            prop_assert_eq!(reason(&set, &more, method), None);
        }
    }

    #[test]
    fn a_forbid_that_matches_always_wins(
        requirement in requirement(), forbids in forbids(), caller in caller(),
        method in select(METHODS.to_vec()),
    ) {
        let one_of = |list: &[String], name: &str| {
            list.is_empty() || list.iter().any(|entry| entry == name)
        };
        let any_of = |list: &[String], held: &BTreeSet<String>| {
            list.is_empty() || list.iter().any(|entry| held.contains(entry))
        };
        let matches = forbids.iter().any(|forbid| {
            one_of(&forbid.methods, method)
                && (forbid.kinds.is_empty() || forbid.kinds.contains(&caller.kind))
                && one_of(&forbid.principals, &caller.id)
                && any_of(&forbid.roles, &caller.roles)
                && any_of(&forbid.scopes, &caller.scopes)
        });
        let found = reason(&set(&requirement, &forbids), &caller, method);
        prop_assert_eq!(found == Some(ReasonId::Forbidden), matches);
    }

    #[test]
    fn a_strange_id_decides_like_an_opaque_one(
        requirement in requirement(), forbids in forbids(), caller in caller(),
        method in select(METHODS.to_vec()), id in any::<String>(), role in any::<String>(),
    ) {
        let set = set(&requirement, &forbids);
        let mut strange = Caller { id, ..caller.clone() };
        strange.roles.insert(role);
        let mut opaque = Caller { id: "opaque".to_owned(), ..caller };
        opaque.roles.insert("opaque".to_owned());
        prop_assert_eq!(reason(&set, &strange, method), reason(&set, &opaque, method));
    }

    #[test]
    fn the_change_suffices_and_no_part_of_it_can_be_left_out(
        requirement in requirement(), forbids in forbids(), caller in caller(),
        method in select(METHODS.to_vec()),
    ) {
        let before = set(&requirement, &forbids);
        let change = change(&before, &caller, method);
        let after = |change: &Change| {
            let (caller, method, forbids) = apply(change, &caller, method, &forbids);
            reason(&set(&requirement, &forbids), &caller, &method)
        };
        prop_assert_eq!(after(&change), None, "{:?}", change);
        for less in smaller(&change) {
            prop_assert!(after(&less).is_some(), "{:?} would do", less);
        }
        prop_assert_eq!(change == Change::default(), reason(&before, &caller, method).is_none());
    }
}
