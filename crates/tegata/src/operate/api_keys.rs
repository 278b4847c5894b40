//! Orders about API keys.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tegata_core::{ClientId, Timestamp, port::Page};
use tegata_mesh::{RoleName, ServiceName, Span};
use tegata_oauth::administer::is_administrative;
use tegata_token::{
    ApiGrant, ApiKey, ApiKeyId, ApiKeyRefused, Order, Scope,
    api_key::{LIFETIME, Made},
};

use super::{Kind, Refused, revoke};
use crate::compose::Composed;

/// How long a key counts beside the one that takes its place where nothing is said: a day.
const GRACE: std::time::Duration = std::time::Duration::from_secs(86_400);

/// The longest name of a key, in bytes, and how many roles, services and routes it may name.
const LONGEST_NAME: usize = 200;
const MOST: usize = 100;

/// A key to make.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    /// The service or client that it stands for.
    pub(crate) client: String,
    pub(crate) name: String,
    pub(crate) scope: String,
    pub(crate) roles: Vec<String>,
    pub(crate) services: Vec<String>,
    pub(crate) routes: Vec<String>,
    pub(crate) tokens: bool,
    pub(crate) lifetime: Option<Span>,
}

pub(super) async fn create(
    composed: &Composed,
    actor: &str,
    wanted: &Wanted,
) -> Result<Value, Refused> {
    let client = ClientId::new(&wanted.client).map_err(Refused::invalid("/client"))?;
    revoke::check_known(composed, &client).await.map_err(|refused| match refused.kind {
        Kind::Unknown => Refused::invalid("/client")(refused.why),
        _ => refused,
    })?;
    if wanted.name.len() > LONGEST_NAME {
        return Err(Refused::invalid("/name")("the name has more than 200 bytes"));
    }
    let grant = grant(composed, wanted).await?;
    let lifetime = wanted.lifetime.map_or(LIFETIME, Span::duration);
    let keys = composed.api_keys.at_wish_of(actor);
    let made = keys.create(&client, &wanted.name, grant, lifetime).await?;
    check_remains(composed, actor, &made).await?;
    Ok(told_once(composed, &made))
}

/// What a key may be used for, checked.
async fn grant(composed: &Composed, wanted: &Wanted) -> Result<ApiGrant, Refused> {
    let scope = Scope::new(&wanted.scope).map_err(Refused::invalid("/scope"))?;
    if is_administrative(&scope) {
        let why = "a scope that begins with `admin.` is given to no key: a key does not administer";
        return Err(Refused::invalid("/scope")(why));
    }
    for role in &wanted.roles {
        RoleName::new(role).map_err(Refused::invalid("/roles"))?;
    }
    let map = composed.registry.map(&composed.realm).await.map_err(|error| {
        Refused::new(Kind::Busy, format!("the services cannot be read: {error}"))
    })?;
    for service in &wanted.services {
        let name = ServiceName::new(service).map_err(Refused::invalid("/services"))?;
        if map.service(name.as_str()).is_none() {
            let why = format!("there is no service `{service}`; `tegata service list` names them");
            return Err(Refused::invalid("/services")(why));
        }
    }
    for route in &wanted.routes {
        if !map.routes().any(|known| known.path == *route) {
            let why = format!("there is no route `{route}`: name the prefix as it is declared");
            return Err(Refused::invalid("/routes")(why));
        }
    }
    if [&wanted.roles, &wanted.services, &wanted.routes].iter().any(|all| all.len() > MOST) {
        return Err(Refused::from("a key names 100 roles, services and routes at most".to_owned()));
    }
    if wanted.tokens && !wanted.routes.is_empty() {
        let why =
            "a token opens all of a service: a key for some routes alone gets none; name services";
        return Err(Refused::invalid("/tokens")(why));
    }
    let (roles, services) = (wanted.roles.clone(), wanted.services.clone());
    Ok(ApiGrant { scope, roles, services, routes: wanted.routes.clone(), tokens: wanted.tokens })
}

/// Whoever removed the client or service meanwhile may have looked for its keys before.
async fn check_remains(composed: &Composed, actor: &str, made: &Made) -> Result<(), Refused> {
    let Err(refused) = revoke::check_known(composed, &made.key.client).await else {
        return Ok(());
    };
    let order = Order { reason: "overtaken".to_owned(), actor: actor.to_owned() };
    composed.api_keys.revoke(&made.key.id, &order).await?;
    Err(refused)
}

