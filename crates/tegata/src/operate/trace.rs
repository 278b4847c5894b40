//! The life of a token: who issued it to whom, what it was made of, where it was used, what was made
//! of it, and when and why it was taken back.
//!
//! Nothing of this is written while a token is issued or used. A token of a sign-in names its family,
//! whose record knows the rest for as long as the family is kept; of what has no family (tokens that
//! clients get in their own name, and tokens that were exchanged) the nodes know in memory, as they do
//! of all use: for an hour after it. What was taken back, by whom and why, is in the log.

use serde_json::{Map, Value, json};
use tegata_core::{Log, Timestamp, TokenId, repository};
use tegata_token::{
    Entry, Family, Target,
    family::Access,
    usage::{KEPT, Origin, TokenUse},
};

use super::Refused;
use crate::compose::Composed;

/// How far back the log of revocations is searched, in entries.
const SEARCHED: u64 = 200_000;

/// How many entries of the log are read at once.
const PAGE: u32 = 1_000;

/// What a token is, as far as anybody here knows.
struct Subject {
    jti: TokenId,
    family: Option<Family>,
    known: TokenUse,
}

/// Tells the life of a token.
pub(super) async fn trace(composed: &Composed, jti: &str) -> Result<Value, Refused> {
    let jti = TokenId::new(jti)?;
    let known = composed.usage.of(jti.as_str());
    let first = known.as_ref().and_then(|known| known.origin.get()?.first.as_deref());
    // What was made of a token of a sign-in falls with that sign-in.
    let root = first.and_then(|first| TokenId::new(first).ok()).unwrap_or_else(|| jti.clone());
    let family = match root.family() {
        Some(id) => {
            let found =
                repository::load::<Family>(composed.records.as_ref(), &composed.realm, id.as_str());
            found.await?.map(|found| found.value)
        }
        None => None,
    };
    if family.is_none() && known.is_none() {
        let why = format!(
            "nothing is known of a token `{jti}`: it is of another installation, its sign-in is no \
             longer kept, or it has no sign-in and was neither issued nor used within the last hour, or \
             every node was started since"
        );
        return Err(Refused::unknown(why));
    }
    let subject = Subject { jti, family, known: known.unwrap_or_default() };
    let mut told = Map::new();
    told.insert("jti".to_owned(), json!(subject.jti));
    told.insert("issued".to_owned(), issued(composed, &subject));
    told.insert("used".to_owned(), used(&subject.known));
    let derived = composed.usage.derived_from(subject.jti.as_str());
    let derived = derived.iter().map(|(jti, state)| made_of_it(jti, state));
    told.insert("derived".to_owned(), derived.collect());
    told.insert("revoked".to_owned(), revoked(composed, &subject).await?);
    told.insert("known".to_owned(), known_of(&subject));
    Ok(Value::Object(told))
}

/// Who issued it, when, to whom and for what.
fn issued(composed: &Composed, subject: &Subject) -> Value {
    let issuer = composed.config.issuer();
    if let Some(origin) = subject.known.origin.get() {
        return json!({
            "issuer": issuer,
            "at": origin.at.to_string(),
            "grant": origin.how,
            "client_id": origin.client,
            "sub": origin.sub,
            "audience": origin.audience,
            "kid": origin.kid,
            "made_of": origin.of,
            "original_jti": origin.first,
        });
    }
    let Some(family) = &subject.family else { return Value::Null };
    let access = access_of(family, &subject.jti);
    json!({
        "issuer": issuer,
        "at": access.map(|access| Timestamp::from_secs(access.iat).to_string()),
        "expires": access.map(|access| Timestamp::from_secs(access.exp).to_string()),
        "client_id": family.client,
        "sub": family.user,
        "audience": access.map(|access| access.audience.as_ref().unwrap_or(&family.grant.audience)),
        "scope": access.map(|access| &access.scope),
        "kid": access.map(|access| &access.kid),
        "family": family.id,
        "session": family.session,
        "signed_in": Timestamp::from_secs(family.grant.auth_time).to_string(),
        "generation": access.map(|access| generation(family, access)),
        "current_generation": family.generation,
    })
}

