//! Orders about people.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Map, Value, json};
use tegata_core::{
    Batch, CommitRefused, Event, EventType, UserId, Versioned,
    port::{Change, Page},
};
use tegata_identity::{
    Amendment, EmailAddress, Enrolled, Imported, Locale, NewUser, Password, Phc, Profile,
    ProfileChange, Provided, Role, User, Username, credential::password::Caps,
    user::RegisterRefused,
};
use tegata_oauth::administer;
use tegata_server::lower_sessions;
use tegata_token::{Holder, Order, Tally};

use super::{DeclaredUser, Kind, Refused};
use crate::compose::Composed;

/// How many people are exported at once.
const EXPORTED: u32 = 2000;

/// How many are registered at once, of those whom another system hands over.
const TOGETHER: usize = 16;

/// Who changes a person.
#[derive(Debug, Clone, Copy)]
pub(crate) struct By<'a> {
    /// In the journal.
    pub(crate) actor: &'a str,
    /// Where it is a person who may by a role.
    pub(crate) person: Option<&'a UserId>,
}

/// The user of this name, or of this id.
pub(super) async fn find(composed: &Composed, named: &str) -> Result<User, Refused> {
    let (realm, users) = (&composed.realm, &composed.users);
    // No name begins as ids do.
    let found = match UserId::new(named) {
        Ok(id) => users.load(realm, &id).await?,
        Err(_) => users.by_username(realm, &Username::new(named)?).await?,
    };
    found.ok_or_else(|| {
        Refused::unknown(format!("there is no user `{named}`; `tegata user list` names them"))
    })
}

/// The user of this id, for whoever takes ids alone.
pub(crate) async fn by_id(composed: &Composed, id: &str) -> Result<Versioned<User>, Refused> {
    let found = composed.users.versioned(&composed.realm, &UserId::new(id)?).await?;
    found.ok_or_else(|| Refused::unknown(format!("there is no user `{id}`")))
}

pub(crate) fn roles(names: &[String]) -> Result<BTreeSet<Role>, Refused> {
    let read = names.iter().map(|name| Role::new(name));
    read.collect::<Result<_, _>>().map_err(Refused::invalid("/roles"))
}

pub(crate) async fn add(
    composed: &Composed,
    actor: &str,
    declared: &DeclaredUser,
) -> Result<User, Refused> {
    let name = Username::new(&declared.username).map_err(Refused::invalid("/username"))?;
    let password = first_password(composed, declared, name.as_str()).await?;
    let email = declared.email.as_deref().map(EmailAddress::new).transpose();
    let locale = declared.locale.as_deref().map(Locale::new).transpose();
    let new = NewUser {
        username: name,
        email: email.map_err(Refused::invalid("/email"))?,
        roles: roles(&declared.roles)?,
        locale: locale.map_err(Refused::invalid("/locale"))?,
        profile: Profile::read(&declared.claims).map_err(Refused::invalid("/claims"))?,
        password,
    };
    Ok(composed.users.register(&composed.realm, new, actor).await?)
}

/// The password that is declared for somebody who is not there yet, hashed.
pub(super) async fn first_password(
    composed: &Composed,
    declared: &DeclaredUser,
    name: &str,
) -> Result<Option<Phc>, Refused> {
    let names: Vec<_> = [name].into_iter().chain(declared.email.as_deref()).collect();
    password(composed, declared, &names, false).await
}

/// The password that is declared for whoever has these names, hashed.
async fn password(
    composed: &Composed,
    declared: &DeclaredUser,
    names: &[&str],
    second_factor: bool,
) -> Result<Option<Phc>, Refused> {
    match (&declared.password, &declared.password_hash) {
        (Some(_), Some(_)) => {
            let why = "`password` and `password_hash` are both given; keep one";
            Err(Refused::new(Kind::Invalid(""), why))
        }
        (Some(password), None) => {
            let password = Password::new(password.clone())?;
            Ok(Some(composed.passwords.prepare(password, names, second_factor).await?))
        }
        (None, Some(hash)) => Ok(Some(Phc::parse(hash.trim(), &Caps::default())?)),
        (None, None) => Ok(None),
    }
}

