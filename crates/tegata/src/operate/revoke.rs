//! Orders that take something back.

use serde_json::{Value, json};
use tegata_core::{
    Batch, ClientId, Event, EventType, FamilyId, KeyId, SessionId, Timestamp, TokenId,
};
use tegata_identity::User;
use tegata_token::{
    Holder, Order, StatusIndex, Tally, Target, foreign,
    revocation::{LONGEST_ACCESS, Taken},
};

use super::{Refused, What, api_keys, keys, revoke_foreign, users};
use crate::compose::Composed;

/// An order that takes something back, for a reason.
pub(super) fn order(reason: String, actor: &str) -> Result<Order, Refused> {
    if reason.trim().is_empty() {
        return Err(Refused::invalid("/reason")("the reason is empty: say in a word why"));
    }
    Ok(Order { reason, actor: actor.to_owned() })
}

/// Takes something back. Answers what that was, and whether anything had to be written for it.
pub(crate) async fn revoke(
    composed: &Composed,
    what: What,
    order: &Order,
    tally: &Tally,
) -> Result<(Value, Taken), Refused> {
    let told = match what {
        What::Token(token) => return self::token(composed, &token, order).await,
        What::Jti(jti) => self::jti(composed, &jti, order).await?,
        What::Family(family) => {
            let id = FamilyId::new(&family)?;
            if !composed.families.revoke(&composed.realm, &id, order).await? {
                return Err(Refused::unknown(format!("there is no live family `{id}`")));
            }
            json!({"revoked": {"family": id}})
        }
        What::Session(sid) => {
            let sid = SessionId::new(&sid)?;
            let proof = session(composed, &sid, order).await?;
            json!({"revoked": {"session": sid}, "proof": proof})
        }
        What::User(username) => {
            let user = users::find(composed, &username).await?;
            self::user(composed, &user, order, tally).await?
        }
        What::Client(id) | What::Service(id) => {
            let id = ClientId::new(&id)?;
            let up_to = client(composed, &id, order).await?;
            let holder = Holder::Client(id.clone());
            let proof = everything_of(composed, &holder, order, tally).await?;
            // After it: what a client that was removed may have left is taken back all the same.
            check_known(composed, &id).await?;
            let note = by_name_only(composed, &id);
            json!({"revoked": {"client": id}, "up_to": up_to, "proof": proof, "note": note})
        }
        What::Key(kid) => {
            let kid = KeyId::new(&kid)?;
            let algorithm = composed.keys.algorithm_of(&kid)?;
            let keys = composed.keys.at_wish_of(&order.actor);
            // INVARIANT: before another is made: a token that hangs holds up nothing that is taken back.
            keys.expel(&kid, None, order).await?;
            if keys.due().contains(&algorithm)
                && let Err(why) = keys::replace(composed, &keys, algorithm).await
            {
                tracing::warn!(why, "no key was made in place of one that is taken back");
            }
            let note = format!(
                "status lists do not show it: whoever does not read the key set anew accepts what it \
                 signed until {} at the latest",
                longest(composed)
            );
            json!({"revoked": {"key": kid}, "note": note})
        }
        What::ApiKey(id) => api_keys::take_back(composed, &id, order).await?,
        What::Foreign { issuer, named } => {
            revoke_foreign::revoke(composed, &issuer, named, order).await?
        }
    };
    // What is named so is taken back however often it was before.
    Ok((told, Taken::Now))
}

/// Ends a session and what was begun in it; answers what that was. Where it was nothing, nobody may
/// think that something was taken back.
pub(super) async fn session(
    composed: &Composed,
    sid: &SessionId,
    order: &Order,
) -> Result<Value, Refused> {
    let (holder, tally) = (Holder::Session(sid.clone()), Tally::default());
    let proof = everything_of(composed, &holder, order, &tally).await?;
    let counts = || proof.as_object().into_iter().flatten().filter_map(|(_, it)| it.as_u64());
    if counts().sum::<u64>() == 0 {
        let why = format!("there is no live session `{sid}`; `tegata session list` names them");
        return Err(Refused::unknown(why));
    }
    Ok(proof)
}

/// A name that nobody has is a mistake, and answering that everything of it was taken back would
/// hide that somebody else still has it.
pub(super) async fn check_known(composed: &Composed, id: &ClientId) -> Result<(), Refused> {
    let realm = &composed.realm;
    if composed.clients.load(realm, id).await?.is_some() {
        return Ok(());
    }
    let services = composed.registry.services(realm).await?;
    // Browsers of our own origin have a client that is in no registry.
    let own = tegata_server::BrowserClient::default().id;
    if own == id.as_str() || services.iter().any(|service| service.name == id.as_str()) {
        return Ok(());
    }
    Err(Refused::unknown(format!(
        "there is no client or service `{id}`; `tegata client list` and `tegata service list` name \
         them"
    )))
}

/// Takes back everything that a person has.
pub(crate) async fn user(
    composed: &Composed,
    user: &User,
    order: &Order,
    tally: &Tally,
) -> Result<Value, Refused> {
    let up_to = composed.provider.take_back_subject(user.id.as_str(), order).await?.to_string();
    let holder = Holder::User(user.id.clone());
    let proof = everything_of(composed, &holder, order, tally).await?;
    Ok(json!({"revoked": {"user": user.username.as_str()}, "up_to": up_to, "proof": proof}))
}

/// Takes back everything that was issued to a client up to now, and in its own name.
pub(super) async fn client(
    composed: &Composed,
    id: &ClientId,
    order: &Order,
) -> Result<String, Refused> {
    let up_to = composed.provider.take_back_client(id, order).await?;
    Ok(up_to.to_string())
}

