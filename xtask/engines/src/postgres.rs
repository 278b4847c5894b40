//! A real PostgreSQL for tests: started when it is needed, gone when the test run is.

use std::{
    ffi::OsStr,
    fs,
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::process::until;

/// Says how to mend what most machines lack.
const MISSING: &str = "this test needs PostgreSQL: `apt-get install postgresql`";

/// Waits until the test process is gone, in whatever way, then stops the server and removes its
/// files. A server that is held must go on before it can stop.
const GUARD: &str = r#"cat >/dev/null
server=$(head -n 1 "$2/data/postmaster.pid" 2>/dev/null)
[ -z "$server" ] || kill -CONT "$server" $(ps -o pid= --ppid "$server") 2>/dev/null
"$1/pg_ctl" -D "$2/data" -m immediate -w stop >/dev/null 2>&1
rm -rf "$2""#;

/// Small, so that many can run at once, and leaving nothing behind outside its directory. What it
/// acknowledges is on disk, as in production.
const SETTINGS: &str = "
listen_addresses = ''
max_connections = 300
shared_buffers = 32MB
dynamic_shared_memory_type = mmap
log_line_prefix = '%m [%p] %d '
";

/// A running server of our own, reached through a socket in its directory.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    directory: PathBuf,
    /// The user that it runs as, where we are root: it refuses to run as root.
    user: Option<(u32, u32)>,
    /// The name of its socket, and the port that it listens on if it listens on one.
    port: u16,
    databases: AtomicU32,
    guard: Child,
}

impl PostgresServer {
    /// The server that the tests of one process share. Each takes a [`Self::database`] of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<PostgresServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server for one test, which may stop it. It is gone when this is dropped.
    #[must_use]
    pub fn start() -> Self {
        let server = Self::made(5432, "", |_| {});
        server.launch();
        server
    }

