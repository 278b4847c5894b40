//! One server takes the place of another on the same data directory, and nobody who connects meanwhile is
//! refused.
//!
//! The new one asks the old one over its administration socket, and is given the sockets that it listens
//! on. Then the old one accepts no more, lets what is in flight end, and lets go of the data directory. Who
//! connects meanwhile waits before the door, in the system's queue, because the sockets are open all the
//! time. Then the new one takes the data directory, and serves.
//!
//! INVARIANT: one process at a time has the data directory, and whoever has it is the one that writes: the
//! new one reads what the old one wrote last, revocations among it. So nothing is known to one of two that
//! the other would have to know.
//!
//! The old one goes on if the new one does not come to serve, whatever becomes of it. Who says what:
//!
//! ```text
//! new: {"order":"hand_over"}    old: {"done":{"listeners":[…]}}, with the sockets
//! new: take                     old, once it has let go: yours
//! new, once it serves: serving  old: ends
//! ```

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::TcpListener,
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Interest},
    net::UnixStream,
    time::timeout,
};

use crate::{
    admin,
    run::{Listener, Listeners},
    sockets::{Brought, listens},
};

/// The most sockets that are handed over.
const MOST: usize = 64;

/// The longest line that says what they are for.
const LONGEST: usize = 16 * 1024;

/// How long each may take to answer what it knows already.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the new one may take to start. A store that has much to recover takes some time.
pub(crate) const STARTING: Duration = Duration::from_secs(120);

/// What a socket is for.
#[derive(Serialize, Deserialize)]
struct Told {
    listener: Listener,
    /// Somebody else chose its address.
    chosen: bool,
}

#[derive(Serialize, Deserialize)]
struct All {
    listeners: Vec<Told>,
}

/// What the old one answers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(All),
    Refused(String),
}

/// Whoever takes over, as the old one sees it.
pub(crate) struct Taker(BufReader<UnixStream>);

/// Whoever hands over, as the new one sees it.
pub(crate) struct Giver(BufReader<UnixStream>);

/// Offers what listens to whoever asked for it. Answers once they take it; until then nothing is otherwise
/// than before.
pub(crate) async fn offer(stream: UnixStream, listeners: &Listeners) -> io::Result<Taker> {
    let mut told = Vec::new();
    let mut sockets = Vec::new();
    for listener in Listener::ALL {
        let chosen = listeners.chosen.contains(&listener);
        for socket in listeners.of(listener) {
            told.push(Told { listener, chosen });
            sockets.push(socket.as_fd());
        }
    }
    if sockets.len() > MOST {
        return Err(io::Error::other("there are more sockets than can be handed over"));
    }
    let mut line = serde_json::to_vec(&Answer::Done(All { listeners: told }))?;
    line.push(b'\n');
    let sent = stream.async_io(Interest::WRITABLE, || {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("the sockets do not fit"));
        }
        let sent = sendmsg(&stream, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(sent)
    });
    if timeout(PATIENCE, sent).await?? != line.len() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    let mut taker = Taker(BufReader::new(stream));
    match timeout(PATIENCE, word(&mut taker.0)).await?? {
        Some(word) if word == "take" => Ok(taker),
        _ => Err(io::Error::other("it does not take them")),
    }
}

impl Taker {
    /// Says that the data directory is free, and waits until the other serves. Whether it does.
    pub(crate) async fn takes_over(&mut self) -> bool {
        if self.0.get_mut().write_all(b"yours\n").await.is_err() {
            return false;
        }
        let said = timeout(STARTING, word(&mut self.0)).await;
        matches!(said, Ok(Ok(Some(word))) if word == "serving")
    }
}

/// Asks the server of a data directory for what it listens on. `None`: no server is there.
pub(crate) async fn ask(data: &Path) -> io::Result<Option<(Giver, Vec<Brought>)>> {
    let mut stream = match UnixStream::connect(admin::socket(data)).await {
        Ok(stream) => stream,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.write_all(b"{\"order\":\"hand_over\"}\n").await?;
    let (line, sockets) = timeout(PATIENCE, receive(&stream)).await??;
    let told = match serde_json::from_slice(&line)? {
        Answer::Done(all) => all.listeners,
        Answer::Refused(why) => return Err(io::Error::other(why)),
    };
    if told.len() != sockets.len() {
        return Err(io::Error::other("it handed over other sockets than it said"));
    }
    let brought = told.into_iter().zip(sockets).map(|(told, socket)| {
        if !listens(&socket) {
            return Err(io::Error::other("a socket that it handed over does not listen"));
        }
        let called = format!("the socket for {}", told.listener.setting());
        let socket = TcpListener::from(socket);
        Ok(Brought { of: Some(told.listener), chosen: told.chosen, called, socket })
    });
    let brought = brought.collect::<io::Result<_>>()?;
    Ok(Some((Giver(BufReader::new(stream)), brought)))
}

/// A line, and the descriptors that came with it.
async fn receive(stream: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let (mut line, mut sockets) = (Vec::new(), Vec::new());
    loop {
        let part = stream.async_io(Interest::READABLE, || {
            let mut bytes = [0; 4096];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let parts = &mut [IoSliceMut::new(&mut bytes)];
            let read = recvmsg(stream, parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
            let mut found = Vec::new();
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    found.extend(rights);
                }
            }
            Ok((bytes.get(..read).unwrap_or_default().to_vec(), found))
        });
        let (part, found) = part.await?;
        let is_over = part.is_empty() || part.ends_with(b"\n");
        line.extend(part);
        sockets.extend(found);
        if is_over {
            return Ok((line, sockets));
        }
        if line.len() > LONGEST || sockets.len() > MOST {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

impl Giver {
    /// Takes what was offered, and waits until the other has let go of the data directory. An end without a
    /// word is that it is gone; then its data directory is free as well.
    pub(crate) async fn take(&mut self) -> io::Result<()> {
        self.0.get_mut().write_all(b"take\n").await?;
        match word(&mut self.0).await {
            Ok(Some(word)) if word != "yours" => Err(io::Error::other("it says something else")),
            _ => Ok(()),
        }
    }

    /// Says that this one serves. The other ends, or is gone already.
    pub(crate) async fn serving(mut self) {
        let _ = self.0.get_mut().write_all(b"serving\n").await;
    }
}

/// The next word. `None`: the other is gone.
async fn word(from: &mut BufReader<UnixStream>) -> io::Result<Option<String>> {
    let mut line = String::new();
    let read = from.read_line(&mut line).await?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}
