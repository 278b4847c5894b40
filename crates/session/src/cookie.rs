//! The cookies: one table for each environment, with their names, attributes and lifetimes.
//!
//! | cookie | development | staging and production | attributes |
//! |---|---|---|---|
//! | session | `session_id` | `__Host-session_id`, or `__Secure-session_id` with a domain | `HttpOnly`, `Lax`, until the browser closes |
//! | refresh | `refresh_token` | `__Secure-refresh_token` | `HttpOnly`, `Strict`, `Path=/api/auth` |
//! | consent | `cookie_consent` | `cookie_consent` | `HttpOnly`, `Lax`, a year |
//! | CSRF | `csrf_token` | `__Host-csrf_token` | `HttpOnly`, `Lax`, until the browser closes |
//!
//! A cookie's lifetime limits what a browser keeps and nothing else: what decides is in the record
//! that the value names (NIST SP 800-63B-4 §5.1).

use std::{borrow::Cow, fmt, time::Duration};

mod header;

pub use header::{CookieProblem, Received};

/// The most that a browser keeps for (RFC 6265bis §5.5): 400 days.
pub(crate) const LONGEST_LIFE: Duration = Duration::from_secs(400 * 86_400);

/// The most that a browser takes as name and value together (RFC 6265bis §5.6): 4,096 bytes.
const LARGEST: usize = 4_096;

/// Where the installation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// On a developer's machine, over plain HTTP on `localhost`.
    Development,
    /// Like production, for trying things out.
    Staging,
    /// For people.
    Production,
}

/// Which of our cookies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CookieName {
    /// The session.
    Session,
    /// The refresh token of the browser's token family.
    Refresh,
    /// The choice of cookies.
    Consent,
    /// What the form's CSRF token belongs to before sign-in.
    Csrf,
}

/// When a browser sends a cookie with requests that other sites cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Never.
    Strict,
    /// When a link to us is followed.
    #[default]
    Lax,
    /// Always.
    None,
}

/// A cookie as it is set: its full name and its attributes, without contradictions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    attributes: Attributes,
}

/// The attributes of a cookie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attributes {
    /// Sent over TLS only.
    pub secure: bool,
    /// Hidden from scripts.
    pub http_only: bool,
    /// Sent with requests that other sites cause.
    pub same_site: SameSite,
    /// Sent to paths under this one.
    pub path: Cow<'static, str>,
    /// Sent to this domain and all below it. `None`: to the host that set it, alone.
    pub domain: Option<String>,
    /// Kept for so long. `None`: until the browser closes.
    pub max_age: Option<Duration>,
}

/// All our cookies, in one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CookieTable {
    session: Cookie,
    refresh: Cookie,
    consent: Cookie,
    csrf: Cookie,
}

/// Why cookies cannot be set as they are configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Browsers drop `SameSite=None` without `Secure`.
    #[error(
        "cookie `{0}` is `SameSite=None` without `Secure`, which browsers drop: say `secure = true`, or `same_site = \"lax\"`"
    )]
    NoneWithoutSecure(String),
    /// `__Host-` requires `Secure`, `Path=/` and no domain (RFC 6265bis §4.1.3.2).
    #[error(
        "cookie `{0}` begins with `__Host-`, so it needs `Secure` and `Path=/` and can have no domain"
    )]
    HostPrefix(String),
    /// `__Secure-` requires `Secure` (RFC 6265bis §4.1.3.1).
    #[error("cookie `{0}` begins with `__Secure-`, so it needs `Secure`: leave `secure` out")]
    SecurePrefix(String),
    /// The name holds what names cannot hold.
    #[error("`{0}` cannot be the name of a cookie")]
    Name(String),
    /// The path does not begin with `/`, or holds what paths cannot hold.
    #[error("cookie `{0}` has a path that is none: it begins with `/`, without blanks and `;`")]
    Path(String),
    /// Browsers keep cookies for 400 days at most.
    #[error(
        "cookie `{0}` lives longer than the 400 days that browsers keep it: write `400d` or less"
    )]
    Lifetime(String),
    /// A domain was given in development.
    #[error(
        "`cookies.domain` is `{0}`, but cookies of the development environment have no domain: remove it"
    )]
    DomainInDevelopment(String),
    /// The domain is none that cookies can be set for.
    #[error(
        "`cookies.domain` is `{0}`, which is no domain of two or more labels in lower case, as in `example.com`"
    )]
    Domain(String),
}

/// A value that a cookie cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the value cannot be that of a cookie: it is too long, or holds what must be encoded")]
pub struct BadValue;

