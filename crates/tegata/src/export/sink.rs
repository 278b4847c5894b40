//! Where records go: a file, standard output, a TCP stream, an HTTP collector.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, Seek as _, SeekFrom, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use rustls::pki_types::ServerName;
use tegata_core::Network;
use tegata_sdk::{Transport, TransportLimits};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::Form;
use crate::foreign::system_roots;

/// How long it is looked, after something was sent, whether whoever reads has hung up.
const LOOK: Duration = Duration::from_millis(20);

/// The longest that a collector is waited for because it says so.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// How much of an answer is read.
const ANSWER: usize = 64 << 10;

/// Where records are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Standard output.
    Out,
    File(PathBuf),
    Tcp {
        host: String,
        port: u16,
        tls: bool,
    },
    Http(Uri),
}

/// How a target is reached.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    /// How long anything may take.
    pub(crate) timeout: Duration,
    /// Certificates of the authorities that sign the collector's, in PEM; the system's where nothing is said.
    pub(crate) ca_file: Option<PathBuf>,
    /// Fields of the header, which may be credentials.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether records may travel in the clear to other machines.
    pub(crate) danger_plaintext: bool,
}

/// Why records did not arrive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undelivered {
    /// It may work later: not before this, where somebody said when.
    Later { why: String, after: Option<Duration> },
    /// They are too many at once.
    TooMany(String),
    /// It will not work.
    Never(String),
}

impl Undelivered {
    const fn later(why: String) -> Self {
        Self::Later { why, after: None }
    }

    fn never(why: &dyn fmt::Display) -> Self {
        Self::Never(why.to_string())
    }

    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Later { why, .. } | Self::TooMany(why) | Self::Never(why) => why,
        }
    }
}

/// What whoever took records says of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many it does not keep.
    pub(crate) rejected: u64,
    /// Why not, in its words.
    pub(crate) why: Option<String>,
}

impl Target {
    /// Reads where records are to go: `-`, `tcp://HOST:PORT`, `tls://HOST:PORT`, `http(s)://…`, or a file.
    pub(crate) fn read(text: &str, form: Form) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(if text == "-" { Self::Out } else { Self::File(text.into()) });
        };
        match scheme {
            "tcp" | "tls" => {
                if form == Form::Otlp {
                    return Err(
                        "`--as otlp` goes over HTTP: `--to http(s)://…`, or into a file".to_owned()
                    );
                }
                let wrong = || format!("`{text}`: give `{scheme}://HOST:PORT`");
                let uri: Uri = text.parse().map_err(|_| wrong())?;
                let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
                let host = uri.host().map(|it| it.trim_matches(['[', ']']).to_owned());
                let (host, port) =
                    host.zip(uri.port_u16()).filter(|_| is_bare).ok_or_else(wrong)?;
                if host.is_empty() || rest.contains('@') {
                    return Err(wrong());
                }
                Ok(Self::Tcp { host, port, tls: scheme == "tls" })
            }
            "http" | "https" => {
                if form == Form::Syslog {
                    return Err(
                        "`--as syslog` goes over TCP: `--to tcp://…` or `tls://…`, or into a file"
                            .to_owned(),
                    );
                }
                // Where collectors listen for logs (OTLP/HTTP, "OTLP/HTTP Request").
                let is_bare = !rest.trim_end_matches('/').contains(['/', '?']);
                let text = match form == Form::Otlp && is_bare {
                    true => format!("{}/v1/logs", text.trim_end_matches('/')),
                    false => text.to_owned(),
                };
                text.parse().map(Self::Http).map_err(|error| format!("`{text}`: {error}"))
            }
            _ => Err(format!("`{text}`: give a file, `-`, tcp://, tls://, http:// or https://")),
        }
    }
}

/// An open target.
pub(crate) enum Sink {
    Out(io::Stdout),
    File { file: File, length: u64 },
    Stream(Box<Stream>),
    Http(Box<Collector>),
}

/// A collector that is reached over TCP.
pub(crate) struct Stream {
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
    open: Option<Box<dyn Duplex>>,
    timeout: Duration,
}

/// A collector that is asked over HTTP.
pub(crate) struct Collector {
    transport: Transport,
    to: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
}

pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Duplex for S {}

