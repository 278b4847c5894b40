use std::{collections::BTreeSet, fmt::Write as _, net::IpAddr};

use cedar_policy::{Decision as CedarDecision, PolicySet as CedarSet};
use serde_json::{Map, Value, json};

use super::*;
use crate::{
    Answer, DecideBy, Decision, Evaluation, Forbid, Place, PolicySet, Requirement, Rules, Thing,
    Within,
};

/// Numbers that are the same each time (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }

    fn some<'a>(&mut self, all: &[&'a str]) -> Vec<&'a str> {
        all.iter().copied().filter(|_| self.below(3) == 0).collect()
    }
}

fn bundle(schema: &str, policies: &str) -> Arc<Bundle> {
    let read = Bundle::read([("own.cedarschema", schema)], [("some.cedar", policies)]);
    Arc::new(read.unwrap_or_else(|found| panic!("{found}\n{policies}")))
}

/// A set with one route, `orders:/orders`.
fn routed(requirement: Requirement, policies: &str) -> PolicySet {
    with_bundle(requirement, bundle("", policies))
}

fn with_bundle(requirement: Requirement, bundle: Arc<Bundle>) -> PolicySet {
    let mut rules = Rules::default();
    rules.permit("orders", "/orders", requirement);
    rules.bundle(bundle);
    PolicySet::compile(rules).unwrap()
}

fn by_policies() -> Requirement {
    Requirement { decide_by: DecideBy::Policies, ..Requirement::default() }
}

/// Somebody who asks for something.
#[derive(Debug, Clone)]
struct Caller<'a> {
    kind: PrincipalKind,
    id: &'a str,
    roles: Vec<&'a str>,
    scopes: Vec<&'a str>,
    acr: Option<&'a str>,
    auth_age: Option<u64>,
    place: Option<Place>,
    method: &'a str,
    path: &'a str,
}

const ALICE: Caller<'_> = Caller {
    kind: PrincipalKind::User,
    id: "alice",
    roles: Vec::new(),
    scopes: Vec::new(),
    acr: None,
    auth_age: None,
    place: None,
    method: "GET",
    path: "/orders/1",
};

impl Caller<'_> {
    fn asks<T>(&self, set: &PolicySet, take: impl FnOnce(Decision<'_>) -> T) -> T {
        let held = set.recognise(self.roles.iter().copied(), self.scopes.iter().copied());
        let Self { kind, id, acr, auth_age, place, method, path, .. } = *self;
        let principal = Principal { kind, id, held: &held, acr, auth_age, place };
        take(set.route("orders", "/orders").unwrap().decide(&principal, Action { method, path }))
    }

    fn reason(&self, set: &PolicySet) -> Option<ReasonId> {
        self.asks(set, |decision| decision.reason())
    }
}

fn ids(policies: &[&Policy]) -> BTreeSet<String> {
    policies.iter().map(|policy| policy.id.to_string()).collect()
}

/// What Cedar's own authorizer says of a whole set: whether it permits, what determined that, and which
/// forbids it left out because of errors.
fn oracle(
    set: &CedarSet,
    request: &CedarRequest,
    entities: &Entities,
) -> (bool, BTreeSet<String>, BTreeSet<String>) {
    let response = Authorizer::new().is_authorized(request, set, entities);
    let reasons = response.diagnostics().reason().map(ToString::to_string).collect();
    let forbids = response.diagnostics().errors().filter_map(|error| {
        let cedar_policy::AuthorizationError::PolicyEvaluationError(error) = error;
        let policy = set.policy(error.policy_id())?;
        (policy.effect() == cedar_policy::Effect::Forbid).then(|| policy.id().to_string())
    });
    (response.decision() == CedarDecision::Allow, reasons, forbids.collect())
}

/// Whether what was decided is what Cedar says, but for errors in forbids, which deny.
#[track_caller]
fn agrees(
    reason: Option<ReasonId>,
    by: &BTreeSet<String>,
    said: (bool, BTreeSet<String>, BTreeSet<String>),
) {
    let (permits, reasons, erring) = said;
    let expected = match (permits, reasons.is_empty(), erring.is_empty()) {
        (false, false, _) => (Some(ReasonId::PolicyForbids), &reasons),
        (_, _, false) => (Some(ReasonId::PolicyError), &erring),
        (true, _, true) => (None, &reasons),
        (false, true, true) => (Some(ReasonId::NoPolicy), &reasons),
    };
    assert_eq!((reason, by), expected);
}

fn cedar_set(policies: &[String]) -> CedarSet {
    let parsed = policies.iter().enumerate().map(|(number, text)| {
        let id = cedar_policy::PolicyId::new(format!("p{number}"));
        cedar_policy::Policy::parse(Some(id), text).unwrap()
    });
    CedarSet::from_policies(parsed).unwrap()
}

