//! Orders about clients.

use serde_json::{Value, json};
use tegata_core::{
    ClientId, Secret, UserId, Versioned,
    port::{Change, Page},
};
use tegata_oauth::{
    Client, ClientMetadata,
    administer::is_administrative,
    backchannel::{RelyingParty, Told},
    client::{ClientChanged, NotRegistered, is_reserved},
    described::Described,
    signals::StreamRefused,
};
use tegata_token::{Algorithm, Holder, Order, Tally};

use super::{Kind, Refused};
use crate::compose::Composed;

pub(super) async fn add(
    composed: &Composed,
    actor: &str,
    metadata: ClientMetadata,
    secret: Option<String>,
) -> Result<Value, Refused> {
    let added = register(composed, actor, metadata, secret).await.map_err(|refused| {
        let why = match refused.kind {
            Kind::Conflict => format!("{}; change it with `tegata apply`", refused.why),
            _ => refused.why,
        };
        Refused { why, ..refused }
    })?;
    let mut answer = shown(&added.client);
    if let (Some(members), Some(secret)) = (answer.as_object_mut(), &added.secret) {
        members.insert("client_secret".to_owned(), secret.expose().as_str().into());
    }
    Ok(answer)
}

/// Registers a client that is not there yet.
pub(crate) async fn register(
    composed: &Composed,
    actor: &str,
    mut metadata: ClientMetadata,
    secret: Option<String>,
) -> Result<ClientChanged, Refused> {
    // Whoever names one that is there is told that first, whatever else is wrong.
    if let Ok(id) = ClientId::new(&metadata.client_id)
        && composed.clients.load(&composed.realm, &id).await?.is_some()
    {
        return Err(NotRegistered::Present(id).into());
    }
    choose_algorithms(composed, &mut metadata)?;
    check_certificates(composed, &metadata)?;
    let secret = secret.map(Secret::new);
    let clients = composed.clients.at_wish_of(actor);
    Ok(clients.add(&composed.realm, &metadata, secret.as_ref()).await?)
}

/// The client of this name.
pub(crate) async fn by_id(composed: &Composed, id: &str) -> Result<Versioned<Client>, Refused> {
    let found = composed.clients.load(&composed.realm, &ClientId::new(id)?).await?;
    found.ok_or_else(|| Refused::unknown(format!("there is no client `{id}`")))
}

/// Makes a client, as it was read, be as it is declared now.
pub(crate) async fn change(
    composed: &Composed,
    actor: &str,
    before: &Versioned<Client>,
    mut metadata: ClientMetadata,
) -> Result<ClientChanged, Refused> {
    choose_algorithms(composed, &mut metadata)?;
    check_certificates(composed, &metadata)?;
    let clients = composed.clients.at_wish_of(actor);
    Ok(clients.amend(&composed.realm, before, &metadata).await?)
}

/// Disables a client as it was read, or lets it be one again. All else of it stays.
pub(crate) async fn disable(
    composed: &Composed,
    actor: &str,
    before: &Versioned<Client>,
    disabled: bool,
) -> Result<ClientChanged, Refused> {
    let clients = composed.clients.at_wish_of(actor);
    Ok(clients.disable(&composed.realm, before, disabled).await?)
}

/// Takes back what a client has that was disabled a moment ago. Where not all of that is done, disabling it
/// again goes on with it.
pub(crate) async fn take_back(
    composed: &Composed,
    actor: &str,
    id: &ClientId,
) -> Result<(), Refused> {
    let order = Order { reason: "client_disabled".to_owned(), actor: actor.to_owned() };
    let holder = Holder::Client(id.clone());
    let revoked = super::revoke::client(composed, id, &order).await;
    let tally = Tally::default();
    let ended = composed.withdraw.everything_of(&composed.realm, &holder, &order, &tally).await;
    let refused = match (revoked, ended) {
        (Ok(_), Ok(_)) => return Ok(()),
        (Err(refused), _) => refused,
        (_, Err(error)) => error.into(),
    };
    let why = format!(
        "client `{id}` is disabled, but not all that it had is ended ({}); disable it once more, \
         or `tegata revoke --client {id}`",
        refused.why
    );
    Err(Refused { why, ..refused }.after(json!({"client_id": id, "done": "disabled"})))
}

