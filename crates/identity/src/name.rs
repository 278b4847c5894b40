//! Names that people carry: roles, e-mail addresses, locales. Each is checked where it enters.

use tegata_core::name;

name! {
    /// A role. Role names travel in a header, joined by commas, so they hold none.
    Role, "a role", "1 to 64 of `a-z`, `0-9`, `_`, `.`, `:` and `-`",
    |text| (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()
            || matches!(b, b'_' | b'.' | b':' | b'-'))
}

name! {
    /// An e-mail address, as it was given. It is not known to work until a mail was answered, and
    /// two users may have the same.
    EmailAddress, "an e-mail address",
    "a local part and a domain around one `@`, at most 254 bytes, without spaces, controls and \
     the characters `<>()[],;:\\\"`",
    |text| text.split_once('@').is_some_and(|(local, domain)| {
        let plain = |c: char| !c.is_control() && !c.is_whitespace()
            && !matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':' | '\\' | '"' | '@');
        text.len() <= 254
            && (1..=64).contains(&local.len())
            && local.chars().all(plain)
            && domain.chars().all(plain)
            && domain.split('.').all(|label| !label.is_empty())
    })
}

name! {
    /// The language and region a person reads, as in BCP 47: `ja`, `en-GB`.
    Locale, "a locale", "1 to 35 of `A-Z`, `a-z`, `0-9` and `-`, beginning with a letter",
    |text| (1..=35).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_names_that_could_leave_a_header() {
        for bad in ["", "a,b", "A", "a b", "a\r\nX-User-Roles: admin", "é", &"a".repeat(65)] {
            assert!(Role::new(bad).is_err(), "{bad:?}");
        }
        for bad in [
            "",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "a@b\r\nBcc: x@y",
            "<a@b>",
            "a@b,c@d",
            "a@b..c",
            "a@.b",
            &format!("{}@b", "a".repeat(65)),
            &format!("a@{}", "b".repeat(253)),
        ] {
            assert!(EmailAddress::new(bad).is_err(), "{bad:?}");
        }
        assert!(Role::new("billing:read_only.v2-x").is_ok());
        assert!(EmailAddress::new("alice+tag@例え.jp").is_ok());
        assert!(Locale::new("ja").is_ok() && Locale::new("-").is_err());
    }
}
