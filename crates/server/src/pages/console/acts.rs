//! What can be done in the console: read from a form, asked about once more where it cannot be undone,
//! and done by what administration does.

use serde_json::{Map, Value, json};

use super::{blocks::KINDS, place::Place};
use crate::{admin::Operation, form::Fields, messages::console::Words};

/// The fields of the form that makes an API key, the members that they are, and whether those list.
pub(super) const NEW_API_KEY: [(&str, &str, bool); 7] = [
    ("key_client", "client", false),
    ("key_name", "name", false),
    ("key_scope", "scope", false),
    ("key_roles", "roles", true),
    ("key_services", "services", true),
    ("key_routes", "routes", true),
    ("key_lifetime", "lifetime", false),
];

/// For how long a key can count beside the one that takes its place, as the console offers it.
pub(super) const GRACES: [&str; 4] = ["1h", "1d", "7d", "30d"];

/// Something that is to be done.
pub(super) struct Act {
    pub(super) operation: Operation,
    pub(super) named: Vec<String>,
    pub(super) body: Map<String, Value>,
    /// The version that the person has seen of what is changed, where it must be that one still.
    pub(super) version: Option<u64>,
    /// What becomes of it, in words.
    pub(super) ask: &'static str,
    /// What it is done to, as the person named it.
    pub(super) target: String,
    /// Whether it is done at once: it takes nothing away.
    pub(super) harmless: bool,
    /// Whether it can be taken back again.
    pub(super) undoable: bool,
    /// Whether others have to refuse something for it.
    pub(super) takes_back: bool,
    /// The secret that comes of it, which is shown this once.
    pub(super) reveals: Option<Revealing>,
    /// Whether the same form, sent once more, would do it once more, and so may not.
    pub(super) once: bool,
    /// What its form says, for the form that asks once more.
    pub(super) carried: Vec<(&'static str, String)>,
}

/// A secret that comes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Revealing {
    ClientSecret,
    ApiKey,
}

/// What is wrong with a form.
pub(super) enum NotRead {
    /// It is none that the page has.
    Foreign,
    /// A reason is missing.
    Reason,
}

