//! The way of a request, in five phases:
//!
//! | phase | asks | answers |
//! |---|---|---|
//! | [`admit`] | is this one request, and can it be read in one way? | 400, 405, 413, 414, 421, 429, 431, 501 |
//! | [`identify`] | who sends it, and does the credential still count? | 401, 403, 503 |
//! | [`decide`] | may they? | 401, 403, 404, 405, 429 |
//! | [`forward`] | what does the service say? | 413, 502, 503, 504 |
//! | [`record`] | | |
//!
//! The first three see the head alone, so they can answer for another proxy too.

pub(crate) mod admit;
pub(crate) mod decide;
pub(crate) mod forward;
pub(crate) mod identify;
pub(crate) mod record;
