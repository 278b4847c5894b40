//! Requests in GraphQL, judged before a service sees them.
//!
//! A document is read once, bounded before it is checked and checked before it is counted: what would
//! be large only when it is executed, such as fragments in fragments, is never expanded here. What a
//! service gets is not what the client wrote but what was judged, written anew: one operation with the
//! fragments that it uses, and the variables that it declares. So no two readings of one text can
//! differ between here and there.
//!
//! | module | subject |
//! |---|---|
//! | [`request`] | what came over HTTP: one request, or several |
//! | [`schema`] | the schema, and who may see what of it |
//! | [`document`] | the text: how large, how deep, whether it fits the schema |
//! | [`merge`] | where fields come together under one name |
//! | [`cost`] | what an operation may cost at most |
//! | [`wrong`] | what a client is told |

use std::{fmt, net::IpAddr, sync::Arc};

use apollo_compiler::{
    ast::OperationType,
    introspection::check_max_depth,
    request::coerce_variable_values,
    response::{JsonMap, JsonValue},
};
use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use http::{StatusCode, uri::PathAndQuery};
use quick_cache::{Weighter, sync::Cache};
use serde::Serialize;
use serde_json::{Map, Value};
use tegata_core::{Network, SinceBoot, rate::Answer, rate::Limiter};
use tegata_mesh::{Fault, Graphql, InvalidMap, Route, ServiceMap, map::Rule};

mod cost;
mod document;
mod merge;
mod request;
mod schema;
mod wrong;

use document::{LARGEST, Operation, TOKENS, too_large};
pub use request::Request;
use request::{Asked, Came};
use schema::Schema;
pub use wrong::Wrong;

/// How many bytes of documents are remembered with what was found out about them. What is kept of one is some
/// fifty times as large.
const REMEMBERED: u64 = 256 * 1024;

/// Documents that are longer are not remembered.
const REMEMBERABLE: usize = 32 * 1024;

/// Of how many callers it is remembered what they spent.
const SPENDERS: usize = 20_000;

/// How many fields are named that somebody may not see.
const NAMED: usize = 10;

/// Checks the schemas of those routes of a map that `asked` says, as the gateway will read them.
///
/// # Errors
/// What is wrong with them, with line and column.
pub fn check(map: &ServiceMap, asked: impl Fn(&str) -> bool) -> Result<(), InvalidMap> {
    let faults: Vec<Fault> = map
        .routes()
        .filter(|route| asked(&route.path))
        .filter_map(|route| Some((route, route.graphql.as_ref()?)))
        .flat_map(|(route, graphql)| {
            let faults = Schema::compile(&graphql.schema).err().unwrap_or_default();
            faults.into_iter().map(|fault| {
                let (line, column, reason) = (fault.line, fault.column, fault.reason);
                let entry = format!("[[route]] `{}`", route.path);
                Fault { entry, rule: Rule::Schema { line, column, reason } }
            })
        })
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(InvalidMap { faults }) }
}

/// What somebody may, as far as a schema can ask.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rights<'r> {
    /// Whether it is known who asks.
    pub known: bool,
    /// The roles that count.
    pub roles: &'r [&'r str],
    /// The scopes that count.
    pub scopes: &'r [&'r str],
}

/// What may pass.
#[derive(Debug)]
pub struct Judged {
    /// What the service gets, as JSON.
    pub body: Bytes,
    /// The names of the operations, for the record; of one without a name, nothing.
    pub names: String,
    /// What it may cost at most.
    pub cost: u32,
}

/// Weighs documents by their length.
#[derive(Debug, Clone)]
struct ByLength;

impl Weighter<[u8; 32], Arc<Operation>> for ByLength {
    fn weight(&self, _: &[u8; 32], operation: &Arc<Operation>) -> u64 {
        u64::try_from(operation.length).unwrap_or(u64::MAX).max(1)
    }
}

/// What looks at the bodies of one route. Made once for a map, and kept by the next where nothing of it
/// changed.
pub struct Endpoint {
    set: Graphql,
    /// Where it could not be compiled, nothing passes.
    schema: Result<Schema, String>,
    operations: Cache<[u8; 32], Arc<Operation>, ByLength>,
    spent: Limiter<Whose>,
}

/// Who spends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Whose {
    Caller(Box<str>),
    Network(Network),
}

impl Endpoint {
    /// Compiles a schema. One that is not valid refuses everything: it was checked when it was applied, so
    /// that an older or newer program wrote it.
    #[must_use]
    pub fn new(set: &Graphql) -> Self {
        let schema = Schema::compile(&set.schema).map_err(|faults| {
            let first = faults.first();
            first.map_or_else(String::new, |it| format!("{}:{} {}", it.line, it.column, it.reason))
        });
        Self {
            set: set.clone(),
            schema,
            operations: Cache::with_weighter(256, REMEMBERED, ByLength),
            spent: Limiter::new(SPENDERS),
        }
    }

