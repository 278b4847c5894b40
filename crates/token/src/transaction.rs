//! What a transaction token says of its transaction (draft-ietf-oauth-transaction-tokens).
//!
//! It goes with a request from service to service, unchanged, in the header `Txn-Token`, and says what
//! the request is for. It is nobody's credential: whoever sends it shows who they are by other means.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::strict;

/// The longest `txn` and `req_wl`.
const LONGEST_NAME: usize = 512;

/// The longest context, as JSON.
pub const LONGEST_CONTEXT: usize = 2048;

/// How deeply a context may be nested.
const DEEPEST_CONTEXT: u8 = 8;

/// What joins the names of workloads.
const JOINT: char = ',';

/// A context: an object of JSON.
pub type Context = Map<String, Value>;

/// The claims that a transaction token has beside those of others.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Transaction {
    /// The transaction's name. It stays the same when the token is replaced.
    pub txn: String,
    /// The workloads that asked for the token and its replacements, in this order, joined by commas.
    pub req_wl: String,
    /// What does not change along the chain of calls.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub tctx: Option<Context>,
    /// From where and how the transaction was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rctx: Option<Context>,
}

/// What is wrong with a context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a JSON object of at most 2048 bytes, nested at most 8 deep, without a member that stands twice"
)]
pub struct BadContext;

impl Transaction {
    /// The workloads that asked for the token and its replacements, the first in front.
    pub fn workloads(&self) -> impl Iterator<Item = &str> {
        self.req_wl.split(JOINT)
    }

    /// The same transaction, whose token this workload has asked to be replaced.
    #[must_use]
    pub fn replaced_for(&self, workload: &str) -> Self {
        Self { req_wl: format!("{}{JOINT}{workload}", self.req_wl), ..self.clone() }
    }

    /// Whether a workload can stand in `req_wl`: the names are told apart by commas.
    #[must_use]
    pub fn can_name(workload: &str) -> bool {
        !workload.is_empty() && !workload.contains(JOINT)
    }

    /// Reads a context, as `request_details` and `request_context` carry it.
    ///
    /// # Errors
    /// [`BadContext`].
    pub fn context(text: &str) -> Result<Context, BadContext> {
        if text.len() > LONGEST_CONTEXT {
            return Err(BadContext);
        }
        strict::object(text, DEEPEST_CONTEXT).map_err(|_| BadContext)
    }

    /// Whether its names have a form that ours have.
    pub(crate) fn is_well_formed(&self) -> bool {
        let fits = |name: &str| (1..=LONGEST_NAME).contains(&name.len());
        fits(&self.txn) && fits(&self.req_wl) && self.workloads().all(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_keeps_everything_and_names_who_asked_for_it() {
        let tctx = Transaction::context(r#"{"order":"ord_1"}"#).unwrap();
        let first =
            Transaction { txn: "t".into(), req_wl: "orders".into(), tctx: Some(tctx), rctx: None };
        let second = first.replaced_for("payments");
        assert_eq!(second.workloads().collect::<Vec<_>>(), ["orders", "payments"]);
        assert_eq!((&second.txn, &second.tctx), (&first.txn, &first.tctx));
        assert!(Transaction::can_name("spiffe://example.org/ns/a/sa/b"));
        assert!(!Transaction::can_name("orders,payments") && !Transaction::can_name(""));
    }

    #[test]
    fn a_context_is_handed_on_as_it_was_read() {
        // Numbers that a quick parser takes for their neighbours.
        for text in [r#"{"n":5.066666666666667e+74}"#, r#"{"n":[8.41e+21,122.416294033786585]}"#] {
            let context = Transaction::context(text).unwrap();
            let again = serde_json::to_string(&context).unwrap();
            assert_eq!(Transaction::context(&again).unwrap(), context);
        }
        let context = Transaction::context(r#"{"n":5.066666666666667e+74}"#).unwrap();
        assert_eq!(serde_json::to_string(&context).unwrap(), r#"{"n":5.066666666666667e+74}"#);
    }

    #[test]
    fn a_context_is_a_small_object_without_surprises() {
        assert!(Transaction::context(r#"{"a":{"b":[1,"x",null]}}"#).is_ok());
        let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(LONGEST_CONTEXT));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(9), "]".repeat(9));
        for bad in ["", "null", "[]", "\"x\"", "{", r#"{"a":1,"a":2}"#, "{} {}", &long, &deep] {
            assert!(Transaction::context(bad).is_err(), "{bad}");
        }
    }
}
