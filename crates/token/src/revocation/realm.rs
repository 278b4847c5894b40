//! What is revoked in one realm: exact, in memory, without a lock on the way of a request whose token has
//! not been touched.

use std::{
    collections::HashMap,
    hash::BuildHasherDefault,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::{ArcSwap, ArcSwapOption};
use tegata_core::Timestamp;

use super::{Entry, Target, marks::Marks, view::is_kept};
use crate::{
    claims::Claims,
    lineage::Lineage,
    status::{ListHasher, ListId, StatusBits, StatusIndex},
    verifier::Verified,
};

/// By what a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Revoked {
    /// Its bit in the status list, or its own name.
    Token,
    /// Its family.
    Family,
    /// Its session.
    Session,
    /// Its subject.
    Subject,
    /// Its client.
    Client,
    /// Its key.
    Key,
}

/// Lists by their names.
type Lists = HashMap<ListId, Arc<StatusBits>, BuildHasherDefault<ListHasher>>;

/// The revocations of one realm.
#[derive(Default)]
pub struct RealmView {
    pub(super) lists: ArcSwap<Lists>,
    pub(super) tokens: Marks,
    pub(super) families: Marks,
    pub(super) sessions: Marks,
    pub(super) subjects: Marks,
    pub(super) permissions: Marks,
    pub(super) clients: Marks,
    pub(super) keys: Marks,
    /// What may have been taken back. Of these there is none in the common case.
    perhaps: ArcSwapOption<Self>,
    has_perhaps: AtomicBool,
}

impl RealmView {
    /// By what a verified token is refused, if it is.
    #[must_use]
    pub fn check<K>(&self, token: &Verified<K>) -> Option<Revoked> {
        self.check_claims(token.claims(), token.place(), token.kid().as_str())
    }

    /// By what a token with these claims, in this place, signed by this key is refused, if it is.
    #[must_use]
    pub fn check_claims(
        &self,
        claims: &Claims,
        place: Option<StatusIndex>,
        kid: &str,
    ) -> Option<Revoked> {
        let so = || self.known_token(claims, place, kid);
        so().or_else(|| self.perhaps()?.known_token(claims, place, kid))
    }

    /// Whether it is in the log that a token was taken back. What is refused because nobody knows whether
    /// it is in the log may count again, so whoever asks for it to be taken back must not be told that it
    /// is.
    #[must_use]
    pub fn has_taken_back<K>(&self, token: &Verified<K>) -> bool {
        self.known_token(token.claims(), token.place(), token.kid().as_str()).is_some()
    }

    /// The same for what does not say what its holder may do, because that is read anew each time: a
    /// session, a family, a code. They go on when that changes.
    #[must_use]
    pub fn check_grant(
        &self,
        claims: &Claims,
        place: Option<StatusIndex>,
        kid: &str,
    ) -> Option<Revoked> {
        let so = || self.known_grant(claims, place, kid);
        so().or_else(|| self.perhaps()?.known_grant(claims, place, kid))
    }

    fn known_token(
        &self,
        claims: &Claims,
        place: Option<StatusIndex>,
        kid: &str,
    ) -> Option<Revoked> {
        let says_too_much = || self.permissions.covers(&claims.sub, claims.first_issued());
        let grant = self.known_grant(claims, place, kid);
        grant.or_else(|| says_too_much().then_some(Revoked::Subject))
    }

