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
use tegata_gateway::decision_log::Mode;
use tegata_token::Tally;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{
        mpsc::{self, error::TrySendError},
        oneshot,
    },
    time::timeout,
};

use crate::{
    compose::Composed,
    decisions::Ordered,
    health,
    operate::{self, Kind, OPERATOR, Order, Refused},
    progress::{UnderWay, Watch},
};

/// The longest order: a batch of declarations.
const LONGEST: u64 = 16 * 1024 * 1024;

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a server may take to say that it is there.
const ALIVE: Duration = Duration::from_secs(5);

/// How long a server may take for an order. Thousands of passwords, hashed one after the other, take
/// minutes.
const LONGEST_ORDER: Duration = Duration::from_secs(600);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Refused(String),
    /// It is not done yet. Only whoever watches is told.
    UnderWay(UnderWay),
    /// Not all of it was done.
    Partly {
        done: Value,
        why: String,
    },
}

/// An order, and whether whoever gives it wants to know meanwhile how far it is.
#[derive(Serialize, Deserialize)]
struct Asked<O> {
    #[serde(default)]
    watched: bool,
    #[serde(flatten)]
    order: O,
}

impl From<Result<Value, Refused>> for Answer {
    fn from(performed: Result<Value, Refused>) -> Self {
        match performed {
            Ok(done) => Self::Done(done),
            Err(Refused { why, done: None, .. }) => Self::Refused(why),
            Err(Refused { why, done: Some(done), .. }) => Self::Partly { done, why },
        }
    }
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
/// has it, or why it has not.
pub(crate) type Look = oneshot::Sender<Result<(), String>>;

/// What whoever keeps the server running is asked for over the socket.
pub(crate) enum Ask {
    /// To read the configuration anew.
    Reload(oneshot::Sender<Result<Value, Refused>>),
    /// To hand over what listens, on this connection.
    HandOver(UnixStream),
}

/// Carries out orders until the task is dropped. What changes services or routes is acknowledged when
/// the gateway has it.
pub(crate) async fn serve(
    listener: Arc<UnixListener>,
    composed: Arc<Composed>,
    remap: mpsc::Sender<Look>,
    asks: mpsc::Sender<Ask>,
) {
    let mut pause = tokio::time::interval(Duration::from_millis(100));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let (composed, remap) = (Arc::clone(&composed), remap.clone());
                let asks = asks.clone();
                tokio::spawn(async move {
                    if let Err(error) = converse(stream, &composed, &remap, &asks).await {
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
    composed: &Arc<Composed>,
    remap: &mpsc::Sender<Look>,
    asks: &mpsc::Sender<Ask>,
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
        match serde_json::from_slice::<Asked<Order>>(&line) {
            Ok(Asked { order: Order::HandOver, .. }) => match asks.try_send(Ask::HandOver(stream)) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(Ask::HandOver(back)) | TrySendError::Closed(Ask::HandOver(back))) => {
                    stream = back;
                    Answer::Refused("this server hands nothing over now".to_owned())
                }
                Err(_) => return Ok(()),
            },
            Ok(Asked { order: Order::Reload, .. }) => reload(asks).await.into(),
            Ok(Asked { watched: false, order }) => {
                recorded(composed, order, remap, &Tally::default()).await.into()
            }
            Ok(Asked { watched: true, order }) => {
                let tally = Tally::watched();
                let work = recorded(composed, order, remap, &tally);
                tell_meanwhile(&mut stream, work, &tally).await?.into()
            }
            Err(_) => Answer::Refused(
                "the server does not know this order; are the command and the server of one version?"
                    .to_owned(),
            ),
        }
    };
    say(&mut stream, &answer).await?;
    stream.shutdown().await
}

/// Has the configuration read anew.
async fn reload(asks: &mpsc::Sender<Ask>) -> Result<Value, Refused> {
    let nobody = || Refused::from("this server reads no configuration anew now".to_owned());
    let (tell, told) = oneshot::channel();
    asks.send(Ask::Reload(tell)).await.map_err(|_| nobody())?;
    told.await.map_err(|_| nobody())?
}

/// Does `work`, and says meanwhile how far it is. Neither waits for the other, and no line is cut off:
/// the last one is written to its end before the answer.
///
/// # Errors
/// Whoever asked does not listen any more. What was ordered is done all the same.
async fn tell_meanwhile<T>(
    stream: &mut UnixStream,
    work: impl Future<Output = T>,
    tally: &Tally,
) -> io::Result<T> {
    let (over, mut is_over) = oneshot::channel::<()>();
    let work = async {
        let done = work.await;
        drop(over);
        done
    };
    let tell = async {
        let mut watch = Watch::new(tally);
        loop {
            let now = tokio::select! {
                biased;
                _ = &mut is_over => return Ok(()),
                now = watch.next() => now,
            };
            say(stream, &Answer::UnderWay(now)).await?;
        }
    };
    let (done, told) = tokio::join!(work, tell);
    told.map(|()| done)
}

async fn say(stream: &mut UnixStream, answer: &Answer) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(answer)?;
    bytes.push(b'\n');
    timeout(PATIENCE, stream.write_all(&bytes)).await?
}

