//! Loads, and what became of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use tegata_engines::process::program;
use tegata_rounds::percentile;

use crate::load::pinned;

/// What is spoken with the client. Services are spoken to in HTTP/1.1 in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http1Tls,
    Http2,
    Http2Tls,
}

impl Protocol {
    pub(crate) const ALL: [Self; 4] = [Self::Http1, Self::Http1Tls, Self::Http2, Self::Http2Tls];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "HTTP/1.1",
            Self::Http1Tls => "HTTP/1.1 over TLS",
            Self::Http2 => "HTTP/2",
            Self::Http2Tls => "HTTP/2 over TLS",
        }
    }

    pub(crate) const fn is_secure(self) -> bool {
        matches!(self, Self::Http1Tls | Self::Http2Tls)
    }

    pub(crate) const fn is_framed(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2Tls)
    }

    fn url(self, port: u16, path: &str) -> String {
        let scheme = if self.is_secure() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{port}{path}")
    }
}

/// What became of a load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Became {
    /// Requests in a second.
    pub(crate) rate: f64,
    /// How many there were.
    pub(crate) all: u64,
    /// How many of them were not answered with success.
    pub(crate) bad: u64,
    /// In microseconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Time of a core for each request, in microseconds.
    pub(crate) core: f64,
}

/// How many connections ask, and whether each does so once.
#[derive(Debug, Clone, Copy)]
struct Shape {
    connections: u32,
    anew: bool,
}

impl Shape {
    const FULL: Self = Self { connections: 64, anew: false };
    const ALONE: Self = Self { connections: 1, anew: false };
    const ANEW: Self = Self { connections: 64, anew: true };
}

/// One token after the other.
const SCRIPT: &str = r#"
local asked, at = {}, 0
function init()
  for token in io.lines(os.getenv("TOKENS")) do
    local fields = { Authorization = "Bearer " .. token, Host = "localhost" }
    if os.getenv("ANEW") then fields.Connection = "close" end
    table.insert(asked, wrk.format("GET", os.getenv("ASKED"), fields))
  end
end
function request() at = at % #asked + 1; return asked[at] end
function done(summary, latency)
  local errors = summary.errors
  local bad = errors.status + errors.read + errors.write + errors.connect + errors.timeout
  local rate = summary.requests / summary.duration * 1e6
  print(string.format("RATE %.1f %d %d %.1f %.1f", rate, summary.requests, bad,
    latency:percentile(50), latency:percentile(99)))
end
"#;

/// Where load generators find what they need and leave what they saw.
pub(crate) struct Loads {
    directory: tempfile::TempDir,
}

