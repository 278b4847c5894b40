//! What people prove with who they are.

mod base32;
pub mod passkey;
pub mod password;
pub mod recovery;
pub mod totp;
pub mod typed;
