//! Names that people carry: roles, e-mail addresses, locales. Each is checked where it enters.

use tegata_core::{InvalidName, name};

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

impl EmailAddress {
    /// Reads an address as a person typed it for mail of ours. It holds nothing but ASCII: letters that
    /// look like others, or become others where they are compared, would let somebody pass for
    /// somebody else. Names of domains in other scripts are taken in their form `xn--`.
    ///
    /// # Errors
    /// [`InvalidName`] says what an address may be.
    pub fn typed(text: &str) -> Result<Self, InvalidName> {
        let text = text.trim();
        let read = Self::new(text)?;
        let is_host = |domain: &str| {
            domain.contains('.')
                && domain.split('.').all(|label| {
                    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                    label.len() <= 63
                        && label.bytes().all(plain)
                        && !label.starts_with('-')
                        && !label.ends_with('-')
                })
        };
        let local = |local: &str| !local.starts_with(['.', '-']) && !local.ends_with('.');
        let sound = text.is_ascii()
            && text.split_once('@').is_some_and(|(it, domain)| local(it) && is_host(domain));
        if sound {
            return Ok(read);
        }
        let rule = "letters of ASCII alone, with the name of a domain behind the `@`";
        Err(InvalidName::new("an e-mail address that mail is sent to", rule, text))
    }

    /// The form in which two addresses are compared: the case of letters does not count.
    #[must_use]
    pub fn form(&self) -> String {
        self.as_str().to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mail_is_sent_to_addresses_that_nobody_can_take_for_another() {
        for good in ["a@b.example", " Maria.O'Neil+tag@Example.COM ", "x_1@xn--r8jz45g.jp"] {
            assert!(EmailAddress::typed(good).is_ok(), "{good:?}");
        }
        for bad in [
            "m\u{131}ke@example.org",
            "mike@ex\u{e4}mple.org",
            "mike@example\u{ff0e}org",
            "\u{ff4d}ike@example.org",
            "mi\u{200b}ke@example.org",
            "mike@localhost",
            "mike@-a.example",
            "mike@a_b.example",
            "-oProxy=x@a.example",
            ".a@b.example",
            "a.@b.example",
            "a@b.example\r\nBcc: c@d.example",
            "a@b.example\nX: y",
            "\"a b\"@c.example",
            "a@[127.0.0.1]",
            "a@b.example, c@d.example",
            &format!("a@{}.example", "b".repeat(64)),
        ] {
            assert!(EmailAddress::typed(bad).is_err(), "{bad:?}");
        }
        assert_eq!(EmailAddress::typed("Maria@Example.COM").unwrap().form(), "maria@example.com");
    }

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
