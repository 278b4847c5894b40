//! Keys that sign in a token, and never leave it.
//!
//! Several threads sign, each with a session of its own, and nobody else waits for them longer than a
//! limit: a token that hangs, or that has too much to do, is [`VaultRefused::Unavailable`].

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tegata_core::{
    BoxFuture, Node,
    clock::SinceBoot,
    port::{KeyInVault, Scheme, Vault, VaultRefused},
};

use super::{Pkcs11Config, Pkcs11Custody, Pkcs11Refused, thread::Thread};

/// How much may wait for a signature. What comes beyond would wait too long.
const WAITING: usize = 128;

/// For how long a token that did not sign is taken for one that will not, unless it does before. Several
/// times as long as it may take to find out, or whoever asks meanwhile uses up a code for nothing.
const TROUBLED: Duration = Duration::from_secs(30);

/// How long a token may take to make a key: RSA keys take seconds, and in a small token minutes.
const MAKING: Duration = Duration::from_secs(120);

/// Keys that sign in a token.
pub struct Pkcs11Vault {
    threads: Thread,
    node: Node,
    last: Arc<Mutex<Last>>,
}

/// What came of the last signatures.
#[derive(Default)]
struct Last {
    signed: Option<SinceBoot>,
    /// What concerns the whole token.
    failed: Option<Failure>,
    /// What concerns one key, by its handle. The others sign.
    failed_of: HashMap<Vec<u8>, Failure>,
}

/// When it did not sign, and why.
type Failure = (SinceBoot, String);

impl Pkcs11Vault {
    /// The keys that sign in the token of a root key, with so many sessions. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`Pkcs11Refused::Unasked`] where the system gives no threads.
    pub fn open(
        config: &Pkcs11Config,
        sessions: usize,
        root: &Pkcs11Custody,
        node: &Node,
    ) -> Result<Self, Pkcs11Refused> {
        let shared = Arc::clone(root.thread.shared());
        let threads = Thread::several(config, node, shared, sessions, WAITING)?;
        Ok(Self { threads, node: node.clone(), last: Arc::default() })
    }

    fn note<T>(&self, handle: &[u8], done: Result<T, Pkcs11Refused>) -> Result<T, VaultRefused> {
        let mut last = self.last.lock();
        let now = self.node.since_boot();
        last.failed_of.retain(|_, failed| self.is_recent(failed));
        match &done {
            Ok(_) => {
                (last.signed, last.failed) = (Some(now), None);
                last.failed_of.remove(handle);
            }
            // One that has too much to do signs.
            Err(Pkcs11Refused::Unasked { .. }) => {}
            Err(
                refused @ (Pkcs11Refused::NoSigningKey { .. }
                | Pkcs11Refused::UnfitSigningKey { .. }
                | Pkcs11Refused::Unsupported { .. }),
            ) => {
                last.failed_of.insert(handle.to_vec(), (now, refused.to_string()));
            }
            Err(refused) => last.failed = Some((now, refused.to_string())),
        }
        Ok(done?)
    }

    fn is_recent(&self, (at, _): &Failure) -> bool {
        self.node.elapsed(*at) < TROUBLED
    }
}

impl Vault for Pkcs11Vault {
    fn make(&self, scheme: Scheme) -> BoxFuture<'_, Result<KeyInVault, VaultRefused>> {
        Box::pin(async move {
            Ok(self.threads.call_within(MAKING, move |token| token.make_signing(scheme)).await?)
        })
    }

    fn sign<'a>(
        &'a self,
        handle: &'a [u8],
        scheme: Scheme,
        message: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, VaultRefused>> {
        let (id, message) = (handle.to_vec(), message.to_vec());
        Box::pin(async move {
            let signed = self.threads.call(move |token| token.sign(&id, scheme, &message));
            self.note(handle, signed.await)
        })
    }

    fn sign_waiting(
        &self,
        handle: &[u8],
        scheme: Scheme,
        message: &[u8],
    ) -> Result<Vec<u8>, VaultRefused> {
        let (id, message) = (handle.to_vec(), message.to_vec());
        let signed = self.threads.call_waiting(move |token| token.sign(&id, scheme, &message));
        self.note(handle, signed)
    }

    fn destroy<'a>(&'a self, handle: &'a [u8]) -> BoxFuture<'a, Result<(), VaultRefused>> {
        let handle = handle.to_vec();
        Box::pin(async move { Ok(self.threads.call(move |token| token.destroy(&handle)).await?) })
    }

    fn trouble(&self, handle: &[u8]) -> Option<String> {
        let last = self.last.lock();
        let mut failures = last.failed_of.get(handle).into_iter().chain(&last.failed);
        failures.find(|failed| self.is_recent(failed)).map(|(_, why)| why.clone())
    }

    fn signed_within(&self, span: Duration) -> bool {
        self.last.lock().signed.is_some_and(|at| self.node.elapsed(at) < span)
    }
}

impl From<Pkcs11Refused> for VaultRefused {
    fn from(refused: Pkcs11Refused) -> Self {
        let detail = refused.to_string();
        match refused {
            Pkcs11Refused::NoSigningKey { .. } | Pkcs11Refused::UnfitSigningKey { .. } => {
                Self::NoKey { detail }
            }
            Pkcs11Refused::Unsupported { .. } => Self::Unsupported { detail },
            _ => Self::Unavailable { detail },
        }
    }
}

impl std::fmt::Debug for Pkcs11Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pkcs11Vault({})", self.threads.token())
    }
}
