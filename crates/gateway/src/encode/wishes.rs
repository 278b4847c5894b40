//! In which coding somebody would like an answer (RFC 9110 §12.5.3).

use http::{HeaderMap, header};

/// A coding that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

/// What is said of each, in thousandths. Of what is said twice the greater counts.
#[derive(Debug, Default)]
struct Weights {
    gzip: Option<u16>,
    brotli: Option<u16>,
    zstd: Option<u16>,
    identity: Option<u16>,
    any: Option<u16>,
}

impl Coding {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The one that is wanted most, and no less than none; of those wanted alike, the one that costs least for
    /// what it saves.
    pub(crate) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let mut said = Weights::default();
        for line in headers.get_all(header::ACCEPT_ENCODING) {
            line.as_bytes().split(|byte| *byte == b',').for_each(|member| said.note(member));
        }
        // Whoever takes anything takes what everybody knows.
        let gzip = said.gzip.or(said.any);
        let weighed = [(gzip, Self::Gzip), (said.brotli, Self::Brotli), (said.zstd, Self::Zstd)];
        let least = said.identity.unwrap_or(0).max(1);
        let (weight, coding) = weighed.into_iter().max_by_key(|(weight, _)| *weight)?;
        (weight? >= least).then_some(coding)
    }
}

impl Weights {
    /// What is no member, or has no sound weight, says nothing.
    fn note(&mut self, member: &[u8]) {
        let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let name = parts.next().unwrap_or_default();
        let weight = match parts.find(|part| matches!(part, [b'q' | b'Q', b'=', ..])) {
            None => 1000,
            Some(part) => match thousandths(part.get(2..).unwrap_or_default()) {
                Some(weight) => weight,
                None => return,
            },
        };
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let place = if is(b"gzip") || is(b"x-gzip") {
            &mut self.gzip
        } else if is(b"br") {
            &mut self.brotli
        } else if is(b"zstd") {
            &mut self.zstd
        } else if is(b"identity") {
            &mut self.identity
        } else if is(b"*") {
            &mut self.any
        } else {
            return;
        };
        *place = (*place).max(Some(weight));
    }
}

/// A weight (§12.4.2).
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (whole, decimals),
        _ => return None,
    };
    let mut after = 0;
    for place in 0..3 {
        let digit = decimals.get(place).copied().unwrap_or(b'0');
        after = after * 10 + u16::from(digit.is_ascii_digit().then(|| digit - b'0')?);
    }
    match whole {
        b'0' => Some(after),
        b'1' if after == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_what_is_wanted_most_and_nothing_that_is_not() {
        use Coding::{Brotli, Gzip, Zstd};
        let many = (0..1000).map(|n| format!("x{n};q=0.{n:03}")).collect::<Vec<_>>().join(", ");
        for (said, wanted) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip"], Some(Gzip)),
            (&["X-GZip;Q=0.001"], Some(Gzip)),
            (&["gzip, deflate, br, zstd"], Some(Zstd)),
            (&["gzip, deflate, br"], Some(Brotli)),
            (&["br;q=0.9, gzip"], Some(Gzip)),
            (&["br;q=0.9", "gzip;q=0.8", "zstd;q=0"], Some(Brotli)),
            (&["*"], Some(Gzip)),
            (&["*;q=0"], None),
            (&["*, gzip;q=0"], None),
            (&["*;q=0, br"], Some(Brotli)),
            (&["identity"], None),
            (&["identity;q=0, gzip;q=0.1"], Some(Gzip)),
            (&["identity;q=0"], None),
            (&["identity;q=0.5, gzip;q=0.4"], None),
            (&["identity;q=0.5, gzip;q=0.5"], Some(Gzip)),
            (&["gzip;q=0", "gzip;q=0.2"], Some(Gzip)),
            (&["deflate, compress, sdch, gzippy, brotli"], None),
            (&["gzip;q=2, br;q=0.1"], Some(Brotli)),
            (&["gzip;q=-1", "gzip;q=0.0001", "gzip;q=1.001", "gzip;q=", "gzip;q=0.+1"], None),
            (&["gzip ; level=9 ; q=0"], None),
            (&[";;,,;q=1, ,gzip;"], Some(Gzip)),
            (&[many.as_str()], None),
            (&[many.as_str(), "zstd"], Some(Zstd)),
        ] {
            let lines = said.iter().map(|line| (header::ACCEPT_ENCODING, line.parse().unwrap()));
            assert_eq!(Coding::wanted(&lines.collect()), wanted, "{said:?}");
        }
    }
}
