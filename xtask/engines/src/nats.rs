//! NATS with JetStream.

use std::time::Duration;

use crate::process::{Process, Yard, free_port, listens, program};

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One server. What its streams hold survives [`Self::kill`], and not the server itself.
#[derive(Debug)]
pub struct NatsServer {
    process: Process,
    port: u16,
    yard: Yard,
}

impl NatsServer {
    /// A server without streams.
    #[must_use]
    pub fn start() -> Self {
        Self::told(&["-js"])
    }

    /// A server that is told other words on its command line than `-js`, which gives it streams.
    #[must_use]
    pub fn told(more: &[&str]) -> Self {
        let yard = Yard::new("nats");
        // Between our asking for a free port and its use, another may take it.
        for n in 0..20 {
            let port = free_port();
            let place = yard.path().join("streams").display().to_string();
            let port_text = port.to_string();
            let words = ["-a", "127.0.0.1", "-p", &port_text, "-sd", &place];
            let words = words.iter().chain(more);
            let arguments = words.map(|word| (*word).to_owned()).collect();
            let name = format!("nats-{n}");
            let program = program("nats-server", "nats-server");
            let process = Process::new(&yard, &name, program, arguments);
            if process.start(&yard, PATIENCE, || listens(port)) {
                return Self { process, port, yard };
            }
            process.kill(&yard);
        }
        panic!("NATS finds no port to listen on");
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Process {
        &self.process
    }

    /// Its address, as the configuration names it.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// Its address through something else at another port of this machine.
    #[must_use]
    pub fn url_at(&self, port: u16) -> String {
        format!("nats://127.0.0.1:{port}")
    }

    /// Kills it.
    pub fn kill(&self) {
        self.process.kill(&self.yard);
    }

    /// Lets it stand still (SIGSTOP): its connections stay open, and nothing comes.
    pub fn hold(&self) {
        self.process.hold();
    }

    /// Lets it go on after [`Self::hold`].
    pub fn go_on(&self) {
        self.process.go_on();
    }

    /// Starts it again after [`Self::kill`].
    pub fn launch(&self) {
        let launched = || self.process.start(&self.yard, PATIENCE, || listens(self.port));
        assert!((0..50).any(|_| launched()), "NATS does not start again: {}", self.process.said());
    }

    /// Starts it again after [`Self::kill`], with nothing of what its streams held.
    pub fn launch_empty(&self) {
        let streams = self.yard.path().join("streams");
        std::fs::remove_dir_all(&streams).expect("streams to forget");
        self.launch();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_killed_starts_again_at_its_port() {
        let server = NatsServer::start();
        server.kill();
        assert!(!listens(server.port()));
        server.launch();
        assert!(listens(server.port()));
        server.kill();
        server.launch_empty();
    }
}
