//! Sessions on real stores: rotation, limits, rises and ends.

#![cfg(test)]

mod stored {
    pub(crate) mod data;
    pub(crate) mod earlier;
    pub(crate) mod ending;
    pub(crate) mod failures;
    pub(crate) mod fingerprint;
    pub(crate) mod idle;
    pub(crate) mod limit;
    pub(crate) mod near;
    pub(crate) mod presenting;
    pub(crate) mod raising;
    pub(crate) mod reading;
    pub(crate) mod world;
}
