//! People.

use serde_json::Value;
use tegata_core::Versioned;
use tegata_identity::{Amendment, EmailAddress, Locale, Profile, User, Username};
use tegata_server::admin::{Asked, Done, Refused};

use super::{Api, by, read, refused};
use crate::operate::{DeclaredUser, Order, users};

impl Api {
    pub(super) async fn users(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        if let Some(name) = asked.filter("username") {
            let found = match Username::new(name) {
                Ok(name) => composed.users.by_username(&composed.realm, &name).await?,
                Err(_) => None,
            };
            return Ok(Done::piece(found.iter().map(users::shown).collect(), None));
        }
        let found = composed.users.list(&composed.realm, asked.page.clone()).await?;
        let last = found.last().map(|user| user.id.as_str());
        let next = super::lists::next(found.len(), &asked.page, last);
        Ok(Done::piece(found.iter().map(users::shown).collect(), next))
    }

    pub(super) async fn add_user(&self, asked: &Asked) -> Result<Done, Refused> {
        let mut body = asked.body.clone();
        // What is `null` is as good as missing.
        body.retain(|_, value| !value.is_null());
        let declared: DeclaredUser = read(&body)?;
        let added = users::add(&self.composed, asked.by.who.as_str(), &declared).await;
        let user = added.map_err(refused)?;
        let location = Some(format!("/users/{}", user.id));
        // What was just written has its first version.
        Ok(Done { location, ..shown(&Versioned { value: user, version: 1 }) })
    }

    pub(super) async fn user(&self, asked: &Asked) -> Result<Done, Refused> {
        self.meant(asked).await.map(|found| shown(&found))
    }

    pub(super) async fn change_user(&self, asked: &Asked) -> Result<Done, Refused> {
        let user = self.meant(asked).await?.value;
        let amendment = amendment(asked, &user)?;
        let id = user.id;
        let versions = asked.versions.as_deref();
        let changed = users::change(&self.composed, by(asked), &id, &amendment, versions).await;
        changed.map(|changed| shown(&changed)).map_err(refused)
    }

    pub(super) async fn set_password(&self, asked: &Asked) -> Result<Done, Refused> {
        let declared: DeclaredUser = read(&asked.body)?;
        let user = self.meant(asked).await?.value;
        let actor = asked.by.who.as_str();
        let set = users::set_password(&self.composed, actor, &user, &declared).await;
        set.map(|()| Done::default()).map_err(refused)
    }

    pub(super) async fn factors(&self, asked: &Asked) -> Result<Done, Refused> {
        let user = self.meant(asked).await?.value;
        users::factors(&self.composed, &user.id).await.map(Done::with).map_err(refused)
    }

    pub(super) async fn reset_factors(&self, asked: &Asked) -> Result<Done, Refused> {
        let username = self.meant(asked).await?.value.id.to_string();
        self.order(asked, Order::UserResetFactors { username }).await.map(Done::with)
    }

    /// The person that the path names: by the id alone. A name can be another's tomorrow.
    pub(super) async fn meant(&self, asked: &Asked) -> Result<Versioned<User>, Refused> {
        users::by_id(&self.composed, asked.name(0)).await.map_err(refused)
    }
}

fn shown(user: &Versioned<User>) -> Done {
    Done::with(users::shown(&user.value)).of_version(user.version)
}

fn amendment(asked: &Asked, user: &User) -> Result<Amendment, Refused> {
    let text = |name: &str| asked.body.get(name).map(Value::as_str);
    let email = text("email").map(|it| it.map(EmailAddress::new).transpose()).transpose();
    let locale = text("locale").map(|it| it.map(Locale::new).transpose()).transpose();
    let roles = asked.body.get("roles").map(|roles| serde_json::from_value(roles.clone()));
    let roles: Option<Vec<String>> = roles.transpose().map_err(invalid("/roles"))?;
    let claims = match asked.body.get("claims") {
        None => None,
        // All of them go.
        Some(Value::Null) => {
            Some(Profile::names().map(|name| (name.to_owned(), Value::Null)).collect())
        }
        Some(change) => change.as_object().cloned(),
    };
    let claims = claims.map(|change| users::claim_change(user, &change)).transpose();
    Ok(Amendment {
        claims: claims.map_err(refused)?,
        email: email.map_err(invalid("/email"))?,
        locale: locale.map_err(invalid("/locale"))?,
        roles: roles.map(|roles| users::roles(&roles)).transpose().map_err(refused)?,
        disabled: asked.body.get("disabled").and_then(Value::as_bool),
    })
}

fn invalid<E: ToString>(pointer: &'static str) -> impl Fn(E) -> Refused {
    move |why| Refused::invalid(pointer, why.to_string())
}
