//! `Members` by gossip: nodes tell each other over UDP who is there.
//!
//! A few times a second every node says that it still is, and what it knows of others, to a few others
//! chosen by chance; who is spoken to answers in kind. So news reach everybody in a number of rounds
//! that grows with the logarithm of their number, and no node is needed for it. Whether somebody is
//! there is judged by how long it has been silent compared with how it used to be heard
//! (`gossip/suspicion.rs`), on time since boot.
//!
//! What is kept of it, and what follows from what is heard, is `gossip/table.rs`, which does no I/O.
//! Every datagram is sealed with a key of the installation (`gossip/seal.rs`): whoever has it not is
//! neither heard nor answered, and is not even parsed.
//!
//! Nothing is decided by it that must not happen twice. It shows who is there, and together with the
//! leases in the store, whether the network is cut ([`tegata_core::unity`]).

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tegata_core::{
    Members, Node, Secret,
    port::{BoxFuture, Changes, Facts, Member},
};
use tokio::{
    net::{UdpSocket, lookup_host},
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use self::{seal::Seal, table::Table, voice::Voice, wire::Record};

mod seal;
mod suspicion;
mod table;
mod voice;
mod wire;

/// How often names of first contacts are looked up.
const LOOKUP: Duration = Duration::from_secs(30);

/// How a node takes part.
#[derive(Debug, Clone)]
pub struct GossipConfig {
    /// Where to hear the others. Port 0: the system chooses.
    pub listen: SocketAddr,
    /// Where the others reach that, if it is not the same.
    pub advertise: Option<SocketAddr>,
    /// Whom to speak to first, as `HOST:PORT`: some of the others. A node that is among its own first
    /// contacts does not mind, so all nodes may be given the same.
    pub contacts: Vec<String>,
    /// How often to speak.
    pub interval: Duration,
    /// How much longer than usual a node may be silent without being thought less of.
    pub pause: Duration,
    /// How sure to be before a node is suspected: at 8, one silence in 10⁸ lasts that long although
    /// the node is there, as far as its past tells.
    pub threshold: f64,
    /// After which time a node that is suspected is none any more.
    pub forgotten: Duration,
}

impl Default for GossipConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            advertise: None,
            contacts: Vec::new(),
            interval: Duration::from_millis(500),
            pause: Duration::from_secs(2),
            threshold: 8.0,
            forgotten: Duration::from_secs(600),
        }
    }
}

/// Why a node cannot take part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GossipRefused {
    /// Nothing can be heard there.
    #[error(
        "the other nodes cannot be heard on UDP at `{address}`: {detail}; name an address of this \
         machine whose port nobody else uses"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        detail: String,
    },
    /// The others could not reach us.
    #[error(
        "`{address}` stands for every address of this machine, and the other nodes need one: say \
         also under which address they reach it"
    )]
    Anywhere {
        /// Where we listen.
        address: SocketAddr,
    },
    /// The secret cannot be used.
    #[error("the key of the cluster cannot be used: {detail}")]
    Key {
        /// What is wrong.
        detail: &'static str,
    },
}

/// `Members` by gossip; see [the module](self). Clones are the same node. It is silent as soon as the
/// last clone is dropped.
#[derive(Clone)]
pub struct Gossip(Arc<Inner>);

struct Inner {
    bound: SocketAddr,
    address: SocketAddr,
    facts: watch::Sender<Facts>,
    members: watch::Receiver<Vec<Member>>,
    strangers: Arc<Strangers>,
    _tasks: JoinSet<()>,
}

/// Datagrams that were not heard.
#[derive(Debug, Default)]
struct Strangers {
    foreign: AtomicU64,
    stale: AtomicU64,
}

impl Gossip {
    /// Takes part in `cluster`, as a node that operators call `name`. Who has another `key`, or is of
    /// another cluster, is not heard.
    ///
    /// # Errors
    /// [`GossipRefused`].
    pub async fn start(
        config: GossipConfig,
        key: &Secret<[u8; 32]>,
        cluster: &str,
        name: &str,
        node: &Node,
        facts: Facts,
    ) -> Result<Self, GossipRefused> {
        let listen = config.listen;
        let refused = |error: std::io::Error| GossipRefused::Listen {
            address: listen,
            detail: error.to_string(),
        };
        let socket = UdpSocket::bind(listen).await.map_err(refused)?;
        let bound = socket.local_addr().map_err(refused)?;
        let address = config.advertise.unwrap_or(bound);
        if address.ip().is_unspecified() {
            return Err(GossipRefused::Anywhere { address });
        }
        let seal = Seal::new(key, cluster, node.entropy());
        let seal = seal.ok_or(GossipRefused::Key { detail: "no key can be derived from it" })?;
        let me = Record::of(node, name, address, facts.clone());
        let table = Table::new(me, &config);
        let (sender, members) = watch::channel(table.members());
        let (facts, said) = watch::channel(facts);
        let (contacts, strangers) = (Arc::<Mutex<Vec<SocketAddr>>>::default(), Arc::default());
        let voice = Voice {
            node: node.clone(),
            socket,
            seal,
            table,
            contacts: Arc::clone(&contacts),
            said,
            members: sender,
            strangers: Arc::clone(&strangers),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(look_up(config.contacts, contacts));
        tasks.spawn(voice.speak(config.interval));
        Ok(Self(Arc::new(Inner { bound, address, facts, members, strangers, _tasks: tasks })))
    }

    /// Where the others reach this node.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Where this node listens.
    #[must_use]
    pub fn bound(&self) -> SocketAddr {
        self.0.bound
    }

    /// How many datagrams were ignored because they were not sealed with our key.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        self.0.strangers.foreign.load(Ordering::Relaxed)
    }

    /// How many datagrams were ignored because they are from another time: repeated by somebody, or
    /// from a node whose clock is wrong.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.0.strangers.stale.load(Ordering::Relaxed)
    }
}

impl Members for Gossip {
    fn members(&self) -> Vec<Member> {
        self.0.members.borrow().clone()
    }

    fn publish(&self, facts: Facts) {
        self.0.facts.send_if_modified(|said| {
            let changed = *said != facts;
            *said = facts;
            changed
        });
    }

    fn watch(&self) -> Box<dyn Changes> {
        Box::new(Watching(self.0.members.clone()))
    }
}

struct Watching(watch::Receiver<Vec<Member>>);

impl Changes for Watching {
    fn next(&mut self) -> BoxFuture<'_, Option<Vec<Member>>> {
        Box::pin(async move {
            self.0.changed().await.ok()?;
            Some(self.0.borrow_and_update().clone())
        })
    }
}

/// Keeps the addresses of first contacts true: names may come to mean others.
async fn look_up(contacts: Vec<String>, found: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut again = interval(LOOKUP);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        again.tick().await;
        let (mut addresses, mut failed) = (Vec::new(), false);
        for contact in &contacts {
            match lookup_host(contact.as_str()).await {
                Ok(these) => addresses.extend(these),
                Err(error) => {
                    failed = true;
                    if !failing {
                        tracing::warn!(%error, "`{contact}`, a first contact of the cluster, is unknown");
                    }
                }
            }
        }
        failing = failed;
        *found.lock() = addresses;
    }
}
