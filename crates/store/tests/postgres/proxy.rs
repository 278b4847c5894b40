//! A wire between the adapter and the server that fails on command.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

const SOCKET: &str = ".s.PGSQL.5432";

/// What the wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// Carries everything.
    Sound,
    /// Carries questions, and breaks when the first answer comes.
    LosesAnswers,
    /// Breaks at the first question, which the server never sees.
    LosesQuestions,
    /// Takes everything and carries nothing.
    Silent,
}

/// The proxy of one server.
pub(crate) struct Proxy {
    directory: TempDir,
    wire: watch::Sender<Wire>,
    accepted: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy in front of the server whose socket is in `server`.
    pub(crate) fn before(server: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let (server, wire) = (server.join(SOCKET), watch::Sender::new(Wire::Sound));
        let accepted = Arc::new(AtomicUsize::new(0));
        let (state, count) = (wire.clone(), accepted.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (server, state) = (server.clone(), state.subscribe());
                tokio::spawn(async move {
                    if let Ok(server) = UnixStream::connect(&server).await {
                        carry(client, server, state).await;
                    }
                });
            }
        });
        Self { directory, wire, accepted, accepting }
    }

    /// The address of a database behind it, from the address of the server itself.
    pub(crate) fn url(&self, url: &str) -> String {
        let (_, database) = url.rsplit_once('/').unwrap();
        let host = self.directory.path().display().to_string().replace('/', "%2F");
        format!("postgres://tester@{host}/{database}")
    }

    pub(crate) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }

    /// How many connections were made so far.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn carry(mut client: UnixStream, mut server: UnixStream, wire: watch::Receiver<Wire>) {
    let (mut question, mut answer) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (count, asked) = tokio::select! {
            count = client.read(&mut question) => (count.unwrap_or(0), true),
            count = server.read(&mut answer) => (count.unwrap_or(0), false),
        };
        let now = *wire.borrow();
        if count == 0 || (now, asked) == (Wire::LosesAnswers, false) {
            return;
        }
        if (now, asked) == (Wire::LosesQuestions, true) {
            return;
        }
        if now == Wire::Silent {
            continue;
        }
        let carried = match asked {
            true => server.write_all(&question[..count]).await,
            false => client.write_all(&answer[..count]).await,
        };
        if carried.is_err() {
            return;
        }
    }
}
