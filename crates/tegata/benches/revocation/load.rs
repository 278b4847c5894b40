//! What asks the gateway, and what answers behind it.

use std::{
    fs,
    net::TcpListener,
    num::NonZero,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use tegata_engines::process::program;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    runtime::Builder,
};

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nyes";

/// Asks with one token after the other, and says how that went.
const SCRIPT: &str = r#"
local asked, at = {}, 0
function init()
  for token in io.lines(os.getenv("TOKENS")) do
    local fields = { Authorization = "Bearer " .. token, Host = "localhost" }
    table.insert(asked, wrk.format("GET", "/bounded/x", fields))
  end
end
function request() at = at % #asked + 1; return asked[at] end
function done(summary, latency)
  local errors = summary.errors
  local bad = errors.status + errors.read + errors.write + errors.connect + errors.timeout
  local rate = summary.requests / summary.duration * 1e6
  print(string.format("RATE %.1f %d %d %.1f", rate, summary.requests, bad, latency:percentile(99)))
end
"#;

/// A service that answers everything alike, as cheaply as can be. It ends with the benchmark.
pub(crate) struct Origin {
    pub(crate) port: u16,
}

impl Origin {
    pub(crate) fn serve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    tokio::spawn(answer(stream));
                }
            });
        });
        Self { port }
    }
}

/// Answers the requests of one connection. None has a body, so one ends with an empty line.
async fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 16_384];
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..) {
        match stream.read(free).await {
            Ok(count) if count > 0 => filled += count,
            _ => return,
        }
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(ANSWER).await.is_err() {
                return;
            }
        }
    }
}

/// What became of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loaded {
    /// Requests in a second.
    pub(crate) rate: f64,
    /// How many there were.
    pub(crate) all: u64,
    /// How many of them were not answered with success.
    pub(crate) bad: u64,
    /// In microseconds, with all connections busy.
    pub(crate) p99: f64,
}

/// Tokens that `wrk` presents.
pub(crate) struct Load {
    tokens: PathBuf,
    script: PathBuf,
}

impl Load {
    pub(crate) fn of(directory: &Path, tokens: &[String]) -> Self {
        let [tokens_file, script] = ["tokens.txt", "load.lua"].map(|name| directory.join(name));
        fs::write(&tokens_file, tokens.join("\n") + "\n").unwrap();
        fs::write(&script, SCRIPT).unwrap();
        Self { tokens: tokens_file, script }
    }

    /// Puts a gateway under load: 64 connections, each with one request after the other.
    pub(crate) fn put(&self, port: u16, seconds: usize) -> Loaded {
        let wrk = program("wrk", "wrk");
        let mut command = pinned(&wrk);
        command.args(["-t1", "-c64", &format!("-d{seconds}"), "-s"]).arg(&self.script);
        command.arg(format!("http://127.0.0.1:{port}")).env("TOKENS", &self.tokens);
        let output = command.output().expect("`wrk`");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = said.lines().find_map(|line| line.strip_prefix("RATE "));
        let line =
            line.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
        let words: Vec<f64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let whole = |at: usize| line.split(' ').nth(at).unwrap().parse().unwrap();
        Loaded { rate: words[0], all: whole(1), bad: whole(2), p99: words[3] }
    }
}

/// How many cores there are, as it was before anything was given one.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| thread::available_parallelism().map_or(1, NonZero::get))
}

/// A program on the core that is not the server's.
pub(crate) fn pinned(program: &Path) -> Command {
    if cores() < 2 {
        return Command::new(program);
    }
    let mut command = Command::new("taskset");
    command.args(["-c", "1"]).arg(program);
    command
}

/// Gives a process, with all its threads, one core or all.
pub(crate) fn pin(id: u32, core: Option<u8>) {
    if cores() >= 2 {
        let all = || format!("0-{}", cores() - 1);
        let cores = core.map_or_else(all, |core| core.to_string());
        let mut taskset = Command::new("taskset");
        let done = taskset.args(["-a", "-p", "-c", &cores, &id.to_string()]).output();
        assert!(done.is_ok_and(|done| done.status.success()), "this needs `taskset` (util-linux)");
    }
}