fn text_of(policies: &[String]) -> String {
    policies.iter().enumerate().fold(String::new(), |mut text, (number, policy)| {
        writeln!(text, "@id(\"p{number}\") {policy}").unwrap();
        text
    })
}

const SCHEMA: &str = r#"
entity Group in [Group];
entity Person in [Group] { level?: Long };
entity Robot in [Group] { level?: Long };
entity Folder in [Folder] { level?: Long };
entity Paper in [Folder] { level?: Long };
action "read", "write";
action "view" in ["read"] appliesTo { principal: [Person, Robot], resource: [Paper, Folder], context: { n?: Long, name?: String } };
action "edit", "shred" in ["read", "write"] appliesTo { principal: [Person, Robot], resource: [Paper, Folder], context: { n?: Long, name?: String } };
"#;

fn random_policy(dice: &mut Dice) -> String {
    let effect = dice.of(&["permit", "permit", "forbid"]);
    let principal = dice.of(&[
        "principal",
        "principal is Person",
        "principal is Robot",
        "principal == Person::\"a\"",
        "principal == Robot::\"a\"",
        "principal in Group::\"g0\"",
        "principal in Group::\"g1\"",
        "principal in Person::\"b\"",
        "principal is Person in Group::\"g2\"",
    ]);
    let action = dice.of(&[
        "action",
        "action == Action::\"view\"",
        "action == Action::\"edit\"",
        "action in Action::\"write\"",
        "action in [Action::\"view\", Action::\"shred\"]",
        "action in [Action::\"read\", Action::\"edit\", Action::\"edit\"]",
    ]);
    let resource = dice.of(&[
        "resource",
        "resource is Paper",
        "resource is Folder",
        "resource == Paper::\"x\"",
        "resource == Folder::\"f0\"",
        "resource in Folder::\"f0\"",
        "resource in Folder::\"f1\"",
        "resource is Paper in Folder::\"f2\"",
    ]);
    let condition = dice.of(&[
        "",
        "",
        " when { context has n && context.n > 3 }",
        " when { context has n && context.n + 1 > 3 }",
        " unless { principal has level && principal.level > resource.level }",
        " when { principal has level && resource has level && principal.level * 2 == resource.level }",
        " when { context has name && context.name like \"*\\\"*\" }",
        " when { principal in Group::\"g1\" } unless { resource in Folder::\"f1\" }",
        " when { action in Action::\"write\" || resource == Paper::\"x\" || context has n }",
    ]);
    // What reads an attribute that may be missing has to ask first, or else it is not loaded.
    let condition = condition.replace(
        "principal has level && principal.level > resource.level",
        "principal has level && resource has level && principal.level + 1 > resource.level",
    );
    format!("{effect} ({principal}, {action}, {resource}){condition};")
}

#[test]
fn answers_are_those_of_cedar_on_a_random_corpus() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut allowed, mut erred) = (0, 0);
    for _ in 0..100 {
        let count = 1 + dice.below(30);
        let policies: Vec<String> = (0..count).map(|_| random_policy(&mut dice)).collect();
        let mut rules = Rules::default();
        rules.bundle(bundle(SCHEMA, &text_of(&policies)));
        let set = PolicySet::compile(rules).unwrap();
        let whole = cedar_set(&policies);
        let actions = bundle(SCHEMA, "").words.schema.action_entities().unwrap();
        for _ in 0..100 {
            let of = |all: &[&'static str], dice: &mut Dice| dice.of(all);
            let (subject, resource) =
                (of(&["Person", "Robot"], &mut dice), of(&["Paper", "Folder"], &mut dice));
            let (id, other) =
                (of(&["a", "b", "c"], &mut dice), of(&["x", "y", "f0", "f1"], &mut dice));
            let action = of(&["view", "edit", "shred"], &mut dice);
            let members = |kind: &str, ids: Vec<&str>| -> Vec<Value> {
                ids.into_iter().map(|id| json!({"type": kind, "id": id})).collect()
            };
            let groups = members("Group", dice.some(&["g0", "g1", "g2"]));
            let folders =
                dice.some(&["f0", "f1", "f2"]).into_iter().filter(|id| *id != other).collect();
            let folders = members("Folder", folders);
            let numbers = [None, Some(1), Some(2), Some(4), Some(i64::MAX)];
            let levels = [dice.of(&numbers), dice.of(&numbers)];
            let (n, name) = (dice.of(&numbers), dice.of(&[None, Some("a"), Some("\"")]));
            let props = |parents: &[Value], level: Option<i64>| {
                let mut said = Map::new();
                said.insert("parents".to_owned(), json!(parents));
                said.extend(level.map(|level| ("level".to_owned(), json!(level))));
                said
            };
            let mut context = Map::new();
            context.extend(n.map(|n| ("n".to_owned(), json!(n))));
            context.extend(name.map(|name| ("name".to_owned(), json!(name))));
            let answer = set.evaluate(&Evaluation {
                subject: Thing { kind: subject, id, properties: &props(&groups, levels[0]) },
                action,
                action_properties: &Map::new(),
                resource: Thing {
                    kind: resource,
                    id: other,
                    properties: &props(&folders, levels[1]),
                },
                context: &context,
                now: None,
            });

            let entity = |kind: &str, id: &str, parents: &[Value], level: Option<i64>| {
                let attrs = level.map_or(json!({}), |level| json!({"level": level}));
                json!({"uid": {"type": kind, "id": id}, "attrs": attrs, "parents": parents})
            };
            let things = json!([
                entity(subject, id, &groups, levels[0]),
                entity(resource, other, &folders, levels[1]),
            ]);
            let entities = actions.clone().add_entities_from_json_value(things, None).unwrap();
            let parse =
                |kind: &str, id: &str| format!("{kind}::\"{id}\"").parse::<EntityUid>().unwrap();
            let request = CedarRequest::new(
                parse(subject, id),
                parse("Action", action),
                parse(resource, other),
                Context::from_json_value(Value::Object(context), None).unwrap(),
                None,
            );
            let said = oracle(&whole, &request.unwrap(), &entities);
            allowed += usize::from(said.0);
            erred += usize::from(!said.2.is_empty());
            agrees(answer.reason, &ids(&answer.policies), said);
        }
    }
    assert!((500..9_500).contains(&allowed), "{allowed} of 10,000 say something");
    assert!(erred > 50, "{erred} errors in forbids");
}