pub(super) async fn list(composed: &Composed) -> Result<Value, Refused> {
    let mut all = Vec::new();
    let mut page = Page { after: None, limit: 500 };
    loop {
        let users = composed.users.list(&composed.realm, page.clone()).await?;
        let Some(last) = users.last() else { return Ok(Value::Array(all)) };
        page.after = Some(last.id.as_str().to_owned());
        all.extend(users.iter().map(shown));
    }
}

pub(super) async fn show(composed: &Composed, username: &str) -> Result<Value, Refused> {
    let user = find(composed, username).await?;
    let mut told = shown(&user);
    if let (Some(members), Value::Object(factors)) =
        (told.as_object_mut(), factors(composed, &user.id).await?)
    {
        members.extend(factors);
    }
    Ok(told)
}

/// What a person has beside a password.
pub(crate) async fn factors(composed: &Composed, user: &UserId) -> Result<Value, Refused> {
    let second = composed.sign_in.second_factors();
    let enrolled = second.of(&composed.realm, user).await?;
    let enrolled = enrolled.unwrap_or_else(Enrolled::nothing);
    Ok(json!({
        "passkeys": enrolled.passkeys.len(),
        "totp_since": enrolled.totp_since.map(|since| since.to_string()),
        "recovery_codes": enrolled.recovery_codes,
    }))
}

/// Whoever is signed in stays so, by what else they have shown: an operator ends that by `tegata revoke`.
pub(super) async fn reset_factors(
    composed: &Composed,
    actor: &str,
    username: &str,
) -> Result<Value, Refused> {
    let user = find(composed, username).await?;
    let second = composed.sign_in.second_factors();
    let removed = second.remove_all(&composed.realm, &user.id, actor).await?;
    composed.sign_in.forget_codes(&composed.realm, &user.id).await?;
    lower_sessions(&composed.sessions, second, &composed.realm, &user.id).await?;
    let told = if removed { "removed" } else { "there were none" };
    Ok(json!({"username": user.username.as_str(), "second_factors": told}))
}

/// Changes a person. Nobody takes from themselves what lets them do this: two who did it at once could
/// leave nobody who can undo it, and whoever means it asks somebody else.
pub(crate) async fn change(
    composed: &Composed,
    by: By<'_>,
    id: &UserId,
    amendment: &Amendment,
    versions: Option<&[u64]>,
) -> Result<Versioned<User>, Refused> {
    let role = Role::new(administer::ROLE)?;
    let loses = amendment.roles.as_ref().is_some_and(|roles| !roles.contains(&role));
    let is_disabled = amendment.disabled == Some(true);
    if by.person == Some(id) && (loses || is_disabled) {
        let why = "nobody takes the role `admin` from themselves or disables themselves; ask \
                   another administrator, or use `tegata user` on the server";
        return Err(Refused::new(Kind::Conflict, why));
    }
    let asker = by.person.map(|person| (person, &role));
    let provided = Provided { versions, asker };
    let users = &composed.users;
    let changed = users.amend(&composed.realm, id, amendment, provided, by.actor).await?;
    if is_disabled {
        // Also what they were given while they were being disabled.
        let order = Order { reason: "disabled".to_owned(), actor: by.actor.to_owned() };
        let ended = super::revoke::user(composed, &changed.value, &order, &Tally::default()).await;
        ended.map_err(|refused| halfway(refused, &changed.value, "is disabled"))?;
    }
    Ok(changed)
}

