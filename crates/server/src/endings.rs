//! The end of a session, in the revocation log: what the sessions of `tegata-session` are given, so
//! that an ended session takes its tokens with it on every node.

use std::time::Duration;

use tegata_core::{Batch, BoxFuture, CommitRefused, Node, Realm, SessionId, StoreError};
use tegata_identity::{Narrowing, Superseding, User};
use tegata_oauth::{Asking, LiveSessions};
use tegata_session::{Ending, Reason, Session, Sessions, sessions::Endings};
use tegata_token::{
    Entry, Families, Holder, Order, RealmView, Revoker, Tally, Target, Withdrawable,
    revocation::{LONGEST_ACCESS, MOST_STALE},
};

/// Makes the end of sessions known through the revocation log.
#[derive(Debug, Clone)]
pub struct RevokedSessions {
    revoker: Revoker,
    longest_token: Duration,
}

impl RevokedSessions {
    /// Through this revoker. `longest_token` is the longest life of a token: for twice as long
    /// after its session would have ended, an entry is kept.
    #[must_use]
    pub const fn new(revoker: Revoker, longest_token: Duration) -> Self {
        Self { revoker, longest_token }
    }

    fn entry(&self, ending: Ending) -> Entry {
        Entry {
            target: Target::Session(ending.sid),
            // Tokens name their session, so it does not matter where their bits are.
            places: Vec::new(),
            at: ending.at,
            until: ending.until + self.longest_token * 2,
            reason: ending.reason,
            actor: ending.actor,
        }
    }
}

/// Makes it known through the revocation log that people may do less, or nothing.
#[derive(Debug, Clone)]
pub struct NarrowedTokens {
    revoker: Revoker,
    families: Families,
    longest: Duration,
    node: Node,
}

impl NarrowedTokens {
    /// Through this revoker, of the tokens of these families, at the time of this node. `longest` is the
    /// longest life of what people have.
    #[must_use]
    pub const fn new(revoker: Revoker, families: Families, longest: Duration, node: Node) -> Self {
        Self { revoker, families, longest, node }
    }
}

/// Makes it known through the revocation log that people have another password: everything of theirs from
/// before is refused.
#[derive(Debug, Clone)]
pub struct SupersededPasswords {
    revoker: Revoker,
    longest: Duration,
    node: Node,
}

impl SupersededPasswords {
    /// Through this revoker, at the time of this node. `longest` is the longest life of what people have.
    #[must_use]
    pub const fn new(revoker: Revoker, longest: Duration, node: Node) -> Self {
        Self { revoker, longest, node }
    }
}

impl Superseding for SupersededPasswords {
    fn commit<'a>(
        &'a self,
        batch: Batch,
        user: &'a User,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), CommitRefused>> {
        let order = Order { reason: "password_changed".to_owned(), actor: by.to_owned() };
        let entry = up_to_now(&self.node, user, false, self.longest, &order);
        Box::pin(self.revoker.commit(batch, vec![entry]))
    }
}

impl Narrowing for NarrowedTokens {
    fn commit<'a>(
        &'a self,
        batch: Batch,
        user: &'a User,
        by: &'a str,
    ) -> BoxFuture<'a, Result<(), CommitRefused>> {
        let order = |reason: &str| Order { reason: reason.to_owned(), actor: by.to_owned() };
        let less = order("permissions_changed");
        let entry = up_to_now(&self.node, user, true, LONGEST_ACCESS, &less);
        let (now, mut entries) = (entry.at, vec![entry]);
        // Who may do less goes on with it; who may do nothing does not.
        if user.disabled {
            let nothing = order("disabled");
            entries.push(up_to_now(&self.node, user, false, self.longest, &nothing));
        }
        Box::pin(async move {
            let realm = batch.realm.clone();
            self.revoker.commit(batch, entries).await?;
            // Whatever is issued from here on is issued to who they are now.
            self.families.overtake(&realm, &user.id, (now, user.authority), &less).await
        })
    }
}