    fn known_grant(
        &self,
        claims: &Claims,
        place: Option<StatusIndex>,
        kid: &str,
    ) -> Option<Revoked> {
        if place.is_some_and(|place| self.is_listed(place)) {
            return Some(Revoked::Token);
        }
        let iat = claims.first_issued();
        [
            (&self.tokens, Some(claims.jti.as_str()), iat, Revoked::Token),
            // What was made from a token falls with it.
            (&self.tokens, claims.original_jti.as_deref(), iat, Revoked::Token),
            (&self.families, claims.fid.as_deref(), iat, Revoked::Family),
            (&self.sessions, claims.session(), iat, Revoked::Session),
            (&self.subjects, Some(claims.sub.as_str()), claims.had_since(), Revoked::Subject),
            (&self.clients, claims.client_id.as_deref(), iat, Revoked::Client),
            (&self.keys, Some(kid), iat, Revoked::Key),
        ]
        .into_iter()
        .find_map(|(marks, key, since, by)| {
            key.is_some_and(|key| marks.covers(key, since)).then_some(by)
        })
        .or_else(|| self.known_lineage(claims.lineage.as_deref()?, iat))
    }

    /// By what a token is refused that was made from others.
    fn known_lineage(&self, lineage: &Lineage, iat: u64) -> Option<Revoked> {
        if lineage.place.iter().any(|place| self.is_listed(*place)) {
            return Some(Revoked::Token);
        }
        // A client acted by what it had been given, which may be older than what it acted upon.
        let had = lineage.acted.map_or(iat, |acted| acted.min(iat));
        [
            (&self.tokens, &lineage.jti, iat, Revoked::Token),
            (&self.clients, &lineage.client, had, Revoked::Client),
            // What a client has in its own name is taken back by that name.
            (&self.subjects, &lineage.client, had, Revoked::Client),
            (&self.keys, &lineage.kid, iat, Revoked::Key),
        ]
        .into_iter()
        .find_map(|(marks, names, since, by)| {
            names.iter().any(|name| marks.covers(name, since)).then_some(by)
        })
    }

    /// Refuses what an entry names of which nobody knows whether it is in the log. By one at a time.
    pub(super) fn apply_perhaps(&self, entry: &Entry, now: Timestamp) {
        let uncertain = self.perhaps.load_full().unwrap_or_default();
        uncertain.apply(entry, now);
        self.perhaps.store(Some(uncertain));
        self.has_perhaps.store(true, Ordering::Release);
    }

    /// Refuses no more what was uncertain.
    pub(super) fn forget_perhaps(&self) {
        self.has_perhaps.store(false, Ordering::Release);
        self.perhaps.store(None);
    }

    fn perhaps(&self) -> Option<Arc<Self>> {
        self.has_perhaps.load(Ordering::Acquire).then(|| self.perhaps.load_full()).flatten()
    }

    /// Whether a key was taken back.
    #[must_use]
    pub fn key_revoked(&self, kid: &str) -> bool {
        self.keys.covers(kid, u64::MAX)
            || self.perhaps().is_some_and(|perhaps| perhaps.key_revoked(kid))
    }

    /// Whether a session has been ended.
    #[must_use]
    pub fn session_ended(&self, sid: &str) -> bool {
        self.sessions.covers(sid, u64::MAX)
            || self.perhaps().is_some_and(|perhaps| perhaps.session_ended(sid))
    }

    /// The bits of a list in which something is revoked.
    #[must_use]
    pub fn list(&self, id: ListId) -> Option<Arc<StatusBits>> {
        self.lists.load().get(&id).cloned()
    }

    /// The first second in which a token for this subject may begin: as [`Self::earliest_issue`], and no
    /// earlier than what the subject may do was changed.
    #[must_use]
    pub fn earliest_token(&self, sub: &str) -> u64 {
        let changed = self.permissions.up_to(sub).map_or(0, |up_to| up_to.secs() + 1);
        self.earliest_issue(sub, None).max(changed)
    }

    /// Whether what a subject may do was changed lately, so that only the latest of what is known of it
    /// counts.
    #[must_use]
    pub fn has_changed(&self, sub: &str) -> bool {
        self.permissions.up_to(sub).is_some()
            || self.perhaps().is_some_and(|perhaps| perhaps.has_changed(sub))
    }

