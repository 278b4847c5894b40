//! What feeds on real servers add to the contract of `Feed`: opening, outages, what hearers outside
//! find, what others put there.

#[cfg(test)]
mod feeds {
    mod nats;
    mod outages;
    mod redis;
    mod sealed;
    mod support;
}