fn random_policy_of_routes(dice: &mut Dice) -> String {
    let effect = dice.of(&["permit", "permit", "forbid"]);
    let principal = dice.of(&[
        "principal",
        "principal is Tegata::User",
        "principal is Tegata::Anonymous",
        "principal == Tegata::Anonymous::\"anonymous\"",
        "principal == Tegata::User::\"alice\"",
        "principal == Tegata::Client::\"alice\"",
        "principal in Tegata::Role::\"clerk\"",
        "principal in Tegata::Role::\"boss\"",
        "principal is Tegata::Service in Tegata::Role::\"clerk\"",
        "principal == Tegata::Service::\"orders\"",
    ]);
    let action = dice.of(&[
        "action",
        "action == Tegata::Action::\"GET\"",
        "action in Tegata::Action::\"safe\"",
        "action in Tegata::Action::\"unsafe\"",
        "action in Tegata::Action::\"call\"",
        "action in [Tegata::Action::\"other\", Tegata::Action::\"GET\", Tegata::Action::\"DELETE\"]",
    ]);
    let resource = dice.of(&[
        "resource",
        "resource is Tegata::Route",
        "resource == Tegata::Route::\"orders:/orders\"",
        "resource == Tegata::Route::\"orders:/\"",
        "resource in Tegata::Service::\"orders\"",
        "resource in Tegata::Service::\"payments\"",
        "resource in Tegata::Role::\"clerk\"",
    ]);
    let condition = dice.of(&[
        "",
        "",
        " when { context.path like \"/orders/*\" }",
        " when { context.method == \"PURGE\" }",
        " when { context.scopes.contains(\"orders.read\") }",
        " unless { context has acr && context.acr == \"aal2\" }",
        " when { context has auth_age && context.auth_age + 1 < 300 }",
        " when { context has ip && context.ip.isInRange(ip(\"10.0.0.0/8\")) }",
        " when { context has hour && context.hour >= 8 && context.hour < 18 }",
        " unless { context has weekday && context.weekday <= 5 }",
        " when { context has now && context.now < datetime(\"2026-11-23T12:30:00Z\") }",
        " when { context has acr } unless { principal in Tegata::Role::\"boss\" }",
    ]);
    format!("{effect} ({principal}, {action}, {resource}){condition};")
}

