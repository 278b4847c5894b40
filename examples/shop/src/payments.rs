//! Payments. Each is named by a key, and to ask for it again is to be told what became of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::{get, post},
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tegata_sdk::{Caller, Problem};

use crate::{
    page::{Page, PageQuery},
    request::{Asked, Body, idempotency_key},
    service::{Answer, Parts, conflict, invalid, may_see, nothing_here},
};

/// What is to be paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// For which order.
    pub order_id: String,
    /// How much, in euro cents.
    pub amount_cents: u64,
    /// With what: a token of a card. `tok_declined` is a card that has no money.
    pub source: String,
}

/// A payment, and where it is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Its id.
    pub id: String,
    /// Who pays.
    pub user_id: String,
    /// For which order.
    pub order_id: String,
    /// How much, in euro cents.
    pub amount_cents: u64,
    /// What became of it.
    pub state: PaymentState,
}

/// What became of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// The money was taken.
    Paid,
    /// The money was not there.
    Declined,
    /// The money was given back.
    Refunded,
}

/// Which order's money goes back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// The order.
    pub order_id: String,
}

/// A card of the shop never pays more at once, in euro cents.
const MOST_AT_ONCE: u64 = 500_000;

#[derive(Default)]
struct Ledger {
    payments: BTreeMap<String, Payment>,
    // By person and key: a key says nothing about another person's payment.
    by_key: HashMap<(String, String), (Charge, String)>,
    given_up: HashSet<String>,
}

type Shared = Arc<Mutex<Ledger>>;

/// The service.
pub fn router(parts: &Parts) -> Router {
    let protected = Router::new()
        .route("/payments", get(list).post(pay))
        .route("/payments/{id}", get(one))
        .route("/refunds", post(refund));
    parts.assemble(Router::new(), protected.with_state(Shared::default()))
}

async fn pay(
    State(ledger): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    Body(charge): Body<Charge>,
) -> Answer<(StatusCode, Json<Payment>)> {
    caller.require_service(&["orders"])?;
    let user = caller.require_user()?;
    let key = idempotency_key(&headers)?.ok_or_else(|| invalid("there is no `Idempotency-Key`"))?;
    let payment = ledger.lock().pay(user.as_str(), &key, charge)?;
    if payment.state == PaymentState::Declined {
        return Err(declined().into());
    }
    Ok((StatusCode::CREATED, Json(payment)))
}

async fn refund(
    State(ledger): State<Shared>,
    caller: Caller,
    Body(refund): Body<Refund>,
) -> Answer<StatusCode> {
    if !caller.has_role("admin") {
        caller.require_service(&["orders"])?;
    }
    ledger.lock().refund(refund.order_id);
    Ok(StatusCode::NO_CONTENT)
}

