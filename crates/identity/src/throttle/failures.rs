//! Attempts that failed, as events: who was meant where there is such a person, by what it was tried, from
//! where, and what was wrong.
//!
//! What was typed is in none of them: people type their password where the name belongs. Whether there is a
//! person of that name decides only whether the event names one; the way there is the same. An attempt
//! changes nothing, so nobody waits until its event is written: events wait here until somebody takes them,
//! and there are as many of them as a disk can bear, whoever tries how often. What was left out is counted in
//! the next one.

use std::{collections::VecDeque, fmt, net::IpAddr};

use parking_lot::Mutex;
use serde_json::Value;
use tegata_core::{Event, EventType, Network, Node, Realm, UserId, rate::Sparing};

use crate::sign_in::Refused;

/// How many events wait at most.
const WAITING: usize = 1_000;

/// Of what was wrong: of each network, and of all. In a day, about 100 MB.
const WRONG: (&str, &str) = ("30/m", "120/m");

/// Of what was not even looked at or is nobody's step, which costs whoever tries it nothing.
const NOT_LOOKED_AT: (&str, &str) = ("1/m", "30/m");

/// By what somebody tried to show who they are: as metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tried {
    /// A name and a password.
    Password,
    /// A code of an app, or of a list on paper.
    Code,
    /// A passkey.
    Passkey,
    /// A code from a letter.
    Mail,
}

impl Tried {
    /// The value of `method`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Code => "code",
            Self::Passkey => "passkey",
            Self::Mail => "mail",
        }
    }
}

/// An attempt that came to nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failure<'f> {
    pub(crate) tried: Tried,
    /// Whose account it was, where there is one.
    pub(crate) user: Option<&'f UserId>,
    /// From where.
    pub(crate) address: IpAddr,
    pub(crate) refused: &'f Refused,
}

/// Attempts that failed and that nobody has written down yet.
pub struct Failures {
    node: Node,
    waiting: Mutex<VecDeque<(Realm, Event)>>,
    wrong: Sparing<Network>,
    not_looked_at: Sparing<Network>,
}

impl Failures {
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            waiting: Mutex::default(),
            wrong: Sparing::new(WRONG.0, WRONG.1),
            not_looked_at: Sparing::new(NOT_LOOKED_AT.0, NOT_LOOKED_AT.1),
        }
    }

    /// Notes an attempt. What is the fault of nobody who tried it is not noted.
    pub(crate) fn note(&self, realm: &Realm, failure: &Failure<'_>) {
        let Some(error) = name(failure.refused) else { return };
        let sparing = match failure.refused {
            Refused::Throttled { .. } => &self.not_looked_at,
            // What somebody made up: it was counted nowhere, and is nobody's.
            _ if failure.user.is_none() && failure.tried != Tried::Password => &self.not_looked_at,
            _ => &self.wrong,
        };
        let network = Network::home(failure.address);
        let Some(left_out) = sparing.say(network, self.node.since_boot()) else { return };
        let data = [
            ("method", failure.tried.name().into()),
            ("error", error.into()),
            ("address", failure.address.to_string().into()),
        ];
        let mut event = Event::new(&self.node, realm, EventType::SignInFailed, data);
        let mut add = |name: &str, value: Value| drop(event.data.insert(name.to_owned(), value));
        if let Some(user) = failure.user {
            add("user_id", user.as_str().into());
        }
        if let Refused::Throttled { retry_after } = failure.refused {
            add("retry_after", retry_after.as_secs().into());
        }
        if left_out > 0 {
            add("left_out", left_out.into());
        }
        self.wait(std::iter::once((realm.clone(), event)));
    }

    /// The events that wait, the oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<(Realm, Event)> {
        self.waiting.lock().drain(..).collect()
    }

    /// Takes back what could not be written: it waits on, as far as there is room.
    pub fn put_back(&self, events: Vec<(Realm, Event)>) {
        let mut waiting = self.waiting.lock();
        let room = WAITING.saturating_sub(waiting.len());
        let surplus = events.len().saturating_sub(room);
        for event in events.into_iter().skip(surplus).rev() {
            waiting.push_front(event);
        }
    }

    fn wait(&self, events: impl Iterator<Item = (Realm, Event)>) {
        let mut waiting = self.waiting.lock();
        for event in events {
            if waiting.len() >= WAITING {
                waiting.pop_front();
            }
            waiting.push_back(event);
        }
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Failures({})", self.waiting.lock().len())
    }
}

