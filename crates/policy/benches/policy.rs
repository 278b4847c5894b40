//! What a decision costs with 10, 100 and 1,000 policies: by Cedar's own authorizer over the whole set,
//! by ours about arbitrary things, and about a request to a service, with the table of routes in front.
//!
//! The policies are those of the anchor that the goals were set by: one for each of as many groups and
//! folders, of which a caller is in five and a document in one, and one that forbids.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]
#![expect(clippy::print_stdout, reason = "a benchmark is run to be read")]

use std::{fmt::Write as _, sync::Arc};

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, PolicySet as CedarSet,
    Request as CedarRequest,
};
use serde_json::{Map, Value, json};
use tegata_policy::{
    Action, Bundle, DecideBy, Evaluation, Held, PolicySet, Principal, PrincipalKind, Requirement,
    RouteRule, Rules, Thing,
};
use tegata_rounds::{Effort, Table, Turns, median, timed};

const SIZES: [usize; 3] = [10, 100, 1_000];

const SCHEMA: &str = "namespace Shop {
  entity Group, Folder;
  entity User in [Group] { dept: String };
  entity Doc in [Folder] { level: Long };
  action \"read\" appliesTo { principal: [User], resource: [Doc], context: { mfa: Bool, risk: Long } };
}";

fn main() {
    let effort = Effort::asked();
    for size in SIZES {
        let text = Things::policies(size);
        let (bundle, took) = timed(|| Things::read(&text));
        assert_eq!(bundle.policies().len(), size + 1);
        println!("{size} policies are read and checked in {:.1} ms", took.as_secs_f64() * 1e3);
    }
    let sizes: Vec<_> = SIZES.iter().map(|size| Things::new(*size)).collect();
    let mut turns = Turns::new("a decision about a document");
    for things in &sizes {
        things.check();
        let size = things.size;
        turns = turns
            .case(format!("evaluate, {size} policies, allowed"), || things.evaluate("d"))
            .case(format!("evaluate, {size} policies, denied"), || things.evaluate("x"));
    }
    for things in &sizes {
        let size = things.size;
        turns = turns
            .case(format!("cedar-policy, {size} policies, allowed"), || {
                things.cedar(&things.allowed)
            })
            .case(format!("cedar-policy, {size} policies, denied"), || {
                things.cedar(&things.denied)
            });
    }
    let table = turns.measure(effort);
    per_second(&table, "evaluate");
    per_second(&table, "cedar-policy");
    for asked in ["allowed", "denied"] {
        let ours = |size: usize| format!("evaluate, {size} policies, {asked}");
        let growth = median(&table.ratios(&ours(1_000), &ours(10)));
        let cedar = format!("cedar-policy, 1000 policies, {asked}");
        let faster = median(&table.ratios(&cedar, &ours(1_000)));
        println!(
            "{asked}: 1,000 policies take {growth:.2} times as long as 10; cedar-policy takes {faster:.0} times as long as that"
        );
    }

    let routes: Vec<_> = SIZES.iter().map(|size| Routes::new(*size)).collect();
    let mut turns = Turns::new("a decision about a request to a service");
    if let Some(first) = routes.first() {
        turns = turns.case("the table alone", || first.alone.allows());
    }
    for routes in &routes {
        let size = routes.size;
        turns = turns
            .case(format!("the table, {size} policies, none can match"), || routes.aside.allows())
            .case(format!("the table, {size} policies, one is asked"), || routes.beside.allows())
            .case(format!("policies alone, {size} policies, one is asked"), || {
                routes.only.allows()
            });
    }
    let table = turns.measure(effort);
    per_second(&table, "the table");
    per_second(&table, "policies alone");
}

/// Decisions per second, of one core.
fn per_second(table: &Table, what: &str) {
    let sizes = SIZES.iter().flat_map(|size| {
        ["allowed", "denied", "none can match", "one is asked"]
            .map(|asked| format!("{what}, {size} policies, {asked}"))
    });
    for row in sizes.chain([format!("{what} alone")]) {
        let figures = table.figures(&row);
        if !figures.is_empty() {
            println!("{row}: {:.0} decisions a second", 1e9 / median(figures));
        }
    }
}

/// Documents in folders, and who may read them.
struct Things {
    size: usize,
    ours: PolicySet,
    whole: CedarSet,
    entities: Entities,
    allowed: CedarRequest,
    denied: CedarRequest,
    subject: Map<String, Value>,
    document: Map<String, Value>,
    context: Map<String, Value>,
}

impl Things {
    /// One for each group and folder, and one that forbids.
    fn policies(size: usize) -> String {
        let mut text = String::new();
        for n in 0..size {
            let level = n % 7 + 1;
            writeln!(
                text,
                "@id(\"p{n}\") permit (principal in Shop::Group::\"g{n}\", action == Shop::Action::\"read\", \
                 resource in Shop::Folder::\"f{n}\") when {{ context.mfa && resource.level <= {level} }};"
            )
            .unwrap();
        }
        text += "@id(\"risk\") forbid (principal, action == Shop::Action::\"read\", resource) when { context.risk > 80 };";
        text
    }

    fn read(policies: &str) -> Bundle {
        Bundle::read([("shop.cedarschema", SCHEMA)], [("shop.cedar", policies)]).unwrap()
    }