/// Sets claims about a person; `null` takes one away.
pub(super) async fn set_claims(
    composed: &Composed,
    actor: &str,
    username: &str,
    claims: &Map<String, Value>,
) -> Result<Value, Refused> {
    let user = find(composed, username).await?;
    let claims = Some(claim_change(&user, claims)?);
    let amendment = Amendment { claims, ..Amendment::default() };
    let by = By { actor, person: None };
    let changed = change(composed, by, &user.id, &amendment, None).await?;
    Ok(shown(&changed.value))
}

/// Reads a change of the claims about a person.
pub(crate) fn claim_change(
    user: &User,
    claims: &Map<String, Value>,
) -> Result<ProfileChange, Refused> {
    user.profile.amended(claims).map_err(Refused::invalid("/claims"))?;
    ProfileChange::read(claims).map_err(Refused::invalid("/claims"))
}

/// The next people after one, as another system can take them over, and whom to ask for next. With the hashes
/// of their passwords only where that is asked for, which the journal tells of each part: an order has only so
/// much time.
pub(super) async fn export(
    composed: &Composed,
    actor: &str,
    hashes: bool,
    after: Option<&UserId>,
) -> Result<Value, Refused> {
    let realm = &composed.realm;
    let data = [
        ("subject", "users".into()),
        ("change", "users_exported".into()),
        ("hashes", hashes.into()),
        ("after", after.map_or(Value::Null, |after| after.as_str().into())),
        ("actor", actor.into()),
    ];
    let event = Event::new(&composed.node, realm, EventType::RegistryChanged, data);
    // Whoever reads them is on record before they do.
    composed.records.commit(Batch::new(realm.clone()).journal(&event)).await.map_err(written)?;
    let page = Page { after: after.map(|after| after.as_str().to_owned()), limit: EXPORTED };
    let users = composed.users.list(realm, page).await?;
    let mut people = Vec::with_capacity(users.len());
    for user in &users {
        let mut line = shown(user);
        if hashes && let Some(members) = line.as_object_mut() {
            let hash = composed.passwords.hash_of(realm, &user.id).await?;
            let hash = hash.map_or(Value::Null, |hash| hash.as_str().into());
            members.insert("password_hash".to_owned(), hash);
        }
        people.push(line);
    }
    Ok(json!({"people": people, "next": users.last().map(|last| last.id.as_str())}))
}

/// What became of somebody who was to be taken over.
enum Taken {
    /// They are registered.
    Over,
    /// Somebody has their name already, and stays as they are.
    Known,
    /// They cannot be registered.
    Not(String),
}

/// Registers people whom another system hands over. Whose name is known is passed over, so it can be done
/// again where it was interrupted. Answers who was refused, and why, by their place among `people`.
pub(super) async fn import(
    composed: &Composed,
    actor: &str,
    people: Vec<String>,
    dry_run: bool,
) -> Result<Value, Refused> {
    let taken = stream::iter(people).map(|text| take_over(composed, actor, text, dry_run));
    // Each waits for the store, mostly.
    let taken: Vec<Taken> = taken.buffered(TOGETHER).try_collect().await?;
    let (mut registered, mut known, mut refused) = (0_u64, 0_u64, Vec::new());
    for (place, taken) in taken.into_iter().enumerate() {
        match taken {
            Taken::Over => registered += 1,
            Taken::Known => known += 1,
            Taken::Not(why) => refused.push(json!({"place": place, "why": why})),
        }
    }
    Ok(json!({"registered": registered, "known": known, "refused": refused}))
}

async fn take_over(
    composed: &Composed,
    actor: &str,
    text: String,
    dry_run: bool,
) -> Result<Taken, Refused> {
    let imported = match Imported::read(&text, &Caps::default()) {
        Ok(imported) => imported,
        Err(error) => return Ok(Taken::Not(error.to_string())),
    };
    let realm = &composed.realm;
    if dry_run {
        let known = composed.users.by_username(realm, &imported.new.username).await?.is_some();
        return Ok(if known { Taken::Known } else { Taken::Over });
    }
    match composed.users.take_over(realm, imported, actor).await {
        Ok(_) => Ok(Taken::Over),
        Err(RegisterRefused::NameTaken(_)) => Ok(Taken::Known),
        Err(RegisterRefused::Store(error)) => Err(error.into()),
    }
}

