//! The steps of an order, and how each is undone.
//!
//! Steps are done in the name of the person who orders, with a token that is narrowed to the one
//! service. They are undone in the name of this service: what the person may still do by then must
//! not decide whether their money comes back.

use serde::{Deserialize, Serialize};
use tegata_sdk::{Call, Caller, Problem};

use super::{Order, Orders, wish::Complete};
use crate::{
    inventory::Reserve,
    notifications::{self, Notice},
    payments::{Charge, Refund},
    service::{invalid, unavailable},
    shipping::Ship,
};

/// A step of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The items are taken out of the stock.
    Reserve,
    /// The money is taken.
    Pay,
    /// The parcel is packed.
    Ship,
}

/// An order that came to nothing.
#[derive(Debug)]
pub(super) struct GivenUp {
    pub(super) problem: Problem,
    pub(super) unsettled: Vec<Step>,
}

/// Why a step was not done.
#[derive(Debug)]
enum NotDone {
    /// The other service said no: there is nothing to undo.
    Refused(Problem),
    /// Nobody knows: the step is undone all the same.
    Unknown,
}

const STEPS: [Step; 3] = [Step::Reserve, Step::Pay, Step::Ship];

impl Orders {
    /// Does all steps of an order, or none that lasts.
    pub(super) async fn run(
        &self,
        caller: &Caller,
        order: &Order,
        complete: &Complete,
    ) -> Result<(), GivenUp> {
        let targets = ["inventory", "payments", "shipping"];
        if let Err(error) = self.client.prepare(caller, &targets).await {
            tracing::warn!(%error, order = order.id, "no tokens for an order");
            return Err(GivenUp { problem: unavailable(), unsettled: vec![] });
        }
        let mut done = vec![];
        for step in STEPS {
            let problem = match self.step(step, caller, order, complete).await {
                Ok(()) => {
                    done.push(step);
                    continue;
                }
                Err(NotDone::Refused(problem)) => problem,
                Err(NotDone::Unknown) => {
                    done.push(step);
                    unavailable()
                }
            };
            let unsettled = self.undo(caller, &order.id, done).await;
            return Err(GivenUp { problem, unsettled });
        }
        self.afterwards(caller, order, complete).await;
        Ok(())
    }

    async fn step(
        &self,
        step: Step,
        caller: &Caller,
        order: &Order,
        complete: &Complete,
    ) -> Result<(), NotDone> {
        let order_id = order.id.clone();
        let call = match step {
            Step::Reserve => Call::post("inventory", &["reservations"])
                .json(&Reserve { order_id, items: order.items.clone() }),
            Step::Pay => Call::post("payments", &["payments"]).json(&Charge {
                order_id,
                amount_cents: order.total_cents,
                source: complete.source.clone(),
            }),
            Step::Ship => Call::post("shipping", &["shipments"])
                .json(&Ship { order_id, address: complete.address.clone() }),
        };
        match self.client.send(call.on_behalf_of(caller).once(&order.id)).await {
            Ok(reply) if reply.is_success() => Ok(()),
            Ok(reply) if reply.status().is_client_error() => Err(NotDone::Refused(refusal(&reply))),
            Ok(_) => Err(NotDone::Unknown),
            Err(error) => {
                tracing::warn!(%error, order = order.id, ?step, "a step of an order");
                Err(NotDone::Unknown)
            }
        }
    }

    /// Undoes steps, the last first. Answers which could not be undone.
    pub(super) async fn undo(
        &self,
        caller: &Caller,
        order_id: &str,
        steps: Vec<Step>,
    ) -> Vec<Step> {
        let mut unsettled = vec![];
        for step in steps.into_iter().rev() {
            let call = match step {
                Step::Reserve => Call::delete("inventory", &["reservations", order_id]),
                Step::Pay => Call::post("payments", &["refunds"])
                    .json(&Refund { order_id: order_id.to_owned() })
                    .once(order_id),
                Step::Ship => Call::delete("shipping", &["shipments", order_id]),
            };
            match self.client.send(call.because_of(caller)).await {
                Ok(reply) if reply.is_success() => {}
                outcome => {
                    tracing::error!(?outcome, order = order_id, ?step, "a step was not undone");
                    unsettled.push(step);
                }
            }
        }
        unsettled.reverse();
        unsettled
    }

    /// What an order does not depend on.
    async fn afterwards(&self, caller: &Caller, order: &Order, complete: &Complete) {
        if complete.from_cart {
            let call = Call::delete("carts", &["cart"]).on_behalf_of(caller);
            if let Err(error) = self.client.send(call).await {
                tracing::warn!(%error, order = order.id, "a cart was not emptied");
            }
        }
        let text = format!("Thank you: your order {} has been placed.", order.id);
        let notice = Notice { user_id: order.user_id.clone(), text };
        notifications::tell(&self.client, caller, notice).await;
    }
}

/// What the person who orders is told of another service's no: its own words, where they are a
/// problem, and never a refusal of our token.
fn refusal(reply: &tegata_sdk::Reply) -> Problem {
    let status = reply.status();
    if matches!(status.as_u16(), 401 | 403) {
        return unavailable();
    }
    reply.json().unwrap_or_else(|_| invalid("the order cannot be carried out"))
}
