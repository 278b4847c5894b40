//! Cookies that an installation declares.

use std::time::Duration;

use super::{Category, Pattern, PolicyRefused, Row, Setter, Words};
use crate::cookie::{Attributes, Cookie, Environment, SameSite};

/// The longest purpose, in characters.
const LONGEST_PURPOSE: usize = 500;

/// A cookie that an installation declares. What is left out follows the environment; in development,
/// cookies have no domain.
#[derive(Debug, Clone)]
pub struct Declared {
    /// Its name, or the beginning of names with `*` after it.
    pub name: String,
    /// What it is for, in one word.
    pub category: Category,
    /// What it is for: in English, and in Japanese where that is said.
    pub purpose: (String, Option<String>),
    /// Who sets it.
    pub set_by: Setter,
    /// For how long. `None`: until the browser closes.
    pub life: Option<Duration>,
    /// Whether scripts cannot read it.
    pub http_only: bool,
    /// When it is sent with requests of other sites.
    pub same_site: SameSite,
    /// Whether it is sent over TLS alone. `None`: outside development, or where its name asks for it.
    pub secure: Option<bool>,
    /// Sent to paths under this one.
    pub path: String,
    /// Sent to this domain and all below it. `None`: to the host that set it.
    pub domain: Option<String>,
    /// Where it exists.
    pub environments: Vec<Environment>,
}

impl Declared {
    /// The line that it becomes.
    pub(super) fn row(&self, environment: Environment) -> Result<Row, PolicyRefused> {
        let name = self.name.as_str();
        let pattern = Pattern::parse(name).ok_or_else(|| PolicyRefused::Name(self.name.clone()))?;
        if self.environments.is_empty() {
            return Err(PolicyRefused::Nowhere(self.name.clone()));
        }
        let (english, japanese) = &self.purpose;
        for purpose in [Some(english), japanese.as_ref()].into_iter().flatten() {
            if !(1..=LONGEST_PURPOSE).contains(&purpose.trim().chars().count()) {
                return Err(PolicyRefused::Purpose(self.name.clone()));
            }
        }
        let is_development = environment == Environment::Development;
        let written = name.trim_end_matches('*').len();
        let is_prefixed = name.starts_with("__") && pattern.plain().len() < written;
        let secure = self.secure.unwrap_or(!is_development || is_prefixed);
        let same_site = match self.same_site {
            SameSite::None if is_development && self.secure.is_none() && !secure => SameSite::Lax,
            same_site => same_site,
        };
        let attributes = Attributes {
            secure,
            http_only: self.http_only,
            same_site,
            path: self.path.clone().into(),
            domain: self.domain.clone(),
            max_age: self.life,
        };
        // A beginning of names has the contradictions of the names.
        let cookie = Cookie::new(name, attributes)?;
        let domain = self.domain.clone().filter(|_| !is_development);
        Ok(Row {
            name: pattern,
            category: self.category,
            purpose: Words {
                en: english.clone().into(),
                ja: japanese.as_ref().unwrap_or(english).clone().into(),
            },
            set_by: self.set_by,
            life: self.life,
            attributes: Attributes { domain, ..cookie.attributes().clone() },
        })
    }
}
