//! Asking the other nodes for what each knows alone: the log of its decisions, and what policies that are tried
//! would have changed.
//!
//! A question is left where nodes leave what lives for moments, each node that hears others looks for questions
//! every second, and leaves its answer beside. So it needs no way between nodes that is not there anyway, and
//! whoever could forge a question could read the sealed store itself. What a question costs is bounded: a few looks
//! into a log, as far as any look goes, and of a few questions at a time.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tegata_core::{
    StoreError,
    port::{Put, Space},
};

use super::{
    explain::{self, Wanted, look},
    policy,
};
use crate::{
    background::{Rounds, pause},
    cluster,
    compose::Composed,
    decisions,
};

/// What is asked.
static QUESTIONS: Space = Space { name: "node_question", indexed: true };

/// What is answered, under the question.
static ANSWERS: Space = Space { name: "node_answer", indexed: true };

/// The one index value of [`QUESTIONS`].
const OPEN: &str = "open";

/// How often a node looks for questions.
const LOOKED: Duration = Duration::from_secs(1);

/// For how long answers are waited for.
const PATIENCE: Duration = Duration::from_secs(6);

/// How often it is looked whether they are there.
const GLANCE: Duration = Duration::from_millis(100);

/// For how long questions and answers are kept.
const KEPT: Duration = Duration::from_secs(30);

/// How many questions a node takes up at a time.
const AT_ONCE: usize = 8;

/// How many questions a node remembers to have answered.
const REMEMBERED: usize = 256;

/// The largest answer, in bytes.
const LARGEST: usize = 512 * 1024;

/// How many questions are looked at, and answers read.
const MOST: u32 = 1000;

/// What can be asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// What the log of decisions says of a request.
    Explain(Wanted),
    /// What policies that are tried would have changed.
    Shadow,
}

impl Asked {
    /// The request that it is about.
    fn name(&self) -> &str {
        match self {
            Self::Explain(wanted) => &wanted.request,
            Self::Shadow => "",
        }
    }
}

/// A question.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    /// Who asks: the node's id.
    by: String,
    asked: Asked,
}

/// What another node answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    /// Its name.
    pub(super) node: String,
    /// What it knows. `None`: that is too much to be sent, or could not be read.
    pub(super) told: Option<Value>,
}

/// Asks all nodes that run. Answers what they said, and the names of those that said nothing.
pub(super) async fn ask(
    composed: &Composed,
    asked: &Asked,
) -> Result<(Vec<Answer>, Vec<String>), StoreError> {
    let mut silent = cluster::others(composed).await;
    if silent.is_empty() {
        return Ok((Vec::new(), silent));
    }
    let (store, realm, node) = (&composed.ephemeral, &composed.realm, &composed.node);
    let mut random = [0_u8; 16];
    node.entropy().fill(&mut random);
    let key = format!("{:032x}", u128::from_be_bytes(random));
    let question = Question { by: node.id().to_string(), asked: asked.clone() };
    let put = Put {
        key: key.clone(),
        value: json!(question).to_string().into_bytes(),
        lifetime: KEPT,
        index: Some(OPEN.to_owned()),
    };
    store.put(realm, &QUESTIONS, put).await?;
    let began = node.since_boot();
    // The seal is of the key, and not of the index that it was found under: an answer to another question that
    // somebody put there is none.
    let is_to_it = |at: &str| at.strip_prefix(&key).is_some_and(|by| by.starts_with('.'));
    let answers = loop {
        let mut found = store.find(realm, &ANSWERS, &key, None, MOST).await?;
        found.retain(|(at, _)| is_to_it(at));
        // What somebody answers who is not heard of counts, too.
        let enough = found.len() >= silent.len() || node.elapsed(began) >= PATIENCE;
        if enough {
            break found;
        }
        pause(GLANCE).await;
    };
    // Nobody needs to begin with it any more.
    let _ = store.take(realm, &QUESTIONS, &key).await;
    let read = |(_, held): (_, tegata_core::port::Held)| serde_json::from_slice(&held.value).ok();
    let answers: Vec<Answer> = answers.into_iter().filter_map(read).collect();
    silent
        .retain(|name| !answers.iter().any(|answer| answer.node == *name && answer.told.is_some()));
    Ok((answers, silent))
}

/// Answers what other nodes ask.
pub(crate) async fn answer(composed: Arc<Composed>) {
    if !composed.cluster.hears() {
        return;
    }
    let mut rounds = Rounds::every(LOOKED, "what other nodes ask for is not answered");
    let mut known = VecDeque::new();
    loop {
        rounds.next().await;
        let answered = round(&composed, &mut known).await;
        rounds.ended(&answered);
    }
}

async fn round(composed: &Composed, known: &mut VecDeque<String>) -> Result<(), StoreError> {
    let (store, realm) = (&composed.ephemeral, &composed.realm);
    let own = composed.node.id().to_string();
    let mut taken_up = 0;
    for (key, held) in store.find(realm, &QUESTIONS, OPEN, None, MOST).await? {
        let Ok(question) = serde_json::from_slice::<Question>(&held.value) else { continue };
        if question.by == own || known.contains(&key) {
            continue;
        }
        if taken_up == AT_ONCE {
            break;
        }
        taken_up += 1;
        known.push_back(key.clone());
        if known.len() > REMEMBERED {
            known.pop_front();
        }
        let told = say(composed, &question.asked).await;
        let value = written(composed.cluster.name(), told, question.asked.name());
        let put = Put {
            key: format!("{key}.{own}"),
            value: value.into_bytes(),
            lifetime: KEPT,
            index: Some(key),
        };
        store.put(realm, &ANSWERS, put).await?;
    }
    Ok(())
}

/// An answer that is not too large. Of records, those go first that have the name of a request from somebody
/// else: whoever can have many written down hides none with them.
fn written(node: &str, mut told: Option<Value>, name: &str) -> String {
    loop {
        let text = json!(Answer { node: node.to_owned(), told: told.clone() }).to_string();
        if text.len() <= LARGEST || told.is_none() {
            return text;
        }
        told = told.and_then(|told| fewer(told, name));
    }
}

/// The same with half of its records. `None`: there is no more than one.
fn fewer(mut told: Value, name: &str) -> Option<Value> {
    let records = told.get_mut("records")?.as_array_mut().filter(|all| all.len() > 1)?;
    explain::own_first(records, name);
    records.truncate(records.len() / 2);
    told.as_object_mut()?.insert("more".to_owned(), json!(true));
    Some(told)
}

/// What this node knows.
async fn say(composed: &Composed, asked: &Asked) -> Option<Value> {
    match asked {
        Asked::Explain(wanted) if wanted.fault().is_some() => None,
        Asked::Explain(wanted) => {
            let seen = look(decisions::directory(composed.data.path()), wanted).await;
            let seen = seen.inspect_err(|error| tracing::warn!(%error, "the log of decisions"));
            seen.ok().map(|search| Value::from(explain::told(&wanted.request, &search)))
        }
        Asked::Shadow => Some(policy::own_shadow(composed)),
    }
}
