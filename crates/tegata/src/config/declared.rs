//! What is declared: users, clients, services, routes, delegations and aggregations, in the configuration or in files for
//! `tegata apply`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, de::Error as _};
use tegata_core::Secret;
use tegata_mesh::{DeclaredBff, DeclaredDelegation, DeclaredRoute, DeclaredService};
use tegata_oauth::ClientMetadata;

use super::{Config, Policy};

/// Everything that can be declared.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Declared {
    pub(crate) user: Vec<UserForm>,
    pub(crate) client: Vec<ClientForm>,
    pub(crate) service: Vec<DeclaredService>,
    pub(crate) route: Vec<DeclaredRoute>,
    pub(crate) delegation: Vec<DeclaredDelegation>,
    pub(crate) bff: Vec<DeclaredBff>,
    pub(crate) policy: Policy,
}

impl Declared {
    /// What a configuration declares.
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            user: config.user.clone(),
            client: config.client.clone(),
            service: config.service.clone(),
            route: config.route.clone(),
            delegation: config.delegation.clone(),
            bff: config.bff.clone(),
            // Whoever serves reads them apart: what is wrong with them stops nothing that is sound.
            policy: Policy::default(),
        }
    }
}

/// A person.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UserForm {
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) email: Option<String>,
    #[serde(default)]
    pub(crate) roles: Vec<String>,
    #[serde(default)]
    pub(crate) locale: Option<String>,
    /// What else is known of the person (OpenID Connect Core §5.1).
    #[serde(default)]
    pub(crate) claims: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    pub(crate) disabled: bool,
    /// The password as it is.
    #[serde(default)]
    pub(crate) password: Option<Hidden>,
    /// The file that it is in.
    #[serde(default)]
    pub(crate) password_file: Option<PathBuf>,
    /// Its hash, as a PHC string.
    #[serde(default)]
    pub(crate) password_hash: Option<Hidden>,
}

/// A text that is not shown, not even where it is no text.
#[derive(Clone)]
pub(crate) struct Hidden(Secret<String>);

impl Hidden {
    pub(crate) fn new(text: String) -> Self {
        Self(Secret::new(text))
    }

    /// The text.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(…)")
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The usual error of a wrong type shows the value.
        match serde_json::Value::deserialize(deserializer) {
            Ok(serde_json::Value::String(text)) => Ok(Self::new(text)),
            _ => Err(D::Error::custom("a secret must be a string, in quotes")),
        }
    }
}

/// A client and its secret.
#[derive(Debug, Clone)]
pub(crate) struct ClientForm {
    pub(crate) metadata: ClientMetadata,
    pub(crate) secret: SecretForm,
}

/// A secret: as it is, or in a file. At most one.
#[derive(Clone, Default)]
pub(crate) struct SecretForm {
    pub(crate) text: Option<String>,
    pub(crate) file: Option<PathBuf>,
}

impl std::fmt::Debug for SecretForm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretForm(…)")
    }
}

impl<'de> Deserialize<'de> for ClientForm {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The secret stands beside the members of RFC 7591, but is none of what is stored.
        let mut members = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let mut text = |name: &str| match members.remove(name) {
            None => Ok(None),
            Some(serde_json::Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(D::Error::custom(format!("`{name}` must be a string"))),
        };
        let secret = SecretForm {
            text: text("client_secret")?,
            file: text("client_secret_file")?.map(PathBuf::from),
        };
        let name = members.get("client_id").and_then(serde_json::Value::as_str).unwrap_or("?");
        let name = name.to_owned();
        let metadata = serde_json::from_value(serde_json::Value::Object(members))
            .map_err(|error| D::Error::custom(format!("client `{name}`: {error}")))?;
        Ok(Self { metadata, secret })
    }
}

impl SecretForm {
    /// The secret, read from its file where it is in one.
    pub(crate) fn read(&self, base: &Path) -> Result<Option<Secret<String>>, String> {
        match (&self.text, &self.file) {
            (Some(_), Some(_)) => {
                Err("`client_secret` and `client_secret_file` are both given; keep one".to_owned())
            }
            (Some(text), None) => Ok(Some(Secret::new(text.clone()))),
            (None, Some(file)) => read_secret(base, file).map(Some),
            (None, None) => Ok(None),
        }
    }
}

/// A secret in a file: its text without the line break at the end.
pub(crate) fn read_secret(base: &Path, file: &Path) -> Result<Secret<String>, String> {
    let path = base.join(file);
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("`{}` cannot be read: {error}", path.display()))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}
