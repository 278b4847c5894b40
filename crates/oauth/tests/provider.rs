//! The provider on stores in memory, asked as its endpoints ask it.

#![cfg(test)]

mod provider {
    pub(crate) mod clients;
    pub(crate) mod code;
    pub(crate) mod machine;
    pub(crate) mod meanwhile;
    pub(crate) mod signals;
    pub(crate) mod world;
}
