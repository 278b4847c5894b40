//! Scenarios that break a running installation on purpose, the promises that it made, and what became
//! of them.
//!
//! | module | subject |
//! |---|---|
//! | [`scenario`] | a way to break something, and the rounds of it |
//! | [`scenarios`] | all of them, by the rows of the fault matrix |
//! | [`stage`] | an installation with people, clients and services |
//! | [`foreign`] | another issuer, whose tokens count |
//! | [`bus`] | somebody who listens where nodes speak to each other |
//! | [`sidecar`] | a sidecar beside its service |
//! | [`load`] | what these do all the time |
//! | [`ledger`] | what they were promised |
//! | [`series`] | what they asked, and how it was answered |
//! | [`look`] | what a node holds at a moment |
//! | [`progress`] | how far a round is, for whoever waits |
//! | [`report`], [`plot`] | what a round saw, as a table and as a picture |
//! | [`soak`] | a gateway that is used for long, and whether it grows |
//! | [`playground`] | an installation for whoever wants to try it |
//! | [`http`], [`seed`], [`time`] | what the rest is made of |

pub mod bus;
pub mod foreign;
pub mod http;
pub mod ledger;
pub mod load;
pub mod look;
pub mod playground;
pub mod plot;
pub mod progress;
pub mod report;
pub mod scenario;
pub mod scenarios;
pub mod seed;
pub mod series;
pub mod sidecar;
pub mod soak;
pub mod stage;
pub mod time;

pub use playground::play;
pub use progress::Progress;
pub use scenario::{Breaks, OFTEN, Round, Run, Scenario, run};
pub use scenarios::SCENARIOS;