    /// Those of the routes of a map, beside each its own. What is as it was `before` is kept, with what it
    /// learnt.
    pub(crate) fn of(route: &Route, before: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let set = route.graphql.as_ref()?;
        if let Some(before) = before.filter(|before| before.set == *set) {
            return Some(Arc::clone(before));
        }
        let made = Self::new(set);
        if let Err(why) = &made.schema {
            tracing::warn!(
                route = route.path,
                why,
                "its schema is not valid: nothing passes there"
            );
        }
        Some(Arc::new(made))
    }

    /// What the service is asked for. A checked map says nothing else than paths.
    pub(crate) fn target(&self) -> PathAndQuery {
        let path = PathAndQuery::try_from(self.set.upstream_path.as_str());
        path.unwrap_or_else(|_| PathAndQuery::from_static("/graphql"))
    }

    /// Under which name operations are counted: one of those that were declared, or another for all others.
    pub(crate) fn counted_as<'n>(&self, names: &'n str) -> &'n str {
        match names {
            "" => "none",
            name if self.set.operations.contains(name) => name,
            _ => "other",
        }
    }

    /// Judges a request. Answers what may be sent on, or why nothing is.
    ///
    /// # Errors
    /// It is no request in GraphQL, it is too much, or the caller may not see what it asks for.
    pub fn judge(&self, request: &Request<'_>, rights: Rights<'_>) -> Result<Judged, Wrong> {
        let Ok(schema) = &self.schema else {
            return Err(Wrong::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "graphql_schema",
                "the schema of this endpoint cannot be used",
            ));
        };
        let came = request.read(self.set.batch)?;
        let (all, is_batch) = match came {
            Came::One(asked) => (vec![*asked], false),
            Came::Batch(all) => (all, true),
        };
        let mut whole = Whole::default();
        let mut sent = Vec::with_capacity(all.len());
        for asked in &all {
            let one = self.one(schema, asked, request.is_get(), rights, &mut whole);
            sent.push(one.map_err(|wrong| wrong.naming(in_one(&whole.names)))?);
        }
        let body = match sent.as_slice() {
            [one] if !is_batch => serde_json::to_vec(one),
            all => serde_json::to_vec(all),
        };
        // Texts and values that were read have a JSON form.
        let body = body.unwrap_or_default().into();
        let cost = u32::try_from(whole.cost).unwrap_or(u32::MAX);
        Ok(Judged { body, names: in_one(&whole.names), cost })
    }

    /// One operation of those that come together.
    fn one(
        &self,
        schema: &Schema,
        asked: &Asked,
        by_get: bool,
        rights: Rights<'_>,
        whole: &mut Whole,
    ) -> Result<Sent, Wrong> {
        let operation = self.operation(schema, asked)?;
        let name = operation.name().map(str::to_owned);
        whole.names.push(name.clone());
        match operation.kind() {
            OperationType::Subscription => {
                return Err(Wrong::bad(
                    "graphql_subscription",
                    "subscriptions do not pass here: ask with a query",
                ));
            }
            OperationType::Mutation if by_get => {
                return Err(Wrong::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "graphql_mutation_by_get",
                    "a `GET` changes nothing: send mutations with `POST`",
                )
                .allowing_post());
            }
            OperationType::Query | OperationType::Mutation => {}
        }
        whole.tokens = whole.tokens.saturating_add(operation.tokens);
        whole.size = whole.size.saturating_add(operation.shape.size);
        if whole.tokens > TOKENS || whole.size > LARGEST {
            return Err(too_large());
        }
        whole.aliases = whole.aliases.saturating_add(operation.shape.aliases);
        within("graphql_depth", "fields stand in fields", operation.shape.depth, self.set.depth)?;
        within("graphql_aliases", "fields have other names", whole.aliases, self.set.aliases)?;
        self.may(schema, &operation, rights)?;
        let variables = values(asked.variables.as_ref());
        let known = coerce_variable_values(&schema.valid, operation.operation(), &variables);
        let known = known.map_err(|error| {
            Wrong::bad("graphql_variables", wrong::line(&error.message().to_string()))
        })?;
        let cost = cost::of(schema, &operation, &known);
        whole.cost = whole.cost.saturating_add(cost);
        if whole.cost > u64::from(self.set.cost) {
            let (cost, most) = (whole.cost, self.set.cost);
            let detail = format!(
                "it may cost {cost}, and one request may cost {most}: ask for less, or for fewer at a time"
            );
            return Err(Wrong::bad("graphql_cost", detail));
        }
        let declared = |name: &String| {
            operation.operation().variables.iter().any(|it| it.name.as_str() == name)
        };
        let variables = asked.variables.as_ref().map(|all| {
            let own = all.iter().filter(|(name, _)| declared(name));
            own.map(|(name, value)| (name.clone(), value.clone())).collect()
        });
        Ok(Sent { query: operation.text.clone(), name, variables })
    }

    /// The operation that is asked for, as it was read before or is now.
    fn operation(&self, schema: &Schema, asked: &Asked) -> Result<Arc<Operation>, Wrong> {
        let Some(query) = &asked.query else {
            return Err(if asked.is_persisted {
                // Clients that know this word send the whole text then.
                Wrong::bad("graphql_persisted_query", "PersistedQueryNotSupported")
            } else {
                Wrong::bad("graphql_malformed", "`query` is missing")
            });
        };
        let name = asked.operation.as_deref();
        // INVARIANT: what is remembered of one text never serves for another.
        let mut text = Vec::with_capacity(query.len() + 80);
        text.extend_from_slice(&name.map_or(u64::MAX, |it| it.len() as u64).to_be_bytes());
        text.extend_from_slice(name.unwrap_or_default().as_bytes());
        text.extend_from_slice(query.as_bytes());
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(digest(&SHA256, &text).as_ref()) {
            *to = *from;
        }
        if let Some(known) = self.operations.get(&key) {
            return Ok(known);
        }
        let read = Arc::new(Operation::read(schema, query, name)?);
        if query.len() <= REMEMBERABLE {
            self.operations.insert(key, Arc::clone(&read));
        }
        Ok(read)
    }

    /// Whether the caller may see all that is asked for.
    fn may(&self, schema: &Schema, operation: &Operation, rights: Rights<'_>) -> Result<(), Wrong> {
        if operation.introspects {
            let has = |roles: &std::collections::BTreeSet<tegata_mesh::RoleName>| {
                roles.iter().any(|role| rights.roles.contains(&role.as_str()))
            };
            if !self.set.introspection.as_ref().is_none_or(has) {
                return Err(Wrong::new(
                    StatusCode::FORBIDDEN,
                    "graphql_introspection",
                    "the schema is not told here: leave out `__schema` and `__type`",
                ));
            }
            // Lists of lists of it grow like the schema, to the power of how deep they are asked for.
            check_max_depth(&operation.document, operation.operation()).map_err(|_| {
                Wrong::bad("graphql_depth", "the schema is asked for too many times over")
            })?;
        }
        let lacking: Vec<&str> = schema.lacking(&operation.asks, rights).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let (status, id) = if rights.known {
            (StatusCode::FORBIDDEN, "graphql_forbidden")
        } else {
            (StatusCode::UNAUTHORIZED, "not_authenticated")
        };
        let told = lacking.iter().take(NAMED);
        let told = told.map(|what| format!("`{what}` is not for you")).collect();
        Err(Wrong::several(status, id, told))
    }

    /// Counts what a request may cost. `None`: nothing limits it.
    pub(crate) fn spend(
        &self,
        caller: Option<&str>,
        address: IpAddr,
        cost: u32,
        now: SinceBoot,
    ) -> Option<Answer> {
        let limit = self.set.cost_limit?;
        if let Some(caller) = caller {
            return Some(self.spent.take(Whose::Caller(caller.into()), limit, cost, now));
        }
        let mut answer = None;
        for (network, callers) in Network::counted(address) {
            let said = self.spent.take(Whose::Network(network), limit.times(callers), cost, now);
            answer = Some(said);
            if !said.passes {
                break;
            }
        }
        answer
    }
}

