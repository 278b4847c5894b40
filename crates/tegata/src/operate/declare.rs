//! Making users, clients, services and routes be as they are declared.

use serde_json::{Value, json};
use tegata_core::Secret;
use tegata_identity::{
    EmailAddress, Locale, NewUser, Password, Phc, RoleChange, Username, credential::password::Caps,
};

use super::{Declarations, DeclaredClient, DeclaredUser, OPERATOR, text, users};
use crate::compose::Composed;

/// Idempotent: what is as it is declared is left alone. Answers what changed, in words. A password
/// is set only for a new user: whoever has one may have changed it.
pub(crate) async fn declare(
    composed: &Composed,
    declarations: &Declarations,
) -> Result<Value, String> {
    let dry = declarations.dry_run;
    let mut changed = Vec::new();
    for declared in &declarations.users {
        let told = user(composed, declared, dry).await;
        changed.extend(told.map_err(|error| format!("user `{}`: {error}", declared.username))?);
    }
    for declared in &declarations.clients {
        changed.extend(client(composed, declared, dry).await?);
    }
    let (services, routes) = (&declarations.services, &declarations.routes);
    let told = composed.registry.declare(&composed.realm, services, routes, dry).await;
    changed.extend(told.map_err(text)?.into_iter().map(|told| json!({"change": told})));
    Ok(json!({"dry_run": dry, "changed": changed}))
}

async fn user(
    composed: &Composed,
    declared: &DeclaredUser,
    dry: bool,
) -> Result<Vec<Value>, String> {
    let name = Username::new(&declared.username).map_err(text)?;
    let roles = users::roles(&declared.roles)?;
    let found = composed.users.by_username(&composed.realm, &name).await.map_err(text)?;
    let mut told = Vec::new();
    let mut tell = |change: &str| told.push(json!({"change": format!("user `{name}` {change}")}));
    let user = match found {
        Some(user) => user,
        None => {
            tell("registered");
            if dry {
                return Ok(told);
            }
            let email = declared.email.as_deref().map(EmailAddress::new).transpose();
            let locale = declared.locale.as_deref().map(Locale::new).transpose();
            let new = NewUser {
                username: name.clone(),
                email: email.map_err(text)?,
                roles: roles.clone(),
                locale: locale.map_err(text)?,
                password: password(composed, declared, name.as_str()).await?,
            };
            composed.users.register(&composed.realm, new, OPERATOR).await.map_err(text)?
        }
    };
    if user.roles != roles {
        tell("has other roles");
        if !dry {
            let change = RoleChange::Set(roles);
            let changed = composed.users.change_roles(&composed.realm, &user.id, &change, OPERATOR);
            changed.await.map_err(text)?;
        }
    }
    // Whoever was disabled by an operator stays so, whatever the declaration does not say.
    if declared.disabled && !user.disabled {
        tell("disabled");
        if !dry {
            users::disable(composed, name.as_str(), false).await?;
        }
    }
    Ok(told)
}

async fn password(
    composed: &Composed,
    declared: &DeclaredUser,
    name: &str,
) -> Result<Option<Phc>, String> {
    match (&declared.password, &declared.password_hash) {
        (Some(_), Some(_)) => {
            Err("`password` and `password_hash` are both given; keep one".to_owned())
        }
        (Some(password), None) => {
            let password = Password::new(password.clone()).map_err(text)?;
            composed.passwords.prepare(password, name, false).await.map(Some).map_err(text)
        }
        (None, Some(hash)) => Phc::parse(hash, &Caps::default()).map(Some).map_err(text),
        (None, None) => Ok(None),
    }
}

async fn client(
    composed: &Composed,
    declared: &DeclaredClient,
    dry: bool,
) -> Result<Vec<Value>, String> {
    if dry {
        let read = declared.metadata.read(composed.node.now()).map_err(text)?;
        let found = composed.clients.load(&composed.realm, &read.id).await.map_err(text)?;
        let told = format!("client `{}` registered", read.id);
        return Ok(found.is_none().then(|| json!({"change": told})).into_iter().collect());
    }
    let secret = declared.secret.clone().map(Secret::new);
    let changed =
        composed.clients.declare(&composed.realm, &declared.metadata, secret.as_ref()).await;
    let changed = changed.map_err(text)?;
    if !changed.changed {
        return Ok(Vec::new());
    }
    let word = if changed.is_new { "registered" } else { "changed" };
    let mut told = json!({"change": format!("client `{}` {word}", changed.client.id)});
    if let (Some(members), Some(secret)) = (told.as_object_mut(), changed.secret) {
        members.insert("client_secret".to_owned(), secret.expose().as_str().into());
    }
    Ok(vec![told])
}