    /// A server that also listens on a free port of this machine, with more lines in its
    /// `postgresql.conf`. `furnish` may put files into the directory that it is given, which are
    /// then the server's own.
    #[must_use]
    pub fn listening(settings: &str, furnish: impl Fn(&Path)) -> Self {
        // Between our asking for a free port and its use, another may take it.
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let port = free.expect("a free port").port();
            let settings = format!("listen_addresses = '127.0.0.1'\n{settings}");
            let server = Self::made(port, &settings, &furnish);
            if server.launched() {
                return server;
            }
        }
        panic!("PostgreSQL finds no port to listen on");
    }

    fn made(port: u16, settings: &str, furnish: impl Fn(&Path)) -> Self {
        let server = Self::empty(port);
        let data = server.data().display().to_string();
        server.must("initdb", &["-D", &data, "-U", "tester", "-A", "trust", "-E", "UTF8", "-N"]);
        let file = server.data().join("postgresql.conf");
        let mut text = fs::read_to_string(&file).expect("its settings");
        let socket = server.directory.display();
        text.push_str(&format!("port = {port}\nunix_socket_directories = '{socket}'\n"));
        fs::write(&file, [&text, SETTINGS, settings, "\n"].concat()).expect("its settings");
        furnish(&server.data());
        own_all(server.user, &server.data());
        server
    }

    /// A server without anything, not even a database.
    fn empty(port: u16) -> Self {
        let programs = programs().unwrap_or_else(|| panic!("{MISSING}"));
        let user = server_user();
        let directory = tempfile::Builder::new()
            .prefix("tegata-postgres-")
            .tempdir()
            .expect("a directory for PostgreSQL")
            .keep();
        own(user, &directory);
        let guard = as_user(user, "sh")
            .args([OsStr::new("-c"), GUARD.as_ref(), "guard".as_ref()])
            .args([programs.as_os_str(), directory.as_os_str()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a guard over PostgreSQL");
        let databases = AtomicU32::new(0);
        Self { programs, directory, user, port, databases, guard }
    }

    /// Starts the server after [`Self::kill`]. Answers when it takes connections.
    pub fn launch(&self) {
        // Until the last process of a server that was killed is gone, no other can start.
        if !(0..100).any(|_| self.launched()) {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            panic!("PostgreSQL does not start: {log}");
        }
    }

    fn launched(&self) -> bool {
        let data = self.data().display().to_string();
        let log = self.directory.join("log").display().to_string();
        self.run("pg_ctl", &["-D", &data, "-l", &log, "-w", "start"]).status.success()
    }

    /// Kills the server and all its processes at once, as a failing machine would.
    pub fn kill(&self) {
        self.signal("-KILL");
    }

    /// Holds the server and all its processes: connections stay open, and nothing is heard of it
    /// (SIGSTOP).
    pub fn hold(&self) {
        // The server first, or it would make more of them meanwhile.
        self.run("kill", &["-STOP", &self.id()]);
        self.signal("-STOP");
    }

    /// Lets it go on after [`Self::hold`].
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let server = self.id();
        let children = self.run("ps", &["-o", "pid=", "--ppid", &server]).stdout;
        let children = String::from_utf8_lossy(&children).into_owned();
        // The server first, or it would tidy up after its children.
        let all = std::iter::once(server.as_str()).chain(children.split_whitespace());
        self.run("kill", &[&[signal], &all.collect::<Vec<_>>()[..]].concat());
    }

    /// The number of its first process.
    fn id(&self) -> String {
        let file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        file.lines().next().expect("PostgreSQL runs").to_owned()
    }

    /// Stops the server as an operator would, without waiting for those who are connected.
    pub fn stop(&self) {
        let data = self.data().display().to_string();
        self.must("pg_ctl", &["-D", &data, "-m", "fast", "-w", "stop"]);
    }

    /// Takes a backup of all that the server has, while it runs (`pg_basebackup`).
    pub fn back_up(&self) -> PathBuf {
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        let place = self.directory.join(format!("backup-{number}"));
        let (to, host) = (place.display().to_string(), self.directory.display().to_string());
        let port = self.port.to_string();
        let from = ["-h", &host, "-p", &port, "-U", "tester"];
        self.must(
            "pg_basebackup",
            &[&["-D", &to, "-X", "stream", "-c", "fast"], &from[..]].concat(),
        );
        place
    }

    /// Puts a backup in the place of all that the server has. It must have been stopped, and is started
    /// with [`Self::launch`].
    pub fn bring_back(&self, backup: &Path) {
        fs::remove_dir_all(self.data()).expect("to remove what the server had");
        fs::rename(backup, self.data()).expect("to put a backup in its place");
    }

    /// A standby that follows a server, and that nobody waits for. It listens on a port of its own.
    #[must_use]
    pub fn standby_of(primary: &Self) -> Self {
        let backup = primary.back_up();
        let text = fs::read_to_string(backup.join("postgresql.conf")).expect("its settings");
        let port = primary.port;
        let host = primary.directory.display();
        for _ in 0..20 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
            let standby = Self::empty(free.expect("a free port").port());
            let own = format!(
                "{text}\nport = {}\nunix_socket_directories = '{}'\n\
                 primary_conninfo = 'host={host} port={port} user=tester'\n",
                standby.port,
                standby.directory.display()
            );
            let (from, to) = (backup.display().to_string(), standby.data().display().to_string());
            standby.must("cp", &["-a", &from, &to]);
            fs::write(standby.data().join("postgresql.conf"), own).expect("its settings");
            fs::write(standby.data().join("standby.signal"), "").expect("that it is a standby");
            own_all(standby.user, &standby.data());
            if standby.launched() {
                return standby;
            }
        }
        panic!("PostgreSQL finds no port to listen on");
    }

    /// Has a standby follow nobody any more.
    pub fn cut_off(&self) {
        self.set("primary_conninfo", "");
        let follows = || self.query("postgres", "SELECT count(*) FROM pg_stat_wal_receiver") != "0";
        assert!(until(Duration::from_secs(30), || !follows()), "the standby goes on following");
    }

    /// Makes a standby be a server of its own.
    pub fn promote(&self) {
        let data = self.data().display().to_string();
        self.must("pg_ctl", &["-D", &data, "-w", "promote"]);
    }

    /// Changes a setting of the server.
    pub fn set(&self, name: &str, value: &str) {
        self.query("postgres", &format!("ALTER SYSTEM SET {name} = '{value}'"));
        self.query("postgres", "SELECT pg_reload_conf()");
    }

    /// A new, empty database. Its language orders texts in another way than bytes.
    pub fn database(&self) -> PostgresDatabase<'_> {
        let number = self.databases.fetch_add(1, Ordering::SeqCst);
        let name = format!("test_{number}");
        let make = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
        let version = self.query("postgres", "SHOW server_version_num");
        let language = match version.parse::<u32>() {
            Ok(version) if version >= 150_000 => " LOCALE_PROVIDER icu ICU_LOCALE 'en-US'",
            _ => "",
        };
        self.query("postgres", &format!("{make}{language}"));
        PostgresDatabase { server: self, name }
    }

    /// A database that [`Self::database`] made.
    #[must_use]
    pub fn named(&self, name: &str) -> PostgresDatabase<'_> {
        PostgresDatabase { server: self, name: name.to_owned() }
    }

    /// The port that it listens on, where it is [`Self::listening`].
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The directory that its socket is in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn query(&self, database: &str, sql: &str) -> String {
        let (host, port) = (self.directory.display().to_string(), self.port.to_string());
        let arguments =
            ["-h", &host, "-p", &port, "-U", "tester", "-X", "-At", "-v", "ON_ERROR_STOP=1"];
        let output = self.must("psql", &[&arguments[..], &["-c", sql, database]].concat());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn must(&self, program: &str, arguments: &[&str]) -> Output {
        let output = self.run(program, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{program}`: {said}");
        output
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        let ours = self.programs.join(program);
        let program = if ours.exists() { ours } else { PathBuf::from(program) };
        // A server keeps what `pg_ctl` was started with, so that may not be a pipe we read.
        let starts = arguments.last() == Some(&"start");
        let output = || if starts { Stdio::null() } else { Stdio::piped() };
        as_user(self.user, &program)
            .args(arguments)
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .output()
            .unwrap_or_else(|error| panic!("`{}`: {error}; {MISSING}", program.display()))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// A database of a [`PostgresServer`].
#[derive(Debug)]
pub struct PostgresDatabase<'a> {
    server: &'a PostgresServer,
    name: String,
}

impl PostgresDatabase<'_> {
    /// Its address, for `Postgres::open`.
    #[must_use]
    pub fn url(&self) -> String {
        let host = self.server.directory.display().to_string().replace('/', "%2F");
        self.url_on(&host)
    }

    /// Its address by a name of this machine, where the server is [`PostgresServer::listening`].
    #[must_use]
    pub fn url_on(&self, host: &str) -> String {
        self.url_at(host, self.server.port)
    }

    /// Its address through something else at another port.
    #[must_use]
    pub fn url_at(&self, host: &str, port: u16) -> String {
        format!("postgres://tester@{host}:{port}/{}", self.name)
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements; answers what the last one answers, a row on a line, columns between `|`.
    pub fn sql(&self, sql: &str) -> String {
        self.server.query(&self.name, sql)
    }
}

/// Where the newest server's programs are.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse::<u32>().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .max();
    let asked = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    };
    debian.map(|(_, path)| path).or_else(asked).filter(|path| path.join("initdb").exists())
}

/// The user and group that a server runs as where we are root.
fn server_user() -> Option<(u32, u32)> {
    let id = |arguments: &[&str]| {
        let output = Command::new("id").args(arguments).output().ok()?;
        String::from_utf8(output.stdout).ok()?.trim().parse::<u32>().ok()
    };
    if id(&["-u"]) != Some(0) {
        return None;
    }
    let user = id(&["-u", "postgres"]).zip(id(&["-g", "postgres"]));
    Some(user.unwrap_or_else(|| panic!("there is no user `postgres`; {MISSING}")))
}

fn own(user: Option<(u32, u32)>, path: &Path) {
    if let Some((user, group)) = user {
        chown(path, Some(user), Some(group)).expect("to give a file to PostgreSQL");
    }
}

/// What is in a directory, not beneath that.
fn own_all(user: Option<(u32, u32)>, directory: &Path) {
    for entry in fs::read_dir(directory).expect("its files").flatten() {
        own(user, &entry.path());
    }
}

fn as_user(user: Option<(u32, u32)>, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}
