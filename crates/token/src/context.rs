//! From where, and on which device, the request came that a token was made for.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The claim `context` of internal tokens, and of those that are made from them. It says where the request
/// came from that the gateway let pass, and nothing of who may use the token: services that are called
/// further on see the same, and are called from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Context {
    /// The address of the client, as far as the gateway believes it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ip: Option<IpAddr>,
    /// The device: the thumbprint of a key that is held there, of DPoP or of a client certificate. A session
    /// cookie names none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device_id: Option<String>,
}
