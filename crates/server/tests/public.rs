//! The public listener as browsers, clients and those who mean harm meet it: through the router, on
//! stores in memory, without a socket.

#![cfg(test)]

mod public {
    pub(crate) mod access;
    pub(crate) mod admin;
    pub(crate) mod admin_requests;
    pub(crate) mod attacked;
    pub(crate) mod away;
    pub(crate) mod bench;
    pub(crate) mod browser;
    pub(crate) mod browser_api;
    pub(crate) mod clients;
    pub(crate) mod confirming;
    pub(crate) mod conformance;
    pub(crate) mod consent;
    pub(crate) mod console;
    pub(crate) mod console_events;
    pub(crate) mod demanded;
    pub(crate) mod device;
    pub(crate) mod dpop;
    pub(crate) mod fingerprint;
    pub(crate) mod flow;
    pub(crate) mod front;
    pub(crate) mod held;
    pub(crate) mod hostile;
    pub(crate) mod links;
    pub(crate) mod logout;
    pub(crate) mod lookout;
    pub(crate) mod lowered;
    pub(crate) mod mailbox;
    pub(crate) mod pages;
    pub(crate) mod pairwise;
    pub(crate) mod passkey;
    pub(crate) mod presence;
    pub(crate) mod recorded;
    pub(crate) mod refused;
    pub(crate) mod reset;
    pub(crate) mod rotation;
    pub(crate) mod second_factor;
    pub(crate) mod second_step;
    pub(crate) mod security;
    pub(crate) mod session_data;
    pub(crate) mod sign_up;
    pub(crate) mod signals;
    pub(crate) mod signed;
    #[expect(dead_code, reason = "the tests of the domain need more of it")]
    #[path = "../../../identity/tests/authenticator/soft.rs"]
    pub(crate) mod soft;
    pub(crate) mod status_lists;
    pub(crate) mod switch;
    pub(crate) mod told;
    pub(crate) mod well_known;
}
