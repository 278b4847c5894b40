//! The policy of cookies: one table of all that an installation knows, with what each is for, who sets
//! it, how long it is kept, and whether somebody must agree to it first.
//!
//! A name stands in the table once. Where it is written out it counts before a beginning such as
//! `utm_*`, and a longer beginning before a shorter one.

use std::{borrow::Cow, collections::HashMap, time::Duration};

use serde::Deserialize;

use crate::cookie::{Attributes, Contradiction, Cookie, CookieTable, Environment};

mod builtin;
mod category;
mod declared;
mod expiry;
mod filter;
mod pattern;
mod refused;
mod words;

pub use category::{Agreed, Category};
pub use declared::Declared;
pub use filter::CookieFilter;
pub use pattern::Pattern;
pub use refused::PolicyRefused;

pub(crate) use crate::cookie::is_token_byte as is_name_byte;

/// Who sets a cookie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setter {
    /// Tegata itself.
    #[serde(skip)]
    Tegata,
    /// A service behind the gateway.
    #[default]
    Service,
    /// A script in the page, often somebody else's. No gateway sees it do so.
    Script,
}

/// A text in the languages of the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    /// In English.
    pub en: Cow<'static, str>,
    /// In Japanese.
    pub ja: Cow<'static, str>,
}

/// A line of the table: one cookie, or all whose names begin in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it is called.
    pub name: Pattern,
    /// What it is for, in one word.
    pub category: Category,
    /// What it is for.
    pub purpose: Words,
    /// Who sets it.
    pub set_by: Setter,
    /// For how long whoever sets it wants it kept. `None`: until the browser closes. Browsers keep
    /// nothing for longer than 400 days.
    pub life: Option<Duration>,
    /// The attributes that it is set with, and that take it away.
    pub attributes: Attributes,
}

/// What becomes of cookies that the table does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unknown {
    /// They pass.
    #[default]
    Pass,
    /// They go no further.
    Strip,
}

/// What makes a policy, beside the cookies of our own.
#[derive(Debug, Clone)]
pub struct PolicyRules {
    /// Where the installation runs.
    pub environment: Environment,
    /// The parent domain that cookies are shared on.
    pub domain: Option<String>,
    /// Cookies beside the built-in ones.
    pub declared: Vec<Declared>,
    /// Built-in cookies that the installation does not have.
    pub without: Vec<String>,
    /// Whether functional cookies need consent, too.
    pub require_functional: bool,
    /// What becomes of cookies that the table does not know.
    pub unknown: Unknown,
    /// Which version of the policy people agree to. What they said to another counts no more.
    pub version: u32,
    /// Where the privacy notice is.
    pub notice: Option<String>,
}

/// The table.
#[derive(Debug, Clone)]
pub struct CookiePolicy {
    rows: Vec<Row>,
    /// Where the rows that name one cookie are.
    exact: HashMap<Vec<u8>, usize>,
    /// Where the others are, the longest first.
    starts: Vec<usize>,
    require_functional: bool,
    /// Whether the installation declared a cookie that needs consent.
    declares: bool,
    unknown: Unknown,
    version: u32,
    notice: Option<String>,
}

impl CookiePolicy {
    /// The policy by these rules, with our own cookies as `table` has them.
    ///
    /// # Errors
    /// [`PolicyRefused`].
    pub fn new(table: &CookieTable, rules: &PolicyRules) -> Result<Self, PolicyRefused> {
        let domain = rules.domain.as_deref();
        let own = builtin::own(table);
        let known = builtin::known(rules.environment, domain);
        check_without(&rules.without)?;
        let kept = known
            .into_iter()
            .filter(|row| !rules.without.iter().any(|name| name == row.name.as_str()));
        let mut policy = Self {
            rows: Vec::new(),
            exact: HashMap::new(),
            starts: Vec::new(),
            require_functional: rules.require_functional,
            declares: false,
            unknown: rules.unknown,
            version: check_version(rules.version)?,
            notice: rules.notice.clone(),
        };
        if let Some(notice) = rules.notice.as_deref().filter(|notice| !is_address(notice)) {
            return Err(PolicyRefused::Notice(notice.to_owned()));
        }
        for row in own.into_iter().chain(kept) {
            policy.add(row)?;
        }
        for declared in &rules.declared {
            let row = declared.row(rules.environment)?;
            if declared.environments.contains(&rules.environment) {
                policy.declares |= policy.needs_consent(row.category);
                policy.add(row)?;
            }
        }
        policy.rows.sort_by_key(|row| row.category);
        policy.index();
        Ok(policy)
    }

