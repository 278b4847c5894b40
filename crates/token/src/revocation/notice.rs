//! What a node tells verifiers that do not read the log: everything that is taken back, or what has
//! come since they asked the last time. Signed.
//!
//! A notice says of things that they are taken back, and of none that it is not. So notices may come in
//! any order, from any node and any number of times; whoever holds back or repeats one makes its
//! verifier grow stale, and no more.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tegata_core::{Epoch, Timestamp};

use super::{
    marks::{Mark, Marks},
    realm::RealmView,
};
use crate::{
    jws::{self, Compact, Malformed},
    key::{KeyRefused, SigningKey},
    status::{ListId, StatusBits, StatusIndex},
    verifier::{KeySet, Refusal, is_kind},
};

/// The kind of a notice, as `typ` says it.
pub const NOTICE_TYP: &str = "tegata-revocations+jwt";

/// No notice is longer: 50 million tokens that are alive, and a million names.
pub const LONGEST_NOTICE: usize = 128 << 20;

/// With up to so many places in it, a list is told by their numbers, or else by its bits.
const FEW: usize = 1024;

/// What a node says at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Notice {
    /// The issuer whose tokens it is about.
    pub iss: String,
    /// When, in seconds since 1970.
    pub iat: u64,
    /// What the verifier said when it asked, so that it knows that this is the answer.
    pub nonce: String,
    /// Which process says so. What it told before it told since it began.
    pub instance: String,
    /// How many pieces of news it had by then.
    pub news: u64,
    /// How far it had followed the log.
    pub position: u64,
    /// The issuer's epoch: a token of one before does not count, whatever else stands here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// For how long something could have been acknowledged without being known to it, in ms.
    pub staleness_ms: u64,
    /// How long it waited before it answered, in ms.
    pub waited_ms: u64,
    /// Whether this is everything, or what has come since the verifier asked this process before.
    pub whole: bool,
    /// What is taken back.
    pub taken_back: TakenBack,
}

/// Things that are taken back. Of names: up to which moment, in ms since 1970 (`null`: for ever), and
/// when they may be forgotten.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TakenBack {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    status_lists: BTreeMap<String, Listed>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tokens: Names,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    families: Names,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sessions: Names,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    subjects: Names,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    permissions: Names,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    clients: Names,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    keys: Names,
}

type Names = BTreeMap<String, (Option<u64>, u64)>;

/// What says names of one kind and nothing else.
type Only = fn(Names) -> TakenBack;

/// The places of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Listed {
    /// By their numbers.
    Idx(Vec<u32>),
    /// As a status list token carries them.
    Lst(String),
}

impl Notice {
    /// Signs it, on a thread that may wait for a key that is in a vault.
    ///
    /// # Errors
    /// As [`SigningKey::signature`].
    pub fn sign(&self, key: &SigningKey) -> Result<String, KeyRefused> {
        // Its members are texts, numbers and maps with text keys: all of that is JSON.
        let claims = serde_json::to_vec(self).map_err(|_| KeyRefused::NotMade)?;
        jws::sign_waiting(key, NOTICE_TYP, &claims)
    }

    /// Reads a notice that one of these keys signed for this issuer, as the answer to the question with
    /// this nonce.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify(text: &str, keys: &KeySet, issuer: &str, nonce: &str) -> Result<Self, Refusal> {
        if text.len() > LONGEST_NOTICE {
            return Err(Malformed::TooLong.into());
        }
        let compact = Compact::danger_parse_any_length(text)?;
        keys.signer_of(&compact, |typ| is_kind(typ, NOTICE_TYP))?;
        let unread = |_| Refusal::Claims("they are no notice");
        let notice: Self = serde_json::from_slice(&compact.claims).map_err(unread)?;
        if notice.iss != issuer {
            return Err(Refusal::Issuer);
        }
        if notice.nonce != nonce {
            return Err(Refusal::Claims("it answers another question"));
        }
        Ok(notice)
    }

    /// For how long something could have been acknowledged without standing in it, when it was made.
    #[must_use]
    pub const fn staleness(&self) -> Duration {
        Duration::from_millis(self.staleness_ms)
    }

    /// How long after the question it was made, at least.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        Duration::from_millis(self.waited_ms)
    }
}

