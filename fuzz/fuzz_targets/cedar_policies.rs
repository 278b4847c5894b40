//! Files of policies, and of schemas (before a line `---`): none makes the program stop or runs out of stack, what is loaded
//! can be asked, and what is refused says where.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tegata_policy::{
    Action, Bundle, DecideBy, InvalidBundle, PolicySet, Principal, PrincipalKind, Requirement,
    Rules,
};

fuzz_target!(|text: &str| {
    let (schema, policies) = text.split_once("\n---\n").unwrap_or(("", text));
    match Bundle::read([("fuzz.cedarschema", schema)], [("fuzz.cedar", policies)]) {
        Ok(bundle) => {
            for policy in bundle.policies() {
                assert!(policies.contains(&*policy.text));
                assert_eq!(bundle.policy(policy.id.as_str()), Some(policy));
            }
            let mut rules = Rules::default();
            let decide_by = DecideBy::Both;
            rules.permit("orders", "/orders", Requirement { decide_by, ..Requirement::default() });
            rules.bundle(Arc::new(bundle));
            let set = PolicySet::compile(rules).expect("one route contradicts nothing");
            let held = set.recognise(["clerk"], ["orders.read"]);
            let kind = PrincipalKind::User;
            let principal =
                Principal { kind, id: "u", held: &held, acr: None, auth_age: None, place: None };
            let rule = set.route("orders", "/orders").expect("it was just declared");
            let decision = rule.decide(&principal, Action { method: "GET", path: "/orders" });
            // What is allowed on such a route is permitted by somebody.
            assert!(!decision.is_allowed() || !decision.policies().is_empty());
        }
        Err(InvalidBundle { faults }) => {
            assert!((1..=InvalidBundle::SHOWN).contains(&faults.len()));
            assert!(faults.iter().all(|fault| fault.line > 0 && fault.column > 0));
        }
    }
});
