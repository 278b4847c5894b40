//! Orders about clients.

use serde_json::{Value, json};
use tegata_core::{ClientId, Secret, port::Page};
use tegata_oauth::{
    Client, ClientMetadata,
    backchannel::{RelyingParty, Told},
};
use tegata_token::{Algorithm, Holder, Order, Tally};

use super::{OPERATOR, text};
use crate::compose::Composed;

pub(super) async fn add(
    composed: &Composed,
    mut metadata: ClientMetadata,
    secret: Option<String>,
) -> Result<Value, String> {
    choose_algorithms(composed, &mut metadata)?;
    let id = ClientId::new(&metadata.client_id).map_err(text)?;
    if composed.clients.load(&composed.realm, &id).await.map_err(text)?.is_some() {
        return Err(format!("there already is a client `{id}`; change it with `tegata apply`"));
    }
    let secret = secret.map(Secret::new);
    let declared = composed.clients.declare(&composed.realm, &metadata, secret.as_ref()).await;
    let changed = declared.map_err(text)?;
    let mut answer = shown(&changed.client);
    if let (Some(members), Some(secret)) = (answer.as_object_mut(), &changed.secret) {
        members.insert("client_secret".to_owned(), secret.expose().as_str().into());
    }
    Ok(answer)
}

/// Fills in what its tokens are signed with, where nothing is said, and refuses what there are no
/// keys for: such a client would be refused every token.
pub(super) fn choose_algorithms(
    composed: &Composed,
    metadata: &mut ClientMetadata,
) -> Result<(), String> {
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

fn unnamed(client: &str, name: &str, algorithm: Algorithm) -> String {
    format!("client `{client}`: `{name}` is {algorithm}, which `[keys] algorithms` does not name")
}

pub(super) async fn list(composed: &Composed) -> Result<Value, String> {
    let mut all = Vec::new();
    let mut page = Page { after: None, limit: 500 };
    loop {
        let clients = composed.clients.list(&composed.realm, page.clone()).await.map_err(text)?;
        let Some(last) = clients.last() else { return Ok(Value::Array(all)) };
        page.after = Some(last.id.as_str().to_owned());
        all.extend(clients.iter().map(shown));
    }
}

pub(super) async fn rotate_secret(composed: &Composed, client: &str) -> Result<Value, String> {
    let id = ClientId::new(client).map_err(text)?;
    let secret = composed.clients.rotate_secret(&composed.realm, &id).await.map_err(text)?;
    Ok(json!({
        "client_id": id,
        "client_secret": secret.expose(),
        "note": "the secret before works until the next rotation",
    }))
}

/// Removes a client, then takes back what it has: in this order, so that it gets nothing new.
pub(super) async fn remove(
    composed: &Composed,
    client: &str,
    tally: &Tally,
) -> Result<Value, String> {
    let id = ClientId::new(client).map_err(text)?;
    composed.clients.remove(&composed.realm, &id).await.map_err(text)?;
    let order = Order { reason: "client_removed".to_owned(), actor: OPERATOR.to_owned() };
    // Nothing more is sent to whoever it was.
    crate::signals::streams(composed).delete_all(&id).await.map_err(text)?;
    let revoked = super::revoke::client(composed, &id, &order).await?;
    let holder = Holder::Client(id.clone());
    let proof = composed.withdraw.everything_of(&composed.realm, &holder, &order, tally).await;
    let families: u64 = proof.map_err(text)?.iter().map(|withdrawn| withdrawn.count).sum();
    Ok(json!({"removed": id, "families": families, "revoked": revoked}))
}

/// How many messages are shown.
const MOST_SHOWN: usize = 1000;

/// Which clients were told that sessions have ended.
pub(super) async fn logouts(
    composed: &Composed,
    client: Option<&str>,
    state: Option<&str>,
) -> Result<Value, String> {
    let mut all = Vec::new();
    for state in
        ["due", "failed", "delivered"].into_iter().filter(|it| state.is_none_or(|s| s == *it))
    {
        let mut after = None;
        loop {
            let page = composed.provider.logouts(state, after).await.map_err(text)?;
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
    json!({
        "client_id": client.id,
        "name": client.name,
        "authentication": client.auth.name(),
        "grant_types": client.grant_types.iter().map(|grant| grant.name()).collect::<Vec<_>>(),
        "redirect_uris": client.redirect_uris.iter().map(|uri| uri.as_str()).collect::<Vec<_>>(),
        "scope": client.scope.as_str(),
        "created": client.created.to_string(),
    })
}