/// Refuses to touch a client that may administer, for whoever could become it by that: the power of
/// people ends with their role, that of their clients would not. Operators declare such clients.
pub(crate) fn check_harmless(client: &Client) -> Result<(), Refused> {
    if !is_administrative(&client.scope) {
        return Ok(());
    }
    let why = format!(
        "client `{}` may administer; it is changed by declaration alone, in the configuration or \
         with `tegata apply`",
        client.id
    );
    Err(Refused::new(Kind::Forbidden, why))
}

/// Fills in what its tokens are signed with, where nothing is said, and refuses what there are no
/// keys for: such a client would be refused every token.
pub(super) fn choose_algorithms(
    composed: &Composed,
    metadata: &mut ClientMetadata,
) -> Result<(), Refused> {
    let keys = &composed.config.keys;
    let usual = keys.usual(metadata.is_fapi());
    for (name, chosen) in [
        ("access_token_signed_response_alg", &mut metadata.access_token_signed_response_alg),
        ("id_token_signed_response_alg", &mut metadata.id_token_signed_response_alg),
        ("authorization_signed_response_alg", &mut metadata.authorization_signed_response_alg),
    ] {
        let algorithm = *chosen.get_or_insert(usual);
        if !keys.algorithms.contains(&algorithm) {
            return Err(unnamed(&metadata.client_id, name, algorithm));
        }
    }
    let asked = [
        ("introspection_signed_response_alg", metadata.introspection_signed_response_alg),
        ("userinfo_signed_response_alg", metadata.userinfo_signed_response_alg),
    ];
    for (name, algorithm) in asked {
        if let Some(algorithm) = algorithm.filter(|it| !keys.algorithms.contains(it)) {
            return Err(unnamed(&metadata.client_id, name, algorithm));
        }
    }
    Ok(())
}

/// Refuses a client that is to show a certificate where nothing asks for one: it could never prove itself.
pub(super) fn check_certificates(
    composed: &Composed,
    metadata: &ClientMetadata,
) -> Result<(), Refused> {
    // What cannot be read is refused by whoever reads it next.
    let read = metadata.read(composed.node.now());
    let missing = read.ok().and_then(|client| composed.config.missing_for(&client));
    missing.map_or(Ok(()), |why| Err(why.into()))
}

fn unnamed(client: &str, name: &str, algorithm: Algorithm) -> Refused {
    let why = "which `[keys] algorithms` does not name";
    format!("client `{client}`: `{name}` is {algorithm}, {why}").into()
}

pub(super) async fn list(composed: &Composed) -> Result<Value, Refused> {
    let mut all = Vec::new();
    let mut page = Page { after: None, limit: 500 };
    loop {
        let clients = composed.clients.list(&composed.realm, page.clone()).await?;
        let Some(last) = clients.last() else { return Ok(Value::Array(all)) };
        page.after = Some(last.id.as_str().to_owned());
        all.extend(clients.iter().map(shown));
    }
}

pub(super) async fn rotate_secret(
    composed: &Composed,
    actor: &str,
    client: &str,
) -> Result<Value, Refused> {
    let id = ClientId::new(client)?;
    let clients = composed.clients.at_wish_of(actor);
    let secret = clients.rotate_secret(&composed.realm, &id).await?;
    Ok(told_once(&id, &secret))
}

/// Gives a new secret to a client as it was read.
pub(crate) async fn rotate_secret_of(
    composed: &Composed,
    actor: &str,
    before: &Versioned<Client>,
) -> Result<Value, Refused> {
    let clients = composed.clients.at_wish_of(actor);
    let secret = clients.rotate_secret_of(&composed.realm, before).await?;
    Ok(told_once(&before.value.id, &secret))
}