/// What a caller is for Cedar, put together in another way: out of JSON.
fn json_of(caller: &Caller<'_>) -> (CedarRequest, Value) {
    let kind = match caller.kind {
        PrincipalKind::Anonymous => "Anonymous",
        PrincipalKind::User => "User",
        PrincipalKind::Client => "Client",
        PrincipalKind::Service => "Service",
    };
    let known = caller.kind != PrincipalKind::Anonymous;
    let id = if known { caller.id } else { "anonymous" };
    let uid = |kind: &str, id: &str| json!({"type": format!("Tegata::{kind}"), "id": id});
    let roles: Vec<Value> =
        caller.roles.iter().filter(|_| known).map(|role| uid("Role", role)).collect();
    let method = if method::METHODS.contains(&caller.method) { caller.method } else { "other" };
    let mut context = json!({
        "method": caller.method,
        "path": caller.path,
        "scopes": if known { caller.scopes.clone() } else { Vec::new() },
    });
    let all = context.as_object_mut().unwrap();
    let mut say = |name: &str, value: Option<Value>| {
        all.extend(value.map(|value| (name.to_owned(), value)));
    };
    let call = |name: &str, text: String| json!({"__extn": {"fn": name, "arg": text}});
    say("acr", caller.acr.map(Value::from));
    say("auth_age", caller.auth_age.map(Value::from));
    if let Some(place) = caller.place {
        let secs = place.now.secs();
        say("ip", Some(call("ip", place.address.to_string())));
        let clock = format!("{:02}:{:02}:{:02}", secs / 3600 % 24, secs / 60 % 60, secs % 60);
        // Every moment of these tests is on one of two days.
        let (day, weekday) = if secs < 1_795_478_400 { (23, 1) } else { (28, 6) };
        say("now", Some(call("datetime", format!("2026-11-{day}T{clock}Z"))));
        say("hour", Some(json!(secs / 3600 % 24)));
        say("weekday", Some(json!(weekday)));
    }
    let of = |value: Value| EntityUid::from_json(value).unwrap();
    let request = CedarRequest::new(
        of(uid(kind, id)),
        of(uid("Action", method)),
        of(uid("Route", "orders:/orders")),
        Context::from_json_value(context, None).unwrap(),
        None,
    );
    let things = json!([
        {"uid": uid(kind, id), "attrs": {}, "parents": roles},
        {"uid": uid("Route", "orders:/orders"), "attrs": {}, "parents": [uid("Service", "orders")]},
    ]);
    (request.unwrap(), things)
}

fn random_caller(dice: &mut Dice) -> Caller<'static> {
    use PrincipalKind::{Anonymous, Client, Service, User};
    let place = |address: &str, secs| Place {
        address: address.parse::<IpAddr>().unwrap(),
        now: Timestamp::from_secs(secs),
    };
    Caller {
        kind: dice.of(&[User, User, User, Client, Service, Service, Anonymous]),
        id: dice.of(&["alice", "bob", "orders", ""]),
        roles: dice.some(&["clerk", "boss", "nobody"]),
        scopes: dice.some(&["orders.read", "orders.write"]),
        acr: dice.of(&[None, Some("aal1"), Some("aal2")]),
        auth_age: dice.of(&[None, Some(0), Some(300), Some(i64::MAX.unsigned_abs())]),
        place: dice.of(&[
            None,
            Some(place("10.1.2.3", 1_795_435_200)),
            Some(place("192.0.2.1", 1_795_435_200 + 3_600)),
            Some(place("2001:db8::1", 1_795_435_200 + 5 * 86_400 + 8 * 3_600)),
        ]),
        method: dice.of(&["GET", "GET", "HEAD", "POST", "DELETE", "PURGE", "get", "other"]),
        path: dice.of(&["/orders/1", "/orders", "/"]),
    }
}

#[test]
fn routes_are_decided_as_cedar_decides_them_on_a_random_corpus() {
    let mut dice = Dice(0x1234_5678_9abc_def1);
    let actions = bundle("", "").words.schema.action_entities().unwrap();
    let (mut allowed, mut erred) = (0, 0);
    for _ in 0..100 {
        let count = 1 + dice.below(30);
        let policies: Vec<String> =
            (0..count).map(|_| random_policy_of_routes(&mut dice)).collect();
        let text = text_of(&policies);
        let open = |decide_by| Requirement {
            auth: crate::Auth::Optional,
            decide_by,
            ..Requirement::default()
        };
        let read = bundle("", &text);
        let [by_both, by_policies, by_table] =
            [DecideBy::Both, DecideBy::Policies, DecideBy::Table]
                .map(|decide_by| with_bundle(open(decide_by), Arc::clone(&read)));
        let whole = cedar_set(&policies);
        for _ in 0..100 {
            let caller = random_caller(&mut dice);
            let (request, things) = json_of(&caller);
            let entities = actions.clone().add_entities_from_json_value(things, None).unwrap();
            let said = oracle(&whole, &request, &entities);
            allowed += usize::from(said.0);
            erred += usize::from(!said.2.is_empty());
            let decided = caller.asks(&by_policies, |it| (it.reason(), ids(it.policies())));
            // The table and the policies say the same where both could say it.
            assert_eq!(decided, caller.asks(&by_both, |it| (it.reason(), ids(it.policies()))));
            let table = caller.reason(&by_table);
            assert_eq!(table, decided.0.filter(|reason| *reason != ReasonId::NoPolicy));
            agrees(decided.0, &decided.1, said);
        }
    }
    assert!((500..9_500).contains(&allowed), "{allowed} of 10,000 say something");
    assert!(erred > 20, "{erred} errors in forbids");
}

