//! What policies decide, for others that enforce it: the OpenID AuthZEN Authorization API 1.0, with its
//! endpoints for one evaluation and for several, and its metadata.
//!
//! What is asked is read as values. What of it is not known decides nothing, so that the answer is no.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{Request, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use tegata_core::Timestamp;
use tegata_policy::{Answer, Evaluation, PolicySet, ReasonId, evaluate::Thing};
use tokio::task::spawn_blocking;

use crate::{
    acting,
    app::App,
    bearer::Presented,
    body::{self, Unique},
    headers::NoStore,
    problem::Problem,
    recorded::{self, AskedFor, Evaluated, Evaluations, Named},
    router::method_not_allowed,
    trace::REQUEST_ID,
    well_known,
};

/// How many evaluations one request may ask for.
pub const MOST: usize = 100;

/// The longest name of a request that is answered, in bytes.
const LONGEST_NAME: usize = 256;

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";

/// Everything under `/access/v1`.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route(EVALUATION, post(evaluation))
        .route(EVALUATIONS, post(evaluations))
        .method_not_allowed_fallback(method_not_allowed)
}

/// `/.well-known/authzen-configuration` (§9).
pub(crate) async fn metadata(State(app): State<App>, headers: HeaderMap) -> Response {
    let issuer = app.provider().issuer();
    let document = json!({
        "policy_decision_point": issuer,
        "access_evaluation_endpoint": format!("{issuer}{EVALUATION}"),
        "access_evaluations_endpoint": format!("{issuer}{EVALUATIONS}"),
    });
    well_known::document(&app, &headers, &document.to_string())
}

async fn evaluation(State(app): State<App>, request: Request) -> Response {
    let now = app.node().now();
    answered(&app, request, move |set, body| one(set, &body, now)).await
}

/// Decides what a whole request asks.
fn one(set: &PolicySet, body: &Map<String, Value>, now: Timestamp) -> Result<Answered, Problem> {
    let asked = Asked::of(body, &NOTHING).map_err(|Missing(why)| malformed(why))?;
    let told = asked.decide(set, now);
    let evaluations = Evaluations::of(set, vec![told.evaluation(Some(&asked))]);
    Ok(Answered { answer: told.json(), evaluations })
}

async fn evaluations(State(app): State<App>, request: Request) -> Response {
    let now = app.node().now();
    answered(&app, request, move |set, body| {
        let listed = match body.get("evaluations") {
            None => &[],
            Some(Value::Array(listed)) => listed.as_slice(),
            Some(_) => return Err(malformed("`evaluations` must be an array")),
        };
        // §7.1: without any, it is a request for one.
        if listed.is_empty() {
            return one(set, &body, now);
        }
        if listed.len() > MOST {
            return Err(malformed("there are more than 100 evaluations; ask for them in parts"));
        }
        let semantic = Semantic::of(body.get("options"))?;
        let (mut answers, mut decided) = (Vec::with_capacity(listed.len()), Vec::new());
        for one in listed {
            let asked = match one.as_object().ok_or(Missing("an evaluation must be an object")) {
                Ok(one) => Asked::of(one, &body),
                Err(missing) => Err(missing),
            };
            // §7.2.1: what is wrong with one is said of it, and decides no.
            let told = match &asked {
                Ok(asked) => asked.decide(set, now),
                Err(Missing(why)) => Told::wrong(why),
            };
            decided.push(told.evaluation(asked.as_ref().ok()));
            let allowed = told.is_allowed();
            answers.push(told.json());
            if semantic.ends_with(allowed) {
                break;
            }
        }
        let evaluations = Evaluations::of(set, decided);
        Ok(Answered { answer: json!({"evaluations": answers}), evaluations })
    })
    .await
}

/// What is answered, and what of it is written down.
struct Answered {
    answer: Value,
    evaluations: Evaluations,
}

