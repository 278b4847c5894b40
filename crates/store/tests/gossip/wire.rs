//! A wire in front of a node that can be cut: the others reach the node through it, each by a socket of
//! its own, so that the node's answers find their way back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    net::UdpSocket,
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// The wire in front of one node.
pub(crate) struct Wire {
    address: SocketAddr,
    node: watch::Sender<Option<SocketAddr>>,
    cut: Arc<Mutex<BTreeSet<SocketAddr>>>,
    carrying: JoinHandle<()>,
}

impl Wire {
    /// A wire to a node that is yet to be named.
    pub(crate) async fn new() -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = socket.local_addr().unwrap();
        let (node, named) = watch::channel(None);
        let cut = Arc::<Mutex<BTreeSet<SocketAddr>>>::default();
        let carrying = tokio::spawn(carry(socket, named, Arc::clone(&cut)));
        Self { address, node, cut, carrying }
    }

    /// What the node is to advertise.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Names the node.
    pub(crate) fn leads_to(&self, node: SocketAddr) {
        self.node.send_replace(Some(node));
    }

    /// Carries nothing any more between the node and whoever listens at `other`.
    pub(crate) fn cut(&self, other: SocketAddr) {
        self.cut.lock().unwrap().insert(other);
    }

    /// Carries everything again.
    pub(crate) fn mend(&self) {
        self.cut.lock().unwrap().clear();
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.carrying.abort();
    }
}

async fn carry(
    front: Arc<UdpSocket>,
    named: watch::Receiver<Option<SocketAddr>>,
    cut: Arc<Mutex<BTreeSet<SocketAddr>>>,
) {
    let mut backs = BTreeMap::<SocketAddr, Arc<UdpSocket>>::new();
    let mut answers = JoinSet::new();
    let mut datagram = vec![0; 65_536];
    loop {
        let Ok((length, from)) = front.recv_from(&mut datagram).await else { continue };
        let Some(node) = *named.borrow() else { continue };
        if cut.lock().unwrap().contains(&from) {
            continue;
        }
        let back = match backs.get(&from) {
            Some(back) => Arc::clone(back),
            None => {
                let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
                backs.insert(from, Arc::clone(&back));
                let (front, back_again, cut) = (front.clone(), back.clone(), cut.clone());
                answers.spawn(async move {
                    let mut datagram = vec![0; 65_536];
                    loop {
                        let Ok((length, _)) = back_again.recv_from(&mut datagram).await else {
                            continue;
                        };
                        if !cut.lock().unwrap().contains(&from) {
                            // Whoever is gone does not hear it.
                            let _unsent = front.send_to(&datagram[..length], from).await;
                        }
                    }
                });
                back
            }
        };
        let _unsent = back.send_to(&datagram[..length], node).await;
    }
}
