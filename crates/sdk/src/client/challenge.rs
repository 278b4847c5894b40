//! What an answer asks of the person on whose behalf a call was made (RFC 9470 §3).

use http::{HeaderMap, header};
use tegata_core::{Acr, MaxAge, StepUp};

/// The error that says so.
const ERROR: &str = "insufficient_user_authentication";

/// A part of a `WWW-Authenticate` (RFC 9110 §11.6.1).
#[derive(Debug, PartialEq, Eq)]
enum Part<'t> {
    Scheme(&'t str),
    Parameter(&'t str, String),
}

/// What a challenge for access tokens asks for. Levels that are not known here are passed over: nobody
/// here could show them.
#[must_use]
pub fn step_up(headers: &HeaderMap) -> Option<StepUp> {
    let lines = headers.get_all(header::WWW_AUTHENTICATE).iter();
    lines.filter_map(|line| line.to_str().ok()).find_map(asked)
}

fn asked(line: &str) -> Option<StepUp> {
    let parts: Vec<_> = Parts(line).collect();
    let challenges = parts.chunk_by(|_, next| !matches!(next, Part::Scheme(_)));
    challenges.into_iter().find_map(|challenge| {
        let scheme = matches!(challenge.first(), Some(Part::Scheme(scheme))
            if scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("dpop"));
        let value = |wanted: &str| {
            challenge.iter().find_map(|part| match part {
                Part::Parameter(name, value) if name.eq_ignore_ascii_case(wanted) => Some(value),
                _ => None,
            })
        };
        if !scheme || value("error").is_none_or(|error| error != ERROR) {
            return None;
        }
        let levels = value("acr_values").map(String::as_str).unwrap_or_default();
        let age = value("max_age").and_then(|age| age.parse().ok());
        Some(StepUp {
            acr: levels.split(' ').filter_map(Acr::named).collect(),
            max_age: age.map(|secs| MaxAge::of(std::time::Duration::from_secs(secs))),
        })
    })
}

/// The parts of a line, as far as it can be read.
struct Parts<'t>(&'t str);

impl<'t> Iterator for Parts<'t> {
    type Item = Part<'t>;

    fn next(&mut self) -> Option<Part<'t>> {
        let text = self.0.trim_start_matches([' ', '\t', ',']);
        let (name, rest) = token(text)?;
        let Some(value) = rest.trim_start_matches([' ', '\t']).strip_prefix('=') else {
            self.0 = token68(rest).unwrap_or(rest);
            return Some(Part::Scheme(name));
        };
        let value = value.trim_start_matches([' ', '\t']);
        let (value, rest) = match value.strip_prefix('"') {
            Some(inside) => quoted(inside)?,
            None => token(value).map(|(value, rest)| (value.to_owned(), rest))?,
        };
        self.0 = rest;
        Some(Part::Parameter(name, value))
    }
}

/// The token that a text begins with (RFC 9110 §5.6.2), and what follows it.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !is_token(c)).unwrap_or(text.len());
    text.split_at_checked(end).filter(|_| end > 0)
}

/// What follows the one text that some schemes have in place of parameters, such as `Negotiate` (RFC 9110
/// §11.2), where a text begins with that.
fn token68(text: &str) -> Option<&str> {
    let is_of_it = |c: char| c.is_ascii_alphanumeric() || "-._~+/".contains(c);
    let text = text.strip_prefix(' ')?.trim_start_matches(' ');
    let end = text.find(|c| !is_of_it(c)).unwrap_or(text.len());
    let (_, rest) = text.split_at_checked(end).filter(|_| end > 0)?;
    let rest = rest.trim_start_matches('=').trim_start_matches([' ', '\t']);
    (rest.is_empty() || rest.starts_with(',')).then_some(rest)
}

/// What stands before the closing quote, without escapes, and what follows it (RFC 9110 §5.6.4).
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(chars.next()?.1),
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tegata_core::{Entropy as _, SeededEntropy};

    use super::*;

    #[test]
    fn finds_what_is_asked_for_among_challenges() {
        let second = StepUp::to(Acr::Aal2);
        let soon = second.clone().within(Duration::from_secs(300));
        let error = r#"error="insufficient_user_authentication""#;
        for (line, expected) in [
            (format!(r#"Bearer {error}, acr_values="aal2""#), Some(second.clone())),
            (
                format!(r#"bearer realm="a", {error}, ACR_VALUES="aal2", max_age=300"#),
                Some(soon.clone()),
            ),
            (
                format!(r#"DPoP {error},acr_values = "gold aal2" ,max_age="300", algs="ES256""#),
                Some(soon),
            ),
            (
                format!(r#"Basic realm="x, Bearer {}", Bearer {error}"#, r#"error=\"x\""#),
                Some(StepUp::default()),
            ),
            (format!("Negotiate, Bearer {error}, acr_values=aal2"), Some(second.clone())),
            (format!("Negotiate YII/a+b==, Bearer {error}, acr_values=aal2"), Some(second.clone())),
            (format!("Negotiate  oRQ= ,\tBearer {error}, acr_values=aal2"), Some(second)),
            (format!("Negotiate bearer==, {error}"), None),
            (
                format!(r#"Bearer {error}, acr_values="gold silver", max_age="-1""#),
                Some(StepUp::default()),
            ),
            (format!("Basic {error}"), None),
            (r#"Bearer realm="error=\"insufficient_user_authentication\"""#.to_owned(), None),
            (r#"Bearer error="invalid_token", acr_values="aal2""#.to_owned(), None),
            (format!(r#"Bearer realm="{error}"#), None),
            ("Bearer".to_owned(), None),
            ("=,=\"".to_owned(), None),
            (String::new(), None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(header::WWW_AUTHENTICATE, "Basic realm=\"a\"".parse().unwrap());
            headers.append(header::WWW_AUTHENTICATE, line.parse().unwrap());
            assert_eq!(step_up(&headers), expected, "{line}");
        }
    }

    #[test]
    fn no_text_keeps_it_from_ending() {
        let entropy = SeededEntropy::new(7);
        let alphabet = br#"Bearer DPoP error="insufficient_user_authentication" max_age=9,\\"= ,"#;
        for _ in 0..20_000 {
            let mut picked = [0_u8; 48];
            entropy.fill(&mut picked);
            let pick = |byte: &u8| char::from(alphabet[usize::from(*byte) % alphabet.len()]);
            let text: String = picked.iter().map(pick).collect();
            assert!(Parts(&text).count() <= text.len());
            asked(&text);
        }
    }
}
