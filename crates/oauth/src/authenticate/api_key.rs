//! Services that prove themselves by an API key, in the place of a client secret.

use std::sync::Arc;

use tegata_core::StoreError;
use tegata_token::{ApiKey, api_key::Standing};

use crate::{client::Client, provider::Provider};

impl Provider {
    /// The API key that somebody showed, if it counts and is the client's. What nobody here made is told from
    /// its text alone.
    pub(super) async fn api_key_of(
        &self,
        client: &Client,
        text: &str,
    ) -> Result<Option<Arc<ApiKey>>, StoreError> {
        let keys = &self.parts().api_keys;
        let Ok(shown) = keys.read(text) else { return Ok(None) };
        let Some(found) = keys.load(&shown.id).await? else { return Ok(None) };
        let key = found.value;
        // Whoever does not have the secret learns nothing of how the key stands.
        let counts = key.is(&shown, keys)
            && key.client == client.id
            && keys.standing(&key) == Standing::Active;
        let view = self.revoker().view().realm(self.realm());
        if !counts || view.check_claims(&key.claims(self.issuer()), None, "").is_some() {
            return Ok(None);
        }
        Ok(Some(Arc::new(key)))
    }
}
