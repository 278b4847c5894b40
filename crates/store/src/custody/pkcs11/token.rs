//! A token as a thread uses it: logged in when it is first needed, and again when that was lost.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cryptoki::{
    error::{Error, RvError},
    object::ObjectHandle,
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use parking_lot::Mutex;
use tegata_core::{
    Node, Secret,
    clock::SinceBoot,
    port::{DataKey, KeyInVault, Scheme},
};

use super::{
    NONCE, Pkcs11Config, Pkcs11Refused, gcm, key,
    module::{self, Library},
    signing,
};

/// What the threads of a process that use one token share.
#[derive(Default)]
pub(super) struct Shared {
    /// Why nobody logs in any more. Held while somebody does: of several threads that have lost their
    /// sessions, one tries a PIN that has become wrong, and not each of them.
    barred: Mutex<Option<Pkcs11Refused>>,
    /// When the library was started anew.
    restarted: Mutex<Option<SinceBoot>>,
}

/// Which key is meant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Name {
    /// The root key, which has a label.
    Root,
    /// A key that signs, by its id.
    Signing(Vec<u8>),
}

/// A token, and the session that is open with it.
pub(super) struct Token {
    config: Pkcs11Config,
    node: Node,
    open: Option<Open>,
    /// Keys that were found once: what is missing then was there.
    were_there: HashSet<Name>,
    shared: Arc<Shared>,
}

/// A session that is logged in, and keys that were found in it.
struct Open {
    session: Session,
    found: HashMap<Name, ObjectHandle>,
    /// The run of the library that it belongs to.
    run: u64,
}

impl Token {
    pub(super) fn new(config: Pkcs11Config, node: Node, shared: Arc<Shared>) -> Self {
        Self { config, node, open: None, were_there: HashSet::new(), shared }
    }

    /// Opens a session and finds the key, and sees that the token does with it what is needed.
    pub(super) fn open(&mut self) -> Result<(), Pkcs11Refused> {
        let node = self.node.clone();
        let what = "encrypt with `CKM_AES_GCM`";
        if self
            .with_key(&Name::Root, what, |session, key| gcm::refuses_altered(session, key, &node))?
        {
            return Ok(());
        }
        let detail = "with `CKM_AES_GCM` it opened something that it had not sealed".to_owned();
        let what = "refuse what was altered";
        Err(Pkcs11Refused::Failed { token: self.config.token.clone(), what, detail })
    }

    /// Makes the key, where there is none with its label.
    pub(super) fn make_key(&mut self) -> Result<(), Pkcs11Refused> {
        let library = module::hold(&self.config.module)?;
        let (session, label) = (self.session(&library, Access::Writing)?, self.config.key.clone());
        if !key::find(&session, &label).map_err(|error| self.failed("look", error))?.is_empty() {
            return Err(Pkcs11Refused::Exists { key: label, token: self.config.token.clone() });
        }
        let mut id = [0; 16];
        self.node.entropy().fill(&mut id);
        let made = key::make(&session, &label, &id);
        made.map_err(|error| self.failed("make an AES key", error))?;
        drop((session, library));
        // Looked at as at any start: a token that makes another key than it is told to is not trusted.
        self.open()
    }

    /// Encrypts under a nonce that nobody used before.
    pub(super) fn seal(
        &mut self,
        plain: &[u8],
        aad: &[u8],
    ) -> Result<([u8; NONCE], Vec<u8>), Pkcs11Refused> {
        let node = self.node.clone();
        let seal = |session: &Session, key| gcm::seal(session, key, &node, plain, aad);
        self.with_key(&Name::Root, "encrypt", seal)
    }

    /// Decrypts. `None`: the key did not encrypt this, or it was altered.
    pub(super) fn unseal(
        &mut self,
        nonce: [u8; NONCE],
        sealed: &[u8],
        aad: &[u8],
    ) -> Result<Option<DataKey>, Pkcs11Refused> {
        let node = self.node.clone();
        self.with_key(&Name::Root, "decrypt", |session, key| {
            let unseal = || gcm::unseal(session, key, nonce, sealed, aad);
            let opened = match unseal() {
                Ok(opened) => Some(opened),
                // Tokens do not agree on what they say of a wrong tag, and some say the same when they
                // are broken. So what they say decides nothing: one that opens what it has just sealed
                // is well, and what it does not open then is not ours.
                Err(error) => {
                    gcm::probe(session, key, &node).map_err(|_| error)?;
                    unseal().ok()
                }
            };
            Ok(opened.and_then(|it| <[u8; 32]>::try_from(it.as_slice()).ok()).map(Secret::new))
        })
    }

