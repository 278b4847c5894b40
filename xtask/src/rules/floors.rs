//! Versions below which a crate is known to be bad.

use super::Violation;
use crate::workspace::Built;

/// A version that must be reached, and what was wrong before it.
struct Floor {
    package: &'static str,
    least: (u64, u64, u64),
    why: &'static str,
}

const FLOORS: &[Floor] = &[
    Floor {
        package: "jsonwebtoken",
        least: (10, 3, 0),
        why: "before it, an `exp` that is a string was not checked (CVE-2026-25537)",
    },
    Floor {
        package: "rustls-webpki",
        least: (0, 103, 12),
        why: "before it, name constraints could be passed by (RUSTSEC-2026-0098, RUSTSEC-2026-0099)",
    },
    Floor {
        package: "pingora",
        least: (0, 8, 0),
        why: "before it, requests could be smuggled (CVE-2026-2833, CVE-2026-2835, CVE-2026-2836)",
    },
];

/// What is built in a version below its floor.
pub fn check(built: &[Built]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for package in built {
        let floors = FLOORS.iter().filter(|floor| floor.package == package.name);
        for floor in floors.filter(|floor| !reaches(&package.version, floor.least)) {
            let (major, minor, patch) = floor.least;
            violations.push(Violation::new(
                format!("{} {}", package.name, package.version),
                format!("it is known to be bad: {}", floor.why),
                format!("`cargo update -p {}` to {major}.{minor}.{patch} or later", package.name),
            ));
        }
    }
    violations
}

/// Whether a version is at least `least`. A pre-release comes before its release, and what cannot
/// be read reaches nothing.
fn reaches(version: &str, least: (u64, u64, u64)) -> bool {
    let version = version.split('+').next().unwrap_or_default();
    let (release, pre) = version.split_once('-').map_or((version, false), |(r, _)| (r, true));
    let mut parts = release.split('.').map(str::parse::<u64>);
    let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let found = (major, minor, patch);
    found > least || (found == least && !pre)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_as_numbers() {
        for good in ["10.3.0", "10.10.0", "11.0.0", "11.0.0-rc.1", "10.3.0+linux"] {
            assert!(reaches(good, (10, 3, 0)), "{good}");
        }
        for bad in ["10.2.9", "9.99.99", "10.3.0-rc.1", "10.3", "ten", "10.3.0.1"] {
            assert!(!reaches(bad, (10, 3, 0)), "{bad}");
        }
    }

    #[test]
    fn refuses_a_version_that_is_known_to_be_bad() {
        let built = |name: &str, version: &str| Built {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: "MIT".to_owned(),
            ours: false,
        };
        let violations = check(&[built("rustls-webpki", "0.103.11"), built("serde", "0.1.0")]);
        assert_eq!(violations.len(), 1);
        assert!(violations[0].mend.contains("0.103.12"), "{violations:?}");
        assert_eq!(check(&[built("rustls-webpki", "0.103.16")]), []);
    }
}
