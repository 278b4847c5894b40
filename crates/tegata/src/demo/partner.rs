//! The demo's partner: another issuer, whose tokens count at the gateway. Its key and the secret of its client are
//! kept beside the data, so that its tokens outlive a restart.

use std::{io, net::TcpListener, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tegata_core::{Entropy, Secret};
use tegata_shop::partner::{Client, Key, Partner as Office, PartnerConfig};
use tegata_token::{Algorithm, KeyRefused, Scope, SigningKey, jws};

use super::{
    Ports,
    household::{kept, random},
};
use crate::{command::Failed, compose::Composed};

/// What it is kept in.
pub(crate) const FILE: &str = "partner.json";

/// Its client, whose name is the subject of its tokens as well.
pub(crate) const CLIENT: &str = "partner";

/// What its tokens may be used for.
const SCOPE: &str = "orders.read";

/// The role that its tokens have, which no route and no policy of the shop asks for.
const ROLE: &str = "partner";

/// The partner.
pub(crate) struct Partner {
    secret: String,
    key: Secret<Vec<u8>>,
}

/// The form of its file.
#[derive(Serialize, Deserialize)]
struct Kept {
    client_secret: String,
    /// PKCS#8 in base64.
    key: String,
}

impl Partner {
    /// The partner of a data directory, made where there is none.
    pub(crate) fn open(data: &Path, entropy: &dyn Entropy) -> io::Result<Self> {
        let make = || {
            let key = SigningKey::generate(Algorithm::Es256).and_then(|key| key.to_pkcs8());
            let key = STANDARD.encode(key.map_err(io::Error::other)?.expose());
            Ok(Kept { client_secret: random(entropy, "partner_", 24), key })
        };
        let Kept { client_secret, key } = kept(&data.join(FILE), make)?;
        let key = STANDARD.decode(key).map_err(io::Error::other)?;
        let partner = Self { secret: client_secret, key: Secret::new(key) };
        partner.key().map_err(io::Error::other)?;
        Ok(partner)
    }

    /// The secret of its client.
    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// What it signs with.
    pub(crate) fn key(&self) -> Result<SigningKey, KeyRefused> {
        SigningKey::from_pkcs8(self.key.expose(), Some(Algorithm::Es256), None)
    }

    /// Where it hands out tokens.
    pub(crate) fn token_endpoint(ports: &Ports) -> String {
        format!("{}/token", ports.partner_url())
    }

    /// Has it answer, and the gateway know its keys: the first of its tokens counts. It ends when what is
    /// answered is dropped.
    pub(crate) async fn serve(
        &self,
        composed: &Composed,
        ports: &Ports,
        sockets: Vec<TcpListener>,
    ) -> Result<Office, Failed> {
        let failed =
            |error: &dyn std::fmt::Display| Failed::Operation(format!("the partner: {error}"));
        let client = Client {
            id: CLIENT.to_owned(),
            secret: Secret::new(self.secret.clone()),
            scope: Scope::new(SCOPE).map_err(|error| failed(&error))?,
            roles: vec![ROLE.to_owned()],
        };
        let config = PartnerConfig {
            issuer: ports.partner_url(),
            audience: composed.config.audience(),
            client,
            key: Box::new(OfPartner(self.key().map_err(|error| failed(&error))?)),
            node: composed.node.clone(),
        };
        let office = Office::start(sockets, config).map_err(|error| failed(&error))?;
        let issuer = composed.foreign.as_ref().and_then(|all| all.issuer(&ports.partner_url()));
        if let Some(issuer) = issuer
            // It is asked again and again; until it has answered, its tokens are answered 503.
            && let Err(error) = issuer.refresh().await
        {
            tracing::warn!(%error, "the partner does not give its keys yet");
        }
        Ok(office)
    }
}

struct OfPartner(SigningKey);

impl Key for OfPartner {
    fn public(&self) -> Value {
        serde_json::to_value(self.0.jwk()).unwrap_or_default()
    }

    fn sign(&self, claims: &[u8]) -> Option<String> {
        jws::sign(&self.0, "at+jwt", claims).ok()
    }
}

#[cfg(test)]
mod tests {
    use tegata_core::Node;

    use super::*;

    #[test]
    fn the_next_start_finds_the_same_partner_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let place = tempfile::tempdir().unwrap();
        let open = |seed| Partner::open(place.path(), Node::for_tests(seed).entropy()).unwrap();
        let (first, second) = (open(1), open(2));
        assert_eq!(first.secret(), second.secret());
        let kid = |partner: &Partner| partner.key().unwrap().kid().as_str().to_owned();
        assert_eq!(kid(&first), kid(&second));
        let file = place.path().join(FILE);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // What somebody changed is not made anew behind their back.
        std::fs::write(&file, r#"{"client_secret": "x", "key": "AAAA"}"#).unwrap();
        let opened = Partner::open(place.path(), Node::for_tests(3).entropy());
        assert!(opened.is_err());
    }
}
