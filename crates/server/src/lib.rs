//! The public and operations listeners: the OAuth endpoints, the browser API, the pages.
//!
//! A handler has three steps and no rules of its own: it reads a request, asks the domain, and
//! answers. [`router()`] answers with all of the public listener as one service, so tests need no
//! socket; [`serve::serve`] puts it on one.
//!
//! | module | subject |
//! |---|---|
//! | [`app`] | what the handlers are given |
//! | [`router`](mod@router) | every path of the public listener |
//! | `oauth2` | the endpoints for clients |
//! | `well_known`, `status_lists` | what verifiers fetch |
//! | [`access`] | what policies decide, for others that enforce it |
//! | [`admin`] | administration over HTTP |
//! | [`signals`] | what happened, told to receivers and heard from transmitters |
//! | `browser` | the JSON interface for scripts of our own origin |
//! | `pages` | what people see; `messages` has the words |
//! | `signed_in` | who is signed in, beginning and ending that |
//! | `renewing` | new passwords of people who are signed in |
//! | `proving` | how people prove who they are: by password, by a second factor, once more |
//! | `lowering` | what sessions lose with a second factor |
//! | `confirmed` | answers that wait until every node refuses what was taken back |
//! | [`unfinished`] | work that goes on when whoever asked for it goes away |
//! | `letterhead` | the words of mail |
//! | [`endings`] | the end of a session, in the revocation log |
//! | `caller`, `trace` | who asks, from where, under which name in the logs |
//! | `certificate` | the certificate that a client shows |
//! | `bearer`, `body`, [`form`], [`limits`] | requests, read within limits |
//! | `navigation` | pages are for windows that people go to, and not for scripts |
//! | `negotiate` | in which form an answer is wanted |
//! | `headers`, [`problem`] | what answers carry, and what they say when they refuse |
//! | [`metrics`], [`operations`] | what operators see |
//! | [`recorded`] | what was decided, in the log of decisions |
//! | [`lookout`] | what administrators see in the console |
//! | [`serve`](mod@serve) | listeners on sockets |

pub mod access;
mod acting;
pub mod admin;
pub mod app;
mod bearer;
mod body;
mod browser;
mod caller;
mod certificate;
mod confirmed;
mod dpop;
pub mod endings;
pub mod form;
mod headers;
mod letterhead;
pub mod limits;
pub mod lookout;
mod lowering;
mod messages;
pub mod metrics;
mod navigation;
mod negotiate;
mod oauth2;
pub mod operations;
mod pages;
mod panicked;
pub mod problem;
mod proving;
pub mod recorded;
mod refusals;
mod renewing;
pub mod router;
pub mod serve;
mod session_data;
pub mod signals;
mod signed_in;
mod status_lists;
mod trace;
pub mod unfinished;
mod well_known;

pub use admin::Administration;
pub use app::{App, ApprovalProof, BrowserClient, Config, Confirm, ConsoleAt, Parts};
pub use caller::Peer;
pub use certificate::PeerCertificate;
pub use endings::{
    NarrowedTokens, RevokedSessions, SessionsOfFamilies, SessionsOfHolder, SupersededPasswords,
};
pub use letterhead::Letterhead;
pub use limits::Limits;
pub use lookout::Lookout;
pub use lowering::lower_sessions;
pub use metrics::Metrics;
pub use operations::{Check, Operations, Severity, Unwell};
pub use problem::{Fault, Problem};
pub use recorded::{
    AskedFor, Decision, Decisions, Evaluated, Evaluation, MOST_POLICIES, Named, NotRecorded,
};
pub use router::{router, router_for_gateway};
pub use serve::{Tls, serve};
pub use signals::{Inlet, NotHeard};
pub use status_lists::LISTED_WITHIN;
pub use unfinished::Unfinished;
