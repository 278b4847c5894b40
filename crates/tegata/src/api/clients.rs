//! Clients.

use serde_json::{Map, Value, json};
use tegata_core::Secret;
use tegata_oauth::{Client, ClientMetadata, administer::is_administrative};
use tegata_server::admin::{Asked, Done, Refused, encoded};
use tegata_token::Scope;

use super::{Api, lists, read, refused};
use crate::operate::{Kind, Order, clients};

/// How often a change that lost a race is tried again.
const TRIES: u32 = 20;

impl Api {
    pub(super) async fn clients(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        let found = composed.clients.list(&composed.realm, asked.page.clone()).await?;
        let last = found.last().map(|client| client.id.as_str());
        let next = lists::next(found.len(), &asked.page, last);
        Ok(Done::piece(found.iter().map(|client| shown(client, None)).collect(), next))
    }

    pub(super) async fn add_client(&self, asked: &Asked) -> Result<Done, Refused> {
        let mut body = asked.body.clone();
        let secret = body.remove("client_secret").and_then(|it| it.as_str().map(str::to_owned));
        let metadata: ClientMetadata = read(&body)?;
        check_scope(&metadata)?;
        let actor = asked.by.who.as_str();
        let added = clients::register(&self.composed, actor, metadata, secret).await;
        let added = added.map_err(refused)?;
        let location = Some(format!("/clients/{}", encoded(added.client.id.as_str())));
        let body = shown(&added.client, added.secret.as_ref());
        // What was just written has its first version.
        Ok(Done { location, ..Done::with(body).of_version(1) })
    }

    pub(super) async fn client(&self, asked: &Asked) -> Result<Done, Refused> {
        let found = clients::by_id(&self.composed, asked.name(0)).await.map_err(refused)?;
        Ok(Done::with(shown(&found.value, None)).of_version(found.version))
    }

    pub(super) async fn change_client(&self, asked: &Asked) -> Result<Done, Refused> {
        for _ in 0..TRIES {
            let found = clients::by_id(&self.composed, asked.name(0)).await.map_err(refused)?;
            clients::check_harmless(&found.value).map_err(refused)?;
            if asked.versions.as_ref().is_some_and(|wanted| !wanted.contains(&found.version)) {
                return Err(Refused::Overtaken);
            }
            let actor = asked.by.who.as_str();
            let changed = if let Some(disabled) = disabled_alone(&asked.body) {
                clients::disable(&self.composed, actor, &found, disabled).await
            } else {
                let metadata: ClientMetadata = read(&merged(&found.value, &asked.body))?;
                check_scope(&metadata)?;
                clients::change(&self.composed, actor, &found, metadata).await
            };
            match changed {
                Ok(changed) => {
                    // Also where it was disabled before, but not all was ended.
                    if asked.body.get("disabled") == Some(&Value::Bool(true)) {
                        let id = &changed.client.id;
                        clients::take_back(&self.composed, actor, id).await.map_err(refused)?;
                    }
                    let version = found.version + u64::from(changed.changed);
                    let body = shown(&changed.client, changed.secret.as_ref());
                    return Ok(Done::with(body).of_version(version));
                }
                // As it is then: whoever named a version is told.
                Err(why) if why.kind == Kind::Overtaken => {}
                Err(why) => return Err(refused(why)),
            }
        }
        Err(Refused::Busy)
    }

    pub(super) async fn rotate_secret(&self, asked: &Asked) -> Result<Done, Refused> {
        for _ in 0..TRIES {
            let found = clients::by_id(&self.composed, asked.name(0)).await.map_err(refused)?;
            clients::check_harmless(&found.value).map_err(refused)?;
            if asked.versions.as_ref().is_some_and(|wanted| !wanted.contains(&found.version)) {
                return Err(Refused::Overtaken);
            }
            let actor = asked.by.who.as_str();
            match clients::rotate_secret_of(&self.composed, actor, &found).await {
                // It is looked at anew: it may administer by now.
                Err(why) if why.kind == Kind::Overtaken => {}
                done => {
                    let told = done.map(|told| Done::with(told).of_version(found.version + 1));
                    return told.map_err(refused);
                }
            }
        }
        Err(Refused::Busy)
    }

    pub(super) async fn remove_client(&self, asked: &Asked) -> Result<Done, Refused> {
        let order = Order::ClientRemove { client: asked.name(0).to_owned() };
        self.order(asked, order).await.map(Done::with)
    }

    pub(super) async fn refuse_client(&self, asked: &Asked) -> Result<Done, Refused> {
        let reason = asked.text("reason").unwrap_or_default().to_owned();
        let order = Order::ClientRefuse { client: asked.name(0).to_owned(), reason };
        self.order(asked, order).await.map(Done::with)
    }
}

/// What lets its bearer administer is given by operators alone.
fn check_scope(metadata: &ClientMetadata) -> Result<(), Refused> {
    let scope = Scope::new(&metadata.scope);
    if scope.is_ok_and(|scope| is_administrative(&scope)) {
        let why = "scopes that begin with `admin.` are given by declaration alone";
        return Err(Refused::invalid("/scope", why));
    }
    Ok(())
}

/// What `disabled` is to be, where nothing else is to change.
fn disabled_alone(change: &Map<String, Value>) -> Option<bool> {
    change.get("disabled").filter(|_| change.len() == 1).and_then(Value::as_bool)
}

/// What a client was declared with, with a change merged into it (RFC 7396).
fn merged(client: &Client, change: &Map<String, Value>) -> Map<String, Value> {
    let mut told = declared(client);
    for (name, value) in change {
        // What stands in a member is replaced whole: keys and lists have no parts that are changed.
        told.insert(name.clone(), value.clone());
    }
    told.retain(|_, value| !value.is_null());
    told
}

fn declared(client: &Client) -> Map<String, Value> {
    match json!(ClientMetadata::of(client)) {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

fn shown(client: &Client, secret: Option<&Secret<String>>) -> Value {
    let mut told = declared(client);
    told.retain(|name, value| !value.is_null() && name != "public");
    told.insert("created".to_owned(), client.created.to_string().into());
    if let Some(described) = &client.described {
        told.insert("described".to_owned(), clients::operators_word(described).into());
    }
    if let Some(secret) = secret {
        told.insert("client_secret".to_owned(), secret.expose().as_str().into());
    }
    told.into()
}
