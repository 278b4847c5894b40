//! What is used once, on real stores.

#![cfg(test)]

mod stored {
    pub(crate) mod race;
    pub(crate) mod replay;
    pub(crate) mod reset;
    #[expect(dead_code, reason = "the tests of the crate itself need more of it")]
    #[path = "../authenticator/soft.rs"]
    pub(crate) mod soft;
    pub(crate) mod stores;
}