/// What comes together, taken together.
#[derive(Debug, Default)]
struct Whole {
    tokens: usize,
    size: u32,
    aliases: u32,
    cost: u64,
    names: Vec<Option<String>>,
}

/// What a service gets of one operation.
#[derive(Debug, Serialize)]
struct Sent {
    query: String,
    #[serde(rename = "operationName", skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    variables: Option<Map<String, Value>>,
}

fn within(id: &'static str, what: &str, is: u32, most: u32) -> Result<(), Wrong> {
    if is <= most {
        return Ok(());
    }
    Err(Wrong::bad(id, format!("{what} {is} times, and {most} times at most is allowed")))
}

/// Names in one line that is not too long for a record.
fn in_one(names: &[Option<String>]) -> String {
    let mut line = String::new();
    for name in names.iter().flatten() {
        if line.len() + name.len() > 128 {
            line.push('…');
            break;
        }
        if !line.is_empty() {
            line.push(',');
        }
        line.push_str(name);
    }
    line
}

/// The same values, in the words of whoever checks them.
fn values(variables: Option<&Map<String, Value>>) -> JsonMap {
    let mut all = JsonMap::new();
    for (name, value) in variables.into_iter().flatten() {
        all.insert(name.as_str(), JsonValue::from(value.clone()));
    }
    all
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.set.upstream_path)
    }
}

#[cfg(test)]
mod tests;
