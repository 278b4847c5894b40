//! What takes something back, and keys.

use serde::Deserialize;
use tegata_core::{ClientId, FamilyId, KeyId, SessionId, UserId};
use tegata_server::admin::{Asked, Done, Refused};
use tegata_token::Algorithm;

use super::{Api, items, read, refused, unknown};
use crate::operate::{self, Order, What, consents};

/// What is to be taken back: one of these.
const NAMES: [&str; 9] =
    ["token", "jti", "family", "session", "user", "client", "service", "api_key", "key"];

#[derive(Deserialize)]
struct Rotation {
    algorithm: Option<Algorithm>,
    #[serde(default)]
    force: bool,
}

impl Api {
    pub(super) async fn inspect(&self, asked: &Asked) -> Result<Done, Refused> {
        let token = asked.text("token").unwrap_or_default();
        // That it does not count is an answer, too.
        match operate::tokens::inspect(&self.composed, token).await {
            Ok(told) | Err(operate::Refused { done: Some(told), .. }) => Ok(Done::with(told)),
            Err(why) => Err(refused(why)),
        }
    }

    pub(super) async fn revoke(&self, asked: &Asked) -> Result<Done, Refused> {
        let mut named = NAMES.into_iter().filter_map(|name| Some((name, asked.text(name)?)));
        let (Some((name, text)), None) = (named.next(), named.next()) else {
            let rule = format!("name exactly one of `{}`", NAMES.join("`, `"));
            return Err(Refused::invalid("", rule));
        };
        let pointer = format!("/{name}");
        let invalid = |why: tegata_core::InvalidId| Refused::invalid(&pointer, why.to_string());
        let text = text.to_owned();
        let what = match name {
            "token" => What::Token(text),
            "jti" => What::Jti(text),
            "family" => FamilyId::new(&text).map(|_| What::Family(text)).map_err(invalid)?,
            "session" => SessionId::new(&text).map(|_| What::Session(text)).map_err(invalid)?,
            // By the id alone: a name can be another's tomorrow.
            "user" => UserId::new(&text).map(|_| What::User(text)).map_err(invalid)?,
            "client" => ClientId::new(&text).map(|_| What::Client(text)).map_err(invalid)?,
            "service" => ClientId::new(&text).map(|_| What::Service(text)).map_err(invalid)?,
            "api_key" => What::ApiKey(text),
            _ => KeyId::new(&text).map(|_| What::Key(text)).map_err(invalid)?,
        };
        self.take_back(asked, what).await
    }

    pub(super) async fn revoke_user(&self, asked: &Asked) -> Result<Done, Refused> {
        let user = self.meant(asked).await?.value;
        self.take_back(asked, What::User(user.id.to_string())).await
    }

    pub(super) async fn end_session(&self, asked: &Asked) -> Result<Done, Refused> {
        self.take_back(asked, What::Session(asked.name(0).to_owned())).await
    }

    pub(super) async fn take_back(&self, asked: &Asked, what: What) -> Result<Done, Refused> {
        let reason = asked.text("reason").unwrap_or("ended").to_owned();
        let order = Order::Revoke { what, reason, wait: asked.confirmed };
        self.order(asked, order).await.map(Done::with)
    }

    pub(super) async fn rotate_keys(&self, asked: &Asked) -> Result<Done, Refused> {
        let Rotation { algorithm, force } = read(&asked.body)?;
        self.order(asked, Order::KeyRotate { algorithm, force }).await.map(items)
    }

    pub(super) async fn withdraw_consent(&self, asked: &Asked) -> Result<Done, Refused> {
        let user = UserId::new(asked.name(0)).map_err(|_| unknown())?;
        let client = ClientId::new(asked.name(1)).map_err(|_| unknown())?;
        let actor = asked.by.who.as_str();
        let withdrawn = consents::withdraw(&self.composed, actor, &user, &client).await;
        withdrawn.map(Done::with).map_err(refused)
    }
}
