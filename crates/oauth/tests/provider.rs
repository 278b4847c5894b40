//! The provider on stores in memory, asked as its endpoints ask it.

#![cfg(test)]

mod provider {
    pub(crate) mod api_keys;
    pub(crate) mod backchannel;
    pub(crate) mod claims_parameter;
    pub(crate) mod clients;
    pub(crate) mod code;
    pub(crate) mod delegation;
    pub(crate) mod described;
    pub(crate) mod details;
    pub(crate) mod device;
    pub(crate) mod dpop;
    pub(crate) mod fapi;
    pub(crate) mod lowered;
    pub(crate) mod machine;
    pub(crate) mod meanwhile;
    pub(crate) mod mtls;
    pub(crate) mod pairwise;
    pub(crate) mod pushed;
    pub(crate) mod reference;
    pub(crate) mod request_object;
    pub(crate) mod resource;
    pub(crate) mod response;
    pub(crate) mod signals;
    pub(crate) mod transaction;
    pub(crate) mod withdrawn;
    pub(crate) mod world;
}