/// The value of `error`. `None`: it says nothing of whoever tried.
const fn name(refused: &Refused) -> Option<&'static str> {
    match refused {
        Refused::InvalidCredentials => Some("invalid_credentials"),
        Refused::WrongCode => Some("wrong_code"),
        Refused::WrongPasskey => Some("wrong_passkey"),
        Refused::Over => Some("expired"),
        Refused::Throttled { .. } => Some("too_many_attempts"),
        Refused::Busy(_) | Refused::Store(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tegata_core::{ManualClock, SeededEntropy, StoreError};

    use super::*;

    fn failures() -> (Arc<ManualClock>, Failures) {
        let clock = Arc::new(ManualClock::default());
        let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
        (clock, Failures::new(node))
    }

    fn fail(failures: &Failures, address: [u8; 4], refused: &Refused) {
        let address = address.into();
        let failure = Failure { tried: Tried::Password, user: None, address, refused };
        failures.note(&Realm::default(), &failure);
    }

    #[test]
    fn says_what_was_wrong_and_nothing_of_what_is_ours() {
        let (_, failures) = failures();
        let user = UserId::new("usr_1").unwrap();
        let failure = Failure {
            tried: Tried::Code,
            user: Some(&user),
            address: [192, 0, 2, 1].into(),
            refused: &Refused::WrongCode,
        };
        failures.note(&Realm::default(), &failure);
        let away = StoreError::Unavailable { backend: "x", detail: "10.0.0.3".into() };
        fail(&failures, [192, 0, 2, 1], &Refused::Store(away));
        fail(&failures, [192, 0, 2, 1], &Refused::Busy(crate::Busy));
        let [(_, event)] = &*failures.take() else { panic!("one event") };
        assert_eq!(event.kind.name(), "SIGN_IN_FAILED");
        let expected = serde_json::json!({
            "method": "code", "error": "wrong_code", "address": "192.0.2.1", "user_id": "usr_1",
        });
        assert_eq!(Value::Object(event.data.clone()), expected);
        assert!(failures.take().is_empty());
    }

    #[test]
    fn a_flood_from_one_network_is_few_events_and_hides_no_other() {
        let (clock, failures) = failures();
        for last in 0..1000_u32 {
            let last = u8::try_from(last % 250).unwrap();
            fail(&failures, [192, 0, 2, last], &Refused::InvalidCredentials);
        }
        assert_eq!(failures.take().len(), 30);
        fail(&failures, [198, 51, 100, 1], &Refused::InvalidCredentials);
        assert_eq!(failures.take()[0].1.data["left_out"], 970);
        // Knocking at a closed door is said once a minute, and takes no room from what was looked at.
        let closed = Refused::Throttled { retry_after: Duration::from_secs(60) };
        for _ in 0..1000 {
            fail(&failures, [198, 51, 100, 1], &closed);
        }
        let said = failures.take();
        assert_eq!(said.len(), 1);
        assert_eq!(
            (&said[0].1.data["error"], &said[0].1.data["retry_after"]),
            (&"too_many_attempts".into(), &60.into())
        );
        clock.advance(Duration::from_secs(60));
        fail(&failures, [198, 51, 100, 1], &closed);
        assert_eq!(failures.take()[0].1.data["left_out"], 999);
    }

    #[test]
    fn floods_from_everywhere_are_bounded_too_and_so_is_what_waits() {
        let (clock, failures) = failures();
        for minute in 0..100_u8 {
            for network in 0..1000_u16 {
                let [high, low] = network.to_be_bytes();
                fail(&failures, [10, high, low, minute], &Refused::InvalidCredentials);
            }
            clock.advance(Duration::from_secs(60));
        }
        let waiting = failures.take();
        assert_eq!(waiting.len(), WAITING);
        // What could not be written waits on, the newest of it where there is no room for all.
        fail(&failures, [192, 0, 2, 1], &Refused::InvalidCredentials);
        let newest = waiting.last().unwrap().1.id;
        failures.put_back(waiting);
        let again = failures.take();
        assert_eq!(again.len(), WAITING);
        assert_eq!(again[WAITING - 2].1.id, newest);
        assert_eq!(again[WAITING - 1].1.data["address"], "192.0.2.1");
    }
}