    /// The first second in which a token for this subject and client is not covered by what was
    /// revoked: 0, or the second after a "everything up to now". Whoever issues begins no earlier,
    /// so that signing in at once after a kill switch works.
    #[must_use]
    pub fn earliest_issue(&self, sub: &str, client: Option<&str>) -> u64 {
        let after = |marks: &Marks, key: &str| marks.up_to(key).map_or(0, |up_to| up_to.secs() + 1);
        after(&self.subjects, sub).max(client.map_or(0, |client| after(&self.clients, client)))
    }

    /// Up to when everything that was issued to a client is refused, if some is.
    #[must_use]
    pub fn client_up_to(&self, client: &str) -> Option<Timestamp> {
        self.clients.up_to(client)
    }

    /// Whether a place is set in its list.
    #[must_use]
    pub fn is_listed(&self, place: StatusIndex) -> bool {
        self.lists.load().get(&place.list).is_some_and(|bits| bits.is_revoked(place.index))
    }

    /// Answers whether it was news.
    pub(super) fn apply(&self, entry: &Entry, now: Timestamp) -> bool {
        let mut news = false;
        for place in &entry.places {
            news |= self.mark_place(*place, now);
        }
        let always = Timestamp::from_millis(u64::MAX);
        news | match &entry.target {
            // A token with a place is known by it, and so is what was made from it.
            Target::Token(_) if !entry.places.is_empty() => false,
            Target::Token(jti) => self.tokens.mark(jti.as_str(), always, entry.until),
            Target::Family(family) => self.families.mark(family.as_str(), always, entry.until),
            Target::Session(session) => self.sessions.mark(session.as_str(), always, entry.until),
            Target::Subject { sub, up_to, tokens_only } => {
                let marks = if *tokens_only { &self.permissions } else { &self.subjects };
                marks.mark(sub, *up_to, entry.until)
            }
            Target::Client { client, up_to } => {
                self.clients.mark(client.as_str(), *up_to, entry.until)
            }
            Target::Key(kid) => self.keys.mark(kid.as_str(), always, entry.until),
            // Whoever accepts tokens of other issuers has another view of what was taken back of them.
            Target::ForeignToken { .. }
            | Target::ForeignSession { .. }
            | Target::ForeignSubject { .. }
            | Target::ForeignClient { .. }
            | Target::ForeignKey { .. } => false,
        }
    }

    /// Marks a place, unless all tokens of its list are dead: it would cost memory and say nothing.
    pub(super) fn mark_place(&self, place: StatusIndex, now: Timestamp) -> bool {
        is_kept(place.list.closes(), now) && self.bits(place.list).revoke(place.index)
    }

    /// Marks what these bits mark.
    pub(super) fn add_bits(&self, list: ListId, bits: &StatusBits, now: Timestamp) -> bool {
        is_kept(list.closes(), now) && self.bits(list).add(bits)
    }

    fn bits(&self, list: ListId) -> Arc<StatusBits> {
        if let Some(bits) = self.list(list) {
            return bits;
        }
        let fresh = Arc::new(StatusBits::new());
        self.lists.rcu(|lists| {
            let mut lists = HashMap::clone(lists);
            lists.entry(list).or_insert_with(|| Arc::clone(&fresh));
            lists
        });
        self.list(list).unwrap_or(fresh)
    }

    pub(super) fn forget(&self, now: Timestamp) {
        let kept = |list: &ListId| is_kept(list.closes(), now);
        if !self.lists.load().keys().all(kept) {
            self.lists.rcu(|lists| {
                let mut lists = HashMap::clone(lists);
                lists.retain(|list, _| kept(list));
                lists
            });
        }
        for marks in [
            &self.tokens,
            &self.families,
            &self.sessions,
            &self.subjects,
            &self.permissions,
            &self.clients,
            &self.keys,
        ] {
            marks.forget(now);
        }
    }
}

impl std::fmt::Debug for RealmView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RealmView({} lists)", self.lists.load().len())
    }
}