async fn answered(
    app: &App,
    request: Request,
    decide: impl FnOnce(&PolicySet, Map<String, Value>) -> Result<Answered, Problem> + Send + 'static,
) -> Response {
    let response = match decided(app, request, decide).await {
        Ok(Answered { answer, evaluations }) => {
            let mut response = Json(answer).into_response();
            response.extensions_mut().insert(evaluations);
            response
        }
        Err(refused) => refused,
    };
    NoStore(response).into_response()
}

async fn decided(
    app: &App,
    request: Request,
    decide: impl FnOnce(&PolicySet, Map<String, Value>) -> Result<Answered, Problem> + Send + 'static,
) -> Result<Answered, Response> {
    let client = acting::for_decisions(app, Presented::of(app, &request)).await;
    let client = client.map_err(IntoResponse::into_response)?;
    recorded::by(client.id.as_str());
    let body = body::json::<Unique>(app, request).await;
    let Unique(body) = body.map_err(|wrong| Problem::from(wrong).into_response())?;
    let Value::Object(body) = body else {
        return Err(malformed("the body must be a JSON object").into_response());
    };
    let set = app.policies().ok_or_else(|| {
        let detail = "no policies decide here at present";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .after(Duration::from_secs(1))
            .into_response()
    })?;
    tracing::debug!(client = client.id.as_str(), "asked what policies decide");
    // A hundred of them may take a while, in which others are answered.
    let decided = spawn_blocking(move || decide(&set, body)).await;
    let decided = decided.unwrap_or_else(|_| {
        Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "it could not be decided"))
    });
    decided.map_err(IntoResponse::into_response)
}

/// The name that a request for decisions came with, where it is one that can be answered as it is (§10.1.2).
pub(crate) fn name(request: &Request) -> Option<HeaderValue> {
    let path = request.uri().path();
    [EVALUATION, EVALUATIONS].contains(&path).then(|| named(request.headers())).flatten()
}

fn named(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut names = headers.get_all(REQUEST_ID).into_iter();
    let (first, second) = (names.next()?, names.next());
    let is_plain = first.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    let fits = (1..=LONGEST_NAME).contains(&first.len());
    (second.is_none() && fits && is_plain).then(|| first.clone())
}

fn malformed(why: &'static str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, why).named("invalid_request")
}

/// When several evaluations end before the last (§7.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Semantic {
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

impl Semantic {
    fn of(options: Option<&Value>) -> Result<Self, Problem> {
        let options = match options {
            None => return Ok(Self::ExecuteAll),
            Some(Value::Object(options)) => options,
            Some(_) => return Err(malformed("`options` must be an object")),
        };
        match options.get("evaluations_semantic").map(Value::as_str) {
            None | Some(Some("execute_all")) => Ok(Self::ExecuteAll),
            Some(Some("deny_on_first_deny")) => Ok(Self::DenyOnFirstDeny),
            Some(Some("permit_on_first_permit")) => Ok(Self::PermitOnFirstPermit),
            Some(_) => Err(malformed(
                "`evaluations_semantic` must be `execute_all`, `deny_on_first_deny` or \
                 `permit_on_first_permit`",
            )),
        }
    }

    const fn ends_with(self, allowed: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !allowed,
            Self::PermitOnFirstPermit => allowed,
        }
    }
}

/// What an evaluation lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Missing(&'static str);

/// An evaluation, with what it leaves out taken from the defaults (§7.1.1).
#[derive(Debug)]
struct Asked<'a> {
    subject: Part<'a>,
    action: &'a str,
    action_properties: &'a Map<String, Value>,
    resource: Part<'a>,
    context: &'a Map<String, Value>,
}

/// A subject or a resource.
#[derive(Debug)]
struct Part<'a> {
    kind: &'a str,
    id: &'a str,
    properties: &'a Map<String, Value>,
}

/// What nothing is said in.
static NOTHING: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

