//! How often a sign-in may be tried, counted so that nobody can be locked out by somebody else.
//!
//! Three counts, each a [`Limit`]:
//!
//! - of an account *from one network*. Whoever guesses from elsewhere does not touch it.
//! - of a network, over all accounts: for guessing many accounts from one place. Whoever owns many
//!   networks of IPv6 is counted in the one around them too.
//! - of an account, over all networks: for guessing one account from many places.
//!
//! The latter two do not hold for a network from which the account has signed in during the last
//! 90 days (SP 800-63B-4 §3.2.2 names this as a way to limit guesses without locking the person
//! out). So an attacker can use up both, and the person still signs in from home.
//!
//! Codes of a second factor have a fourth, which takes the place of the latter two there: of those of
//! one person that were wrong one after the other, at all such networks together. Only somebody in one
//! of them who has shown the password, or has a session, can use it up.
//!
//! Letters are counted too: those to one address from one network, and those to one address from
//! wherever its person has not signed in, so that nobody's mailbox is flooded, and nobody who asks for
//! letters keeps the person from getting theirs.
//!
//! An attempt is counted before the password is looked at, and given back when it succeeds: many
//! attempts at once cannot all pass on one count.

use std::{net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{
    Ephemeral, Network, Node, Realm, StoreError, UserId,
    port::{Put, Space, Swap},
};

use crate::sign_in::Refused;

mod failures;
mod limit;

pub(crate) use failures::Failure;
pub use failures::{Failures, Tried};
pub use limit::Limit;
use limit::Tally;

/// Where attempts are counted.
pub static ATTEMPTS: Space = Space { name: "sign_in_attempts", indexed: false };

/// Where it is kept from which networks an account has signed in.
pub static REMEMBERED: Space = Space { name: "sign_in_networks", indexed: false };

/// How often a count is tried again after somebody else counted first.
const SWAPS: u32 = 64;

/// How often may be tried what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// One account from one network: 5 attempts, then a minute, then 5 and two minutes, and so on
    /// to 15 minutes.
    pub pair: Limit,
    /// One network: a burst of 60, and one a second.
    pub network: Limit,
    /// One account: a burst of 100, and one in 15 minutes.
    pub account: Limit,
    /// Wrong codes of one person in a row, from networks where they have signed in: 100
    /// (SP 800-63B-4 §3.2.2) within 30 days.
    pub codes: Limit,
    /// Letters to one address that are asked for from one network: 3, then ten minutes, then 3 and
    /// twenty minutes, and so on to 2 hours.
    pub letters_pair: Limit,
    /// Letters to one address that are asked for from networks where its person has not signed in: a
    /// burst of 10, and one an hour.
    pub letters: Limit,
    /// For how long a network is remembered.
    pub remembered: Duration,
    /// Whether attempts from the machine itself are not counted. For demonstrations: behind a proxy
    /// on the same machine everybody comes from there.
    pub danger_exempt_loopback: bool,
}

impl Default for Config {
    fn default() -> Self {
        let (minute, month) = (Duration::from_secs(60), Duration::from_secs(30 * 86_400));
        Self {
            pair: Limit {
                burst: 5,
                pause: minute,
                longest_pause: 15 * minute,
                forgets: 60 * minute,
            },
            network: Limit {
                burst: 60,
                pause: minute,
                longest_pause: minute,
                forgets: Duration::from_secs(1),
            },
            account: Limit {
                burst: 100,
                pause: 60 * minute,
                longest_pause: 24 * 60 * minute,
                forgets: 15 * minute,
            },
            codes: Limit { burst: 100, pause: month, longest_pause: month, forgets: month },
            letters_pair: Limit {
                burst: 3,
                pause: 10 * minute,
                longest_pause: 120 * minute,
                forgets: 24 * 60 * minute,
            },
            letters: Limit {
                burst: 10,
                pause: 60 * minute,
                longest_pause: 24 * 60 * minute,
                forgets: 60 * minute,
            },
            remembered: Duration::from_secs(90 * 86_400),
            danger_exempt_loopback: false,
        }
    }
}

/// Counts attempts to sign in.
#[derive(Clone)]
pub struct Throttle {
    node: Node,
    ephemeral: Arc<dyn Ephemeral>,
    config: Config,
    failures: Arc<Failures>,
}