    fn new(size: usize) -> Self {
        let text = Self::policies(size);
        let mut rules = Rules::default();
        rules.bundle(Arc::new(Self::read(&text)));

        let groups: Vec<Value> = (0..5)
            .map(|n| json!({"type": "Shop::Group", "id": format!("g{}", n * size / 5)}))
            .collect();
        let folder = json!([{"type": "Shop::Folder", "id": format!("f{}", 4 * size / 5)}]);
        let mut all = vec![
            json!({"uid": {"type": "Shop::User", "id": "u"}, "attrs": {"dept": "eng"}, "parents": groups}),
            json!({"uid": {"type": "Shop::Doc", "id": "d"}, "attrs": {"level": 1}, "parents": folder}),
            json!({"uid": {"type": "Shop::Doc", "id": "x"}, "attrs": {"level": 1}, "parents": []}),
        ];
        for n in 0..size {
            for (kind, id) in [("Group", format!("g{n}")), ("Folder", format!("f{n}"))] {
                let uid = json!({"type": format!("Shop::{kind}"), "id": id});
                all.push(json!({"uid": uid, "attrs": {}, "parents": []}));
            }
        }
        let context = json!({"mfa": true, "risk": 10});
        let request = |document: &str| {
            CedarRequest::new(
                "Shop::User::\"u\"".parse().unwrap(),
                "Shop::Action::\"read\"".parse().unwrap(),
                format!("Shop::Doc::\"{document}\"").parse().unwrap(),
                Context::from_json_value(context.clone(), None).unwrap(),
                None,
            )
            .unwrap()
        };
        let object = |value: Value| value.as_object().cloned().unwrap();
        Self {
            size,
            ours: PolicySet::compile(rules).unwrap(),
            whole: text.parse().unwrap(),
            entities: Entities::from_json_value(Value::Array(all), None).unwrap(),
            allowed: request("d"),
            denied: request("x"),
            subject: object(json!({"dept": "eng", "parents": groups})),
            document: object(json!({"level": 1, "parents": folder})),
            context: object(context.clone()),
        }
    }

    /// Out of what somebody sends, up to the answer.
    fn evaluate(&self, document: &str) -> bool {
        let nothing = Map::new();
        let outside = Map::from_iter([("level".to_owned(), json!(1))]);
        let properties = if document == "d" { &self.document } else { &outside };
        let asked = Evaluation {
            subject: Thing { kind: "Shop::User", id: "u", properties: &self.subject },
            action: "read",
            action_properties: &nothing,
            resource: Thing { kind: "Shop::Doc", id: document, properties },
            context: &self.context,
            now: None,
        };
        self.ours.evaluate(&asked).is_allowed()
    }

    /// Everything is made for it beforehand.
    fn cedar(&self, request: &CedarRequest) -> bool {
        let response = Authorizer::new().is_authorized(request, &self.whole, &self.entities);
        response.decision() == CedarDecision::Allow
    }

    fn check(&self) {
        assert!(self.evaluate("d") && self.cedar(&self.allowed));
        assert!(!self.evaluate("x") && !self.cedar(&self.denied));
    }
}

/// One route of a service, and policies about it or others.
struct Routes {
    size: usize,
    /// Without policies.
    alone: Asked,
    /// With policies about other services.
    aside: Asked,
    /// With policies of which one can match.
    beside: Asked,
    /// The same, which have to permit it.
    only: Asked,
}

/// A request to a route.
struct Asked {
    rule: Arc<RouteRule>,
    held: Held,
}

impl Routes {
    fn new(size: usize) -> Self {
        let policies = |effect: &str, service: &str| {
            let mut text = String::new();
            for n in 0..size {
                writeln!(
                    text,
                    "@id(\"p{n}\") {effect} (principal in Tegata::Role::\"r{n}\", action in Tegata::Action::\"safe\", \
                     resource in Tegata::Service::\"{service}\") {} {{ context has acr && context.acr == \"aal2\" }};",
                    if effect == "permit" { "when" } else { "unless" },
                )
                .unwrap();
            }
            text
        };
        let roles = vec![format!("r{}", size / 2)];
        let asked = |decide_by, policies: Option<&str>| {
            let asked = if decide_by == DecideBy::Policies { Vec::new() } else { roles.clone() };
            let requirement = Requirement { roles: asked, decide_by, ..Requirement::default() };
            let mut rules = Rules::default();
            rules.permit("orders", "/orders", requirement);
            if let Some(text) = policies {
                rules.bundle(Arc::new(Bundle::read([], [("shop.cedar", text)]).unwrap()));
            }
            let set = PolicySet::compile(rules).unwrap();
            let names = ["customer", "reader", "eng", "kyoto", roles.first().unwrap().as_str()];
            let held = set.recognise(names, ["orders.read"]);
            let rule = Arc::clone(set.route("orders", "/orders").unwrap());
            let asked = Asked { rule, held };
            assert!(asked.allows());
            asked
        };
        Self {
            size,
            alone: asked(DecideBy::Table, None),
            aside: asked(DecideBy::Table, Some(&policies("forbid", "payments"))),
            beside: asked(DecideBy::Table, Some(&policies("forbid", "orders"))),
            only: asked(DecideBy::Policies, Some(&policies("permit", "orders"))),
        }
    }
}

impl Asked {
    fn allows(&self) -> bool {
        let principal = Principal {
            kind: PrincipalKind::User,
            id: "usr_0123456789abcdefghijkl",
            held: &self.held,
            acr: Some("aal2"),
            auth_age: None,
            place: None,
        };
        self.rule.decide(&principal, Action { method: "GET", path: "/orders/1" }).is_allowed()
    }
}
