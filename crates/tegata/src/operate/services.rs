//! Orders about services.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};
use tegata_core::{ClientId, Hours, Network, RateLimit};
use tegata_mesh::{
    DeclaredLimit, DeclaredOutside, DeclaredSees, DeclaredService, DelegationMode, IdentityForm,
    Protocol,
    reach::{DeclaredBreaker, Health, Retry},
};
use tegata_token::{Holder, Tally, Withdrawable as _};

use super::Refused;
use crate::compose::Composed;

/// What of a service is to be different. What is not named stays as it is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Change {
    pub(crate) upstreams: Option<Vec<String>>,
    pub(crate) callers: Option<Vec<String>>,
    pub(crate) roles: Option<Vec<String>>,
    pub(crate) delegation: Option<DelegationMode>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Option<Protocol>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Option<Health>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) max_requests: Option<Option<u32>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) max_waiting: Option<Option<u32>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<Option<Retry>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) breaker: Option<Option<DeclaredBreaker>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<Option<PathBuf>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) client_certificate_file: Option<Option<PathBuf>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) client_key_file: Option<Option<PathBuf>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<Option<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) spiffe_id: Option<Option<String>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) identity: Option<Option<IdentityForm>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) sees: Option<Option<DeclaredSees>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limit: Option<Option<RateLimit>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) rate_limits: Option<Option<Vec<DeclaredLimit>>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) networks: Option<Option<Vec<Network>>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) hours: Option<Option<Vec<Hours>>>,
    #[serde(deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    pub(crate) outside: Option<Option<DeclaredOutside>>,
}

/// What is there, though it be `null`, which takes away; what is missing stays as it is.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Replaces a member where something is given.
fn put<T: Clone>(member: &mut Option<T>, given: Option<&Option<T>>) {
    if let Some(given) = given {
        member.clone_from(given);
    }
}

pub(super) async fn add(
    composed: &Composed,
    actor: &str,
    service: DeclaredService,
) -> Result<Value, Refused> {
    let name = service.name.clone();
    composed.registry.at_wish_of(actor).add(&composed.realm, service).await?;
    Ok(json!({"changed": [format!("service `{name}` registered")]}))
}

pub(super) async fn list(composed: &Composed) -> Result<Value, Refused> {
    let services = composed.registry.services(&composed.realm).await?;
    Ok(json!(services))
}

/// The service of this name, and its version.
pub(crate) async fn show(
    composed: &Composed,
    name: &str,
) -> Result<(DeclaredService, u64), Refused> {
    let found = composed.registry.service(&composed.realm, name).await?;
    found.ok_or_else(|| Refused::unknown(format!("there is no service `{name}`")))
}

pub(super) async fn allow(
    composed: &Composed,
    actor: &str,
    name: &str,
    caller: &str,
) -> Result<Value, Refused> {
    let callers = |service: &mut DeclaredService| {
        if !service.callers.iter().any(|known| known == caller) {
            service.callers.push(caller.to_owned());
        }
    };
    let registry = composed.registry.at_wish_of(actor);
    registry.amend(&composed.realm, name, None, callers).await?;
    Ok(json!({"service": name, "caller": caller}))
}

pub(super) async fn change(
    composed: &Composed,
    actor: &str,
    name: &str,
    change: &Change,
    versions: Option<&[u64]>,
) -> Result<Value, Refused> {
    let edit = |service: &mut DeclaredService| {
        let members = [
            (&mut service.upstreams, &change.upstreams),
            (&mut service.callers, &change.callers),
            (&mut service.roles, &change.roles),
        ];
        for (member, given) in members {
            if let Some(given) = given {
                member.clone_from(given);
            }
        }
        service.delegation = change.delegation.unwrap_or(service.delegation);
        if let Some(given) = change.protocol {
            service.protocol = given.unwrap_or_default();
        }
        if let Some(given) = change.identity {
            service.identity = given.unwrap_or_default();
        }
        put(&mut service.sees, change.sees.as_ref());
        put(&mut service.health, change.health.as_ref());
        put(&mut service.max_requests, change.max_requests.as_ref());
        put(&mut service.max_waiting, change.max_waiting.as_ref());
        put(&mut service.retry, change.retry.as_ref());
        put(&mut service.breaker, change.breaker.as_ref());
        put(&mut service.ca_file, change.ca_file.as_ref());
        put(&mut service.client_certificate_file, change.client_certificate_file.as_ref());
        put(&mut service.client_key_file, change.client_key_file.as_ref());
        put(&mut service.server_name, change.server_name.as_ref());
        put(&mut service.spiffe_id, change.spiffe_id.as_ref());
        put(&mut service.rate_limit, change.rate_limit.as_ref());
        if let Some(given) = &change.networks {
            service.networks = given.clone().unwrap_or_default();
        }
        if let Some(given) = &change.hours {
            service.hours = given.clone().unwrap_or_default();
        }
        put(&mut service.outside, change.outside.as_ref());
        if let Some(given) = &change.rate_limits {
            service.rate_limits = given.clone().unwrap_or_default();
        }
    };
    let registry = composed.registry.at_wish_of(actor);
    registry.amend(&composed.realm, name, versions, edit).await?;
    Ok(json!({"changed": [format!("service `{name}` changed")]}))
}

pub(super) async fn remove(composed: &Composed, actor: &str, name: &str) -> Result<Value, Refused> {
    composed.registry.at_wish_of(actor).remove(&composed.realm, name).await?;
    let ended = end_keys(composed, actor, name).await.map_err(|refused| {
        let why = format!(
            "service `{name}` is removed, but not all of its API keys are taken back ({}); \
             `tegata revoke --service {name}`",
            refused.why
        );
        Refused { why, ..refused }.after(json!({"removed": name}))
    })?;
    Ok(if ended == 0 {
        json!({"removed": name})
    } else {
        json!({"removed": name, "api_keys": ended})
    })
}

/// Takes back the keys of a service that is gone, unless a client of its name has them.
async fn end_keys(composed: &Composed, actor: &str, name: &str) -> Result<u64, Refused> {
    let Ok(id) = ClientId::new(name) else { return Ok(0) };
    if composed.clients.load(&composed.realm, &id).await?.is_some() {
        return Ok(0);
    }
    let order =
        tegata_token::Order { reason: "service_removed".to_owned(), actor: actor.to_owned() };
    let (holder, tally) = (Holder::Client(id), Tally::default());
    Ok(composed.api_keys.withdraw(&composed.realm, &holder, &order, &tally).await?)
}
