//! The pages of API keys: whose there are, what one may be used for, and how one is made, replaced and taken
//! back.

use askama::Template;
use serde_json::Value;

use super::{
    blocks::{At, List, Listed, Tag, text, texts},
    place::Place,
    words::{Moment, moment_of},
};
use crate::{admin::Operation, messages::console::Words, pages::Trouble};

/// What an API key is, but its secret, which nobody has any more.
#[derive(Template)]
#[template(path = "console_api_key.html")]
pub(super) struct ApiKeyFacts {
    w: &'static Words,
    standing: Tag,
    id: String,
    client: String,
    /// What it may do, by names; where there is none, what that means.
    grants: Vec<(&'static str, Vec<String>, &'static str)>,
    /// Whether it gets tokens, in words.
    tokens: &'static str,
    times: Vec<(&'static str, Option<Moment>)>,
    reason: String,
    /// The key before, and the one after.
    links: Vec<(&'static str, String, String)>,
}

/// What can be done with a key.
#[derive(Template)]
#[template(path = "console_api_key_acts.html")]
pub(super) struct ApiKeyActs {
    w: &'static Words,
    /// Whether another can take its place.
    replaceable: bool,
    /// Whether it counts, and can be taken back.
    counts: bool,
    graces: [(&'static str, &'static str); 5],
}

/// The form that makes one, with what stands in it.
#[derive(Template)]
#[template(path = "console_api_key_new.html")]
pub(super) struct NewApiKey<'a> {
    w: &'static Words,
    client: &'a str,
    name: &'a str,
    scope: &'a str,
    roles: &'a str,
    services: &'a str,
    routes: &'a str,
    lifetime: &'a str,
}

/// How long a key counts, as the form has it before anybody has typed anything.
const LIFETIME: &str = "365d";

impl ApiKeyActs {
    /// `None`: nothing can be done with it.
    pub(super) fn of(told: &Value, w: &'static Words) -> Option<Self> {
        let standing = text(told, "standing");
        // One whose time is over, or that is from before a restore, can have a successor.
        let replaceable = standing != "revoked" && text(told, "replaced_by").is_empty();
        let counts = standing == "active";
        let graces = [
            ("1d", w.grace_day),
            ("1h", w.grace_hour),
            ("7d", w.grace_week),
            ("30d", w.grace_month),
            ("none", w.grace_none),
        ];
        (replaceable || counts).then_some(Self { w, replaceable, counts, graces })
    }
}

impl At<'_> {
    /// The keys, of all or of one service or client.
    pub(super) async fn api_keys(&self) -> Result<List, Trouble> {
        let w = self.w();
        let narrow: Vec<_> =
            self.narrowed.client.iter().map(|client| ("client", client.as_str())).collect();
        let found = self.piece(Operation::ApiKeys, &Place::ApiKeys, &narrow).await;
        let (found, next, first) = match found {
            // What can be no name is the name of nobody.
            Err(Trouble::NotFound) => (Vec::new(), None, None),
            found => found?,
        };
        let rows = found.iter().map(|key| {
            let id = text(key, "id");
            let name = Some(text(key, "name")).filter(|name| !name.is_empty());
            let used = text(key, "last_used");
            let used = match used {
                "" => w.api_key_unused.to_owned(),
                used => format!("{} {}", w.last_used, moment_of(used).0),
            };
            Listed {
                href: self.link(&Place::ApiKey(id.to_owned())),
                name: name.unwrap_or(id).to_owned(),
                tags: vec![standing(key, w)],
                detail: [text(key, "client"), id, &used].join(" · "),
            }
        });
        Ok(List { w, rows: rows.collect(), nothing: w.no_api_keys, note: None, next, first })
    }

    /// The form, with what was typed and refused, where that was so.
    pub(super) fn new_api_key(&self) -> NewApiKey<'_> {
        let typed = |name| self.typed(name).unwrap_or_default();
        let client = self.typed("key_client").or(self.narrowed.client.as_deref());
        NewApiKey {
            w: self.w(),
            client: client.unwrap_or_default(),
            name: typed("key_name"),
            scope: typed("key_scope"),
            roles: typed("key_roles"),
            services: typed("key_services"),
            routes: typed("key_routes"),
            lifetime: self.typed("key_lifetime").unwrap_or(LIFETIME),
        }
    }

    /// What is known of a key. What could be a secret is not among it: what is told is listed here.
    pub(super) fn api_key(&self, told: &Value) -> ApiKeyFacts {
        let w = self.w();
        let scope = text(told, "scope").split(' ').filter(|it| !it.is_empty());
        let time = |name| Some(text(told, name)).filter(|it| !it.is_empty()).map(moment_of);
        let link = |name, other| {
            let id = Some(text(told, other)).filter(|id| !id.is_empty())?;
            Some((name, id.to_owned(), self.link(&Place::ApiKey(id.to_owned()))))
        };
        let links = [link(w.api_key_replaces, "replaces"), link(w.api_key_next, "replaced_by")];
        let gets_tokens = told.get("tokens").and_then(Value::as_bool) == Some(true);
        let revoked = time("revoked").map(|at| (w.api_key_revoked, Some(at)));
        ApiKeyFacts {
            w,
            standing: standing(told, w),
            id: text(told, "id").to_owned(),
            client: text(told, "client").to_owned(),
            grants: vec![
                (w.scope, scope.map(str::to_owned).collect(), w.none),
                (w.roles, texts(told, "roles"), w.none),
                (w.api_key_services, texts(told, "services"), w.all),
                (w.api_key_routes, texts(told, "routes"), w.all),
            ],
            tokens: if gets_tokens { w.api_key_tokens_yes } else { w.api_key_tokens_no },
            times: [
                (w.api_key_created, time("created")),
                (w.api_key_ends, time("expires")),
                (w.api_key_used, time("last_used")),
            ]
            .into_iter()
            .chain(revoked)
            .collect(),
            reason: text(told, "reason").to_owned(),
            links: links.into_iter().flatten().collect(),
        }
    }
}

/// Whether a key counts, in a word.
fn standing(key: &Value, w: &Words) -> Tag {
    let (class, says) = match text(key, "standing") {
        "active" if text(key, "replaced_by").is_empty() => ("good", w.api_key_active),
        // Both count for a while.
        "active" => ("waits", w.api_key_replaced),
        "expired" => ("bad", w.api_key_expired),
        "before_restore" => ("bad", w.api_key_before_restore),
        _ => ("bad", w.api_key_revoked),
    };
    Tag { class, text: says.to_owned() }
}