impl CookieTable {
    /// The cookies of an environment. With a `domain`, the session is sent to all hosts below it.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn new(environment: Environment, domain: Option<&str>) -> Result<Self, Contradiction> {
        let secure = environment != Environment::Development;
        if let Some(domain) = domain {
            if !secure {
                return Err(Contradiction::DomainInDevelopment(domain.to_owned()));
            }
            if !is_domain(domain) {
                return Err(Contradiction::Domain(domain.to_owned()));
            }
        }
        let host_only = if secure { "__Host-" } else { "" };
        let prefix = if domain.is_some() { "__Secure-" } else { host_only };
        let plain = Attributes {
            secure,
            http_only: true,
            same_site: SameSite::Lax,
            path: "/".into(),
            domain: None,
            max_age: None,
        };
        let shared = Attributes { domain: domain.map(str::to_owned), ..plain.clone() };
        let year = Some(Duration::from_secs(365 * 86_400));
        Ok(Self {
            session: Cookie::new(&format!("{prefix}session_id"), shared.clone())?,
            refresh: Cookie::new(
                if secure { "__Secure-refresh_token" } else { "refresh_token" },
                Attributes {
                    same_site: SameSite::Strict,
                    path: "/api/auth".into(),
                    ..plain.clone()
                },
            )?,
            consent: Cookie::new("cookie_consent", Attributes { max_age: year, ..shared })?,
            csrf: Cookie::new(&format!("{host_only}csrf_token"), plain)?,
        })
    }

    /// One of them.
    #[must_use]
    pub const fn cookie(&self, name: CookieName) -> &Cookie {
        match name {
            CookieName::Session => &self.session,
            CookieName::Refresh => &self.refresh,
            CookieName::Consent => &self.consent,
            CookieName::Csrf => &self.csrf,
        }
    }

    /// The `Set-Cookie` header that takes away a cookie of this name that belongs to the host alone,
    /// where ours is shared on a domain: one from before that was so would stand beside ours for as
    /// long as it lives.
    #[must_use]
    pub fn expire_of_host(&self, name: CookieName) -> Option<String> {
        let Cookie { name, attributes } = self.cookie(name);
        attributes.domain.as_ref()?;
        let of_host = Cookie::new(name, Attributes { domain: None, ..attributes.clone() });
        of_host.ok().map(|cookie| cookie.expire())
    }

    /// Which of ours has this full name.
    fn ours(&self, name: &[u8]) -> Option<CookieName> {
        CookieName::ALL.into_iter().find(|it| self.cookie(*it).name.as_bytes() == name)
    }
}

impl CookieName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Session, Self::Refresh, Self::Consent, Self::Csrf];
}

impl Cookie {
    /// A cookie with this full name and these attributes.
    ///
    /// # Errors
    /// [`Contradiction`]: browsers would drop it, or do something else than it says.
    pub fn new(name: &str, attributes: Attributes) -> Result<Self, Contradiction> {
        let fault = |kind: fn(String) -> Contradiction| Err(kind(name.to_owned()));
        let Attributes { secure, same_site, path, domain, max_age, .. } = &attributes;
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return fault(Contradiction::Name);
        }
        // Browsers look at prefixes without regard to case.
        let lower = name.to_ascii_lowercase();
        if lower.starts_with("__host-") && (!secure || path != "/" || domain.is_some()) {
            return fault(Contradiction::HostPrefix);
        }
        if lower.starts_with("__secure-") && !secure {
            return fault(Contradiction::SecurePrefix);
        }
        if *same_site == SameSite::None && !secure {
            return fault(Contradiction::NoneWithoutSecure);
        }
        if !path.starts_with('/') || path.bytes().any(|it| !it.is_ascii_graphic() || it == b';') {
            return fault(Contradiction::Path);
        }
        if max_age.is_some_and(|age| age > LONGEST_LIFE) {
            return fault(Contradiction::Lifetime);
        }
        if let Some(domain) = domain.as_ref().filter(|it| !is_domain(it)) {
            return Err(Contradiction::Domain(domain.clone()));
        }
        Ok(Self { name: name.to_owned(), attributes })
    }

    /// Its full name, prefix included.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its attributes.
    #[must_use]
    pub const fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The `Set-Cookie` header that gives it a value.
    ///
    /// # Errors
    /// [`BadValue`].
    pub fn set(&self, value: &str) -> Result<String, BadValue> {
        if !value.bytes().all(is_cookie_octet) || self.name.len() + value.len() > LARGEST {
            return Err(BadValue);
        }
        let max_age = self.attributes.max_age.map(|age| format!("; Max-Age={}", age.as_secs()));
        Ok(format!("{}={value}{}{self}", self.name, max_age.unwrap_or_default()))
    }

    /// The `Set-Cookie` header that takes it away. Its attributes are those with which it was set,
    /// or browsers would keep it.
    #[must_use]
    pub fn expire(&self) -> String {
        format!("{}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT{self}", self.name)
    }
}

impl fmt::Display for Cookie {
    /// The attributes, as both kinds of `Set-Cookie` end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes { secure, http_only, same_site, path, domain, .. } = &self.attributes;
        write!(f, "; Path={path}")?;
        if let Some(domain) = domain {
            write!(f, "; Domain={domain}")?;
        }
        write!(f, "; SameSite={same_site:?}")?;
        f.write_str(if *secure { "; Secure" } else { "" })?;
        f.write_str(if *http_only { "; HttpOnly" } else { "" })
    }
}

/// Bytes of a token (RFC 9110 §5.6.2), which names of cookies are.
pub(crate) const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// Bytes of a cookie's value (RFC 6265bis §4.1.1): no blanks, quotes, commas, semicolons or
/// backslashes.
const fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

/// A domain that a cookie can be set for: two labels or more, and no address.
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && !last.bytes().all(|it| it.is_ascii_digit())
}

#[cfg(test)]
mod tests;
