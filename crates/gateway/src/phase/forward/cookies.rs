//! Which cookies go between a browser and a service: none of our own, and none that the person had to
//! agree to and did not.

use std::fmt;

use http::{HeaderMap, HeaderValue, header};
use tegata_core::Timestamp;
use tegata_session::{Agreed, CookieFilter};

use crate::phase::identify::cookies;

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

    /// What the person agreed to whose request it is.
    pub(crate) const fn agreed(&self) -> Agreed {
        self.agreed
    }

    /// The cookies for the service, in one line (RFC 9113 §8.2.3: clients of HTTP/2 send several);
    /// `None`: they can stay as they are.
    #[expect(clippy::option_option, reason = "nothing to change, nothing left, and what is left")]
    pub(super) fn of_request(&self, headers: &HeaderMap) -> Option<Option<HeaderValue>> {
        let lines = headers.get_all(header::COOKIE);
        // A line that is no text is not sent: what cannot be read cannot be searched.
        let legible = || lines.iter().all(|line| line.to_str().is_ok());
        let lets_all = self.private.is_empty() && self.filter.is_none();
        if lets_all || (legible() && pairs(headers).all(|pair| self.sends(pair))) {
            let several = lines.iter().nth(1).is_some();
            let joined =
                || lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
            return several.then(|| HeaderValue::from_bytes(&joined()).ok());
        }
        let kept: Vec<&str> = pairs(headers).filter(|pair| self.sends(pair)).collect();
        Some((!kept.is_empty()).then(|| HeaderValue::try_from(kept.join("; ")).ok()).flatten())
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

    fn sends(&self, pair: &str) -> bool {
        // A pair without a name is one of the name that stands in its value, for some servers; and
        // one without `=` is a name without a value, for others.
        let pair = pair.trim_start_matches(['=', ' ', '\t']);
        let name = pair.split('=').next().unwrap_or_default().trim_matches([' ', '\t']);
        !self.private.iter().any(|private| private == name)
            && self.filter.is_none_or(|it| it.may_be_sent(name.as_bytes(), self.agreed))
    }

    fn sets(&self, line: &[u8]) -> bool {
        let name = line.split(|byte| matches!(byte, b'=' | b';')).next();
        let name = name.unwrap_or_default().trim_ascii();
        // Without a name it comes back as its bare value, which can look like any cookie
        // (draft-ietf-httpbis-rfc6265bis §5.8.3).
        !name.is_empty()
            && !self.private.iter().any(|own| own.as_bytes().eq_ignore_ascii_case(name))
            && self.filter.is_none_or(|it| it.may_be_set(name, self.agreed))
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

/// The cookies of a request, as they are written.
fn pairs(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'))
        .map(|pair| pair.trim_matches([' ', '\t']))
        .filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests;
