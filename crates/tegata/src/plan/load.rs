//! What people do: how many there are, how often they sign in and call, how long tokens live.

use std::time::Duration;

use super::{count::Count, money::Percent};

/// The most people that are planned for. There are fewer.
pub(crate) const MOST_USERS: u64 = 100_000_000_000;

/// What people do. Numbers are of one average day.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Load {
    /// How many people there are.
    pub(crate) users: Count,
    /// How often one of them signs in a day.
    pub(crate) sign_ins: f64,
    /// For how long after a sign-in tokens are kept fresh.
    pub(crate) active: Duration,
    /// How many calls one of them makes a day, each of which is checked.
    pub(crate) requests: f64,
    /// The share of access tokens that is taken back one by one.
    pub(crate) revoked: Percent,
    /// The share of sign-ins that end by signing out.
    pub(crate) sign_outs: Percent,
    /// How much more happens in the busiest hour than on average.
    pub(crate) peak: f64,
    /// How long an access token lives.
    pub(crate) access: Duration,
    /// How long a refresh token lives that is not used.
    pub(crate) refresh: Duration,
    /// How long all tokens of a sign-in live at most.
    pub(crate) absolute: Duration,
    /// How long a browser session lives at most.
    pub(crate) session: Duration,
}

impl Load {
    /// What is wrong with it although each number of it is a good one: the option, and why.
    pub(crate) fn contradiction(&self) -> Option<String> {
        let secs = |span: Duration| span.as_secs_f64();
        if self.refresh > self.absolute {
            return Some(format!(
                "`--refresh-lifetime` of {} s is longer than `--refresh-absolute` of {} s, which \
                 would always end it: lower the first or raise the second",
                secs(self.refresh),
                secs(self.absolute)
            ));
        }
        if self.active > self.absolute {
            return Some(format!(
                "`--active` of {} s is longer than `--refresh-absolute` of {} s: nobody stays signed \
                 in for so long",
                secs(self.active),
                secs(self.absolute)
            ));
        }
        None
    }

    /// The same people, with nothing taken back.
    pub(crate) fn taking_nothing_back(&self) -> Self {
        Self { revoked: Percent::whole(0), sign_outs: Percent::whole(0), ..self.clone() }
    }
}

/// How often something happens in a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// On average.
    pub(crate) average: f64,
    /// In the busiest hour.
    pub(crate) peak: f64,
}

/// How often everything happens.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rates {
    /// How many access tokens one sign-in comes to have.
    pub(crate) tokens_of_sign_in: f64,
    /// Sign-ins.
    pub(crate) sign_ins: Rate,
    /// Refreshes.
    pub(crate) refreshes: Rate,
    /// Calls through the gateway, each of which is checked.
    pub(crate) checks: Rate,
    /// Access tokens that are issued.
    pub(crate) tokens: Rate,
    /// Tokens that are taken back one by one.
    pub(crate) revoked: Rate,
    /// Sign-outs.
    pub(crate) sign_outs: Rate,
}

/// Seconds of a day.
pub(crate) const DAY: f64 = 86_400.0;

impl Rates {
    /// The rates of a load.
    pub(crate) fn of(load: &Load) -> Self {
        let rate = |a_day: f64| {
            let average = load.users.number() * a_day / DAY;
            Rate { average, peak: average * load.peak }
        };
        let fresh = load.active.as_secs_f64() / load.access.as_secs_f64();
        let tokens_of_sign_in = Count::rounded_up(fresh).unwrap_or_default().number().max(1.0);
        let tokens = load.sign_ins * tokens_of_sign_in;
        Self {
            tokens_of_sign_in,
            sign_ins: rate(load.sign_ins),
            refreshes: rate(tokens - load.sign_ins),
            checks: rate(load.requests),
            tokens: rate(tokens),
            revoked: rate(tokens * load.revoked.factor()),
            sign_outs: rate(load.sign_ins * load.sign_outs.factor()),
        }
    }
}

/// How many tokens are alive at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Alive {
    /// Access tokens, in the busiest hour.
    pub(crate) access: f64,
    /// Refresh tokens: one for each sign-in that has not died.
    pub(crate) refresh: f64,
    /// For how many seconds a sign-in's refresh token can be used.
    pub(crate) refresh_secs: f64,
}

impl Alive {
    /// Those of a load.
    pub(crate) fn of(load: &Load, rates: &Rates) -> Self {
        let refresh_secs = (load.active + load.refresh).min(load.absolute).as_secs_f64();
        Self {
            access: rates.tokens.peak * load.access.as_secs_f64(),
            refresh: rates.sign_ins.average * refresh_secs,
            refresh_secs,
        }
    }

    /// Both.
    pub(crate) fn all(self) -> f64 {
        self.access + self.refresh
    }
}
