//! `GET` and `POST /login/security`: the second factors, the password and the address of whoever is signed
//! in. What is changed here needs a session that was elevated: the person has proven who they are a
//! moment ago.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use http::{StatusCode, header};
use tegata_core::{Secret, Timestamp};
use tegata_identity::{
    ConfirmRefused, Enrolled, Enrolment, FactorRefused, Method, NewCodes, Refused, SecondFactors,
};
use tegata_oauth::redirect::with_query;
use tegata_session::{CookieName, Listed, Session};

use super::{
    Frame, Trouble, Visit,
    home::{Row, minutes},
    login::{retry_after, status},
    mail::locale,
    presence,
    qr::Qr,
    render, see_other, to_sign_in,
};
use crate::{
    app::App,
    body,
    form::Fields,
    messages::{Lang, Messages},
    proving::{Again, NotRaised},
    refusals,
    signed_in::{Cookies, Presence},
};

mod account;
mod passkeys;

use account::Account;

/// Where the page is.
const HERE: &str = "/login/security";

#[derive(Template)]
#[template(path = "security.html")]
struct Page<'a> {
    frame: &'a Frame,
    csrf: &'a str,
    passkeys: Vec<passkeys::Row>,
    /// Since when there is an app.
    app: Option<Moment>,
    is_enrolled: bool,
    codes_left: usize,
    /// What mail needs, where it is shown.
    account: Option<Account>,
    /// Where else the person is signed in, for whoever may end that.
    others: Vec<Row>,
    part: Part<'a>,
    /// Whether the browser is asked for a passkey.
    asks_passkey: bool,
    problem: Option<&'a str>,
}

/// A time, for people, and for programs.
type Moment = (String, String);

/// What the page is about just now.
enum Part<'a> {
    /// The person proves who they are: by a password, or by what they have enrolled. `passkey`: what
    /// their browser is asked for.
    Prove { passkey: Option<String> },
    /// The person has nothing of the kind, and signs in by mail once more.
    SignIn,
    /// The person chooses what to change.
    Choose,
    /// An app is given its secret, and shows that it has it.
    Enrol { qr: Option<Qr>, secret: Secret<String>, uri: Secret<String> },
    /// A passkey is given a name, and made. `options`: what the browser is asked for.
    Passkey { options: String, name: String },
    /// New recovery codes are shown, this once.
    Codes { codes: Vec<&'a str> },
}

impl Part<'_> {
    const fn is_choice(&self) -> bool {
        matches!(self, Self::Choose)
    }
}

/// What somebody wants to do.
enum Wish {
    Prove,
    Begin,
    Confirm,
    Remove,
    Renew,
    Password,
    Address,
    BeginPasskey,
    KeepPasskey,
    RemovePasskey(String),
    End(String),
    EndOthers,
}

impl Wish {
    /// Reads what a button says, of those that the page has. `mail`: whether there is mail.
    fn read(decision: &str, mail: bool) -> Option<Self> {
        Some(match decision {
            "prove" => Self::Prove,
            "begin" => Self::Begin,
            "confirm" => Self::Confirm,
            "remove" => Self::Remove,
            "renew" => Self::Renew,
            "password" => Self::Password,
            "address" if mail => Self::Address,
            "passkey" => Self::BeginPasskey,
            "keep" => Self::KeepPasskey,
            "others" => Self::EndOthers,
            other => match other.split_once(':')? {
                ("remove", id) => Self::RemovePasskey(id.to_owned()),
                ("end", sid) => Self::End(sid.to_owned()),
                _ => return None,
            },
        })
    }
}

/// Somebody at the page, and what they see it in.
struct At<'a> {
    app: &'a App,
    session: &'a Session,
    lang: Lang,
}

/// Shows the page.
pub(crate) async fn show(State(app): State<App>, visit: Visit) -> Response {
    let answer = async {
        let presence = app.presence(&visit.caller).await?;
        let lang = visit.lang(visit.query()?.one("lang"), &[]);
        let answer = match presence.session() {
            Some(session) => At { app: &app, session, lang }.overview(None).await?,
            None => to_sign_in()?,
        };
        Ok((presence.cookies(&app), answer).into_response())
    };
    visit.answer(&app, answer.await)
}

/// Takes one of its forms.
pub(crate) async fn submit(State(app): State<App>, visit: Visit, request: Request) -> Response {
    visit.answer(&app, take(&app, &visit, request).await)
}

