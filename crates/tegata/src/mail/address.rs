//! Where mail is handed over, and who it is from.

use std::str::FromStr;

use tegata_core::Secret;
use tegata_identity::EmailAddress;

/// How the way to a mail server is kept to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protection {
    /// TLS from the first byte.
    Tls,
    /// TLS before anything is said (STARTTLS); a server that cannot is given nothing.
    StartTls,
    /// None: it does not leave this machine.
    None,
}

/// A mail server.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) protection: Protection,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret<String>>,
}

impl FromStr for Server {
    type Err = &'static str;

    /// Reads `smtp://user:password@host:port`. What is wrong is said without the text: it may hold a
    /// password.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        let wrong = "must be `smtp://user@host:587` or `smtps://user@host:465`";
        let (scheme, rest) = text.split_once("://").ok_or(wrong)?;
        let rest = rest.trim_end_matches('/');
        let (login, place) = match rest.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, rest),
        };
        let (host, port) = match place.rsplit_once(':') {
            Some((host, port)) if !place.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong)?))
            }
            _ => (place, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':');
        if host.is_empty() || !host.chars().all(plain) {
            return Err(wrong);
        }
        let (protection, port) = match scheme {
            "smtps" => (Protection::Tls, port.unwrap_or(465)),
            "smtp" if is_here(&host) => (Protection::None, port.unwrap_or(25)),
            "smtp" => (Protection::StartTls, port.unwrap_or(587)),
            _ => return Err(wrong),
        };
        let (user, password) = match login.map(|login| login.split_once(':').ok_or(login)) {
            None => (None, None),
            Some(Err(user)) => (Some(decoded(user)?), None),
            Some(Ok((user, password))) => {
                (Some(decoded(user)?), Some(Secret::new(decoded(password)?)))
            }
        };
        Ok(Self { host, port, protection, user, password })
    }
}

/// Whether a server is on this machine.
fn is_here(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|it| it.is_loopback())
}

/// A part of a URL, with what stands behind `%` as what it means.
fn decoded(part: &str) -> Result<String, &'static str> {
    let wrong = "has a `%` in its user or password that is not followed by two digits";
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or(wrong);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).map_err(|_| wrong)?);
    }
    String::from_utf8(bytes).map_err(|_| wrong)
}

/// Who mail is from: a name, where there is one, and an address.
pub(crate) fn sender(text: &str) -> Result<(Option<String>, EmailAddress), &'static str> {
    let wrong = "must be an address, or `Name <address>`";
    let (name, address) = match text.trim().strip_suffix('>').and_then(|it| it.split_once('<')) {
        Some((name, address)) => (Some(name.trim().trim_matches('"').to_owned()), address),
        None => (None, text.trim()),
    };
    let name = name.filter(|name| !name.is_empty());
    if name.as_deref().is_some_and(|name| name.chars().any(char::is_control)) {
        return Err(wrong);
    }
    // A mail server of this machine takes mail from `tegata@localhost`, too.
    let address = EmailAddress::new(address).ok().filter(|it| it.as_str().is_ascii());
    Ok((name, address.ok_or(wrong)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stays_on_this_machine_is_said_in_the_clear() {
        for (text, host, port, protection) in [
            ("smtps://mail.example.com", "mail.example.com", 465, Protection::Tls),
            ("smtp://mail.example.com", "mail.example.com", 587, Protection::StartTls),
            ("smtp://mail.example.com:25/", "mail.example.com", 25, Protection::StartTls),
            ("smtp://localhost:2525", "localhost", 2525, Protection::None),
            ("smtp://[::1]:2525", "::1", 2525, Protection::None),
            ("smtp://127.0.0.1", "127.0.0.1", 25, Protection::None),
        ] {
            let server: Server = text.parse().unwrap();
            assert_eq!((server.host.as_str(), server.port), (host, port), "{text}");
            assert_eq!(server.protection, protection, "{text}");
        }
        let server: Server =
            "smtps://maria%40example.com:s%3Acret@mail.example.com".parse().unwrap();
        assert_eq!(server.user.as_deref(), Some("maria@example.com"));
        assert_eq!(server.password.unwrap().expose(), "s:cret");
        for bad in ["smtps://", "smtps://a%4@b.example", "imap://b.example", "smtp://a b"] {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sender_cannot_bring_other_fields() {
        let (name, address) = sender("\"Example\" <no-reply@example.com>").unwrap();
        assert_eq!((name.as_deref(), address.as_str()), (Some("Example"), "no-reply@example.com"));
        assert_eq!(sender("tegata@localhost").unwrap().0, None);
        for bad in ["", "Example", "a@b.example\r\nBcc: c@d", "X\r\nY <a@b.example>", "<a@b>c"] {
            assert!(sender(bad).is_err(), "{bad:?}");
        }
    }
}
