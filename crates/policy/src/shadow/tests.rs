use std::sync::Arc;

use super::*;
use crate::{
    Action, Bundle, DecideBy, PolicySet, Principal, PrincipalKind, Requirement, Resource, Rules,
};

fn set(policies: &str) -> PolicySet {
    let mut rules = Rules::default();
    let decide_by = DecideBy::Policies;
    rules.permit("orders", "/orders", Requirement { decide_by, ..Requirement::default() });
    rules.bundle(Arc::new(Bundle::read([], [("a.cedar", policies)]).unwrap()));
    PolicySet::compile(rules).unwrap()
}

/// Asks both sets about each, all in the words of the first set, as the gateway keeps callers.
fn compare(decides: &PolicySet, tried: &PolicySet, asked: &[(&str, &str)]) -> ShadowReport {
    let mut report = ShadowReport::default();
    for (id, path) in asked {
        let held = decides.recognise(["clerk"], []);
        let kind = PrincipalKind::User;
        let principal = Principal { kind, id, held: &held, acr: None, auth_age: None, place: None };
        let action = Action { method: "GET", path };
        let resource = Resource { service: "orders", route: "/orders" };
        let request = Request { principal, action, resource };
        report.take(&request, &decides.decide(&request), &tried.decide(&request));
    }
    report
}

const PERMIT: &str = "@id(\"all\") permit (principal, action, resource);\n";

#[test]
fn the_report_of_a_shadow_names_each_difference_once() {
    let now = set(&format!(
        "{PERMIT}@id(\"no-bob\") forbid (principal == Tegata::User::\"bob\", action, resource);"
    ));
    let then = set(
        "@id(\"alice\") permit (principal == Tegata::User::\"alice\", action, resource);\n@id(\"bob\") permit (principal == Tegata::User::\"bob\", action, resource);",
    );
    let asked = [("alice", "/1"), ("bob", "/2"), ("carol", "/3"), ("dave", "/4"), ("bob", "/5")];
    let report = compare(&now, &then, &asked);
    assert_eq!((report.asked, report.differing, report.untold), (5, 4, 0));
    assert_eq!(
        serde_json::to_value(&report.differences).unwrap(),
        serde_json::json!([
            {
                "change": "would_allow", "rule": "orders:/orders",
                "decided": "policy_forbids", "decided_by": ["no-bob"],
                "tried": null, "tried_by": ["bob"],
                "count": 2,
                "first": {
                    "kind": "user", "principal": "bob", "method": "GET",
                    "service": "orders", "route": "/orders", "path": "/2",
                },
            },
            {
                "change": "would_deny", "rule": "orders:/orders",
                "decided": null, "decided_by": ["all"],
                "tried": "no_policy", "tried_by": [],
                "count": 2,
                "first": {
                    "kind": "user", "principal": "carol", "method": "GET",
                    "service": "orders", "route": "/orders", "path": "/3",
                },
            },
        ])
    );
}

#[test]
fn what_is_decided_by_others_alike_is_no_difference() {
    let (now, then) = (set(PERMIT), set(&PERMIT.replace("all", "everything")));
    let report = compare(&now, &then, &[("alice", "/1"), ("bob", "/2")]);
    assert_eq!((report.asked, report.differing), (2, 0));
    // The same refusal for another reason is one.
    let broken =
        set("@id(\"e\") forbid (principal, action, resource) when { context.path like \"*\" };");
    let report = compare(&set(""), &broken, &[("alice", "/1")]);
    assert_eq!(report.differences[0].kind.change, Differs::OtherReason);
}

#[test]
fn reports_of_several_threads_are_one_and_bounded() {
    let (now, then) = (set(PERMIT), set(""));
    let mut all = compare(&now, &then, &[("alice", "/1")]);
    all.merge(compare(&now, &then, &[("bob", "/2"), ("carol", "/3")]));
    assert_eq!((all.asked, all.differing, all.differences.len()), (3, 3, 1));
    assert_eq!(
        (all.differences[0].count, all.differences[0].first.principal.as_str()),
        (3, "alice")
    );

    let kind = all.differences[0].kind.clone();
    for n in 0..ShadowReport::DIFFERENCES + 5 {
        let rule = Some(RuleId::new(&format!("orders:/{n}")));
        let first = all.differences[0].first.clone();
        all.merge(ShadowReport {
            asked: 1,
            differing: 1,
            differences: vec![Difference { kind: Kind { rule, ..kind.clone() }, count: 1, first }],
            ..ShadowReport::default()
        });
    }
    assert_eq!(all.differences.len(), ShadowReport::DIFFERENCES);
    assert_eq!(all.untold, 6);
    let told: u64 = all.differences.iter().map(|difference| difference.count).sum();
    assert_eq!(told + all.untold, all.differing);
}

#[test]
fn a_long_path_is_cut_between_characters() {
    let path = format!("/{}", "é".repeat(400));
    let report = compare(&set(PERMIT), &set(""), &[("alice", &path)]);
    let kept = &report.differences[0].first.path;
    assert!(kept.len() <= 256 && path.starts_with(kept.as_str()));
}
