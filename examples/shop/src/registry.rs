//! What the platform must know of the shop: its services, who may call whom, and the routes. The
//! members are named as in the files that `tegata apply` reads.

use serde::Serialize;

use crate::{graph, shop::Addresses};

/// A file for `tegata apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Registry {
    /// The services that call others, as clients of the provider. Their secrets are not here.
    pub client: Vec<Client>,
    /// The services.
    pub service: Vec<Service>,
    /// The routes that are not the usual one, which is `/{name}`, stripped, for who is signed in.
    pub route: Vec<Route>,
    /// What is put together of several services.
    pub bff: Vec<Bff>,
}

/// A service, where it is a client of the provider. What it may get tokens for is said by the
/// services that it calls, in `callers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Client {
    /// The service's name.
    pub client_id: &'static str,
    /// Its own tokens, and those for the people that it acts for.
    pub grant_types: [&'static str; 2],
    /// How it proves who it is.
    pub token_endpoint_auth_method: &'static str,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name, which is the audience of tokens for it.
    pub name: &'static str,
    /// Where it is.
    pub upstreams: Vec<String>,
    /// Which services may get a token for it.
    pub callers: Vec<&'static str>,
    /// Who may call it through the gateway: whoever is signed in, where it is empty. The services
    /// ask for roles themselves where they need them.
    pub roles: Vec<&'static str>,
    /// What of a caller's rights it is told, where that is not all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sees: Option<Sees>,
}

/// What of a caller's rights a service is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sees {
    /// The roles that it knows.
    pub roles: &'static [&'static str],
    /// The scopes that it knows; all, where none are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<&'static str>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// Its prefix.
    pub path: &'static str,
    /// Where it leads.
    pub service: &'static str,
    /// `required`, `optional` or `none`.
    pub auth: &'static str,
    /// Whether the service sees the path without the prefix.
    pub strip_prefix: bool,
    /// The methods that pass; all, where it is empty.
    pub methods: Vec<&'static str>,
    /// What the gateway looks at, where bodies are GraphQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub graphql: Option<Graphql>,
}

/// What the gateway looks at where bodies are GraphQL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Graphql {
    /// The schema.
    pub schema: &'static str,
    /// Whoever may ask for the schema has this role.
    pub introspection: &'static str,
    /// What all requests of one caller may cost.
    pub cost_limit: &'static str,
    /// Operations that are counted by name.
    pub operations: Vec<&'static str>,
}

/// An answer that is put together of several services.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bff {
    /// Its name: it is asked for at `/bff/{name}`.
    pub name: &'static str,
    /// What it is put together of.
    pub part: Vec<Part>,
}

/// A part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Under which name it stands in the answer.
    pub name: &'static str,
    /// What is asked for, as a browser would.
    pub path: &'static str,
    /// The members that are told.
    pub select: Vec<&'static str>,
    /// Whether there is no answer without it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What stands in its place where there is none of it.
    #[serde(skip_serializing_if = "serde_json::Value::is_null")]
    pub default: serde_json::Value,
}

/// The services in the order of their ports, and which they call with a token.
pub(crate) const SERVICES: [(&str, &[&str]); 13] = [
    ("catalogue", &[]),
    ("users", &[]),
    ("carts", &[]),
    ("orders", &["carts", "users", "inventory", "payments", "shipping", "notifications"]),
    ("inventory", &[]),
    ("payments", &[]),
    ("shipping", &["notifications"]),
    ("notifications", &[]),
    ("reviews", &["orders"]),
    ("recommendations", &["orders"]),
    ("echo", &[]),
    ("storefront", &[]),
    ("preferences", &[]),
];

impl Registry {
    /// A path behind the gateway for which a caller must be signed in.
    pub const PROTECTED_PATH: &str = "/orders/orders";
    /// Where the page is that people shop with.
    pub const FRONT_PATH: &str = "/shop/";
    /// What the page shows of whoever is signed in, in one answer.
    pub const HOME_PATH: &str = "/bff/home";
    /// Where the catalogue is asked in GraphQL.
    pub const GRAPHQL_PATH: &str = "/graphql/shop";
    /// A path behind the gateway that is open to everybody.
    pub const PUBLIC_PATH: &str = "/catalogue/products";

