//! The root key in a PKCS#11 token: a hardware security module, a smart card, or SoftHSM; and, where
//! that is wanted, the keys that sign ([`Pkcs11Vault`]).
//!
//! The root key is an AES-256 key that the token made and never shows. Data keys go in and come out
//! wrapped with AES-GCM (PKCS#11 v3.0 §2.12.3). Everything that is asked of the token goes through
//! one thread and one session, one after the other, and nobody waits longer than a limit: a token
//! that hangs is [`CustodyRefused::Unavailable`], and holds up nothing else. A session that was lost
//! is opened anew.

use std::{path::PathBuf, time::Duration};

use tegata_core::{
    Custody, CustodyRefused, Node, Secret,
    port::{BoxFuture, DataKey},
};

use self::{thread::Thread, token::Token};
use super::Form;

mod gcm;
mod key;
mod module;
mod signing;
mod thread;
mod token;
mod vault;

pub use vault::Pkcs11Vault;

/// How long it may take to load the library and to log in: some modules are far away.
const OPENING: Duration = Duration::from_secs(30);

/// How long a nonce is: 96 bits, for which GCM is made (NIST SP 800-38D §8.2.2).
const NONCE: usize = 12;

/// How long a wrapped data key is after its nonce: as long as the key, and the tag.
const SEALED: usize = 32 + 16;

/// Where the root key is.
#[derive(Debug, Clone)]
pub struct Pkcs11Config {
    /// The library through which the token is reached, by its full path.
    pub module: PathBuf,
    /// The label of the token.
    pub token: String,
    /// The label of the key in it.
    pub key: String,
    /// The PIN of its user.
    pub pin: Secret<String>,
    /// How long an answer may take.
    pub timeout: Duration,
}

/// Why the root key in a token cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Pkcs11Refused {
    /// The library cannot be loaded, or does not start.
    #[error("the PKCS#11 module `{}` cannot be used: {detail}", path.display())]
    Module {
        /// Which one.
        path: PathBuf,
        /// What it or the system says.
        detail: String,
    },
    /// There is no token with this label.
    #[error("no token is called `{token}`; there {}", Listed(present))]
    NoToken {
        /// Its label.
        token: String,
        /// The labels of those that are there.
        present: Vec<String>,
    },
    /// Two tokens have this label, and nobody knows which is meant.
    #[error("two tokens are called `{0}`; give one of them another label")]
    TwoTokens(String),
    /// The token did not take the PIN. It is not tried again, because a few wrong ones lock a token.
    #[error(
        "the token `{token}` did not take the PIN ({detail}); it was tried once and is not tried \
         again, because a few wrong ones lock a token: mend it, then start again"
    )]
    Pin {
        /// The label of the token.
        token: String,
        /// What the token said.
        detail: String,
    },
    /// One wrong PIN more would lock the token, so none is tried.
    #[error(
        "the token `{0}` takes one more PIN and is locked if that is wrong, so none was tried; log \
         in by hand with the right one, which makes it count anew, then start again"
    )]
    LastTry(String),
    /// There is no key with this label in the token.
    #[error(
        "there is no key `{key}` in the token `{token}`; bring it back from the backup of the token, \
         or, for a store that is still empty, make one with `tegata key make-root`"
    )]
    NoKey {
        /// The label of the key.
        key: String,
        /// The label of the token.
        token: String,
    },
    /// Two keys have this label, and nobody knows which is meant.
    #[error("two keys in the token `{token}` are called `{key}`; give one of them another label")]
    TwoKeys {
        /// The label of the keys.
        key: String,
        /// The label of the token.
        token: String,
    },
    /// There is a key with this label, and none is made beside it.
    #[error("there is a key `{key}` in the token `{token}` already, and it is never replaced")]
    Exists {
        /// The label of the key.
        key: String,
        /// The label of the token.
        token: String,
    },
    /// The key cannot be a root key, or must not.
    #[error("the key `{key}` in the token `{token}` is no root key: {detail}")]
    Unfit {
        /// The label of the key.
        key: String,
        /// The label of the token.
        token: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// There is no key that signs with this id in the token.
    #[error(
        "there is no signing key `{key}` in the token `{token}`: it was deleted, or this is not the \
         token that it was made in; bring it back from the backup of the token, or make another key \
         sign with `tegata key rotate --force`"
    )]
    NoSigningKey {
        /// Its id, in hexadecimal.
        key: String,
        /// The label of the token.
        token: String,
    },
    /// The key must not sign.
    #[error("the signing key `{key}` in the token `{token}` is not used: {detail}")]
    UnfitSigningKey {
        /// Its id, in hexadecimal.
        key: String,
        /// The label of the token.
        token: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The token makes no keys of a kind.
    #[error(
        "the token `{token}` makes no {keys}: {detail}; take the algorithm out of `algorithms` of `[keys]`"
    )]
    Unsupported {
        /// Its label.
        token: String,
        /// The kind, and its mechanism.
        keys: &'static str,
        /// What it said.
        detail: String,
    },
    /// The token refused something.
    #[error("the token `{token}` does not {what}: {detail}")]
    Failed {
        /// The label of the token.
        token: String,
        /// What it was asked for.
        what: &'static str,
        /// What it said.
        detail: String,
    },
    /// The token has not answered in time.
    #[error("the token `{token}` has not answered within {} ms", limit.as_millis())]
    Silent {
        /// Its label.
        token: String,
        /// How long was waited.
        limit: Duration,
    },
    /// What asks the token does not run, or has too much to do already.
    #[error("the token `{token}` cannot be asked: {detail}")]
    Unasked {
        /// Its label.
        token: String,
        /// Why.
        detail: String,
    },
}