fn told_once(id: &ClientId, secret: &Secret<String>) -> Value {
    json!({
        "client_id": id,
        "client_secret": secret.expose(),
        "note": "the secret before works until the next rotation",
    })
}

/// How often a removal that lost a race is tried again.
const TRIES: u32 = 20;

/// Removes a client, and the delegations by which it acts, and takes back what it has. What was issued to
/// it is refused from the moment on in which it is gone; where the rest fails, removing it again goes on
/// with that.
pub(super) async fn remove(
    composed: &Composed,
    actor: &str,
    client: &str,
    tally: &Tally,
) -> Result<Value, Refused> {
    let id = ClientId::new(client)?;
    let order = Order { reason: "client_removed".to_owned(), actor: actor.to_owned() };
    let removed = with_delegations(composed, &id, |changes| {
        composed.provider.remove_client(&id, changes, &order)
    });
    let (was_gone, delegations) = match removed.await? {
        Ok(delegations) => (false, delegations),
        // An earlier removal may have left something, but not of our own scripts, nor of a person.
        Err(NotRegistered::Unknown(_)) if !is_reserved(&id) && UserId::new(client).is_err() => {
            (true, Vec::new())
        }
        Err(refused) => return Err(refused.into()),
    };
    let ended = end_rest(composed, &id, &order, tally).await;
    // Also what it was given while it was being removed.
    let revoked = super::revoke::client(composed, &id, &order).await;
    match (ended, revoked) {
        (Ok((0, 0)), Ok(_)) if was_gone => Err(NotRegistered::Unknown(id).into()),
        (Ok((families, _)), Ok(revoked)) => {
            let told = json!({"removed": id, "families": families, "revoked": revoked});
            Ok(naming(told, &delegations))
        }
        (Err(refused), _) | (_, Err(refused)) if was_gone => Err(refused),
        (Err(refused), _) | (_, Err(refused)) => {
            let why = format!(
                "client `{id}` is removed and what was issued to it before is refused, but not all \
                 that it had is ended ({}); remove it once more",
                refused.why
            );
            Err(Refused { why, ..refused }.after(naming(json!({"removed": id}), &delegations)))
        }
    }
}

/// Ends the families of a client that is gone, and its streams and API keys; answers how many they were. Where one
/// part fails, the other is ended all the same.
async fn end_rest(
    composed: &Composed,
    id: &ClientId,
    order: &Order,
    tally: &Tally,
) -> Result<(u64, u64), Refused> {
    let holder = Holder::Client(id.clone());
    let proof = composed.withdraw.everything_of(&composed.realm, &holder, order, tally).await;
    // Nothing more is sent to whoever it was.
    let streams = match crate::signals::streams(composed).delete_all(id).await {
        Err(StreamRefused::Store(error)) => Err(error),
        // Any other refusal is that there are none.
        settled => Ok(settled.unwrap_or_default()),
    };
    let (mut families, mut others) = (0, streams?);
    for withdrawn in proof? {
        match withdrawn.kind {
            "tokens" => {}
            "api keys" => others += withdrawn.count,
            _ => families += withdrawn.count,
        }
    }
    Ok((families, others))
}

/// The answer, with the delegations that end, where any do.
fn naming(mut told: Value, delegations: &[String]) -> Value {
    if let (Some(members), false) = (told.as_object_mut(), delegations.is_empty()) {
        members.insert("delegations".to_owned(), json!(delegations));
    }
    told
}

/// Lets go of a client by `change`, which is given what takes from it what it may do by delegations, to be
/// done in the same moment. Answers which of them end.
async fn with_delegations<F>(
    composed: &Composed,
    id: &ClientId,
    change: impl Fn(Vec<Change>) -> F,
) -> Result<Result<Vec<String>, NotRegistered>, Refused>
where
    F: Future<Output = Result<(), NotRegistered>>,
{
    for _ in 0..TRIES {
        let (changes, ended) = composed.registry.without_client(&composed.realm, id).await?;
        match change(changes).await {
            Ok(()) => return Ok(Ok(ended)),
            Err(NotRegistered::Overtaken(_)) => {}
            Err(refused) => return Ok(Err(refused)),
        }
    }
    let why = "the client and its delegations changed faster than they could be removed: try again";
    Err(Refused::new(Kind::Busy, why))
}

