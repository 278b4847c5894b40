//! Making users, clients, services, routes, delegations and aggregations be as they are
//! declared.
//!
//! Everything is checked first; what is wrong is found before anything is changed, and a dry run finds
//! the same. What fails later all the same, such as the store, is told together with what was done
//! before: a secret that was made is shown once, and here.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Value, json};
use tegata_core::{Secret, UserId};
use tegata_identity::{EmailAddress, Locale, NewUser, Profile, Role, RoleChange, Username};
use tegata_oauth::{Client, ClientMetadata, client::AuthMethod};

use super::{Declarations, DeclaredClient, DeclaredUser, OPERATOR, Refused, clients, text, users};
use crate::compose::Composed;

/// Whether whoever declares sees the secrets that are made for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MadeSecrets {
    AreShown,
    /// Then none may be made: nobody would ever know it.
    WouldBeLost,
}

/// One change, checked.
enum Step {
    Register(Box<NewUser>),
    Roles(UserId, BTreeSet<Role>),
    Disable(Username),
    Client(Box<ClientMetadata>, Option<Secret<String>>),
}

/// A step, and what it does in words.
type Told = (String, Step);

/// Idempotent: what is as it is declared is left alone. Answers what changed, in words. A password
/// is set only for a new user: whoever has one may have changed it.
pub(crate) async fn declare(
    composed: &Composed,
    declarations: &Declarations,
    made: MadeSecrets,
) -> Result<Value, Refused> {
    let dry = declarations.dry_run;
    let steps = plan(composed, declarations, made).await?;
    let mut changed = Vec::new();
    let done = change(composed, declarations, steps, &mut changed).await;
    let told = json!({"dry_run": dry, "changed": changed});
    match done {
        Ok(()) => Ok(told),
        Err(refused) if changed.is_empty() => Err(refused),
        Err(refused) => Err(refused.after(told)),
    }
}

/// Checks everything; answers what is to be done for users and clients.
async fn plan(
    composed: &Composed,
    declarations: &Declarations,
    made: MadeSecrets,
) -> Result<Vec<Told>, String> {
    let mut steps = Vec::new();
    let mut names = HashSet::new();
    for declared in &declarations.users {
        let wrong = |error: String| format!("user `{}`: {error}", declared.username);
        let name = Username::new(&declared.username).map_err(|error| wrong(error.to_string()))?;
        if !names.insert(name.as_str().to_owned()) {
            return Err(wrong("it is declared twice; keep one".to_owned()));
        }
        steps.extend(user(composed, declared, name).await.map_err(wrong)?);
    }
    let mut ids = HashSet::new();
    for declared in &declarations.clients {
        let id = &declared.metadata.client_id;
        if !ids.insert(id) {
            return Err(format!("client `{id}` is declared twice; keep one"));
        }
        steps.extend(client(composed, declared, made).await?);
    }
    composed.registry.check_with(&composed.realm, declarations.wanted()).await.map_err(text)?;
    if let Some(policies) = declarations.policies.clone() {
        composed.policies.declare(policies, OPERATOR, true).await.map_err(text)?;
    }
    Ok(steps)
}

async fn user(
    composed: &Composed,
    declared: &DeclaredUser,
    name: Username,
) -> Result<Vec<Told>, String> {
    let roles = users::roles(&declared.roles).map_err(|refused| refused.why)?;
    let email = declared.email.as_deref().map(EmailAddress::new).transpose().map_err(text)?;
    let locale = declared.locale.as_deref().map(Locale::new).transpose().map_err(text)?;
    let profile = Profile::read(&declared.claims).map_err(text)?;
    if declared.password.is_some() && declared.password_hash.is_some() {
        return Err("`password` and `password_hash` are both given; keep one".to_owned());
    }
    let found = composed.users.by_username(&composed.realm, &name).await.map_err(text)?;
    let tell = |change: &str| format!("user `{name}` {change}");
    let mut steps = Vec::new();
    let is_disabled = found.as_ref().is_some_and(|user| user.disabled);
    match found {
        Some(user) if user.roles != roles => {
            steps.push((tell("has other roles"), Step::Roles(user.id, roles)));
        }
        Some(_) => {}
        None => {
            let password = users::first_password(composed, declared, name.as_str()).await;
            let password = password.map_err(|refused| refused.why)?;
            let username = name.clone();
            let new = NewUser { username, email, roles, locale, profile, password };
            steps.push((tell("registered"), Step::Register(Box::new(new))));
        }
    }
    // Whoever was disabled by an operator stays so, whatever the declaration does not say.
    if declared.disabled && !is_disabled {
        steps.push((tell("disabled"), Step::Disable(name.clone())));
    }
    Ok(steps)
}

