//! Orders about policies.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tegata_mesh::Target;
use tegata_policy::{Bundle, PolicySet, ReasonId};

use super::{Refused, others};
use crate::{
    cluster,
    command::{Failed, apply},
    compose::Composed,
    config,
    policies::{DeclaredPolicies, question::Question},
};

/// What is asked about a request that nobody made.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Asked {
    /// With a path; its service and route are found by it.
    pub(crate) question: Question,
}

/// What would be decided about a request, and why.
pub(crate) async fn explain(composed: &Composed, asked: &Asked) -> Result<Value, Refused> {
    let Some(set) = composed.policies.set() else {
        return Err(Refused::from(
            "no server decides here: name a directory, or start the server".to_owned(),
        ));
    };
    let map = composed.registry.map(&composed.realm).await?;
    let mut question = asked.question.clone();
    if question.route.is_empty() {
        let wrong =
            |why: String| Refused::from(format!("`{}`: {why}", question.path.escape_debug()));
        let target =
            Target::parse(question.path.as_bytes()).map_err(|error| wrong(error.to_string()))?;
        let path = target.path();
        let table = map.table();
        let found = table.find(path).ok_or_else(|| wrong("no route leads there".to_owned()))?;
        let (service, route) = (found.route.service.as_str().to_owned(), found.route.path.clone());
        let path = path.as_str().to_owned();
        (question.service, question.route, question.path) = (service, route, path);
    }
    Ok(explained(&set, &question)?)
}

/// The same of a set that is at hand.
pub(crate) fn explained(set: &PolicySet, question: &Question) -> Result<Value, String> {
    question.ask(set, |request| {
        let decision = set.decide(request);
        let explanation = set.explain(request);
        let policies: Vec<_> = decision
            .policies()
            .iter()
            .map(|policy| {
                json!({
                    "id": policy.id,
                    "effect": policy.effect,
                    "place": format!("{}:{}", policy.file, policy.line),
                    "annotations": policy.annotations,
                    "text": &*policy.text,
                })
            })
            .collect();
        json!({
            "decision": if decision.is_allowed() { "allow" } else { "deny" },
            "reason": decision.reason().map(ReasonId::as_str),
            "service": question.service,
            "route": question.route,
            "path": question.path,
            "rule": decision.rule(),
            "policies": policies,
            "policy_set": set.bundle().map(|bundle| digest(bundle)),
            "change": explanation.change,
        })
    })
}