impl Act {
    /// What the form of a page asks for.
    pub(super) fn read(place: &Place, fields: &Fields, w: &Words) -> Result<Self, NotRead> {
        let wish = fields.one("do").ok_or(NotRead::Foreign)?;
        let (word, rest) = wish.split_once(':').unwrap_or((wish, ""));
        let reason = fields.one("reason").map(str::trim).filter(|reason| !reason.is_empty());
        let act = |operation, named: &[&str], body: Value| Self {
            operation,
            named: named.iter().map(|name| (*name).to_owned()).collect(),
            body: body.as_object().cloned().unwrap_or_default(),
            version: None,
            ask: "",
            target: String::new(),
            harmless: false,
            undoable: false,
            takes_back: false,
            reveals: None,
            once: false,
            carried: vec![("do", wish.to_owned())],
        };
        // Two who change the same at once do not undo each other's work unseen.
        let of_version = |mut act: Self| -> Result<Self, NotRead> {
            let version = fields.one("version").ok_or(NotRead::Foreign)?;
            act.version = Some(version.parse().map_err(|_| NotRead::Foreign)?);
            act.carried.push(("version", version.to_owned()));
            Ok(act)
        };
        let with_reason = |mut act: Self| -> Result<Self, NotRead> {
            let reason = reason.ok_or(NotRead::Reason)?;
            act.body.insert("reason".to_owned(), reason.into());
            act.carried.push(("reason", reason.to_owned()));
            Ok(act)
        };
        Ok(match (place, word) {
            (Place::Sessions | Place::User(_), "end") if !rest.is_empty() => Self {
                ask: w.ask_end,
                target: rest.to_owned(),
                takes_back: true,
                ..act(Operation::SessionEnd, &[rest], json!({}))
            },
            (Place::User(id), "kill") => with_reason(Self {
                ask: w.kill_lead,
                takes_back: true,
                ..act(Operation::UserRevoke, &[id], json!({}))
            })?,
            // Whoever has to be kept out is, whatever else has changed.
            (Place::User(id), "lock") => Self {
                ask: w.ask_lock,
                undoable: true,
                takes_back: true,
                ..act(Operation::UserChange, &[id], json!({"disabled": true}))
            },
            (Place::User(id), "unlock") => of_version(Self {
                harmless: true,
                ..act(Operation::UserChange, &[id], json!({"disabled": false}))
            })?,
            (Place::User(id), "roles") => {
                let roles = fields.one("roles").ok_or(NotRead::Foreign)?;
                let all: Vec<_> =
                    roles.split([' ', ',', '\t']).filter(|it| !it.is_empty()).collect();
                let mut act = of_version(Self {
                    ask: w.ask_roles,
                    target: all.join(" "),
                    undoable: true,
                    takes_back: true,
                    ..act(Operation::UserChange, &[id], json!({"roles": all}))
                })?;
                act.carried.push(("roles", all.join(" ")));
                act
            }
            (Place::Client(id), "revoke") => with_reason(Self {
                ask: w.revoke_client_lead,
                takes_back: true,
                ..act(Operation::Revoke, &[], json!({"client": id}))
            })?,
            (Place::Client(id), "change") => {
                let typed = |name| fields.one(name).map(str::trim).ok_or(NotRead::Foreign);
                let (name, uris) = (typed("client_name")?, typed("redirect_uris")?);
                let scope: Vec<_> = typed("scope")?.split_whitespace().collect();
                let uris: Vec<_> = uris.split_whitespace().collect();
                let name = Some(name).filter(|name| !name.is_empty());
                let (scope, lines) = (scope.join(" "), uris.join("\n"));
                let shown = [name.unwrap_or(id), &lines, &scope];
                let mut act = of_version(Self {
                    ask: w.ask_client,
                    target: shown
                        .into_iter()
                        .filter(|it| !it.is_empty())
                        .collect::<Vec<_>>()
                        .join("\n"),
                    undoable: true,
                    ..act(
                        Operation::ClientChange,
                        &[id],
                        json!({"client_name": name, "redirect_uris": uris, "scope": scope}),
                    )
                })?;
                act.carried.extend([
                    ("client_name", name.unwrap_or_default().to_owned()),
                    ("redirect_uris", lines),
                    ("scope", scope),
                ]);
                act
            }
            // Whoever sends the same form once more makes no second secret.
            (Place::Client(id), "secret") => of_version(Self {
                ask: w.rotate_secret_lead,
                reveals: Some(Revealing::ClientSecret),
                ..act(Operation::ClientSecret, &[id], json!({}))
            })?,
            (Place::Client(id), "disable") => Self {
                ask: w.ask_disable,
                undoable: true,
                takes_back: true,
                ..act(Operation::ClientChange, &[id], json!({"disabled": true}))
            },
            (Place::Client(id), "enable") => of_version(Self {
                harmless: true,
                ..act(Operation::ClientChange, &[id], json!({"disabled": false}))
            })?,
            (Place::Keys, "rotate") => Self {
                ask: w.ask_rotate,
                target: rest.to_owned(),
                ..act(Operation::KeysRotate, &[], json!({"algorithm": rest}))
            },
            (Place::Keys, "retire") if !rest.is_empty() => Self {
                ask: w.ask_retire,
                target: rest.to_owned(),
                ..act(Operation::KeyRetire, &[rest], json!({}))
            },
            (Place::ApiKeys, "make") => {
                let (mut body, mut typed_in) = (Map::new(), Vec::new());
                for (field, member, lists) in NEW_API_KEY {
                    let typed = fields.one(field).ok_or(NotRead::Foreign)?.trim();
                    typed_in.push((field, typed.to_owned()));
                    let words = typed.split([' ', ',', '\t', '\r', '\n']);
                    let words: Vec<_> = words.filter(|it| !it.is_empty()).collect();
                    // What is not said is as administration has it; what is said and names nothing is not that.
                    if !typed.is_empty() {
                        let said = match (lists, words.is_empty()) {
                            (true, false) => json!(words),
                            (true, true) => json!([typed]),
                            (false, _) => typed.into(),
                        };
                        body.insert(member.to_owned(), said);
                    }
                }
                // It takes nothing away, but a key that nobody knows of would be one too many.
                let mut act = Self {
                    harmless: true,
                    once: true,
                    reveals: Some(Revealing::ApiKey),
                    ..act(Operation::ApiKeyAdd, &[], Value::Object(body))
                };
                act.carried.extend(typed_in);
                act
            }
            (Place::ApiKey(id), "rotate") => {
                let grace = fields.one("grace").ok_or(NotRead::Foreign)?;
                let (body, ask) = match grace {
                    "none" => (json!({"at_once": true}), w.ask_api_key_at_once),
                    grace if GRACES.contains(&grace) => {
                        (json!({"grace": grace}), w.api_key_rotate_lead)
                    }
                    _ => return Err(NotRead::Foreign),
                };
                let mut act = Self {
                    ask,
                    target: id.clone(),
                    reveals: Some(Revealing::ApiKey),
                    ..act(Operation::ApiKeyRotate, &[id], body)
                };
                act.carried.push(("grace", grace.to_owned()));
                act
            }
            (Place::ApiKey(id), "revoke") => with_reason(Self {
                ask: w.api_key_revoke_lead,
                target: id.clone(),
                takes_back: true,
                ..act(Operation::Revoke, &[], json!({"api_key": id}))
            })?,
            (Place::Revocations, "revoke") => {
                let kind =
                    fields.one("kind").and_then(|kind| KINDS.into_iter().find(|it| *it == kind));
                let kind = kind.ok_or(NotRead::Foreign)?;
                let name = fields.one("name").unwrap_or_default().trim();
                let mut act = with_reason(Self {
                    ask: w.ask_revoke,
                    // A token is a secret, and is not shown again.
                    target: match kind {
                        "token" => w.kind(kind).to_owned(),
                        kind => format!("{}: {name}", w.kind(kind)),
                    },
                    takes_back: true,
                    ..act(Operation::Revoke, &[], json!({(kind): name}))
                })?;
                act.carried.extend([("kind", kind.to_owned()), ("name", name.to_owned())]);
                act
            }
            _ => return Err(NotRead::Foreign),
        })
    }
}