async fn client(
    composed: &Composed,
    declared: &DeclaredClient,
    made: MadeSecrets,
) -> Result<Option<Told>, String> {
    let mut metadata = declared.metadata.clone();
    clients::choose_algorithms(composed, &mut metadata).map_err(|refused| refused.why)?;
    clients::check_certificates(composed, &metadata).map_err(|refused| refused.why)?;
    let secret = declared.secret.clone().map(Secret::new);
    let wanted = composed.clients.check(&metadata, secret.as_ref()).map_err(text)?;
    let found = composed.clients.load(&composed.realm, &wanted.id).await.map_err(text)?;
    let found = found.map(|found| found.value);
    let by_secret = [AuthMethod::ClientSecretBasic, AuthMethod::ClientSecretPost];
    let has_secret = secret.is_some() || found.as_ref().is_some_and(|it| !it.secrets.is_empty());
    if made == MadeSecrets::WouldBeLost && by_secret.contains(&wanted.auth) && !has_secret {
        return Err(format!(
            "client `{}` has no secret, and one that was made here would be shown to nobody: give \
             it `client_secret_file`, or register it with `tegata client add`",
            wanted.id
        ));
    }
    let word = match &found {
        None => "registered",
        Some(found) if found.sector != wanted.sector => {
            "changed: people get other names at it, so it knows nobody from before, and what it holds of them \
             ends"
        }
        Some(found) if differs(composed, found, &wanted, secret.as_ref()) => "changed",
        Some(_) => return Ok(None),
    };
    let told = format!("client `{}` {word}", wanted.id);
    Ok(Some((told, Step::Client(Box::new(metadata), secret))))
}

/// Whether a client is not what is wanted.
fn differs(
    composed: &Composed,
    found: &Client,
    wanted: &Client,
    secret: Option<&Secret<String>>,
) -> bool {
    let same = Client {
        secrets: found.secrets.clone(),
        declared: found.declared.clone(),
        created: found.created,
        disabled: found.disabled || wanted.disabled,
        ..wanted.clone()
    };
    let knows = |secret: &Secret<String>| {
        composed.clients.knows_secret(&composed.realm, found, secret.expose())
    };
    same != *found || secret.is_some_and(|secret| !knows(secret))
}

/// Makes the changes, or in a dry run tells them alone.
async fn change(
    composed: &Composed,
    declarations: &Declarations,
    steps: Vec<Told>,
    changed: &mut Vec<Value>,
) -> Result<(), Refused> {
    for (told, step) in steps {
        let secret = if declarations.dry_run { None } else { take(composed, step).await? };
        let mut told = json!({"change": told});
        if let (Some(members), Some(secret)) = (told.as_object_mut(), secret) {
            members.insert("client_secret".to_owned(), secret.expose().as_str().into());
        }
        changed.push(told);
    }
    let tell = |told| changed.push(json!({"change": told}));
    let registry = composed.registry.at_wish_of(OPERATOR);
    let (realm, wanted) = (&composed.realm, declarations.wanted());
    registry.declare(realm, wanted, declarations.dry_run, tell).await?;
    if let Some(policies) = declarations.policies.clone() {
        let told = composed.policies.declare(policies, OPERATOR, declarations.dry_run).await?;
        changed.extend(told.map(|told| json!({"change": told})));
    }
    Ok(())
}

/// Takes a step; answers the secret that was made in it.
async fn take(composed: &Composed, step: Step) -> Result<Option<Secret<String>>, Refused> {
    let (realm, users) = (&composed.realm, &composed.users);
    match step {
        Step::Register(new) => {
            users.register(realm, *new, OPERATOR).await?;
        }
        Step::Roles(id, roles) => {
            let change = RoleChange::Set(roles);
            users.change_roles(realm, &id, &change, OPERATOR).await?;
        }
        Step::Disable(name) => {
            users::disable(composed, OPERATOR, name.as_str(), false).await?;
        }
        Step::Client(metadata, secret) => {
            let clients = composed.clients.at_wish_of(OPERATOR);
            let declared = clients.declare(realm, &metadata, secret.as_ref()).await?;
            if metadata.disabled {
                clients::take_back(composed, OPERATOR, &declared.client.id).await?;
            }
            return Ok(declared.secret);
        }
    }
    Ok(None)
}