/// The digest of policies, as decisions name it.
pub(crate) fn digest(bundle: &Bundle) -> String {
    bundle.digest().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What policies that are tried would have changed, on all nodes that answer.
pub(crate) async fn shadow(composed: &Composed) -> Result<Value, Refused> {
    let (version, report) = composed.policies.shadow();
    let report = report.ok_or_else(|| {
        Refused::from(
            "no policies are tried here: set `[policy] mode = \"shadow\"`, or name a directory as \
             `[policy] shadow`"
                .to_owned(),
        )
    })?;
    let mut whole = Whole::new(&json!(report));
    let mut nodes = vec![composed.cluster.name().to_owned()];
    let (answers, mut untold) = match others::ask(composed, &others::Asked::Shadow).await {
        Ok(answered) => answered,
        Err(error) => {
            tracing::warn!(%error, "the other nodes are not asked what they tried");
            (Vec::new(), cluster::others(composed).await)
        }
    };
    for others::Answer { node, told } in answers {
        match told {
            // What was counted of other policies is no part of this.
            Some(told) if told.get("version") == Some(&json!(version)) => {
                whole.add(told.get("report").unwrap_or(&Value::Null));
                nodes.push(node);
            }
            _ => untold.push(node),
        }
    }
    untold.sort_unstable();
    untold.dedup();
    let mut told = whole.told();
    told.insert("version".to_owned(), json!(version));
    told.insert("nodes".to_owned(), json!(nodes));
    told.insert("not_counted".to_owned(), json!(untold));
    Ok(told.into())
}

/// The same of this node alone, for another that asks.
pub(crate) fn own_shadow(composed: &Composed) -> Value {
    let (version, report) = composed.policies.shadow();
    json!({"version": version, "report": report})
}

/// What several nodes counted of the same policies, as one.
struct Whole {
    counts: [u64; COUNTS.len()],
    /// Each difference by what it is.
    differences: BTreeMap<String, Map<String, Value>>,
}

/// What is counted, and added.
const COUNTS: [&str; 3] = ["asked", "differing", "untold"];

impl Whole {
    fn new(report: &Value) -> Self {
        let mut whole = Self { counts: [0; COUNTS.len()], differences: BTreeMap::new() };
        whole.add(report);
        whole
    }

    fn add(&mut self, report: &Value) {
        for (count, name) in self.counts.iter_mut().zip(COUNTS) {
            *count = count.saturating_add(report[name].as_u64().unwrap_or_default());
        }
        for difference in report["differences"].as_array().into_iter().flatten() {
            let Some(members) = difference.as_object() else { continue };
            let is_kind = |name: &str| !matches!(name, "count" | "first");
            let kind: Map<String, Value> = members
                .iter()
                .filter(|(name, _)| is_kind(name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect();
            let count = |of: &Map<String, Value>| of.get("count").and_then(Value::as_u64);
            let counted = count(members).unwrap_or_default();
            self.differences
                .entry(Value::from(kind).to_string())
                .and_modify(|known| {
                    let sum = count(known).unwrap_or_default().saturating_add(counted);
                    known.insert("count".to_owned(), json!(sum));
                })
                .or_insert_with(|| members.clone());
        }
    }

    fn told(self) -> Map<String, Value> {
        let counts = COUNTS.into_iter().zip(self.counts);
        let mut told: Map<_, _> =
            counts.map(|(name, count)| (name.to_owned(), json!(count))).collect();
        let mut differences: Vec<Value> = self.differences.into_values().map(Value::from).collect();
        differences.sort_by_key(|it| {
            std::cmp::Reverse(it.get("count").and_then(Value::as_u64).unwrap_or_default())
        });
        told.insert("differences".to_owned(), differences.into());
        told
    }
}

/// Reads the policies of the configuration while the server runs, and checks all of them.
///
/// # Errors
/// What is wrong with them; those that decide go on to.
pub(crate) async fn read_anew(
    composed: &Composed,
    declared: &config::Policy,
) -> Result<Option<DeclaredPolicies>, String> {
    let read = read(composed, declared).await;
    composed.policies.note_files(read.as_ref().err().cloned());
    read
}

async fn read(
    composed: &Composed,
    declared: &config::Policy,
) -> Result<Option<DeclaredPolicies>, String> {
    let declared = declared.clone();
    let read = tokio::task::spawn_blocking(move || apply::policies(&declared, Path::new(""))).await;
    let read = read.map_err(|error| error.to_string())??;
    if let Some(policies) = &read {
        let checked = composed.policies.declare(policies.clone(), super::OPERATOR, true).await;
        checked.map_err(|error| error.to_string())?;
    }
    Ok(read)
}

/// Declares the policies of the configuration when the server starts. Where they cannot be used, those that
/// decided before go on to; where there are none, nothing starts.
///
/// # Errors
/// What is wrong.
pub(crate) async fn declare_at_start(composed: &Composed) -> Result<(), Failed> {
    match read_anew(composed, &composed.config.policy).await {
        Ok(None) => Ok(()),
        Ok(Some(policies)) => {
            let declared = composed.policies.declare(policies, super::OPERATOR, false).await;
            declared.map(drop).map_err(|error| Failed::Operation(error.to_string()))
        }
        Err(why) => match composed.policies.look().await {
            Ok(before) if before.version > 0 => Ok(()),
            _ => Err(Failed::Usage(why)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_nodes_counted_is_added_by_what_it_is() {
        let of = |rule: &str, count: u64, path: &str| json!({"change": "would_deny", "rule": rule, "count": count, "first": {"path": path}});
        let mut whole = Whole::new(&json!({
            "asked": 10, "differing": 3, "untold": 0, "differences": [of("a", 2, "/1"), of("b", 1, "/2")],
        }));
        whole.add(&json!({
            "asked": 7, "differing": 5, "untold": 1, "differences": [of("b", 4, "/3"), of("c", 1, "/4")],
        }));
        // A node that has tried nothing adds nothing.
        whole.add(&Value::Null);
        let told = whole.told();
        assert_eq!(
            (&told["asked"], &told["differing"], &told["untold"]),
            (&json!(17), &json!(8), &json!(1))
        );
        let differences: Vec<_> = told["differences"].as_array().unwrap().iter().collect();
        let brief: Vec<_> = differences
            .iter()
            .map(|it| (it["rule"].as_str().unwrap(), it["count"].as_u64().unwrap()))
            .collect();
        assert_eq!(brief, [("b", 5), ("a", 2), ("c", 1)]);
        assert_eq!(differences[0]["first"]["path"], "/2");
    }
}
