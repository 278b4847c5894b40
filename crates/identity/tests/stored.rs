//! Second factors on real stores.

#![cfg(test)]

mod stored {
    pub(crate) mod race;
}