/// What whoever wants to be read as a policy would send.
const STRANGE: [&str; 40] = [
    "",
    " ",
    "\"",
    "\\",
    "\\\"",
    "'",
    "`",
    "\u{0}",
    "\n",
    "\r\n",
    "\t",
    "::",
    ":",
    "*",
    "\\*",
    "* ",
    "User::\"alice\"",
    "Tegata::User::\"alice\"",
    "alice\"",
    "\"alice\"",
    "alice\u{0}",
    "ALICE",
    "ａｌｉｃｅ",
    "\u{202e}ecila",
    "\u{feff}alice",
    "al\u{ad}ice",
    "é",
    "e\u{301}",
    "𐀀",
    "\u{10ffff}",
    "permit(principal,action,resource);",
    "\"); permit(principal,action,resource); //",
    "?principal",
    "principal",
    "{\"__entity\":{\"type\":\"Tegata::Role\",\"id\":\"boss\"}}",
    "${jndi:ldap://x}",
    "' OR 1=1 --",
    "__cedar",
    "null",
    "9223372036854775808",
];

fn strange(dice: &mut Dice) -> String {
    match dice.below(4) {
        0 => (dice.of(&STRANGE)).to_owned(),
        1 => format!("{}{}", dice.of(&STRANGE), dice.of(&STRANGE)),
        2 => (0..dice.below(12))
            .filter_map(|_| char::from_u32(u32::try_from(dice.below(0x11_0000)).unwrap()))
            .collect(),
        _ => dice.of(&STRANGE).repeat(1 + dice.below(8)),
    }
}

