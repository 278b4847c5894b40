//! `GET` and `POST /oauth2/authorize` (RFC 6749 §3.1, OpenID Connect Core §3.1.2), and the steps
//! from a request to its answer.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, Method};
use tegata_oauth::{
    AuthorizationRequest, Client, Code, Next, OAuthError, Params, Redirect, Said, SignedIn,
    redirect::with_query,
};
use tegata_session::{CookieName, FormTicket};

use super::strangers::too_many_strangers;
use crate::{
    app::App,
    body,
    caller::Caller,
    form::Fields,
    messages::Lang,
    navigation,
    pages::{
        Trouble, Visit, back::back, login::form_cookie, presence, see_other, trouble::back_or_page,
    },
    refusals,
    signed_in::Cookies,
};

/// Where the browser goes next.
#[derive(Debug)]
pub(crate) enum Step {
    /// To the sign-in page, with this handle of its request.
    SignIn(String),
    /// To the page that asks for a second factor, with this handle of its request.
    SecondFactor(String),
    /// To the consent page, with this handle of its request.
    Consent(String),
    /// Back to the client, with an answer.
    Back(Redirect),
}

pub(crate) async fn authorize(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, answer(&app, &visit, request).await)
}

async fn answer(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    let headers = request.headers().clone();
    let fields = if request.method() == Method::POST {
        let fields = body::fields(app, request).await?;
        if visit.caller.sent(app).is_err() {
            return again_as_get("/oauth2/authorize", fields);
        }
        fields
    } else {
        visit.query()?
    };
    let params = Params::new(fields.into_pairs());
    let params = params.map_err(|error| Trouble::Malformed(error.description))?;
    let named = params.get("client_id").unwrap_or_default();
    if let Some(wait) = too_many_strangers(app, visit.caller.address, named).await? {
        return Err(Trouble::TooMany(wait));
    }
    // Which browser has a pushed request is told by the cookie that its sign-in form has.
    let known = params.get("request_uri").map(|_| {
        let cookie = visit.caller.cookie(app, CookieName::Csrf);
        app.csrf().of_form(app.realm(), cookie, app.node().entropy())
    });
    let known = known.transpose()?;
    let answer = stepped(app, visit, &params, known.as_ref(), &headers).await;
    let cookies = known.map_or_else(Cookies::default, |ticket| form_cookie(app, &ticket));
    // INVARIANT: whoever a pushed request may be bound to by now is told by what, whatever the answer is:
    // else it would be of nobody.
    Ok((cookies, visit.answer(app, answer)).into_response())
}

/// The answer of whoever is known by this, if they have to be.
async fn stepped(
    app: &App,
    visit: &Visit,
    params: &Params,
    known: Option<&FormTicket>,
    headers: &HeaderMap,
) -> Result<Response, Trouble> {
    let read = match known {
        Some(ticket) => {
            app.provider().authorization_request_of(params, ticket.cookie.expose()).await
        }
        None => app.provider().authorization_request(params).await,
    };
    let (request, client) = match read {
        Ok(read) => read,
        Err(refused) => return back(app, visit.lang(None, &[]), &back_or_page(refused)?),
    };
    if !navigation::may_answer_in(app, headers, &request.redirect_uri) {
        return Err(Trouble::NoWindow);
    }
    let presence = app.presence(&visit.caller).await?;
    let who = presence.who();
    let hold = Hold::New(&visit.caller);
    let step = proceed(app, &request, &client, who.as_ref(), Said::default(), hold).await?;
    let lacks = step.lacks();
    let mut answer = step.into_response(app, visit, None)?;
    if let Some(lacks) = lacks {
        answer = refusals::named(answer, lacks);
    }
    Ok((presence.cookies(app), answer).into_response())
}

/// Sends the browser here once more. A form of another site comes without our cookies, which are
/// `SameSite=Lax`; the navigation that follows has them.
pub(crate) fn again_as_get(path: &str, fields: Fields) -> Result<Response, Trouble> {
    let pairs = fields.into_pairs();
    let named: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // Names are encoded like values: they are somebody else's.
    let query: String = url_encoded(&named);
    see_other(&format!("{path}?{query}"))
}

fn url_encoded(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| with_query("", &[("", text)]).split_off(2);
    let encoded = pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    encoded.collect::<Vec<_>>().join("&")
}

/// The request that waits under a handle, and its client.
///
/// # Errors
/// [`Trouble::Expired`]: there is none.
pub(crate) async fn held(
    app: &App,
    handle: &str,
) -> Result<(AuthorizationRequest, Client), Trouble> {
    app.provider().held(handle).await?.ok_or(Trouble::Expired)
}

/// How a request waits for a person.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Hold<'a> {
    /// It is held under this handle.
    Under(&'a str),
    /// It is not held yet; if it must be, it is held for this caller.
    New(&'a Caller),
}

impl Hold<'_> {
    async fn handle(self, app: &App, request: &AuthorizationRequest) -> Result<String, Trouble> {
        let caller = match self {
            Self::Under(handle) => return Ok(handle.to_owned()),
            Self::New(caller) => caller,
        };
        match too_many(app, caller) {
            Some(wait) => Err(Trouble::TooMany(wait)),
            None => Ok(app.provider().hold(request).await?),
        }
    }
}