/// Why an attempt may not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TooMany {
    /// There were too many.
    #[error("too many attempts to sign in: try again in {} s", retry_after.as_secs())]
    Throttled {
        /// When it may be tried again. At least a second.
        retry_after: Duration,
    },
    /// The counts cannot be reached. Without them nothing may be tried.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An attempt that has been counted.
#[derive(Debug)]
#[must_use = "an attempt that ends well, or was never made, is given back"]
pub struct Attempt {
    /// What was counted, and under which key.
    counted: Vec<(Count, String)>,
    /// The account and the network; `None` where nothing is counted.
    pair: Option<String>,
    /// What starts anew when it succeeds.
    anew: Vec<String>,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Count {
    /// With as how many networks it counts.
    Network(NonZeroU32),
    Account,
    Pair,
    Codes,
}

impl Throttle {
    /// Counts in `ephemeral`.
    #[must_use]
    pub fn new(node: Node, ephemeral: Arc<dyn Ephemeral>, config: Config) -> Self {
        let failures = Arc::new(Failures::new(node.clone()));
        Self { node, ephemeral, config, failures }
    }

    /// Attempts that failed, which somebody is to write down.
    #[must_use]
    pub fn failures(&self) -> &Failures {
        &self.failures
    }

    /// What became of an attempt; where it failed, that is noted.
    pub(crate) fn noted<T>(
        &self,
        realm: &Realm,
        (tried, user, address): (Tried, Option<&UserId>, IpAddr),
        proven: Result<T, Refused>,
    ) -> Result<T, Refused> {
        proven.inspect_err(|refused| {
            self.failures.note(realm, &Failure { tried, user, address, refused });
        })
    }

    /// Counts an attempt on `account` (a user name in its one form, or nothing where the name that
    /// was typed cannot be one), if it may be made.
    ///
    /// # Errors
    /// See [`TooMany`].
    pub async fn admit(
        &self,
        realm: &Realm,
        account: &str,
        address: IpAddr,
    ) -> Result<Attempt, TooMany> {
        self.admit_counted(realm, account, address, None).await
    }

    /// Counts an attempt at a code of a person, apart from those at their password.
    ///
    /// # Errors
    /// See [`TooMany`].
    pub async fn admit_code(
        &self,
        realm: &Realm,
        user: &UserId,
        address: IpAddr,
    ) -> Result<Attempt, TooMany> {
        let in_a_row = Some((Count::Codes, codes_of(user)));
        // No user name has this character.
        let attempt = self.admit_counted(realm, &format!("code/{user}"), address, in_a_row).await?;
        let in_a_row = attempt.counted.iter().any(|(count, _)| matches!(count, Count::Codes));
        if in_a_row && self.look(realm, &codes_of(user), &self.config.codes).await.is_err() {
            tracing::warn!(
                %user,
                "many codes in a row were wrong, and unless this one is right, none is looked at for \
                 weeks; `tegata user reset-factors` takes the second factor away, and counts anew"
            );
        }
        Ok(attempt)
    }

    /// Counts an attempt to sign in by a passkey, which nobody guesses: of networks alone, so that it
    /// costs no account anything. Where the person has signed in before, those of theirs are counted apart
    /// and as often, so that only who is there and names their passkey uses that up. `account`: whose it
    /// is said to be, or nothing.
    ///
    /// # Errors
    /// See [`TooMany`].
    pub async fn admit_passkey(
        &self,
        realm: &Realm,
        account: &str,
        address: IpAddr,
    ) -> Result<Attempt, TooMany> {
        if self.exempts(address) {
            return Ok(Attempt::uncounted());
        }
        let pair = format!("{account}|{}", Network::home(address));
        let remembered = self.ephemeral.get(realm, &REMEMBERED, &pair).await?.is_some();
        let counts = if remembered {
            vec![(Count::Network(NonZeroU32::MIN), format!("k|{pair}"))]
        } else {
            networks(address).collect()
        };
        let attempt = Attempt { counted: Vec::new(), pair: Some(pair), anew: Vec::new() };
        self.count_all(realm, counts, attempt).await
    }