impl TakenBack {
    /// Everything that a view refuses, but for what is uncertain: nobody was told that it is taken back.
    pub(super) fn all_of(view: &RealmView) -> Self {
        let names = |marks: &Marks| marks.all().map(|(name, mark)| (name, told(mark))).collect();
        let lists = view.lists.load();
        let listed = lists.iter().filter_map(|(id, bits)| Some((id.to_string(), listed(bits)?)));
        Self {
            status_lists: listed.collect(),
            tokens: names(&view.tokens),
            families: names(&view.families),
            sessions: names(&view.sessions),
            subjects: names(&view.subjects),
            permissions: names(&view.permissions),
            clients: names(&view.clients),
            keys: names(&view.keys),
        }
    }

    /// The same in parts of at most so many names, or of one list. Each says what was so when it was asked
    /// for.
    pub(super) fn parts_of(view: &RealmView, most: usize) -> impl Iterator<Item = Self> + '_ {
        let lists: Vec<_> =
            view.lists.load().iter().map(|(id, bits)| (*id, bits.clone())).collect();
        let of_list = |(id, bits): (ListId, Arc<StatusBits>)| {
            let status_lists = BTreeMap::from([(id.to_string(), listed(&bits)?)]);
            Some(Self { status_lists, ..Self::default() })
        };
        let kinds: [(&Marks, Only); 7] = [
            (&view.tokens, |tokens| Self { tokens, ..Self::default() }),
            (&view.families, |families| Self { families, ..Self::default() }),
            (&view.sessions, |sessions| Self { sessions, ..Self::default() }),
            (&view.subjects, |subjects| Self { subjects, ..Self::default() }),
            (&view.permissions, |permissions| Self { permissions, ..Self::default() }),
            (&view.clients, |clients| Self { clients, ..Self::default() }),
            (&view.keys, |keys| Self { keys, ..Self::default() }),
        ];
        let named = kinds.into_iter().flat_map(move |(marks, part)| {
            let mut all = marks.all().map(|(name, mark)| (name, told(mark)));
            let next = move || Some(all.by_ref().take(most).collect::<Names>());
            std::iter::from_fn(next).take_while(|names| !names.is_empty()).map(part)
        });
        lists.into_iter().filter_map(of_list).chain(named)
    }

    /// How many names it says.
    pub(super) fn names(&self) -> usize {
        let Self {
            status_lists: _,
            tokens,
            families,
            sessions,
            subjects,
            permissions,
            clients,
            keys,
        } = self;
        let all = [tokens, families, sessions, subjects, permissions, clients, keys];
        all.into_iter().map(BTreeMap::len).sum()
    }

    /// Makes a view refuse all of it. Answers what was news to it.
    ///
    /// # Errors
    /// What cannot be read: then none of it may be known.
    pub(super) fn apply_to(&self, view: &RealmView, now: Timestamp) -> Result<bool, &'static str> {
        let mut news = false;
        for (name, listed) in &self.status_lists {
            let id = ListId::parse(name).ok_or("it names a list that is none")?;
            news |= listed.apply_to(view, id, now)?;
        }
        for (marks, names) in [
            (&view.tokens, &self.tokens),
            (&view.families, &self.families),
            (&view.sessions, &self.sessions),
            (&view.subjects, &self.subjects),
            (&view.permissions, &self.permissions),
            (&view.clients, &self.clients),
            (&view.keys, &self.keys),
        ] {
            for (name, (up_to, until)) in names {
                let up_to = Timestamp::from_millis(up_to.unwrap_or(u64::MAX));
                news |= marks.mark(name, up_to, Timestamp::from_millis(*until));
            }
        }
        Ok(news)
    }
}

impl Listed {
    fn apply_to(&self, view: &RealmView, id: ListId, now: Timestamp) -> Result<bool, &'static str> {
        match self {
            Self::Idx(places) => {
                let place =
                    |index: &u32| view.mark_place(StatusIndex { list: id, index: *index }, now);
                Ok(places.iter().map(place).fold(false, |news, new| news | new))
            }
            Self::Lst(text) => {
                let bits = StatusBits::from_lst(text).ok_or("the bits of a list cannot be read")?;
                Ok(view.add_bits(id, &bits, now))
            }
        }
    }
}

fn listed(bits: &StatusBits) -> Option<Listed> {
    let few: Vec<u32> = bits.places().take(FEW + 1).collect();
    match few.len() {
        0 => None,
        1..=FEW => Some(Listed::Idx(few)),
        _ => Some(Listed::Lst(bits.to_lst_soon())),
    }
}

fn told(mark: Mark) -> (Option<u64>, u64) {
    let up_to = Some(mark.up_to.millis()).filter(|up_to| *up_to != u64::MAX);
    (up_to, mark.until.millis())
}

#[cfg(test)]
mod tests;
