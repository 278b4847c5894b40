//! Gossip between real sockets: nodes that come and go, a network that is cut, strangers.

#[cfg(test)]
mod gossip {
    mod members;
    mod strangers;
    mod support;
    mod wire;
}