impl<'a> Asked<'a> {
    fn of(one: &'a Map<String, Value>, defaults: &'a Map<String, Value>) -> Result<Self, Missing> {
        // Each member as a whole: a subject of one and the properties of another would be nobody's.
        let member = |name: &str| one.get(name).or_else(|| defaults.get(name));
        let action = member("action").ok_or(Missing("there is no `action`"))?;
        let action = action.as_object().ok_or(Missing("`action` must be an object"))?;
        let name = action.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
        Ok(Self {
            subject: Part::of(
                member("subject"),
                &[
                    "there is no `subject`",
                    "`subject` must be an object",
                    "`subject.type` must be a text, and not empty",
                    "`subject.id` must be a text, and not empty",
                    "`subject.properties` must be an object",
                ],
            )?,
            action: name.ok_or(Missing("`action.name` must be a text, and not empty"))?,
            action_properties: object(action.get("properties"))
                .ok_or(Missing("`action.properties` must be an object"))?,
            resource: Part::of(
                member("resource"),
                &[
                    "there is no `resource`",
                    "`resource` must be an object",
                    "`resource.type` must be a text, and not empty",
                    "`resource.id` must be a text, and not empty",
                    "`resource.properties` must be an object",
                ],
            )?,
            context: object(member("context")).ok_or(Missing("`context` must be an object"))?,
        })
    }

    fn decide<'s>(&self, set: &'s PolicySet, now: Timestamp) -> Told<'s> {
        let thing =
            |part: &Part<'a>| Thing { kind: part.kind, id: part.id, properties: part.properties };
        Told::Answer(set.evaluate(&Evaluation {
            subject: thing(&self.subject),
            action: self.action,
            action_properties: self.action_properties,
            resource: thing(&self.resource),
            context: self.context,
            now: Some(now),
        }))
    }
}

impl<'a> Part<'a> {
    fn of(
        value: Option<&'a Value>,
        [missing, no_object, kind, id, properties]: &[&'static str; 5],
    ) -> Result<Self, Missing> {
        let members = value.ok_or(Missing(missing))?.as_object().ok_or(Missing(no_object))?;
        let text =
            |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        Ok(Self {
            kind: text("type").ok_or(Missing(kind))?,
            id: text("id").ok_or(Missing(id))?,
            properties: object(members.get("properties")).ok_or(Missing(properties))?,
        })
    }
}

/// The members of an object that may be left out.
fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.map_or(Some(&NOTHING), Value::as_object)
}

