//! What others are answered who ask what policies decide: the AuthZEN Authorization API 1.0.

use std::sync::{Arc, atomic::Ordering};

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tegata_oauth::evaluating::SCOPE;
use tegata_policy::{Bundle, DecideBy, PolicySet, Requirement, Rules};

use super::{
    bench::{Bench, ISSUER},
    browser::Answer,
    flow::token_of_machine,
};

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";

/// Documents of a shop, of which owners and readers are known, and one route.
const SCHEMA: &str = r#"
    namespace Desk {
      entity Document = { "owner"?: Tegata::User, "public"?: Bool };
      action "can_read", "can_edit" appliesTo {
        principal: [Tegata::User],
        resource: [Document],
        context: { "reason"?: String }
      };
    }
"#;

const POLICIES: &str = r#"
    @id("public-documents")
    permit (principal, action == Desk::Action::"can_read", resource)
    when { resource has public && resource.public };
    @id("owners")
    permit (principal, action in [Desk::Action::"can_read", Desk::Action::"can_edit"], resource)
    when { resource has owner && resource.owner == principal };
    @id("no-suspended")
    forbid (principal in Tegata::Role::"suspended", action, resource);
    @id("customers")
    permit (
      principal in Tegata::Role::"customer",
      action in Tegata::Action::"safe",
      resource == Tegata::Route::"orders:/orders"
    );
"#;

struct Desk {
    bench: Bench,
    token: String,
}

impl Desk {
    async fn new() -> Self {
        Self::with(SCHEMA, POLICIES).await
    }

    async fn with(schema: &str, policies: &str) -> Self {
        let bench = Bench::new().await;
        let bundle = Bundle::read([("desk.cedarschema", schema)], [("desk.cedar", policies)]);
        let mut rules = Rules::default();
        rules.bundle(Arc::new(bundle.unwrap()));
        let asked = Requirement { decide_by: DecideBy::Policies, ..Requirement::default() };
        rules.permit("orders", "/orders", asked);
        *bench.policies.lock().unwrap() = Some(Arc::new(PolicySet::compile(rules).unwrap()));
        let token = token_of_machine(&bench, "desk", SCOPE).await;
        Self { bench, token }
    }

    async fn send(&self, target: &str, fields: &[(&str, &str)], body: String) -> Answer {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(target)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Answer::of(&self.bench.router, request.body(Body::from(body)).unwrap()).await
    }

    async fn ask(&self, target: &str, body: Value) -> Value {
        let answer = self.send(target, &[], body.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    }
}

fn document(id: &str, properties: Value) -> Value {
    let mut document = json!({"type": "document", "id": id});
    document["properties"] = properties;
    document
}

fn reading(document: Value) -> Value {
    let mut asked =
        json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "can_read"}});
    asked["resource"] = document;
    asked
}

#[tokio::test]
async fn one_evaluation_is_decided_by_the_policies_and_says_by_which() {
    let desk = Desk::new().await;
    let told = desk.ask(EVALUATION, reading(document("1", json!({"public": true})))).await;
    assert_eq!(told, json!({"decision": true, "context": {"policies": ["public-documents"]}}));
    let told = desk.ask(EVALUATION, reading(document("2", json!({"public": false})))).await;
    assert_eq!(told, json!({"decision": false, "context": {"reason": "no_policy"}}));
    // What is said of the subject counts, and so does what is forbidden.
    let mut asked = reading(document("1", json!({"public": true})));
    asked["subject"]["properties"] = json!({"roles": ["suspended"]});
    let told = desk.ask(EVALUATION, asked).await;
    assert_eq!(told["context"], json!({"reason": "policy_forbids", "policies": ["no-suspended"]}));
    // A route is decided about as the gateway does.
    let route = |roles: Value, method: &str| {
        json!({
            "subject": {"type": "user", "id": "alice", "properties": {"roles": roles}},
            "action": {"name": method},
            "resource": {"type": "route", "id": "orders:/orders"},
        })
    };
    assert_eq!(desk.ask(EVALUATION, route(json!(["customer"]), "GET")).await["decision"], true);
    for (roles, method) in [(json!(["customer"]), "POST"), (json!([]), "GET")] {
        assert_eq!(desk.ask(EVALUATION, route(roles, method)).await["decision"], false, "{method}");
    }
    // What nobody knows is no.
    for (pointer, value, reason) in [
        ("/subject/type", json!("robot"), "unknown_type"),
        ("/resource/type", json!("\"; permit(principal, action, resource);"), "unknown_type"),
        ("/action/name", json!("can_burn"), "unknown_action"),
        ("/resource/properties/public", json!("true"), "invalid_value"),
    ] {
        let mut asked = reading(document("1", json!({"public": true})));
        *asked.pointer_mut(pointer).unwrap() = value;
        let told = desk.ask(EVALUATION, asked).await;
        assert_eq!(
            (&told["decision"], &told["context"]["reason"]),
            (&json!(false), &json!(reason))
        );
    }
}

