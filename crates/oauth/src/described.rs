//! Clients that nobody registered: a `client_id` that is an address, where a document says what the
//! client is (draft-ietf-oauth-client-id-metadata-document).
//!
//! Who comes with such a name is nobody, and may be lying: what is asked for at the address, how often
//! and for whom, is bounded here; people are always asked, and shown the address and not what the client
//! calls itself. Only what people have agreed to, or operators have refused, is written down.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tegata_core::{ClientId, StoreError, Timestamp, port::Change};
use tegata_token::Order;

use crate::{
    client::{Client, ClientMetadata, NotRegistered},
    error::{Code, OAuthError, Refused},
    provider::Provider,
    request::AuthorizationRequest,
};

mod address;
mod asking;
mod document;

pub use address::{Address, HostPattern, InvalidPattern};
pub(crate) use asking::Documents;
pub use document::read;

/// Which clients may describe themselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// The hosts at which they may; any, where none is named.
    pub hosts: Vec<HostPattern>,
    /// Whether they may do so on this machine, over plain HTTP: in development.
    pub local: bool,
}

/// What is kept of a client that describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Described {
    /// That operators will have nothing to do with it.
    #[serde(default)]
    pub refused: Option<Refusal>,
    /// That nothing is kept of it: nobody has agreed to anything with it, or it was removed since.
    #[serde(skip)]
    pub stranger: bool,
}

/// That operators will have nothing to do with a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: String,
}

/// Why a client that describes itself is not taken. The words are for its developer: none says what was
/// found at an address that is not the client's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDescribed {
    /// Its name is no address of a document.
    #[error("a client_id that is an address {0}")]
    Address(&'static str),
    /// Its host is none of those that are taken.
    #[error("clients at `{0}` are not taken here")]
    Host(String),
    /// Operators refused it.
    #[error("the client is refused here")]
    Refused,
    /// Its document says what cannot be.
    #[error("the document at the client_id is not taken: {0}")]
    Invalid(String),
    /// There is no document now.
    #[error(
        "there is no document at the client_id: it must be answered with 200, as JSON, at most {} \
         bytes long, within {} s, and without a redirect",
        asking::LONGEST,
        asking::PATIENCE.as_secs()
    )]
    Away,
    /// Too many documents are asked for.
    #[error("too many documents of clients are asked for; try again in a minute")]
    Busy,
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl NotDescribed {
    /// Whether another attempt could end otherwise, without anything being mended.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Away | Self::Busy | Self::Store(_))
    }
}

impl From<NotDescribed> for Refused {
    fn from(why: NotDescribed) -> Self {
        match why {
            NotDescribed::Store(error) => error.into(),
            why if why.is_passing() => {
                let description = "the document at the client_id cannot be had now";
                OAuthError::new(Code::TemporarilyUnavailable, description).into()
            }
            _ => {
                let description = "the client describes itself, and is not taken here";
                OAuthError::new(Code::InvalidClient, description).into()
            }
        }
    }
}

impl Client {
    /// The host that vouches for a client that describes itself, with its port where that is another
    /// than usual.
    #[must_use]
    pub fn host(&self) -> Option<String> {
        self.described.as_ref().and_then(|_| address::host_of(&self.id))
    }

    /// Whether anybody could have sent a request in its name and get the answer: nothing tells the
    /// programs of one machine apart (RFC 8252 §8.6).
    pub(crate) fn could_be_anybody(&self, request: &AuthorizationRequest) -> bool {
        self.described.is_some() && self.is_public() && !request.redirect_uri.starts_with("https:")
    }

    /// A client that describes itself, without what it may do. No more than this is kept of it: its
    /// document says the rest, and a release that knows no documents lets it do nothing.
    fn barely(id: &ClientId, name: &str, now: Timestamp) -> Result<Self, NotRegistered> {
        let metadata = ClientMetadata {
            client_id: id.as_str().to_owned(),
            client_name: Some(name.to_owned()),
            public: true,
            grant_types: Some([].into()),
            ..ClientMetadata::default()
        };
        Ok(Self { described: Some(Described::default()), ..metadata.read(now)? })
    }
}

