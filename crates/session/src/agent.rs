//! Family and system of a user agent: who made the browser, and what it runs on.
//!
//! Coarse on purpose. Versions are left out, because a browser that was updated overnight is not a
//! thief; so are device models and languages. User agents are claims of whoever sends them: this
//! finds a cookie that moved to another kind of browser, not a thief who imitates the first one. A
//! browser that is told to pass for another (the desktop view of a telephone) differs too.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How much of a user agent is looked at. Real ones are shorter.
const LONGEST: usize = 512;

/// A user agent, coarsely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Agent {
    /// Who made it.
    pub family: Family,
    /// What it runs on.
    pub system: System,
}

/// Who made a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Family {
    /// Google, on all systems.
    Chrome,
    /// Microsoft, since it is built on Chromium.
    Edge,
    /// Mozilla.
    Firefox,
    /// Apple.
    Safari,
    /// Somebody else, a program, or nobody says.
    Other,
}

/// What a browser runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(non_camel_case_types, reason = "the names of the systems, as their makers write them")]
pub enum System {
    /// Windows.
    Windows,
    /// Macs, and tablets that pass for one.
    macOS,
    /// Linux on a desk.
    Linux,
    /// Android.
    Android,
    /// iPhone and iPad.
    iOS,
    /// Something else, or nobody says.
    Other,
}

impl Agent {
    /// What a `User-Agent` header says. What is missing or unreadable is [`Family::Other`] on
    /// [`System::Other`].
    #[must_use]
    pub fn of(header: Option<&[u8]>) -> Self {
        let header = header.unwrap_or_default();
        let text = String::from_utf8_lossy(header.get(..LONGEST).unwrap_or(header));
        let any = |words: &[&str]| words.iter().any(|word| text.contains(word));
        // Every browser names those that it is compatible with, so the special come first.
        let family = if any(&["OPR/", "SamsungBrowser/", "Vivaldi/", "YaBrowser/"]) {
            Family::Other
        } else if any(&["Edg/", "EdgA/", "EdgiOS/"]) {
            Family::Edge
        } else if any(&["Firefox/", "FxiOS/"]) {
            Family::Firefox
        } else if any(&["Chrome/", "CriOS/", "Chromium/"]) {
            Family::Chrome
        } else if any(&["Safari/"]) {
            Family::Safari
        } else {
            Family::Other
        };
        let system = if any(&["iPhone", "iPad", "iPod"]) {
            System::iOS
        } else if any(&["Android"]) {
            System::Android
        } else if any(&["Windows"]) {
            System::Windows
        } else if any(&["Macintosh", "Mac OS X"]) {
            System::macOS
        } else if any(&["Linux", "X11"]) {
            System::Linux
        } else {
            System::Other
        };
        Self { family, system }
    }
}

impl fmt::Display for Agent {
    /// `Firefox/Linux`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{:?}", self.family, self.system)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[(&str, &str)] = &[
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36",
            "Chrome/Windows",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 Edg/141.0.0.0",
            "Edge/Windows",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox/Linux"),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
            "Safari/macOS",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/141.0.0.0 Mobile/15E148 Safari/604.1",
            "Chrome/iOS",
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36",
            "Chrome/Android",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36 OPR/120.0.0.0",
            "Other/Windows",
        ),
        ("curl/8.14.1", "Other/Other"),
        ("", "Other/Other"),
    ];

    #[test]
    fn knows_the_common_browsers() {
        for (header, agent) in KNOWN {
            assert_eq!(Agent::of(Some(header.as_bytes())).to_string(), *agent, "{header}");
        }
        assert_eq!(Agent::of(None).to_string(), "Other/Other");
    }

    #[test]
    fn an_update_changes_nothing() {
        for (header, _) in KNOWN {
            let updated = header.replace("141.0", "142.7").replace("140.0", "141.0");
            assert_eq!(Agent::of(Some(header.as_bytes())), Agent::of(Some(updated.as_bytes())));
        }
    }

    #[test]
    fn reads_no_more_than_a_little_of_whatever_comes() {
        let long = [b"x".repeat(LONGEST), b"Firefox/1".to_vec()].concat();
        assert_eq!(Agent::of(Some(&long)).family, Family::Other);
        assert_eq!(Agent::of(Some(&[0xff; 2000])).family, Family::Other);
    }
}
