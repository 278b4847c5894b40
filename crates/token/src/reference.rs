//! Access tokens that say nothing: what a client is given that is to know nothing of its token, and for
//! which the issuer keeps the token itself.
//!
//! ```text
//! at_<32 characters><16 characters>
//!    └ 192 random bits └ seal: HMAC-SHA-256 with a key of the realm, cut to 96 bits
//! ```
//!
//! The seal keeps what somebody makes up from being looked for. What is kept lives as long as the token, in
//! `Ephemeral`, under a keyed digest: nobody who reads the store can show a reference. Where it is lost,
//! the client gets another token.

use std::{fmt, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tegata_core::{
    Ephemeral, Node, Realm, Secret, StoreError, Timestamp,
    port::{Put, Space},
    secret,
};

use crate::root::Roots;

/// Where the tokens are kept.
pub static REFERENCES: Space = Space { name: "reference_token", indexed: false };

const PREFIX: &str = "at_";
const RANDOM: usize = 32;
const SEAL: usize = 16;
const LENGTH: usize = PREFIX.len() + RANDOM + SEAL;

/// For how much longer than the token what is kept of it lives: clocks may differ.
const SLACK: Duration = Duration::from_secs(60);

/// The references of one realm.
#[derive(Clone)]
pub struct ReferenceTokens {
    node: Node,
    realm: Realm,
    ephemeral: Arc<dyn Ephemeral>,
    /// The newest first.
    roots: Arc<Vec<Root>>,
}

struct Root {
    seal: hmac::Key,
    name: hmac::Key,
}

/// Whether a text says that it is a reference. No JWT does.
#[must_use]
pub fn looks_like_one(text: &str) -> bool {
    text.starts_with(PREFIX)
}

impl ReferenceTokens {
    /// The references of `realm`. `roots` are of a purpose of their own. `None`: there is no root secret.
    #[must_use]
    pub fn new(
        node: Node,
        realm: Realm,
        ephemeral: Arc<dyn Ephemeral>,
        roots: &Roots,
    ) -> Option<Self> {
        let root = |number| {
            let derive = |what: &[u8]| roots.derive(number, &[realm.as_str().as_bytes(), what]);
            Some(Root { seal: derive(b"seal")?, name: derive(b"name")? })
        };
        let all: Vec<_> = (roots.oldest()..=roots.newest()).rev().filter_map(root).collect();
        let roots = Some(Arc::new(all)).filter(|roots| !roots.is_empty())?;
        Some(Self { node, realm, ephemeral, roots })
    }

    /// A reference for a token that ends at `ends`. When this answers, every node knows it.
    ///
    /// # Errors
    /// What the store says: then there is none.
    pub async fn issue(&self, token: &str, ends: Timestamp) -> Result<Secret<String>, StoreError> {
        let root = self.roots.first().ok_or_else(|| StoreError::Misused {
            detail: "there is no root secret for opaque tokens".to_owned(),
        })?;
        let mut random = [0_u8; RANDOM / 4 * 3];
        self.node.entropy().fill(&mut random);
        let mut text = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
        let seal = root.seal(text.as_bytes());
        text.push_str(&seal);
        let text = Secret::new(text);
        let put = Put {
            key: root.name(text.expose()),
            value: token.as_bytes().to_vec(),
            lifetime: ends.since(self.node.now()) + SLACK,
            index: None,
        };
        self.ephemeral.put(&self.realm, &REFERENCES, put).await?;
        Ok(text)
    }

    /// By what a reference is known, which does not tell it. `None`: this realm did not issue it. Nobody is
    /// asked.
    #[must_use]
    pub fn name_of(&self, text: &str) -> Option<String> {
        self.issuer_of(text).map(|root| root.name(text))
    }

    /// The token that a reference stands for. What this realm did not issue is answered without asking
    /// anybody. Whether the token counts, whoever verifies it says.
    ///
    /// # Errors
    /// What the store says.
    pub async fn resolve(&self, text: &str) -> Result<Option<Secret<String>>, StoreError> {
        let Some(root) = self.issuer_of(text) else { return Ok(None) };
        let held = self.ephemeral.get(&self.realm, &REFERENCES, &root.name(text)).await?;
        Ok(held.and_then(|held| String::from_utf8(held.value).ok()).map(Secret::new))
    }

    fn issuer_of(&self, text: &str) -> Option<&Root> {
        if text.len() != LENGTH || !text.is_ascii() || !looks_like_one(text) {
            return None;
        }
        let (body, seal) = text.split_at_checked(LENGTH - SEAL)?;
        let is_of =
            |root: &&Root| secret::matches(root.seal(body.as_bytes()).as_bytes(), seal.as_bytes());
        self.roots.iter().find(is_of)
    }
}

impl Root {
    fn seal(&self, body: &[u8]) -> String {
        let tag = hmac::sign(&self.seal, body);
        URL_SAFE_NO_PAD.encode(tag.as_ref().get(..SEAL / 4 * 3).unwrap_or_default())
    }

    fn name(&self, text: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.name, text.as_bytes()))
    }
}

impl fmt::Debug for ReferenceTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReferenceTokens({:?})", self.node)
    }
}