impl Provider {
    /// The client of this name: as it was registered, or as it describes itself. One that is disabled is
    /// nobody.
    ///
    /// # Errors
    /// [`NotDescribed`].
    pub async fn client(&self, id: &ClientId) -> Result<Option<Client>, NotDescribed> {
        Ok(self.client_now(id).await?.map(Arc::unwrap_or_clone))
    }

    /// The same for whoever changes nothing of it.
    pub(crate) async fn client_now(
        &self,
        id: &ClientId,
    ) -> Result<Option<Arc<Client>>, NotDescribed> {
        match self.clients().now(self.realm(), id).await? {
            Some((client, _)) if client.disabled => Ok(None),
            Some((client, _)) if client.described.is_none() => Ok(Some(client)),
            known => {
                let known = known.map(|(client, _)| Arc::unwrap_or_clone(client));
                Ok(self.described(id, known).await?.map(Arc::new))
            }
        }
    }

    /// The client whose name is an address, as its document describes it. `known` is what is kept of it.
    async fn described(
        &self,
        id: &ClientId,
        known: Option<Client>,
    ) -> Result<Option<Client>, NotDescribed> {
        let Some(rules) = self.config().described.as_ref().filter(|_| Address::is_like(id)) else {
            return Ok(None);
        };
        let address = Address::read(id, rules)?;
        let own = known.as_ref().and_then(|client| client.described.as_ref());
        if own.is_some_and(|own| own.refused.is_some()) {
            return Err(NotDescribed::Refused);
        }
        let client = self.document_of(&address, known.is_some()).await?;
        let described = Some(Described { stranger: known.is_none(), ..Described::default() });
        // What people said to it before it was known is not said to it.
        let created = known.map_or_else(|| self.node().now(), |known| known.created);
        Ok(Some(Client { created, described, ..Client::clone(&client) }))
    }

    /// Whether somebody has to be asked who a client is that nobody knows, or may have to be for its keys:
    /// for whoever counts how often the same caller brings such names.
    ///
    /// # Errors
    /// What the store says.
    pub async fn is_stranger(&self, named: &str) -> Result<bool, StoreError> {
        let (Some(rules), Ok(id)) = (&self.config().described, ClientId::new(named)) else {
            return Ok(false);
        };
        let Ok(address) = Address::read(&id, rules) else { return Ok(false) };
        let needs_asking = match self.document_at_hand(&address, false) {
            None => true,
            Some(found) => found.is_ok_and(|client| client.jwks_uri.is_some()),
        };
        Ok(needs_asking && self.clients().load(self.realm(), &id).await?.is_none())
    }

    /// The client with which a person agrees, kept from now on if it describes itself.
    pub(crate) async fn acquainted(&self, client: &Client) -> Result<Client, StoreError> {
        if client.described.is_none() {
            return Ok(client.clone());
        }
        let kept = Client::barely(&client.id, &client.name, self.node().now());
        let kept = kept.map_err(|error| StoreError::Misused { detail: error.to_string() })?;
        let kept = self.clients().note(self.realm(), &kept).await?;
        Ok(Client { created: kept.created, described: kept.described, ..client.clone() })
    }

    /// Has nothing more to do with a client that describes itself, with what must change in the same
    /// moment: everything that was issued to it up to then is refused from the same moment on. What it is
    /// given while that is under way, and its families, are the caller's to take back afterwards.
    ///
    /// # Errors
    /// [`NotRegistered::Overtaken`] where something of it has changed since it was read.
    pub async fn refuse_client(
        &self,
        id: &ClientId,
        besides: Vec<Change>,
        order: &Order,
    ) -> Result<(), NotRegistered> {
        if !Address::is_like(id) {
            return Err(NotRegistered::NotDescribed(id.clone()));
        }
        // No client is known by an address that is written in another way.
        let anywhere = Rules { hosts: Vec::new(), local: true };
        if let Err(refused) = Address::read(id, &anywhere) {
            return Err(NotRegistered::NotAnAddress(id.clone(), refused.to_string()));
        }
        let now = self.node().now();
        let kept = Client::barely(id, id.as_str(), now)?;
        let refusal = Refusal { at: now, reason: order.reason.clone() };
        self.learn().await;
        let clients = self.clients().at_wish_of(&order.actor);
        let commit = |batch| self.revoker().commit(batch, self.up_to_now(id, order).1);
        clients.refuse_by(self.realm(), kept, refusal, besides, commit).await
    }
}