impl Loads {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("load.lua"), SCRIPT).unwrap();
        Self { directory }
    }

    /// Keeps tokens, so that they can be presented.
    pub(crate) fn keep(&self, name: &str, tokens: &[String]) -> PathBuf {
        let file = self.directory.path().join(name);
        fs::write(&file, tokens.join("\n") + "\n").unwrap();
        file
    }

    /// As many requests as pass, for so many seconds, 64 of them at any time. Over HTTP/2 all
    /// present the first of the tokens.
    pub(crate) fn all_out(
        &self,
        (protocol, port, path): (Protocol, u16, &str),
        tokens: &Path,
        process: u32,
        seconds: usize,
    ) -> Became {
        let before = core_time(process);
        let became = if protocol.is_framed() {
            let asked = ["-c16".to_owned(), "-m4".to_owned()];
            self.h2load(&asked, (protocol, port, path), tokens, seconds)
        } else {
            self.wrk((protocol, port, path), tokens, seconds, Shape::FULL)
        };
        let core = (core_time(process) - before) / 1e3 / became.all.max(1) as f64;
        Became { core, ..became }
    }

    /// As many as pass, each on a connection of its own, with the handshake that this takes.
    pub(crate) fn anew(
        &self,
        (protocol, port, path): (Protocol, u16, &str),
        tokens: &Path,
        process: u32,
        seconds: usize,
    ) -> Became {
        let before = core_time(process);
        let became = self.wrk((protocol, port, path), tokens, seconds, Shape::ANEW);
        let core = (core_time(process) - before) / 1e3 / became.all.max(1) as f64;
        Became { core, ..became }
    }

    /// One request after the other on one connection, over HTTP/1.1 in the clear, each with the next token.
    pub(crate) fn in_turn(&self, port: u16, path: &str, tokens: &Path, seconds: usize) -> Became {
        self.wrk((Protocol::Http1, port, path), tokens, seconds, Shape::ALONE)
    }

    /// A thousand requests a second on one connection, over HTTP/1.1 in the clear.
    pub(crate) fn at_ease(&self, port: u16, path: &str, tokens: &Path, seconds: usize) -> Became {
        let asked = ["--h1", "-c1", "--rps", "1000"].map(str::to_owned);
        self.h2load(&asked, (Protocol::Http1, port, path), tokens, seconds)
    }

    fn wrk(
        &self,
        (protocol, port, path): (Protocol, u16, &str),
        tokens: &Path,
        seconds: usize,
        shape: Shape,
    ) -> Became {
        let mut command = pinned(&program("wrk", "wrk"));
        command.args(["-t1", &format!("-c{}", shape.connections), "--timeout", "5s"]);
        command.args([&format!("-d{seconds}"), "-s"]);
        if shape.anew {
            command.env("ANEW", "1");
        }
        command.arg(self.directory.path().join("load.lua")).arg(protocol.url(port, ""));
        let output = command.env("TOKENS", tokens).env("ASKED", path).output().expect("`wrk`");
        let said = said(&output);
        let line = said.lines().find_map(|line| line.strip_prefix("RATE "));
        let line = line.unwrap_or_else(|| panic!("{said}"));
        let words: Vec<f64> = line.split(' ').map(|word| word.parse().unwrap()).collect();
        let whole = |at: usize| line.split(' ').nth(at).unwrap().parse().unwrap();
        Became {
            rate: words[0],
            all: whole(1),
            bad: whole(2),
            p50: words[3],
            p99: words[4],
            core: 0.0,
        }
    }

    fn h2load(
        &self,
        asked: &[String],
        (protocol, port, path): (Protocol, u16, &str),
        tokens: &Path,
        seconds: usize,
    ) -> Became {
        let log = self.directory.path().join("h2load.log");
        let _ = fs::remove_file(&log);
        let tokens = fs::read_to_string(tokens).unwrap();
        let token = tokens.lines().next().unwrap();
        let mut command = pinned(&program("h2load", "nghttp2-client"));
        command.args(asked).args(["-t1", &format!("-D{seconds}")]);
        command.arg(format!("--log-file={}", log.display()));
        command.args(["-H", &format!("authorization: Bearer {token}")]);
        let output = command.arg(protocol.url(port, path)).output().expect("`h2load`");
        let seen = fs::read_to_string(&log).unwrap_or_else(|_| panic!("{}", said(&output)));
        let mut times = Vec::new();
        let mut bad = 0;
        for line in seen.lines() {
            let words: Vec<&str> = line.split('\t').collect();
            match words[1] {
                "200" => times.push(words[2].parse::<f64>().unwrap()),
                _ => bad += 1,
            }
        }
        assert!(!times.is_empty(), "{}", said(&output));
        let [p50, p99] = [0.5, 0.99].map(|share| percentile(&times, share));
        let all = u64::try_from(times.len()).unwrap() + bad;
        Became { rate: times.len() as f64 / seconds as f64, all, bad, p50, p99, core: 0.0 }
    }
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}{err}")
}

/// What a process has had of cores, with all its threads, in nanoseconds.
fn core_time(process: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
    let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|text| text.split(' ').next()?.parse::<f64>().ok()).sum()
}