    async fn admit_counted(
        &self,
        realm: &Realm,
        account: &str,
        address: IpAddr,
        at_home: Option<(Count, String)>,
    ) -> Result<Attempt, TooMany> {
        if self.exempts(address) {
            return Ok(Attempt::uncounted());
        }
        let pair = format!("{account}|{}", Network::home(address));
        let remembered = self.ephemeral.get(realm, &REMEMBERED, &pair).await?.is_some();
        let own = std::iter::once((Count::Pair, format!("p|{pair}")))
            .chain(at_home.filter(|_| remembered));
        let own: Vec<_> = own.collect();
        let anew = own.iter().map(|(_, key)| key.clone()).collect();
        let attempt = Attempt { counted: Vec::new(), pair: Some(pair), anew };
        // The network first: what it refuses leaves no trace of the account that was tried, so a
        // flood of names from one place fills nothing.
        let unknown = networks(address)
            .chain([(Count::Account, format!("a|{account}"))])
            .filter(|_| !remembered);
        self.count_all(realm, unknown.chain(own).collect(), attempt).await
    }

    /// Counts an attempt in each of these counts, in turn, or in none.
    async fn count_all(
        &self,
        realm: &Realm,
        counts: Vec<(Count, String)>,
        mut attempt: Attempt,
    ) -> Result<Attempt, TooMany> {
        // What has to wait is told so before anything is written: whoever knocks on does not keep the
        // disk busy. The counts that follow decide all the same.
        for (count, key) in &counts {
            self.look(realm, key, &self.limit(*count)).await?;
        }
        for (count, key) in counts {
            match self.count(realm, &key, &self.limit(count)).await {
                Ok(()) => attempt.counted.push((count, key)),
                Err(refused) => {
                    // Knocking at a closed door costs the neighbours nothing.
                    self.give_back(realm, &attempt).await?;
                    return Err(refused);
                }
            }
        }
        Ok(attempt)
    }

    /// Whether attempts from there are not counted.
    fn exempts(&self, address: IpAddr) -> bool {
        let is_loopback = || Network::loopback().iter().any(|own| own.contains(address));
        self.config.danger_exempt_loopback && is_loopback()
    }

    /// The attempt succeeded: it is given back, the count of this account from this network starts
    /// anew, as does that of codes in a row, and the network is remembered.
    ///
    /// # Errors
    /// What the store says.
    pub async fn succeeded(&self, realm: &Realm, attempt: Attempt) -> Result<(), StoreError> {
        let Some(pair) = &attempt.pair else { return Ok(()) };
        let key = pair.clone();
        let lifetime = self.config.remembered;
        let put = Put { key, value: vec![1], lifetime, index: None };
        self.ephemeral.put(realm, &REMEMBERED, put).await?;
        for key in &attempt.anew {
            self.ephemeral.take(realm, &ATTEMPTS, key).await?;
        }
        self.give_back(realm, &attempt).await
    }

    /// Somebody has signed in to `account` by more than the attempt that was counted for it: the
    /// network is remembered, and its count starts anew.
    ///
    /// # Errors
    /// What the store says.
    pub async fn signed_in(
        &self,
        realm: &Realm,
        account: &str,
        address: IpAddr,
    ) -> Result<(), StoreError> {
        let pair = format!("{account}|{}", Network::home(address));
        let anew = vec![format!("p|{pair}")];
        let attempt = Attempt { counted: Vec::new(), pair: Some(pair), anew };
        self.succeeded(realm, attempt).await
    }

    /// Counts the codes of a person anew.
    ///
    /// # Errors
    /// What the store says.
    pub async fn forget_codes(&self, realm: &Realm, user: &UserId) -> Result<(), StoreError> {
        self.ephemeral.take(realm, &ATTEMPTS, &codes_of(user)).await.map(drop)
    }

    /// The attempt was not made, because nobody looked at the password, or there is a second step,
    /// which has counts of its own. It is given back.
    ///
    /// # Errors
    /// What the store says.
    pub async fn not_made(&self, realm: &Realm, attempt: Attempt) -> Result<(), StoreError> {
        self.give_back(realm, &attempt).await
    }

