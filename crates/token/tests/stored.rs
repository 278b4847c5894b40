//! Families, keys and revocations on real stores.

#![cfg(test)]

mod stored {
    pub(crate) mod api_keys;
    pub(crate) mod failures;
    pub(crate) mod keys;
    pub(crate) mod race;
    pub(crate) mod refresh;
    pub(crate) mod vault;
    pub(crate) mod world;
}
