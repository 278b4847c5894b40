//! Which clients may keep data with people's sessions: backends of the application, in their own name.

use crate::{client::Client, dpop::Credential, provider::Provider, signals::access::NoAccess};

/// The scope that keeps data with sessions, and reads what was kept.
pub const SCOPE: &str = "session.data";

impl Provider {
    /// The client whose token this is, if it may keep data with sessions. The token speaks for the client
    /// alone (RFC 6749 §4.4), and somebody has declared the client: none gives itself this by
    /// registering or describing itself.
    ///
    /// # Errors
    /// [`NoAccess`].
    pub async fn keeping_client(&self, credential: &Credential<'_>) -> Result<Client, NoAccess> {
        let client = self.acting_client(credential, &[SCOPE]).await?;
        client.filter(Client::is_declared).ok_or(NoAccess::InsufficientScope(SCOPE))
    }
}
