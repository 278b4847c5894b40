//! The administration socket: how commands reach a running server.
//!
//! A Unix socket in the data directory, mode 0600. Each connection carries one order and its answer,
//! each a line of JSON. Only the user that the server runs as, and root, are answered; the kernel
//! says who asks.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
    time::timeout,
};

use crate::{
    compose::Composed,
    operate::{self, Order},
};

/// The longest order: a batch of declarations.
const LONGEST: u64 = 16 * 1024 * 1024;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Refused(String),
}

/// Where the socket of a data directory is.
pub(crate) fn socket(data: &Path) -> PathBuf {
    data.join("admin.sock")
}

/// Binds the socket. One that a dead server left behind is replaced: the caller holds the data
/// directory, so no other server is alive.
pub(crate) fn bind(data: &Path) -> io::Result<UnixListener> {
    let path = socket(data);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// A request to whoever gives the gateway its map: look at what is declared, and say when the gateway
/// has it.
pub(crate) type Look = oneshot::Sender<()>;

/// Carries out orders until the task is dropped. What changes services or routes is acknowledged when
/// the gateway has it.
pub(crate) async fn serve(
    listener: UnixListener,
    composed: Arc<Composed>,
    remap: mpsc::Sender<Look>,
) {
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (composed, remap) = (Arc::clone(&composed), remap.clone());
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &composed, &remap).await {
                        tracing::info!(%error, "an administration connection ended early");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the administration socket does not accept");
                pause.reset();
                pause.tick().await;
            }
        }
    }
}

async fn converse(
    mut stream: UnixStream,
    composed: &Composed,
    remap: &mpsc::Sender<Look>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let own = rustix::process::geteuid().as_raw();
    let answer = if peer != own && peer != 0 {
        tracing::warn!(uid = peer, "an order of another user was refused");
        Answer::Refused(
            "only the user that the server runs as, and root, may give orders".to_owned(),
        )
    } else {
        let mut line = Vec::new();
        let mut reader = BufReader::new((&mut stream).take(LONGEST));
        timeout(PATIENCE, reader.read_until(b'\n', &mut line)).await??;
        match serde_json::from_slice::<Order>(&line) {
            Ok(order) => {
                let changes_map = order.changes_map();
                let performed = operate::perform(composed, order).await;
                if changes_map {
                    let (look, seen) = oneshot::channel();
                    if remap.send(look).await.is_ok() {
                        let _ = timeout(PATIENCE, seen).await;
                    }
                }
                match performed {
                    Ok(done) => Answer::Done(done),
                    Err(refused) => Answer::Refused(refused),
                }
            }
            Err(_) => Answer::Refused(
                "the server does not know this order; are the command and the server of one version?"
                    .to_owned(),
            ),
        }
    };
    let mut bytes = serde_json::to_vec(&answer)?;
    bytes.push(b'\n');
    timeout(PATIENCE, stream.write_all(&bytes)).await??;
    stream.shutdown().await
}

/// Gives an order to the server of a data directory. `None`: no server is there.
pub(crate) async fn order(data: &Path, order: &Order) -> io::Result<Option<Result<Value, String>>> {
    let mut stream = match UnixStream::connect(socket(data)).await {
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
    let mut bytes = serde_json::to_vec(order)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(Some(match serde_json::from_slice(&answer)? {
        Answer::Done(done) => Ok(done),
        Answer::Refused(refused) => Err(refused),
    }))
}
