//! Services.

use serde_json::json;
use tegata_mesh::DeclaredService;
use tegata_server::admin::{Asked, Done, Refused, encoded};

use super::{Api, lists, read, refused};
use crate::operate::{Order, services};

impl Api {
    pub(super) async fn services(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        let found = composed.registry.page(&composed.realm, asked.page.clone()).await?;
        let last = found.last().map(|service| service.name.as_str());
        let next = lists::next(found.len(), &asked.page, last);
        Ok(Done::piece(found.iter().map(|service| json!(service)).collect(), next))
    }

    pub(super) async fn service(&self, name: &str) -> Result<Done, Refused> {
        let found = services::show(&self.composed, name).await.map_err(refused)?;
        Ok(Done::with(json!(found.0)).of_version(found.1))
    }

    pub(super) async fn add_service(&self, asked: &Asked) -> Result<Done, Refused> {
        let service: DeclaredService = read(&asked.body)?;
        let name = service.name.clone();
        let added = self.order(asked, Order::ServiceAdd { service }).await;
        added.map_err(|refused| match refused {
            // The words are for whoever has the commands at hand.
            Refused::Conflict(_) => Refused::Conflict(format!(
                "there already is a service `{name}`; change it with PATCH at its own address"
            )),
            other => other,
        })?;
        let location = Some(format!("/services/{}", encoded(&name)));
        Ok(Done { location, ..self.service(&name).await? })
    }

    pub(super) async fn change_service(&self, asked: &Asked) -> Result<Done, Refused> {
        let (name, versions) = (asked.name(0).to_owned(), asked.versions.clone());
        let change = read(&asked.body)?;
        self.order(asked, Order::ServiceChange { name, change, versions }).await?;
        self.service(asked.name(0)).await
    }

    pub(super) async fn remove_service(&self, asked: &Asked) -> Result<Done, Refused> {
        let order = Order::ServiceRemove { name: asked.name(0).to_owned() };
        self.order(asked, order).await.map(Done::with)
    }
}
