//! Proving by a passkey: what the browser is asked for, and what comes back.

use serde_json::Value;
use tegata_core::{Secret, StoreError};
use tegata_identity::{Assurance, Refused, Step};
use tegata_session::Session;

use super::{NotRaised, browser};
use crate::{app::App, caller::Caller, metrics::Method, signed_in::Fresh};

impl App {
    /// What a browser is asked for, so that somebody signs in by a passkey alone. `None`: there are no
    /// passkeys here.
    pub(crate) fn ask_passkey(&self, caller: &Caller) -> Option<Value> {
        self.sign_in().ask_passkey(self.realm(), &browser(caller))
    }

    /// The same after a password. `None`: the person has no passkey.
    ///
    /// # Errors
    /// [`Refused::Over`] and [`Refused::Store`].
    pub(crate) async fn ask_passkey_after(
        &self,
        caller: &Caller,
        token: &str,
    ) -> Result<Option<Value>, Refused> {
        let step = Step { token, browser: &browser(caller), address: caller.address };
        self.sign_in().ask_passkey_after(self.realm(), &step).await
    }

    /// The same of somebody who is signed in.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn ask_passkey_again(
        &self,
        session: &Session,
    ) -> Result<Option<Value>, StoreError> {
        self.sign_in().ask_passkey_again(self.realm(), &session.user, &session.id).await
    }

    /// Signs in by a passkey alone.
    ///
    /// # Errors
    /// As [`App::sign_in_by_password`].
    pub(crate) async fn sign_in_by_passkey(
        &self,
        caller: &Caller,
        shown: &Secret<String>,
    ) -> Result<Fresh, Refused> {
        let started = self.node().since_boot();
        let entered = self.enter_by_passkey(caller, shown).await;
        self.counted(Method::Passkey, started, &entered);
        entered
    }

    async fn enter_by_passkey(
        &self,
        caller: &Caller,
        shown: &Secret<String>,
    ) -> Result<Fresh, Refused> {
        // No challenge is used up for what could not be answered.
        self.provider().check_signer(self.browser().access_token_alg)?;
        let (browser, from) = (browser(caller), caller.address);
        let proven = self.sign_in().by_passkey(self.realm(), shown.expose(), &browser, from);
        let assurance = proven.await?;
        let auth_time = assurance.auth_time.secs();
        // All of this person's was taken back meanwhile, or in the second in which this began.
        if auth_time < self.view().earliest_issue(assurance.user.id.as_str(), None) {
            return Err(Refused::Over);
        }
        self.let_in(caller, &assurance, auth_time).await
    }

    /// The second step of signing in, by a passkey.
    ///
    /// # Errors
    /// As [`App::sign_in_by_password`].
    pub(crate) async fn sign_in_by_passkey_after(
        &self,
        caller: &Caller,
        token: &str,
        shown: &Secret<String>,
    ) -> Result<Fresh, Refused> {
        let started = self.node().since_boot();
        let step = Step { token, browser: &browser(caller), address: caller.address };
        let entered = self.enter_by_passkey_after(caller, &step, shown).await;
        self.counted(Method::Passkey, started, &entered);
        entered
    }

    async fn enter_by_passkey_after(
        &self,
        caller: &Caller,
        step: &Step<'_>,
        shown: &Secret<String>,
    ) -> Result<Fresh, Refused> {
        self.provider().check_signer(self.browser().access_token_alg)?;
        let proven = self.sign_in().by_passkey_after(self.realm(), step, shown.expose()).await?;
        self.enter_by_both(caller, &proven).await
    }

    pub(super) async fn by_passkey_again(
        &self,
        caller: &Caller,
        session: &Session,
        shown: &Secret<String>,
    ) -> Result<Assurance, NotRaised> {
        let started = self.node().since_boot();
        let (user, sid, from) = (&session.user, &session.id, caller.address);
        let shown = shown.expose();
        let proven = self.sign_in().again_by_passkey(self.realm(), user, sid, shown, from).await;
        self.counted(Method::Passkey, started, &proven);
        Ok(proven?)
    }
}
