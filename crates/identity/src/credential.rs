//! What people prove with who they are.

pub mod password;
