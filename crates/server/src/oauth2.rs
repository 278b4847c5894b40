//! The endpoints for clients: RFC 6749, 7009, 7662, 8628, 9126, OpenID Connect.

pub(crate) mod asked;
pub(crate) mod authorize;
pub(crate) mod consent;
pub(crate) mod device;
pub(crate) mod introspect;
pub(crate) mod logout;
pub(crate) mod par;
pub(crate) mod register;
pub(crate) mod revocations;
pub(crate) mod revoke;
pub(crate) mod strangers;
pub(crate) mod token;
pub(crate) mod userinfo;
