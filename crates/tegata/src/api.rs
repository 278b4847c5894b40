//! Administration over HTTP: what the public listener is asked for, done as the commands do it.
//!
//! What commands can order is ordered ([`Order`]), so that both do the same. Beside that, programs look
//! at single things and at pieces of lists, and change parts of something that they have read.

use std::{panic::resume_unwind, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tegata_core::{BoxFuture, UserId};
use tegata_oauth::administer::Who;
use tegata_server::admin::{Administration, Asked, Done, Operation, Refused};
use tegata_token::Tally;
use tokio::sync::mpsc;
use tracing::Instrument as _;

use crate::{
    admin::{self, Look},
    compose::Composed,
    operate::{self, Kind, Order, users::By},
};

mod api_keys;
mod bffs;
mod clients;
mod lists;
mod services;
mod taking_back;
mod users;

/// Does what administrators ask for over HTTP.
pub(crate) struct Api {
    composed: Arc<Composed>,
    remap: mpsc::Sender<Look>,
}

impl Api {
    /// `remap` is whoever gives the gateway its map.
    pub(crate) fn new(composed: Arc<Composed>, remap: mpsc::Sender<Look>) -> Self {
        Self { composed, remap }
    }

    /// Has an order carried out: to its end, though whoever asked goes away.
    async fn order(&self, asked: &Asked, order: Order) -> Result<Value, Refused> {
        let (composed, remap) = (Arc::clone(&self.composed), self.remap.clone());
        let actor = asked.by.who.as_str().to_owned();
        let work = async move {
            admin::perform(&composed, &actor, order, &remap, &Tally::default()).await
        };
        match tokio::spawn(work.in_current_span()).await {
            Ok(done) => done.map_err(refused),
            Err(ended) if ended.is_panic() => resume_unwind(ended.into_panic()),
            Err(_) => Err(Refused::Partly("this process ends".to_owned())),
        }
    }

    async fn answer(&self, asked: Asked) -> Result<Done, Refused> {
        use Operation as O;
        match asked.operation {
            O::Users => self.users(&asked).await,
            O::UserAdd => self.add_user(&asked).await,
            O::User => self.user(&asked).await,
            O::UserChange => self.change_user(&asked).await,
            O::UserPassword => self.set_password(&asked).await,
            O::UserFactors => self.factors(&asked).await,
            O::UserFactorsReset => self.reset_factors(&asked).await,
            O::UserRevoke => self.revoke_user(&asked).await,
            O::Clients => self.clients(&asked).await,
            O::ClientAdd => self.add_client(&asked).await,
            O::Client => self.client(&asked).await,
            O::ClientChange => self.change_client(&asked).await,
            O::ClientSecret => self.rotate_secret(&asked).await,
            O::ClientRemove => self.remove_client(&asked).await,
            O::ClientRefuse => self.refuse_client(&asked).await,
            O::Services => self.services(&asked).await,
            O::ServiceAdd => self.add_service(&asked).await,
            O::Service => self.service(asked.name(0)).await,
            O::ServiceChange => self.change_service(&asked).await,
            O::ServiceRemove => self.remove_service(&asked).await,
            O::Bffs => self.bffs(&asked).await,
            O::Bff => self.bff(asked.name(0)).await,
            O::BffPut => self.put_bff(&asked).await,
            O::BffRemove => self.remove_bff(&asked).await,
            O::Sessions => self.sessions(&asked).await,
            O::Session => self.session(&asked).await,
            O::SessionEnd => self.end_session(&asked).await,
            O::Tokens => self.tokens(&asked).await,
            O::TokenInspect => self.inspect(&asked).await,
            O::TokenTrace => {
                let order = Order::TokenTrace { jti: asked.name(0).to_owned() };
                self.order(&asked, order).await.map(Done::with)
            }
            O::Request => {
                let invalid = |name: &'static str| move |why| Refused::invalid(name, why);
                let at = asked.filter("at").map(operate::explain::moment).transpose();
                let from = asked.filter("from").map(str::parse).transpose();
                let wanted = operate::explain::Wanted {
                    request: asked.name(0).to_owned(),
                    named: asked.filter("named") == Some("true"),
                    at: at.map_err(invalid("?at"))?,
                    from: from.map_err(|_| invalid("?from")("must be a number".to_owned()))?,
                };
                match wanted.fault() {
                    Some(why) if wanted.at.is_some() && wanted.from.is_some() => {
                        return Err(invalid("?from")(why.to_owned()));
                    }
                    Some(why) => return Err(Refused::Unknown(why.to_owned())),
                    None => {}
                }
                let order = Order::Explain(wanted);
                let told = self.order(&asked, order).await?;
                if operate::explain::is_known(&told) {
                    Ok(Done::with(told))
                } else {
                    Err(Refused::Unknown(operate::explain::unknown(&told)))
                }
            }
            O::Revoke => self.revoke(&asked).await,
            O::Keys => self.order(&asked, Order::KeyList).await.map(items),
            O::KeysRotate => self.rotate_keys(&asked).await,
            O::KeyRetire => {
                let order = Order::KeyRetire { kid: asked.name(0).to_owned() };
                self.order(&asked, order).await.map(Done::with)
            }
            O::ApiKeys => self.api_keys(&asked).await,
            O::ApiKeyAdd => self.create_api_key(&asked).await,
            O::ApiKey => self.api_key(&asked).await,
            O::ApiKeyRotate => self.rotate_api_key(&asked).await,
            O::ApiKeyRevoke => self.revoke_api_key(&asked).await,
            O::Consents => self.consents(&asked).await,
            O::ConsentWithdraw => self.withdraw_consent(&asked).await,
        }
    }
}

impl Administration for Api {
    fn perform(&self, asked: Asked) -> BoxFuture<'_, Result<Done, Refused>> {
        Box::pin(self.answer(asked))
    }
}

/// Who changes a person.
fn by(asked: &Asked) -> By<'_> {
    let person: Option<&UserId> = match &asked.by.who {
        Who::Person(user) => Some(user),
        Who::Client(_) => None,
    };
    By { actor: asked.by.who.as_str(), person }
}

/// A list that is answered whole.
fn items(list: Value) -> Done {
    let mut body = Map::new();
    body.insert("items".to_owned(), list);
    Done::with(body.into())
}

/// Reads a body that was checked. What remains is what no form says.
fn read<T: DeserializeOwned>(body: &Map<String, Value>) -> Result<T, Refused> {
    let read = serde_json::from_value(Value::Object(body.clone()));
    read.map_err(|error| Refused::invalid("", error.to_string()))
}

/// What was refused, as programs are told it.
fn refused(refused: operate::Refused) -> Refused {
    // It was done, and what follows from it failed.
    if refused.done.is_some() {
        return Refused::Partly(refused.why);
    }
    match refused.kind {
        Kind::Invalid(pointer) => Refused::invalid(pointer, refused.why),
        // The words are for whoever has the commands at hand.
        Kind::Unknown => unknown(),
        Kind::Conflict => Refused::Conflict(refused.why),
        Kind::Overtaken => Refused::Overtaken,
        Kind::Forbidden => Refused::Forbidden(refused.why),
        Kind::Busy => Refused::Busy,
        Kind::Store(error) => Refused::Store(*error),
    }
}

fn unknown() -> Refused {
    Refused::Unknown("there is no such thing; the lists say what there is".to_owned())
}

#[cfg(test)]
mod tests;
