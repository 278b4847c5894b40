//! The root key: where it is kept, and that it still is there.

use std::{path::Path, sync::Arc, time::Duration};

use tegata_core::{
    Custody, Node, Secret,
    port::{Vault, VaultRefused},
};
use tegata_store::{FileCustody, sealed};
use tegata_token::{KeyRefused, SigningKey, keys::Rings};
use tokio::time::timeout;

use super::{Composed, DataDir, Startup, backends, data_dir, store_name};
use crate::config::{Config, Source};

/// What a look at the root key is for, so that nothing else is ever wrapped in its place.
const LOOK: &[u8] = b"tegata look at the root key";

/// What has signed within this span is there.
const LATELY: Duration = Duration::from_secs(2);

/// How long a look may take. Whoever asks whether a node is ready does not wait for a token.
const SOON: Duration = Duration::from_millis(500);

/// A root key in a token, and the keys there that sign.
type Opened = (Arc<dyn Custody>, Arc<dyn Vault>);

/// The root key: from the environment, from its file, or in a token. It is never made here: a new one
/// for data that an old one sealed would only hide that the old one is lost.
pub(crate) async fn custody(
    config: &Config,
    data: &Path,
    node: &Node,
) -> Result<Arc<dyn Custody>, Startup> {
    Ok(open(config, data, node).await?.0)
}

/// The root key; and the keys in its token that sign, or could.
pub(crate) async fn open(
    config: &Config,
    data: &Path,
    node: &Node,
) -> Result<(Arc<dyn Custody>, Option<Arc<dyn Vault>>), Startup> {
    match &config.keys.pkcs11 {
        Some(pkcs11) => {
            let (custody, vault) = token::open(pkcs11, node).await?;
            Ok((custody, Some(vault)))
        }
        None => Ok((in_memory(config, data, node)?, None)),
    }
}

/// Which keys sign, and where they are made. Those that were made in a token sign there, also where new
/// ones are not made in it any more.
pub(crate) fn rings(config: &Config, vault: Option<Arc<dyn Vault>>) -> Rings {
    let makes_in_vault = config.keys.pkcs11.as_ref().is_some_and(|pkcs11| pkcs11.signing);
    Rings { algorithms: config.keys.algorithms.clone(), vault, makes_in_vault }
}

/// Whether what signs answers. `Err`: a word for it, and why.
pub(crate) async fn look_at_signers(composed: &Composed) -> Result<(), (&'static str, String)> {
    look_at_all(composed.keys.now().signers()).await
}

async fn look_at_all<'k>(
    keys: impl Iterator<Item = &'k Arc<SigningKey>>,
) -> Result<(), (&'static str, String)> {
    for key in keys {
        let (may_pass, refused) = match timeout(SOON, key.look()).await {
            Ok(Ok(())) => continue,
            Ok(Err(refused)) => (may_pass(&refused), refused.to_string()),
            Err(_) => (true, format!("the token has not signed within {} ms", SOON.as_millis())),
        };
        let detail = format!("key `{}` ({}): {refused}", key.kid(), key.algorithm());
        // Of one that has too much to do, others get their signatures.
        let busy = may_pass && key.trouble().is_none() && key.signed_within(LATELY);
        return Err((if busy { "signing_busy" } else { "signing_unreachable" }, detail));
    }
    Ok(())
}

/// Whether a token says so that only has too much to do. One that answers with what is no signature of the
/// key will go on with that.
const fn may_pass(refused: &KeyRefused) -> bool {
    matches!(refused, KeyRefused::Vault(VaultRefused::Unavailable { .. }))
}

/// The root key as this process holds it itself.
fn in_memory(
    config: &Config,
    data: &Path,
    node: &Node,
) -> Result<Arc<dyn Custody>, tegata_store::RootKeyRefused> {
    let custody = match &config.keys.root_key {
        Some(text) => FileCustody::from_text(text.expose(), "`TEGATA_KEYS__ROOT_KEY`", node)?,
        None => FileCustody::open(&data.join(config.keys.root_key_file()), node)?,
    };
    Ok(Arc::new(custody))
}

/// Whether the root key can be used.
pub(crate) async fn check(config: &Config, source: &Source) -> Result<(), Startup> {
    custody(config, &data_dir(config, source), &Node::start()).await.map(drop)
}