    /// All rows, by category.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The rows of a category.
    pub fn of(&self, category: Category) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.category == category)
    }

    /// Whether somebody must agree to cookies of this category.
    #[must_use]
    pub const fn needs_consent(&self, category: Category) -> bool {
        match category {
            Category::Essential => false,
            Category::Functional => self.require_functional,
            Category::Analytics | Category::Marketing => true,
        }
    }

    /// Whether cookies of this category may be used by whoever agreed to so much.
    #[must_use]
    pub const fn allows(&self, category: Category, agreed: Agreed) -> bool {
        !self.needs_consent(category) || agreed.has(category)
    }

    /// What of a choice counts: what needs no consent is not agreed to.
    #[must_use]
    pub fn counted(&self, agreed: Agreed) -> Agreed {
        agreed
            .categories()
            .filter(|category| self.needs_consent(*category))
            .fold(Agreed::NOTHING, Agreed::with)
    }

    /// Whether there is something that people could be asked.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.rows.iter().any(|row| self.needs_consent(row.category))
    }

    /// Whether the installation itself declared something that people must be asked.
    #[must_use]
    pub const fn declares(&self) -> bool {
        self.declares
    }

    /// Which version people agree to.
    #[must_use]
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// Where the privacy notice is.
    #[must_use]
    pub fn notice(&self) -> Option<&str> {
        self.notice.as_deref()
    }

    /// The line of a cookie, by whatever a server could take its name for. `None`: the table does not
    /// know it.
    #[must_use]
    pub fn row(&self, name: &[u8]) -> Option<&Row> {
        self.row_of(&pattern::plain(name))
    }

    /// The same of a name as it is compared.
    fn row_of(&self, plain: &[u8]) -> Option<&Row> {
        let starts = || {
            let rows = self.starts.iter().filter_map(|at| self.rows.get(*at));
            rows.into_iter().find(|row| row.name.matches(plain))
        };
        self.exact.get(plain).and_then(|at| self.rows.get(*at)).or_else(starts)
    }

    /// Whether a cookie may pass for whoever agreed to so much.
    #[must_use]
    pub fn passes(&self, name: &[u8], agreed: Agreed) -> bool {
        self.passes_plain(&pattern::plain(name), agreed)
    }

    /// The same of a name as it is compared.
    pub(super) fn passes_plain(&self, plain: &[u8], agreed: Agreed) -> bool {
        match self.row_of(plain) {
            Some(row) => self.allows(row.category, agreed),
            None => self.unknown == Unknown::Pass,
        }
    }

    fn add(&mut self, row: Row) -> Result<(), PolicyRefused> {
        let same = |other: &&Row| {
            other.name.plain() == row.name.plain()
                && other.name.name().is_some() == row.name.name().is_some()
        };
        match self.rows.iter().find(same) {
            None => {
                self.rows.push(row);
                Ok(())
            }
            Some(own) if own.set_by == Setter::Tegata => {
                Err(PolicyRefused::Ours(row.name.as_str().to_owned()))
            }
            Some(other) => Err(PolicyRefused::Twice {
                name: other.name.as_str().to_owned(),
                one: other.category,
                other: row.category,
            }),
        }
    }

    fn index(&mut self) {
        let plain = |at: &usize| self.rows.get(*at).map_or(0, |row| row.name.plain().len());
        let all = 0..self.rows.len();
        let (exact, mut starts): (Vec<_>, Vec<_>) =
            all.partition(|at| self.rows.get(*at).is_some_and(|row| row.name.name().is_some()));
        starts.sort_by_key(|at| std::cmp::Reverse(plain(at)));
        self.exact = exact
            .into_iter()
            .filter_map(|at| Some((self.rows.get(at)?.name.plain().to_vec(), at)))
            .collect();
        self.starts = starts;
    }
}

impl Row {
    /// A cookie of this name and domain with the other attributes of the row.
    ///
    /// # Errors
    /// [`Contradiction`]: browsers have no such cookie.
    pub fn cookie(&self, name: &str, domain: Option<String>) -> Result<Cookie, Contradiction> {
        Cookie::new(name, Attributes { domain, max_age: None, ..self.attributes.clone() })
    }
}

impl Setter {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tegata => "tegata",
            Self::Service => "service",
            Self::Script => "script",
        }
    }
}

impl Words {
    const fn fixed((en, ja): (&'static str, &'static str)) -> Self {
        Self { en: Cow::Borrowed(en), ja: Cow::Borrowed(ja) }
    }
}

impl PolicyRules {
    /// The built-in table of an environment.
    #[must_use]
    pub const fn of(environment: Environment) -> Self {
        Self {
            environment,
            domain: None,
            declared: Vec::new(),
            without: Vec::new(),
            require_functional: false,
            unknown: Unknown::Pass,
            version: 1,
            notice: None,
        }
    }
}

fn check_without(names: &[String]) -> Result<(), PolicyRefused> {
    match names.iter().find(|name| !builtin::names().any(|known| known == name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let known: Vec<_> = builtin::names().map(|name| format!("`{name}`")).collect();
            Err(PolicyRefused::NotKnown { name: name.clone(), known: known.join(", ") })
        }
    }
}

const fn check_version(version: u32) -> Result<u32, PolicyRefused> {
    if version == 0 { Err(PolicyRefused::Version) } else { Ok(version) }
}

/// Whether a page can link to this: a path of its own origin, or an `https` address.
fn is_address(text: &str) -> bool {
    let is_path = text.starts_with('/') && !text.starts_with("//") && !text.contains('\\');
    let is_web = text.strip_prefix("https://").is_some_and(|rest| {
        rest.starts_with(|first: char| first.is_ascii_alphanumeric() || first == '[')
    });
    (is_path || is_web)
        && text.len() <= 2048
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>'))
}

#[cfg(test)]
mod tests;