/// Whether more requests wait for a caller's network than may, and how long that lasts.
fn too_many(app: &App, caller: &Caller) -> Option<Duration> {
    let limits = &app.config().limits;
    let limit = limits.held.filter(|_| limits.count(caller.address))?;
    let now = app.node().since_boot();
    let answer = app.held().count_address(caller.address, |network| network, limit, now);
    (!answer.passes).then_some(answer.wait)
}

/// The same where anybody could be the client: whoever can say that they are a public one, or make one,
/// could fill the store with what they show.
pub(crate) fn too_many_of_anybody(app: &App, caller: &Caller, client: &Client) -> Option<Duration> {
    (client.is_public() || !client.is_declared()).then(|| too_many(app, caller)).flatten()
}

/// The next step of a request.
///
/// # Errors
/// What the store says, and [`Trouble::TooMany`].
pub(crate) async fn proceed(
    app: &App,
    request: &AuthorizationRequest,
    client: &Client,
    who: Option<&SignedIn>,
    said: Said,
    hold: Hold<'_>,
) -> Result<Step, Trouble> {
    let provider = app.provider();
    let settled = match who {
        Some(who) => app.settled(who).await?,
        None => None,
    };
    let who = settled.as_ref();
    let redirect = match provider.next(request, client, who, said).await? {
        Next::SignIn => return Ok(Step::SignIn(hold.handle(app, request).await?)),
        Next::StepUp if has_second_factor(app, who).await? => {
            return Ok(Step::SecondFactor(hold.handle(app, request).await?));
        }
        Next::StepUp => provider.refuse_request(request, &none_to_show()).await?,
        Next::AskConsent => return Ok(Step::Consent(hold.handle(app, request).await?)),
        Next::Refuse(error) => provider.refuse_request(request, &error).await?,
        Next::Answer => match who {
            Some(who) => provider.grant_code(request, client, who).await?,
            None => return Ok(Step::SignIn(hold.handle(app, request).await?)),
        },
    };
    answered(app, request, redirect, hold).await.map(Step::Back)
}

/// An answer that is sent: nothing that was asked waits for another one. What was pushed is used up only
/// now that there is an answer, and by one of those that there are.
///
/// # Errors
/// [`Trouble::Expired`]: another answer was sent.
pub(crate) async fn answered(
    app: &App,
    request: &AuthorizationRequest,
    redirect: Redirect,
    hold: Hold<'_>,
) -> Result<Redirect, Trouble> {
    let may_be_sent = app.provider().use_up(request).await?;
    if let Hold::Under(handle) = hold
        && let Err(error) = app.provider().release(handle).await
    {
        // What was pushed is used up, and there is no other answer to it than this one. The rest ends by
        // itself.
        tracing::warn!(%error, "a request that was answered was not let go of");
    }
    if may_be_sent { Ok(redirect) } else { Err(Trouble::Expired) }
}

/// Whether somebody has a second factor to show.
async fn has_second_factor(app: &App, who: Option<&SignedIn>) -> Result<bool, Trouble> {
    let Some(who) = who else { return Ok(false) };
    Ok(app.second_factors().of(app.realm(), &who.user).await?.is_some())
}

fn none_to_show() -> OAuthError {
    let description = "a second factor is asked for, and this person has none";
    OAuthError::new(Code::UnmetAuthenticationRequirements, description)
}

impl Step {
    /// What there has to be first, in a word, before the client gets anything.
    const fn lacks(&self) -> Option<&'static str> {
        match self {
            Self::SignIn(_) => Some("login_required"),
            Self::SecondFactor(_) => Some("mfa_required"),
            Self::Consent(_) => Some("consent_required"),
            Self::Back(_) => None,
        }
    }

    /// Sends the browser there. `lang` is the language that was chosen on the page before.
    ///
    /// # Errors
    /// [`Trouble::Malformed`] where the address cannot be in a header.
    pub(crate) fn into_response(
        self,
        app: &App,
        visit: &Visit,
        lang: Option<&str>,
    ) -> Result<Response, Trouble> {
        self.into_response_given(app, visit, lang, None)
    }

    /// The same of somebody who has just proven who they are for this request; `given` stands for that.
    ///
    /// # Errors
    /// As [`Self::into_response`].
    pub(crate) fn into_response_given(
        self,
        app: &App,
        visit: &Visit,
        lang: Option<&str>,
        given: Option<&str>,
    ) -> Result<Response, Trouble> {
        let given = given.filter(|_| matches!(self, Self::Consent(_)));
        let given = given.map(|given| (presence::FIELD, given));
        let (path, handle) = match &self {
            Self::SignIn(handle) | Self::SecondFactor(handle) => ("/login", handle),
            Self::Consent(handle) => ("/oauth2/consent", handle),
            Self::Back(redirect) => return back(app, visit.lang(lang, &[]), redirect),
        };
        let lang = lang.and_then(Lang::of_tag).map(|lang| ("lang", lang.tag()));
        let parameters: Vec<_> =
            [("request", handle.as_str())].into_iter().chain(given).chain(lang).collect();
        see_other(&with_query(path, &parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_that_is_sent_on_keeps_its_meaning() {
        let pairs = [("state", "a&b=c d"), ("x=y&z", "é"), ("empty", "")];
        let text = url_encoded(&pairs);
        assert_eq!(text, "state=a%26b%3Dc%20d&x%3Dy%26z=%C3%A9&empty=");
        let read = crate::form::decode(text.as_bytes()).unwrap().into_pairs();
        assert_eq!(read, pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
