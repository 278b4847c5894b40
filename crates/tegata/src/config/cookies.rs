//! `[cookies]` and `[consent]`: which cookies there are, and which people must agree to.

use std::time::Duration;

use serde::Deserialize;
use tegata_session::{
    Category, CookiePolicy, CookieTable, Declared, Environment, PolicyRefused, PolicyRules, Setter,
    Unknown, cookie::SameSite, cookie_consent,
};

use super::{Config, Span};

/// Cookies.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Cookies {
    /// The parent domain that cookies are shared on; without it they belong to one host.
    pub(crate) domain: Option<String>,
    /// What becomes of cookies at the gateway that nobody declared: `pass` or `strip`.
    pub(crate) unknown: Unknown,
    /// Built-in cookies that this installation does not have.
    pub(crate) without: Vec<String>,
    /// Cookies beside the built-in ones.
    pub(crate) declared: Vec<CookieForm>,
}

/// A cookie that is declared.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CookieForm {
    name: String,
    category: Category,
    purpose: String,
    #[serde(default)]
    purpose_ja: Option<String>,
    /// Who sets it: `service` or `script`.
    #[serde(default)]
    set_by: Setter,
    /// For how long; until the browser closes if it is missing.
    #[serde(default)]
    life: Option<Span>,
    #[serde(default)]
    http_only: bool,
    #[serde(default)]
    same_site: SameSite,
    #[serde(default)]
    secure: Option<bool>,
    #[serde(default = "everywhere")]
    path: String,
    #[serde(default)]
    domain: Option<String>,
    /// Where it exists; in all environments if it is missing.
    #[serde(default = "all")]
    environments: Vec<Environment>,
}

/// The consent to cookies.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Consent {
    /// Which version of the policy people agree to.
    pub(crate) version: u32,
    /// Whether functional cookies need consent, too.
    pub(crate) require_functional: bool,
    /// Where the privacy notice is: a path, or `https://…`.
    pub(crate) notice: Option<String>,
    /// Whether the sign-in and account pages ask; where cookies are declared that need consent if it is
    /// missing.
    pub(crate) banner: Option<bool>,
    /// For how long records of choices are kept.
    pub(crate) kept: Span,
}

impl Default for Consent {
    fn default() -> Self {
        Self {
            version: 1,
            require_functional: false,
            notice: None,
            banner: None,
            kept: Span::secs(730 * 86_400),
        }
    }
}

fn everywhere() -> String {
    "/".to_owned()
}

fn all() -> Vec<Environment> {
    vec![Environment::Development, Environment::Staging, Environment::Production]
}

impl CookieForm {
    /// A cookie for statistics that a script sets below a path, if people agree to it.
    pub(crate) fn counting(name: &str, path: &str, life: Span, purpose: [&str; 2]) -> Self {
        let [purpose, purpose_ja] = purpose.map(str::to_owned);
        Self {
            name: name.to_owned(),
            category: Category::Analytics,
            purpose,
            purpose_ja: Some(purpose_ja),
            set_by: Setter::Script,
            life: Some(life),
            http_only: false,
            same_site: SameSite::default(),
            secure: None,
            path: path.to_owned(),
            domain: None,
            environments: all(),
        }
    }

    fn declared(&self) -> Declared {
        Declared {
            name: self.name.clone(),
            category: self.category,
            purpose: (self.purpose.clone(), self.purpose_ja.clone()),
            set_by: self.set_by,
            life: self.life.map(Span::get),
            http_only: self.http_only,
            same_site: self.same_site,
            secure: self.secure,
            path: self.path.clone(),
            domain: self.domain.clone(),
            environments: self.environments.clone(),
        }
    }
}

impl Config {
    /// The cookies of our own, and the policy of all.
    ///
    /// # Errors
    /// What contradicts itself, with its section.
    pub(crate) fn cookies(&self) -> Result<(CookieTable, CookiePolicy), String> {
        let (cookies, consent) = (&self.cookies, &self.consent);
        let environment = self.public.environment;
        let table = CookieTable::new(environment, cookies.domain.as_deref())
            .map_err(|error| format!("[cookies] {error}"))?;
        let rules = PolicyRules {
            environment,
            domain: cookies.domain.clone(),
            declared: cookies.declared.iter().map(CookieForm::declared).collect(),
            without: cookies.without.clone(),
            require_functional: consent.require_functional,
            unknown: cookies.unknown,
            version: consent.version,
            notice: consent.notice.clone(),
        };
        let policy = CookiePolicy::new(&table, &rules).map_err(|error| match error {
            PolicyRefused::Version | PolicyRefused::Notice(_) => format!("[consent] {error}"),
            _ => format!("[cookies] {error}"),
        })?;
        Ok((table, policy))
    }

    /// Whether the sign-in and account pages ask which cookies somebody agrees to.
    pub(crate) fn shows_banner(&self, policy: &CookiePolicy) -> bool {
        policy.asks() && self.consent.banner.unwrap_or(policy.declares())
    }

    pub(super) fn of_cookies(&self, found: &mut Vec<String>) {
        if let Err(error) = self.cookies() {
            found.push(error);
        }
        let kept = self.consent.kept.get();
        if kept < cookie_consent::LIFE || kept > Duration::from_secs(10 * 366 * 86_400) {
            found.push(
                "[consent] kept must be at least `365d`, for which a choice counts, and at most `3660d`"
                    .to_owned(),
            );
        }
    }
}