impl Sink {
    /// Opens a target. A file goes on after `length`, where it has been written to before; what stands behind
    /// that was not finished. Nobody is reached yet.
    pub(crate) fn open(target: &Target, way: &Way, length: Option<u64>) -> Result<Self, String> {
        match target {
            Target::Out => Ok(Self::Out(io::stdout())),
            Target::File(path) => {
                let wrong = |error: io::Error| format!("`{}`: {error}", path.display());
                // Who did what is not for everybody.
                let file = OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .mode(0o600)
                    .open(path);
                let mut file = file.map_err(wrong)?;
                // A pipe or a terminal has no length.
                let there = match file.metadata() {
                    Ok(data) if data.is_file() => data.len(),
                    _ => 0,
                };
                if let Some(length) = length {
                    if there < length {
                        let path = path.display();
                        return Err(format!(
                            "`{path}` has {there} bytes, and {length} were written to it: what is \
                             missing was exported, and is not there; give `--from`, or another file"
                        ));
                    }
                    file.set_len(length).map_err(wrong)?;
                }
                let length = length.unwrap_or(there);
                if there > 0 {
                    file.seek(SeekFrom::Start(length)).map_err(wrong)?;
                }
                Ok(Self::File { file, length })
            }
            Target::Tcp { host, port, tls } => {
                if !tls && !way.danger_plaintext && !is_here(host) {
                    return Err(format!(
                        "records would go to `{host}` in the clear: use `tls://`, or \
                         `--danger-plaintext` where the network encrypts"
                    ));
                }
                let tls = tls.then(|| client(way)).transpose()?.map(TlsConnector::from);
                let (host, port, timeout) = (host.clone(), *port, way.timeout);
                Ok(Self::Stream(Box::new(Stream { host, port, tls, open: None, timeout })))
            }
            Target::Http(to) => {
                let limits =
                    TransportLimits { timeout: way.timeout, idle: 1, open: 1, answer: ANSWER };
                let mut transport = Transport::new(limits);
                if to.scheme_str() == Some("https") {
                    transport = transport.with_tls(client(way)?);
                }
                if way.danger_plaintext {
                    transport = transport.danger_plain_http();
                }
                let (to, headers) = (to.clone(), way.headers.clone());
                Ok(Self::Http(Box::new(Collector { transport, to, headers })))
            }
        }
    }

    /// Hands over messages, all of them. Where that fails, some may have arrived.
    pub(crate) async fn send(
        &mut self,
        form: Form,
        messages: &[String],
    ) -> Result<Taken, Undelivered> {
        if messages.is_empty() {
            return Ok(Taken::default());
        }
        match self {
            Self::Out(out) => {
                let text = lines(messages);
                let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                written.map_err(|error| Undelivered::Never(format!("standard output: {error}")))?;
            }
            Self::File { file, length } => {
                let text = lines(messages);
                // What came before stays: what was begun is cut off by whoever goes on.
                let written = file.write_all(text.as_bytes()).and_then(|()| synced(file));
                written.map_err(|error| Undelivered::never(&error))?;
                *length += u64::try_from(text.len()).unwrap_or(u64::MAX);
            }
            Self::Stream(stream) => {
                let text = match form {
                    // RFC 6587 §3.4.1: nothing in a message can end it.
                    Form::Syslog => {
                        messages.iter().map(|it| format!("{} {it}", it.len())).collect()
                    }
                    Form::Jsonl | Form::Ocsf | Form::Otlp => lines(messages),
                };
                stream.send(text.as_bytes()).await?;
            }
            Self::Http(collector) => return collector.send(form, messages).await,
        }
        Ok(Taken::default())
    }

    /// Ends what is open.
    pub(crate) async fn close(&mut self) -> Result<(), Undelivered> {
        match self {
            Self::Stream(stream) => stream.close().await,
            Self::Out(_) | Self::File { .. } | Self::Http(_) => Ok(()),
        }
    }

    /// How long the file is that was written.
    pub(crate) const fn length(&self) -> Option<u64> {
        match self {
            Self::File { length, .. } => Some(*length),
            Self::Out(_) | Self::Stream(_) | Self::Http(_) => None,
        }
    }
}