/// What is answered to one evaluation (§5.5).
#[derive(Debug)]
enum Told<'s> {
    Answer(Answer<'s>),
    /// It cannot be read.
    Wrong(&'static str),
}

impl<'s> Told<'s> {
    const fn wrong(why: &'static str) -> Self {
        Self::Wrong(why)
    }

    const fn is_allowed(&self) -> bool {
        matches!(self, Self::Answer(answer) if answer.is_allowed())
    }

    /// What is written down of it. What was said of things besides their names is not: it is whatever the
    /// application knows of people.
    fn evaluation(&self, asked: Option<&Asked<'_>>) -> Evaluated {
        let named = |part: &Part<'_>| Named::of(part.kind, part.id);
        let asked = asked.map(|asked| AskedFor {
            subject: named(&asked.subject),
            action: recorded::short(asked.action),
            resource: named(&asked.resource),
        });
        match self {
            Self::Answer(answer) => {
                let mut policies: Vec<_> =
                    answer.policies.iter().map(|policy| policy.id.clone()).collect();
                let more = policies.len().saturating_sub(recorded::MOST_POLICIES);
                policies.truncate(recorded::MOST_POLICIES);
                Evaluated {
                    asked,
                    reason: answer.reason.map(ReasonId::as_str),
                    about: answer.about.as_deref().map(recorded::short),
                    rule: answer.rule.map(|rule| rule.as_str().to_owned()),
                    policies,
                    more,
                }
            }
            Self::Wrong(why) => Evaluated {
                asked,
                reason: Some("invalid_request"),
                about: Some((*why).to_owned()),
                rule: None,
                policies: Vec::new(),
                more: 0,
            },
        }
    }

    fn json(self) -> Value {
        let mut context = Map::new();
        let allowed = self.is_allowed();
        match self {
            Self::Answer(answer) => {
                if let Some(reason) = answer.reason {
                    context.insert("reason".to_owned(), reason.as_str().into());
                }
                if let Some(about) = answer.about {
                    context.insert("about".to_owned(), about.into());
                }
                let names: Vec<&str> =
                    answer.policies.iter().map(|policy| policy.id.as_str()).collect();
                if !names.is_empty() {
                    context.insert("policies".to_owned(), names.into());
                }
            }
            Self::Wrong(why) => {
                let error = json!({"status": 400, "message": why});
                context.insert("error".to_owned(), error);
            }
        }
        let mut told = Map::from_iter([("decision".to_owned(), Value::Bool(allowed))]);
        if !context.is_empty() {
            told.insert("context".to_owned(), context.into());
        }
        told.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_answered_as_it_was_sent_or_not_at_all() {
        let of = |names: &[&[u8]]| {
            let mut headers = HeaderMap::new();
            for name in names {
                headers.append(REQUEST_ID, HeaderValue::from_bytes(name).unwrap());
            }
            named(&headers)
        };
        let longest = [b'x'; LONGEST_NAME];
        for good in [b"bfe9eb29-ab87-4ca3-be83-a1d5d8305716".as_slice(), b"a b~!", &longest] {
            assert_eq!(of(&[good]).unwrap().as_bytes(), good);
        }
        for bad in [b"".as_slice(), b"a\tb", "é".as_bytes(), &[b'x'; LONGEST_NAME + 1]] {
            assert!(of(&[bad]).is_none(), "{bad:?}");
        }
        assert!(of(&[b"one", b"two"]).is_none() && of(&[]).is_none());
    }

    #[test]
    fn defaults_fill_what_is_left_out_and_nothing_else() {
        let of = |one: Value, defaults: Value| {
            let (Value::Object(one), Value::Object(defaults)) = (one, defaults) else { panic!() };
            Asked::of(&one, &defaults).map(|asked| {
                let properties = Value::from(asked.subject.properties.clone());
                (asked.subject.id.to_owned(), properties, asked.action.to_owned())
            })
        };
        let alice = json!({"type": "user", "id": "alice", "properties": {"roles": ["admin"]}});
        let read = json!({"name": "read"});
        let thing = json!({"type": "document", "id": "1"});
        let defaults = json!({"subject": alice, "action": read, "resource": thing});
        let found = of(json!({}), defaults.clone()).unwrap();
        assert_eq!(found, ("alice".into(), json!({"roles": ["admin"]}), "read".into()));
        // Nobody gets the roles of somebody else.
        let bob = json!({"subject": {"type": "user", "id": "bob"}});
        assert_eq!(of(bob, defaults.clone()).unwrap().1, json!({}));
        for (one, why) in [
            (json!({"subject": null}), "`subject` must be an object"),
            (json!({"subject": {"type": "user"}}), "`subject.id` must be a text, and not empty"),
            (
                json!({"subject": {"type": 1, "id": "a"}}),
                "`subject.type` must be a text, and not empty",
            ),
            (json!({"action": "read"}), "`action` must be an object"),
            (json!({"action": {"name": ""}}), "`action.name` must be a text, and not empty"),
            (json!({"context": []}), "`context` must be an object"),
            (
                json!({"resource": {"type": "a", "id": "b", "properties": 1}}),
                "`resource.properties` must be an object",
            ),
        ] {
            assert_eq!(of(one, defaults.clone()).unwrap_err(), Missing(why));
        }
        assert_eq!(of(json!({}), json!({})).unwrap_err(), Missing("there is no `action`"));
    }
}