    /// Counts a letter of a kind to `address` (in its one form) that is asked for from `from`, for whoever
    /// has the user name `account`. Answers whether it may be sent. What is sent to whoever owns the
    /// address, and to whoever is to own it, are counted apart: nobody uses up the one by asking for the
    /// other. What strangers ask for floods nobody, and uses up nothing of what the person can ask for from
    /// home.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn letter(
        &self,
        realm: &Realm,
        (kind, address): (&str, &str),
        account: &str,
        from: IpAddr,
    ) -> Result<bool, StoreError> {
        if self.exempts(from) {
            return Ok(true);
        }
        // No key may be too long, and addresses are nobody's business here.
        let address = format!("{kind}|{}", digest_of(address));
        let home = Network::home(from);
        let known = format!("{account}|{home}");
        let remembered = self.ephemeral.get(realm, &REMEMBERED, &known).await?.is_some();
        let pair = (format!("m|{address}|{home}"), self.config.letters_pair);
        let all = (format!("m|{address}"), self.config.letters);
        for (key, limit) in std::iter::once(pair).chain((!remembered).then_some(all)) {
            match self.count(realm, &key, &limit).await {
                Ok(()) => {}
                Err(TooMany::Throttled { .. }) => return Ok(false),
                Err(TooMany::Store(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    const fn limit(&self, count: Count) -> Limit {
        match count {
            Count::Network(networks) => self.config.network.times(networks),
            Count::Account => self.config.account,
            Count::Pair => self.config.pair,
            Count::Codes => self.config.codes,
        }
    }

    async fn give_back(&self, realm: &Realm, attempt: &Attempt) -> Result<(), StoreError> {
        for (count, key) in &attempt.counted {
            let mut held = self.ephemeral.get(realm, &ATTEMPTS, key).await?;
            for _ in 0..SWAPS {
                let Some(found) = held else { break };
                let Some(tally) = Tally::read(&found.value) else { break };
                let put = tally.given_back().put(key, &self.limit(*count), self.node.now());
                match self.ephemeral.swap(realm, &ATTEMPTS, found.revision, put).await? {
                    Swap::Lost(newer) => held = Some(newer),
                    Swap::Won(_) | Swap::Gone => break,
                }
            }
        }
        Ok(())
    }

    /// Whether an attempt would be counted now.
    async fn look(&self, realm: &Realm, key: &str, limit: &Limit) -> Result<(), TooMany> {
        let held = self.ephemeral.get(realm, &ATTEMPTS, key).await?;
        let tally = held.and_then(|held| Tally::read(&held.value)).unwrap_or_default();
        let counted = tally.counted(limit, self.node.now());
        counted.map(drop).map_err(|retry_after| TooMany::Throttled { retry_after })
    }

    async fn count(&self, realm: &Realm, key: &str, limit: &Limit) -> Result<(), TooMany> {
        let mut held = self.ephemeral.get(realm, &ATTEMPTS, key).await?;
        for _ in 0..SWAPS {
            let now = self.node.now();
            // A count that cannot be read is a count from the start: it was not ours.
            let before = held.as_ref().and_then(|held| Tally::read(&held.value));
            let tally = before
                .unwrap_or_default()
                .counted(limit, now)
                .map_err(|retry_after| TooMany::Throttled { retry_after })?;
            let put = tally.put(key, limit, now);
            held = match &held {
                None => {
                    if self.ephemeral.add(realm, &ATTEMPTS, put).await? {
                        return Ok(());
                    }
                    self.ephemeral.get(realm, &ATTEMPTS, key).await?
                }
                Some(held) => {
                    match self.ephemeral.swap(realm, &ATTEMPTS, held.revision, put).await? {
                        Swap::Won(_) => return Ok(()),
                        Swap::Lost(newer) => Some(newer),
                        Swap::Gone => None,
                    }
                }
            };
        }
        // So much at once on one count is an attack, or looks like one.
        Err(TooMany::Throttled { retry_after: Duration::from_secs(1) })
    }
}

impl Attempt {
    const fn uncounted() -> Self {
        Self { counted: Vec::new(), pair: None, anew: Vec::new() }
    }
}

/// The network of an address, and those around it, with the keys under which they are counted.
fn networks(address: IpAddr) -> impl Iterator<Item = (Count, String)> {
    let around = Network::counted(address).skip(1);
    std::iter::once((Network::home(address), NonZeroU32::MIN))
        .chain(around)
        .map(|(network, of)| (Count::Network(of), format!("n|{network}")))
}

fn digest_of(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, text.as_bytes()))
}

/// Under which key the wrong codes of a person in a row are counted.
fn codes_of(user: &UserId) -> String {
    format!("c|{user}")
}

#[cfg(test)]
mod tests;
