//! Access tokens that say nothing, for clients that are to have such: outside a reference, inside the token
//! that it stands for.

use std::borrow::Cow;

use tegata_core::{StoreError, Timestamp};
use tegata_token::reference::looks_like_one;

use crate::{
    client::{Client, TokenFormat},
    provider::Provider,
};

impl Provider {
    /// An access token in the form that its client is given, which ends at `exp`, in seconds since 1970.
    ///
    /// # Errors
    /// What the store says: then the client gets no token.
    pub(crate) async fn in_form_of(
        &self,
        client: &Client,
        token: String,
        exp: u64,
    ) -> Result<String, StoreError> {
        match client.token_format {
            TokenFormat::Jwt => Ok(token),
            TokenFormat::Reference => {
                let ends = Timestamp::from_secs(exp);
                let reference = self.parts().references.issue(&token, ends).await?;
                Ok(reference.expose().clone())
            }
        }
    }

    /// The token that a text stands for: itself, unless it is a reference. What a reference that nobody
    /// knows stands for is no token either.
    ///
    /// # Errors
    /// What the store says.
    pub async fn resolved<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, StoreError> {
        if !looks_like_one(text) {
            return Ok(Cow::Borrowed(text));
        }
        let found = self.parts().references.resolve(text).await?;
        Ok(found.map_or(Cow::Borrowed(text), |token| Cow::Owned(token.expose().clone())))
    }
}
