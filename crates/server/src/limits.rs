//! How much of a request is read, and for how long.

use std::{net::IpAddr, time::Duration};

use axum::extract::Request;
use http::StatusCode;
use tegata_core::{Network, RateLimit};

use crate::{app::App, problem::Problem};

/// How much of a request is read, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The longest request target: 8 KiB. Beyond it: 414.
    pub target: usize,
    /// All header fields together: 32 KiB. Beyond it: 431.
    pub header_block: usize,
    /// How many header fields: 100. Beyond it: 431.
    pub header_fields: usize,
    /// The largest form: 64 KiB. Beyond it: 413.
    pub form: usize,
    /// The largest JSON document: 1 MiB. Beyond it: 413.
    pub json: usize,
    /// How deep a JSON document may be: 32.
    pub json_depth: usize,
    /// How long the header of a request may take, from its first byte to its last: 10 s.
    pub header_time: Duration,
    /// How long the body of a request may take: 10 s. Beyond it: 408.
    pub body_time: Duration,
    /// How long a client may take for the next part of an answer: 30 s. Then the connection ends.
    pub write_time: Duration,
    /// How many connections there may be at once: 10,000. More wait to be accepted.
    pub connections: usize,
    /// How many of them one client may have: 1,000. More are closed at once.
    pub connections_each: usize,
    /// How many authorization requests of one client are held for a person to sign in: 600 a minute.
    /// Each is kept for some minutes, and whoever sends them need not be known. Beyond it: 429.
    /// `None`: any number.
    pub held: Option<RateLimit>,
    /// How many clients of one network may register themselves, or change their registration: 100 an
    /// hour. Beyond it: 429. `None`: any number.
    pub registered: Option<RateLimit>,
    /// How many clients may be named from one network that nobody knows, so that the address that each
    /// is called by has to be asked: 60 a minute. Beyond it: 429 or 503. `None`: any number.
    pub strangers: Option<RateLimit>,
    /// How many letters one network may ask for, for whomever: 30 an hour. Beyond it: 429. `None`: any
    /// number.
    pub ordered: Option<RateLimit>,
    /// How many choices of cookies are recorded for one network: 60 an hour. Beyond it nobody can agree
    /// (429), and whoever refuses is believed without a record. `None`: any number.
    pub choices: Option<RateLimit>,
    /// How often one network may ask how a status list was at another time: 60 a minute. Beyond it: 429.
    /// `None`: any number.
    pub past: Option<RateLimit>,
    /// Networks whose requests are not counted.
    pub uncounted: Vec<Network>,
    /// Networks whose connections are not counted: proxies, which bring everybody, and this machine,
    /// where there may be one that nobody has named.
    pub uncounted_connections: Vec<Network>,
    /// How long connections may take to end when the listener does: 30 s.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            target: 8 * 1024,
            header_block: 32 * 1024,
            header_fields: 100,
            form: 64 * 1024,
            json: 1024 * 1024,
            json_depth: 32,
            header_time: Duration::from_secs(10),
            body_time: Duration::from_secs(10),
            write_time: Duration::from_secs(30),
            connections: 10_000,
            connections_each: 1000,
            held: "600/m".parse().ok(),
            registered: "100/h".parse().ok(),
            strangers: "60/m".parse().ok(),
            ordered: "30/h".parse().ok(),
            choices: "60/h".parse().ok(),
            past: "60/m".parse().ok(),
            uncounted: Vec::new(),
            uncounted_connections: Network::loopback().to_vec(),
            drain: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// Whether what comes from an address is counted.
    pub(crate) fn count(&self, address: IpAddr) -> bool {
        !self.uncounted.iter().any(|network| network.contains(address))
    }
}

/// Refuses a request whose head is too large, before anything looks at it.
pub(crate) fn check(app: &App, request: &Request) -> Result<(), Problem> {
    let limits = &app.config().limits;
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if target > limits.target {
        return Err(Problem::new(StatusCode::URI_TOO_LONG, "the address is too long"));
    }
    let fields = request.headers();
    // Name, value, and what stands between and after them.
    let block: usize =
        fields.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if block > limits.header_block || fields.len() > limits.header_fields {
        let detail = "the header of the request is too large";
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        return Err(Problem::new(status, detail));
    }
    Ok(())
}