/// The labels of tokens, as a sentence goes on.
struct Listed<'a>(&'a [String]);

impl std::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            [] => f.write_str("are none in any slot"),
            [one] => write!(f, "is `{one}`"),
            several => write!(f, "are `{}`", several.join("`, `")),
        }
    }
}

impl From<Pkcs11Refused> for CustodyRefused {
    fn from(refused: Pkcs11Refused) -> Self {
        Self::Unavailable { detail: refused.to_string() }
    }
}

/// A root key in a token.
pub struct Pkcs11Custody {
    thread: Thread,
}

impl Pkcs11Custody {
    /// Logs in to the token, and finds the key.
    ///
    /// # Errors
    /// [`Pkcs11Refused`]; in particular, a key that is not there is never made.
    pub async fn open(config: Pkcs11Config, node: &Node) -> Result<Self, Pkcs11Refused> {
        let thread = Thread::start(&config, node)?;
        thread.call_within(OPENING, Token::open).await?;
        Ok(Self { thread })
    }

    /// Makes a root key in the token: one that wraps data keys and nothing else, and that the token
    /// never shows.
    ///
    /// # Errors
    /// [`Pkcs11Refused::Exists`] where there is one with this label.
    pub async fn create(config: Pkcs11Config, node: &Node) -> Result<(), Pkcs11Refused> {
        Thread::start(&config, node)?.call_within(OPENING, Token::make_key).await
    }
}

impl std::fmt::Debug for Pkcs11Custody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pkcs11Custody({})", self.thread.token())
    }
}

impl Custody for Pkcs11Custody {
    fn wrap<'a>(
        &'a self,
        key: &'a DataKey,
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CustodyRefused>> {
        let (key, context) = (key.clone(), authenticated(context));
        Box::pin(async move {
            let (nonce, sealed) =
                self.thread.call(move |token| token.seal(key.expose(), &context)).await?;
            Ok([&[Form::Token.byte()], nonce.as_slice(), &sealed].concat())
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<DataKey, CustodyRefused>> {
        Box::pin(async move {
            let rest = Form::Token.strip(wrapped)?;
            let (nonce, sealed) =
                rest.split_first_chunk::<NONCE>().ok_or(CustodyRefused::NotOurs)?;
            // Whatever has another length was not made here, and the token need not be asked.
            let sealed = <[u8; SEALED]>::try_from(sealed).map_err(|_| CustodyRefused::NotOurs)?;
            let (nonce, context) = (*nonce, authenticated(context));
            let opened = self.thread.call(move |token| token.unseal(nonce, &sealed, &context));
            opened.await?.ok_or(CustodyRefused::NotOurs)
        })
    }
}

/// What is authenticated with a wrapped key: its form, so that there always is something, and what
/// the key is for.
fn authenticated(context: &[u8]) -> Vec<u8> {
    [&[Form::Token.byte()], context].concat()
}