/// Has nothing more to do with a client that describes itself, and takes back what it has: what was issued
/// to it is refused from the moment on in which it is. Where the rest fails, refusing it again goes on with
/// that. Whoever removes it knows it no longer, and so takes it again.
pub(super) async fn refuse(
    composed: &Composed,
    client: &str,
    order: &Order,
    tally: &Tally,
) -> Result<Value, Refused> {
    let id = ClientId::new(client)?;
    let refused = with_delegations(composed, &id, |changes| {
        composed.provider.refuse_client(&id, changes, order)
    });
    let delegations = refused.await??;
    let ended = end_rest(composed, &id, order, tally).await;
    // Also what it was given while it was being refused.
    let revoked = super::revoke::client(composed, &id, order).await;
    match (ended, revoked) {
        (Ok((families, _)), Ok(revoked)) => {
            let told = json!({"refused": id, "families": families, "revoked": revoked});
            Ok(naming(told, &delegations))
        }
        (Err(refused), _) | (_, Err(refused)) => {
            let why = format!(
                "client `{id}` is refused, with what was issued to it before, but not all that it had \
                 is ended ({}); refuse it once more",
                refused.why
            );
            Err(Refused { why, ..refused }.after(naming(json!({"refused": id}), &delegations)))
        }
    }
}

/// How many messages are shown.
const MOST_SHOWN: usize = 1000;

/// Which clients were told that sessions have ended.
pub(super) async fn logouts(
    composed: &Composed,
    client: Option<&str>,
    state: Option<&str>,
) -> Result<Value, Refused> {
    let mut all = Vec::new();
    for state in
        ["due", "failed", "delivered"].into_iter().filter(|it| state.is_none_or(|s| s == *it))
    {
        let mut after = None;
        loop {
            let page = composed.provider.logouts(state, after).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key().to_owned());
            let wanted = page.iter().filter(|it| client.is_none_or(|id| id == it.client.as_str()));
            all.extend(wanted.map(told));
            if all.len() >= MOST_SHOWN {
                all.truncate(MOST_SHOWN);
                return Ok(Value::Array(all));
            }
        }
    }
    Ok(Value::Array(all))
}

fn told(party: &RelyingParty) -> Value {
    let (at, attempts, why) = match &party.told {
        Told::Lives => (None, 0, None),
        Told::Due { at, attempts, last } => (Some(at), *attempts, last.as_deref()),
        Told::Delivered { at, attempts } => (Some(at), *attempts, None),
        Told::Failed { at, attempts, why } => (Some(at), *attempts, Some(why.as_str())),
    };
    json!({
        "client_id": party.client,
        "session": party.session,
        "user_id": party.user,
        "state": party.told.name(),
        "at": at.map(ToString::to_string),
        "attempts": attempts,
        "why": why,
    })
}

fn shown(client: &Client) -> Value {
    let mut shown = json!({
        "client_id": client.id,
        "name": client.name,
        "authentication": client.auth.name(),
        "grant_types": client.grant_types.iter().map(|grant| grant.name()).collect::<Vec<_>>(),
        "redirect_uris": client.redirect_uris.iter().map(|uri| uri.as_str()).collect::<Vec<_>>(),
        "scope": client.scope.as_str(),
        "created": client.created.to_string(),
    });
    if let Some(members) = shown.as_object_mut() {
        if client.disabled {
            members.insert("disabled".to_owned(), true.into());
        }
        if let Some(sector) = &client.sector {
            members.insert("sector".to_owned(), sector.as_str().into());
        }
        if let Some(described) = &client.described {
            members.insert("described".to_owned(), operators_word(described).into());
        }
    }
    shown
}