/// How far this knowledge goes, so that nobody takes silence for an answer.
fn known_of(subject: &Subject) -> Value {
    let (from, until) = match (subject.known.origin.get(), &subject.family) {
        (Some(origin), _) => {
            let last = subject.known.last_used.get().copied().unwrap_or_default().max(origin.at);
            ("memory", Some(last + KEPT))
        }
        (None, Some(family)) => ("record", Some(family.ends)),
        (None, None) => ("nowhere", None),
    };
    json!({
        "issued_from": from,
        "issued_until": until.map(|until| until.to_string()),
        "used_and_derived_from": "memory",
        "used_and_derived_for_seconds": KEPT.as_secs(),
        "log_entries": SEARCHED,
        "note": "of what is known from memory, nothing is known beyond that time, of more tokens than nodes \
                 remember, or from before the last of all nodes was stopped",
    })
}

/// What of a family's record is of this token.
fn access_of<'f>(family: &'f Family, jti: &TokenId) -> Option<&'f Access> {
    let mut alive = family.earlier.iter().chain([&family.access]).rev();
    alive.find(|access| access.jti == *jti)
}

/// Which of a family's tokens it is, for people.
fn generation(family: &Family, access: &Access) -> &'static str {
    if family.access.jti == access.jti { "the newest" } else { "an earlier one" }
}

/// Where it was used, as far as this node has heard.
fn used(known: &TokenUse) -> Value {
    let services = known.services.iter().map(
        |(service, last)| json!({"service": service, "last": last.get().map(ToString::to_string)}),
    );
    json!({
        "count": known.usage_count.total(),
        "last": known.last_used.get().map(ToString::to_string),
        "services": services.collect::<Value>(),
        "refused_since": known.revoked.is_raised(),
    })
}

/// A token that was made of it.
fn made_of_it(jti: &str, state: &TokenUse) -> Value {
    let origin = state.origin.get();
    let of = |tell: fn(&Origin) -> Value| origin.map_or(Value::Null, tell);
    json!({
        "jti": jti,
        "at": of(|origin| json!(origin.at.to_string())),
        "client_id": of(|origin| json!(origin.client)),
        "audience": of(|origin| json!(origin.audience)),
        "made_of": of(|origin| json!(origin.of)),
        "used": state.usage_count.total(),
    })
}

/// What took it back: of the log, everything that names it, its sign-in, its session, its subject or
/// its client.
async fn revoked(composed: &Composed, subject: &Subject) -> Result<Value, Refused> {
    let mut after = composed.view.position().saturating_sub(SEARCHED);
    let mut found = Vec::new();
    loop {
        let pull = composed.records.pull(Log::Revocations, after, PAGE).await?;
        let Some(last) = pull.entries.last() else {
            if after < pull.tail.saturating_sub(1) {
                after = pull.tail.saturating_sub(1);
                continue;
            }
            break;
        };
        after = last.position;
        let of_realm = pull.entries.iter().filter(|entry| entry.realm == composed.realm);
        let read = of_realm.filter_map(|entry| Entry::from_bytes(&entry.body).ok());
        found.extend(read.filter(|entry| subject.falls_with(entry)).map(|entry| tell(&entry)));
    }
    if let Some(ended) = subject.family.as_ref().and_then(|family| family.ended.as_ref()) {
        let told = json!({"what": "family", "at": ended.at.to_string(), "reason": ended.reason});
        // The log says more, where it still has it.
        if found.iter().all(|known| known["what"] != "family") {
            found.push(told);
        }
    }
    Ok(Value::Array(found))
}

fn tell(entry: &Entry) -> Value {
    json!({
        "what": what(&entry.target),
        "at": entry.at.to_string(),
        "reason": entry.reason,
        "actor": entry.actor,
    })
}

/// What of the log of revocations names a token, its session or its subject: of what is not known otherwise,
/// too.
pub(super) async fn taken_back(
    composed: &Composed,
    jti: Option<&str>,
    sid: Option<&str>,
    sub: Option<&str>,
) -> Result<Vec<Value>, Refused> {
    if let Some(jti) = jti
        && let Ok(told) = trace(composed, jti).await
        && let Some(Value::Array(found)) = told.get("revoked")
        && !found.is_empty()
    {
        return Ok(found.clone());
    }
    let names = |entry: &Entry| match &entry.target {
        Target::Token(token) => jti == Some(token.as_str()),
        Target::Session(session) => sid == Some(session.as_str()),
        Target::Subject { sub: subject, .. } => sub == Some(subject.as_str()),
        Target::Client { client, .. } => sub == Some(client.as_str()),
        _ => false,
    };
    let (mut after, mut found) = (composed.view.position().saturating_sub(SEARCHED), Vec::new());
    loop {
        let pull = composed.records.pull(Log::Revocations, after, PAGE).await?;
        let Some(last) = pull.entries.last() else {
            if after < pull.tail.saturating_sub(1) {
                after = pull.tail.saturating_sub(1);
                continue;
            }
            return Ok(found);
        };
        after = last.position;
        let of_realm = pull.entries.iter().filter(|entry| entry.realm == composed.realm);
        let read = of_realm.filter_map(|entry| Entry::from_bytes(&entry.body).ok());
        found.extend(read.filter(&names).map(|entry| tell(&entry)));
    }
}

