//! What a browser says of itself, in six parts, each compared by itself.
//!
//! | part | said by | compared as |
//! |---|---|---|
//! | user agent | `User-Agent` | family and system: [`Agent`](crate::Agent), before all others |
//! | language | `Accept-Language` | the first language |
//! | codings | `Accept-Encoding` | those that every browser has always known |
//! | screen, time zone, plug-ins | [`HINTS`], which scripts send | as they are |
//!
//! Versions, weights and new codings are left out, because an update is not a thief. Of at least
//! three parts, 70 % must be the same: one of four to six may differ, and none of three. Of fewer,
//! nothing is concluded; network and kind of browser are compared in any case.
//!
//! What is missing on one side does not count, with one exception. Browsers send the first three
//! with every request, also with a plain navigation, so where the session has one of them and a
//! request has not, it counts as different: otherwise a thief would leave out what they cannot
//! guess. Hints cannot be asked for in that way, because only scripts can send them. Who leaves some of
//! them out gains nothing: those that are sent then count where they differ and nowhere else, so all of
//! the first three must be the same.
//!
//! Sign-in and each rise remember what the browser said just then. Hints that were not there yet,
//! as after a sign-in by a form, are remembered when they are first sent by whoever differs in nothing.
//! They replace others one at a time, and no more often than the record is written anyway: a laptop is
//! taken from its screen, and later to another zone. Whoever differs in one hint is served as it is, so
//! nobody gains by it.
//! What is remembered is 16 bits of an HMAC for each part, under a key of the session: enough to
//! compare, and nothing to whoever reads the record.

use std::fmt;

use aws_lc_rs::hmac;
use serde::{Deserialize, Serialize};
use tegata_core::{Realm, SessionId};

use crate::{binding::Part, keys::Keys};

/// The header with which scripts say what the server cannot see, in lower case.
pub const HINTS: &str = "x-device-hints";

/// How much of a header is read.
const LONGEST: usize = 256;

/// Of fewer parts, nothing is concluded.
const LEAST: u32 = 3;

/// How many of a hundred must be the same.
const ENOUGH: u32 = 70;

/// The codings that have always been known (RFC 9110 §8.4.1). Others come with updates, with TLS and
/// with dictionaries.
const CODINGS: [&str; 4] = ["gzip", "deflate", "compress", "*"];

/// The parts beside the user agent.
const PARTS: [Part; 5] =
    [Part::AcceptLanguage, Part::AcceptEncoding, Part::Screen, Part::TimeZone, Part::Plugins];

/// The headers in which a browser says something of itself, each as often as it was sent.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// `Accept-Language`.
    pub language: &'a [&'a [u8]],
    /// `Accept-Encoding`.
    pub codings: &'a [&'a [u8]],
    /// [`HINTS`].
    pub hints: &'a [&'a [u8]],
    /// Whether there is a `Range`.
    pub range: bool,
}

/// What a browser says of itself, in the form in which it is compared. Nothing of it is kept.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Traits {
    parts: [Option<String>; 5],
    /// With a `Range`, browsers ask for no coding (Fetch, "HTTP-network-or-cache fetch").
    without_coding: bool,
}

/// What a session remembers of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Fingerprint {
    /// The root secret that it was made with.
    root: u16,
    parts: [Option<u16>; 5],
}

impl Traits {
    /// What these headers say.
    #[must_use]
    pub fn of(said: &Said<'_>) -> Self {
        let [screen, zone, plugins] = hints(said.hints).unwrap_or_default();
        let language = said.language.first().and_then(|line| language(line));
        let codings = said.codings.first().and_then(|line| codings(line));
        Self { parts: [language, codings, screen, zone, plugins], without_coding: said.range }
    }
}

impl Fingerprint {
    /// What a session is to remember.
    pub(crate) fn new(
        keys: &Keys,
        realm: &Realm,
        (sid, salt): (&SessionId, &[u8]),
        traits: &Traits,
    ) -> Self {
        Self::default().of(keys, realm, (sid, salt), traits)
    }

    /// What is said now, made so that it can be compared with this, which the session remembers.
    pub(crate) fn of(
        &self,
        keys: &Keys,
        realm: &Realm,
        (sid, salt): (&SessionId, &[u8]),
        traits: &Traits,
    ) -> Self {
        let root = if self.is_empty() { keys.newest() } else { self.root };
        let context: [&[u8]; 4] =
            [b"fingerprint", realm.as_str().as_bytes(), sid.as_str().as_bytes(), salt];
        // Without the root secret, nothing can be compared, and what is missing counts as different.
        let Some(key) = keys.key(root, &context) else { return Self { root, parts: [None; 5] } };
        let mut parts = [None; 5];
        for ((part, said), kept) in PARTS.into_iter().zip(&traits.parts).zip(&mut parts) {
            *kept = said.as_deref().and_then(|said| short(&key, part, said));
        }
        if traits.without_coding {
            let [_, codings, ..] = &mut parts;
            let [_, as_before, ..] = self.parts;
            *codings = as_before;
        }
        Self { root, parts }
    }

    /// The first part in which `shown` differs, where too much does. That the user agent is the same is
    /// known already, and counts as one of the six.
    #[must_use]
    pub fn difference(&self, shown: &Self) -> Option<Part> {
        let (mut all, mut same, mut first) = (1_u32, 1_u32, None);
        for (part, is_same) in self.counted(shown) {
            all += 1;
            if is_same {
                same += 1;
            } else {
                first = first.or(Some(part));
            }
        }
        let suffices = all < LEAST || same * 100 >= all * ENOUGH;
        first.filter(|_| !suffices)
    }

