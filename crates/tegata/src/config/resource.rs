//! What the gateway is to clients that look for it (RFC 9728).

use tegata_core::ClientCertificates;
use tegata_token::{InvalidResource, ProtectedResource};

use super::{Config, ForeignIssuer};

impl Config {
    /// The resource that access tokens name, for which we issue them, and others whose tokens for it
    /// count.
    ///
    /// # Errors
    /// `gateway.audience` is no address.
    pub(crate) fn resource(&self) -> Result<ProtectedResource, InvalidResource> {
        let audience = self.audience();
        let names_it = |other: &&ForeignIssuer| {
            other.audience.is_empty() || other.audience.contains(&audience)
        };
        let others = self.issuer.iter().filter(names_it).map(|other| other.issuer.clone());
        let issuers = std::iter::once(self.issuer()).chain(others).collect();
        let resource = ProtectedResource::new(&audience, issuers)?.accepting_proofs();
        Ok(match self.gateway.client_certificates {
            ClientCertificates::Off => resource,
            ClientCertificates::Tls | ClientCertificates::Header => {
                resource.accepting_certificates()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn described(text: &str) -> Value {
        let config: Config = toml::from_str(text).unwrap();
        serde_json::from_slice(&config.resource().unwrap().document()).unwrap()
    }

    #[test]
    fn is_what_the_configuration_says() {
        let plain = described("");
        assert_eq!(plain["resource"], "http://localhost:8080");
        assert_eq!(plain["authorization_servers"], json!(["http://localhost:8000"]));
        assert_eq!(plain["tls_client_certificate_bound_access_tokens"], Value::Null);
        let whole = described(
            "[public]\nissuer = \"https://auth.example\"\n\
             [gateway]\naudience = \"https://api.example\"\nclient_certificates = \"header\"\n\
             [[issuer]]\nissuer = \"https://one.example\"\n\
             [[issuer]]\nissuer = \"https://two.example\"\naudience = [\"https://api.example\"]\n\
             [[issuer]]\nissuer = \"https://three.example\"\naudience = [\"other\"]\n",
        );
        assert_eq!(whole["resource"], "https://api.example");
        let issuers = json!(["https://auth.example", "https://one.example", "https://two.example"]);
        assert_eq!(whole["authorization_servers"], issuers);
        assert_eq!(whole["tls_client_certificate_bound_access_tokens"], true);
    }
}
