//! Which clients may ask what policies decide: those that enforce the answer, in their own name.

use crate::{client::Client, dpop::Credential, provider::Provider, signals::access::NoAccess};

/// The scope that asks.
pub const SCOPE: &str = "policy.evaluate";

impl Provider {
    /// The client whose token this is, if it may ask what would be decided about whomever. The token speaks
    /// for the client alone (RFC 6749 §4.4), and somebody has declared the client: none gives itself this by
    /// registering or describing itself.
    ///
    /// # Errors
    /// [`NoAccess`].
    pub async fn evaluating_client(&self, credential: &Credential<'_>) -> Result<Client, NoAccess> {
        let client = self.acting_client(credential, &[SCOPE]).await?;
        client.filter(Client::is_declared).ok_or(NoAccess::InsufficientScope(SCOPE))
    }
}
