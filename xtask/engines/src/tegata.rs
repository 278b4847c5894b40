//! A node of Tegata: `tegata serve` as a process that can be killed, held and told another time.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output, Stdio},
    time::Duration,
};

use crate::process::{Process, Yard, connect, free_port, until};

/// How long a node may take to be ready on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What gives a process another wall clock, where Debian puts it: below a directory of each kind of
/// machine.
fn faketime() -> PathBuf {
    let kinds = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut found = kinds.map(|kind| kind.path().join("faketime/libfaketimeMT.so.1"));
    let found = found.find(|library| library.is_file());
    found.expect("this needs libfaketime: `apt-get install libfaketime`")
}

/// What nodes that work together have in common.
#[derive(Debug, Clone)]
pub struct Shared {
    /// The program.
    pub program: PathBuf,
    /// The text of the root key.
    pub root_key: String,
    /// The issuer identifier.
    pub issuer: String,
    /// What access tokens are for.
    pub audience: String,
}

/// What is a node's own.
#[derive(Debug, Clone, Default)]
pub struct Own {
    /// Where it reaches the store.
    pub store: String,
    /// Where it reaches events, in place of `memory:`.
    pub events: Option<String>,
    /// Its sections `[redis]` and `[cluster]`, as its configuration says them.
    pub more: String,
    /// What it finds in its environment, beside the path.
    pub environment: Vec<(String, String)>,
    /// Whether its clock can be told another time.
    pub own_clock: bool,
}

/// The ports of this machine that a node listens on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// Where people and clients come.
    pub public: u16,
    /// Where requests to services come.
    pub gateway: u16,
    /// Health and metrics.
    pub operations: u16,
}

/// A node. It is killed when this is dropped.
#[derive(Debug)]
pub struct TegataNode {
    process: Process,
    ports: Ports,
    yard: Yard,
}

impl TegataNode {
    /// Starts a node; answers when it is ready.
    ///
    /// # Panics
    /// It does not start, and says why.
    #[must_use]
    pub fn start(name: &str, shared: &Shared, own: &Own) -> Self {
        let mut said = String::new();
        // Between our asking for free ports and their use, another may take one.
        for _ in 0..5 {
            let node = Self::prepared(name, shared, own);
            if node.launched() {
                return node;
            }
            said = node.process.said();
            if !said.contains("cannot be used") {
                break;
            }
        }
        panic!("`{name}` does not start: {said}");
    }

    fn prepared(name: &str, shared: &Shared, own: &Own) -> Self {
        let yard = Yard::new(name);
        let ports = Ports { public: free_port(), gateway: free_port(), operations: free_port() };
        write_private(&yard.path().join("root.key"), &shared.root_key);
        write_private(&yard.path().join("tegata.toml"), &configuration(shared, own, ports));
        let mut environment = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
        environment.extend(own.environment.iter().cloned());
        if own.own_clock {
            let file = yard.path().join("clock");
            fs::write(&file, "+0\n").expect("a clock");
            for (name, value) in [
                ("LD_PRELOAD", faketime().display().to_string().as_str()),
                ("FAKETIME_TIMESTAMP_FILE", &file.display().to_string()),
                ("FAKETIME_NO_CACHE", "1"),
                // What is measured since boot nobody can turn.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ] {
                environment.push((name.to_owned(), value.to_owned()));
            }
        }
        let process = Process::new(&yard, name, &shared.program, vec!["serve".to_owned()]);
        Self { process: process.with_environment(environment), ports, yard }
    }

    fn launched(&self) -> bool {
        self.process.start(&self.yard, PATIENCE, || self.is_ready())
    }

    /// Starts it again after [`Self::kill`] or [`Self::stop`]. Answers when it is ready.
    ///
    /// # Panics
    /// It does not start again.
    pub fn launch(&self) {
        assert!(self.try_launch(), "it does not start again: {}", self.process.said());
    }

    /// The same, where it may not start: answers whether it did.
    #[must_use]
    pub fn try_launch(&self) -> bool {
        let launched = self.launched();
        if !launched {
            self.process.kill(&self.yard);
        }
        launched
    }

