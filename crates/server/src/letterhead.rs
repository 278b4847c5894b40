//! The words of mail, in each language. A link leads to the issuer, whatever the request was sent to, and
//! carries what it carries behind `#`: browsers keep that to themselves, so it is in no log and no
//! `Referer`, and what looks at links before people do uses nothing up.

use tegata_core::Secret;
use tegata_identity::{
    Letter,
    letters::{Content, Writer, Written},
};
use tegata_oauth::redirect::with_query;

use crate::messages::{Lang, letters::Letters};

/// Writes the mail of an installation.
#[derive(Debug, Clone)]
pub struct Letterhead {
    issuer: String,
}

impl Letterhead {
    /// The mail of this issuer.
    #[must_use]
    pub const fn new(issuer: String) -> Self {
        Self { issuer }
    }

    /// The name by which people know the installation.
    fn host(&self) -> &str {
        let (_, rest) = self.issuer.split_once("://").unwrap_or_default();
        rest.split('/').next().unwrap_or_default()
    }
}

impl Writer for Letterhead {
    fn write(&self, letter: &Letter, link: Option<&Secret<String>>) -> Written {
        let lang = Lang::of_tag(letter.lang.as_str()).unwrap_or(Lang::En);
        let words: &Letters = lang.letters();
        let host = self.host();
        let path = match &letter.content {
            Content::NewAddress { .. } => "address",
            Content::SignIn { .. } => "link",
            _ => "password",
        };
        let shown = link.map(|link| link.expose().as_str()).unwrap_or_default();
        let onward = match &letter.content {
            Content::SignIn { onward, .. } => onward.as_slice(),
            _ => &[],
        };
        let with = onward.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let with: Vec<_> = std::iter::once(("lang", lang.tag())).chain(with).collect();
        let page = with_query(&format!("{}/login/{path}", self.issuer), &with);
        let address = format!("{page}#{shown}");
        let plain =
            |template: &str, name: &str| template.replace("{host}", host).replace("{name}", name);
        let (subject, text) = match &letter.content {
            Content::Reset { username, .. } => {
                (words.reset.0, plain(words.reset.1, username.as_str()))
            }
            Content::SignUp => (words.sign_up.0, plain(words.sign_up.1, "")),
            Content::HasAccount => (words.has_account.0, plain(words.has_account.1, "")),
            Content::NewAddress { username, .. } => {
                (words.new_address.0, plain(words.new_address.1, username.as_str()))
            }
            Content::SignIn { username, .. } => {
                (words.sign_in.0, plain(words.sign_in.1, username.as_str()))
            }
            Content::PasswordChanged { username } => {
                (words.password_changed.0, plain(words.password_changed.1, username.as_str()))
            }
            Content::AddressChanged { username } => {
                (words.address_changed.0, plain(words.address_changed.1, username.as_str()))
            }
            Content::FactorChanged { username, change } => {
                let text = words.factor_changed.1.replace("{what}", words.change(*change));
                (words.factor_changed.0, plain(&text, username.as_str()))
            }
            Content::SignedOut { username, browser } => {
                let text = words.signed_out.1.replace("{what}", &lang.messages().browser(browser));
                (words.signed_out.0, plain(&text, username.as_str()))
            }
        };
        let sign_in = format!("{}/login?lang={}", self.issuer, lang.tag());
        let text = text.replace("{link}", &address).replace("{code}", &in_halves(shown));
        let text = text.replace("{sign_in}", &sign_in);
        Written { to: letter.to.clone(), subject: plain(subject, ""), text: Secret::new(text) }
    }
}

/// A code as people type it.
fn in_halves(code: &str) -> String {
    match code.split_at_checked(5) {
        Some((one, two)) => format!("{one}-{two}"),
        None => code.to_owned(),
    }
}
