//! Answers that are put together of several.

use serde_json::json;
use tegata_mesh::DeclaredBff;
use tegata_server::admin::{Asked, Done, Refused};

use super::{Api, lists, read, unknown};
use crate::operate::Order;

impl Api {
    pub(super) async fn bffs(&self, asked: &Asked) -> Result<Done, Refused> {
        let composed = &self.composed;
        let found = composed.registry.page_of_bffs(&composed.realm, asked.page.clone()).await?;
        let next = lists::next(found.len(), &asked.page, found.last().map(|bff| bff.name.as_str()));
        Ok(Done::piece(found.iter().map(|bff| json!(bff)).collect(), next))
    }

    pub(super) async fn bff(&self, name: &str) -> Result<Done, Refused> {
        let composed = &self.composed;
        let found = composed.registry.bff(&composed.realm, name).await?.ok_or_else(unknown)?;
        Ok(Done::with(json!(found.0)).of_version(found.1))
    }

    pub(super) async fn put_bff(&self, asked: &Asked) -> Result<Done, Refused> {
        let mut body = asked.body.clone();
        body.insert("name".to_owned(), asked.name(0).into());
        let bff: Box<DeclaredBff> = Box::new(read(&body)?);
        self.order(asked, Order::BffPut { bff, versions: asked.versions.clone() }).await?;
        self.bff(asked.name(0)).await
    }

    pub(super) async fn remove_bff(&self, asked: &Asked) -> Result<Done, Refused> {
        let order = Order::BffRemove { name: asked.name(0).to_owned() };
        self.order(asked, order).await.map(Done::with)
    }
}
