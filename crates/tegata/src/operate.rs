//! What operators can order, through the command line: the same whether a server runs, which then
//! carries it out, or not, when the command opens the store itself.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tegata_core::UserId;
use tegata_mesh::{DeclaredBff, DeclaredDelegation, DeclaredService};
use tegata_oauth::ClientMetadata;
use tegata_token::{Algorithm, Tally};

use crate::{circle, compose::Composed, decisions, policies::DeclaredPolicies, registry::Wanted};

pub(crate) use declare::{MadeSecrets, declare};
pub(crate) use keys::rotate_due;
pub(crate) use refused::{Kind, Refused};
pub(crate) use revoke::user as take_back;

pub(crate) mod api_keys;
pub(crate) mod clients;
pub(crate) mod consents;
mod declare;
pub(crate) mod events;
pub(crate) mod explain;
mod keys;
pub(crate) mod others;
pub(crate) mod policy;
mod refused;
mod revoke;
mod revoke_foreign;
pub(crate) mod services;
pub(crate) mod sessions;
pub(crate) mod tokens;
mod trace;
pub(crate) mod users;

/// An order. It crosses the administration socket as JSON.
#[derive(Clone, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(crate) enum Order {
    /// Makes everything be as it is declared.
    Declare(Box<Declarations>),
    UserAdd(Box<DeclaredUser>),
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
    UserClaims {
        username: String,
        claims: Map<String, Value>,
    },
    /// A part of everybody: those after this one.
    UserExport {
        hashes: bool,
        #[serde(default)]
        after: Option<UserId>,
    },
    /// A part of those whom another system hands over, a JSON object each.
    UserImport {
        people: Vec<String>,
        dry_run: bool,
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
    ClientRefuse {
        client: String,
        reason: String,
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
    ServiceChange {
        name: String,
        change: services::Change,
        versions: Option<Vec<u64>>,
    },
    ServiceRemove {
        name: String,
    },
    DelegationList,
    DelegationRemove {
        name: String,
    },
    BffList,
    BffPut {
        bff: Box<DeclaredBff>,
        versions: Option<Vec<u64>>,
    },
    BffRemove {
        name: String,
    },
    KeyList,
    /// A JWK set: the public keys of what was ever signed, but of what somebody else may have signed.
    KeysKnown,
    /// Where the logs of decisions were, and what that of this node is called.
    DecisionLogs,
    /// A part of the journal: what comes after this position.
    Events {
        after: u64,
        limit: u32,
    },
    /// Why a request passed or was refused.
    Explain(explain::Wanted),
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
    ApiKeyCreate {
        wanted: Box<api_keys::Wanted>,
    },
    ApiKeyList {
        client: Option<String>,
    },
    ApiKeyRotate {
        id: String,
        grace: Option<tegata_mesh::Span>,
        /// The one before does not count any more.
        at_once: bool,
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
    ConsentList {
        username: Option<String>,
    },
    ConsentWithdraw {
        username: String,
        client: String,
    },
    /// What would be decided about a request by what decides now.
    PolicyExplain {
        asked: Box<policy::Asked>,
    },
    /// What policies that are tried would have changed, on this node.
    PolicyShadow,
    /// Has no policies decide any more.
    PolicyRemove,
    /// Reads the configuration anew, as far as it can change while the server runs.
    Reload,
    /// Hands what listens to another process, which takes the place of this one.
    HandOver,
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
                | Self::ClientRefuse { .. }
                | Self::ServiceRemove { .. }
                | Self::KeyRotate { .. }
                | Self::ApiKeyRotate { .. }
                | Self::KeyRetire { .. }
                | Self::Revoke { .. }
                | Self::SessionEnd { .. }
                | Self::ConsentWithdraw { .. }
        )
    }

    /// The name of what it issues, changes or takes back; `None`: it only looks.
    pub(crate) fn change(&self) -> Option<&'static str> {
        Some(match self {
            Self::Declare(declarations) if !declarations.dry_run => "declare",
            Self::UserAdd(_) => "user_add",
            Self::UserDisable { .. } => "user_disable",
            Self::UserPasswd { .. } => "user_passwd",
            Self::UserResetFactors { .. } => "user_reset_factors",
            Self::UserClaims { .. } => "user_claims",
            Self::UserExport { .. } => "user_export",
            Self::UserImport { dry_run: false, .. } => "user_import",
            Self::ClientAdd { .. } => "client_add",
            Self::ClientRotateSecret { .. } => "client_rotate_secret",
            Self::ClientRemove { .. } => "client_remove",
            Self::ClientRefuse { .. } => "client_refuse",
            Self::ServiceAdd { .. } => "service_add",
            Self::ServiceAllow { .. } => "service_allow",
            Self::ServiceChange { .. } => "service_change",
            Self::ServiceRemove { .. } => "service_remove",
            Self::DelegationRemove { .. } => "delegation_remove",
            Self::KeyRotate { .. } => "key_rotate",
            Self::KeyRetire { .. } => "key_retire",
            Self::KeyImport { .. } => "key_import",
            Self::ApiKeyCreate { .. } => "apikey_create",
            Self::ApiKeyRotate { .. } => "apikey_rotate",
            Self::BffPut { .. } => "bff_put",
            Self::BffRemove { .. } => "bff_remove",
            Self::Revoke { .. } => "revoke",
            Self::SessionEnd { .. } => "session_end",
            Self::ConsentWithdraw { .. } => "consent_withdraw",
            Self::PolicyRemove => "policy_remove",
            Self::Declare(_)
            | Self::UserList
            | Self::UserShow { .. }
            | Self::UserImport { .. }
            | Self::ClientList
            | Self::ClientLogouts { .. }
            | Self::ServiceList
            | Self::DelegationList
            | Self::BffList
            | Self::KeyList
            | Self::KeysKnown
            | Self::DecisionLogs
            | Self::Events { .. }
            | Self::Explain { .. }
            | Self::ApiKeyList { .. }
            | Self::TokenInspect { .. }
            | Self::TokenTrace { .. }
            | Self::SessionList { .. }
            | Self::ConsentList { .. }
            | Self::PolicyExplain { .. }
            | Self::PolicyShadow
            | Self::Reload
            | Self::HandOver
            | Self::Health
            | Self::Ping => return None,
        })
    }

    /// Whether it changes which services and routes there are.
    pub(crate) fn changes_map(&self) -> bool {
        matches!(
            self,
            Self::Declare(_)
                | Self::ServiceAdd { .. }
                | Self::ServiceAllow { .. }
                | Self::ServiceChange { .. }
                | Self::ServiceRemove { .. }
                | Self::BffPut { .. }
                | Self::BffRemove { .. }
                | Self::PolicyRemove
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
    #[serde(default)]
    pub(crate) bffs: Vec<DeclaredBff>,
    #[serde(default)]
    pub(crate) policies: Option<DeclaredPolicies>,
    pub(crate) dry_run: bool,
}

impl Declarations {
    /// What of it is for the registry.
    fn wanted(&self) -> Wanted<'_> {
        let Self { services, routes, delegations, bffs, .. } = self;
        Wanted { services, routes, delegations, bffs }
    }
}

