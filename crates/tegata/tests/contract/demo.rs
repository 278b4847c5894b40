//! The demo that all tests share, the people and clients that they make in it, and its commands.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::Value;
use tegata_core::Node;

use super::http::Place;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tegata");

/// How long something may take that happens soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the demo, and ends it and what it wrote when its own standard input is closed: as this
/// process ends, in whichever way. `$0` is the directory, the arguments are the demo's.
const GUARD: &str = r#"
    trap '' INT TERM
    "$@" </dev/null &
    echo $! >"$0/pid"
    exec >/dev/null
    cat
    kill $! 2>/dev/null
    wait $!
    code=$?
    rm -rf -- "$0"
    exit $code
"#;

/// A running demo.
pub(crate) struct Demo {
    pub(crate) public: Place,
    pub(crate) gateway: Place,
    pub(crate) operations: Place,
    pub(crate) issuer: String,
    /// What `--describe` wrote.
    pub(crate) described: Value,
    data: PathBuf,
    // Its standard input holds the demo.
    _guard: Child,
}

/// Somebody who can sign in.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) username: String,
    pub(crate) password: String,
}

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) id: String,
    /// `None`: a public client.
    pub(crate) secret: Option<String>,
}

/// The demo of this process, started when the first test asks for it.
pub(crate) fn demo() -> &'static Demo {
    static DEMO: LazyLock<Demo> = LazyLock::new(|| Demo::start(&[]));
    &DEMO
}

impl Demo {
    /// Starts one with further options.
    pub(crate) fn start(options: &[&str]) -> Self {
        let bases = (20_100..31_000).step_by(50);
        // Two of these tests at once should not look at the same ports in the same order.
        let offset = usize::try_from(std::process::id()).unwrap() % 200;
        let mut said = String::new();
        for base in bases.clone().skip(offset).chain(bases).filter(|base| is_free(*base)) {
            match Self::start_at(base, options) {
                Ok(demo) => return demo,
                // Somebody else was given a port meanwhile.
                Err((2, why)) => said = why,
                Err((code, why)) => panic!("the demo ended with {code}: {why}"),
            }
        }
        panic!("the demo did not start: {said}");
    }

    fn start_at(base: u16, options: &[&str]) -> Result<Self, (i32, String)> {
        let data = tempfile::tempdir().unwrap().keep();
        let (description, log) = (data.join("description.json"), data.join("log"));
        let mut guard = Command::new("sh")
            .arg("-c")
            .arg(GUARD)
            .arg(&data)
            .args([PROGRAM, "demo", "--port-base", &base.to_string(), "--data-dir"])
            .arg(&data)
            .arg("--describe")
            .arg(&description)
            .args(options)
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(guard.stdout.take().unwrap());
        let mut line = String::new();
        if output.read_line(&mut line).unwrap() == 0 {
            let said = fs::read_to_string(&log).unwrap();
            drop(guard.stdin.take());
            return Err((guard.wait().unwrap().code().unwrap_or(-1), said));
        }
        // It waits for whoever does not read what it says.
        thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
        let described: Value = serde_json::from_slice(&fs::read(&description).unwrap()).unwrap();
        let place = |name: &str| Place::of(described[name].as_str().unwrap());
        Ok(Self {
            public: place("issuer"),
            gateway: place("gateway"),
            operations: place("operations"),
            issuer: described["issuer"].as_str().unwrap().to_owned(),
            described,
            data,
            _guard: guard,
        })
    }

    /// What the demo said on its standard error.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.data.join("log")).unwrap()
    }

    /// Its process.
    pub(crate) fn pid(&self) -> i32 {
        fs::read_to_string(self.data.join("pid")).unwrap().trim().parse().unwrap()
    }

    /// Where its database is.
    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("tegata.db")
    }

    /// A new token of the partner.
    pub(crate) fn token_of_partner(&self) -> String {
        let partner = &self.described["partner"];
        let text = |name: &str| partner[name].as_str().unwrap();
        let path = text("token_endpoint").strip_prefix(text("issuer")).unwrap();
        let ask = Place::of(text("issuer")).post(path);
        let ask = ask.basic(text("client_id"), text("client_secret"));
        let answer = ask.form(&[("grant_type", "client_credentials")]).send().expect(200).json();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// A client of the description.
    pub(crate) fn client(&self, id: &str) -> Client {
        let clients = self.described["clients"].as_array().unwrap();
        let found = clients.iter().find(|it| it["client_id"] == id).unwrap();
        let secret = found["client_secret"].as_str().map(str::to_owned);
        Client { id: id.to_owned(), secret }
    }

    /// Runs a command against it.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        Command::new(PROGRAM)
            .args(args)
            .arg("--data-dir")
            .arg(&self.data)
            .current_dir(&self.data)
            .env_clear()
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// Runs a command that must succeed; answers what it says as JSON.
    pub(crate) fn command(&self, args: &[&str]) -> Value {
        let output = self.run(&[args, &["--format", "json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Runs a command that must fail with this code and one line; answers the line.
    pub(crate) fn refused(&self, args: &[&str], code: i32) -> String {
        let output = self.run(args);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
        assert_eq!(said.trim_end().lines().count(), 1, "{args:?}: {said}");
        said
    }

    /// A file for a command.
    pub(crate) fn file(&self, content: &str) -> String {
        let path = self.data.join(unique("file"));
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Somebody new with this role.
    pub(crate) fn person(&self, role: &str) -> Person {
        let (username, password) = (unique("person"), unique("correct horse battery staple"));
        let file = self.file(&format!("{password}\n"));
        let args = ["user", "add", &username, "--role", role, "--password-file", &file];
        let id = self.command(&args)["id"].as_str().unwrap().to_owned();
        Person { id, username, password }
    }

    /// A new client.
    pub(crate) fn new_client(&self, args: &[&str]) -> Client {
        let id = unique("client");
        let made = self.command(&[&["client", "add", &id], args].concat());
        Client { id, secret: made["client_secret"].as_str().map(str::to_owned) }
    }
}

/// A name that nobody has yet.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Looks until it is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let node = Node::start();
    let began = node.since_boot();
    while !is_so() {
        assert!(node.elapsed(began) < PATIENCE, "in vain was it waited until {what}");
        thread::yield_now();
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Whether all ports that the demo takes can be had.
fn is_free(base: u16) -> bool {
    (0..5).chain(10..23).all(|offset| TcpListener::bind(("127.0.0.1", base + offset)).is_ok())
}
