//! What a request says, as things and values that policies know: no text becomes policy, a strange id decides like an
//! opaque one, and whatever AuthZEN sends is answered.
#![no_main]

use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use tegata_policy::{Bundle, Evaluation, PolicySet, ReasonId, Rules, Thing};

const SCHEMA: &str = "namespace Shop {
  entity Team in [Team];
  entity Person in [Team] { level?: Long, friend?: Person, home?: { city?: String, tags?: Set<String> } };
  entity Paper in [Team] { owner?: Person, from?: ipaddr, price?: decimal, due?: datetime, readers?: Set<Person> };
  action \"read\" appliesTo { principal: [Person], resource: [Paper, Person], context: { n?: Long, name?: String } };
}";

const POLICIES: &str = "permit (principal == Shop::Person::\"known\", action, resource);
permit (principal in Shop::Team::\"known\", action, resource is Shop::Paper);
forbid (principal, action, resource in Shop::Team::\"known\");
forbid (principal, action, resource) when { context has n && context.n + 1 > 1000 };
forbid (principal, action, resource) when { principal has friend && principal.friend == resource };";

static SET: LazyLock<PolicySet> = LazyLock::new(|| {
    let bundle = Bundle::read([("a", SCHEMA)], [("b", POLICIES)]).expect("it was written to be");
    let mut rules = Rules::default();
    rules.bundle(Arc::new(bundle));
    PolicySet::compile(rules).expect("there is no rule to contradict another")
});

fuzz_target!(|text: &str| {
    if text != "known" {
        for place in 0..4 {
            let with = |id: &str| ask(&by_id(place, id));
            assert_eq!(with(text), with("opaque"), "at {place}");
        }
    }
    if let Ok(asked) = serde_json::from_str::<Value>(text) {
        ask(&asked);
    }
});

/// A request in which one id, or a text, is another.
fn by_id(place: usize, id: &str) -> Value {
    let at = |own: usize, other: &str| Value::from(if place == own { id } else { other });
    serde_json::json!({
        "subject": {"type": "Shop::Person", "id": at(0, "known"), "properties": {
            "parents": [{"type": "Shop::Team", "id": at(1, "known")}],
        }},
        "action": {"name": "read"},
        "resource": {"type": "Shop::Paper", "id": at(2, "paper")},
        "context": {"name": at(3, "name")},
    })
}

fn ask(asked: &Value) -> Option<ReasonId> {
    let empty = Map::new();
    let thing = |name: &str| asked.get(name).unwrap_or(&Value::Null);
    let text = |of: &str, name: &str| {
        thing(of).get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let properties = |of: &str| {
        thing(of).get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
    };
    let of = |name: &str| (text(name, "type"), text(name, "id"), properties(name));
    let (subject, resource, action) = (of("subject"), of("resource"), of("action"));
    let answer = SET.evaluate(&Evaluation {
        subject: Thing { kind: &subject.0, id: &subject.1, properties: &subject.2 },
        action: &text("action", "name"),
        action_properties: &action.2,
        resource: Thing { kind: &resource.0, id: &resource.1, properties: &resource.2 },
        context: thing("context").as_object().unwrap_or(&empty),
        now: None,
    });
    let explained = answer.about.is_some();
    let about = [ReasonId::UnknownType, ReasonId::UnknownAction, ReasonId::InvalidValue, ReasonId::NoRule];
    assert_eq!(explained, answer.reason.is_some_and(|reason| about.contains(&reason)));
    answer.reason
}
