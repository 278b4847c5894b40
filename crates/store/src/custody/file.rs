//! The root key in a file, or given by the environment.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use tegata_core::{
    Custody, CustodyRefused, Node, NodeId, Secret,
    port::{BoxFuture, DataKey},
};
use zeroize::Zeroizing;

use super::Form;

/// The first line of a root key file.
const HEADER: &str = "tegata root key, form 1: keep it secret, keep a copy elsewhere";

/// Why there is no root key.
#[derive(Debug, thiserror::Error)]
pub enum RootKeyRefused {
    /// There is no file with this name.
    #[error(
        "there is no root key at `{path}`; put it back from its copy, or, for a store that is \
         still empty, let a new one be made"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is one already, and it is not overwritten.
    #[error("there is a root key at `{path}` already, and it is never overwritten")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner can read or change the file.
    #[error(
        "the root key at `{path}` can be read or changed by others (mode {mode:04o}); \
         `chmod 600 {path}` mends that"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// The bits of its mode.
        mode: u32,
    },
    /// What was given is not a root key.
    #[error("{place} does not hold a root key: {detail}")]
    Damaged {
        /// Where it was looked for.
        place: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The system refused.
    #[error("the root key at `{path}` cannot be used: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// A root key in memory, from a file or from the environment. It wraps with AES-256-GCM under a
/// random nonce, with the context as associated data (NIST SP 800-38D). Data keys are few, so random
/// nonces do not meet.
pub struct FileCustody {
    key: LessSafeKey,
    node: Node,
}

impl FileCustody {
    /// Reads the root key from a file.
    ///
    /// # Errors
    /// [`RootKeyRefused`], also where others than the owner could have read or changed the file.
    pub fn open(path: &Path, node: &Node) -> Result<Self, RootKeyRefused> {
        let system = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => RootKeyRefused::Missing { path: path.to_owned() },
            _ => RootKeyRefused::File { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(system)?;
        // Asked of the open file, so that nobody can put another one in its place in between.
        let mode = file.metadata().map_err(system)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(RootKeyRefused::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        // A root key file is short. Whatever is longer is something else.
        file.take(1024).read_to_string(&mut text).map_err(system)?;
        let damaged =
            |detail| RootKeyRefused::Damaged { place: format!("`{}`", path.display()), detail };
        let key = text
            .strip_prefix(HEADER)
            .and_then(|rest| rest.strip_prefix('\n'))
            .ok_or_else(|| damaged("its first line is not that of a root key"))?;
        Self::decode(key.trim_ascii(), node, damaged)
    }

    /// Makes a new root key and the file that holds it, with mode 0600. When this answers, the file
    /// is on the disk.
    ///
    /// # Errors
    /// [`RootKeyRefused::Exists`] where there is one, and what the system says.
    pub fn create(path: &Path, node: &Node) -> Result<Self, RootKeyRefused> {
        let mut key = Zeroizing::new([0_u8; 32]);
        node.entropy().fill(key.as_mut_slice());
        let encoded = Zeroizing::new(STANDARD.encode(key.as_slice()));
        let text = Zeroizing::new(format!("{HEADER}\n{}\n", encoded.as_str()));
        write_new(path, text.as_bytes(), NodeId::generate(node.entropy())).map_err(|source| {
            match source.kind() {
                io::ErrorKind::AlreadyExists => RootKeyRefused::Exists { path: path.to_owned() },
                _ => RootKeyRefused::File { path: path.to_owned(), source },
            }
        })?;
        // Read back rather than kept, so that what is used is what the file holds.
        Self::open(path, node)
    }

    /// Takes the root key from a text, as the environment gives it: 32 bytes in base64. `place`
    /// says where it came from, for the error.
    ///
    /// # Errors
    /// [`RootKeyRefused::Damaged`].
    pub fn from_text(text: &str, place: &str, node: &Node) -> Result<Self, RootKeyRefused> {
        let damaged = |detail| RootKeyRefused::Damaged { place: place.to_owned(), detail };
        Self::decode(text.trim_ascii(), node, damaged)
    }

    fn decode(
        text: &str,
        node: &Node,
        damaged: impl Fn(&'static str) -> RootKeyRefused,
    ) -> Result<Self, RootKeyRefused> {
        let decoded = STANDARD.decode(text).map(Zeroizing::new);
        let bytes = decoded.map_err(|_| damaged("it is not base64"))?;
        // A key of equal bytes is a placeholder that somebody forgot to replace.
        if bytes.windows(2).all(|pair| matches!(pair, [one, next] if one == next)) {
            return Err(damaged("it is a placeholder, not 32 random bytes"));
        }
        let key = UnboundKey::new(&AES_256_GCM, &bytes)
            .map_err(|_| damaged("it is not 32 bytes long"))?;
        Ok(Self { key: LessSafeKey::new(key), node: node.clone() })
    }

    fn wrap_now(&self, key: &DataKey, context: &[u8]) -> Result<Vec<u8>, CustodyRefused> {
        let mut nonce = [0; NONCE_LEN];
        self.node.entropy().fill(&mut nonce);
        let mut sealed = Zeroizing::new(key.expose().to_vec());
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(context),
                &mut sealed,
            )
            .map_err(|_| CustodyRefused::Unavailable { detail: "it does not encrypt".into() })?;
        Ok([&[Form::File.byte()], nonce.as_slice(), sealed.as_slice(), tag.as_ref()].concat())
    }

    fn unwrap_now(&self, wrapped: &[u8], context: &[u8]) -> Result<DataKey, CustodyRefused> {
        let rest = Form::File.strip(wrapped)?;
        let (nonce, sealed) =
            rest.split_first_chunk::<NONCE_LEN>().ok_or(CustodyRefused::NotOurs)?;
        let mut opened = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let key = self
            .key
            .open_in_place(nonce, Aad::from(context), &mut opened)
            .map_err(|_| CustodyRefused::NotOurs)?;
        let key = <[u8; 32]>::try_from(&*key).map_err(|_| CustodyRefused::NotOurs)?;
        Ok(Secret::new(key))
    }
}

impl Custody for FileCustody {
    fn wrap<'a>(
        &'a self,
        key: &'a DataKey,
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, CustodyRefused>> {
        Box::pin(async move { self.wrap_now(key, context) })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<DataKey, CustodyRefused>> {
        Box::pin(async move { self.unwrap_now(wrapped, context) })
    }
}

/// Writes a file that must not exist yet, so that it is whole or not there, whenever the power
/// fails and whoever makes it at the same time: first beside it, then by a link that fails where
/// the name is taken.
fn write_new(path: &Path, text: &[u8], unique: NodeId) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    let mut beside = OsString::from(path);
    beside.push(format!(".{unique}.new"));
    let beside = PathBuf::from(beside);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file
        .write_all(text)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    written.and(removed)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root.key");
        (directory, path)
    }

    #[test]
    fn a_new_key_is_private_whole_and_read_back() {
        let (directory, path) = place();
        let node = Node::start();
        let made = FileCustody::create(&path, &node).unwrap();
        let wrapped = made.wrap_now(&Secret::new([7; 32]), b"purpose").unwrap();
        let again = FileCustody::open(&path, &node).unwrap();
        assert!(again.unwrap_now(&wrapped, b"purpose").unwrap().matches(&[7; 32]));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was left");
    }

    #[test]
    fn never_overwrites_a_key() {
        let (_directory, path) = place();
        let node = Node::start();
        FileCustody::create(&path, &node).unwrap();
        let before = fs::read(&path).unwrap();
        let refused = FileCustody::create(&path, &node).err().unwrap();
        assert!(matches!(refused, RootKeyRefused::Exists { .. }), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn refuses_a_file_that_others_can_reach_and_says_what_mends_it() {
        let (_directory, path) = place();
        let node = Node::start();
        FileCustody::create(&path, &node).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = FileCustody::open(&path, &node).err().unwrap().to_string();
            let mend = format!("`chmod 600 {}` mends that", path.display());
            assert!(refused.contains(&mend), "{refused}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(FileCustody::open(&path, &node).is_ok());
    }

    #[test]
    fn refuses_what_is_not_a_root_key_and_shows_nothing_of_it() {
        let (_directory, path) = place();
        let node = Node::start();
        let key = STANDARD.encode((0..32).collect::<Vec<u8>>());
        let cut = key.get(..20).unwrap();
        for text in [
            String::new(),
            key.clone(),
            format!("another header\n{key}\n"),
            format!("{HEADER}\n"),
            format!("{HEADER}\n{cut}\n"),
            format!("{HEADER}\n{key}{key}\n"),
            format!("{HEADER}\nnot base64 at all\n"),
            format!("{HEADER}\n{}\n", STANDARD.encode([0; 32])),
        ] {
            fs::write(&path, &text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let refused = FileCustody::open(&path, &node).err().unwrap();
            assert!(matches!(refused, RootKeyRefused::Damaged { .. }), "{text:?}: {refused}");
            assert!(!refused.to_string().contains(cut));
        }
        fs::remove_file(&path).unwrap();
        let missing = FileCustody::open(&path, &node).err().unwrap();
        assert!(matches!(missing, RootKeyRefused::Missing { .. }));
    }

    #[test]
    fn takes_a_key_from_a_text() {
        let node = Node::start();
        let key = STANDARD.encode((0..32).collect::<Vec<u8>>());
        let one = FileCustody::from_text(&format!(" {key}\n"), "`ROOT_KEY`", &node).unwrap();
        let two = FileCustody::from_text(&key, "`ROOT_KEY`", &node).unwrap();
        let wrapped = one.wrap_now(&Secret::new([7; 32]), b"").unwrap();
        assert!(two.unwrap_now(&wrapped, b"").unwrap().matches(&[7; 32]));
        let refused = FileCustody::from_text("short", "`ROOT_KEY`", &node).err().unwrap();
        assert!(refused.to_string().starts_with("`ROOT_KEY` does not hold a root key"));
    }
}