pub(super) async fn list(composed: &Composed, client: Option<&str>) -> Result<Value, Refused> {
    let client = client.map(ClientId::new).transpose()?;
    let (mut all, mut page) = (Vec::new(), Page { after: None, limit: 500 });
    loop {
        let found = composed.api_keys.list(client.as_ref(), page.clone()).await?;
        let Some((last, _)) = found.last() else { return Ok(Value::Array(all)) };
        page.after = Some(last.id.as_str().to_owned());
        all.extend(found.iter().map(|(key, used)| shown(composed, key, *used)));
    }
}

/// The key of this id, as it is shown.
pub(crate) async fn show(composed: &Composed, id: &str) -> Result<Value, Refused> {
    let id = id_of(id)?;
    let found = composed.api_keys.load(&id).await?.ok_or(ApiKeyRefused::Unknown(id))?;
    let used = composed.api_keys.used(&found.value.id).await?;
    Ok(shown(composed, &found.value, used))
}

pub(super) async fn rotate(
    composed: &Composed,
    actor: &str,
    id: &str,
    grace: Option<Span>,
    at_once: bool,
) -> Result<Value, Refused> {
    let grace = grace.map_or(GRACE, Span::duration);
    let grace = if at_once { std::time::Duration::ZERO } else { grace };
    let made = composed.api_keys.at_wish_of(actor).rotate(&id_of(id)?, grace).await?;
    check_remains(composed, actor, &made).await?;
    let mut told = told_once(composed, &made);
    if let (Some(members), Some(before)) = (told.as_object_mut(), &made.before) {
        // Of one that does not count anyway there is no grace.
        let counts = !at_once && composed.api_keys.standing(before).name() == "active";
        let end = if counts { json!(before.expires.to_string()) } else { Value::Null };
        members.insert("replaces".to_owned(), json!(before.id));
        members.insert("overlap_end".to_owned(), end);
    }
    Ok(told)
}

pub(super) async fn take_back(
    composed: &Composed,
    id: &str,
    order: &Order,
) -> Result<Value, Refused> {
    let id = id_of(id)?;
    match composed.api_keys.revoke(&id, order).await? {
        Some(_) => Ok(json!({"revoked": {"api_key": id}})),
        None => Err(ApiKeyRefused::Unknown(id).into()),
    }
}

/// A key as it is shown. Its secret is told once, by whoever makes it.
pub(crate) fn shown(composed: &Composed, key: &ApiKey, used: Option<Timestamp>) -> Value {
    let standing = composed.api_keys.standing(key);
    json!({
        "id": key.id,
        "client": key.client,
        "name": key.name,
        "standing": standing.name(),
        "scope": key.grant.scope,
        "roles": key.grant.roles,
        "services": key.grant.services,
        "routes": key.grant.routes,
        "tokens": key.grant.tokens,
        "created": key.created.to_string(),
        "expires": key.expires.to_string(),
        "last_used": used.map(|at| at.to_string()),
        "revoked": key.ended.as_ref().map(|ended| ended.at.to_string()),
        "reason": key.ended.as_ref().map(|ended| ended.reason.as_str()),
        "replaces": key.replaces,
        "replaced_by": key.replaced_by,
    })
}

fn told_once(composed: &Composed, made: &Made) -> Value {
    let mut told = shown(composed, &made.key, None);
    if let Some(members) = told.as_object_mut() {
        members.insert("api_key".to_owned(), made.secret.expose().as_str().into());
    }
    told
}

fn id_of(text: &str) -> Result<ApiKeyId, Refused> {
    // A whole key in place of its id is understood, and its secret is not repeated.
    let text = text.strip_prefix("sk_").map_or(text, |rest| rest.split('.').next().unwrap_or(rest));
    ApiKeyId::new(text).map_err(Refused::unknown)
}

impl From<ApiKeyRefused> for Refused {
    fn from(refused: ApiKeyRefused) -> Self {
        let kind = match &refused {
            ApiKeyRefused::Store(error) => return error.clone().into(),
            ApiKeyRefused::Unknown(_) => Kind::Unknown,
            ApiKeyRefused::Ended(..) => Kind::Conflict,
            ApiKeyRefused::Lifetime => Kind::Invalid("/lifetime"),
            ApiKeyRefused::Grace | ApiKeyRefused::GraceOfTokens(_) => Kind::Invalid("/grace"),
        };
        Self::new(kind, refused)
    }
}
