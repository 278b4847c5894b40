//! Which passwords may be chosen: NIST SP 800-63B-4 §3.1.1.2. Length, and not what half the world
//! chose already; no rules of composition, no expiry.

use std::{collections::HashSet, sync::LazyLock};

use zeroize::Zeroizing;

use super::Password;

/// Words and passwords that are tried first (ASVS 5.0 V6.2.4): names, what people love, what they say when
/// they are asked for a password, in several languages, and pairs of the most usual words. One a line,
/// in lower case. The list was written for this program and is nobody else's. Each line stands for many
/// passwords: digits and signs around it, and the usual replacements in it, make no other ([`is_common`]).
static COMMON: LazyLock<HashSet<&'static str>> =
    LazyLock::new(|| include_str!("common.txt").lines().filter(|line| !line.is_empty()).collect());

/// What fingers do on keyboards and minds do with alphabets.
const SEQUENCES: [&str; 6] = [
    "01234567890123456789012345678901234567890",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "qwertyuiopasdfghjklzxcvbnmqwertyuiopasdfghjklzxcvbnm",
    "1234567890qwertyuiopasdfghjklzxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p",
    "1q2w3e4r5t6y7u8i9o0p",
];

/// The names of this program, which nobody has to guess.
const OWN: [&str; 2] = ["tegata", "tegata-demo"];

/// How many digits and signs around a common password do not make it a better one.
const MOST_AROUND: usize = 10;

/// How long passwords must be, in code points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// Where the password alone opens the account.
    pub alone: usize,
    /// Where a second factor is always asked for too.
    pub with_second_factor: usize,
}

impl Default for PasswordPolicy {
    fn default() -> Self {
        Self { alone: 15, with_second_factor: 8 }
    }
}

/// Why a password may not be chosen. The texts are for the person who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    /// It has fewer characters than it must.
    #[error("the password has fewer than {least} characters: add words")]
    TooShort {
        /// How many it must have.
        least: usize,
    },
    /// It holds control characters, which many keyboards cannot type again.
    #[error("the password holds a control character, such as a tab or a line break")]
    Control,
    /// It is among the first that are tried.
    #[error("the password is one that many people chose: choose another")]
    Common,
    /// It was stolen somewhere, and is on a list of such passwords.
    #[error(
        "the password is on a list of passwords that were stolen from other services: choose another, and \
         change it where you use it"
    )]
    Breached,
    /// It repeats a short piece.
    #[error("the password repeats a few characters: choose another")]
    Repetitive,
    /// It follows the alphabet or the keyboard.
    #[error("the password follows the alphabet or the keyboard: choose another")]
    Sequence,
    /// It is little more than a name or the address of the person, or the name of where it is used.
    #[error(
        "the password is little more than the user name, the address or the name of this service: \
         choose another"
    )]
    Username,
}

impl PasswordPolicy {
    /// Whether a password may be chosen by whoever has these names: a user name, an address.
    ///
    /// # Errors
    /// The first [`Weakness`].
    pub fn check(
        &self,
        password: &Password,
        names: &[&str],
        second_factor: bool,
    ) -> Result<(), Weakness> {
        let least = if second_factor { self.with_second_factor } else { self.alone };
        let text = password.expose();
        if text.chars().count() < least {
            return Err(Weakness::TooShort { least });
        }
        if text.chars().any(char::is_control) {
            return Err(Weakness::Control);
        }
        let lower = Zeroizing::new(text.to_lowercase());
        if is_repetitive(&lower) {
            return Err(Weakness::Repetitive);
        }
        if is_sequence(&lower) {
            return Err(Weakness::Sequence);
        }
        if is_common(&lower) {
            return Err(Weakness::Common);
        }
        // Both names in an address count as the name.
        let parts = names.iter().flat_map(|name| {
            let (local, domain) = name.split_once('@').unwrap_or((name, ""));
            [*name, local, domain.split('.').next().unwrap_or_default()]
        });
        if parts.chain(OWN).any(|name| is_little_more_than(&lower, name)) {
            return Err(Weakness::Username);
        }
        Ok(())
    }
}

/// Whether the password is on the list, or what is left of it without a few digits and signs around
/// it, or a repetition of that; also with the usual replacements undone, as in `P@ssw0rd2026!`.
fn is_common(lower: &str) -> bool {
    let core = lower.trim_matches(|c: char| !c.is_alphabetic());
    let around = lower.chars().count() - core.chars().count();
    let core = if around <= MOST_AROUND { core } else { lower };
    [lower, core].into_iter().any(|text| {
        let plain = Zeroizing::new(text.chars().map(undone).collect::<String>());
        [text, plain.as_str()]
            .into_iter()
            .any(|text| COMMON.contains(text) || repeats(text, |unit| COMMON.contains(unit)))
    })
}

const fn undone(c: char) -> char {
    match c {
        '@' | '4' => 'a',
        '3' => 'e',
        '1' | '!' => 'i',
        '0' => 'o',
        '$' | '5' => 's',
        '7' => 't',
        c => c,
    }
}