/// What operators say of a client that describes itself.
pub(crate) const fn operators_word(described: &Described) -> &'static str {
    if described.refused.is_some() { "refused" } else { "taken" }
}

#[cfg(test)]
mod tests {
    use tegata_token::Claims;

    use super::*;
    use crate::{
        compose,
        operate::{Declarations, declare},
    };

    #[tokio::test]
    async fn one_that_is_disabled_is_nobody_and_no_declaration_enables_it() {
        let place = tempfile::tempdir().unwrap();
        let composed = compose::for_tests(place.path()).await;
        let id = ClientId::new("shop").unwrap();
        let mut declared = ClientMetadata {
            client_id: id.to_string(),
            redirect_uris: vec!["https://shop.example/back".to_owned()],
            public: true,
            ..ClientMetadata::default()
        };
        choose_algorithms(&composed, &mut declared).unwrap();
        let clients = &composed.clients;
        clients.declare(&composed.realm, &declared, None).await.unwrap();
        let known = || async { composed.provider.client(&id).await.unwrap() };
        assert!(known().await.is_some());
        let issued = Claims {
            sub: "usr_1".into(),
            client_id: Some(id.to_string()),
            iat: composed.node.now().secs(),
            ..Claims::default()
        };
        let is_refused =
            || composed.view.realm(&composed.realm).check_claims(&issued, None, "").is_some();
        assert!(!is_refused());
        let before = by_id(&composed, "shop").await.unwrap();
        let off = ClientMetadata { disabled: true, ..ClientMetadata::of(&before.value) };
        change(&composed, "operator", &before, off).await.unwrap();
        take_back(&composed, "operator", &id).await.unwrap();
        assert!(known().await.is_none() && is_refused());
        // As at every start.
        clients.declare(&composed.realm, &declared, None).await.unwrap();
        assert!(known().await.is_none());
        // Whoever read it before it was disabled does not undo that.
        let name = Some("another".to_owned());
        let renamed = ClientMetadata { client_name: name, ..ClientMetadata::of(&before.value) };
        let stale = change(&composed, "operator", &before, renamed).await;
        assert!(matches!(stale.unwrap_err().kind, Kind::Overtaken));
        let now = by_id(&composed, "shop").await.unwrap();
        let on = ClientMetadata { disabled: false, ..ClientMetadata::of(&now.value) };
        change(&composed, "operator", &now, on).await.unwrap();
        assert!(known().await.is_some() && is_refused());
    }

    #[tokio::test]
    async fn one_that_is_refused_loses_what_it_has_and_what_it_may_do_at_once() {
        let place = tempfile::tempdir().unwrap();
        let composed = compose::for_tests(place.path()).await;
        let id = "https://app.example/client.json";
        let rule = json!({"name": "begins", "actor": id, "transactions": true});
        let delegations = vec![serde_json::from_value(rule).unwrap()];
        let declarations = Declarations { delegations, ..Declarations::default() };
        let shown = declare::MadeSecrets::AreShown;
        declare(&composed, &declarations, shown).await.unwrap();
        let issued = Claims {
            sub: "usr_1".into(),
            client_id: Some(id.into()),
            iat: composed.node.now().secs(),
            ..Claims::default()
        };
        let is_refused =
            || composed.view.realm(&composed.realm).check_claims(&issued, None, "").is_some();
        assert!(!is_refused());
        let order = Order { reason: "spam".into(), actor: "operator".into() };
        let told = refuse(&composed, id, &order, &Tally::default()).await.unwrap();
        assert_eq!((&told["refused"], &told["delegations"]), (&json!(id), &json!(["begins"])));
        assert!(is_refused());
        // Once more, where something was left.
        let told = refuse(&composed, id, &order, &Tally::default()).await.unwrap();
        assert_eq!((&told["refused"], told.get("delegations")), (&json!(id), None));
    }
}
