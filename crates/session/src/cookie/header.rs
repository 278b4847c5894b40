//! The `Cookie` header, read strictly where it is about us.
//!
//! Neighbours on the same domain can set cookies that browsers send to us as well, under our own
//! names too. Nothing in the header tells which is which, so a name of ours that stands there twice
//! is refused. What others named is passed over, whatever it is, as long as it does not break the
//! header itself.

use super::{CookieName, CookieTable, is_cookie_octet};

/// The most that is read, over all `Cookie` headers of a request.
const LONGEST: usize = 16_384;

/// The most cookies that are read. Browsers keep fewer for a domain.
const MOST: usize = 200;

/// The cookies of a request.
#[derive(Clone)]
pub struct Received<'h> {
    ours: [Option<&'h str>; CookieName::ALL.len()],
    others: Vec<&'h [u8]>,
}

impl std::fmt::Debug for Received<'_> {
    /// How many of ours there are, and of others: their values are credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Received({} + {})", self.ours.iter().flatten().count(), self.others.len())
    }
}

/// Why the cookies of a request are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CookieProblem {
    /// There is too much of it.
    #[error("the request has more cookies than are read")]
    TooMuch,
    /// It holds what no header holds, or a cookie of ours holds what we would not set.
    #[error("the request has a cookie that cannot be read")]
    Malformed,
    /// A cookie of ours stands there twice: one of them is somebody else's.
    #[error("the request has the same cookie twice")]
    Twice(CookieName),
}

impl CookieTable {
    /// Reads the `Cookie` headers of a request. HTTP/2 may send several (RFC 9113 §8.2.3).
    ///
    /// # Errors
    /// [`CookieProblem`].
    pub fn read<'h>(
        &self,
        headers: impl IntoIterator<Item = &'h [u8]>,
    ) -> Result<Received<'h>, CookieProblem> {
        let mut received = Received { ours: Default::default(), others: Vec::new() };
        let (mut length, mut count) = (0_usize, 0_usize);
        for header in headers {
            length = length.saturating_add(header.len());
            if length > LONGEST {
                return Err(CookieProblem::TooMuch);
            }
            if header.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
                return Err(CookieProblem::Malformed);
            }
            for pair in header.split(|byte| *byte == b';') {
                // Blanks and tabs alone: other white space belongs to a name that is not ours.
                let pair = trim(pair);
                if pair.is_empty() {
                    continue;
                }
                count += 1;
                if count > MOST {
                    return Err(CookieProblem::TooMuch);
                }
                self.take(pair, &mut received)?;
            }
        }
        Ok(received)
    }

    fn take<'h>(&self, pair: &'h [u8], received: &mut Received<'h>) -> Result<(), CookieProblem> {
        let mut parts = pair.splitn(2, |byte| *byte == b'=');
        let name = trim(parts.next().unwrap_or_default());
        let Some((ours, value)) = self.ours(name).zip(parts.next()) else {
            received.others.push(pair);
            return Ok(());
        };
        let value = trim(value);
        let text = Some(value).filter(|value| value.iter().copied().all(is_cookie_octet));
        let text = text.and_then(|value| std::str::from_utf8(value).ok());
        let place = received.ours.get_mut(ours as usize);
        if ours == CookieName::Consent {
            // A choice that cannot be read, or that stands there twice, is none, and no reason to
            // refuse anything else: an empty value stands for it.
            if let Some(place) = place {
                *place = Some(text.filter(|_| place.is_none()).unwrap_or_default());
            }
            return Ok(());
        }
        let value = text.ok_or(CookieProblem::Malformed)?;
        match place {
            Some(place @ None) => *place = Some(value),
            _ => return Err(CookieProblem::Twice(ours)),
        }
        Ok(())
    }
}

impl<'h> Received<'h> {
    /// The value of one of ours. An empty one is as good as none: it is what an expired cookie
    /// leaves in some browsers.
    #[must_use]
    pub fn get(&self, name: CookieName) -> Option<&'h str> {
        self.ours.get(name as usize).copied().flatten().filter(|value| !value.is_empty())
    }

    /// What the others are called, where that is text.
    pub fn other_names(&self) -> impl Iterator<Item = &'h str> {
        let name = |pair: &&'h [u8]| pair.split(|byte| *byte == b'=').next().map(trim);
        self.others.iter().filter_map(name).filter_map(|name| std::str::from_utf8(name).ok())
    }

    /// The `Cookie` header without ours, for whoever is behind us. `None`: nothing is left.
    #[must_use]
    pub fn others(&self) -> Option<Vec<u8>> {
        (!self.others.is_empty()).then(|| self.others.join(&b"; "[..]))
    }
}

fn trim(bytes: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = bytes.iter().position(|byte| !blank(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !blank(byte)).map_or(start, |at| at + 1);
    bytes.get(start..end).unwrap_or_default()
}
