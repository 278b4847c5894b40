//! Where a password is not enough for somebody who has nothing else: the page that follows it, on which
//! they set up a second factor. Nobody is signed in before.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tegata_core::Secret;
use tegata_identity::{NewCodes, PasskeyName, Refused};
use tegata_oauth::redirect::with_query;
use tegata_session::CookieName;

use super::{
    Frame, Shown, Trouble, Visit, device, home,
    login::{self, Again, Asked, form_cookie, rendered},
    mail::locale,
    qr::Qr,
    render,
    security::{host, in_groups},
};
use crate::{app::App, form::Fields, messages::Lang, proving::enrolling::Made, signed_in::Fresh};

/// What the form of this page says that it is.
pub(super) const DECISION: &str = "enrol";

#[derive(Template)]
#[template(path = "enrol.html")]
struct Page<'a> {
    frame: &'a Frame,
    client: Option<Shown>,
    request: Option<&'a str>,
    /// The code of a device, for which somebody signs in.
    device: Option<&'a str>,
    /// The page of the console, for which somebody signs in.
    console: Option<&'a str>,
    csrf: &'a str,
    /// What the form must come with.
    token: &'a str,
    qr: Option<Qr>,
    secret: Secret<String>,
    uri: Secret<String>,
    /// What the browser is asked for, where there are passkeys, and how the passkey will be called.
    passkey: Option<(String, String)>,
    /// The page on which somebody begins again.
    another: String,
    problem: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "enrolled.html")]
struct Done<'a> {
    frame: &'a Frame,
    codes: Vec<&'a str>,
    onward: String,
}

/// The form, for whoever has shown a password; `token` is that of their sign-in.
pub(super) async fn page(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    token: &Secret<String>,
    again: Option<&Again>,
) -> Result<Response, Trouble> {
    let offered = match app.offer(&visit.caller, token).await {
        Ok(offered) => offered,
        Err(Refused::Store(error)) => return Err(error.into()),
        Err(refused) => {
            return login::page(app, visit, asked, fields, Some(&Again::Refused(refused)));
        }
    };
    let lang = lang_of(visit, asked, fields);
    let cookie = visit.caller.cookie(app, CookieName::Csrf);
    let ticket = app.csrf().of_form(app.realm(), cookie, app.node().entropy())?;
    // It cannot be had again by a link, and so in no other language.
    let frame = Frame::new(app, lang, None);
    let here = login::purpose(asked, fields);
    let back: Vec<_> =
        here.into_iter().chain([("another", "true"), ("lang", lang.tag())]).collect();
    let name = offered.user.username.as_str();
    let uri = offered.app.secret.to_uri(host(app.provider().issuer()), name);
    let called = home::browser(frame.m, visit.caller.binding.agent);
    let page = Page {
        frame: &frame,
        client: asked.map(|asked| Shown::of(&asked.client)),
        request: asked.map(|asked| asked.handle.as_str()),
        device: fields.one(device::FIELD),
        console: login::console_of(fields),
        csrf: ticket.token.as_str(),
        token: token.expose(),
        qr: Qr::of(uri.expose()),
        secret: in_groups(offered.app.secret.to_base32().expose()),
        uri,
        passkey: offered.passkey.map(|options| (options.to_string(), called)),
        another: with_query("/login", &back),
        problem: again.map(|again| text(again, &frame)),
    };
    let response = rendered(&page, &frame, asked, again);
    Ok((form_cookie(app, &ticket), response).into_response())
}

/// Takes the form, whose CSRF token has been checked.
pub(super) async fn take(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
) -> Result<Response, Trouble> {
    let token = fields.secret("mfa_token");
    let made = match fields.one("credential") {
        Some(_) => {
            let name = PasskeyName::new(fields.one("name").unwrap_or_default());
            Made::Passkey(fields.secret("credential"), name)
        }
        None => Made::Code(fields.secret("code")),
    };
    let lang = locale(lang_of(visit, asked, fields))?;
    match app.sign_in_by_enrolling(&visit.caller, &token, made, lang).await {
        Ok((fresh, codes)) => Ok(done(app, visit, asked, fields, fresh, &codes)),
        Err(Refused::Store(error)) => Err(error.into()),
        Err(refused @ (Refused::WrongCode | Refused::WrongPasskey)) => {
            let again = Again::Refused(refused);
            page(app, visit, asked, fields, &token, Some(&again)).await
        }
        Err(refused) => login::page(app, visit, asked, fields, Some(&Again::Refused(refused))),
    }
}

/// Shows the recovery codes, this once, to whoever is signed in from here on.
fn done(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    fresh: Fresh,
    codes: &NewCodes,
) -> Response {
    app.metrics().issued_access(app.node().since_boot(), fresh.expires_in);
    app.metrics().issued("refresh");
    let lang = lang_of(visit, asked, fields);
    let frame = Frame::new(app, lang, None);
    let mut onward = login::purpose(asked, fields);
    onward.push(("lang", lang.tag()));
    let onward = with_query("/login", &onward);
    let page = Done { frame: &frame, codes: codes.shown().collect(), onward };
    (fresh.cookies, render(StatusCode::OK, &page, &frame, None)).into_response()
}

fn lang_of(visit: &Visit, asked: Option<&Asked>, fields: &Fields) -> Lang {
    let locales = asked.map(|asked| asked.request.ui_locales.as_slice()).unwrap_or_default();
    visit.lang(fields.one("lang"), locales)
}

const fn text(again: &Again, frame: &Frame) -> &'static str {
    match again {
        Again::Refused(Refused::WrongCode) => frame.m.app_code_differs,
        Again::Refused(Refused::WrongPasskey) => frame.m.passkey_failed,
        again => again.text(frame.m),
    }
}
