//! The query of an address: how much of a list, which of it, and whether to wait.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;
use tegata_core::port::Page;

use super::{refused::Refused, table::Row};
use crate::{form, problem::Fault};

/// How many of a list are answered where nothing is said.
pub(super) const USUAL: u32 = 50;
/// And at most.
pub(super) const MOST: u32 = 200;

/// What the query says.
#[derive(Debug, Default)]
pub(super) struct Query {
    pub(super) page: Page,
    pub(super) filters: BTreeMap<&'static str, String>,
    pub(super) confirmed: bool,
}

impl Query {
    /// Reads what an operation can be asked with, and refuses everything else: a filter that was
    /// passed over would answer with more than was asked for.
    pub(super) fn read(row: &Row, query: &str) -> Result<Self, Refused> {
        let mut read = Self { page: Page { after: None, limit: USUAL }, ..Self::default() };
        let (mut faults, mut seen) = (Vec::new(), Vec::new());
        let fields = form::decode(query.as_bytes())
            .map_err(|_| Refused::invalid("?", "the query of the address is malformed"))?;
        for (name, value) in fields.into_pairs() {
            let (name, value) = (name.as_str(), value.as_str());
            let mut wrong = |detail: String| {
                let name: String = name.chars().take(80).collect();
                faults.push(Fault { pointer: format!("?{name}"), detail });
            };
            if seen.iter().any(|known| known == name) {
                wrong("stands twice".to_owned());
            }
            seen.push(name.to_owned());
            let filter = row.filters.iter().find(|filter| filter.name == name);
            match (name, filter) {
                (_, Some(filter)) => {
                    let mut found = Vec::new();
                    filter.shape.check(&Value::from(value), "", &mut found);
                    found.into_iter().for_each(|fault| wrong(fault.detail));
                    read.filters.insert(filter.name, value.to_owned());
                }
                ("limit", _) if row.lists => match value.parse() {
                    Ok(limit @ 1..=MOST) => read.page.limit = limit,
                    _ => wrong(format!("must be 1 to {MOST}")),
                },
                ("cursor", _) if row.lists => match after(value) {
                    Some(after) => read.page.after = Some(after),
                    None => wrong("is none that was answered".to_owned()),
                },
                ("wait", _) if row.confirms => match value {
                    "confirmed" => read.confirmed = true,
                    _ => wrong("must be `confirmed`".to_owned()),
                },
                _ => wrong("is not known here".to_owned()),
            }
        }
        if faults.is_empty() { Ok(read) } else { Err(Refused::Invalid(faults)) }
    }
}

/// The key that a cursor stands for.
fn after(cursor: &str) -> Option<String> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let key = String::from_utf8(bytes).ok()?;
    // What can be a key (`core::port::Change::Put`).
    let is_key = (1..=255).contains(&key.len()) && !key.contains('\0');
    is_key.then_some(key)
}

/// A cursor for what comes after a key.
pub(super) fn cursor(key: &str) -> String {
    URL_SAFE_NO_PAD.encode(key)
}
