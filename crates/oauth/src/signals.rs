//! Shared Signals (SSF 1.0): telling other systems what happened to people and their sessions, and
//! hearing it from them.
//!
//! | module | subject |
//! |---|---|
//! | [`kind`] | the kinds of signal, by their URIs (CAEP 1.0, RISC 1.0) |
//! | [`told`] | which signals an event of the journal is |
//! | [`subject`] | whom a signal is about (RFC 9493) |
//! | [`endpoint`] | where signals may be sent |
//! | [`stream`] | what a receiver has ordered, and how far it was delivered |
//! | [`streams`] | the streams of a realm: what their receivers do with them; `form`, `people` and `notices` are parts of it |
//! | [`exchange`] | what is due on a stream (`walk`, `write`), and what was acknowledged |
//! | [`access`] | which client may do that |
//! | [`heard`] | what follows from a signal of another system |

pub mod access;
pub mod endpoint;
pub mod exchange;
mod form;
pub mod heard;
pub mod kind;
mod notices;
mod people;
pub mod stream;
pub mod streams;
pub mod subject;
pub mod told;
mod walk;
mod write;

pub use endpoint::Endpoint;
pub use exchange::{Exchanged, Handled, Outgoing, RefusedSet};
pub use heard::{Follows, Whom};
pub use kind::SignalKind;
pub use stream::{Delivery, Status, Stream};
pub use streams::{StreamRefused, StreamRules, Streams};
