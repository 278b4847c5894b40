//! API keys.

use serde::Deserialize;
use tegata_core::ClientId;
use tegata_mesh::Span;
use tegata_server::admin::{Asked, Done, Refused};

use super::{Api, lists, read, refused};
use crate::operate::{Order, What, api_keys};

#[derive(Deserialize)]
struct Rotation {
    grace: Option<Span>,
    #[serde(default)]
    at_once: bool,
}

impl Api {
    pub(super) async fn api_keys(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        let client = lists::id(asked, "client", ClientId::new)?;
        let found = composed.api_keys.list(client.as_ref(), asked.page.clone()).await?;
        let next =
            lists::next(found.len(), &asked.page, found.last().map(|(it, _)| it.id.as_str()));
        let shown = found.iter().map(|(key, used)| api_keys::shown(composed, key, *used));
        Ok(Done::piece(shown.collect(), next))
    }

    pub(super) async fn api_key(&self, asked: &Asked) -> Result<Done, Refused> {
        api_keys::show(&self.composed, asked.name(0)).await.map(Done::with).map_err(refused)
    }

    pub(super) async fn create_api_key(&self, asked: &Asked) -> Result<Done, Refused> {
        let wanted = Box::new(read(&asked.body)?);
        let made = self.order(asked, Order::ApiKeyCreate { wanted }).await?;
        let id = made.get("id").and_then(serde_json::Value::as_str).unwrap_or_default();
        let location = Some(format!("/api-keys/{id}"));
        Ok(Done { location, ..Done::with(made) })
    }

    pub(super) async fn rotate_api_key(&self, asked: &Asked) -> Result<Done, Refused> {
        let Rotation { grace, at_once } = read(&asked.body)?;
        if at_once && grace.is_some() {
            return Err(Refused::invalid("", "keep one of `grace` and `at_once`"));
        }
        let order = Order::ApiKeyRotate { id: asked.name(0).to_owned(), grace, at_once };
        self.order(asked, order).await.map(Done::with)
    }

    pub(super) async fn revoke_api_key(&self, asked: &Asked) -> Result<Done, Refused> {
        self.take_back(asked, What::ApiKey(asked.name(0).to_owned())).await
    }
}