#[tokio::test]
async fn evaluations_follow_their_three_semantics() {
    let desk = Desk::new().await;
    let (yes, no) = (document("1", json!({"public": true})), document("2", json!({})));
    let decisions = async |options: Value, listed: &[&Value]| {
        let listed: Vec<_> = listed.iter().map(|it| json!({"resource": it})).collect();
        let mut asked = reading(yes.clone());
        asked["evaluations"] = json!(listed);
        if !options.is_null() {
            asked["options"] = json!({"evaluations_semantic": options, "another": 1});
        }
        let told = desk.ask(EVALUATIONS, asked).await;
        assert!(told.get("decision").is_none());
        let told = told["evaluations"].as_array().unwrap().clone();
        told.iter().map(|it| it["decision"].as_bool().unwrap()).collect::<Vec<_>>()
    };
    let all = [&yes, &no, &yes, &no];
    assert_eq!(decisions(Value::Null, &all).await, [true, false, true, false]);
    assert_eq!(decisions(json!("execute_all"), &all).await, [true, false, true, false]);
    assert_eq!(decisions(json!("deny_on_first_deny"), &all).await, [true, false]);
    assert_eq!(decisions(json!("deny_on_first_deny"), &[&yes, &yes]).await, [true, true]);
    assert_eq!(
        decisions(json!("permit_on_first_permit"), &[&no, &no, &yes, &no]).await,
        [false, false, true]
    );
    assert_eq!(decisions(json!("permit_on_first_permit"), &all).await, [true]);

    // Without any, it is one (§7.1).
    let mut asked = reading(yes.clone());
    assert_eq!(desk.ask(EVALUATIONS, asked.clone()).await["decision"], true);
    asked["evaluations"] = json!([]);
    assert_eq!(desk.ask(EVALUATIONS, asked.clone()).await["decision"], true);
    // What is wrong with one is said of it, and is no; the others are decided.
    asked["evaluations"] = json!([
        {"resource": no}, {"action": {}}, 7, {"subject": null}, {"subject": {"type": "user", "id": "bob"}}, {},
    ]);
    let told = desk.ask(EVALUATIONS, asked.clone()).await["evaluations"].clone();
    let told: Vec<_> = told.as_array().unwrap().iter().map(|it| it["decision"] == true).collect();
    assert_eq!(told, [false, false, false, false, true, true]);
    asked["options"] = json!({"evaluations_semantic": "deny_on_first_deny"});
    asked["evaluations"] = json!([{}, {"action": {}}, {}]);
    let told = desk.ask(EVALUATIONS, asked.clone()).await["evaluations"].clone();
    assert_eq!(told.as_array().unwrap().len(), 2);
    assert_eq!(told[1]["context"]["error"]["status"], 400);
    for options in
        [json!({"evaluations_semantic": "all"}), json!({"evaluations_semantic": 1}), json!([])]
    {
        asked["options"] = options;
        assert_eq!(desk.send(EVALUATIONS, &[], asked.to_string()).await.status, 400);
    }
}

#[tokio::test]
async fn a_batch_is_bounded() {
    let desk = Desk::new().await;
    let mut asked = reading(document("1", json!({"public": true})));
    asked["evaluations"] = json!(vec![json!({}); 100]);
    let told = desk.ask(EVALUATIONS, asked.clone()).await;
    assert_eq!(told["evaluations"].as_array().unwrap().len(), 100);
    asked["evaluations"] = json!(vec![json!({}); 101]);
    assert_eq!(desk.send(EVALUATIONS, &[], asked.to_string()).await.status, 400);
    let million = format!("{{\"evaluations\":[{}{{}}]}}", "{},".repeat(1_000_000));
    assert_eq!(desk.send(EVALUATIONS, &[], million).await.status, StatusCode::PAYLOAD_TOO_LARGE);
    let deep = format!("{}{}", "[".repeat(33), "]".repeat(33));
    let mut asked = reading(document("1", json!({}))).to_string();
    asked.insert_str(1, &format!("\"context\":{{\"a\":{deep}}},"));
    assert_eq!(desk.send(EVALUATION, &[], asked).await.status, 400);
}

