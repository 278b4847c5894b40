//! Envoy, before services or beside the gateway.

use std::{fs, path::PathBuf, time::Duration};

use crate::{
    process::{Process, Yard, free_port, listens},
    tools,
};

/// How long it may take to listen on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// An Envoy. It is killed when this is dropped.
#[derive(Debug)]
pub struct EnvoyServer {
    process: Process,
    port: u16,
    yard: Yard,
}

impl EnvoyServer {
    /// Starts it with what `configuration` says for a port to listen on; answers when it listens.
    ///
    /// # Panics
    /// It does not start, and says why.
    #[must_use]
    pub fn start(configuration: impl Fn(u16) -> String) -> Self {
        let mut said = String::new();
        // Between our asking for a free port and its use, another may take it.
        for _ in 0..3 {
            let (yard, port) = (Yard::new("envoy"), free_port());
            let file = yard.path().join("envoy.yaml");
            fs::write(&file, configuration(port)).expect("a configuration for Envoy");
            let arguments = [
                "-c",
                &file.display().to_string(),
                "--concurrency",
                "2",
                "--log-level",
                "warning",
                // Several run on one machine.
                "--disable-hot-restart",
            ];
            let arguments = arguments.map(str::to_owned).into();
            let process = Process::new(&yard, "envoy", program(), arguments);
            if process.start(&yard, PATIENCE, || listens(port)) {
                return Self { process, port, yard };
            }
            said = process.said();
        }
        panic!("Envoy does not start: {said}");
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What it has said so far.
    #[must_use]
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Where it runs.
    #[must_use]
    pub const fn yard(&self) -> &Yard {
        &self.yard
    }
}

/// The program, where pip put it.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn program() -> PathBuf {
    let libraries = fs::read_dir(tools::present("envoy").join("lib"));
    let libraries = libraries.expect("what pip installed").flatten();
    let programs = libraries.map(|library| library.path().join("site-packages/envoy/_bin/envoy"));
    { programs }.find(|program| program.is_file()).expect("the program of Envoy")
}
