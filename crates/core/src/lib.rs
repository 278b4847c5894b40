//! What every part of Tegata shares: identifiers, time, secrets, the journal's words, and the
//! *ports* through which the domain reaches storage.
//!
//! Nothing here does I/O, except reading the clocks and the random source of the operating system
//! behind the [`Clock`] and [`Entropy`] traits.
//!
//! | module | subject |
//! |---|---|
//! | [`id`] | names of realms, people, clients, families, sessions, nodes |
//! | [`clock`] | wall time, time since boot, the hybrid clock that orders events across nodes |
//! | [`entropy`] | randomness |
//! | [`secret`] | values that are never printed and are wiped when dropped |
//! | [`caught`] | what panics while somebody waits for it |
//! | [`cause`] | which request something was done for |
//! | [`journal`] | events: what changed, who did it, in which realm |
//! | [`node`] | who runs this code: name, clocks, randomness |
//! | [`name`](mod@name) | short texts that are checked where they enter |
//! | [`network`] | networks, and who is counted as one |
//! | [`outward`] | which addresses are called that others name |
//! | [`proxies`] | proxies, and the address of whoever really asks |
//! | [`rate`] | how many requests pass |
//! | [`places`] | how many connections one client holds |
//! | [`port`] | the shapes of storage: `Records`, `Ephemeral`, `Feed`; `Members`, `Custody`, `Vault`, `Backstop`, `Counts` |
//! | [`repository`] | typed documents on `Records` |
//! | [`step_up`] | how strongly and how recently somebody was authenticated |
//! | [`hours`] | hours of the week |
//! | [`flight`] | one computation for many callers who ask the same at once |
//! | [`breaker`] | what does not answer is left alone for a while |
//! | [`unity`] | whether the cluster is whole, or nodes run that are not heard |

pub mod breaker;
pub mod caught;
pub mod cause;
pub mod clock;
pub mod entropy;
pub mod flight;
pub mod hours;
pub mod id;
pub mod journal;
pub mod merge;
pub mod name;
pub mod network;
pub mod node;
pub mod outward;
pub mod parting;
pub mod places;
pub mod port;
pub mod proxies;
pub mod rate;
pub mod repository;
pub mod secret;
pub mod step_up;
pub mod unity;

pub use breaker::{Breaker, BreakerLimits, BreakerOpen, BreakerState};
pub use caught::Panicked;
pub use cause::caused_by;
pub use clock::{
    Clock, Hybrid, HybridClock, ManualClock, SinceBoot, SteadyClock, SystemClock, Timestamp,
};
pub use entropy::{Entropy, OsEntropy, SeededEntropy};
pub use hours::{Hours, InvalidHours};
pub use id::{
    ClientId, Epoch, EventId, FamilyId, InvalidId, KeyId, NodeId, Realm, SessionId, TokenId, UserId,
};
pub use journal::{Event, EventType};
pub use merge::Merge;
pub use name::InvalidName;
pub use network::Network;
pub use node::Node;
pub use outward::Outward;
pub use parting::Parting;
pub use places::{Place, Places};
pub use port::{
    Backstop, Batch, BoxFuture, CommitRefused, Counts, Custody, CustodyRefused, Ephemeral, Expect,
    Feed, Kind, Lifetime, Log, Members, Records, StoreError, Subscription,
};
pub use proxies::{ClientCertificates, ForwardedBy, Proxies};
pub use rate::{Limiter, Quota, RateLimit};
pub use repository::{Stored, Versioned};
pub use secret::Secret;
pub use step_up::{Acr, MaxAge, StepUp};
pub use unity::Unity;
