//! What operators can order, through the command line: the same whether a server runs, which then
//! carries it out, or not, when the command opens the store itself.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tegata_mesh::{DeclaredDelegation, DeclaredService};
use tegata_oauth::ClientMetadata;
use tegata_token::{Algorithm, Tally};

use crate::{compose::Composed, registry::Wanted};

pub(crate) use declare::{MadeSecrets, declare};
pub(crate) use keys::rotate_due;
pub(crate) use revoke::user as take_back;

mod clients;
mod declare;
mod keys;
mod revoke;
mod revoke_foreign;
mod sessions;
mod tokens;
mod trace;
mod users;

/// An order. It crosses the administration socket as JSON.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Makes everything be as it is declared.
    Declare(Box<Declarations>),
    UserAdd {
        username: String,
        email: Option<String>,
        roles: Vec<String>,
        password: Option<String>,
        #[serde(default)]
        password_hash: Option<String>,
    },
    UserList,
    UserShow {
        username: String,
    },
    UserDisable {
        username: String,
        enable: bool,
    },
    UserPasswd {
        username: String,
        password: String,
    },
    UserResetFactors {
        username: String,
    },
    ClientAdd {
        metadata: Box<ClientMetadata>,
        secret: Option<String>,
    },
    ClientList,
    ClientRotateSecret {
        client: String,
    },
    ClientRemove {
        client: String,
    },
    ClientLogouts {
        client: Option<String>,
        state: Option<String>,
    },
    ServiceAdd {
        service: DeclaredService,
    },
    ServiceList,
    ServiceAllow {
        name: String,
        caller: String,
    },
    ServiceRemove {
        name: String,
    },
    DelegationList,
    DelegationRemove {
        name: String,
    },
    KeyList,
    KeyRotate {
        algorithm: Option<Algorithm>,
        force: bool,
    },
    KeyRetire {
        kid: String,
    },
    KeyImport {
        pem: String,
        kid: Option<String>,
        algorithm: Option<Algorithm>,
    },
    TokenInspect {
        token: String,
    },
    TokenTrace {
        jti: String,
    },
    Revoke {
        what: What,
        reason: String,
        /// Whether the answer waits until it is confirmed.
        #[serde(default)]
        wait: bool,
    },
    SessionList {
        username: Option<String>,
    },
    SessionEnd {
        sid: String,
    },
    /// Says how the server is.
    Health,
    /// Says that the server is there.
    Ping,
}

impl Order {
    /// Whether something may be taken back by it.
    pub(crate) fn takes_back(&self) -> bool {
        matches!(
            self,
            Self::Declare(_)
                | Self::UserDisable { .. }
                | Self::UserPasswd { .. }
                | Self::ClientRemove { .. }
                | Self::ServiceRemove { .. }
                | Self::KeyRotate { .. }
                | Self::KeyRetire { .. }
                | Self::Revoke { .. }
                | Self::SessionEnd { .. }
        )
    }

    /// Whether the servers that enforce it confirm it.
    pub(crate) fn is_confirmed(&self) -> bool {
        matches!(self, Self::Revoke { wait: true, .. })
    }

    /// Whether it changes which services and routes there are.
    pub(crate) fn changes_map(&self) -> bool {
        matches!(
            self,
            Self::Declare(_)
                | Self::ServiceAdd { .. }
                | Self::ServiceAllow { .. }
                | Self::ServiceRemove { .. }
        )
    }
}

/// What is declared, with its secrets read.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(crate) struct Declarations {
    pub(crate) users: Vec<DeclaredUser>,
    pub(crate) clients: Vec<DeclaredClient>,
    pub(crate) services: Vec<DeclaredService>,
    pub(crate) routes: Vec<tegata_mesh::DeclaredRoute>,
    #[serde(default)]
    pub(crate) delegations: Vec<DeclaredDelegation>,
    pub(crate) dry_run: bool,
}

impl Declarations {
    /// What of it is for the registry.
    fn wanted(&self) -> Wanted<'_> {
        let Self { services, routes, delegations, .. } = self;
        Wanted { services, routes, delegations }
    }
}

/// A declared person.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DeclaredUser {
    pub(crate) username: String,
    pub(crate) email: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) locale: Option<String>,
    pub(crate) disabled: bool,
    pub(crate) password: Option<String>,
    pub(crate) password_hash: Option<String>,
}

/// A declared client.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct DeclaredClient {
    pub(crate) metadata: ClientMetadata,
    pub(crate) secret: Option<String>,
}