/// What an entry takes back, in a word.
fn what(target: &Target) -> &'static str {
    match target {
        Target::Token(_) => "token",
        Target::Family(_) => "family",
        Target::Session(_) => "session",
        Target::Subject { .. } => "subject",
        Target::Client { .. } => "client",
        Target::Key(_) => "key",
        Target::ForeignToken { .. }
        | Target::ForeignSession { .. }
        | Target::ForeignSubject { .. }
        | Target::ForeignClient { .. }
        | Target::ForeignKey { .. } => "another issuer's",
    }
}

impl Subject {
    /// Whether an entry takes it back.
    fn falls_with(&self, entry: &Entry) -> bool {
        let origin = self.known.origin.get();
        match &entry.target {
            Target::Token(jti) => {
                let mut made_of = origin.into_iter().flat_map(|origin| {
                    origin.of.iter().chain(&origin.first).chain(&origin.through)
                });
                *jti == self.jti || made_of.any(|of| of == jti.as_str())
            }
            Target::Family(family) => self.family.as_ref().is_some_and(|own| own.id == *family),
            Target::Session(session) => {
                self.family.as_ref().is_some_and(|own| own.session.as_ref() == Some(session))
            }
            Target::Subject { sub, up_to, .. } => {
                self.is_of(sub, *up_to, |family| family.user.as_str(), |origin| &origin.sub)
                    // What a client has in its own name is taken back by that name.
                    || self.came_through(sub, *up_to)
            }
            Target::Client { client, up_to } => {
                let client = client.as_str();
                self.is_of(client, *up_to, |family| family.client.as_str(), |origin| &origin.client)
                    || self.came_through(client, *up_to)
            }
            Target::Key(kid) => self.is_signed_by(kid.as_str()),
            Target::ForeignToken { .. }
            | Target::ForeignSession { .. }
            | Target::ForeignSubject { .. }
            | Target::ForeignClient { .. }
            | Target::ForeignKey { .. } => false,
        }
    }

    /// Whether this key signed it, or something that it was made of.
    fn is_signed_by(&self, kid: &str) -> bool {
        let own = self.family.as_ref().and_then(|family| access_of(family, &self.jti));
        let own = own.and_then(|access| access.kid.as_ref());
        let origin = self.known.origin.get();
        let mut of_origin = origin.into_iter().flat_map(|it| it.kid.iter().chain(&it.kids));
        own.is_some_and(|own| own.as_str() == kid) || of_origin.any(|known| known == kid)
    }

    /// Whether it was made, up to a moment, of what a client had.
    fn came_through(&self, client: &str, up_to: Timestamp) -> bool {
        self.known.origin.get().is_some_and(|origin| {
            origin.at.secs() <= up_to.secs() && origin.clients.iter().any(|known| known == client)
        })
    }

    /// Whether it was issued to, or of, somebody up to a moment.
    fn is_of(
        &self,
        name: &str,
        up_to: Timestamp,
        of_family: fn(&Family) -> &str,
        of_origin: fn(&Origin) -> &str,
    ) -> bool {
        let issued = |family: &Family| {
            let own = access_of(family, &self.jti);
            own.map_or(family.started, |access| Timestamp::from_secs(access.iat))
        };
        let of_family = self.family.as_ref().is_some_and(|family| {
            of_family(family) == name && issued(family).secs() <= up_to.secs()
        });
        let of_origin =
            self.known.origin.get().is_some_and(|origin| {
                of_origin(origin) == name && origin.at.secs() <= up_to.secs()
            });
        of_family || of_origin
    }
}

#[cfg(test)]
mod tests;
