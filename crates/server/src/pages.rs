//! What people see. Every page is rendered here, works without scripts, and loads nothing from
//! elsewhere but the logo of a client.

use askama::Template;
use axum::{
    extract::{FromRequestParts, State},
    response::{Html, IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use tegata_core::StoreError;
use tegata_oauth::{
    Client,
    redirect::{RedirectUri, with_query},
};

use crate::{
    app::App,
    caller::Caller,
    form::{self, Fields},
    headers,
    messages::{Lang, Messages},
    problem::Problem,
    refusals,
};

pub(crate) mod assets;
pub(crate) mod back;
pub(crate) mod by_link;
pub(crate) mod by_mail;
pub(crate) mod console;
pub(crate) mod device;
mod enrol;
pub(crate) mod held;
pub(crate) mod home;
pub(crate) mod login;
pub(crate) mod mail;
pub(crate) mod presence;
mod qr;
pub(crate) mod sdk;
mod second;
pub(crate) mod security;
pub(crate) mod trouble;

pub(crate) use trouble::Trouble;

/// Somebody who comes for a page: who, and which language they read.
pub(crate) struct Visit {
    pub(crate) caller: Caller,
    query: String,
    accept_language: Option<String>,
}

impl FromRequestParts<App> for Visit {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let caller = Caller::from_request_parts(parts, app).await?;
        let language = parts.headers.get(header::ACCEPT_LANGUAGE);
        Ok(Self {
            caller,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            accept_language: language.and_then(|it| it.to_str().ok()).map(str::to_owned),
        })
    }
}

impl Visit {
    /// What stands in the query.
    ///
    /// # Errors
    /// [`Trouble::Malformed`].
    pub(crate) fn query(&self) -> Result<Fields, Trouble> {
        form::decode(self.query.as_bytes())
            .map_err(|_| Trouble::Malformed("the query of the request is malformed"))
    }

    /// The language of the answer: the one that was chosen on a page, or the first that the
    /// request's client asks for, or the browser's.
    pub(crate) fn lang(&self, chosen: Option<&str>, ui_locales: &[String]) -> Lang {
        chosen
            .and_then(Lang::of_tag)
            .or_else(|| Lang::first_of(ui_locales.iter().map(String::as_str)))
            .or_else(|| self.accept_language.as_deref().and_then(Lang::of_header))
            .unwrap_or(Lang::En)
    }

    /// The language chosen in the query, where there is one.
    fn chosen(&self) -> Option<Lang> {
        self.query().ok().and_then(|query| query.one("lang").and_then(Lang::of_tag))
    }

    /// The answer, or the page that says why there is none.
    pub(crate) fn answer(&self, app: &App, answer: Result<Response, Trouble>) -> Response {
        answer.unwrap_or_else(|trouble| {
            let lang = self.lang(self.chosen().map(Lang::tag), &[]);
            trouble.page(app, lang)
        })
    }
}

/// What all pages have around what they say.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) lang: Lang,
    /// The words.
    pub(crate) m: &'static Messages,
    /// Whose pages they are.
    pub(crate) brand: String,
    /// Where the style sheet is.
    pub(crate) style: String,
    /// The operator's style sheet, which comes after it.
    pub(crate) theme: Option<String>,
    /// Where the script is.
    pub(crate) script: String,
    /// Where the script of pages is that ask for a passkey.
    pub(crate) passkey: String,
    /// The domain of passkeys, where there are any.
    pub(crate) party: Option<String>,
    /// Lets the scripts of this answer run.
    pub(crate) nonce: String,
    /// The other languages: tag, name, and this page in it.
    pub(crate) others: Vec<(&'static str, &'static str, String)>,
    /// Where the banner is that asks which cookies somebody agrees to, where it does.
    pub(crate) banner: Option<&'static str>,
    /// The CSRF token of the session, for scripts.
    pub(crate) csrf: Option<String>,
}

impl Frame {
    /// The frame of the page at `here`: its path, and the parameters to come back to it.
    pub(crate) fn new(app: &App, lang: Lang, here: Option<(&str, &[(&str, &str)])>) -> Self {
        let mut bytes = [0_u8; 16];
        app.node().entropy().fill(&mut bytes);
        let others = here.map_or_else(Vec::new, |(path, parameters)| {
            let others = Lang::ALL.into_iter().filter(|other| *other != lang);
            let link = |other: Lang| {
                let all = [parameters, &[("lang", other.tag())]].concat();
                (other.tag(), other.name(), with_query(path, &all))
            };
            others.map(link).collect()
        });
        Self {
            lang,
            m: lang.messages(),
            brand: app.config().appearance.brand.clone(),
            style: app.assets().style(),
            theme: app.assets().theme(),
            script: app.assets().script(),
            passkey: app.assets().passkey(),
            party: app.second_factors().party().map(|party| party.id().to_owned()),
            nonce: URL_SAFE_NO_PAD.encode(bytes),
            others,
            banner: app.config().asks_for_cookies.then_some(assets::BANNER_PATH),
            csrf: None,
        }
    }
}