/// What is to be taken back.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum What {
    Token(String),
    Jti(String),
    Family(String),
    Session(String),
    User(String),
    Client(String),
    Service(String),
    Key(String),
    /// Something that another issuer issued.
    Foreign {
        issuer: String,
        named: Foreigner,
    },
}

/// What another issuer calls something that it issued.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Foreigner {
    /// One token.
    Jti(String),
    /// Everything of a session.
    Session(String),
    /// Everything of a subject, up to now.
    User(String),
}

/// Who orders through the command line, in the journal.
pub(crate) const OPERATOR: &str = "operator";

/// Why an order was not carried out, or not all of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refused {
    /// One line that says what, where and how to mend it.
    pub(crate) why: String,
    /// What was done or found all the same: whoever ordered must see it.
    pub(crate) done: Option<Value>,
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self { why, done: None }
    }
}

/// Carries out an order. The answer is for people and machines alike: an object, or a list.
/// An order that takes back many things says meanwhile in `tally` how far it is.
pub(crate) async fn perform(
    composed: &Composed,
    order: Order,
    tally: &Tally,
) -> Result<Value, Refused> {
    Ok(match order {
        Order::Declare(declarations) => {
            declare(composed, &declarations, MadeSecrets::AreShown).await?
        }
        Order::UserAdd { username, email, roles, password, password_hash } => {
            let password = users::Secret { password, hash: password_hash };
            users::add(composed, &username, email.as_deref(), &roles, password).await?
        }
        Order::UserList => users::list(composed).await?,
        Order::UserShow { username } => users::show(composed, &username).await?,
        Order::UserDisable { username, enable } => {
            users::disable(composed, &username, enable).await?
        }
        Order::UserPasswd { username, password } => {
            users::passwd(composed, &username, password).await?
        }
        Order::UserResetFactors { username } => users::reset_factors(composed, &username).await?,
        Order::ClientAdd { metadata, secret } => clients::add(composed, *metadata, secret).await?,
        Order::ClientList => clients::list(composed).await?,
        Order::ClientRotateSecret { client } => clients::rotate_secret(composed, &client).await?,
        Order::ClientRemove { client } => clients::remove(composed, &client, tally).await?,
        Order::ClientLogouts { client, state } => {
            clients::logouts(composed, client.as_deref(), state.as_deref()).await?
        }
        Order::ServiceAdd { service } => {
            let name = service.name.clone();
            composed.registry.add(&composed.realm, service).await.map_err(text)?;
            json!({"changed": [format!("service `{name}` registered")]})
        }
        Order::ServiceList => {
            let services = composed.registry.services(&composed.realm).await.map_err(text)?;
            serde_json::to_value(services).map_err(text)?
        }
        Order::ServiceAllow { name, caller } => {
            composed.registry.allow(&composed.realm, &name, &caller).await.map_err(text)?;
            json!({"service": name, "caller": caller})
        }
        Order::ServiceRemove { name } => {
            composed.registry.remove(&composed.realm, &name).await.map_err(text)?;
            json!({"removed": name})
        }
        Order::DelegationList => {
            let delegations = composed.registry.delegations(&composed.realm).await.map_err(text)?;
            serde_json::to_value(delegations).map_err(text)?
        }
        Order::DelegationRemove { name } => {
            let removed = composed.registry.remove_delegation(&composed.realm, &name).await;
            removed.map_err(text)?;
            json!({"removed": name})
        }
        Order::KeyList => keys::list(composed),
        Order::KeyRotate { algorithm, force } => keys::rotate(composed, algorithm, force).await?,
        Order::KeyRetire { kid } => keys::retire(composed, &kid).await?,
        Order::KeyImport { pem, kid, algorithm } => {
            keys::import(composed, &pem, kid.as_deref(), algorithm).await?
        }
        Order::TokenInspect { token } => tokens::inspect(composed, &token).await?,
        Order::TokenTrace { jti } => trace::trace(composed, &jti).await?,
        Order::Revoke { what, reason, .. } => revoke::revoke(composed, what, reason, tally).await?,
        Order::SessionList { username } => sessions::list(composed, username.as_deref()).await?,
        Order::SessionEnd { sid } => sessions::end(composed, &sid).await?,
        // Only what runs has a health.
        Order::Health => json!([]),
        Order::Ping => json!({"node": composed.node.id().to_string()}),
    })
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
