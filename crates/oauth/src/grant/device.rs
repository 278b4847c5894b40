//! The device authorization grant (RFC 8628 §3.4): a device asks until a person has answered.

use tegata_core::{ClientId, Epoch, Timestamp, Versioned, port::Swap, repository};
use tegata_token::Binding;

use crate::{
    authenticate::ProvenClient,
    client::Client,
    device::{Answered, DEVICES, DeviceAnswer, FORM, Waiting, device_key},
    error::{Code, OAuthError, Refused},
    grant::allowed::{Allowed, Begun},
    issue::TokenAnswer,
    params::Params,
    provider::Provider,
};

impl Provider {
    /// Gives a device what a person has allowed it.
    pub(super) async fn device_token(
        &self,
        client: &ProvenClient,
        params: &Params,
        binding: &Binding,
    ) -> Result<TokenAnswer, Refused> {
        let code = params.require("device_code", "device_code is missing")?;
        let unknown = OAuthError::new(Code::InvalidGrant, "the device code is not known");
        let key = device_key(code).ok_or(unknown.clone())?;
        if Epoch::leading(&key).is_none_or(|epoch| epoch < self.epoch()) {
            let description = "the device code was issued before a backup was restored";
            return Err(OAuthError::new(Code::InvalidGrant, description).into());
        }
        let waiting = self.paced(client, &key).await?;
        loop {
            let found =
                repository::load::<DeviceAnswer>(self.records(), self.realm(), &key).await?;
            let Some(found) = found else {
                let waiting = waiting.ok_or(unknown)?;
                self.check_expiry(waiting.until)?;
                let description = "the person has not answered yet";
                return Err(OAuthError::new(Code::AuthorizationPending, description).into());
            };
            let answer = &found.value;
            check_owner(client, &answer.client)?;
            match &answer.state {
                Answered::Redeemed { family } => {
                    return Err(self.replayed(family, &answer.client, client).await);
                }
                Answered::Denied => {
                    self.check_expiry(answer.until)?;
                    let description = "the person did not agree";
                    return Err(OAuthError::new(Code::AccessDenied, description).into());
                }
                Answered::Allowed(allowed) => {
                    self.check_expiry(answer.until)?;
                    match self.begin_device(client, params, binding, &found, allowed).await {
                        // Somebody redeemed it meanwhile: what follows is a replay.
                        Err(Begun::Race) => {}
                        Err(Begun::Refused(refused)) => return Err(refused),
                        Ok(answer) => return Ok(answer),
                    }
                }
            }
        }
    }

    async fn begin_device(
        &self,
        client: &ProvenClient,
        params: &Params,
        binding: &Binding,
        found: &Versioned<DeviceAnswer>,
        allowed: &Allowed,
    ) -> Result<TokenAnswer, Begun> {
        let used = |family| {
            let state = Answered::Redeemed { family };
            found.replace(&DeviceAnswer { state, ..found.value.clone() })
        };
        self.begin_allowed(client, params, binding, allowed, used).await
    }

    /// Lets a device ask, if it has waited since it asked last; whoever else may ask for it, on
    /// whichever node. `None`: it is not known, or was long ago.
    async fn paced(&self, client: &Client, key: &str) -> Result<Option<Waiting>, Refused> {
        let held = self.ephemeral().get(self.realm(), &DEVICES, key).await?;
        let Some(held) = held else { return Ok(None) };
        let waiting: Option<Waiting> = repository::decode_bytes(FORM, &held.value).ok();
        let Some(mut waiting) = waiting else { return Ok(None) };
        // Another client must not slow it down.
        check_owner(client, &waiting.client)?;
        let now = self.node().now();
        let patient = waiting.asks(now);
        let put = waiting.put(now);
        let swap = self.ephemeral().swap(self.realm(), &DEVICES, held.revision, put).await?;
        // INVARIANT: of many that ask at once, one goes on.
        if patient && matches!(swap, Swap::Won(_)) {
            return Ok(Some(waiting));
        }
        let description = "the device asks too often; wait 5 seconds longer between two requests";
        Err(OAuthError::new(Code::SlowDown, description).into())
    }

    fn check_expiry(&self, until: Timestamp) -> Result<(), OAuthError> {
        if self.node().now() < until {
            return Ok(());
        }
        Err(OAuthError::new(Code::ExpiredToken, "the device code has expired"))
    }
}

fn check_owner(client: &Client, owner: &ClientId) -> Result<(), OAuthError> {
    if *owner == client.id {
        return Ok(());
    }
    let description = "the device code was issued to another client";
    Err(OAuthError::new(Code::InvalidGrant, description))
}
