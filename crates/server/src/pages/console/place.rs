//! The pages of the console, and their addresses.

use axum::response::Response;
use tegata_oauth::redirect::with_query;

use crate::{
    admin::{decoded, encoded},
    form::Fields,
    messages::{Lang, console::Words},
    pages::{Trouble, see_other},
};

/// The parameter, and the field, that says to which page of the console somebody goes on who signs in.
pub(crate) const FIELD: &str = "console";

/// The longest name in an address.
const LONGEST: usize = 2048;

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Sessions,
    Users,
    User(String),
    Clients,
    Client(String),
    Keys,
    ApiKeys,
    ApiKey(String),
    Revocations,
    Tokens,
    /// The life of one, by its `jti`.
    Token(String),
    Requests,
    /// What became of something that was ordered here. It has no address of its own.
    Order(u64),
}

impl Place {
    /// Those that there are links to, in their order.
    pub(super) const ALL: [Self; 9] = [
        Self::Overview,
        Self::Sessions,
        Self::Users,
        Self::Clients,
        Self::Keys,
        Self::ApiKeys,
        Self::Revocations,
        Self::Tokens,
        Self::Requests,
    ];

    /// The page that two parts of an address name.
    pub(super) fn read(page: &str, id: Option<&str>) -> Option<Self> {
        if id.is_some_and(|id| id.is_empty() || id.len() > LONGEST) {
            return None;
        }
        Some(match (page, id) {
            ("overview", None) => Self::Overview,
            ("sessions", None) => Self::Sessions,
            ("users", None) => Self::Users,
            ("users", Some(id)) => Self::User(id.to_owned()),
            ("clients", None) => Self::Clients,
            ("clients", Some(id)) => Self::Client(id.to_owned()),
            ("keys", None) => Self::Keys,
            ("api-keys", None) => Self::ApiKeys,
            ("api-keys", Some(id)) => Self::ApiKey(id.to_owned()),
            ("revocations", None) => Self::Revocations,
            ("tokens", None) => Self::Tokens,
            ("tokens", Some(jti)) => Self::Token(jti.to_owned()),
            ("requests", None) => Self::Requests,
            ("orders", Some(id)) => Self::Order(id.parse().ok()?),
            _ => return None,
        })
    }

    /// The page at this address. Nothing else that somebody could be sent to.
    fn of_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/console")?;
        let mut parts = rest.strip_prefix('/').unwrap_or(rest).split('/');
        let page = parts.next().filter(|page| !page.is_empty()).unwrap_or("overview");
        let id = parts.next().map(decoded);
        let is_whole = parts.next().is_none() && (rest.is_empty() || rest.starts_with('/'));
        let place = match id {
            // Nobody has no name.
            Some(id) => Self::read(page, Some(id?.as_str()).filter(|id| !id.is_empty())?.into()),
            None => Self::read(page, None),
        };
        place.filter(|it| is_whole && !matches!(it, Self::Order(_)))
    }

    /// Its parts.
    pub(super) fn parts(&self) -> (&'static str, Option<String>) {
        match self {
            Self::Overview => ("overview", None),
            Self::Sessions => ("sessions", None),
            Self::Users => ("users", None),
            Self::User(id) => ("users", Some(id.clone())),
            Self::Clients => ("clients", None),
            Self::Client(id) => ("clients", Some(id.clone())),
            Self::Keys => ("keys", None),
            Self::ApiKeys => ("api-keys", None),
            Self::ApiKey(id) => ("api-keys", Some(id.clone())),
            Self::Revocations => ("revocations", None),
            Self::Tokens => ("tokens", None),
            Self::Token(jti) => ("tokens", Some(jti.clone())),
            Self::Requests => ("requests", None),
            Self::Order(order) => ("orders", Some(order.to_string())),
        }
    }

    /// Its address.
    pub(crate) fn path(&self) -> String {
        match self.parts() {
            ("overview", _) => "/console".to_owned(),
            (page, Some(id)) => format!("/console/{page}/{}", encoded(&id)),
            (page, None) => format!("/console/{page}"),
        }
    }

    /// What its heading says, where it is a page of many.
    pub(super) const fn title(&self, w: &Words) -> &'static str {
        match self {
            Self::Overview => w.overview,
            Self::Sessions => w.sessions,
            Self::Users | Self::User(_) => w.users,
            Self::Clients | Self::Client(_) => w.clients,
            Self::Keys => w.keys,
            Self::ApiKeys | Self::ApiKey(_) => w.api_keys,
            Self::Revocations | Self::Order(_) => w.revocations,
            Self::Tokens | Self::Token(_) => w.traces,
            Self::Requests => w.requests,
        }
    }

    /// Whether a link to `other` is the one to this page, or to the page that it is part of.
    pub(super) fn is_under(&self, other: &Self) -> bool {
        self.parts().0 == other.parts().0
    }
}

