//! How long the program takes until it serves, and how much memory it has then.
//!
//! `tegata demo` is started again and again on a data directory that is there already, until a
//! request through the gateway has been answered by a service. The anchor is `tegata --version`:
//! what it takes to start a process of this size at all. The demo is the gateway, the provider and
//! the eleven services of the shop in one process.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};
use tegata_engines::process::free_ports;
use tegata_rounds::{Effort, Table, Unit, timed};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

/// Open to everybody, and answered by a service of the shop.
const REQUEST: &str = "GET /public/echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

fn main() {
    let effort = Effort::asked();
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let data = directory.path().join("data");
    // The first start makes keys, people and clients; it is not measured.
    Demo::start(&data).stop();

    let mut times = Table::new("from start to the first answer", Unit::Nanoseconds);
    let mut memory = Table::new("memory (RSS)", Unit::Mebibytes);
    for _ in 0..effort.rounds {
        let (output, took) = timed(|| Command::new(PROGRAM).arg("--version").output().unwrap());
        assert!(output.status.success());
        times.note("`tegata --version`", took.as_secs_f64() * 1e9);
        let (demo, took) = timed(|| Demo::start(&data));
        times.note("`tegata demo`, first 200 through the gateway", took.as_secs_f64() * 1e9);
        memory.note("after the first answer", demo.mebibytes());
        for _ in 0..effort.size(2000, 10) {
            assert!(demo.ask());
        }
        memory.note("after 2,000 more", demo.mebibytes());
        demo.stop();
    }
    times.print();
    memory.print();
}

/// A demo that serves.
struct Demo {
    process: Child,
    gateway: u16,
}

impl Demo {
    /// Starts it, and answers when a service has answered through its gateway.
    fn start(data: &Path) -> Self {
        let base = free_ports(33);
        let process = Command::new(PROGRAM)
            .args(["demo", "--port-base", &base.to_string(), "--data-dir"])
            .arg(data)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut demo = Self { process, gateway: base + 1 };
        // Sockets are bound long before anything serves, so there is nothing to wait for between
        // two attempts: most of them are one, which is answered when there is an answer.
        while !demo.ask() {
            assert!(demo.process.try_wait().unwrap().is_none(), "the demo ended");
            std::thread::yield_now();
        }
        demo
    }

    /// Whether a request is answered with 200.
    fn ask(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.gateway)) else {
            return false;
        };
        let mut answer = String::new();
        let asked = stream.write_all(REQUEST.as_bytes());
        asked.and_then(|()| stream.read_to_string(&mut answer)).is_ok()
            && answer.starts_with("HTTP/1.1 200 ")
    }

    fn mebibytes(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}
