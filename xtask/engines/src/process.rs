//! Processes of engines: started in a directory of their own, and gone with whoever started them.

use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{BuildHasher as _, Hasher as _, RandomState},
    io::{self, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    time::Duration,
};

/// Hears which processes there are, and when nobody is left to say more, kills them and removes
/// their directory. It is a process of its own, so it also outlives a test that is killed.
const GUARD: &str = r#"
pids=" "
while read -r sign pid; do
  case $sign in
    +) pids="$pids$pid " ;;
    -) pids=$(printf '%s' "$pids" | sed "s/ $pid / /") ;;
  esac
done
[ -z "${pids# }" ] || kill -KILL $pids 2>/dev/null
rm -rf "$1""#;

/// A directory for engines, and the guard over what runs in it. Both are gone when this is.
#[derive(Debug)]
pub struct Yard {
    directory: PathBuf,
    guard: Child,
    told: Mutex<Option<ChildStdin>>,
}

impl Yard {
    /// A new directory, in the temporary directory of the system.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let prefix = format!("tegata-{name}-");
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir();
        let directory = directory.expect("a directory for an engine").keep();
        let mut guard = Command::new("sh")
            .args([OsStr::new("-c"), GUARD.as_ref(), "guard".as_ref(), directory.as_os_str()])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a guard over an engine");
        let told = Mutex::new(guard.stdin.take());
        Self { directory, guard, told }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn tell(&self, sign: char, pid: u32) {
        if let Some(guard) = lock(&self.told).as_mut() {
            guard.write_all(format!("{sign} {pid}\n").as_bytes()).expect("a guard that listens");
        }
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        drop(lock(&self.told).take());
        let _ = self.guard.wait();
    }
}

/// A process in a [`Yard`]. It is killed when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    program: Mutex<PathBuf>,
    arguments: Vec<String>,
    /// What it has in place of our own environment, where that is none of its business.
    environment: Option<Vec<(String, String)>>,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Process {
    /// A process that does not run yet. What it says goes to `NAME.log` of the yard.
    #[must_use]
    pub fn new(
        yard: &Yard,
        name: &str,
        program: impl Into<PathBuf>,
        arguments: Vec<String>,
    ) -> Self {
        let log = yard.path().join(format!("{name}.log"));
        let (name, program) = (name.to_owned(), Mutex::new(program.into()));
        Self { name, program, arguments, environment: None, log, child: Mutex::default() }
    }

    /// The same with an environment of its own, and nothing of ours.
    #[must_use]
    pub fn with_environment(mut self, environment: Vec<(String, String)>) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Its program.
    #[must_use]
    pub fn program(&self) -> PathBuf {
        lock(&self.program).clone()
    }

    /// Is another program from its next start on.
    pub fn become_program(&self, program: &Path) {
        program.clone_into(&mut lock(&self.program));
    }

    /// Starts it. Answers whether it is still there when `ready` says that it is ready, or else
    /// when `patience` is over.
    ///
    /// # Panics
    /// The program is not there.
    pub fn start(&self, yard: &Yard, patience: Duration, ready: impl Fn() -> bool) -> bool {
        let log = File::options().create(true).append(true).open(&self.log).expect("its log");
        let mut child = lock(&self.child);
        assert!(child.is_none(), "`{}` runs already", self.name);
        let program = self.program();
        let mut command = Command::new(&program);
        if let Some(environment) = &self.environment {
            command.env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        }
        let started = command
            .args(&self.arguments)
            .current_dir(yard.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("its log"))
            .stderr(log)
            .spawn();
        let started = started
            .unwrap_or_else(|error| panic!("`{}` cannot be started: {error}", program.display()));
        yard.tell('+', started.id());
        let started = child.insert(started);
        let gone = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        let mut over = false;
        until(patience, || {
            over = gone(started);
            over || ready()
        }) && !over
    }

    /// Kills it (SIGKILL), as a failing machine would, and waits until it is gone.
    pub fn kill(&self, yard: &Yard) {
        if let Some(mut child) = lock(&self.child).take() {
            let _ = child.kill();
            let _ = child.wait();
            yard.tell('-', child.id());
        }
    }

    /// Holds it: it stays, and does nothing more (SIGSTOP).
    pub fn hold(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after [`Self::hold`].
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    /// Asks it to end (SIGTERM), and waits until it has.
    pub fn stop(&self, yard: &Yard) {
        self.signal("-TERM");
        if let Some(mut child) = lock(&self.child).take() {
            let _ = child.wait();
            yard.tell('-', child.id());
        }
    }

    /// How it ended by itself, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<ExitStatus> {
        lock(&self.child).as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Its number, if it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        lock(&self.child).as_ref().map(Child::id)
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn signal(&self, signal: &str) {
        if let Some(id) = self.id() {
            let sent = Command::new("kill").args([signal, &id.to_string()]).status();
            assert!(sent.is_ok_and(|status| status.success()), "`{}` is gone", self.name);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = lock(&self.child).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port of this machine that nobody uses at the moment. Another may take it before its use, so
/// whoever uses it tries again.
#[must_use]
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    free.expect("a free port").port()
}

/// The first of so many free ports in a row, where the system gives none away by itself.
///
/// # Panics
/// There are none.
#[must_use]
pub fn free_ports(many: u16) -> u16 {
    let is_free = |first: &u16| {
        let mut ports = *first..*first + many;
        ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok())
    };
    // By chance, and not by asking for a port: where very many connections have just been closed, there is none.
    let chance = || RandomState::new().build_hasher().finish() % 10_000;
    let first = || 20_000 + u16::try_from(chance()).unwrap_or_default();
    let mut all = std::iter::repeat_with(first).take(1000);
    all.find(is_free).expect("free ports in a row")
}

/// Whether somebody takes connections at a port of this machine.
#[must_use]
pub fn listens(port: u16) -> bool {
    connect(port).is_ok()
}

/// A connection to a port of this machine.
///
/// # Errors
/// Nobody is there.
pub fn connect(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(
        &SocketAddr::from(([127, 0, 0, 1], port)),
        Duration::from_secs(2),
    )?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits until something is so, looking again and again. Answers whether it came to be.
pub fn until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    const LOOK: Duration = Duration::from_millis(10);
    // A channel on which nothing comes is a clock that needs no other.
    let (_nobody, nothing) = mpsc::channel::<()>();
    let looks = patience.as_millis() / LOOK.as_millis();
    for _ in 0..=looks {
        if is_so() {
            return true;
        }
        let _ = nothing.recv_timeout(LOOK);
    }
    false
}

/// Where a program is: on the path, or where Debian puts what administrators use.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(usual).map(|place| place.join(name));
    let found = { found }.find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("this needs `{name}`: `apt-get install {package}`"))
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