async fn one(
    State(ledger): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Payment>> {
    let payment = ledger.lock().payments.get(&id).cloned();
    let payment = payment.filter(|payment| may_see(&caller, &payment.user_id));
    Ok(Json(payment.ok_or_else(nothing_here)?))
}

async fn list(
    State(ledger): State<Shared>,
    caller: Caller,
    Asked(page): Asked<PageQuery>,
) -> Answer<Json<Page<Payment>>> {
    let ledger = ledger.lock();
    let visible = ledger.payments.iter().filter(|(_, payment)| may_see(&caller, &payment.user_id));
    Ok(Json(page.of(visible.map(|(id, payment)| (id.as_str(), payment.clone())))?))
}

fn declined() -> Problem {
    let detail = "the card was declined; another may do";
    Problem::of_kind(StatusCode::PAYMENT_REQUIRED, "declined", "payment declined", detail)
}

impl Charge {
    fn check(&self) -> Result<(), Problem> {
        if self.amount_cents == 0 {
            return Err(invalid("`amount_cents` is 0"));
        }
        let rest = self.source.strip_prefix("tok_");
        if rest.is_none_or(|rest| rest.is_empty() || rest.len() > 64) {
            return Err(invalid("`source` is not the token of a card, such as `tok_card`"));
        }
        Ok(())
    }
}

impl Ledger {
    /// Takes money once for a key. The same key with another charge is a mistake of the sender.
    fn pay(&mut self, user: &str, key: &str, charge: Charge) -> Result<Payment, Problem> {
        charge.check()?;
        let name = (user.to_owned(), key.to_owned());
        if let Some((known, id)) = self.by_key.get(&name) {
            return match self.payments.get(id) {
                Some(payment) if *known == charge => Ok(payment.clone()),
                _ => Err(invalid("the `Idempotency-Key` was used for another payment")),
            };
        }
        if self.given_up.contains(&charge.order_id) {
            return Err(conflict("given-up", "given up", "the order has been given up"));
        }
        let fits = charge.source != "tok_declined" && charge.amount_cents <= MOST_AT_ONCE;
        let payment = Payment {
            id: format!("pay_{:08}", self.payments.len() + 1),
            user_id: user.to_owned(),
            order_id: charge.order_id.clone(),
            amount_cents: charge.amount_cents,
            state: if fits { PaymentState::Paid } else { PaymentState::Declined },
        };
        self.payments.insert(payment.id.clone(), payment.clone());
        self.by_key.insert(name, (charge, payment.id.clone()));
        Ok(payment)
    }

    /// Gives an order's money back, and takes none for it from now on, so that a payment which
    /// arrives after its refund is not taken. The same order again changes nothing.
    fn refund(&mut self, order: String) {
        for payment in self.payments.values_mut().filter(|payment| payment.order_id == order) {
            if payment.state == PaymentState::Paid {
                payment.state = PaymentState::Refunded;
            }
        }
        self.given_up.insert(order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charge(order: &str, amount_cents: u64, source: &str) -> Charge {
        Charge { order_id: order.into(), amount_cents, source: source.into() }
    }

    #[test]
    fn the_same_key_takes_money_once() {
        let mut ledger = Ledger::default();
        let first = ledger.pay("usr_a", "k", charge("1", 500, "tok_card")).unwrap();
        assert_eq!(ledger.pay("usr_a", "k", charge("1", 500, "tok_card")).unwrap(), first);
        assert_eq!(ledger.payments.len(), 1);
        for other in
            [charge("1", 501, "tok_card"), charge("2", 500, "tok_card"), charge("1", 500, "tok_x")]
        {
            assert_eq!(ledger.pay("usr_a", "k", other).unwrap_err().status, 422);
        }
        let theirs = ledger.pay("usr_b", "k", charge("2", 900, "tok_card")).unwrap();
        assert_ne!(theirs.id, first.id);
    }

    #[test]
    fn a_declined_payment_stays_declined_under_its_key() {
        let mut ledger = Ledger::default();
        for bad in [charge("1", 1, "tok_declined"), charge("2", MOST_AT_ONCE + 1, "tok_card")] {
            let key = bad.order_id.clone();
            for _ in 0..2 {
                let state = ledger.pay("usr_a", &key, bad.clone()).unwrap().state;
                assert_eq!(state, PaymentState::Declined);
            }
            ledger.refund(bad.order_id.clone());
            assert_eq!(ledger.pay("usr_a", &key, bad).unwrap().state, PaymentState::Declined);
        }
    }

    #[test]
    fn a_payment_that_arrives_after_its_refund_is_not_taken() {
        let mut ledger = Ledger::default();
        ledger.refund("1".into());
        assert_eq!(ledger.pay("usr_a", "k", charge("1", 5, "tok_card")).unwrap_err().status, 409);
        let paid = ledger.pay("usr_a", "l", charge("2", 5, "tok_card")).unwrap();
        ledger.refund("2".into());
        ledger.refund("2".into());
        assert_eq!(ledger.payments[&paid.id].state, PaymentState::Refunded);
    }

    #[test]
    fn refuses_charges_that_are_none() {
        for bad in
            [charge("1", 0, "tok_card"), charge("1", 5, "tok_"), charge("1", 5, "4111111111111111")]
        {
            assert!(Ledger::default().pay("usr_a", "k", bad).is_err());
        }
    }
}