/// Whether the root key is still where the next start looks for it; otherwise the word for it, and
/// why.
pub(crate) async fn look(composed: &Composed) -> Result<(), (&'static str, String)> {
    let config = &composed.config;
    if config.keys.pkcs11.is_none() {
        let there = in_memory(config, composed.data.path(), &composed.node);
        return there.map(drop).map_err(|why| ("root_key_missing", why.to_string()));
    }
    let wrapping = async {
        let wrapped = composed.custody.wrap(&Secret::new([0; 32]), LOOK).await?;
        composed.custody.unwrap(&wrapped, LOOK).await
    };
    match timeout(SOON, wrapping).await {
        Ok(done) => done.map(drop).map_err(|why| ("root_key_unreachable", why.to_string())),
        Err(_) => {
            let detail = format!("the token has not answered within {} ms", SOON.as_millis());
            Err(("root_key_unreachable", detail))
        }
    }
}

/// Makes the root key that the configuration names, in its token.
pub(crate) async fn make(config: &Config) -> Result<String, Startup> {
    let pkcs11 = config.keys.pkcs11.as_ref().ok_or_else(|| {
        Startup::Configuration(
            "no token is configured, so there is nowhere to make a key: set `[keys.pkcs11]`; the \
             root key of a file is made by `tegata init`"
                .to_owned(),
        )
    })?;
    token::make(pkcs11).await?;
    Ok(pkcs11.key.clone())
}

/// Which root key the other one is, where a store changes its root key.
pub(crate) enum Other<'a> {
    /// What has wrapped the data keys is in this file.
    From(&'a Path),
    /// What is to wrap them is in this file.
    To(&'a Path),
}

/// Wraps the data keys of the store anew: with the root key of the configuration, or with that of a
/// file. Answers how many.
pub(crate) async fn rewrap(
    config: &Config,
    source: &Source,
    other: Other<'_>,
) -> Result<usize, Startup> {
    let node = Node::start();
    let place = data_dir(config, source);
    let configured = custody(config, &place, &node).await?;
    let (Other::From(file) | Other::To(file)) = other;
    let file: Arc<dyn Custody> = Arc::new(FileCustody::open(file, &node)?);
    let data = DataDir::take(&place)?;
    let records = backends::records(config, data.path(), &node).await?;
    let (from, to) = match other {
        Other::From(_) => (file, configured),
        Other::To(_) => (configured, file),
    };
    let place = store_name(config);
    sealed::rewrap(records.as_ref(), from.as_ref(), to.as_ref())
        .await
        .map_err(|source| Startup::Seal { place, source })
}

#[cfg(feature = "pkcs11")]
mod token {
    use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path, sync::Arc};

    use tegata_core::{Custody, Node, Secret};
    use tegata_store::{Pkcs11Config, Pkcs11Custody, Pkcs11Vault};

    use super::{Opened, Startup};
    use crate::config::Pkcs11;

    pub(super) async fn open(set: &Pkcs11, node: &Node) -> Result<Opened, Startup> {
        let config = config(set)?;
        let custody = Pkcs11Custody::open(config.clone(), node).await?;
        let sessions = usize::from(set.signing_sessions);
        let vault = Pkcs11Vault::open(&config, sessions, &custody, node)?;
        let custody: Arc<dyn Custody> = Arc::new(custody);
        Ok((custody, Arc::new(vault)))
    }

    pub(super) async fn make(set: &Pkcs11) -> Result<(), Startup> {
        Ok(Pkcs11Custody::create(config(set)?, &Node::start()).await?)
    }

    fn config(set: &Pkcs11) -> Result<Pkcs11Config, Startup> {
        let pin = match (&set.pin, &set.pin_file) {
            (Some(pin), _) => Secret::new(pin.expose().to_owned()),
            (None, Some(file)) => read_pin(file)?,
            (None, None) => Secret::new(String::new()),
        };
        Ok(Pkcs11Config {
            module: set.module.clone(),
            token: set.token.clone(),
            key: set.key.clone(),
            pin,
            timeout: set.timeout.get(),
        })
    }

    /// A PIN from its file, which nobody else may read or change.
    fn read_pin(path: &Path) -> Result<Secret<String>, Startup> {
        let failed = |source| Startup::File { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(Startup::Configuration(format!(
                "the PIN in `{path}` can be read or changed by others (mode {mode:04o}); `chmod 600 \
                 {path}` mends that",
                path = path.display()
            )));
        }
        // A PIN is short. Whatever is longer is something else.
        let mut text = String::new();
        let read = file.take(1024).read_to_string(&mut text);
        let text = Secret::new(text);
        read.map_err(failed)?;
        let pin = text.expose().trim_end_matches(['\r', '\n']);
        if pin.is_empty() {
            let detail =
                format!("[keys.pkcs11] `{}` is empty: write the PIN into it", path.display());
            return Err(Startup::Configuration(detail));
        }
        Ok(Secret::new(pin.to_owned()))
    }
}

