//! Sending a browser back to a client: by its address, or by a form that it posts there (OAuth 2.0
//! Form Post Response Mode §2).

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use tegata_oauth::Redirect;

use super::{Frame, Trouble, render, see_other};
use crate::{app::App, messages::Lang, refusals};

#[derive(Template)]
#[template(path = "form_post.html")]
struct Page<'a> {
    frame: &'a Frame,
    action: &'a str,
    fields: &'a [(String, String)],
}

/// Sends the browser to where an answer goes, with what it carries.
///
/// # Errors
/// [`Trouble::Malformed`] where the address cannot be in a header.
pub(crate) fn back(app: &App, lang: Lang, redirect: &Redirect) -> Result<Response, Trouble> {
    let response = sent(app, lang, redirect)?;
    Ok(match redirect.error() {
        Some(error) => refusals::named(response, error),
        None => response,
    })
}

fn sent(app: &App, lang: Lang, redirect: &Redirect) -> Result<Response, Trouble> {
    let Some(fields) = redirect.fields() else { return see_other(redirect.address()) };
    let frame = Frame::new(app, lang, None);
    let action = redirect.address();
    let page = Page { frame: &frame, action, fields };
    // The policy lets the form lead to the client's origin and run this answer's script alone.
    Ok(render(StatusCode::OK, &page, &frame, Some(action)))
}