/// A declared person.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct DeclaredUser {
    pub(crate) username: String,
    pub(crate) email: Option<String>,
    pub(crate) roles: Vec<String>,
    pub(crate) locale: Option<String>,
    pub(crate) claims: Map<String, Value>,
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
    ApiKey(String),
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
    /// Everything of a client, up to now.
    Client(String),
    /// Everything that a key signed.
    Key(String),
}

/// Who orders through the command line, in the journal.
pub(crate) const OPERATOR: &str = "operator";

/// Carries out an order at the wish of `actor`, whom the journal names. The answer is for people and
/// machines alike: an object, or a list. An order that takes back many things says meanwhile in `tally`
/// how far it is.
pub(crate) async fn perform(
    composed: &Composed,
    actor: &str,
    order: Order,
    tally: &Tally,
) -> Result<Value, Refused> {
    match order {
        Order::Declare(declarations) => {
            declare(composed, &declarations, MadeSecrets::AreShown).await
        }
        Order::UserAdd(declared) => {
            users::add(composed, actor, &declared).await.map(|user| users::shown(&user))
        }
        Order::UserList => users::list(composed).await,
        Order::UserShow { username } => users::show(composed, &username).await,
        Order::UserDisable { username, enable } => {
            users::disable(composed, actor, &username, enable).await
        }
        Order::UserPasswd { username, password } => {
            users::passwd(composed, actor, &username, password).await
        }
        Order::UserResetFactors { username } => {
            users::reset_factors(composed, actor, &username).await
        }
        Order::UserClaims { username, claims } => {
            users::set_claims(composed, actor, &username, &claims).await
        }
        Order::UserExport { hashes, after } => {
            users::export(composed, actor, hashes, after.as_ref()).await
        }
        Order::UserImport { people, dry_run } => {
            users::import(composed, actor, people, dry_run).await
        }
        Order::ClientAdd { metadata, secret } => {
            clients::add(composed, actor, *metadata, secret).await
        }
        Order::ClientList => clients::list(composed).await,
        Order::ClientRotateSecret { client } => {
            clients::rotate_secret(composed, actor, &client).await
        }
        Order::ClientRemove { client } => clients::remove(composed, actor, &client, tally).await,
        Order::ClientRefuse { client, reason } => {
            clients::refuse(composed, &client, &revoke::order(reason, actor)?, tally).await
        }
        Order::ClientLogouts { client, state } => {
            clients::logouts(composed, client.as_deref(), state.as_deref()).await
        }
        Order::ServiceAdd { service } => services::add(composed, actor, service).await,
        Order::ServiceList => services::list(composed).await,
        Order::ServiceAllow { name, caller } => {
            services::allow(composed, actor, &name, &caller).await
        }
        Order::ServiceChange { name, change, versions } => {
            services::change(composed, actor, &name, &change, versions.as_deref()).await
        }
        Order::ServiceRemove { name } => services::remove(composed, actor, &name).await,
        Order::DelegationList => {
            let delegations = composed.registry.delegations(&composed.realm).await?;
            Ok(serde_json::to_value(delegations).map_err(text)?)
        }
        Order::DelegationRemove { name } => {
            let registry = composed.registry.at_wish_of(actor);
            registry.remove_delegation(&composed.realm, &name).await?;
            Ok(json!({"removed": name}))
        }
        Order::BffList => {
            let bffs = composed.registry.bffs(&composed.realm).await?;
            Ok(serde_json::to_value(bffs).map_err(text)?)
        }
        Order::BffPut { bff, versions } => {
            let registry = composed.registry.at_wish_of(actor);
            registry.put_bff(&composed.realm, &bff, versions.as_deref()).await?;
            Ok(json!({"changed": [format!("bff `{}` changed", bff.name)]}))
        }
        Order::BffRemove { name } => {
            let registry = composed.registry.at_wish_of(actor);
            registry.remove_bff(&composed.realm, &name).await?;
            Ok(json!({"removed": name}))
        }
        Order::KeyList => Ok(keys::list(composed).await),
        Order::KeysKnown => Ok(keys::known(composed)),
        Order::DecisionLogs => Ok(decisions::known(composed).await?),
        Order::Events { after, limit } => Ok(events::events(composed, after, limit).await?),
        Order::Explain(wanted) => explain::explain(composed, &wanted).await,
        Order::KeyRotate { algorithm, force } => {
            keys::rotate(composed, actor, algorithm, force).await
        }
        Order::KeyRetire { kid } => keys::retire(composed, actor, &kid).await,
        Order::KeyImport { pem, kid, algorithm } => {
            keys::import(composed, actor, &pem, kid.as_deref(), algorithm).await
        }
        Order::ApiKeyCreate { wanted } => api_keys::create(composed, actor, &wanted).await,
        Order::ApiKeyList { client } => api_keys::list(composed, client.as_deref()).await,
        Order::ApiKeyRotate { id, grace, at_once } => {
            api_keys::rotate(composed, actor, &id, grace, at_once).await
        }
        Order::TokenInspect { token } => tokens::inspect(composed, &token).await,
        Order::TokenTrace { jti } => trace::trace(composed, &jti).await,
        Order::Revoke { what, reason, .. } => {
            let order = revoke::order(reason, actor)?;
            revoke::revoke(composed, what, &order, tally).await.map(|(told, _)| told)
        }
        Order::SessionList { username } => sessions::list(composed, username.as_deref()).await,
        Order::SessionEnd { sid } => sessions::end(composed, actor, &sid).await,
        Order::ConsentList { username } => consents::list(composed, username.as_deref()).await,
        Order::ConsentWithdraw { username, client } => {
            consents::of_named(composed, actor, &username, &client).await
        }
        Order::PolicyExplain { asked } => policy::explain(composed, &asked).await,
        Order::PolicyShadow => policy::shadow(composed).await,
        Order::PolicyRemove => {
            let told = composed.policies.remove(actor).await?;
            Ok(json!({"changed": told}))
        }
        // Only what runs has a health.
        Order::Health => Ok(json!([])),
        Order::Reload | Order::HandOver => {
            Err(Refused::from("only a server that runs `tegata serve` does that".to_owned()))
        }
        Order::Ping => Ok(json!({"node": composed.node.id().to_string()})),
    }
}

/// Takes something back, and waits until the nodes that enforce it confirm it, where there are several.
/// The answer says so as `confirmed`.
pub(crate) async fn revoke_and_confirm(
    composed: &Composed,
    actor: &str,
    (what, reason): (What, String),
    tally: &Tally,
) -> Result<Value, Refused> {
    let began = composed.node.since_boot();
    let order = revoke::order(reason, actor)?;
    let (mut told, taken) = revoke::revoke(composed, what, &order, tally).await?;
    let shown = circle::Shown::of(&told);
    if let Some(members) = told.as_object_mut() {
        let confirmation = circle::confirm(composed, circle::Asks::Operator, began, taken).await;
        members.insert("confirmed".to_owned(), confirmation.shown(shown).json());
    }
    Ok(told)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
