//! In which of several forms somebody would like an answer (RFC 9110 §12.5).

use http::{HeaderMap, HeaderName, header};

/// How much somebody wants something, in thousandths: 0 is not at all, 1000 as nothing more.
pub(crate) type Weight = u16;

/// What a header says that names what somebody would like.
struct Wishes(Vec<(String, Weight)>);

impl Wishes {
    /// `None`: nothing is said. What is no wish is none, and parameters that are no weight say nothing.
    fn of(headers: &HeaderMap, name: HeaderName) -> Option<Self> {
        let mut lines = headers.get_all(name).iter().peekable();
        lines.peek()?;
        let wishes = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(','))
            .filter_map(wish)
            .collect();
        Some(Self(wishes))
    }

    /// The weight of what is named so, if it is. Of two, the greater.
    fn weight(&self, name: &str) -> Option<Weight> {
        self.0.iter().filter(|(known, _)| known == name).map(|(_, weight)| *weight).max()
    }
}

fn wish(text: &str) -> Option<(String, Weight)> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let said = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    Some((name, said.map_or(Some(1000), thousandths)?))
}

/// A weight (§12.4.2).
fn thousandths(text: &str) -> Option<Weight> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let digits = decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let after: Weight = format!("{decimals:0<3}").parse().ok().filter(|_| digits)?;
    match whole {
        "0" => Some(after),
        "1" if after == 0 => Some(1000),
        _ => None,
    }
}

/// The one of these media types that is wanted most, the first of those wanted alike; `None`: none is
/// wanted. Whoever says nothing wants the first.
pub(crate) fn media_type(headers: &HeaderMap, offered: &[&'static str]) -> Option<&'static str> {
    let Some(wishes) = Wishes::of(headers, header::ACCEPT) else {
        return offered.first().copied();
    };
    let weight = |form: &str| {
        let family = form.split('/').next().unwrap_or_default();
        // What names it more exactly counts, whatever the others say.
        let named = wishes.weight(form).or_else(|| wishes.weight(&format!("{family}/*")));
        named.or_else(|| wishes.weight("*/*")).unwrap_or(0)
    };
    let weighed = offered.iter().rev().map(|form| (weight(form), *form));
    weighed
        .max_by_key(|(weight, _)| *weight)
        .filter(|(weight, _)| *weight > 0)
        .map(|(_, form)| form)
}

/// Whether an answer is wanted compressed by gzip, no less than as it is.
pub(crate) fn gzip(headers: &HeaderMap) -> bool {
    let Some(wishes) = Wishes::of(headers, header::ACCEPT_ENCODING) else { return false };
    let any = wishes.weight("*");
    // §8.4.1.3: the other name means the same.
    let gzip = wishes.weight("gzip").max(wishes.weight("x-gzip")).or(any).unwrap_or(0);
    gzip > 0 && gzip >= wishes.weight("identity").unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFERED: [&str; 2] = ["application/a", "application/b"];

    fn saying(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (name.clone(), line.parse().unwrap())).collect()
    }

    #[test]
    fn gives_what_is_wanted_most() {
        for (said, given) in [
            (&[][..], Some(OFFERED[0])),
            (&["application/b"], Some(OFFERED[1])),
            (&["Application/B ; q=1.000"], Some(OFFERED[1])),
            (&["application/a;q=0.5, application/b;q=0.501"], Some(OFFERED[1])),
            (&["application/a;q=0.5", "application/b"], Some(OFFERED[1])),
            (&["application/b, application/a"], Some(OFFERED[0])),
            (&["*/*"], Some(OFFERED[0])),
            (&["application/*;q=0.001"], Some(OFFERED[0])),
            (&["*/*, application/a;q=0.1"], Some(OFFERED[1])),
            (&["*/*;q=0.9, application/*;q=0, application/b;q=0.2"], Some(OFFERED[1])),
            (&["application/b;x=1;Q=0.3, text/html"], Some(OFFERED[1])),
            (&["application/a;q=0, */*"], Some(OFFERED[1])),
            (&["application/a;q=0"], None),
            (&["application/*;q=0.000, application/a;q=0"], None),
            (&["text/html"], None),
            (&["text/*"], None),
            (&[""], None),
            // What is no weight is no wish.
            (&["application/a;q=2, application/b;q=0.1"], Some(OFFERED[1])),
            (&["application/a;q=1.001"], None),
            (&["application/a;q=0.0001"], None),
            (&["application/a;q=-1"], None),
            (&["application/a;q=0.+1"], None),
            (&["application/a;q="], None),
        ] {
            let headers = saying(&header::ACCEPT, said);
            assert_eq!(media_type(&headers, &OFFERED), given, "{said:?}");
        }
    }

    #[test]
    fn compresses_for_whoever_asks_for_it() {
        for (said, wanted) in [
            (&[][..], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZIP;q=0.1"], true),
            (&["x-gzip"], true),
            (&["br, gzip;q=0.5"], true),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["gzip;q=0"], false),
            (&["identity"], false),
            (&["deflate, br"], false),
            (&["identity;q=0.5, gzip;q=0.4"], false),
            (&["identity;q=0.5", "gzip"], true),
            (&["gzipped"], false),
        ] {
            assert_eq!(gzip(&saying(&header::ACCEPT_ENCODING, said)), wanted, "{said:?}");
        }
    }
}
