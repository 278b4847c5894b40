//! What PostgreSQL adds to the contract of the ports: opening by several nodes and releases, outages,
//! lost answers, partitions, writers that commit late, encryption.

#[cfg(test)]
mod postgres {
    mod commits;
    mod days;
    mod encryption;
    mod logs;
    mod opening;
    mod outages;
    mod proxy;
    mod silence;
    mod speed;
    mod support;
}