/// A program without the feature tells so, and takes no other key in its place.
#[cfg(not(feature = "pkcs11"))]
mod token {
    use tegata_core::Node;

    use super::{Opened, Startup};
    use crate::config::Pkcs11;

    pub(super) async fn open(_: &Pkcs11, _: &Node) -> Result<Opened, Startup> {
        Err(without())
    }

    pub(super) async fn make(_: &Pkcs11) -> Result<(), Startup> {
        Err(without())
    }

    fn without() -> Startup {
        Startup::Configuration(
            "[keys.pkcs11] this program was built without PKCS#11: build it with the feature `pkcs11`"
                .to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use tegata_core::{
        BoxFuture, KeyId,
        port::{KeyInVault, PublicHalf, Scheme},
    };
    use tegata_token::Algorithm;
    use tokio::sync::watch;

    use super::*;

    /// A token with one key, which does not answer while it hangs.
    struct Hanging {
        key: SigningKey,
        hangs: watch::Sender<bool>,
    }

    impl Vault for Hanging {
        fn make(&self, _: Scheme) -> BoxFuture<'_, Result<KeyInVault, VaultRefused>> {
            let x = self.key.jwk().x.as_deref().unwrap_or_default();
            let public = PublicHalf::Ed25519(URL_SAFE_NO_PAD.decode(x).unwrap());
            Box::pin(async move { Ok(KeyInVault { handle: Vec::new(), public }) })
        }

        fn sign<'a>(
            &'a self,
            _: &'a [u8],
            _: Scheme,
            message: &'a [u8],
        ) -> BoxFuture<'a, Result<Vec<u8>, VaultRefused>> {
            Box::pin(async move {
                self.hangs.subscribe().wait_for(|hangs| !*hangs).await.unwrap();
                Ok(self.key.sign(message).unwrap())
            })
        }

        fn sign_waiting(&self, _: &[u8], _: Scheme, m: &[u8]) -> Result<Vec<u8>, VaultRefused> {
            Ok(self.key.sign(m).unwrap())
        }

        fn destroy<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<(), VaultRefused>> {
            Box::pin(async { Ok(()) })
        }

        fn trouble(&self, _: &[u8]) -> Option<String> {
            None
        }

        fn signed_within(&self, _: Duration) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn whoever_asks_whether_a_node_is_ready_does_not_wait_for_a_signature_that_never_comes() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let hanging = Arc::new(Hanging { key, hangs: watch::Sender::new(false) });
        let vault: Arc<dyn Vault> = Arc::clone(&hanging) as _;
        let held = SigningKey::make(&vault, Algorithm::EdDsa).await.unwrap();
        let own = SigningKey::generate(Algorithm::Es256).unwrap();
        let keys = [Arc::new(own), Arc::new(held)];
        look_at_all(keys.iter()).await.unwrap();
        hanging.hangs.send_replace(true);
        // All who ask at once, and each of them.
        let asked = async { tokio::join!(look_at_all(keys.iter()), look_at_all(keys.iter())) };
        let (one, other) = timeout(Duration::from_secs(60), asked).await.expect("they wait");
        for told in [one, other] {
            let (word, why) = told.unwrap_err();
            assert_eq!(word, "signing_unreachable");
            assert!(why.contains("has not signed within 500 ms"), "{why}");
        }
        // The others sign all the same.
        look_at_all(keys.iter().take(1)).await.unwrap();
        hanging.hangs.send_replace(false);
        look_at_all(keys.iter()).await.unwrap();
    }

    #[test]
    fn what_signs_wrongly_is_not_taken_for_busy() {
        let detail = || "too much waits for it already".to_owned();
        let busy = VaultRefused::Unavailable { detail: detail() };
        assert!(may_pass(&KeyRefused::Vault(busy)));
        for stays in [
            KeyRefused::NotOurs(KeyId::new("1").unwrap()),
            KeyRefused::Vault(VaultRefused::NoKey { detail: detail() }),
            KeyRefused::Vault(VaultRefused::Unsupported { detail: detail() }),
        ] {
            assert!(!may_pass(&stays), "{stays}");
        }
    }
}