/// Carries out an operator's order, and has it written down where it changes something: nothing is begun
/// that could not be.
async fn recorded(
    composed: &Arc<Composed>,
    order: Order,
    remap: &mpsc::Sender<Look>,
    tally: &Tally,
) -> Result<Value, Refused> {
    let log = composed.decisions.get().zip(order.change());
    if let Some((log, _)) = log
        && log.mode() == Mode::Required
        && !log.works().await
    {
        return Err(Refused::from(
            "what is ordered must be recorded in the log of decisions, which cannot be written at \
             present (a full disk?); `[audit_log] mode` says whether it must"
                .to_owned(),
        ));
    }
    let done = perform(composed, OPERATOR, order, remap, tally).await;
    if let Some((log, name)) = log {
        let ordered = Ordered { name, actor: OPERATOR, done: done.is_ok() };
        if ordered.write(log, &composed.node).await.is_err() {
            let why = "it could not be recorded in the log of decisions".to_owned();
            return done.and_then(|done| Err(Refused::from(why).after(done)));
        }
    }
    done
}

/// Carries out an order at the wish of `actor`, as whoever serves what it changes.
pub(crate) async fn perform(
    composed: &Arc<Composed>,
    actor: &str,
    order: Order,
    remap: &mpsc::Sender<Look>,
    tally: &Tally,
) -> Result<Value, Refused> {
    // Whoever ordered it may go away.
    let _under_way = composed.unfinished.begin("an order of an administrator");
    let changes_map = order.changes_map();
    let mut done = match order {
        Order::Health => Ok(health::told(composed).await),
        Order::Revoke { what, reason, wait: true } => {
            operate::revoke_and_confirm(composed, actor, (what, reason), tally).await
        }
        order => operate::perform(composed, actor, order, tally).await,
    };
    if changes_map {
        let given = give_map(remap).await;
        done = done.and_then(|done| match given {
            Ok(()) => Ok(done),
            Err(why) => Err(Refused::from(why).after(done)),
        });
    }
    done
}

/// Has the gateway given what is declared.
pub(crate) async fn give_map(remap: &mpsc::Sender<Look>) -> Result<(), String> {
    let (look, seen) = oneshot::channel();
    let given = match remap.send(look).await {
        Ok(()) => timeout(PATIENCE, seen).await.ok().and_then(Result::ok),
        Err(_) => None,
    };
    let given = given.unwrap_or_else(|| Err("it did not answer".to_owned()));
    given.map_err(|why| format!("it is declared, but the gateway goes on as it was: {why}"))
}

/// Gives an order to the server of a data directory. `None`: no server is there. `tell`, where there
/// is one, hears meanwhile how far it is.
pub(crate) async fn order(
    data: &Path,
    order: &Order,
    tell: Option<&dyn Fn(UnderWay)>,
) -> io::Result<Option<Result<Value, Refused>>> {
    // Whether it answers at all is known soon; how long an order takes, nobody knows.
    if timeout(ALIVE, ask(data, &Order::Ping, None)).await.map_err(|_| hung())??.is_none() {
        return Ok(None);
    }
    timeout(LONGEST_ORDER, ask(data, order, tell)).await.map_err(|_| hung())?
}

