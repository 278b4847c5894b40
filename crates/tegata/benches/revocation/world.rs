//! A node on SQLite, and tokens that could be any of 50 million.

use std::{fs, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tegata_core::{
    Batch, Custody, Epoch, EventId, Log, Node, Realm, Records, SystemClock, TokenId, port::Append,
};
use tegata_engines::{
    TegataNode,
    tegata::{Own, Shared, root_key},
};
use tegata_faults::{
    http::{Ask, Client},
    stage,
};
use tegata_store::{FileCustody, MemoryFeed, Sealed, Sqlite, SqliteConfig, sealed::DATA_KEYS};
use tegata_token::{
    Algorithm, Entry, Keys, ListId, Revoker, RotationRules, SigningKey, StatusIndex, Target, View,
    jws, status::LIST_LENGTH,
};
use tokio::runtime::Runtime;

use crate::PROGRAM;

/// Of so many tokens, and of so many people, one was taken back.
pub(crate) const ONE_IN: u64 = 100;

/// The first list that the node does not fill itself.
const FIRST_LIST: u64 = 100;

/// A node, alone on its store.
pub(crate) struct Alone {
    pub(crate) node: TegataNode,
    pub(crate) tokens: u64,
    sample: Value,
    pub(crate) key: Arc<SigningKey>,
    slot: u32,
}

impl Alone {
    /// A node before an origin, with so many tokens that are alive, and so many people, one in a hundred
    /// of which were taken back.
    pub(crate) fn start(name: &str, origin: u16, tokens: u64, people: u64) -> Self {
        Self::signing(Algorithm::Es256, name, origin, (tokens, people), Vec::new())
    }

    /// The same, whose tokens are signed in this way, and which finds more in its environment.
    pub(crate) fn signing(
        algorithm: Algorithm,
        name: &str,
        origin: u16,
        (tokens, people): (u64, u64),
        mut environment: Vec<(String, String)>,
    ) -> Self {
        let shared = Shared {
            root_key: root_key(Path::new(PROGRAM)),
            program: PROGRAM.into(),
            issuer: "http://localhost:8000".to_owned(),
            audience: "http://localhost:8080".to_owned(),
        };
        if algorithm != Algorithm::Es256 {
            let both = format!("[\"ES256\", \"{algorithm}\"]");
            environment.push(("TEGATA_KEYS__ALGORITHMS".to_owned(), both));
        }
        let store = "sqlite://tegata.db".to_owned();
        let own = Own { store, environment, ..Own::default() };
        let node = TegataNode::start(name, &shared, &own);
        stage::declare(&node, origin).unwrap();
        let sample = stage::issued(&mut Client::new(node.ports().public)).unwrap();
        let sample = stage::claims(&sample.token).unwrap();
        node.stop();
        let runtime = Runtime::new().unwrap();
        let slot = ListId::slot_at(Node::start().now());
        let key = runtime.block_on(async {
            let records = sealed(node.directory()).await;
            fill(records.as_ref(), slot, tokens, people).await;
            signer(&records, algorithm).await
        });
        node.launch();
        Self { node, tokens, sample, key, slot }
    }

    pub(crate) fn gateway(&self) -> Client {
        Client::new(self.node.ports().gateway)
    }

    pub(crate) fn public(&self) -> Client {
        Client::new(self.node.ports().public)
    }

    /// A token with this number, as the node would have given it to the robot. Those whose number is
    /// a multiple of [`ONE_IN`] were taken back.
    pub(crate) fn token(&self, number: u64) -> String {
        let (mut claims, node) = (self.sample.clone(), Node::start());
        let place = place(self.slot, number);
        let uri = claims["status"]["status_list"]["uri"].as_str().unwrap();
        let (before, _) = uri.rsplit_once('/').unwrap();
        let uri = format!("{before}/{}", place.list);
        claims["status"]["status_list"] = json!({"idx": place.index, "uri": uri});
        claims["jti"] = json!(TokenId::generate(Epoch::FIRST, node.entropy()).as_str());
        claims["iat"] = json!(node.now().secs());
        claims["exp"] = json!(node.now().secs() + 3600);
        jws::sign(&self.key, "at+jwt", claims.to_string().as_bytes()).unwrap()
    }

    /// Numbers of tokens by chance, none of which was taken back, or all.
    pub(crate) fn any(&self, many: usize, taken_back: bool) -> Vec<u64> {
        let mut state: u64 = 7;
        let next = || {
            state =
                state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
            let wide = u128::from(state) * u128::from(self.tokens);
            let number = u64::try_from(wide >> 64).unwrap() / ONE_IN * ONE_IN;
            number + u64::from(!taken_back)
        };
        std::iter::repeat_with(next).take(many).collect()
    }

    /// How the gateway answers a token.
    pub(crate) fn status(&self, client: &mut Client, token: &str) -> u16 {
        stage::call(client, "/bounded", token).unwrap().status
    }

    /// How many of so many tokens of both kinds are answered wrongly, and how many were asked about.
    pub(crate) fn wrong(&self, many: usize) -> (u64, u64) {
        let (mut client, mut wrong) = (self.gateway(), 0);
        for (taken_back, good) in [(true, 401), (false, 200)] {
            for number in self.any(many, taken_back) {
                let status = self.status(&mut client, &self.token(number));
                if status != good {
                    eprintln!("token {number}: {status} in place of {good}");
                    wrong += 1;
                }
            }
        }
        (wrong, 2 * u64::try_from(many).unwrap())
    }

    /// What the process has in memory, in MiB.
    pub(crate) fn resident(&self) -> f64 {
        let id = self.node.process().id().unwrap();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    /// Takes a token of the robot back.
    pub(crate) fn revoke(&self, client: &mut Client, token: &str) {
        let answer = stage::revoke(client, token).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// The request by which a verifier is told what is taken back.
pub(crate) fn notice(told: &str) -> Ask {
    let fields = [("nonce", "0123456789abcdef0123"), ("wait_ms", "0"), ("told", told)];
    let asked = if told.is_empty() { &fields[..2] } else { &fields[..] };
    Ask::form("/oauth2/revocations", asked).basic(stage::ROBOT.0, stage::ROBOT.1)
}

/// Where a token with this number stands.
fn place(slot: u32, number: u64) -> StatusIndex {
    let length = u64::from(LIST_LENGTH);
    let list = number / length;
    // Over four quarters of an hour, as long as tokens live.
    let slot = slot - u32::try_from(list % 4).unwrap();
    let number_of_list = u32::try_from(FIRST_LIST + list / 4).unwrap();
    let index = mixed(u32::try_from(number % length).unwrap());
    StatusIndex { list: ListId { epoch: Epoch::FIRST, slot, number: number_of_list }, index }
}

/// Another place for each of a list, in an order without a pattern: otherwise notices would be smaller than
/// they are.
fn mixed(mut index: u32) -> u32 {
    for factor in [0x9E37_79B1, 0x85EB_CA6B, 0xC2B2_AE35] {
        index = (index ^ index >> 10).wrapping_mul(factor) % LIST_LENGTH;
    }
    index ^ index >> 10
}

/// The store of a node that does not run, as that reads it.
pub(crate) async fn sealed(directory: &Path) -> Arc<dyn Records> {
    let kinds: Vec<_> = tegata_token::KINDS.into_iter().chain([&DATA_KEYS]).collect();
    let (path, settings) = (directory.join("tegata.db"), SqliteConfig::default());
    let sqlite = Sqlite::open(&path, &settings, &kinds, Arc::new(SystemClock)).unwrap();
    let node = Node::start();
    let key = directory.join("root.key");
    let custody: Arc<dyn Custody> = Arc::new(FileCustody::open(&key, &node).unwrap());
    Arc::new(Sealed::open(Arc::new(sqlite.records()), custody, &node).await.unwrap())
}

/// Enters what was taken back into the log, each by itself, as it would have come.
async fn fill(records: &dyn Records, slot: u32, tokens: u64, people: u64) {
    let node = Node::start();
    let (at, until) = (node.now(), node.now() + Duration::from_secs(3600));
    let step = usize::try_from(ONE_IN).unwrap();
    let of_tokens = (0..tokens).step_by(step).map(|number| {
        let target = Target::Token(TokenId::generate(Epoch::FIRST, node.entropy()));
        (target, vec![place(slot, number)])
    });
    let of_people = (0..people).step_by(step).map(|number| {
        let sub = format!("usr_{number:022}");
        (Target::Subject { sub, up_to: at, tokens_only: false }, Vec::new())
    });
    let mut batch = Batch::new(Realm::default());
    for (target, places) in of_tokens.chain(of_people) {
        let (reason, actor) = ("logout".to_owned(), "system".to_owned());
        let entry = Entry { target, places, at, until, reason, actor };
        let id = EventId::generate(node.entropy());
        batch = batch.append(Append { log: Log::Revocations, id, body: entry.to_bytes() });
        if batch.appends.len() == 1000 {
            let full = std::mem::replace(&mut batch, Batch::new(Realm::default()));
            records.commit(full).await.unwrap();
        }
    }
    records.commit(batch).await.unwrap();
}

/// The key that the node signs with.
async fn signer(records: &Arc<dyn Records>, algorithm: Algorithm) -> Arc<SigningKey> {
    let node = Node::start();
    let view = Arc::new(View::new(node.clone()));
    let revoker =
        Revoker::new(node.clone(), Arc::clone(records), Arc::new(MemoryFeed::new(16)), view);
    let algorithms = [algorithm];
    let keys = Keys::open(
        node,
        Realm::default(),
        Arc::clone(records),
        Arc::new(MemoryFeed::new(16)),
        revoker,
        RotationRules {
            published_for: Duration::from_secs(3600),
            verifies_for: Duration::from_secs(3660),
            signs_for: None,
        },
        &algorithms,
    );
    keys.await.unwrap().now().signer(algorithm).unwrap()
}