    /// Does something with the key. Where a token that was there is not found any more, the library is
    /// started anew, no more often than an answer may take, and it is looked for once more.
    fn with_key<T>(
        &mut self,
        name: &Name,
        what: &'static str,
        work: impl Fn(&Session, ObjectHandle) -> Result<T, Error>,
    ) -> Result<T, Pkcs11Refused> {
        let library = module::hold(&self.config.module)?;
        let run = library.run();
        let refused = match self.with_key_of(&library, name, what, &work) {
            Err(
                refused @ (Pkcs11Refused::NoToken { .. }
                | Pkcs11Refused::NoKey { .. }
                | Pkcs11Refused::NoSigningKey { .. }
                | Pkcs11Refused::Failed { .. }),
            ) if self.were_there.contains(name) => refused,
            done => return done,
        };
        drop(library);
        {
            let mut restarted = self.shared.restarted.lock();
            if restarted.is_some_and(|at| self.node.elapsed(at) < self.config.timeout) {
                return Err(refused);
            }
            *restarted = Some(self.node.since_boot());
        }
        tracing::warn!(%refused, "the PKCS#11 module is started anew");
        if !module::restart(&self.config.module, run, self.config.timeout / 4)? {
            tracing::warn!("it is not: somebody is at work in it, and may hang there");
            return Err(refused);
        }
        let library = module::hold(&self.config.module)?;
        self.with_key_of(&library, name, what, &work)
    }

    /// The same in this run of the library. Where it fails in a session that was open before, the
    /// session may have been lost, so it is tried once more in a new one.
    fn with_key_of<T>(
        &mut self,
        library: &Library,
        name: &Name,
        what: &'static str,
        work: &impl Fn(&Session, ObjectHandle) -> Result<T, Error>,
    ) -> Result<T, Pkcs11Refused> {
        if let Some(mut open) = self.open.take_if(|open| open.run == library.run()) {
            let known = open.found.get(name).copied();
            let found = known.map_or_else(|| self.find(&open.session, name), |key| Ok(Ok(key)));
            let worked = match found {
                Ok(Ok(key)) => work(&open.session, key).map(|done| (done, key)),
                Ok(Err(refused)) => {
                    self.open = Some(open);
                    return Err(refused);
                }
                Err(error) => Err(error),
            };
            match worked {
                Ok((done, key)) => {
                    open.found.insert(name.clone(), key);
                    self.open = Some(open);
                    self.were_there.insert(name.clone());
                    return Ok(done);
                }
                // Closed before another is opened, so that a token that allows one has it free.
                Err(error) => {
                    let token = &self.config.token;
                    tracing::warn!(%error, token, "the session with the token is opened anew");
                }
            }
        }
        self.forget();
        let session = self.session(library, Access::Reading)?;
        let found = self.find(&session, name);
        let key = found.map_err(|error| self.failed("look for the key", error))??;
        let done = work(&session, key).map_err(|error| self.failed(what, error))?;
        let found = HashMap::from([(name.clone(), key)]);
        self.open = Some(Open { session, found, run: library.run() });
        self.were_there.insert(name.clone());
        Ok(done)
    }

    fn find(
        &self,
        session: &Session,
        name: &Name,
    ) -> Result<Result<ObjectHandle, Pkcs11Refused>, Error> {
        match name {
            Name::Root => key::the_one(session, &self.config.key, &self.config.token),
            Name::Signing(id) => signing::the_one(session, id, &self.config.token),
        }
    }

    /// Makes a key that signs.
    pub(super) fn make_signing(&mut self, scheme: Scheme) -> Result<KeyInVault, Pkcs11Refused> {
        let library = module::hold(&self.config.module)?;
        let session = self.session(&library, Access::Writing)?;
        let mut id = [0; 16];
        self.node.entropy().fill(&mut id);
        let made = signing::make(&session, scheme, &id);
        let public = made.map_err(|error| match error {
            Error::Pkcs11(said, _) if signing::is_unsupported(said) => {
                let (token, detail) = (self.config.token.clone(), said.to_string());
                Pkcs11Refused::Unsupported { token, keys: signing::kind(scheme), detail }
            }
            error => self.failed(signing::making(scheme), error),
        })?;
        Ok(KeyInVault { handle: id.to_vec(), public })
    }