fn hung() -> io::Error {
    io::Error::other("a server has it and says nothing; see what it does, or end it")
}

async fn ask(
    data: &Path,
    order: &Order,
    tell: Option<&dyn Fn(UnderWay)>,
) -> io::Result<Option<Result<Value, Refused>>> {
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
    let mut bytes = serde_json::to_vec(&Asked { watched: tell.is_some(), order })?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await?;
    let mut lines = BufReader::new(stream);
    loop {
        let mut answer = Vec::new();
        lines.read_until(b'\n', &mut answer).await?;
        return Ok(Some(match serde_json::from_slice(&answer)? {
            Answer::UnderWay(now) => {
                tell.inspect(|tell| tell(now));
                continue;
            }
            Answer::Done(done) => Ok(done),
            Answer::Refused(why) => Err(said(why)),
            Answer::Partly { done, why } => Err(said(why).after(done)),
        }));
    }
}

/// What another process refused, of which only the words are known.
fn said(why: String) -> Refused {
    Refused::new(Kind::Invalid(""), why)
}

#[cfg(test)]
mod tests {
    use tegata_mesh::DeclaredService;

    use super::*;
    use crate::compose;

    #[tokio::test]
    async fn whoever_watches_reads_whole_lines_and_the_work_goes_on() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let tally = Tally::watched();
        let (seen, mut was_seen) = mpsc::channel(1);
        let reads = tokio::spawn(async move {
            let mut lines = BufReader::new(theirs).lines();
            let mut read = Vec::new();
            while let Some(line) = lines.next_line().await.unwrap() {
                read.push(serde_json::from_str::<Answer>(&line).unwrap());
                let _ = seen.try_send(());
            }
            read
        });
        let work = async {
            tally.expect(7);
            tally.add(3);
            // It ends when somebody has seen how far it was.
            was_seen.recv().await.unwrap();
            "done"
        };
        assert_eq!(tell_meanwhile(&mut ours, work, &tally).await.unwrap(), "done");
        drop(ours);
        let read = reads.await.unwrap();
        assert!(matches!(read.first(), Some(Answer::UnderWay(UnderWay { done: 3, of: 7 }))));
    }

    #[tokio::test]
    async fn who_went_away_keeps_nothing_from_being_done() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        drop(theirs);
        let (tally, mut done) = (Tally::watched(), false);
        let work = async {
            tally.add(1);
            crate::background::every(Duration::from_millis(1)).tick().await;
            done = true;
        };
        let _ = tell_meanwhile(&mut ours, work, &tally).await;
        assert!(done);
    }

    #[tokio::test]
    async fn what_the_gateway_does_not_take_is_not_acknowledged() {
        let place = tempfile::tempdir().unwrap();
        let composed = Arc::new(compose::for_tests(place.path()).await);
        let (look, mut looks) = mpsc::channel::<Look>(1);
        let service = DeclaredService {
            name: "orders".to_owned(),
            upstreams: vec!["http://127.0.0.1:9".to_owned()],
            ..DeclaredService::default()
        };
        let answers = [Some(Ok(())), Some(Err("no authority".to_owned())), None];
        tokio::spawn(async move {
            for answer in answers {
                let look = looks.recv().await.unwrap();
                if let Some(answer) = answer {
                    look.send(answer).unwrap();
                }
            }
        });
        perform(&composed, OPERATOR, Order::ServiceAdd { service }, &look, &Tally::default())
            .await
            .unwrap();
        let allow = || Order::ServiceAllow { name: "orders".to_owned(), caller: "web".to_owned() };
        let refused =
            perform(&composed, OPERATOR, allow(), &look, &Tally::default()).await.unwrap_err();
        assert!(refused.why.contains("no authority") && refused.done.is_some(), "{refused:?}");
        // Nobody answers.
        assert!(perform(&composed, OPERATOR, allow(), &look, &Tally::default()).await.is_err());
        // Nobody is there.
        assert!(perform(&composed, OPERATOR, allow(), &look, &Tally::default()).await.is_err());
        // What changes nothing of it asks nobody.
        perform(&composed, OPERATOR, Order::ServiceList, &look, &Tally::default()).await.unwrap();
    }
}
