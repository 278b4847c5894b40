//! `Members` of a cluster of one.

use parking_lot::Mutex;
use tegata_core::{
    Members, Node,
    port::{BoxFuture, Changes, Facts, Member, Standing},
};
use tokio::sync::watch;

/// A node that has no others.
pub struct Alone {
    me: Mutex<Member>,
    changed: watch::Sender<Vec<Member>>,
}

impl Alone {
    /// This node, which operators call `name`.
    #[must_use]
    pub fn new(node: &Node, name: &str, facts: Facts) -> Self {
        let me = Member {
            id: node.id(),
            name: name.to_owned(),
            address: None,
            since: node.now(),
            standing: Standing::Alive,
            facts,
        };
        Self { changed: watch::Sender::new(vec![me.clone()]), me: Mutex::new(me) }
    }
}

impl Members for Alone {
    fn members(&self) -> Vec<Member> {
        vec![self.me.lock().clone()]
    }

    fn publish(&self, facts: Facts) {
        let mut me = self.me.lock();
        if me.facts != facts {
            me.facts = facts;
            self.changed.send_replace(vec![me.clone()]);
        }
    }

    fn watch(&self) -> Box<dyn Changes> {
        Box::new(Watching(self.changed.subscribe()))
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
