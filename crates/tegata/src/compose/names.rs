//! Names that mean something already, so that no client and no service has them: whoever reads `sub`, `aud`
//! or `act` of a token must know whom or what it means.
//!
//! A client and a service of one name are one party: a service calls others as the client of its name.

use tegata_core::ClientId;

use super::{Composed, Startup};
use crate::config::Config;

/// What no client is called, and what it means.
pub(super) fn taken(config: &Config) -> [(String, &'static str); 3] {
    [
        (config.issuer(), "the issuer"),
        (config.audience(), "the audience of the gateway"),
        (config.trust_domain(), "the trust domain of transaction tokens (`tokens.trust_domain`)"),
    ]
}

/// Refuses to serve where a client or a service has such a name since before it meant something else.
///
/// # Errors
/// [`Startup`].
pub(crate) async fn check(composed: &Composed) -> Result<(), Startup> {
    for (name, what) in taken(&composed.config) {
        let refused = |party: &str| {
            Startup::Configuration(format!(
                "{party} `{name}` has the name of {what}: mend the configuration, or remove it and \
                 register it under another name"
            ))
        };
        if let Ok(id) = ClientId::new(&name)
            && composed.clients.load(&composed.realm, &id).await?.is_some()
        {
            return Err(refused("client"));
        }
        if composed.registry.service(&composed.realm, &name).await?.is_some() {
            return Err(refused("service"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use tegata_mesh::DeclaredService;
    use tegata_oauth::{ClientMetadata, GrantType, client::NotRegistered};

    use super::*;
    use crate::{
        compose,
        registry::{RegistryRefused, Wanted},
    };

    fn client(id: &str) -> ClientMetadata {
        ClientMetadata {
            client_id: id.to_owned(),
            grant_types: Some([GrantType::ClientCredentials].into()),
            scope: "orders.read".to_owned(),
            ..ClientMetadata::default()
        }
    }

    fn service(name: &str) -> DeclaredService {
        let told = serde_json::json!({"name": name, "upstreams": ["http://127.0.0.1:1"]});
        serde_json::from_value(told).unwrap()
    }

    fn config(domain: &str) -> Config {
        let mut config = Config::default();
        config.tokens.trust_domain = Some(domain.to_owned());
        config
    }

    #[tokio::test]
    async fn no_client_and_no_service_is_called_what_means_something_else() {
        let place = tempfile::tempdir().unwrap();
        let composed = compose::for_tests_with(place.path(), config("shop")).await;
        let (realm, clients) = (&composed.realm, &composed.clients);
        for name in ["shop", "http://localhost:8000", "http://localhost:8080"] {
            let refused = clients.declare(realm, &client(name), None).await.unwrap_err();
            assert!(matches!(refused, NotRegistered::Taken(..)), "{refused}");
            let refused = clients.add(realm, &client(name), None).await.unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
        let services = [service("shop")];
        let wanted = Wanted { services: &services, ..Wanted::default() };
        let refused = composed.registry.check_with(realm, wanted).await.unwrap_err();
        assert!(matches!(refused, RegistryRefused::Taken(_)), "{refused}");
        let refused = composed.registry.add(realm, service("shop")).await.unwrap_err();
        assert!(refused.to_string().contains("trust_domain"), "{refused}");
        // A service and the client that it calls others as have one name.
        composed.registry.add(realm, service("orders")).await.unwrap();
        clients.add(realm, &client("orders"), None).await.unwrap();
        check(&composed).await.unwrap();
    }

    /// The setting is changed to a name that somebody has.
    #[tokio::test]
    async fn nothing_is_served_where_a_name_means_two_things() {
        for party in ["client", "service"] {
            let place = tempfile::tempdir().unwrap();
            let before = compose::for_tests(place.path()).await;
            if party == "client" {
                before.clients.add(&before.realm, &client("shop"), None).await.unwrap();
            } else {
                before.registry.add(&before.realm, service("shop")).await.unwrap();
            }
            drop(before);
            let composed = compose::for_tests_with(place.path(), config("shop")).await;
            let refused = check(&composed).await.unwrap_err().to_string();
            assert!(refused.contains(party) && refused.contains("`shop`"), "{refused}");
        }
    }
}
