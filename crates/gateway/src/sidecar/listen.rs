//! Where a sidecar listens: on this machine alone, unless told otherwise.

use std::{
    fmt, fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de::Error as _};
use tokio::net::{TcpListener, UnixListener};

use super::Listening;

/// The mode of a socket: for the user that the sidecar runs as, and for its group.
const MODE: u32 = 0o660;

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A port.
    Port(SocketAddr),
    /// A Unix socket.
    Socket(PathBuf),
}

/// Why nobody listens there.
#[derive(Debug, thiserror::Error)]
pub enum NotListening {
    /// Others than this machine could reach it.
    #[error(
        "`{0}` can be reached from other machines, and credentials would travel there in the clear: \
         listen on 127.0.0.1 or [::1], on a Unix socket, or set `danger_any_address` where the network \
         encrypts"
    )]
    Open(SocketAddr),
    /// Something else is there.
    #[error("`{0}` is there already and is no socket; remove it, or name another path")]
    Taken(PathBuf),
    /// Somebody answers there.
    #[error("`{0}`: another sidecar answers there")]
    Answered(PathBuf),
    /// What the system says.
    #[error("`{place}` cannot be used: {error}")]
    Io {
        /// Where.
        place: Place,
        /// What it says.
        #[source]
        error: io::Error,
    },
}

/// Begins to listen at a place.
///
/// # Errors
/// [`NotListening`].
pub async fn bind(place: &Place, danger_any_address: bool) -> Result<Listening, NotListening> {
    let failed = |error| NotListening::Io { place: place.clone(), error };
    match place {
        Place::Port(address) if !danger_any_address && !address.ip().is_loopback() => {
            Err(NotListening::Open(*address))
        }
        Place::Port(address) => {
            TcpListener::bind(address).await.map(Listening::Tcp).map_err(failed)
        }
        Place::Socket(path) => {
            make_room(path)?;
            let listener = UnixListener::bind(path).map_err(failed)?;
            fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed)?;
            Ok(Listening::Unix(listener))
        }
    }
}

/// Takes away the socket of one that has died, and nothing else.
fn make_room(path: &Path) -> Result<(), NotListening> {
    let failed = |error| NotListening::Io { place: Place::Socket(path.to_owned()), error };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => Err(NotListening::Taken(path.to_owned())),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(NotListening::Answered(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        },
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no place to listen at; write an address such as `127.0.0.1:9010`, or a \
                 socket such as `unix:/run/tegata/sidecar.sock`"
            )
        };
        match text.strip_prefix("unix:") {
            Some("") => Err(wrong()),
            Some(path) => Ok(Self::Socket(PathBuf::from(path))),
            None => text.parse().map(Self::Port).map_err(|_| wrong()),
        }
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port(address) => address.fmt(f),
            Self::Socket(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn listens_on_this_machine_alone_unless_told_otherwise() {
        for open in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
            let refused = bind(&open.parse().unwrap(), false).await.unwrap_err();
            assert!(matches!(refused, NotListening::Open(_)), "{open}: {refused}");
            assert!(refused.to_string().contains("danger_any_address"), "{refused}");
        }
        assert!(bind(&"127.0.0.1:0".parse().unwrap(), false).await.is_ok());
        assert!(bind(&"0.0.0.0:0".parse().unwrap(), true).await.is_ok());
    }

    #[tokio::test]
    async fn takes_the_place_of_a_dead_one_and_of_nothing_else() {
        let yard = tempfile::tempdir().unwrap();
        let path = yard.path().join("s.sock");
        let place = Place::Socket(path.clone());
        let first = bind(&place, false).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE, "{mode:o}");
        let second = bind(&place, false).await.unwrap_err();
        assert!(matches!(second, NotListening::Answered(_)), "{second}");
        drop(first);
        assert!(bind(&place, false).await.is_ok());
        let file = yard.path().join("precious");
        fs::write(&file, "kept").unwrap();
        let refused = bind(&Place::Socket(file.clone()), false).await.unwrap_err();
        assert!(matches!(refused, NotListening::Taken(_)), "{refused}");
        assert_eq!(fs::read_to_string(file).unwrap(), "kept");
    }

    #[test]
    fn says_what_a_place_looks_like() {
        for wrong in ["", "9010", "localhost:9010", "unix:", "127.0.0.1"] {
            let said = wrong.parse::<Place>().unwrap_err();
            assert!(said.contains("unix:/run/tegata/sidecar.sock"), "{said}");
        }
    }
}
