//! Setting up a second factor at sign-in, where one is demanded of somebody who has none.

use tegata_core::{Secret, UserId};
use tegata_identity::{CodeAttempt, Locale, NewCodes, Offered, PasskeyName, Refused, SetUp, Step};

use super::browser;
use crate::{app::App, caller::Caller, metrics::Method, signed_in::Fresh};

/// What a browser gave to set up what it was offered.
pub(crate) enum Made {
    /// A code of the app.
    Code(Secret<String>),
    /// A passkey, and how its person calls it.
    Passkey(Secret<String>, PasskeyName),
}

impl App {
    /// What somebody may set up.
    ///
    /// # Errors
    /// [`Refused::Over`] and [`Refused::Store`].
    pub(crate) async fn offer(
        &self,
        caller: &Caller,
        token: &Secret<String>,
    ) -> Result<Offered, Refused> {
        let browser = browser(caller);
        let step = Step { token: token.expose(), browser: &browser, address: caller.address };
        self.sign_in().offer(self.realm(), &step).await
    }

    /// The second step of signing in, by what is set up with it. Answers the recovery codes, too. `lang` is
    /// what the person reads.
    ///
    /// # Errors
    /// As [`App::sign_in_by_password`].
    pub(crate) async fn sign_in_by_enrolling(
        &self,
        caller: &Caller,
        token: &Secret<String>,
        made: Made,
        lang: Locale,
    ) -> Result<(Fresh, NewCodes), Refused> {
        let started = self.node().since_boot();
        let method = match &made {
            Made::Code(_) => Method::Code,
            Made::Passkey(..) => Method::Passkey,
        };
        let entered = self.enter_by_enrolling(caller, token, made, lang).await;
        self.counted(method, started, &entered);
        entered
    }

    async fn enter_by_enrolling(
        &self,
        caller: &Caller,
        token: &Secret<String>,
        made: Made,
        lang: Locale,
    ) -> Result<(Fresh, NewCodes), Refused> {
        // Nothing is set up for what could not be answered.
        self.provider().check_signer(self.browser().access_token_alg)?;
        let (realm, browser) = (self.realm(), browser(caller));
        let step = Step { token: token.expose(), browser: &browser, address: caller.address };
        let sign_in = self.sign_in().in_language(lang);
        let earliest = |id: &UserId| self.view().earliest_issue(id.as_str(), None);
        let set_up = match made {
            Made::Code(code) => {
                let attempt = CodeAttempt { step, authenticator: None, code: code.expose() };
                sign_in.enrol_by_code(realm, &attempt, &earliest).await
            }
            Made::Passkey(made, name) => {
                sign_in.enrol_by_passkey(realm, &step, made.expose(), name, &earliest).await
            }
        };
        let SetUp { proven, codes } = set_up?;
        Ok((self.enter_by_both(caller, &proven).await?, codes))
    }
}
