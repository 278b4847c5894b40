//! What somebody wants, completed: what it costs, where it goes, how it is paid.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use tegata_sdk::{Call, Caller, Reply};

use super::{Orders, Wish};
use crate::{
    carts::{Cart, Line, MOST_LINES, MOST_OF_ONE},
    catalogue::Product,
    service::{Answer, invalid, unavailable},
    users::{Address, Profile},
};

/// A wish that can be carried out.
#[derive(Debug)]
pub(super) struct Complete {
    pub(super) items: Vec<Line>,
    pub(super) total_cents: u64,
    pub(super) address: Address,
    pub(super) source: String,
    pub(super) from_cart: bool,
}

impl Orders {
    /// Completes a wish from the cart, the catalogue and the profile.
    pub(super) async fn complete(&self, caller: &Caller, wish: &Wish) -> Answer<Complete> {
        let (items, from_cart) = match &wish.items {
            Some(items) => (items.clone(), false),
            None => (self.cart(caller).await?, true),
        };
        let items = joined(&items)?;
        let address = match &wish.ship_to {
            Some(address) => address.clone(),
            None => self.address(caller).await?,
        };
        address.check()?;
        let total_cents = self.price(caller, &items).await?;
        let source = wish.source.clone().unwrap_or_else(|| "tok_on_file".to_owned());
        Ok(Complete { items, total_cents, address, source, from_cart })
    }

    async fn cart(&self, caller: &Caller) -> Answer<Vec<Line>> {
        let call = Call::get("carts", &["cart"]).on_behalf_of(caller);
        let cart: Cart = read(&self.client.send(call).await?)?;
        Ok(cart.items)
    }

    async fn address(&self, caller: &Caller) -> Answer<Address> {
        let call = Call::get("users", &["me"]).on_behalf_of(caller);
        let profile: Profile = read(&self.client.send(call).await?)?;
        let missing = "there is no `ship_to`, and no address in the profile";
        Ok(profile.address.ok_or_else(|| invalid(missing))?)
    }

    /// What the items cost today, as the catalogue says: a price from the person who orders would
    /// be the price that they would like.
    async fn price(&self, caller: &Caller, items: &[Line]) -> Answer<u64> {
        let mut total = 0_u64;
        for line in items {
            let call = Call::get("catalogue", &["products", &line.product_id]).anonymous();
            let reply = self.client.send(call.within(caller.trace())).await?;
            if reply.status() == StatusCode::NOT_FOUND {
                return Err(invalid(format!("there is no product `{}`", line.product_id)).into());
            }
            let product: Product = read(&reply)?;
            let cost = product.price_cents.saturating_mul(u64::from(line.quantity));
            total = total.saturating_add(cost);
        }
        Ok(total)
    }
}

/// The lines with each product once, in the order of their ids.
fn joined(items: &[Line]) -> Answer<Vec<Line>> {
    let mut by_product: BTreeMap<&str, u32> = BTreeMap::new();
    for line in items {
        let quantity = by_product.entry(&line.product_id).or_default();
        *quantity = quantity.saturating_add(line.quantity);
        if line.quantity == 0 || *quantity > MOST_OF_ONE {
            return Err(invalid(format!("a `quantity` is not from 1 to {MOST_OF_ONE}")).into());
        }
        if !(1..=64).contains(&line.product_id.len()) {
            return Err(invalid("a `product_id` is not 1 to 64 characters").into());
        }
    }
    if by_product.is_empty() || by_product.len() > MOST_LINES {
        return Err(invalid(format!("there are not 1 to {MOST_LINES} products in it")).into());
    }
    let line = |(product, quantity): (&str, u32)| Line { product_id: product.to_owned(), quantity };
    Ok(by_product.into_iter().map(line).collect())
}

fn read<T: serde::de::DeserializeOwned>(reply: &Reply) -> Answer<T> {
    let sound = reply.status() == StatusCode::OK;
    let read = sound.then(|| reply.json().ok()).flatten();
    Ok(read.ok_or_else(unavailable)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_lines_and_refuses_what_is_no_order() {
        let line = |id: &str, quantity| Line { product_id: id.into(), quantity };
        let lines = joined(&[line("b", 1), line("a", 2), line("b", 3)]).unwrap();
        assert_eq!(lines, [line("a", 2), line("b", 4)]);
        for bad in [
            vec![],
            vec![line("a", 0)],
            vec![line("a", 100)],
            vec![line("a", 60), line("a", 60)],
            vec![line("a", u32::MAX), line("a", 2)],
            vec![line("", 1)],
        ] {
            assert!(joined(&bad).is_err(), "{bad:?}");
        }
        let many: Vec<_> = (0..=MOST_LINES).map(|n| line(&n.to_string(), 1)).collect();
        assert!(joined(&many).is_err());
    }
}