/// Whether the text is one unit two or more times, for a unit that `found` takes.
fn repeats(text: &str, found: impl Fn(&str) -> bool) -> bool {
    (1..=text.len() / 2).filter(|length| text.len().is_multiple_of(*length)).any(|length| {
        text.split_at_checked(length).is_some_and(|(unit, rest)| {
            found(unit) && rest.as_bytes().chunks(length).all(|chunk| chunk == unit.as_bytes())
        })
    })
}

/// Whether the text is made of fewer than four different characters, or repeats a piece of fewer
/// than eight.
fn is_repetitive(lower: &str) -> bool {
    let different: HashSet<char> = lower.chars().collect();
    different.len() < 4 || repeats(lower, |unit| unit.chars().count() < 8)
}

/// Whether the text, or what it repeats, is a piece of a sequence, forward or backward.
fn is_sequence(lower: &str) -> bool {
    SEQUENCES.into_iter().any(|sequence| {
        let backward: String = sequence.chars().rev().collect();
        let piece = |text: &str| sequence.contains(text) || backward.contains(text);
        piece(lower) || repeats(lower, piece)
    })
}

/// Whether fewer than five characters are left when every `name` is taken out.
fn is_little_more_than(lower: &str, name: &str) -> bool {
    let name = name.to_lowercase();
    name.chars().count() >= 3
        && lower.contains(&name)
        && lower.replace(&name, "").chars().count() < 5
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, username: &str, second_factor: bool) -> Result<(), Weakness> {
        let password = Password::new(text.to_owned()).unwrap();
        PasswordPolicy::default().check(&password, &[username], second_factor)
    }

    #[test]
    fn asks_for_length_and_for_nothing_else() {
        for good in [
            "correct horse battery staple",
            "aaaa bbbb cccc dd",
            "ひらがなで書いた長い合言葉です",
            "                x y z",
            "only lower case letters",
            "7061737377-26483-9154",
        ] {
            assert_eq!(check(good, "alice", false), Ok(()), "{good}");
        }
    }

    #[test]
    fn counts_code_points_and_knows_the_second_factor() {
        let short = Err(Weakness::TooShort { least: 15 });
        assert_eq!(check("vier zwei eins", "alice", false), short);
        assert_eq!(check("vier zwei eins", "alice", true), Ok(()));
        assert_eq!(check("ああいう手形を書く", "alice", false), short);
        assert_eq!(check("e\u{301}x1-kq7", "alice", true), Err(Weakness::TooShort { least: 8 }));
    }

    #[test]
    fn refuses_what_is_tried_first() {
        for bad in [
            "password",
            "Password1",
            "P@ssw0rd2026!",
            "!!Iloveyou!!",
            "passwordpassword",
            "PasswordPassword123",
            "Liverpool2025",
            "sunshine.......",
            "tr0ub4dor&3",
            "correcthorsebatterystaple",
        ] {
            assert_eq!(check(bad, "alice", true), Err(Weakness::Common), "{bad}");
        }
    }

    #[test]
    fn refuses_repetitions_and_sequences() {
        for bad in ["aaaaaaaaaaaaaaaa", "abababababababab", "xyz1xyz1xyz1xyz1", "zzzzyyyyzzzzyyyy"]
        {
            assert_eq!(check(bad, "alice", false), Err(Weakness::Repetitive), "{bad}");
        }
        for bad in [
            "abcdefghijklmnop",
            "ponmlkjihgfedcba",
            "asdfghjklzxcvbnm",
            "1qaz2wsx3edc4rfv",
            "345678901234567",
        ] {
            assert_eq!(check(bad, "alice", false), Err(Weakness::Sequence), "{bad}");
        }
    }

    #[test]
    fn refuses_what_is_little_more_than_the_name() {
        for bad in ["alice.wonder@example.com", "alice.wonder123", "1Alice.Wonder1!"] {
            assert_eq!(
                check(bad, "alice.wonder@example.com", false),
                Err(Weakness::Username),
                "{bad}"
            );
        }
        for bad in ["example example 1", "Tegata-Tegata-26", "tegata-tegata-tegata"] {
            assert!(check(bad, "alice.wonder@example.com", false).is_err(), "{bad}");
        }
        // The address counts also where it is not the user name.
        let password = Password::new("example.example".to_owned()).unwrap();
        let names = ["alice", "a.wonder@example.com"];
        let policy = PasswordPolicy::default();
        assert_eq!(policy.check(&password, &names, true), Err(Weakness::Username));
        assert_eq!(policy.check(&password, &names[..1], true), Ok(()));
        assert_eq!(check("alice and eleven hats", "alice", false), Ok(()));
        assert_eq!(check("a long sentence of mine", "a", false), Ok(()));
    }

    #[test]
    fn refuses_controls() {
        assert_eq!(check("correct horse\tbattery", "alice", false), Err(Weakness::Control));
    }

    #[test]
    fn the_list_is_in_lower_case_and_names_each_once() {
        let lines: Vec<&str> = include_str!("common.txt").lines().collect();
        assert!(lines.iter().all(|line| !line.is_empty() && *line == line.to_lowercase().trim()));
        assert_eq!(COMMON.len(), lines.len());
        assert!(COMMON.len() >= 3000, "{}", COMMON.len());
    }
}
