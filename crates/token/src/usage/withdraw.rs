//! Taking back, in status lists too, what clients got in their own names.
//!
//! The entry of the log that names a client refuses all of it, wherever that is read. Whoever reads only
//! status lists knows no names, and no record says where these tokens stand; but the nodes remember it of
//! those of the last hour, which is as long as any of them lives.

use std::{fmt, sync::Arc};

use tegata_core::{Batch, BoxFuture, Node, Realm, StoreError, TokenId};

use super::Usage;
use crate::revocation::{Holder, LONGEST_ACCESS, Order, Revoker, Tally, Target, Withdrawable};

/// How many tokens are taken back together.
const TOGETHER: usize = 100;

/// The tokens that clients got in their own names.
#[derive(Clone)]
pub struct OwnTokens {
    node: Node,
    usage: Arc<Usage>,
    revoker: Revoker,
}

impl OwnTokens {
    /// Those that are remembered here.
    #[must_use]
    pub fn new(node: Node, usage: Arc<Usage>, revoker: Revoker) -> Self {
        Self { node, usage, revoker }
    }
}

impl Withdrawable for OwnTokens {
    fn kind(&self) -> &'static str {
        "tokens"
    }

    fn concerns(&self, holder: &Holder) -> bool {
        matches!(holder, Holder::Client(_))
    }

    fn withdraw<'a>(
        &'a self,
        realm: &'a Realm,
        holder: &'a Holder,
        order: &'a Order,
        tally: &'a Tally,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(async move {
            let Holder::Client(client) = holder else { return Ok(0) };
            let (now, view) = (self.node.now(), self.revoker.view().realm(realm));
            // What it is given from then on counts, unless it was removed: then it is given nothing.
            let Some(up_to) = view.client_up_to(client.as_str()) else { return Ok(0) };
            let known = self.usage.issued_to(client.as_str(), up_to);
            let own = known.into_iter().filter_map(|(jti, origin)| {
                let place = origin.place.filter(|place| !view.is_listed(*place))?;
                Some((TokenId::new(&jti).ok()?, place))
            });
            let entries: Vec<_> = own
                .map(|(jti, place)| {
                    let until = now + LONGEST_ACCESS * 2;
                    order.entry(Target::Token(jti), vec![place], (now, until))
                })
                .collect();
            let mut count = 0;
            tally.expect(u64::try_from(entries.len()).unwrap_or(u64::MAX));
            for some in entries.chunks(TOGETHER) {
                // The event is that of the order: it names the client.
                let batch = Batch::new(realm.clone());
                self.revoker.commit_freely(batch, some.to_vec()).await?;
                let some = u64::try_from(some.len()).unwrap_or(u64::MAX);
                tally.add(some);
                count += some;
            }
            Ok(count)
        })
    }
}

impl fmt::Debug for OwnTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnTokens({:?})", self.node)
    }
}
