//! What nodes of Tegata hear each other through over UDP: it carries datagrams, and can be cut between one of
//! them and all others.
//!
//! Each node has a place there, which it advertises, and where the others seem to be that speak to it. So
//! answers come back the way that questions went.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

/// The longest datagram that there is.
const LONGEST: usize = 65_535;

/// How often a place looks whether it is gone.
const LOOKS: Duration = Duration::from_millis(200);

/// The ways of all nodes to each other. It is gone when this is dropped.
#[derive(Debug)]
pub struct Ether {
    places: Arc<Vec<Place>>,
    closed: Arc<AtomicBool>,
}

/// One node, as the others see it.
#[derive(Debug)]
struct Place {
    socket: UdpSocket,
    /// Where the node listens.
    node: SocketAddr,
    /// Where it seems to be.
    seems: SocketAddr,
    cut: AtomicBool,
}

impl Ether {
    /// Sound ways between so many nodes.
    #[must_use]
    pub fn between(nodes: usize) -> Self {
        let places: Arc<Vec<Place>> = Arc::new((0..nodes).map(|_| Place::new()).collect());
        let closed = Arc::default();
        for own in 0..nodes {
            let (places, closed) = (Arc::clone(&places), Arc::clone(&closed));
            thread::spawn(move || carry(&places, own, &closed));
        }
        Self { places, closed }
    }

    /// The section `[cluster]` of a node's configuration.
    ///
    /// # Panics
    /// There is no such node.
    #[must_use]
    pub fn section(&self, node: usize) -> String {
        let own = self.places.get(node).expect("a node of the installation");
        let seeds: Vec<_> = self.places.iter().map(|it| format!("\"{}\"", it.seems)).collect();
        format!(
            "[cluster]\nlisten = \"{}\"\nadvertise = \"{}\"\nseeds = [{}]\nname = \"node-{node}\"\n",
            own.node,
            own.seems,
            seeds.join(", ")
        )
    }

    /// Cuts a node off from all others, or joins it to them again. Datagrams that are not carried are lost.
    ///
    /// # Panics
    /// There is no such node.
    pub fn cut(&self, node: usize, is_cut: bool) {
        let place = self.places.get(node).expect("a node of the installation");
        place.cut.store(is_cut, Ordering::SeqCst);
    }
}

impl Drop for Ether {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
    }
}

impl Place {
    fn new() -> Self {
        let free = || UdpSocket::bind("127.0.0.1:0").expect("a port for datagrams");
        let address = |socket: &UdpSocket| socket.local_addr().expect("a port for datagrams");
        let socket = free();
        socket.set_read_timeout(Some(LOOKS)).expect("a socket that does not wait for ever");
        let (seems, node) = (address(&socket), address(&free()));
        Self { socket, node, seems, cut: AtomicBool::new(false) }
    }
}

/// Carries what is said to a node, so that it seems to come from where the others are.
fn carry(places: &[Place], own: usize, closed: &AtomicBool) {
    let Some(to) = places.get(own) else { return };
    let mut said = vec![0; LONGEST];
    while !closed.load(Ordering::SeqCst) {
        let Ok((length, from)) = to.socket.recv_from(&mut said) else { continue };
        let Some(speaker) = places.iter().find(|place| place.node == from) else { continue };
        if [to, speaker].iter().any(|place| place.cut.load(Ordering::SeqCst)) {
            continue;
        }
        // Where nobody listens any more, it is lost, as on any network.
        let _lost = speaker.socket.send_to(said.get(..length).unwrap_or_default(), to.node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[test]
    fn answers_come_back_and_whoever_is_cut_off_hears_and_says_nothing() {
        let ether = Ether::between(2);
        let nodes: Vec<_> =
            ether.places.iter().map(|it| UdpSocket::bind(it.node).unwrap()).collect();
        let [one, other] = &nodes[..] else { panic!("there are two") };
        let mut heard = [0; 16];
        let asks = |text: &str| one.send_to(text.as_bytes(), ether.places[1].seems).unwrap();
        let mut hears = |node: &UdpSocket, patience| {
            node.set_read_timeout(Some(patience)).unwrap();
            let (length, from) = node.recv_from(&mut heard).ok()?;
            Some((String::from_utf8_lossy(&heard[..length]).into_owned(), from))
        };
        asks("a");
        let (said, from) = hears(other, PATIENCE).unwrap();
        assert_eq!((said.as_str(), from), ("a", ether.places[0].seems));
        other.send_to(b"b", from).unwrap();
        assert_eq!(hears(one, PATIENCE).unwrap(), ("b".to_owned(), ether.places[1].seems));
        for cut in [0, 1] {
            ether.cut(cut, true);
            asks("lost");
            assert!(hears(other, LOOKS).is_none());
            ether.cut(cut, false);
        }
        asks("c");
        assert_eq!(hears(other, PATIENCE).unwrap().0, "c");
    }
}