fn written(refused: CommitRefused) -> Refused {
    match refused {
        CommitRefused::Store(error) => error.into(),
        // There is nothing in it that somebody else could have changed.
        CommitRefused::Conflict { .. } => Refused::new(Kind::Conflict, "try again"),
    }
}

pub(super) async fn disable(
    composed: &Composed,
    actor: &str,
    username: &str,
    enable: bool,
) -> Result<Value, Refused> {
    let user = find(composed, username).await?;
    let amendment = Amendment { disabled: Some(!enable), ..Amendment::default() };
    let by = By { actor, person: None };
    let changed = change(composed, by, &user.id, &amendment, None).await?;
    Ok(shown(&changed.value))
}

pub(super) async fn passwd(
    composed: &Composed,
    actor: &str,
    username: &str,
    password: String,
) -> Result<Value, Refused> {
    let user = find(composed, username).await?;
    let password = DeclaredUser { password: Some(password), ..DeclaredUser::default() };
    set_password(composed, actor, &user, &password).await?;
    Ok(json!({"username": user.username.as_str(), "password": "changed"}))
}

/// Gives a person the password that is declared, and signs out whoever knew the one before: what came
/// of that is refused from the same moment on.
pub(crate) async fn set_password(
    composed: &Composed,
    actor: &str,
    user: &User,
    declared: &DeclaredUser,
) -> Result<(), Refused> {
    let second = composed.sign_in.second_factors().of(&composed.realm, &user.id).await?.is_some();
    let phc = password(composed, declared, &user.names(), second).await?;
    let missing = || Refused::new(Kind::Invalid(""), "say `password` or `password_hash`");
    let phc = phc.ok_or_else(missing)?;
    let told = told_of_password(composed, user)?;
    let (realm, passwords) = (&composed.realm, &composed.passwords);
    passwords.set_with(realm, &user.id, &phc, told.as_slice(), actor).await?;
    let order = Order { reason: "password_changed".to_owned(), actor: actor.to_owned() };
    let (holder, tally) = (Holder::User(user.id.clone()), Tally::default());
    let ended = composed.withdraw.everything_of(&composed.realm, &holder, &order, &tally).await;
    ended.map_err(|error| halfway(error.into(), user, "has the new password")).map(|_| ())
}

/// What has a person told that their password is another, where mail reaches them.
fn told_of_password(composed: &Composed, user: &User) -> Result<Option<Change>, Refused> {
    let lang = user.locale.clone().map_or_else(|| Locale::new("en"), Ok)?;
    let told = composed.letters.tells_of_password(user, &lang);
    Ok(told.filter(|_| composed.config.has_mail()))
}

/// What was done, where ending what a person had failed after it.
fn halfway(refused: Refused, user: &User, is: &str) -> Refused {
    let name = user.username.as_str();
    let why = format!(
        "user `{name}` {is} and what they had is refused, but not all of it is ended ({}); do it once \
         more",
        refused.why
    );
    Refused { why, ..refused }.after(json!({"username": name, "done": is}))
}

pub(crate) fn shown(user: &User) -> Value {
    json!({
        "id": user.id,
        "username": user.username.as_str(),
        "email": user.email.as_ref().map(EmailAddress::as_str),
        "email_verified": user.email_verified,
        "roles": user.roles.iter().map(Role::as_str).collect::<Vec<_>>(),
        "disabled": user.disabled,
        "created": user.created.to_string(),
        "locale": user.locale.as_ref().map(Locale::as_str),
        "claims": user.profile.to_object(),
        "updated": user.updated.map(|at| at.to_string()),
    })
}
