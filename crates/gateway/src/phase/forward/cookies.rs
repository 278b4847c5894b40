//! Which cookies go between a browser and a service: none of our own, and none that the person had to
//! agree to and did not.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};
use tegata_core::Timestamp;
use tegata_session::{Agreed, CookieFilter};

use crate::phase::identify::{cookies, pairs};

/// What passes, for one request and its answer.
#[derive(Clone, Copy, Default)]
pub(crate) struct Passing<'g> {
    private: &'g [String],
    filter: Option<&'g CookieFilter>,
    agreed: Agreed,
}

impl<'g> Passing<'g> {
    /// Without these cookies, and those that a `filter` holds back from whoever agreed to so much.
    pub(crate) const fn new(
        private: &'g [String],
        filter: Option<&'g CookieFilter>,
        agreed: Agreed,
    ) -> Self {
        Self { private, filter, agreed }
    }

    /// The cookies for the service, in one line (RFC 9113 §8.2.3: clients of HTTP/2 send several);
    /// `None`: they can stay as they are.
    #[expect(clippy::option_option, reason = "nothing to change, nothing left, and what is left")]
    pub(super) fn of_request(&self, headers: &HeaderMap) -> Option<Option<HeaderValue>> {
        let lines = headers.get_all(header::COOKIE);
        let lets_all = self.private.is_empty() && self.filter.is_none();
        if lets_all || pairs(headers).all(|pair| self.sends(pair)) {
            let several = lines.iter().nth(1).is_some();
            let joined =
                || lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
            return several.then(|| HeaderValue::from_bytes(&joined()).ok());
        }
        let kept: Vec<&[u8]> = pairs(headers).filter(|pair| self.sends(pair)).collect();
        let rest = || HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok();
        Some((!kept.is_empty()).then(rest).flatten())
    }

    /// Takes out of an answer the cookies that its service may not set.
    pub(super) fn of_answer(&self, headers: &mut HeaderMap) {
        let passes = |line: &HeaderValue| self.sets(line.as_bytes());
        if headers.get_all(header::SET_COOKIE).iter().all(passes) {
            return;
        }
        if let header::Entry::Occupied(cookies) = headers.entry(header::SET_COOKIE) {
            let (_, lines) = cookies.remove_entry_mult();
            let kept: Vec<_> = lines.filter(passes).collect();
            for line in kept {
                headers.append(header::SET_COOKIE, line);
            }
        }
    }

    fn sends(&self, pair: &[u8]) -> bool {
        // A pair without a name is one of the name that stands in its value, for some servers; and
        // one without `=` is a name without a value, for others.
        let start = pair.iter().position(|byte| *byte != b'=' && !is_blank(*byte));
        let pair = pair.get(start.unwrap_or(pair.len())..).unwrap_or_default();
        let name = trimmed(pair.split(|byte| *byte == b'=').next().unwrap_or_default());
        if name.is_ascii() {
            return self.sends_name(name);
        }
        // Some servers leave out what they cannot read: what remains must be none that is held back.
        let legible: Vec<u8> = name.iter().copied().filter(u8::is_ascii).collect();
        self.sends_name(name) && self.sends_name(trimmed(&legible))
    }

    fn sends_name(&self, name: &[u8]) -> bool {
        !self.private.iter().any(|private| private.as_bytes() == name)
            && self.filter.is_none_or(|it| it.may_be_sent(name, self.agreed))
    }

    fn sets(&self, line: &[u8]) -> bool {
        let name = line.split(|byte| matches!(byte, b'=' | b';')).next();
        let name = name.unwrap_or_default().trim_ascii();
        // Without a name it comes back as its bare value, which can look like any cookie
        // (draft-ietf-httpbis-rfc6265bis §5.8.3).
        !name.is_empty()
            && !self.private.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
            && self.filter.is_none_or(|it| {
                it.may_be_set(name, self.agreed) || (it.may_be_deleted(name) && deletes(line))
            })
    }
}

impl fmt::Debug for Passing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passing({:?})", self.agreed)
    }
}

/// What the person agreed to whose request this is.
pub(crate) fn agreed(headers: &HeaderMap, filter: Option<&CookieFilter>, now: Timestamp) -> Agreed {
    filter.map_or(Agreed::NOTHING, |filter| filter.agreed(cookies(headers), now))
}

/// Whether this `Set-Cookie` takes its cookie away: the last `Max-Age` counts (RFC 6265 §5.3), and none
/// that browsers may pass over.
fn deletes(line: &[u8]) -> bool {
    let mut parts = line.split(|byte| *byte == b';').map(|part| {
        let at = part.iter().position(|byte| *byte == b'=')?;
        Some((part.get(..at)?.trim_ascii(), part.get(at + 1..)?.trim_ascii()))
    });
    let Some(Some((_, b""))) = parts.next() else { return false };
    let is_age = |(name, _): &(&[u8], &[u8])| name.eq_ignore_ascii_case(b"max-age");
    let age = parts.flatten().rfind(is_age).map(|(_, age)| age);
    age.and_then(|age| {
        let is_number = age.len() <= 10 && !age.starts_with(b"+");
        std::str::from_utf8(age).ok().filter(|_| is_number)?.parse::<i64>().ok()
    })
    .is_some_and(|age| age <= 0)
}

/// Without the blanks around it that some server ignores: those beyond ASCII are of Latin-1.
fn trimmed(mut name: &[u8]) -> &[u8] {
    while let Some((_, rest)) = name.split_first().filter(|(byte, _)| is_blank(**byte)) {
        name = rest;
    }
    while let Some((_, rest)) = name.split_last().filter(|(byte, _)| is_blank(**byte)) {
        name = rest;
    }
    name
}

const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | 0x85 | 0xa0)
}

#[cfg(test)]
mod tests;
