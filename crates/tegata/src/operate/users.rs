//! Orders about people.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tegata_core::port::Page;
use tegata_identity::{
    EmailAddress, Enrolled, NewUser, Password, Phc, Role, User, Username,
    credential::password::Caps,
};
use tegata_token::{Order, Tally};

use super::{OPERATOR, text};
use crate::compose::Composed;

/// The user of this name.
pub(super) async fn find(composed: &Composed, username: &str) -> Result<User, String> {
    let name = Username::new(username).map_err(text)?;
    let found = composed.users.by_username(&composed.realm, &name).await.map_err(text)?;
    found.ok_or_else(|| format!("there is no user `{name}`; `tegata user list` names them"))
}

pub(super) fn roles(names: &[String]) -> Result<BTreeSet<Role>, String> {
    names.iter().map(|name| Role::new(name).map_err(text)).collect()
}

/// What a person signs in with, as it was given: a password, its hash, or nothing.
pub(super) struct Secret {
    pub(super) password: Option<String>,
    pub(super) hash: Option<String>,
}

impl Secret {
    /// The hash that is kept.
    pub(super) async fn prepared(
        self,
        composed: &Composed,
        username: &str,
    ) -> Result<Option<Phc>, String> {
        match (self.password, self.hash) {
            (Some(_), Some(_)) => {
                Err("`password` and `password_hash` are both given; keep one".to_owned())
            }
            (Some(password), None) => {
                let password = Password::new(password).map_err(text)?;
                let prepared = composed.passwords.prepare(password, username, false).await;
                prepared.map(Some).map_err(text)
            }
            (None, Some(hash)) => Phc::parse(hash.trim(), &Caps::default())
                .map(Some)
                .map_err(|why| format!("the password hash: {why}")),
            (None, None) => Ok(None),
        }
    }
}

pub(super) async fn add(
    composed: &Composed,
    username: &str,
    email: Option<&str>,
    role_names: &[String],
    password: Secret,
) -> Result<Value, String> {
    let name = Username::new(username).map_err(text)?;
    let password = password.prepared(composed, name.as_str()).await?;
    let new = NewUser {
        username: name,
        email: email.map(EmailAddress::new).transpose().map_err(text)?,
        roles: roles(role_names)?,
        locale: None,
        password,
    };
    let user = composed.users.register(&composed.realm, new, OPERATOR).await.map_err(text)?;
    Ok(shown(&user))
}

pub(super) async fn list(composed: &Composed) -> Result<Value, String> {
    let mut all = Vec::new();
    let mut page = Page { after: None, limit: 500 };
    loop {
        let users = composed.users.list(&composed.realm, page.clone()).await.map_err(text)?;
        let Some(last) = users.last() else { return Ok(Value::Array(all)) };
        page.after = Some(last.id.as_str().to_owned());
        all.extend(users.iter().map(shown));
    }
}

pub(super) async fn show(composed: &Composed, username: &str) -> Result<Value, String> {
    let user = find(composed, username).await?;
    let second = composed.sign_in.second_factors();
    let enrolled = second.of(&composed.realm, &user.id).await.map_err(text)?;
    let enrolled = enrolled.unwrap_or_else(Enrolled::nothing);
    let since = enrolled.totp_since.map(|since| since.to_string());
    let mut told = shown(&user);
    if let Some(members) = told.as_object_mut() {
        members.insert("passkeys".to_owned(), enrolled.passkeys.len().into());
        members.insert("totp_since".to_owned(), json!(since));
        members.insert("recovery_codes".to_owned(), enrolled.recovery_codes.into());
    }
    Ok(told)
}

/// Whoever is signed in stays so: an operator ends that by `tegata revoke`.
pub(super) async fn reset_factors(composed: &Composed, username: &str) -> Result<Value, String> {
    let user = find(composed, username).await?;
    let second = composed.sign_in.second_factors();
    let removed = second.remove_all(&composed.realm, &user.id, OPERATOR).await.map_err(text)?;
    composed.sign_in.forget_codes(&composed.realm, &user.id).await.map_err(text)?;
    let told = if removed { "removed" } else { "there were none" };
    Ok(json!({"username": user.username.as_str(), "second_factors": told}))
}

pub(super) async fn disable(
    composed: &Composed,
    username: &str,
    enable: bool,
) -> Result<Value, String> {
    let user = find(composed, username).await?;
    let (realm, users) = (&composed.realm, &composed.users);
    let user = if enable {
        users.enable(realm, &user.id, OPERATOR).await.map_err(text)?
    } else {
        let user = users.disable(realm, &user.id, OPERATOR).await.map_err(text)?;
        take_back(composed, &user, "disabled").await?;
        user
    };
    Ok(shown(&user))
}

pub(super) async fn passwd(
    composed: &Composed,
    username: &str,
    password: String,
) -> Result<Value, String> {
    let user = find(composed, username).await?;
    let password = Password::new(password).map_err(text)?;
    let prepared = composed.passwords.prepare(password, user.username.as_str(), false).await;
    let phc = prepared.map_err(text)?;
    composed.passwords.set(&composed.realm, &user.id, &phc, OPERATOR).await.map_err(text)?;
    // Whoever knew the old password is signed out.
    take_back(composed, &user, "password_changed").await?;
    Ok(json!({"username": user.username.as_str(), "password": "changed"}))
}

async fn take_back(composed: &Composed, user: &User, reason: &str) -> Result<(), String> {
    let order = Order { reason: reason.to_owned(), actor: OPERATOR.to_owned() };
    super::revoke::user(composed, user, &order, &Tally::default()).await.map(|_| ())
}

pub(super) fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username.as_str(),
        "email": user.email.as_ref().map(EmailAddress::as_str),
        "email_verified": user.email_verified,
        "roles": user.roles.iter().map(Role::as_str).collect::<Vec<_>>(),
        "disabled": user.disabled,
        "created": user.created.to_string(),
    })
}
