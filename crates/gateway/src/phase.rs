//! The way of a request, in six phases:
//!
//! | phase | asks | answers |
//! |---|---|---|
//! | [`admit`] | is this one request, and can it be read in one way? | 400, 405, 414, 417, 421, 429, 431, 501 |
//! | [`identify`] | who sends it, and does the credential still count? | 400, 401, 403, 503 |
//! | [`limit`] | how often may they? | 429 |
//! | [`decide`] | may they? | 401, 403, 404, 405, 413 |
//! | [`forward`] | what does the service say? | 400, 408, 413, 502, 503, 504 |
//! | [`record`] | can it be written down, where it must be? | 503 |
//!
//! The first four see the head alone, so they can answer for another proxy too.

pub(crate) mod admit;
pub(crate) mod decide;
pub(crate) mod forward;
pub(crate) mod identify;
pub(crate) mod limit;
pub(crate) mod record;
