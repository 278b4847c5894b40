//! What clients, dashboards and scripts rely on, checked from outside: one demo is started as a
//! program, and everything is asked over HTTP and the command line.

#![cfg(test)]

mod contract {
    pub(crate) mod administration;
    pub(crate) mod administration_races;
    pub(crate) mod answers;
    pub(crate) mod assertions;
    pub(crate) mod authorize;
    pub(crate) mod back_channel;
    mod bff;
    pub(crate) mod browser;
    pub(crate) mod browser_api;
    pub(crate) mod commands;
    pub(crate) mod consent;
    pub(crate) mod delegation;
    pub(crate) mod demo;
    pub(crate) mod described;
    pub(crate) mod discovery;
    mod events;
    pub(crate) mod exchange;
    pub(crate) mod forged;
    pub(crate) mod gateway;
    pub(crate) mod grants;
    pub(crate) mod graphql;
    pub(crate) mod hostile;
    pub(crate) mod http;
    pub(crate) mod jwt;
    mod login_timing;
    pub(crate) mod monitoring;
    mod oauth2_crate;
    mod openidconnect_crate;
    pub(crate) mod operations;
    pub(crate) mod options;
    pub(crate) mod pairwise;
    pub(crate) mod promql;
    pub(crate) mod publisher;
    pub(crate) mod racing;
    pub(crate) mod refusals;
    pub(crate) mod registration;
    pub(crate) mod request_objects;
    pub(crate) mod second_factor;
    pub(crate) mod shortage;
    pub(crate) mod tokens;
    mod tracing;
    pub(crate) mod wire;
}