/// A client, as people are shown it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// What it is called: where nobody registered it, the host that it is at, for whatever it calls
    /// itself is its own word.
    pub(crate) name: String,
    /// That word.
    pub(crate) claimed: Option<String>,
    pub(crate) logo: Option<String>,
    pub(crate) policy: Option<String>,
    pub(crate) terms: Option<String>,
}

impl Shown {
    pub(crate) fn of(client: &Client) -> Self {
        let (name, claimed) = match client.host() {
            Some(host) => (host, Some(client.name.clone())),
            None => (client.name.clone(), None),
        };
        Self {
            name,
            claimed,
            logo: client.logo_uri.clone(),
            policy: client.policy_uri.clone(),
            terms: client.tos_uri.clone(),
        }
    }

    /// What stands where the logo would.
    pub(crate) fn initial(&self) -> String {
        self.name.chars().next().map(|c| c.to_uppercase().collect()).unwrap_or_default()
    }
}

/// Renders a page. `redirect_uri` is where its form may lead in the end.
pub(crate) fn render(
    status: StatusCode,
    page: &impl Template,
    frame: &Frame,
    redirect_uri: Option<&str>,
) -> Response {
    let Ok(html) = page.render() else {
        tracing::error!("a page could not be rendered");
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, Html(html)).into_response();
    let map = response.headers_mut();
    headers::no_store(map);
    let policy = content_security_policy(&frame.nonce, redirect_uri);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        map.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    map.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(frame.lang.tag()));
    map.insert(header::VARY, HeaderValue::from_static("Accept-Language, Cookie"));
    let permissions = HeaderValue::from_static("camera=(), geolocation=(), microphone=()");
    map.insert(HeaderName::from_static("permissions-policy"), permissions);
    response
}

/// The policy of a page. Browsers apply `form-action` to the redirects that follow a form, too, so
/// the client's own origin is added where a form leads there.
fn content_security_policy(nonce: &str, redirect_uri: Option<&str>) -> String {
    let target = redirect_uri.and_then(form_target).map(|it| format!(" {it}")).unwrap_or_default();
    format!(
        "default-src 'self'; script-src 'self' 'nonce-{nonce}'; style-src 'self'; \
         img-src 'self' data: https:; connect-src 'self'; object-src 'none'; base-uri 'none'; \
         frame-ancestors 'none'; form-action 'self'{target}"
    )
}

/// A redirect URI as a source expression (CSP Level 3 §2.3.1), which knows no IPv6 addresses.
fn form_target(redirect_uri: &str) -> Option<String> {
    let (scheme, _) = redirect_uri.split_once(':')?;
    let origin = RedirectUri::origin(redirect_uri).filter(|origin| !origin.contains('['));
    let target = origin.unwrap_or_else(|| format!("{scheme}:"));
    // Registered URIs have no such characters: nothing can be added to the policy.
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, ';' | ',' | '\'');
    Some(target).filter(|target| target.chars().all(plain))
}

/// Sends the browser on with `GET`, whatever it came with (RFC 9700 §4.12: never 307).
pub(crate) fn see_other(address: &str) -> Result<Response, Trouble> {
    let location = HeaderValue::from_str(address)
        .map_err(|_| Trouble::Malformed("the address to return to cannot be in a header"))?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    headers::no_store(response.headers_mut());
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// Sends the browser to the sign-in page: nobody is signed in who could have what was asked for.
pub(crate) fn to_sign_in() -> Result<Response, Trouble> {
    Ok(refusals::named(see_other("/login")?, "login_required"))
}

/// Whatever path is not there: a page for people, a problem for programs.
pub(crate) async fn not_found(
    State(app): State<App>,
    visit: Visit,
    headers: HeaderMap,
) -> Response {
    let accepted = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    if accepted.is_some_and(|accepted| accepted.contains("text/html")) {
        visit.answer(&app, Err(Trouble::NotFound))
    } else {
        Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address").into_response()
    }
}

/// Something is away that is needed, for whoever asked from a page.
pub(crate) fn away(app: &App, headers: &HeaderMap, error: StoreError) -> Response {
    let language = headers.get(header::ACCEPT_LANGUAGE).and_then(|it| it.to_str().ok());
    Trouble::Store(error).page(app, language.and_then(Lang::of_header).unwrap_or(Lang::En))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_may_lead_to_the_client_and_nowhere_else() {
        for (uri, target) in [
            ("https://app.example/callback?x=1", "https://app.example"),
            ("https://app.example:8443/callback", "https://app.example:8443"),
            ("http://127.0.0.1:9999/callback", "http://127.0.0.1:9999"),
            ("http://[::1]:9999/callback", "http:"),
            ("com.example.app:/callback", "com.example.app:"),
        ] {
            assert_eq!(form_target(uri).as_deref(), Some(target));
        }
        assert_eq!(form_target("https://a.example;script-src *"), None);
        assert_eq!(form_target("https://a.example 'unsafe-inline'"), None);
    }
}
