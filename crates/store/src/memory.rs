//! The ports in memory: for one process, for tests, for embedding. Nothing survives the process.

mod backstop;
mod ephemeral;
mod feed;
mod members;
mod records;

pub use backstop::MemoryBackstop;
pub use ephemeral::MemoryEphemeral;
pub use feed::MemoryFeed;
pub use members::Alone;
pub use records::MemoryRecords;