    /// Signs with a key.
    pub(super) fn sign(
        &mut self,
        id: &[u8],
        scheme: Scheme,
        message: &[u8],
    ) -> Result<Vec<u8>, Pkcs11Refused> {
        self.with_key(&Name::Signing(id.to_vec()), "sign", |session, key| {
            signing::sign(session, key, scheme, message)
        })
    }

    /// Destroys a key that signs, where it is there.
    pub(super) fn destroy(&mut self, id: &[u8]) -> Result<(), Pkcs11Refused> {
        let library = module::hold(&self.config.module)?;
        let session = self.session(&library, Access::Writing)?;
        let name = Name::Signing(id.to_vec());
        self.were_there.remove(&name);
        if let Some(open) = &mut self.open {
            open.found.remove(&name);
        }
        signing::destroy(&session, id).map_err(|error| self.failed("destroy a key", error))
    }

    /// Lets go of a session that ended with the library: to close it would be to close whichever has
    /// its number now.
    fn forget(&mut self) {
        if let Some(open) = self.open.take() {
            std::mem::forget(open.session);
        }
    }

    /// A new session, logged in.
    fn session(&mut self, library: &Library, access: Access) -> Result<Session, Pkcs11Refused> {
        let shared = Arc::clone(&self.shared);
        // INVARIANT: one at a time, so that a PIN that the token does not take is tried once.
        let mut barred = shared.barred.lock();
        if let Some(barred) = barred.as_ref() {
            return Err(barred.clone());
        }
        let slot = self.slot(library)?;
        let opened = match access {
            Access::Reading => library.calls().open_ro_session(slot),
            Access::Writing => library.calls().open_rw_session(slot),
        };
        let session = opened.map_err(|error| self.failed("open a session", error))?;
        let pin = AuthPin::new(self.config.pin.expose().as_str().into());
        match session.login(UserType::User, Some(&pin)) {
            // Whoever logs in is the whole process.
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(Error::Pkcs11(said, _)) if is_about_pin(said) => {
                let (token, detail) = (self.config.token.clone(), said.to_string());
                let refused = Pkcs11Refused::Pin { token, detail };
                *barred = Some(refused.clone());
                Err(refused)
            }
            Err(error) => Err(self.failed("let anybody log in", error)),
        }
    }

    /// Where the token is now: it may have been put into another slot.
    fn slot(&self, library: &Library) -> Result<Slot, Pkcs11Refused> {
        let slots = library.calls().get_slots_with_token();
        let slots = slots.map_err(|error| self.failed("tell its slot", error))?;
        // What is wrong with other slots matters to others.
        let tokens: Vec<_> = slots
            .into_iter()
            .filter_map(|slot| Some((slot, library.calls().get_token_info(slot).ok()?)))
            .filter(|(_, info)| info.token_initialized())
            .collect();
        let label = &self.config.token;
        let mut ours = tokens.iter().filter(|(_, info)| info.label() == label);
        match (ours.next(), ours.next()) {
            (Some((_, info)), None) if info.user_pin_final_try() => {
                Err(Pkcs11Refused::LastTry(label.clone()))
            }
            (Some((slot, _)), None) => Ok(*slot),
            (Some(_), Some(_)) => Err(Pkcs11Refused::TwoTokens(label.clone())),
            (None, _) => Err(Pkcs11Refused::NoToken {
                token: label.clone(),
                present: tokens.iter().map(|(_, info)| info.label().to_owned()).collect(),
            }),
        }
    }

    fn failed(&self, what: &'static str, error: Error) -> Pkcs11Refused {
        let detail = match error {
            Error::Pkcs11(said, _) => said.to_string(),
            other => other.to_string(),
        };
        Pkcs11Refused::Failed { token: self.config.token.clone(), what, detail }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        // While this holds it, nobody starts the library anew.
        let library = module::hold(&self.config.module);
        if library.is_ok_and(|library| open.run == library.run()) {
            drop(open.session);
        } else {
            std::mem::forget(open.session);
        }
    }
}

/// What a session is for.
#[derive(Clone, Copy)]
enum Access {
    Reading,
    Writing,
}

/// Whether a token speaks of the PIN, so that it must not be tried again.
const fn is_about_pin(said: RvError) -> bool {
    matches!(
        said,
        RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked
            | RvError::UserPinNotInitialized
    )
}
