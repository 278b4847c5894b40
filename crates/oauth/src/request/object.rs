//! Parameters in a request object of the client (RFC 9101): where there is one, nothing else counts.

use std::borrow::Cow;

use tegata_token::{ExpectedObject, RequestObject};

use crate::{
    client::Client,
    error::{Code, OAuthError},
    params::Params,
    provider::Provider,
};

impl Provider {
    /// The parameters that count: those of the request object, if one was sent, and none from
    /// beside it (RFC 9101 §6.3).
    pub(super) async fn unpacked<'p>(
        &self,
        params: &'p Params,
        client: &Client,
    ) -> Result<Cow<'p, Params>, OAuthError> {
        let Some(object) = params.get("request") else {
            return if client.require_signed_request {
                let description = "the client must send its requests in a signed request object";
                Err(OAuthError::request(description))
            } else {
                Ok(Cow::Borrowed(params))
            };
        };
        let keys = self.keys_of(client, object).await.map_err(|error| {
            tracing::info!(client = %client.id, %error, "the keys of a client cannot be had");
            let description = "the keys at the client's jwks_uri cannot be had";
            OAuthError::new(Code::InvalidRequestObject, description)
        })?;
        let expected = ExpectedObject {
            client: client.id.as_str(),
            keys: &keys,
            algorithm: client.request_object_alg,
            issuer: self.issuer(),
            bounded: client.is_fapi(),
        };
        let read = RequestObject::verify(object, &expected, self.node().now());
        let read = read.map_err(|error| {
            tracing::info!(client = %client.id, %error, "a request object was refused");
            OAuthError::new(Code::InvalidRequestObject, "the request object is not valid")
        })?;
        Ok(Cow::Owned(Params::new(read.parameters)?))
    }
}
