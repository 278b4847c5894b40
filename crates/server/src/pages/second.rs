//! The second step of the sign-in page: a code or a passkey. It follows the password, or, where a client
//! asks for more than a session has shown, stands alone.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use tegata_core::Secret;
use tegata_identity::Refused;
use tegata_oauth::{Next, Said, redirect::with_query};
use tegata_session::{CookieName, Session};

use super::{
    Frame, Shown, Trouble, Visit, device,
    login::{self, Again, Asked, form_cookie, rendered},
    see_other,
};
use crate::{
    app::App,
    form::Fields,
    proving::{self, NotRaised},
    signed_in::{Cookies, Presence, who},
};

#[derive(Template)]
#[template(path = "second_factor.html")]
struct Page<'a> {
    frame: &'a Frame,
    client: Option<Shown>,
    request: Option<&'a str>,
    /// The code of a device, for which somebody signs in.
    device: Option<&'a str>,
    /// The page of the console, for which somebody signs in.
    console: Option<&'a str>,
    csrf: &'a str,
    /// What the code must come with, where nobody is signed in yet.
    token: Option<&'a str>,
    /// What the browser is asked for, where the person has a passkey.
    passkey: Option<String>,
    /// The page on which somebody begins again.
    another: String,
    problem: Option<&'static str>,
}

/// Of whom a second factor is asked for.
#[derive(Clone, Copy)]
pub(super) enum Of<'a> {
    /// Of whoever has shown the password; this is the token of the sign-in.
    SignIn(&'a Secret<String>),
    /// Of somebody who is signed in; of nobody, where the session is gone.
    Session(Option<&'a Session>),
}

impl<'a> From<&'a Presence> for Of<'a> {
    fn from(presence: &'a Presence) -> Self {
        Self::Session(presence.session())
    }
}

impl Of<'_> {
    /// What the browser is asked for, where there is a passkey.
    async fn options(self, app: &App, visit: &Visit) -> Result<Option<String>, Trouble> {
        let options = match self {
            Self::SignIn(token) => {
                match app.ask_passkey_after(&visit.caller, token.expose()).await {
                    Ok(options) => options,
                    Err(Refused::Store(error)) => return Err(error.into()),
                    // Whatever is shown for it is told so.
                    Err(_) => None,
                }
            }
            Self::Session(Some(session)) => app.ask_passkey_again(session).await?,
            Self::Session(None) => None,
        };
        Ok(options.map(|options| options.to_string()))
    }

    const fn token(&self) -> Option<&str> {
        match self {
            Self::SignIn(token) => Some(token.expose().as_str()),
            Self::Session(_) => None,
        }
    }
}

/// The form for a code.
pub(super) async fn page(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    of: Of<'_>,
    again: Option<&Again>,
) -> Result<Response, Trouble> {
    let locales = asked.map(|asked| asked.request.ui_locales.as_slice()).unwrap_or_default();
    let lang = visit.lang(fields.one("lang"), locales);
    let cookie = visit.caller.cookie(app, CookieName::Csrf);
    let ticket = app.csrf().of_form(app.realm(), cookie, app.node().entropy())?;
    // Another language is a link away only where the page can be had again by a link.
    let here = login::purpose(asked, fields);
    let again_by_link = of.token().is_none();
    let frame = Frame::new(app, lang, again_by_link.then_some(("/login", here.as_slice())));
    let back = [("another", "true"), ("lang", lang.tag())];
    let back: Vec<_> = here.iter().copied().chain(back).collect();
    let page = Page {
        frame: &frame,
        client: asked.map(|asked| Shown::of(&asked.client)),
        request: asked.map(|asked| asked.handle.as_str()),
        device: fields.one(device::FIELD),
        console: login::console_of(fields),
        csrf: ticket.token.as_str(),
        token: of.token(),
        passkey: of.options(app, visit).await?,
        another: with_query("/login", &back),
        problem: again.map(|again| again.text(lang.messages())),
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
    let passkey = fields.one("credential").map(|_| fields.secret("credential"));
    let code = fields.secret("code");
    let token = fields.secret("mfa_token");
    if token.expose().is_empty() {
        let again = passkey.map_or_else(|| proving::Again::Code(code), proving::Again::Passkey);
        return step_up(app, visit, asked, fields, &again).await;
    }
    let entered = match &passkey {
        Some(shown) => app.sign_in_by_passkey_after(&visit.caller, token.expose(), shown).await,
        None => app.sign_in_by_code(&visit.caller, token.expose(), None, &code).await,
    };
    match entered {
        Ok(fresh) => login::go_on(app, visit, asked, fields, fresh).await,
        Err(Refused::Store(error)) => Err(error.into()),
        Err(refused @ (Refused::Over | Refused::InvalidCredentials)) => {
            login::page(app, visit, asked, fields, Some(&Again::Refused(refused)))
        }
        Err(refused) => {
            let again = Again::Refused(refused);
            page(app, visit, asked, fields, Of::SignIn(&token), Some(&again)).await
        }
    }
}

/// A code or a passkey of somebody who is signed in.
async fn step_up(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    again: &proving::Again,
) -> Result<Response, Trouble> {
    let presence = app.presence(&visit.caller).await?;
    let over = || Again::Refused(Refused::Over);
    let Some(session) = presence.session() else {
        let page = login::page(app, visit, asked, fields, Some(&over()))?;
        return Ok((presence.cookies(app), page).into_response());
    };
    // It stands for a second factor, and for no sign-in: what else is asked for comes first.
    if let Some(Asked { handle, request, client }) = asked {
        let (who, said) = (presence.who(), Said::default());
        let next = app.provider().next(request, client, who.as_ref(), said).await?;
        if next != Next::StepUp {
            let lang = visit.lang(fields.one("lang"), &request.ui_locales);
            let page = with_query("/login", &[("request", handle), ("lang", lang.tag())]);
            return Ok((presence.cookies(app), see_other(&page)?).into_response());
        }
    }
    match app.raise(&visit.caller, &session.id, again).await {
        Ok(passage) => {
            let cookies = passage.cookie.iter().fold(Cookies::default(), |cookies, value| {
                cookies.with(app, CookieName::Session, value)
            });
            let onward = login::onward(app, visit, asked, fields, &who(&passage.session)).await?;
            Ok((cookies, onward).into_response())
        }
        Err(NotRaised::Refused(Refused::Store(error))) => Err(error.into()),
        Err(NotRaised::Refused(refused)) => {
            let again = Again::Refused(refused);
            let of = Of::from(&presence);
            let page = page(app, visit, asked, fields, of, Some(&again)).await?;
            Ok((presence.cookies(app), page).into_response())
        }
        Err(NotRaised::Nobody(_) | NotRaised::Second(_)) => {
            login::page(app, visit, asked, fields, Some(&over()))
        }
    }
}
