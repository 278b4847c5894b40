//! `--describe`: what the demo is, for programs.

use serde_json::{Value, json};
use tegata_oauth::GrantType;
use tegata_shop::Registry;

use super::{
    Ports,
    household::{Household, Member, Person},
    partner::{self, Partner},
};

/// The description. Its names are a promise.
pub(crate) fn describe(
    ports: &Ports,
    household: &Household,
    partner: &Partner,
    registry: &Registry,
) -> Value {
    let admin = household.person("admin");
    let person = |person: &Person| {
        json!({
            "username": person.username,
            "password": person.password,
            "roles": person.roles,
            "totp_secret": person.totp_secret,
        })
    };
    let client = |member: &Member| {
        let grants = member.metadata.grant_types.iter().flatten().copied().map(GrantType::name);
        json!({
            "client_id": member.metadata.client_id,
            "client_secret": member.secret,
            "grant_types": grants.collect::<Vec<_>>(),
            "scope": member.metadata.scope,
            "redirect_uris": member.metadata.redirect_uris,
        })
    };
    let service = |service: &tegata_shop::registry::Service| json!({"name": service.name, "path": format!("/{}", service.name)});
    let bff = |bff: &tegata_shop::registry::Bff| json!({"name": bff.name, "path": format!("/bff/{}", bff.name)});
    json!({
        "issuer": ports.issuer(),
        "gateway": ports.gateway_url(),
        "operations": ports.operations_url(),
        "admin": {
            "username": admin.map(|admin| &admin.username),
            "password": admin.map(|admin| &admin.password),
        },
        "users": household.people.iter().map(person).collect::<Vec<_>>(),
        "clients": household.clients.iter().map(client).collect::<Vec<_>>(),
        "partner": {
            "issuer": ports.partner_url(),
            "token_endpoint": Partner::token_endpoint(ports),
            "client_id": partner::CLIENT,
            "client_secret": partner.secret(),
        },
        "services": registry.service.iter().map(service).collect::<Vec<_>>(),
        "bff": registry.bff.iter().map(bff).collect::<Vec<_>>(),
        "protected_path": Registry::PROTECTED_PATH,
        "public_path": Registry::PUBLIC_PATH,
        "graphql": {"path": Registry::GRAPHQL_PATH, "schema": tegata_shop::graph::SCHEMA},
    })
}
