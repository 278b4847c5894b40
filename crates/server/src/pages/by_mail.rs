//! `GET` and `POST /login/link`: signing in by a mail, in the browser that asked for it. Its code is bound
//! to the cookie of the form, so whoever has the code and another browser has nothing.

use askama::Template;
use aws_lc_rs::digest;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_identity::{Letters, Refused, Wish};
use tegata_session::CookieName;

use super::{
    Frame, Trouble, Visit, device, enrol,
    login::{self, Again, Asked, form_cookie, rendered},
    mail::{count, is_ours, locale},
    second,
};
use crate::{app::App, body, caller::Caller, form::Fields, proving::Entry};

#[derive(Template)]
#[template(path = "sign_in_by_mail.html")]
struct Page<'a> {
    frame: &'a Frame,
    csrf: &'a str,
    request: Option<&'a str>,
    device: Option<&'a str>,
    /// The page of the console, for which somebody signs in.
    console: Option<&'a str>,
    /// Whether a mail is on its way.
    ordered: bool,
    problem: Option<&'static str>,
}

/// Shows the page.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Response {
    let answer = async {
        letters(&app)?;
        let fields = visit.query()?;
        let asked = match login::asked(&app, fields.one("request")).await {
            // Whoever follows the link of a mail late signs in all the same.
            Err(Trouble::Expired) => None,
            asked => asked?,
        };
        page(&app, &visit, asked.as_ref(), &fields, false, None)
    };
    visit.answer(&app, answer.await)
}

/// Takes one of its forms.
pub(crate) async fn submit(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request).await)
}

fn letters(app: &App) -> Result<&Letters, Trouble> {
    app.letters().filter(|letters| letters.config().sign_in).ok_or(Trouble::NotFound)
}

async fn take(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    let letters = letters(app)?;
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let asked = login::asked(app, fields.one("request")).await?;
    if !is_ours(app, &visit.caller, &fields) {
        return page(app, visit, asked.as_ref(), &fields, false, Some(&Again::Expired));
    }
    let browser = browser(app, &visit.caller);
    if let Some(account) = fields.one("account") {
        count(app, &visit.caller)?;
        let lang = visit.lang(fields.one("lang"), &[]);
        let onward = onward(asked.as_ref());
        let wish = Wish::SignIn { account: account.to_owned(), browser, onward };
        letters.order(app.realm(), wish, &locale(lang)?, visit.caller.address).await?;
        return page(app, visit, asked.as_ref(), &fields, true, None);
    }
    let code = fields.secret("mail_code");
    match app.sign_in_by_mail(&visit.caller, &browser, &code).await {
        Ok(Entry::In(fresh)) => login::go_on(app, visit, asked.as_ref(), &fields, *fresh).await,
        Ok(Entry::Second(second)) => {
            let of = second::Of::SignIn(&second.token);
            second::page(app, visit, asked.as_ref(), &fields, of, None).await
        }
        Ok(Entry::Enrol(token)) => {
            enrol::page(app, visit, asked.as_ref(), &fields, &token, None).await
        }
        Err(Refused::Store(error)) => Err(error.into()),
        Err(refused) => {
            let again = Again::Refused(refused);
            page(app, visit, asked.as_ref(), &fields, false, Some(&again))
        }
    }
}

/// What somebody signs in for, as the page has it to which the link of the mail leads. The code of a
/// device is not carried on: whoever wants theirs allowed by somebody else would have us send it.
fn onward(asked: Option<&Asked>) -> Vec<(String, String)> {
    asked.map(|asked| ("request".to_owned(), asked.handle.clone())).into_iter().collect()
}

/// What stands for a browser: nothing that could be shown in place of its cookie.
fn browser(app: &App, caller: &Caller) -> String {
    let cookie = caller.cookie(app, CookieName::Csrf).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, cookie.as_bytes()))
}

fn page(
    app: &App,
    visit: &Visit,
    asked: Option<&Asked>,
    fields: &Fields,
    ordered: bool,
    again: Option<&Again>,
) -> Result<Response, Trouble> {
    let lang = visit.lang(fields.one("lang"), &[]);
    let m = lang.messages();
    let cookie = visit.caller.cookie(app, CookieName::Csrf);
    let ticket = app.csrf().of_form(app.realm(), cookie, app.node().entropy())?;
    let frame = Frame::new(app, lang, None);
    let page = Page {
        frame: &frame,
        csrf: ticket.token.as_str(),
        request: asked.map(|asked| asked.handle.as_str()),
        device: fields.one(device::FIELD),
        console: login::console_of(fields),
        ordered,
        problem: again.map(|again| match again {
            Again::Refused(Refused::WrongCode) => m.wrong_mail_code,
            again => again.text(m),
        }),
    };
    let response = rendered(&page, &frame, asked, again);
    Ok((form_cookie(app, &ticket), response).into_response())
}
