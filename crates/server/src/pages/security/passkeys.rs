//! Passkeys on the page of second factors.

use axum::response::Response;
use http::StatusCode;
use tegata_identity::{BeginRefused, ConfirmRefused, EnrolledPasskey, FactorRefused, PasskeyName};

use super::{At, Moment, Part, moment};
use crate::{
    form::Fields,
    pages::{Trouble, home, to_sign_in},
};

/// A passkey in the list.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) since: Moment,
    pub(super) used: Option<Moment>,
}

impl Row {
    pub(super) fn of(passkey: EnrolledPasskey) -> Self {
        let EnrolledPasskey { id, name, since, used } = passkey;
        Self { id, name, since: moment(since), used: used.map(moment) }
    }
}

impl At<'_> {
    pub(super) async fn begin_passkey(&self) -> Result<Response, Trouble> {
        let (realm, sid) = (self.app.realm(), &self.session.id);
        let Some(user) = self.app.users().load(realm, &self.session.user).await? else {
            return to_sign_in();
        };
        match self.app.second_factors().begin_passkey(realm, &user, sid).await {
            Ok(options) => {
                // People have one for each of their devices.
                let name = home::browser(self.m(), self.session.binding.agent);
                let part = Part::Passkey { options: options.to_string(), name };
                self.page(StatusCode::OK, self.enrolled().await?, part, None).await
            }
            Err(BeginRefused::TooMany) => self.refused(self.m().too_many_passkeys).await,
            Err(BeginRefused::NotHere) => self.see_again(),
            Err(BeginRefused::Store(error)) => Err(error.into()),
        }
    }

    pub(super) async fn keep_passkey(&self, fields: &Fields) -> Result<Response, Trouble> {
        let (realm, user, sid) = (self.app.realm(), &self.session.user, &self.session.id);
        let made = fields.one("credential").unwrap_or_default();
        let name = PasskeyName::new(fields.one("name").unwrap_or_default());
        let second = self.second_factors()?;
        match second.confirm_passkey(realm, user, sid, made, name).await {
            Ok(Some(codes)) => self.codes(&codes).await,
            Ok(None) => self.see_again(),
            Err(ConfirmRefused::TooMany) => self.refused(self.m().too_many_passkeys).await,
            Err(ConfirmRefused::Taken) => self.refused(self.m().passkey_known).await,
            Err(ConfirmRefused::Factor(FactorRefused::Store(error))) => Err(error.into()),
            Err(ConfirmRefused::Factor(_)) => to_sign_in(),
            Err(refused) => {
                tracing::info!(%user, %refused, "a passkey was not enrolled");
                self.refused(self.m().passkey_failed).await
            }
        }
    }
}
