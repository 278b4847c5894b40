//! The life of a token: the page that asks for one by its `jti`, and says who got it, where it was used, what
//! was made of it, and what took it back.

use askama::Template;
use serde_json::{Map, Value};

use super::{
    blocks::{At, text, texts},
    place::Place,
    words::{Moment, moment_of},
};
use crate::{
    admin::{self, Operation, Refused, Wish},
    messages::console::Words,
    pages::Trouble,
};

/// How many of the tokens are shown that were made of one.
const SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "console_token.html")]
pub(super) struct Life {
    w: &'static Words,
    /// What nobody knows, in words.
    unknown: Option<&'static str>,
    jti: String,
    issued: Vec<Fact>,
    used: String,
    services: Vec<(String, Moment)>,
    refused: bool,
    derived: Vec<Derived>,
    /// How many more were made of it than are shown.
    more: Option<String>,
    revoked: Vec<TakenBack>,
    limits: Vec<String>,
}

/// Something that is known of how it was issued.
struct Fact {
    name: &'static str,
    text: String,
    at: Option<Moment>,
    href: Option<String>,
}

struct Derived {
    jti: String,
    href: String,
    detail: String,
}

struct TakenBack {
    what: &'static str,
    at: Moment,
    reason: String,
    actor: String,
}

impl At<'_> {
    /// The life of the token of this name.
    pub(super) async fn life(&self, jti: &str) -> Result<Life, Trouble> {
        let wish = Wish {
            operation: Operation::TokenTrace,
            named: vec![jti.to_owned()],
            query: "",
            body: Map::new(),
            version: None,
        };
        match admin::ordered(self.app, self.by, wish).await {
            Ok(done) => Ok(self.told(jti, &done.body.unwrap_or_default())),
            Err(Refused::Store(error)) => Err(error.into()),
            Err(Refused::Busy) => Err(Trouble::TooMany(std::time::Duration::from_secs(1))),
            // What can be no name is the name of nothing.
            Err(Refused::Unknown(_) | Refused::Invalid(_)) => Ok(Life::unknown(self.w())),
            Err(_) => Err(Trouble::NotFound),
        }
    }

    fn told(&self, jti: &str, told: &Value) -> Life {
        let w = self.w();
        let used = &told["used"];
        let services = used["services"].as_array().into_iter().flatten();
        let derived = told["derived"].as_array().map(Vec::as_slice).unwrap_or_default();
        let more = derived.len().checked_sub(SHOWN).filter(|more| *more > 0);
        let revoked = told["revoked"].as_array().into_iter().flatten();
        Life {
            w,
            unknown: None,
            jti: jti.to_owned(),
            issued: self.issued(&told["issued"]),
            used: w.trace_count.of(used["count"].as_u64().unwrap_or_default()),
            services: services
                .map(|it| (text(it, "service").to_owned(), moment_of(text(it, "last"))))
                .collect(),
            refused: used["refused_since"] == true,
            derived: derived.iter().take(SHOWN).map(|it| self.derived(it)).collect(),
            more: more.map(|more| w.trace_more.of(u64::try_from(more).unwrap_or(u64::MAX))),
            revoked: revoked.map(|it| TakenBack::of(it, w)).collect(),
            limits: limits(&told["known"], w),
        }
    }

    /// By whom it was issued, when, to whom and for what.
    fn issued(&self, told: &Value) -> Vec<Fact> {
        let w = self.w();
        let plain = |name, member| Fact::of(name, texts_of(told, member), None);
        let time = |name, member| {
            let at = Some(text(told, member)).filter(|it| !it.is_empty()).map(moment_of);
            Fact { name, text: String::new(), at, href: None }
        };
        let linked = |name, member, place: fn(String) -> Place| {
            let id = text(told, member);
            Fact::of(name, id.to_owned(), Some(self.link(&place(id.to_owned()))))
        };
        let about = match text(told, "sub") {
            id if id.starts_with("usr_") => linked(w.trace_about, "sub", Place::User),
            _ => plain(w.trace_about, "sub"),
        };
        let all = [
            plain(w.trace_issuer, "issuer"),
            time(w.trace_at, "at"),
            time(w.api_key_ends, "expires"),
            plain(w.trace_grant, "grant"),
            plain(w.client, "client_id"),
            about,
            plain(w.audiences, "audience"),
            plain(w.scope, "scope"),
            plain(w.key, "kid"),
            plain(w.family, "family"),
            plain(w.session, "session"),
            time(w.trace_signed_in, "signed_in"),
            linked(w.trace_made_of, "made_of", Place::Token),
            linked(w.trace_first, "original_jti", Place::Token),
        ];
        all.into_iter().filter(|it| it.at.is_some() || !it.text.is_empty()).collect()
    }

    fn derived(&self, told: &Value) -> Derived {
        let jti = text(told, "jti");
        let count = told["used"].as_u64().unwrap_or_default();
        let whom = format!("{} → {}", text(told, "client_id"), texts_of(told, "audience"));
        let parts = [moment_of(text(told, "at")).0, whom, self.w().trace_count.of(count)];
        Derived {
            jti: jti.to_owned(),
            href: self.link(&Place::Token(jti.to_owned())),
            detail: parts.join(" · "),
        }
    }
}

impl Life {
    fn unknown(w: &'static Words) -> Self {
        Self {
            w,
            unknown: Some(w.trace_unknown),
            jti: String::new(),
            issued: Vec::new(),
            used: String::new(),
            services: Vec::new(),
            refused: false,
            derived: Vec::new(),
            more: None,
            revoked: Vec::new(),
            limits: Vec::new(),
        }
    }
}

impl Fact {
    fn of(name: &'static str, text: String, href: Option<String>) -> Self {
        Self { name, text, at: None, href }
    }
}

impl TakenBack {
    fn of(told: &Value, w: &Words) -> Self {
        let what = match text(told, "what") {
            "token" => w.token,
            "family" => w.family,
            "session" => w.session,
            "subject" => w.user,
            "client" => w.client,
            "key" => w.key,
            _ => w.foreign,
        };
        Self {
            what: what.split(['(', '（']).next().unwrap_or_default().trim_end(),
            at: moment_of(text(told, "at")),
            reason: text(told, "reason").to_owned(),
            actor: text(told, "actor").to_owned(),
        }
    }
}

/// How far what is told goes.
fn limits(known: &Value, w: &Words) -> Vec<String> {
    let until = moment_of(text(known, "issued_until")).0;
    let issued = match text(known, "issued_from") {
        "record" => Some(w.trace_in_record.replace("{until}", &until)),
        "memory" => Some(w.trace_in_memory.replace("{until}", &until)),
        _ => None,
    };
    let minutes = known["used_and_derived_for_seconds"].as_u64().unwrap_or_default() / 60;
    issued.into_iter().chain([w.trace_beyond.replace("{minutes}", &minutes.to_string())]).collect()
}

/// A word, or several, as one text.
fn texts_of(told: &Value, name: &str) -> String {
    match told.get(name) {
        Some(Value::Array(_)) => texts(told, name).join(" "),
        _ => text(told, name).to_owned(),
    }
}