async fn take(app: &App, visit: &Visit, request: Request) -> Result<Response, Trouble> {
    visit.caller.sent(app).map_err(|_| Trouble::Foreign)?;
    let fields = body::fields(app, request).await?;
    let mail = app.letters().is_some();
    let wish = fields.one("decision").and_then(|decision| Wish::read(decision, mail));
    let wish = wish.ok_or(Trouble::Malformed("decision is none that the page offers"))?;
    let presence = app.presence(&visit.caller).await?;
    let cookies = presence.cookies(app);
    let Presence::Somebody(passage) = &presence else {
        return Ok((cookies, to_sign_in()?).into_response());
    };
    let session = &passage.session;
    app.check_form(&session.id, fields.one("csrf_token"), || "/login/security".to_owned())?;
    let lang = visit.lang(fields.one("lang"), &[]);
    let at = At { app, session, lang };
    if matches!(wish, Wish::Prove) {
        return at.prove(visit, &fields, cookies).await;
    }
    // Nothing is changed for whoever has only a cookie.
    let enrolled = at.enrolled().await?;
    let is_proven = match wish {
        // Ending what is there takes any proof of a moment ago, also one from before a factor was set up.
        Wish::End(_) | Wish::EndOthers => app.is_fresh(session),
        _ => at.is_proven(enrolled.as_ref()).await?,
    };
    if !is_proven {
        // Whoever tries again what was done by half brings the rest about.
        app.lower_sessions(&session.user).await?;
        let overview = refusals::named(at.overview(None).await?, "proof_required");
        return Ok((cookies, overview).into_response());
    }
    let answer = match wish {
        Wish::Password => at.change_password(visit, &fields).await?,
        Wish::Address => at.change_address(visit, &fields).await?,
        wish => at.change(&wish, enrolled.as_ref(), &fields).await?,
    };
    Ok((cookies, answer).into_response())
}

