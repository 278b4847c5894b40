//! Workloads that prove themselves by a document of SPIFFE (OAuth SPIFFE Client Authentication §3).

use std::fmt::Display;

use tegata_token::{ClientCertificate, SpiffeId};

use super::wrong;
use crate::{
    client::Client,
    error::{OAuthError, Refused},
    provider::Provider,
};

/// The `client_assertion_type` of a JWT-SVID.
pub(super) const JWT_SVID: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

impl Provider {
    /// Looks whether a JWT-SVID is one of the client's, for us, and shown for the first time where it has a
    /// name.
    pub(super) async fn accept_jwt_svid(&self, client: &Client, svid: &str) -> Result<(), Refused> {
        let asserted = self.parts().trust_domains.asserted(svid, self.issuer(), self.node().now());
        let asserted = asserted.map_err(|why| refused(client, &why))?;
        check_is_of(client, &asserted.id)?;
        match &asserted.jti {
            // Whoever sees one on its way cannot use it again; what has no name, the workload may keep and
            // show for as long as it lives (JWT-SVID §3).
            Some(jti) => {
                let name = format!("{} {jti}", asserted.id);
                self.count_once(&name, asserted.forget_at).await
            }
            None => Ok(()),
        }
    }

    /// Looks whether a certificate is an X.509-SVID of the client's.
    pub(crate) fn accept_x509_svid(
        &self,
        client: &Client,
        shown: &ClientCertificate,
    ) -> Result<(), OAuthError> {
        // Following its chain costs more than reading whose it says that it is.
        let id = shown.svid().map_err(|why| refused(client, &why))?;
        check_is_of(client, &id)?;
        let certified = self.parts().trust_domains.certified(shown, self.node().now());
        certified.map(drop).map_err(|why| refused(client, &why))
    }
}

fn check_is_of(client: &Client, id: &SpiffeId) -> Result<(), OAuthError> {
    match &client.spiffe_id {
        Some(workloads) if workloads.covers(id) => Ok(()),
        _ => Err(refused(client, &format_args!("`{id}` is none of the client's workloads"))),
    }
}

/// Whoever shows one learns nothing of what is wrong with it: its operator does.
fn refused(client: &Client, why: &dyn Display) -> OAuthError {
    tracing::info!(client = %client.id, %why, "an SVID was refused");
    wrong(
        "the SVID has expired, is not for this server, is none of the client's, or is of nobody who is trusted",
    )
}
