//! Why somebody is not shown the page that they came for, and the page that says so.

use std::{borrow::Cow, time::Duration};

use askama::Template;
use axum::response::Response;
use http::{StatusCode, header};
use tegata_core::StoreError;
use tegata_oauth::{NotAuthorized, NotDescribed, Refused, Unsafe};

use super::{Frame, render, see_other};
use crate::{app::App, body::Unreadable, messages::Lang, problem::whole_secs, refusals};

/// Why somebody is not shown the page that they came for.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The client that sent them is not known.
    Client,
    /// The client that sent them describes itself, and is not taken.
    Described(NotDescribed),
    /// The client wants them sent to an address that is not registered for it.
    RedirectUri,
    /// The request cannot be read; the text is for developers.
    Malformed(&'static str),
    /// What they sent cannot be read.
    Unreadable(Unreadable),
    /// The authorization request has waited too long, or has been answered.
    Expired,
    /// The form was not sent by our page.
    Foreign,
    /// The form was made by a page of a version before this one, which the session had. Nothing is done; the
    /// page at this address has the form as it is now.
    Again(String),
    /// A program asked for a page that is shown in a window alone: a script, a frame, or a service worker
    /// that stands before it.
    NoWindow,
    /// There is no such page.
    NotFound,
    /// They asked too often, and may again after this.
    TooMany(Duration),
    /// The store did not answer.
    Store(StoreError),
}

#[derive(Template)]
#[template(path = "trouble.html")]
struct Page<'a> {
    frame: &'a Frame,
    text: &'static str,
    /// What the developers of a client look for, in English whatever the language.
    detail: Option<Cow<'static, str>>,
}

/// What developers look for whose page is not shown.
const NO_WINDOW: &str = "not a navigation of a window (Sec-Fetch-Dest, Sec-Fetch-Mode): a service worker must \
                         not answer for /login, /oauth2 and /api/auth";

impl Trouble {
    /// The page that says so.
    pub(super) fn page(&self, app: &App, lang: Lang) -> Response {
        let m = lang.messages();
        if let Self::Again(address) = self
            && let Ok(response) = see_other(address)
        {
            return refusals::named(response, "form_outdated");
        }
        let (status, text, detail) = match self {
            Self::Client => {
                (StatusCode::BAD_REQUEST, m.unknown_client, Some("unknown client_id".into()))
            }
            Self::Described(why) if why.is_passing() => {
                (StatusCode::SERVICE_UNAVAILABLE, m.client_away, Some(why.to_string().into()))
            }
            Self::Described(why) => {
                (StatusCode::BAD_REQUEST, m.client_not_taken, Some(why.to_string().into()))
            }
            Self::RedirectUri => {
                (StatusCode::BAD_REQUEST, m.invalid_redirect, Some("invalid redirect_uri".into()))
            }
            Self::Malformed(why) => (StatusCode::BAD_REQUEST, m.malformed, Some((*why).into())),
            Self::Unreadable(why) => (why.status(), m.malformed, Some(why.text().into())),
            Self::Expired => (StatusCode::BAD_REQUEST, m.request_expired, None),
            Self::Foreign | Self::Again(_) => (StatusCode::FORBIDDEN, m.foreign_form, None),
            // The person cannot know what a service worker is; whoever wrote it can.
            Self::NoWindow => (StatusCode::FORBIDDEN, m.no_window, Some(NO_WINDOW.into())),
            Self::NotFound => (StatusCode::NOT_FOUND, m.not_found, None),
            Self::TooMany(_) => (StatusCode::TOO_MANY_REQUESTS, m.too_many_requests, None),
            Self::Store(error) => {
                tracing::warn!(%error, "the store did not answer");
                match error.retry_after() {
                    Some(_) => (StatusCode::SERVICE_UNAVAILABLE, m.away, None),
                    None => (StatusCode::INTERNAL_SERVER_ERROR, m.defect, None),
                }
            }
        };
        let frame = Frame::new(app, lang, None);
        let page = Page { frame: &frame, text, detail };
        let mut response = render(status, &page, &frame, None);
        let wait = match self {
            Self::Store(error) => error.retry_after(),
            Self::TooMany(wait) => Some(*wait),
            _ => None,
        };
        if let Some(wait) = wait {
            response.headers_mut().insert(header::RETRY_AFTER, whole_secs(wait).into());
        }
        response
    }
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Unreadable> for Trouble {
    fn from(unreadable: Unreadable) -> Self {
        Self::Unreadable(unreadable)
    }
}

impl From<Unsafe> for Trouble {
    fn from(why: Unsafe) -> Self {
        match why {
            Unsafe::Client => Self::Client,
            Unsafe::Described(why) => Self::Described(why),
            Unsafe::RedirectUri => Self::RedirectUri,
            Unsafe::Malformed(why) => Self::Malformed(why),
            Unsafe::Expired => Self::Expired,
        }
    }
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::OAuth(error) => Self::Malformed(error.description),
            Refused::Store(error) => Self::Store(error),
        }
    }
}

/// Where an authorization request that was refused leads: back to its client, or to a page.
pub(crate) fn back_or_page(refused: NotAuthorized) -> Result<tegata_oauth::Redirect, Trouble> {
    match refused {
        NotAuthorized::Page(why) => Err(why.into()),
        NotAuthorized::Redirect(redirect) => Ok(redirect),
        NotAuthorized::Refused(refused) => Err(refused.into()),
    }
}
