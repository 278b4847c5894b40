//! One address of a server: where connections are made, and where one knocks to learn whether anybody
//! is there.

use std::{io, net::SocketAddr, path::PathBuf};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

/// Asks for encryption by GSSAPI: 8 bytes, the second four of them a number that no protocol has.
/// Every server answers it with one byte, before it asks who is there and before it counts its
/// connections, and logs nothing when whoever asked goes away again. After the same question about
/// TLS, one that is set up for it does.
const QUESTION: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Door {
    /// A port.
    Tcp(SocketAddr),
    /// The directory of a socket, and the port that its name ends in.
    Unix(PathBuf, u16),
}

impl Door {
    /// Waits until something is heard from there, on a connection that is gone afterwards.
    ///
    /// A refusal is heard, too, and so is that there is nobody any more: then connections do not stay
    /// open. `Err` is what says nothing about the server.
    pub(super) async fn knock(&self) -> io::Result<()> {
        let answered = match self {
            Self::Tcp(address) => ask(TcpStream::connect(address).await).await,
            Self::Unix(directory, port) => {
                let socket = directory.join(format!(".s.PGSQL.{port}"));
                ask(UnixStream::connect(socket).await).await
            }
        };
        match answered {
            Err(error) if is_silence(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

async fn ask(connected: io::Result<impl AsyncRead + AsyncWrite + Unpin>) -> io::Result<usize> {
    let mut stream = connected?;
    stream.write_all(&QUESTION).await?;
    stream.read(&mut [0]).await
}

/// Whether an error comes from no server: the way to it is gone, or so many wait there that no more
/// fit.
fn is_silence(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut, WouldBlock};
    [HostUnreachable, NetworkDown, NetworkUnreachable, TimedOut, WouldBlock].contains(&error.kind())
}