    /// The parts that count beside the user agent, and whether `shown` is the same in them.
    ///
    /// INVARIANT: hints that are sent in part count against whoever sends them, and never for them.
    /// Otherwise the one that is guessed most easily would excuse another language.
    fn counted(&self, shown: &Self) -> impl Iterator<Item = (Part, bool)> {
        let all = || PARTS.into_iter().zip(self.parts).zip(shown.parts);
        let is_left_out = |own: Option<u16>, shown: Option<u16>| own.is_some() && shown.is_none();
        let complete = !all().any(|((part, own), shown)| part.is_hint() && is_left_out(own, shown));
        all().filter_map(move |((part, own), shown)| {
            let is_same = own == shown;
            let is_skipped = part.is_hint() && (shown.is_none() || (!complete && is_same));
            (own.is_some() && !is_skipped).then_some((part, is_same))
        })
    }

    /// This, with the hints of `shown` that were not known yet. Whoever differs in anything enrols
    /// nothing.
    #[must_use]
    pub(crate) fn learn(self, shown: &Self) -> Self {
        if self.counted(shown).any(|(_, is_same)| !is_same) {
            return self;
        }
        let mut parts = self.parts;
        for ((part, own), shown) in PARTS.into_iter().zip(&mut parts).zip(shown.parts) {
            if part.is_hint() {
                *own = own.or(shown);
            }
        }
        let root = if self.is_empty() { shown.root } else { self.root };
        Self { root, parts }
    }

    /// This, with the hints of `shown`, where it says all that are known and one of them is another: the
    /// screen that a window is on, or the time zone of somebody who travels. Otherwise the next change
    /// would be one too many.
    #[must_use]
    pub(crate) fn follow(self, shown: &Self) -> Self {
        let all = PARTS.into_iter().zip(self.parts).zip(shown.parts).enumerate();
        let mut others = all.filter(|(_, ((_, own), shown))| own.is_some() && own != shown);
        let (Some((place, ((part, _), Some(now)))), None) = (others.next(), others.next()) else {
            return self;
        };
        if !part.is_hint() || self.difference(shown).is_some() {
            return self;
        }
        let mut parts = self.parts;
        if let Some(own) = parts.get_mut(place) {
            *own = Some(now);
        }
        Self { parts, ..self }
    }

    /// What was said by somebody who has just proven who they are, and the rest of this.
    #[must_use]
    pub(crate) fn renew(self, shown: &Self) -> Self {
        let mut parts = shown.parts;
        for (shown, own) in parts.iter_mut().zip(self.parts) {
            *shown = shown.or(own);
        }
        Self { root: shown.root, parts }
    }

    fn is_empty(&self) -> bool {
        self.parts.iter().all(Option::is_none)
    }
}

impl Part {
    /// Whether only scripts can say it.
    const fn is_hint(self) -> bool {
        matches!(self, Self::Screen | Self::TimeZone | Self::Plugins)
    }
}

impl fmt::Debug for Traits {
    /// How much is said, and not what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traits({} of 5)", self.parts.iter().flatten().count())
    }
}

/// The first 16 bits of an HMAC over a part.
fn short(key: &hmac::Key, part: Part, said: &str) -> Option<u16> {
    let mac = hmac::sign(key, format!("{}\0{said}", part.name()).as_bytes());
    mac.as_ref().first_chunk().copied().map(u16::from_be_bytes)
}

/// The language that is liked best: others may be added below it.
fn language(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line.get(..LONGEST).unwrap_or(line)).ok()?;
    let first = line.split([',', ';']).next()?.trim();
    let is_tag =
        first.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'*'));
    (is_tag && !first.is_empty()).then(|| first.to_ascii_lowercase())
}

/// Which of [`CODINGS`] are named.
fn codings(line: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(line.get(..LONGEST).unwrap_or(line)).ok()?;
    let named: Vec<_> = line
        .split(',')
        .filter_map(|coding| coding.split(';').next())
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let known: Vec<_> =
        CODINGS.into_iter().filter(|known| named.iter().any(|name| name == known)).collect();
    Some(known.join(","))
}

/// Screen, time zone and plug-ins, as `screen=1920x1080x24,tz=Europe/Berlin,plugins=5f0a31c2` says
/// them, in any order and each at most once. Whatever is not written like that says nothing at all:
/// nobody gains by it what leaving it out would not give them.
fn hints(lines: &[&[u8]]) -> Option<[Option<String>; 3]> {
    let [line] = lines else { return None };
    let line = std::str::from_utf8(line).ok().filter(|line| line.len() <= LONGEST)?;
    let mut said: [Option<String>; 3] = [None, None, None];
    let [screen, zone, plugins] = &mut said;
    for pair in line.split(',') {
        let (name, value) = pair.trim_matches(' ').split_once('=')?;
        let (place, is_one) = match name {
            "screen" => (&mut *screen, is_screen(value)),
            "tz" => (&mut *zone, is_zone(value)),
            "plugins" => (&mut *plugins, is_digest(value)),
            _ => return None,
        };
        if !is_one || place.replace(value.to_owned()).is_some() {
            return None;
        }
    }
    Some(said)
}

/// Width, height and depth: `1920x1080x24`.
fn is_screen(text: &str) -> bool {
    let is_number =
        |it: &str| (1..=5).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_digit());
    text.split('x').count() == 3 && text.split('x').all(is_number)
}

/// A name of the time zone database, or an offset: `Europe/Berlin`, `UTC`, `+05:30`.
fn is_zone(text: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+' | b':');
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// 8 to 64 hexadecimal digits: a digest of the names of the plug-ins.
fn is_digest(text: &str) -> bool {
    (8..=64).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