/// Makes a file durable; a pipe needs nothing.
fn synced(file: &File) -> io::Result<()> {
    match file.sync_data() {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

fn lines(messages: &[String]) -> String {
    let mut text = messages.join("\n");
    text.push('\n');
    text
}

/// Whether a host is this machine.
fn is_here(host: &str) -> bool {
    let address = host.parse().ok();
    host == "localhost"
        || address.is_some_and(|it| Network::loopback().iter().any(|network| network.contains(it)))
}

fn client(way: &Way) -> Result<Arc<rustls::ClientConfig>, String> {
    let roots: &Path = match way.ca_file.as_deref().or(system_roots()) {
        Some(roots) => roots,
        None => return Err("this system has no list of authorities: give `--ca-file`".to_owned()),
    };
    tegata_gateway::tls::client(roots).map_err(|error| error.to_string())
}

impl Stream {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Undelivered> {
        let sent = timeout(self.timeout, self.attempt(bytes)).await;
        let sent = sent.unwrap_or_else(|_| {
            let after = self.timeout.as_millis();
            Err(Undelivered::later(format!("`{}` did not take it within {after} ms", self.name())))
        });
        if sent.is_err() {
            // What arrived of it is not known. The next attempt begins anew.
            self.open = None;
        }
        sent
    }

    fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn attempt(&mut self, bytes: &[u8]) -> Result<(), Undelivered> {
        let failed = |error: io::Error| Undelivered::later(error.to_string());
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.connect().await?,
        };
        open.write_all(bytes).await.map_err(failed)?;
        open.flush().await.map_err(failed)?;
        // Nobody confirms anything here. That whoever reads is gone can be noticed.
        let mut said = [0; 256];
        loop {
            match timeout(LOOK, open.read(&mut said)).await {
                Err(_) => break,
                Ok(Ok(0)) => return Err(Undelivered::later(format!("`{}` hung up", self.name()))),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(failed(error)),
            }
        }
        self.open = Some(open);
        Ok(())
    }

    async fn connect(&self) -> Result<Box<dyn Duplex>, Undelivered> {
        let at = |error: &dyn fmt::Display| {
            Undelivered::later(format!("`{}` cannot be reached: {error}", self.name()))
        };
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| at(&error))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(stream)) };
        let name =
            ServerName::try_from(self.host.clone()).map_err(|error| Undelivered::never(&error))?;
        match tls.connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            // Who shows a wrong certificate does so again.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(Undelivered::Never(format!("`{}`: {error}", self.name())))
            }
            Err(error) => Err(at(&error)),
        }
    }

    async fn close(&mut self) -> Result<(), Undelivered> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let ended = timeout(self.timeout, open.shutdown()).await;
        ended.unwrap_or(Ok(())).map_err(|error| Undelivered::later(error.to_string()))
    }
}

impl Collector {
    async fn send(&self, form: Form, messages: &[String]) -> Result<Taken, Undelivered> {
        let (body, kind) = match form {
            Form::Otlp => (messages.concat(), "application/json"),
            Form::Jsonl | Form::Ocsf | Form::Syslog => (lines(messages), "application/x-ndjson"),
        };
        let mut request = Request::post(self.to.clone()).header(header::CONTENT_TYPE, kind);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request =
            request.body(Bytes::from(body)).map_err(|error| Undelivered::never(&error))?;
        let answer = self.transport.send(request).await;
        let answer = answer.map_err(|error| match error.is_passing() {
            true => Undelivered::later(error.to_string()),
            false => Undelivered::never(&error),
        })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(partly(form, &answer));
        }
        let why = format!("`{}` answered {status}", self.to.host().unwrap_or_default());
        Err(match status {
            StatusCode::PAYLOAD_TOO_LARGE => Undelivered::TooMany(why),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => later(why, &answer),
            StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
                Undelivered::Never(why)
            }
            status if status.is_server_error() => later(why, &answer),
            _ => Undelivered::Never(why),
        })
    }
}

fn later(why: String, answer: &Response<Bytes>) -> Undelivered {
    let after = answer.headers().get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
    let after = after.and_then(|it| it.trim().parse().ok()).map(Duration::from_secs);
    Undelivered::Later { why, after: after.map(|after| after.min(LONGEST_WAIT)) }
}

/// What a collector did not keep of a request that it took (OTLP, "Partial Success"). It is not sent again.
fn partly(form: Form, answer: &Response<Bytes>) -> Taken {
    if form != Form::Otlp {
        return Taken::default();
    }
    let says: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let part = says.get("partialSuccess").cloned().unwrap_or_default();
    let rejected = part.get("rejectedLogRecords");
    // A 64-bit number may be a text in this form.
    let rejected = rejected.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
    let why = part.get("errorMessage").and_then(serde_json::Value::as_str);
    let why = why.map(|why| super::ascii::text(why).chars().take(200).collect());
    Taken { rejected: rejected.unwrap_or_default(), why }
}