/// What takes back everything that a person has up to now, or their tokens alone, which live for
/// `longest`.
fn up_to_now(
    node: &Node,
    user: &User,
    tokens_only: bool,
    longest: Duration,
    order: &Order,
) -> Entry {
    // No earlier than anything that this process has done, also when the wall clock was set back.
    let now = node.now().max(node.tick().wall());
    Entry {
        target: Target::Subject { sub: user.id.to_string(), up_to: now, tokens_only },
        places: Vec::new(),
        at: now,
        until: now + longest,
        reason: order.reason.clone(),
        actor: order.actor.clone(),
    }
}

/// The sessions that token families end with.
#[derive(Debug, Clone)]
pub struct SessionsOfFamilies(pub Sessions);

impl LiveSessions for SessionsOfFamilies {
    fn lives<'a>(
        &'a self,
        realm: &'a Realm,
        session: &'a SessionId,
        asking: Asking,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            match asking {
                Asking::Refresh => self.0.touch(realm, session).await,
                Asking::Introspect => Ok(self.0.find(realm, session).await?.is_some()),
            }
        })
    }
}

impl Endings for RevokedSessions {
    fn has_ended(&self, realm: &Realm, session: &Session) -> bool {
        let view = self.revoker.view().realm(realm);
        view.session_ended(session.id.as_str()) || is_before_a_withdrawal(&view, session)
    }

    fn has_changed(&self, realm: &Realm, session: &Session) -> bool {
        self.revoker.view().realm(realm).has_changed(session.user.as_str())
    }

    fn is_current(&self) -> bool {
        self.revoker.view().staleness().is_some_and(|age| age <= MOST_STALE)
    }

    fn commit(&self, batch: Batch, ended: Vec<Ending>) -> BoxFuture<'_, Result<(), CommitRefused>> {
        let entries = ended.into_iter().map(|ending| self.entry(ending)).collect();
        Box::pin(self.revoker.commit(batch, entries))
    }
}

/// Whether everything that the session's person had was taken back after they proved themselves.
///
/// A withdrawal counts to the end of its second, so whoever signs in right after it is given the
/// next second as their time of authentication ([`first_second`]). That a session began in a second
/// before the withdrawal is not repaired by proving something later on a node that has not heard
/// of it.
fn is_before_a_withdrawal(view: &RealmView, session: &Session) -> bool {
    let earliest = view.earliest_issue(session.user.as_str(), None);
    session.standing.auth_time < earliest || session.started.secs().saturating_add(1) < earliest
}

/// The second that a proof counts from. `known` is the earliest second that was known before the
/// proof began: what was taken back before then does not touch what comes of it, though a
/// withdrawal counts to the end of its second. What was taken back later does.
pub(crate) fn first_second(view: &RealmView, sub: &str, known: u64, proven: u64) -> u64 {
    if view.earliest_issue(sub, None) == known { proven.max(known) } else { proven }
}

/// The sessions of people, as a kind of thing that can be taken back.
#[derive(Debug, Clone)]
pub struct SessionsOfHolder(pub Sessions);

impl Withdrawable for SessionsOfHolder {
    fn kind(&self) -> &'static str {
        "sessions"
    }

    fn withdraw<'a>(
        &'a self,
        realm: &'a Realm,
        holder: &'a Holder,
        order: &'a Order,
        _: &'a Tally,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        let reason = Reason::Ordered(order.reason.clone());
        Box::pin(async move {
            match holder {
                Holder::User(user) => {
                    self.0.end_all(realm, user, None, &reason, &order.actor).await
                }
                Holder::Session(sid) => {
                    Ok(u64::from(self.0.end(realm, sid, &reason, &order.actor).await?))
                }
                // Clients have no sessions.
                Holder::Client(_) => Ok(0),
            }
        })
    }
}