/// The address of the console that a sign-in leads back to, where its form names one.
pub(crate) fn back(fields: &Fields) -> Option<String> {
    Some(place(fields.one(FIELD)?)?.path())
}

/// Sends somebody on to a page of the console.
pub(crate) fn onward(page: &str, lang: Option<&str>) -> Result<Response, Trouble> {
    let lang = lang.and_then(Lang::of_tag).map(|lang| ("lang", lang.tag()));
    see_other(&with_query(page, lang.as_slice()))
}

/// The page at an address.
pub(super) fn place(path: &str) -> Option<Place> {
    Place::of_path(path)
}

/// How a list is narrowed, and which piece of it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Narrowed {
    pub(super) search: Option<String>,
    pub(super) user: Option<String>,
    pub(super) client: Option<String>,
    pub(super) cursor: Option<String>,
}

impl Narrowed {
    pub(super) fn read(query: &Fields) -> Self {
        let text = |name| {
            let text = query.one(name).map(str::trim);
            text.filter(|text| !text.is_empty() && text.len() <= LONGEST).map(str::to_owned)
        };
        Self {
            search: text("q"),
            user: text("user"),
            client: text("client"),
            cursor: text("cursor"),
        }
    }

    /// The same as parameters.
    pub(super) fn parameters(&self) -> Vec<(&'static str, &str)> {
        let all = [
            ("q", &self.search),
            ("user", &self.user),
            ("client", &self.client),
            ("cursor", &self.cursor),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?))).collect()
    }
}

/// Where the events of a page come from.
pub(super) fn stream(place: &Place, narrowed: &Narrowed, lang: &str) -> String {
    let (page, id) = place.parts();
    let mut all = vec![("page", page)];
    all.extend(id.as_deref().map(|id| ("id", id)));
    all.extend(narrowed.parameters());
    all.push(("lang", lang));
    with_query("/console/events", &all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_leads_back_to_the_page_that_has_it_and_nowhere_else() {
        for place in [
            Place::Overview,
            Place::Users,
            Place::User("usr_1".to_owned()),
            Place::Client("https://app.example/a b?c".to_owned()),
            Place::Keys,
            Place::ApiKeys,
            Place::ApiKey("Zk3vQ0aB".to_owned()),
            Place::Tokens,
            Place::Token("1.20780.a/b <c>".to_owned()),
        ] {
            assert_eq!(Place::of_path(&place.path()), Some(place));
        }
        for elsewhere in [
            "",
            "/",
            "//evil.example",
            "https://evil.example/console",
            "/consoles",
            "/console/",
            "/console//evil.example",
            "/console/users/a/b",
            "/console/orders/1",
            "/console/../login",
            "/console/events",
            "/console/users/",
            "/console/users/%zz",
            "/console?x",
            "/console/nothing",
            &format!("/console/tokens/{}", "a".repeat(LONGEST + 1)),
        ] {
            let at = Place::of_path(elsewhere);
            assert!(at.is_none() || elsewhere == "/console/", "{elsewhere}: {at:?}");
        }
    }
}