/// Up to when everything is taken back: no earlier than anything that this process has done, also when
/// the wall clock was set back since.
pub(super) fn moment(composed: &Composed) -> Timestamp {
    composed.node.now().max(composed.node.tick().wall())
}

async fn token(composed: &Composed, token: &str, order: &Order) -> Result<(Value, Taken), Refused> {
    if token.starts_with("sk_") {
        // Whoever found a key somewhere need not know what it is.
        let shown = composed.api_keys.read(token).map_err(Refused::invalid("/token"))?;
        let told = api_keys::take_back(composed, shown.id.as_str(), order).await?;
        return Ok((told, Taken::Now));
    }
    if token.starts_with("rt_") {
        let found = composed.families.of_token(&composed.realm, token).await?;
        let why = "this is not a refresh token of this installation, or is from before a restore";
        let (family, _) = found.ok_or_else(|| Refused::invalid("/token")(why))?;
        let ended = composed.families.revoke(&composed.realm, &family.id, order).await?;
        let taken = if ended { Taken::Now } else { Taken::Before };
        return Ok((json!({"revoked": {"family": family.id}}), taken));
    }
    if let Some(taken_back) = revoke_foreign::token(composed, token, order).await {
        return taken_back.map(|told| (told, Taken::Now));
    }
    let revoked = composed.provider.revoke_token(token, order).await;
    let (jti, taken) = revoked.map_err(|why| match why {
        tegata_oauth::Refused::Store(error) => error.into(),
        other => Refused::invalid("/token")(other),
    })?;
    Ok((json!({"revoked": {"jti": jti}}), taken))
}

async fn jti(composed: &Composed, jti: &str, order: &Order) -> Result<Value, Refused> {
    let jti = TokenId::new(jti).map_err(Refused::invalid("/jti"))?;
    let place = place_of(composed, &jti).await;
    // By its name in any case: that refuses it also where somebody was wrong about its place.
    let mut entries = vec![(Target::Token(jti.clone()), None)];
    entries.extend(place.map(|place| (Target::Token(jti.clone()), Some(place))));
    commit(composed, entries, vec![("jti", json!(jti))], order).await?;
    let mut told = json!({"revoked": {"jti": jti}});
    if let Some(members) = told.as_object_mut().filter(|_| place.is_none()) {
        let note = format!(
            "it is refused by its name only, since its place in a status list is not known, or is that of \
             the token that it was made of: who reads only status lists accepts it until {} at the \
             latest. With `--token` in place of `--jti`, its place is known",
            longest(composed)
        );
        members.insert("note".to_owned(), note.into());
    }
    Ok(told)
}

/// Where a token stands in its status list, as far as anybody knows: the record of its sign-in, or the
/// nodes, of what clients got in their own names.
async fn place_of(composed: &Composed, jti: &TokenId) -> Option<StatusIndex> {
    if let Some(id) = jti.family() {
        let family = composed.families.find(&composed.realm, &id).await;
        // A store that does not answer refuses what is committed next, and says why.
        let family = family.ok().flatten()?;
        let mut all = family.earlier.iter().chain([&family.access]);
        return all.find(|access| access.jti == *jti).map(|access| access.status);
    }
    composed.usage.of(jti.as_str())?.origin.get()?.place
}

/// What is to be known of the tokens of a client that were taken back: who does not know of it.
fn by_name_only(composed: &Composed, id: &ClientId) -> String {
    let known = composed.usage.issued_to(id.as_str(), moment(composed));
    let many = known.iter().filter(|(_, origin)| origin.place.is_none()).count();
    format!(
        "refused by name only: {many} tokens that are known to be made of others, and any that no node \
         remembers; who reads only status lists accepts them until {} at the latest",
        longest(composed)
    )
}

/// When the last token has died that is alive now.
fn longest(composed: &Composed) -> Timestamp {
    composed.node.now() + LONGEST_ACCESS
}

/// Commits what takes something back, with the event that names it.
pub(super) async fn commit(
    composed: &Composed,
    targets: Vec<(Target, Option<StatusIndex>)>,
    named: Vec<(&'static str, Value)>,
    order: &Order,
) -> Result<(), Refused> {
    let now = composed.node.now();
    let why = [("reason", json!(order.reason)), ("actor", json!(order.actor))];
    let mut event = Event::new(&composed.node, &composed.realm, EventType::TokenRevoked, []);
    let named = named.into_iter().chain(why).map(|(name, value)| (name.to_owned(), value));
    event.data.extend(named);
    // As long as any family could live that was begun before.
    let until = now + composed.config.tokens.refresh_absolute.get();
    let entries = targets
        .into_iter()
        .map(|(target, place)| order.entry(target, place.into_iter().collect(), (now, until)))
        .map(|entry| foreign::lasting(entry, now));
    let (entries, held): (Vec<_>, Vec<_>) = entries.unzip();
    let batch = Batch::new(composed.realm.clone()).journal(&event);
    let batch = held.into_iter().flatten().fold(batch, Batch::with);
    Ok(composed.revoker.commit(batch, entries).await?)
}

async fn everything_of(
    composed: &Composed,
    holder: &Holder,
    order: &Order,
    tally: &Tally,
) -> Result<Value, Refused> {
    let proof = composed.withdraw.everything_of(&composed.realm, holder, order, tally).await?;
    let counted = proof.into_iter().map(|it| (it.kind.to_owned(), it.count.into()));
    Ok(Value::Object(counted.collect()))
}

#[cfg(test)]
mod tests;