const GUARDED: &str = "@id(\"a\") permit (principal == Tegata::User::\"alice\", action, resource);
@id(\"b\") permit (principal in Tegata::Role::\"boss\", action == Tegata::Action::\"GET\", resource == Tegata::Route::\"orders:/orders\");
@id(\"c\") forbid (principal, action, resource) when { context.path == \"/orders/secret\" };
@id(\"d\") forbid (principal, action, resource) unless { context.scopes.contains(\"orders.read\") };
@id(\"e\") forbid (principal in Tegata::Role::\"suspended\", action, resource in Tegata::Service::\"orders\");
@id(\"f\") permit (principal, action, resource) when { context has acr && context.acr == \"aal3\" };
@id(\"g\") forbid (principal, action == Tegata::Action::\"other\", resource) when { context.method like \"PUR*\" };";

#[test]
fn ten_thousand_strange_ids_decide_like_opaque_ones() {
    let set = routed(by_policies(), GUARDED);
    let mut rules = Rules::default();
    rules.bundle(bundle(SCHEMA, "permit (principal == Person::\"a\", action, resource);\npermit (principal in Group::\"g0\", action, resource == Paper::\"x\");\nforbid (principal, action, resource in Folder::\"f0\");\nforbid (principal, action, resource) when { context has name && context.name like \"*evil*\" };"));
    let free = PolicySet::compile(rules).unwrap();
    let mut dice = Dice(42);
    for _ in 0..10_000 {
        let id = strange(&mut dice);
        let roles = dice.some(&["boss", "suspended", "clerk"]);
        let known = Caller { roles, scopes: vec!["orders.read"], ..random_caller(&mut dice) };
        let with = |id, role| {
            let mut caller = Caller { id, ..known.clone() };
            caller.roles.push(role);
            caller.scopes.push(role);
            caller
        };
        let named = |id: &str| ["alice", "boss", "suspended", "orders.read"].contains(&id);
        if !named(&id) {
            assert_eq!(
                with(&id, &id).reason(&set),
                with("opaque", "opaque").reason(&set),
                "{id:?}"
            );
        }
        let said = |id: &str| {
            let group = json!([{"type": "Group", "id": "g0"}, {"type": "Group", "id": id}]);
            let folder = json!([{"type": "Folder", "id": id}]);
            let said = |parents: Value| Map::from_iter([("parents".to_owned(), parents)]);
            let context = Map::from_iter([("name".to_owned(), json!(id))]);
            let ask = |subject: &str, resource: &str| {
                let Answer { reason, .. } = free.evaluate(&Evaluation {
                    subject: Thing {
                        kind: "Person",
                        id: subject,
                        properties: &said(group.clone()),
                    },
                    action: "view",
                    action_properties: &Map::new(),
                    resource: Thing {
                        kind: "Paper",
                        id: resource,
                        properties: &said(folder.clone()),
                    },
                    context: &context,
                    now: None,
                });
                reason
            };
            [ask(id, "x"), ask("a", id), ask(id, id), ask("a", "x")]
        };
        if id != "a" && id != "x" && id != "f0" {
            assert_eq!(said(&id), said("opaque"), "{id:?}");
        }
    }
    let long = "x".repeat(64 << 10);
    assert_eq!(
        Caller { id: &long, ..ALICE }.reason(&set),
        Caller { id: "opaque", ..ALICE }.reason(&set)
    );
}

#[test]
fn no_text_of_a_request_becomes_policy() {
    let set = routed(by_policies(), GUARDED);
    let read = || vec!["orders.read"];
    for text in STRANGE {
        for base in [ALICE, Caller { id: "bob", roles: vec!["boss"], scopes: read(), ..ALICE }] {
            let opaque = |text| {
                [
                    Caller { path: text, ..base.clone() },
                    Caller { acr: Some(text), ..base.clone() },
                    Caller { method: text, ..base.clone() },
                    Caller { scopes: vec![text], ..base.clone() },
                    Caller { scopes: vec!["orders.read", text], ..base.clone() },
                    Caller { roles: vec![text], ..base.clone() },
                ]
                .map(|caller| caller.reason(&set))
            };
            assert_eq!(opaque(text), opaque("opaque"), "{text:?}");
        }
    }
}

#[test]
fn a_forbid_wins_whoever_permits() {
    let forbid = "@id(\"no\") forbid (principal in Tegata::Role::\"suspended\", action, resource);";
    let both = format!("{forbid}\npermit (principal, action, resource);");
    for (decide_by, policies) in [
        (DecideBy::Table, forbid),
        (DecideBy::Table, &both),
        (DecideBy::Policies, &both),
        (DecideBy::Both, &both),
    ] {
        let set = routed(Requirement { decide_by, ..Requirement::default() }, policies);
        assert_eq!(ALICE.reason(&set), None, "{decide_by:?}");
        let suspended = Caller { roles: vec!["suspended"], ..ALICE };
        suspended.asks(&set, |decision| {
            assert_eq!(decision.reason(), Some(ReasonId::PolicyForbids));
            assert_eq!(decision.rule().unwrap().as_str(), "orders:/orders");
            assert_eq!(ids(decision.policies()), ["no".to_owned()].into());
        });
    }
}

#[test]
fn who_is_asked_for_a_permit_is_as_the_route_says() {
    let permit = "@id(\"yes\") permit (principal in Tegata::Role::\"boss\", action, resource);";
    let boss = Caller { roles: vec!["boss"], ..ALICE };
    let clerk = Caller { roles: vec!["clerk"], ..ALICE };
    let two = Caller { roles: vec!["boss", "clerk"], ..ALICE };
    let of = |decide_by, roles: &[&str], policies: &str| {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        routed(Requirement { decide_by, roles, ..Requirement::default() }, policies)
    };
    let table = of(DecideBy::Table, &["clerk"], permit);
    let policies = of(DecideBy::Policies, &[], permit);
    let both = of(DecideBy::Both, &["clerk"], permit);
    let (no_role, no_policy) = (Some(ReasonId::MissingRole), Some(ReasonId::NoPolicy));
    for (set, expected) in [
        (&table, [no_role, None, None]),
        (&policies, [None, no_policy, None]),
        (&both, [no_role, no_policy, None]),
    ] {
        assert_eq!([&boss, &clerk, &two].map(|caller| caller.reason(set)), expected);
    }
    // Who permits is named where policies were asked for it, and nowhere else.
    let by = |set: &PolicySet| two.asks(set, |decision| ids(decision.policies()).len());
    assert_eq!([by(&table), by(&policies), by(&both)], [0, 1, 1]);

    // Without policies, nobody permits.
    let nothing = of(DecideBy::Policies, &[], "");
    assert_eq!(boss.reason(&nothing), no_policy);
    let mut rules = Rules::default();
    rules.permit("orders", "/orders", by_policies());
    assert_eq!(boss.reason(&PolicySet::compile(rules).unwrap()), no_policy);
}

#[test]
fn a_route_that_leaves_it_to_policies_still_asks_for_all_else() {
    let permit = "permit (principal, action, resource);";
    let asked = Requirement {
        methods: vec!["GET".to_owned()],
        step_up: tegata_core::StepUp::to(tegata_core::Acr::Aal2),
        ..by_policies()
    };
    let set = routed(asked, permit);
    let strong = Caller { acr: Some("aal2"), ..ALICE };
    assert_eq!(strong.reason(&set), None);
    assert_eq!(ALICE.reason(&set), Some(ReasonId::InsufficientAcr));
    let post = Caller { method: "POST", ..strong.clone() };
    assert_eq!(post.reason(&set), Some(ReasonId::MethodNotAllowed));
    let nobody = Caller { kind: PrincipalKind::Anonymous, ..strong };
    assert_eq!(nobody.reason(&set), Some(ReasonId::NotAuthenticated));

    let mut rules = Rules::default();
    let names = Requirement { roles: vec!["a".to_owned()], ..by_policies() };
    rules.permit("orders", "/orders", names);
    let found = PolicySet::compile(rules).unwrap_err().to_string();
    assert!(found.contains("decide_by") && found.contains("roles"), "{found}");
}

#[test]
fn outside_policies_see_what_is_left_too() {
    let kept = Kept {
        roles: Some(vec!["reader".to_owned()]),
        scopes: Some(Vec::new()),
        ..Kept::default()
    };
    let networks = vec!["10.0.0.0/8".parse().unwrap()];
    let within = Within { networks, kept: Some(kept), ..Within::default() };
    let place = |address: &str| {
        Some(Place { address: address.parse().unwrap(), now: Timestamp::from_secs(1_795_435_200) })
    };
    let roles = |roles: &[&'static str], place| Caller {
        roles: roles.to_vec(),
        scopes: vec!["s"],
        place,
        ..ALICE
    };
    let (inside, outside) = (place("10.0.0.1"), place("192.0.2.1"));
    let left = Some(ReasonId::OutsideNetwork);
    // A permit by a role that does not count outside; one without a role that does; a scope.
    for (decide_by, policy, held, expected) in [
        (
            DecideBy::Policies,
            "permit (principal in Tegata::Role::\"boss\", action, resource);",
            "boss",
            left,
        ),
        (
            DecideBy::Policies,
            "permit (principal in Tegata::Role::\"reader\", action, resource);",
            "reader",
            None,
        ),
        (
            DecideBy::Policies,
            "permit (principal, action, resource) when { context.scopes.contains(\"s\") };",
            "reader",
            left,
        ),
        (
            DecideBy::Table,
            "forbid (principal, action, resource) unless { principal in Tegata::Role::\"boss\" };",
            "boss",
            left,
        ),
        (
            DecideBy::Table,
            "forbid (principal, action, resource) unless { principal in Tegata::Role::\"reader\" };",
            "reader",
            None,
        ),
    ] {
        let set = routed(
            Requirement { decide_by, within: within.clone(), ..Requirement::default() },
            policy,
        );
        assert_eq!(roles(&[held], inside).reason(&set), None, "{policy}");
        assert_eq!(roles(&[held], outside).reason(&set), expected, "{policy}");
    }
    // Less never permits more: what is forbidden for what the caller holds stays forbidden.
    let policy = "forbid (principal in Tegata::Role::\"suspended\", action, resource);";
    let set = routed(Requirement { within, ..Requirement::default() }, policy);
    let suspended = roles(&["suspended", "reader"], outside);
    assert_eq!(suspended.reason(&set), Some(ReasonId::PolicyForbids));
}

#[test]
fn an_error_in_a_forbid_of_routes_denies_and_one_in_a_permit_does_not_apply() {
    let sum = "context has auth_age && context.auth_age + 9223372036854775807 > 0";
    let policies = format!(
        "permit (principal, action, resource);\n@id(\"f\") forbid (principal, action, resource) when {{ {sum} }};"
    );
    let set = routed(by_policies(), &policies);
    let old = Caller { auth_age: Some(1), ..ALICE };
    assert_eq!(
        old.asks(&set, |it| (it.reason(), ids(it.policies()))),
        (Some(ReasonId::PolicyError), ["f".to_owned()].into())
    );
    assert_eq!(ALICE.reason(&set), None);
    let set =
        routed(by_policies(), &format!("permit (principal, action, resource) when {{ {sum} }};"));
    assert_eq!(old.reason(&set), Some(ReasonId::NoPolicy));
}

#[test]
fn only_what_is_asked_for_has_to_be_known() {
    let of = |condition: &str| {
        let set = routed(
            by_policies(),
            &format!("permit (principal, action, resource) when {{ {condition} }};"),
        );
        let rule = set.route("orders", "/orders").unwrap();
        (rule.asks_place(), rule.asks_auth_age())
    };
    assert_eq!(of("context.path == \"/\""), (false, false));
    assert_eq!(of("context has ip && context.ip.isLoopback()"), (true, false));
    assert_eq!(of("context has hour && context.hour > 3"), (true, false));
    assert_eq!(of("context has auth_age && context.auth_age > 3"), (false, true));
    // What speaks of another service asks nothing of this one.
    let set = routed(
        by_policies(),
        "permit (principal, action, resource in Tegata::Service::\"other\") when { context has ip };",
    );
    assert!(!set.route("orders", "/orders").unwrap().asks_place());
}

#[test]
fn forbids_of_both_kinds_stand_beside_each_other() {
    let mut rules = Rules::default();
    rules.permit("orders", "/orders", Requirement::default());
    rules.forbid(Forbid { principals: vec!["alice".to_owned()], ..Forbid::named("no-alice") });
    rules.bundle(bundle("", "forbid (principal == Tegata::User::\"bob\", action, resource);"));
    let set = PolicySet::compile(rules).unwrap();
    assert_eq!(ALICE.reason(&set), Some(ReasonId::Forbidden));
    assert_eq!(Caller { id: "bob", ..ALICE }.reason(&set), Some(ReasonId::PolicyForbids));
    assert_eq!(Caller { id: "carol", ..ALICE }.reason(&set), None);
}

#[test]
fn nobody_is_somebody_for_policies() {
    let open = Requirement { auth: crate::Auth::Optional, ..by_policies() };
    let nobody = Caller { kind: PrincipalKind::Anonymous, id: "", roles: vec!["boss"], ..ALICE };
    for head in ["principal == Tegata::Anonymous::\"anonymous\"", "principal is Tegata::Anonymous"]
    {
        let set = routed(open.clone(), &format!("permit ({head}, action, resource);"));
        assert_eq!(nobody.reason(&set), None, "{head}");
        assert_eq!(ALICE.reason(&set), Some(ReasonId::NoPolicy), "{head}");
    }
    // Whatever else is said of nobody: they have no roles.
    let boss = "permit (principal in Tegata::Role::\"boss\", action, resource);";
    assert_eq!(nobody.reason(&routed(open, boss)), Some(ReasonId::NoPolicy));
}

#[test]
fn a_caller_recognised_by_older_policies_is_judged_by_the_newer() {
    let older = routed(by_policies(), "permit (principal, action, resource);");
    let newer = routed(
        by_policies(),
        "permit (principal, action, resource);\nforbid (principal in Tegata::Role::\"suspended\", action, resource);",
    );
    let held = older.recognise(["suspended"], []);
    let (kind, id) = (PrincipalKind::User, "alice");
    let principal = Principal { kind, id, held: &held, acr: None, auth_age: None, place: None };
    let action = Action { method: "GET", path: "/orders/1" };
    let reason = |set: &PolicySet| {
        set.route("orders", "/orders").unwrap().decide(&principal, action).reason()
    };
    assert_eq!([reason(&older), reason(&newer)], [None, Some(ReasonId::PolicyForbids)]);
}

#[test]
fn while_policies_are_replaced_every_decision_is_by_one_set_or_the_other() {
    use std::sync::{
        RwLock,
        atomic::{AtomicBool, Ordering},
    };

    let sets = [
        Arc::new(routed(by_policies(), "@id(\"open\") permit (principal, action, resource);")),
        Arc::new(routed(by_policies(), "@id(\"shut\") forbid (principal, action, resource);")),
    ];
    let (current, done) = (RwLock::new(Arc::clone(&sets[0])), AtomicBool::new(false));
    let seen = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = BTreeSet::new();
                    while !done.load(Ordering::Acquire) || seen.is_empty() {
                        let set = Arc::clone(&current.read().unwrap());
                        seen.insert(ALICE.asks(&set, |it| (it.reason(), ids(it.policies()))));
                    }
                    seen
                })
            })
            .collect();
        for turn in 0..2_000 {
            *current.write().unwrap() = Arc::clone(&sets[turn % 2]);
        }
        done.store(true, Ordering::Release);
        readers.into_iter().flat_map(|reader| reader.join().unwrap()).collect::<BTreeSet<_>>()
    });
    let either = [
        (None, ["open".to_owned()].into()),
        (Some(ReasonId::PolicyForbids), ["shut".to_owned()].into()),
    ];
    assert!(seen.iter().all(|decided| either.contains(decided)), "{seen:?}");
}

#[test]
fn moments_are_written_as_calendars_have_them() {
    for (secs, expected) in [
        (0, "1970-01-01T00:00:00.000Z"),
        (951_782_399, "2000-02-28T23:59:59.000Z"),
        (951_782_400, "2000-02-29T00:00:00.000Z"),
        (951_868_800, "2000-03-01T00:00:00.000Z"),
        (1_795_435_200, "2026-11-23T12:00:00.000Z"),
        (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        (253_402_300_799, "9999-12-31T23:59:59.000Z"),
    ] {
        assert_eq!(datetime(Timestamp::from_secs(secs)), expected);
    }
}