    /// The registry of a shop at these addresses.
    #[must_use]
    pub fn at(addresses: &Addresses) -> Self {
        let service = |&(name, _): &(&'static str, _)| Service {
            name,
            upstreams: addresses.url(name).into_iter().collect(),
            callers: SERVICES
                .iter()
                .filter(|(_, called)| called.contains(&name))
                .map(|(caller, _)| *caller)
                .collect(),
            roles: vec![],
            sees: sees(name),
        };
        let client = |(name, _): &(&'static str, &[&str])| Client {
            client_id: name,
            grant_types: ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
            token_endpoint_auth_method: "client_secret_basic",
        };
        let calling = SERVICES.iter().filter(|(_, called)| !called.is_empty());
        Self {
            client: calling.map(client).collect(),
            service: SERVICES.iter().map(service).collect(),
            route: vec![
                // Everybody may look; the catalogue itself asks for an admin where it is changed.
                route("/catalogue", "catalogue", "optional"),
                route("/echo", "echo", "required"),
                route("/public/echo", "echo", "none"),
                route("/shop", "storefront", "none"),
                Route {
                    graphql: Some(Graphql {
                        schema: graph::SCHEMA,
                        introspection: "admin",
                        cost_limit: "20000/m",
                        operations: vec!["Shelf", "Product"],
                    }),
                    ..route(Self::GRAPHQL_PATH, "catalogue", "required")
                },
            ],
            bff: vec![home()],
        }
    }
}

const fn route(path: &'static str, service: &'static str, auth: &'static str) -> Route {
    Route { path, service, auth, strip_prefix: true, methods: vec![], graphql: None }
}

/// What the services that know what they need are told of callers. Who may refund is an admin, and whoever likes
/// light letters is a person like others.
fn sees(name: &str) -> Option<Sees> {
    match name {
        "payments" => Some(Sees { roles: &["admin"], scope: None }),
        "preferences" => Some(Sees { roles: &[], scope: Some("") }),
        _ => None,
    }
}

/// Who somebody is, how much they have not read, and how they like to see it. Who they are must be known; the
/// rest may be away for a while.
fn home() -> Bff {
    let part = |name, path, select: &[&'static str]| Part {
        name,
        path,
        select: select.to_vec(),
        required: false,
        default: serde_json::Value::Null,
    };
    let user = part("user", "/users/me/card", &["id", "name", "avatar"]);
    let unread = part("notifications", "/notifications/unread", &["unread_count"]);
    let theme = part("preferences", "/preferences/me", &["theme"]);
    let system = serde_json::json!({"theme": "system"});
    let parts = vec![Part { required: true, ..user }, unread, Part { default: system, ..theme }];
    Bff { name: "home", part: parts }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_calls_is_who_may() {
        let registry = Registry::at(&Addresses::from_port(8100).unwrap());
        assert_eq!(registry.service.len(), 13);
        for (caller, called) in SERVICES {
            let is_client = registry.client.iter().any(|client| client.client_id == caller);
            assert_eq!(is_client, !called.is_empty(), "{caller}");
            for name in called {
                let service = registry.service.iter().find(|service| service.name == *name);
                assert!(service.unwrap().callers.contains(&caller), "{caller} calls {name}");
            }
        }
        let json = serde_json::to_value(&registry).unwrap();
        assert_eq!(json["service"][0]["upstreams"][0], "http://127.0.0.1:8100");
        assert_eq!(json["service"][4]["callers"], serde_json::json!(["orders"]));
        assert_eq!(json["route"][0]["auth"], "optional");
        assert_eq!(json["service"][0].get("sees"), None);
        assert_eq!(json["service"][5]["sees"], serde_json::json!({"roles": ["admin"]}));
        assert_eq!(json["service"][12]["sees"], serde_json::json!({"roles": [], "scope": ""}));
    }
}