    /// Starts it again, and does not wait until it is ready.
    pub fn launch_unready(&self) {
        assert!(self.process.start(&self.yard, PATIENCE, || true), "it ended at once");
    }

    /// Its ports.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// Its directory: configuration, root key, log of decisions, administration socket.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.yard.path()
    }

    /// Its process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Kills it (SIGKILL).
    pub fn kill(&self) {
        self.process.kill(&self.yard);
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub fn stop(&self) {
        self.process.stop(&self.yard);
    }

    /// How it ended by itself, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Moves its wall clock, where it has one of its own: so many seconds ahead, or behind.
    pub fn set_clock(&self, seconds: i64) {
        let (file, new) = (self.yard.path().join("clock"), self.yard.path().join("clock.new"));
        fs::write(&new, format!("{seconds:+}\n")).expect("a clock");
        // It reads the file all the time, so the file is never half-written.
        fs::rename(new, file).expect("a clock");
    }

    /// Lets no file of it grow beyond so many bytes; `None` lets all grow again.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let id = self.process.id().expect("a node that runs").to_string();
        let bytes = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
        let limit = format!("--fsize={bytes}:unlimited");
        let done = Command::new("prlimit").args(["--pid", &id, &limit]).status();
        assert!(done.is_ok_and(|status| status.success()), "this needs `prlimit` (util-linux)");
    }

    /// Whether it says that it is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.readiness().is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Waits until it is ready, or not; answers whether that came to be.
    #[must_use]
    pub fn until_ready(&self, patience: Duration, ready: bool) -> bool {
        until(patience, || self.is_ready() == ready)
    }

    /// What it answers about its readiness.
    #[must_use]
    pub fn readiness(&self) -> Option<String> {
        let mut stream = connect(self.ports.operations).ok()?;
        let ask = "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    /// Runs a command against it.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.process.program());
        let command = command.args(arguments).current_dir(self.directory()).env_clear();
        command.stdin(Stdio::null()).output().expect("the program")
    }

    /// Runs a command that must succeed; answers what it says, for machines.
    ///
    /// # Panics
    /// It does not.
    pub fn command(&self, arguments: &[&str]) -> String {
        let output = self.run(&[arguments, &["--format", "json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`tegata {}`: {said}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

/// Makes a root key, as `tegata init` does.
///
/// # Panics
/// The program does not run.
#[must_use]
pub fn root_key(program: &Path) -> String {
    let yard = tempfile::tempdir().expect("a directory for a root key");
    let mut command = Command::new(program);
    let made = command.arg("init").current_dir(yard.path()).env_clear().output();
    let made = made.unwrap_or_else(|error| panic!("`{}`: {error}", program.display()));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::read_to_string(yard.path().join("root.key")).expect("a root key")
}

/// Limits are those of people; what stands in for thousands of them comes from one machine.
fn configuration(shared: &Shared, own: &Own, ports: Ports) -> String {
    let events = own.events.as_deref().unwrap_or("memory:");
    format!(
        "[public]\nlisten = \"127.0.0.1:{}\"\nissuer = \"{}\"\n\
         [gateway]\nlisten = \"127.0.0.1:{}\"\naudience = \"{}\"\nworkers = 1\n\
         [gateway.limits]\nexempt = [\"127.0.0.0/8\", \"::1/128\"]\n\
         [operations]\nlisten = \"127.0.0.1:{}\"\n\
         [store]\nurl = \"{}\"\n[events]\nurl = \"{events}\"\n\
         [keys]\nalgorithms = [\"ES256\"]\n[limits]\ndanger_exempt_loopback = true\n\
         [tokens]\naccess_lifetime = \"1h\"\n{}",
        ports.public,
        shared.issuer,
        ports.gateway,
        shared.audience,
        ports.operations,
        own.store,
        own.more
    )
}

fn write_private(path: &Path, text: &str) {
    let mut file = fs::File::options();
    let file = file.create_new(true).write(true).mode(0o600).open(path);
    let written = file.and_then(|mut file| {
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.write_all(text.as_bytes())
    });
    written.unwrap_or_else(|error| panic!("`{}`: {error}", path.display()));
}
