//! Under which licences we take what others made.

use super::Violation;
use crate::workspace::Built;

/// Licences under which anything may be taken. They ask for a notice and no more.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "Unicode-3.0",
    "Zlib",
];

/// A licence that one crate is taken under, knowingly.
pub struct Exception {
    package: &'static str,
    licence: &'static str,
}

/// Licences that ask for more than a notice, each with the crate that is taken under it. MPL-2.0,
/// for one, asks that changes to the crate's own files be published; we change none. Also crates that
/// say nothing in their manifest and have a licence in a file, with the one that stands there.
pub const EXCEPTIONS: &[Exception] = &[
    // Beneath `apollo-compiler`; its file `LICENSE` is that of MIT.
    Exception { package: "jsonpath-rust", licence: "MIT" },
];

/// What is built under a licence that is not allowed.
pub fn check(built: &[Built], exceptions: &[Exception]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in built.iter().filter(|package| !package.ours) {
        let excepted = |licence: &str| {
            exceptions.iter().any(|e| e.package == package.name && e.licence == licence)
        };
        let allowed = |licence: &str| ALLOWED.contains(&licence) || excepted(licence);
        let in_file = exceptions.iter().find(|e| e.package == package.name).map(|e| e.licence);
        let said = in_file.filter(|_| package.licence.is_empty()).unwrap_or(&package.licence);
        let what = match permits(said, &allowed) {
            Ok(true) => continue,
            Ok(false) => format!("its licence `{}` is not allowed", package.licence),
            Err(problem) => {
                format!("its licence `{}` is not understood: {problem}", package.licence)
            }
        };
        violations.push(Violation::new(
            format!("{} {}", package.name, package.version),
            what,
            "use another crate; where the licence is fit for this one crate, add it to `EXCEPTIONS` \
             in `xtask/src/rules/licences.rs`",
        ));
    }
    violations
}

/// Whether an SPDX expression lets us use the work, given which licences are allowed. `AND` binds
/// more tightly than `OR` (SPDX 2.3, annex D.4.5); a `/` is the `OR` of old manifests.
fn permits(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, &'static str> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut words = spaced.split_whitespace().peekable();
    let permitted = any(&mut words, allowed)?;
    if words.next().is_some() { Err("something follows its end") } else { Ok(permitted) }
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, &'static str> {
    let mut permitted = all(words, allowed)?;
    while words.next_if_eq(&"OR").is_some() {
        permitted |= all(words, allowed)?;
    }
    Ok(permitted)
}

fn all(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, &'static str> {
    let mut permitted = one(words, allowed)?;
    while words.next_if_eq(&"AND").is_some() {
        permitted &= one(words, allowed)?;
    }
    Ok(permitted)
}

fn one(words: &mut Words<'_>, allowed: &dyn Fn(&str) -> bool) -> Result<bool, &'static str> {
    match words.next() {
        None | Some("OR" | "AND" | "WITH" | ")") => Err("a licence is missing"),
        Some("(") => {
            let permitted = any(words, allowed)?;
            words.next_if_eq(&")").map(|_| permitted).ok_or("a bracket is not closed")
        }
        Some(licence) => match words.next_if_eq(&"WITH") {
            Some(_) => {
                let exception = words.next().ok_or("an exception is missing")?;
                Ok(allowed(&format!("{licence} WITH {exception}")))
            }
            None => Ok(allowed(licence)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built(name: &str, licence: &str) -> Built {
        Built { name: name.into(), version: "1.0.0".into(), licence: licence.into(), ours: false }
    }

    #[test]
    fn accepts_what_asks_for_a_notice() {
        for licence in [
            "MIT",
            "MIT/Apache-2.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "ISC AND (Apache-2.0 OR ISC) AND BSD-3-Clause AND (Apache-2.0 OR ISC OR MIT-0)",
            "MIT OR GPL-3.0-only",
            "LGPL-2.1 AND MIT OR MIT",
        ] {
            assert_eq!(check(&[built("a", licence)], &[]), [], "{licence}");
        }
    }

    #[test]
    fn refuses_what_asks_for_more() {
        for licence in [
            "AGPL-3.0-only",
            "MPL-2.0",
            "MIT AND AGPL-3.0-only",
            "(MIT OR Apache-2.0) AND OpenSSL",
            "MIT AND (GPL-2.0-only OR LGPL-2.1)",
            "GPL-2.0-only WITH Classpath-exception-2.0",
        ] {
            let violations = check(&[built("a", licence)], &[]);
            assert_eq!(violations.len(), 1, "{licence}");
            assert_eq!(violations[0].place, "a 1.0.0");
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        for licence in ["", "MIT OR", "(MIT", "MIT)", "AND MIT", "MIT Apache-2.0", "MIT WITH"] {
            assert_eq!(check(&[built("a", licence)], &[]).len(), 1, "{licence:?}");
        }
    }

    #[test]
    fn an_exception_is_for_one_crate() {
        let exceptions = [Exception { package: "a", licence: "MPL-2.0" }];
        assert_eq!(check(&[built("a", "MPL-2.0")], &exceptions), []);
        assert_eq!(check(&[built("b", "MPL-2.0")], &exceptions).len(), 1);
        assert_eq!(check(&[built("a", "AGPL-3.0-only")], &exceptions).len(), 1);
        // Of what says nothing, it is what somebody read in its file.
        assert_eq!(check(&[built("a", "")], &exceptions), []);
        assert_eq!(check(&[built("b", "")], &exceptions).len(), 1);
    }
}