impl At<'_> {
    /// Whether the person has proven a moment ago who they are: by one of the second factors that they
    /// have, where they have some. A session that was elevated by a password before one was enrolled does
    /// not touch it, nor one that was elevated by what is gone. Whoever has nothing but their mail has
    /// proven it where that signed them in a moment ago.
    async fn is_proven(&self, enrolled: Option<&Enrolled>) -> Result<bool, Trouble> {
        let (standing, now) = (&self.session.standing, self.app.node().now());
        let shown = match enrolled.map(Enrolled::names) {
            Some(names) => standing.factors.iter().any(|factor| names.contains(factor)),
            None => standing.factors.is_empty(),
        };
        if standing.is_elevated(now) && shown {
            return Ok(true);
        }
        let by_mail = matches!(standing.amr.as_slice(), [only] if only == Method::Mail.as_str());
        let signed_in = Timestamp::from_secs(standing.auth_time);
        let is_fresh = by_mail && now.since(signed_in) < self.app.config().elevation;
        Ok(is_fresh && self.has_mail_alone(enrolled).await?)
    }

    /// Whether there is nothing that the person could show but the code of a mail.
    async fn has_mail_alone(&self, enrolled: Option<&Enrolled>) -> Result<bool, Trouble> {
        if enrolled.is_some() || self.app.letters().is_none_or(|it| !it.config().sign_in) {
            return Ok(false);
        }
        let (realm, user) = (self.app.realm(), &self.session.user);
        Ok(self.app.passwords().generation(realm, user).await? == 0)
    }

    async fn change(
        &self,
        wish: &Wish,
        enrolled: Option<&Enrolled>,
        fields: &Fields,
    ) -> Result<Response, Trouble> {
        let (realm, user) = (self.app.realm(), &self.session.user);
        let second = self.second_factors()?;
        match wish {
            Wish::Begin => {
                let begun = second.begin_totp(realm, user, &self.session.id).await?;
                self.enrol(&begun, None).await
            }
            Wish::Confirm => self.confirm(&fields.secret("code")).await,
            Wish::BeginPasskey => self.begin_passkey().await,
            Wish::KeepPasskey => self.keep_passkey(fields).await,
            // What was enrolled since needs another proof than this one.
            Wish::Remove | Wish::Renew | Wish::RemovePasskey(_) if enrolled.is_none() => {
                self.see_again()
            }
            Wish::Remove => {
                let removed = second.remove_totp(realm, user, user.as_str()).await;
                self.removed(removed).await
            }
            Wish::RemovePasskey(id) => {
                let removed = second.remove_passkey(realm, user, id, user.as_str()).await;
                self.removed(removed).await
            }
            Wish::Renew => match second.renew_recovery(realm, user, user.as_str()).await {
                Ok(codes) => {
                    self.app.lower_sessions(user).await?;
                    self.codes(&codes).await
                }
                Err(FactorRefused::Store(error)) => Err(error.into()),
                Err(_) => self.see_again(),
            },
            Wish::End(sid) => self.end(|it| it == sid).await,
            Wish::EndOthers => self.end(|_| true).await,
            Wish::Prove | Wish::Password | Wish::Address => self.see_again(),
        }
    }

    /// Ends those of the person's other sessions that are meant.
    async fn end(&self, is_meant: impl Fn(&str) -> bool) -> Result<Response, Trouble> {
        for other in self.others().await? {
            if is_meant(other.session.id.as_str()) {
                self.app.end_session(&other.session.id, &self.session.user).await?;
            }
        }
        self.see_again()
    }

    /// Where else the person is signed in.
    async fn others(&self) -> Result<Vec<Listed>, Trouble> {
        let mut listed = self.app.sessions().list(self.app.realm(), &self.session.user).await?;
        listed.retain(|it| it.session.id != self.session.id);
        Ok(listed)
    }

    /// The page after something was taken away, or why it was not.
    async fn removed(&self, removed: Result<bool, FactorRefused>) -> Result<Response, Trouble> {
        match removed {
            Err(FactorRefused::Store(error)) => Err(error.into()),
            Err(FactorRefused::Last(_)) => self.refused(self.m().last_factor).await,
            _ => {
                self.app.lower_sessions(&self.session.user).await?;
                self.see_again()
            }
        }
    }

    /// The page, with why nothing was changed.
    async fn refused(&self, problem: &'static str) -> Result<Response, Trouble> {
        let enrolled = self.enrolled().await?;
        self.page(StatusCode::UNPROCESSABLE_ENTITY, enrolled, Part::Choose, Some(problem)).await
    }

    /// Proves once more who the person is. What they wanted to change is asked for again.
    async fn prove(
        &self,
        visit: &Visit,
        fields: &Fields,
        cookies: Cookies,
    ) -> Result<Response, Trouble> {
        let again = match (fields.one("password"), fields.one("credential")) {
            (Some(_), _) => Again::Password(fields.secret("password")),
            (None, Some(_)) => Again::Passkey(fields.secret("credential")),
            (None, None) => Again::Code(fields.secret("code")),
        };
        let refused = match self.app.raise(&visit.caller, &self.session.id, &again).await {
            Ok(passage) => {
                let cookies = passage.cookie.iter().fold(Cookies::default(), |cookies, value| {
                    cookies.with(self.app, CookieName::Session, value)
                });
                return Ok((cookies, self.see_again()?).into_response());
            }
            Err(NotRaised::Refused(Refused::Store(error))) => return Err(error.into()),
            Err(NotRaised::Refused(refused)) => refused,
            // The form is shown that asks for the code.
            Err(NotRaised::Second(_)) => {
                return Ok((cookies, self.see_again()?).into_response());
            }
            Err(NotRaised::Nobody(_)) => return to_sign_in(),
        };
        Ok((cookies, self.overview(Some(&refused)).await?).into_response())
    }

    async fn confirm(&self, code: &Secret<String>) -> Result<Response, Trouble> {
        let (realm, user, sid) = (self.app.realm(), &self.session.user, &self.session.id);
        let second = self.second_factors()?;
        match second.confirm_totp(realm, user, sid, code.expose()).await {
            Ok(Some(codes)) => self.codes(&codes).await,
            Ok(None) => {
                // Another app took the place of one.
                self.app.lower_sessions(user).await?;
                self.see_again()
            }
            Err(ConfirmRefused::Expired) => self.see_again(),
            Err(ConfirmRefused::Wrong) => match second.enrolling(realm, user, sid).await? {
                Some(begun) => self.enrol(&begun, Some(self.m().app_code_differs)).await,
                None => self.see_again(),
            },
            Err(ConfirmRefused::Factor(FactorRefused::Store(error))) => Err(error.into()),
            Err(ConfirmRefused::Factor(_)) => to_sign_in(),
            // None of these is said of an app.
            Err(_) => self.see_again(),
        }
    }

    /// The page, with what is wrong with what was shown.
    async fn overview(&self, refused: Option<&Refused>) -> Result<Response, Trouble> {
        let enrolled = self.enrolled().await?;
        let part = if self.is_proven(enrolled.as_ref()).await? {
            Part::Choose
        } else if self.has_mail_alone(enrolled.as_ref()).await? {
            Part::SignIn
        } else {
            let options = self.app.ask_passkey_again(self.session).await?;
            Part::Prove { passkey: options.map(|options| options.to_string()) }
        };
        let m = self.m();
        let problem = refused.map(|refused| presence::told(refused, m));
        let code = refused.map_or(StatusCode::OK, status);
        let mut response = self.page(code, enrolled, part, problem).await?;
        if let Some(wait) = refused.and_then(retry_after) {
            response.headers_mut().insert(header::RETRY_AFTER, wait.into());
        }
        Ok(response)
    }

    async fn enrol(
        &self,
        begun: &Enrolment,
        problem: Option<&'static str>,
    ) -> Result<Response, Trouble> {
        let user = self.app.users().load(self.app.realm(), &self.session.user).await?;
        let username = user.map(|user| user.username.as_str().to_owned()).unwrap_or_default();
        let uri = begun.secret.to_uri(host(self.app.provider().issuer()), &username);
        let part = Part::Enrol {
            qr: Qr::of(uri.expose()),
            secret: in_groups(begun.secret.to_base32().expose()),
            uri,
        };
        let code = if problem.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
        self.page(code, self.enrolled().await?, part, problem).await
    }

    async fn codes(&self, codes: &NewCodes) -> Result<Response, Trouble> {
        let part = Part::Codes { codes: codes.shown().collect() };
        self.page(StatusCode::OK, self.enrolled().await?, part, None).await
    }

    async fn page(
        &self,
        code: StatusCode,
        enrolled: Option<Enrolled>,
        part: Part<'_>,
        problem: Option<&str>,
    ) -> Result<Response, Trouble> {
        let account = match part {
            Part::Choose | Part::Prove { .. } | Part::SignIn => Some(self.account().await?),
            Part::Enrol { .. } | Part::Passkey { .. } | Part::Codes { .. } => None,
        };
        // With what was changed, and for whoever may change something.
        let others = match part {
            Part::Choose | Part::Codes { .. } => self.others().await?,
            _ => Vec::new(),
        };
        let csrf = self.app.form_csrf_of(&self.session.id)?;
        // What is shown once, or goes with a form, is not there in another language a link away.
        let again = matches!(part, Part::Prove { .. } | Part::Choose | Part::SignIn);
        let frame = Frame::new(self.app, self.lang, again.then_some((HERE, &[])));
        let is_enrolled = enrolled.is_some();
        let Enrolled { totp_since, passkeys, recovery_codes, .. } =
            enrolled.unwrap_or_else(Enrolled::nothing);
        let page = Page {
            frame: &frame,
            csrf: csrf.as_str(),
            passkeys: passkeys.into_iter().map(passkeys::Row::of).collect(),
            app: totp_since.map(moment),
            is_enrolled,
            codes_left: recovery_codes,
            account,
            others: others.iter().map(|it| Row::of(it, self.session, frame.m)).collect(),
            asks_passkey: matches!(part, Part::Passkey { .. } | Part::Prove { passkey: Some(_) }),
            part,
            problem,
        };
        Ok(render(code, &page, &frame, None))
    }

    /// Second factors, of which the person is told in the language of the page.
    fn second_factors(&self) -> Result<SecondFactors, Trouble> {
        Ok(self.app.second_factors().in_language(locale(self.lang)?))
    }

    async fn enrolled(&self) -> Result<Option<Enrolled>, Trouble> {
        Ok(self.app.second_factors().of(self.app.realm(), &self.session.user).await?)
    }

    fn see_again(&self) -> Result<Response, Trouble> {
        see_other(&with_query(HERE, &[("lang", self.lang.tag())]))
    }

    const fn m(&self) -> &'static Messages {
        self.lang.messages()
    }
}

fn moment(at: Timestamp) -> Moment {
    (minutes(&at.to_string()), at.to_string())
}

/// The host of the issuer, by which people tell the codes of one installation from another's.
pub(super) fn host(issuer: &str) -> &str {
    issuer.split_once("://").map_or(issuer, |(_, rest)| rest).trim_end_matches('/')
}

/// A secret as people type it: in groups of four.
pub(super) fn in_groups(secret: &str) -> Secret<String> {
    let groups: Vec<_> = secret.as_bytes().chunks(4).map(String::from_utf8_lossy).collect();
    Secret::new(groups.join(" "))
}