#[tokio::test]
async fn what_lacks_something_is_refused_as_the_standard_says() {
    let desk = Desk::new().await;
    for body in [
        json!({}),
        json!([]),
        json!(null),
        json!("x"),
        json!({"subject": {"type": "user", "id": "a"}, "action": {"name": "can_read"}}),
        json!({"subject": {"type": "user"}, "action": {"name": "can_read"}, "resource": {"type": "document", "id": "1"}}),
        json!({"evaluations": {}}),
        json!({"evaluations": null}),
        json!({"evaluations": 3}),
    ] {
        let answer = desk.send(EVALUATIONS, &[("X-Request-ID", "mine")], body.to_string()).await;
        assert_eq!(
            (answer.status, answer.header("x-request-id")),
            (StatusCode::BAD_REQUEST, "mine"),
            "{body}"
        );
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    for body in ["", "{", "{\"subject\":", "\u{feff}{}"] {
        assert_eq!(desk.send(EVALUATION, &[], body.to_owned()).await.status, 400, "{body}");
    }
    // An application that puts its question together from texts could be made to ask another one.
    let asked = reading(document("1", json!({"public": true}))).to_string();
    for twice in [
        asked.replacen('{', "{\"subject\":{\"type\":\"user\",\"id\":\"eve\"},", 1),
        asked.replace("\"id\":\"alice\"", "\"id\":\"eve\",\"id\":\"alice\""),
        asked.replace("\"id\":\"alice\"", "\"\\u0069d\":\"eve\",\"id\":\"alice\""),
        asked.replace("\"public\":true", "\"public\":false,\"public\":true"),
    ] {
        assert_ne!(twice, asked);
        assert_eq!(desk.send(EVALUATION, &[], twice.clone()).await.status, 400, "{twice}");
        let listed = format!("{{\"evaluations\":[{twice}]}}");
        assert_eq!(desk.send(EVALUATIONS, &[], listed).await.status, 400, "{twice}");
    }
    let request = Request::builder().method(Method::GET).uri(EVALUATION).body(Body::empty());
    assert_eq!(Answer::of(&desk.bench.router, request.unwrap()).await.status, 405);
    // Without anybody who decides, nothing is said.
    *desk.bench.policies.lock().unwrap() = None;
    let answer = desk.send(EVALUATION, &[], reading(document("1", json!({}))).to_string()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_request_id_comes_back_as_it_was_sent() {
    let desk = Desk::new().await;
    let asked = reading(document("1", json!({}))).to_string();
    let named = async |fields: &[(&str, &str)]| {
        desk.send(EVALUATION, fields, asked.clone()).await.header("x-request-id").to_owned()
    };
    let longest = "x".repeat(256);
    for good in ["bfe9eb29-ab87-4ca3-be83-a1d5d8305716", "a b;c=\"d\"", &longest] {
        assert_eq!(named(&[("X-Request-ID", good)]).await, good);
    }
    // What cannot be answered as it is has a name of ours.
    let (tab, too_long) = ("a\tb", "x".repeat(257));
    for bad in [
        &[("X-Request-ID", tab)][..],
        &[("X-Request-ID", &too_long)],
        &[("X-Request-ID", "one"), ("X-Request-ID", "two")],
        &[],
    ] {
        let name = named(bad).await;
        assert!(name.len() == 32 && name.bytes().all(|it| it.is_ascii_hexdigit()), "{name}");
    }
    // Elsewhere a stranger names nothing.
    let request = Request::builder().uri("/.well-known/jwks.json").header("X-Request-ID", "mine");
    let answer = Answer::of(&desk.bench.router, request.body(Body::empty()).unwrap()).await;
    assert_ne!(answer.header("x-request-id"), "mine");
}

#[tokio::test]
async fn only_declared_clients_with_the_scope_ask() {
    let mut desk = Desk::new().await;
    let asked = reading(document("1", json!({"public": true}))).to_string();
    desk.token = token_of_machine(&desk.bench, "other", "session.data").await;
    let answer = desk.send(EVALUATION, &[], asked.clone()).await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (StatusCode::FORBIDDEN, Some("insufficient_scope"))
    );
    assert!(answer.header("www-authenticate").contains(SCOPE));
    for token in ["", "x.y.z", "tgcs_whatever"] {
        desk.token = token.to_owned();
        assert_eq!(
            desk.send(EVALUATION, &[], asked.clone()).await.status,
            StatusCode::UNAUTHORIZED
        );
    }
    let request = Request::builder().method(Method::POST).uri(EVALUATION);
    let answer = Answer::of(&desk.bench.router, request.body(Body::from(asked)).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    assert!(answer.header("www-authenticate").contains(SCOPE));
}

#[tokio::test]
async fn the_metadata_says_where_decisions_are() {
    let desk = Desk::new().await;
    let request = Request::builder().uri("/.well-known/authzen-configuration").body(Body::empty());
    let answer = Answer::of(&desk.bench.router, request.unwrap()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(
        answer.json(),
        json!({
            "policy_decision_point": ISSUER,
            "access_evaluation_endpoint": format!("{ISSUER}{EVALUATION}"),
            "access_evaluations_endpoint": format!("{ISSUER}{EVALUATIONS}"),
        })
    );
}

#[tokio::test]
async fn each_decision_is_written_down_as_it_was_answered() {
    let desk = Desk::new().await;
    desk.bench.decisions.required.store(true, Ordering::SeqCst);
    desk.bench.decisions.taken();
    let long = "ü".repeat(300);
    let mut asked = reading(document("1", json!({"public": true, "owner": "hunter2"})));
    asked["context"] = json!({"reason": "hunter2"});
    asked["subject"]["properties"] = json!({"roles": ["hunter2"]});
    asked["evaluations"] = json!([
        {},
        {"action": {}},
        {"resource": document(&long, json!({}))},
        {"resource": {"type": "route", "id": "orders:/orders"}, "action": {"name": "GET"}},
        {"subject": {"type": "robot", "id": "r2"}},
    ]);
    let answer = desk.send(EVALUATIONS, &[("X-Request-ID", "mine 1")], asked.to_string()).await;
    let answered = answer.json()["evaluations"].clone();
    let written = desk.bench.decisions.taken();
    assert_eq!(written.len(), 5, "{written:?}");
    for (index, (written, told)) in written.iter().zip(answered.as_array().unwrap()).enumerate() {
        assert!(written.durable && written.what == "POST /access/v1/evaluations");
        assert_eq!((written.status, written.named.as_deref()), (200, Some("mine 1")));
        assert_eq!(written.subject.as_deref(), Some("desk"));
        assert_eq!(written.allowed, told["decision"] == true);
        let (number, of, set, decided) = written.evaluation.clone().unwrap();
        assert_eq!((number, of, set.unwrap().len()), (index + 1, 5, 64));
        assert_eq!(written.reason.as_deref(), decided.reason);
        match told["context"].get("error") {
            Some(error) => {
                assert_eq!(decided.asked, None);
                assert_eq!(decided.about.as_deref(), error["message"].as_str());
            }
            None => assert_eq!(decided.reason, told["context"]["reason"].as_str()),
        }
        // What is said of things and people is not for the log.
        assert!(!written.whole.contains("hunter2"), "{}", written.whole);
    }
    let decided = |index: usize| written[index].evaluation.clone().unwrap().3;
    let first = decided(0);
    let asked_for = first.asked.unwrap();
    assert_eq!((asked_for.subject.kind.as_str(), asked_for.subject.id.as_str()), ("user", "alice"));
    assert_eq!((asked_for.action.as_str(), asked_for.resource.id.as_str()), ("can_read", "1"));
    assert_eq!(first.policies[0].as_str(), "public-documents");
    assert_eq!(decided(1).reason, Some("invalid_request"));
    let cut = decided(2).asked.unwrap().resource.id;
    assert!(cut.len() < 270 && cut.ends_with("ü…"), "{cut}");
    assert_eq!(decided(3).rule.as_deref(), Some("orders:/orders"));
    assert_eq!(decided(4).about.as_deref(), Some("subject.type"));

    // What was not decided any more is not written down, and what asks for nothing that is known is one line.
    asked["options"] = json!({"evaluations_semantic": "deny_on_first_deny"});
    assert_eq!(desk.send(EVALUATIONS, &[], asked.to_string()).await.status, 200);
    assert_eq!(desk.bench.decisions.taken().len(), 2);
    assert_eq!(desk.send(EVALUATION, &[], "{}".to_owned()).await.status, 400);
    let written = desk.bench.decisions.taken();
    assert_eq!(written.len(), 1);
    assert!(!written[0].allowed && written[0].evaluation.is_none() && written[0].named.is_none());
    assert_eq!(written[0].subject.as_deref(), Some("desk"));
}

#[tokio::test]
async fn no_decision_is_answered_that_could_not_be_written_down() {
    let desk = Desk::new().await;
    let asked = reading(document("1", json!({"public": true}))).to_string();
    let kept = &desk.bench.decisions;
    kept.required.store(true, Ordering::SeqCst);
    kept.refusing.store(true, Ordering::SeqCst);
    let answer = desk.send(EVALUATION, &[("X-Request-ID", "mine")], asked.clone()).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.body.contains("decision\":"), "{}", answer.body);
    assert_eq!((answer.header("x-request-id"), answer.header("retry-after")), ("mine", "1"));
    // Where it need not be, what cannot be written down is answered.
    kept.required.store(false, Ordering::SeqCst);
    assert_eq!(desk.send(EVALUATION, &[], asked).await.status, 200);
}

/// The people of the scenario of the working group's interoperability events, by the `sub` that stands for
/// each there, with what they are.
const PEOPLE: [(&str, &str, &[&str]); 5] = [
    (
        "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs",
        "rick@the-citadel.com",
        &["admin", "evil_genius"],
    ),
    (
        "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs",
        "morty@the-citadel.com",
        &["editor"],
    ),
    (
        "CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs",
        "summer@the-smiths.com",
        &["editor"],
    ),
    (
        "CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs",
        "beth@the-smiths.com",
        &["viewer"],
    ),
    (
        "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs",
        "jerry@the-smiths.com",
        &["viewer"],
    ),
];

const TODO_SCHEMA: &str = r#"
    namespace Interop {
      entity Todo = { "ownerID"?: String };
      action "can_read_user" appliesTo { principal: [Tegata::User], resource: [Tegata::User] };
      action "can_read_todos", "can_create_todo", "can_update_todo", "can_delete_todo" appliesTo {
        principal: [Tegata::User],
        resource: [Todo]
      };
    }
"#;

/// What the scenario says of roles, and who has which: the requests do not.
fn todo_policies() -> String {
    let mut text = String::from(
        "permit (principal, action in [Interop::Action::\"can_read_user\", \
         Interop::Action::\"can_read_todos\"], resource);\n",
    );
    for (id, email, roles) in PEOPLE {
        let mut permit = |actions: &[&str], when: &str| {
            for action in actions {
                text += &format!(
                    "permit (principal == Tegata::User::\"{id}\", \
                     action == Interop::Action::\"{action}\", resource){when};\n"
                );
            }
        };
        let own = format!(" when {{ resource has ownerID && resource.ownerID == \"{email}\" }}");
        for role in roles {
            match *role {
                "viewer" => {}
                "editor" => {
                    permit(&["can_create_todo"], "");
                    permit(&["can_update_todo", "can_delete_todo"], &own);
                }
                "admin" => permit(&["can_create_todo", "can_delete_todo"], ""),
                "evil_genius" => permit(&["can_create_todo", "can_update_todo"], ""),
                other => panic!("{other}"),
            }
        }
    }
    text
}

#[tokio::test]
async fn the_todo_scenario_of_the_working_group_is_answered_as_it_says() {
    let desk = Desk::with(TODO_SCHEMA, &todo_policies()).await;
    let todo = |owner: &str| {
        json!({
            "type": "todo",
            "id": "7240d0db-8ff0-41ec-98b2-34a096273b9f",
            "properties": {"ownerID": owner},
        })
    };
    for (id, email, roles) in PEOPLE {
        let is = |role: &str| roles.contains(&role);
        let subject = json!({"type": "user", "id": id});
        let asked = async |action: &str, resource: Value| {
            let asked = json!({
                "subject": subject, "action": {"name": action}, "resource": resource, "context": {},
            });
            desk.ask(EVALUATION, asked).await["decision"] == true
        };
        let any = json!({"type": "todo", "id": "todo-1"});
        assert!(asked("can_read_todos", any.clone()).await, "{email}");
        let creates = is("editor") || is("admin");
        assert_eq!(asked("can_create_todo", any).await, creates, "{email}");
        let (mut listed, mut updates) = (Vec::new(), Vec::new());
        for (_, owner, _) in PEOPLE {
            assert!(asked("can_read_user", json!({"type": "user", "id": owner})).await);
            let own = is("editor") && owner == email;
            assert_eq!(asked("can_update_todo", todo(owner)).await, is("evil_genius") || own);
            assert_eq!(asked("can_delete_todo", todo(owner)).await, is("admin") || own);
            listed.push(json!({"resource": todo(owner)}));
            updates.push(is("evil_genius") || own);
        }
        // All at once, with an empty resource at the top, as the scenario has it.
        let asked = json!({
            "subject": subject, "action": {"name": "can_update_todo"}, "resource": {}, "context": {},
            "evaluations": listed,
        });
        let told = desk.ask(EVALUATIONS, asked).await["evaluations"].clone();
        let told: Vec<_> =
            told.as_array().unwrap().iter().map(|it| it["decision"] == true).collect();
        assert_eq!(told, updates, "{email}");
    }
}
