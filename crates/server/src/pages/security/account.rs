//! The password and the address of whoever is signed in.

use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, header};
use tegata_identity::{Refused, Wish};

use super::{At, Part};
use crate::{
    app::App,
    form::Fields,
    pages::{
        Trouble, Visit,
        by_link::weak,
        login::{retry_after, status, too_many},
        mail::{count, locale, new_address, told},
    },
    renewing::NotChanged,
    signed_in::Cookies,
};

/// What is shown of it.
pub(super) struct Account {
    pub(super) username: String,
    pub(super) email: Option<String>,
    pub(super) verified: bool,
    pub(super) has_password: bool,
    /// Whether mail reaches people.
    pub(super) mail: bool,
}

impl At<'_> {
    pub(super) async fn account(&self) -> Result<Account, Trouble> {
        let (app, realm, id) = (self.app, self.app.realm(), &self.session.user);
        let user = app.users().load(realm, id).await?;
        let email = user.as_ref().and_then(|user| user.email.as_ref());
        Ok(Account {
            email: email.map(|email| email.as_str().to_owned()),
            verified: user.as_ref().is_some_and(|user| user.email_verified),
            username: user.map(|user| user.username.as_str().to_owned()).unwrap_or_default(),
            has_password: app.passwords().generation(realm, id).await? > 0,
            mail: app.letters().is_some(),
        })
    }

    /// Changes the password. Whoever did it signs in anew, as everybody does who was signed in.
    pub(super) async fn change_password(
        &self,
        visit: &Visit,
        fields: &Fields,
    ) -> Result<Response, Trouble> {
        let (current, new) = (fields.secret("current"), fields.secret("new_password"));
        let lang = locale(self.lang)?;
        let app: &App = self.app;
        let changed = app.change_password(&visit.caller, self.session, &current, &new, &lang).await;
        let m = self.m();
        let (code, text) = match changed {
            Ok(()) => {
                let (title, text) = (m.password_is_set, m.password_is_set_detail);
                let page = told(app, self.lang, StatusCode::OK, title, text);
                return Ok((Cookies::signed_out(app), page).into_response());
            }
            Err(NotChanged::Refused(Refused::Store(error))) => return Err(error.into()),
            Err(NotChanged::Refused(refused)) => {
                let text = match &refused {
                    Refused::Throttled { retry_after } => too_many(*retry_after, m),
                    Refused::Busy(_) => m.busy,
                    _ => m.wrong_password,
                };
                let mut page = self.again(status(&refused), text).await?;
                if let Some(wait) = retry_after(&refused) {
                    page.headers_mut().insert(header::RETRY_AFTER, wait.into());
                }
                return Ok(page);
            }
            Err(NotChanged::Weak(weakness)) => (StatusCode::BAD_REQUEST, weak(&weakness, m)),
            Err(NotChanged::TooLong) => (StatusCode::BAD_REQUEST, m.password_too_long.to_owned()),
            Err(NotChanged::Overtaken) => (StatusCode::CONFLICT, m.password_overtaken.to_owned()),
        };
        self.again(code, &text).await
    }

    /// Has mail sent to another address, which becomes the person's when it is answered.
    pub(super) async fn change_address(
        &self,
        visit: &Visit,
        fields: &Fields,
    ) -> Result<Response, Trouble> {
        let m = self.m();
        let letters = self.app.letters().ok_or(Trouble::NotFound)?;
        let Some(address) = new_address(fields.one("email").unwrap_or_default()) else {
            return self.again(StatusCode::BAD_REQUEST, m.bad_address).await;
        };
        count(self.app, &visit.caller)?;
        let wish = Wish::NewAddress { user: self.session.user.clone(), address };
        let lang = locale(self.lang)?;
        letters.order(self.app.realm(), wish, &lang, visit.caller.address).await?;
        Ok(told(self.app, self.lang, StatusCode::OK, m.mail_sent, m.mail_sent_detail))
    }

    async fn again(&self, code: StatusCode, text: &str) -> Result<Response, Trouble> {
        self.page(code, self.enrolled().await?, Part::Choose, Some(text)).await
    }
}
