//! What stands in for DynamoDB: dynalite, and moto. Both keep what they are told in memory.

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use crate::{
    process::{Process, Yard, connect, free_port, listens, program},
    tools::{ours, present},
};

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DynamoKind {
    /// dynalite, which can also throttle and says how often it was asked.
    Dynalite,
    /// moto.
    Moto,
}

impl DynamoKind {
    /// Its name, and that of the directories of it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dynalite => "dynalite",
            Self::Moto => "moto",
        }
    }

    /// The program that serves it on a port.
    fn serves(self, port: u16) -> (PathBuf, Vec<String>) {
        let (ours, theirs) = (ours(self.name()), present(self.name()));
        let text = |path: &Path| path.display().to_string();
        match self {
            Self::Dynalite => {
                let modules = theirs.join("node_modules");
                let words = vec![text(&ours.join("serve.js")), text(&modules), port.to_string()];
                (program("node", "nodejs"), words)
            }
            Self::Moto => {
                let words = vec![text(&ours.join("serve.py")), port.to_string()];
                (theirs.join("bin/python"), words)
            }
        }
    }
}

/// One server, which has no tables.
#[derive(Debug)]
pub struct DynamoServer {
    process: Process,
    port: u16,
    yard: Yard,
}

impl DynamoServer {
    /// The server of a kind that the tests of one process share. Each takes a table of its own.
    pub fn shared(kind: DynamoKind) -> &'static Self {
        static DYNALITE: OnceLock<DynamoServer> = OnceLock::new();
        static MOTO: OnceLock<DynamoServer> = OnceLock::new();
        match kind {
            DynamoKind::Dynalite => DYNALITE.get_or_init(|| Self::start(kind)),
            DynamoKind::Moto => MOTO.get_or_init(|| Self::start(kind)),
        }
    }

    /// A server of a kind.
    ///
    /// # Panics
    /// It does not start, and says why.
    #[must_use]
    pub fn start(kind: DynamoKind) -> Self {
        let yard = Yard::new(kind.name());
        let mut said = String::new();
        // Between our asking for a free port and its use, another may take it.
        for n in 0..20 {
            let port = free_port();
            let (runs, words) = kind.serves(port);
            let process = Process::new(&yard, &format!("{}-{n}", kind.name()), runs, words);
            if process.start(&yard, PATIENCE, || listens(port)) {
                return Self { process, port, yard };
            }
            said = process.said();
            process.kill(&yard);
        }
        panic!("{} does not start: {said}", kind.name());
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

    /// Kills it. Nothing of what it held is left.
    pub fn kill(&self) {
        self.process.kill(&self.yard);
    }

    /// The address of a table, as the configuration names it.
    #[must_use]
    pub fn url(&self, table: &str) -> String {
        self.url_at(table, self.port)
    }

    /// The address of a table through something else at another port of this machine.
    #[must_use]
    pub fn url_at(&self, table: &str, port: u16) -> String {
        format!("dynamodb://{table}?region=eu-west-1&endpoint=http://127.0.0.1:{port}")
    }

    /// Lets dynalite refuse all calls because there are too many, or not.
    pub fn throttle(&self, throttles: bool) {
        let _ = self.say("GET", if throttles { "/-/throttle" } else { "/-/serve" }, "", "");
    }

    /// How often dynalite has been asked for an operation.
    #[must_use]
    pub fn calls(&self, operation: &str) -> u64 {
        let (_, said) = self.say("GET", "/-/calls", "", "");
        let mut counts = said.trim_matches(['{', '}']).split(',');
        let count = counts.find_map(|count| {
            count.trim_start_matches('"').strip_prefix(operation)?.strip_prefix("\":")
        });
        count.and_then(|count| count.parse().ok()).unwrap_or(0)
    }

    /// What it answers to an operation, `Scan` or `PutItem`, with a body in JSON.
    #[must_use]
    pub fn ask(&self, operation: &str, body: &str) -> (u16, String) {
        // Nobody checks the signature.
        let head = format!(
            "X-Amz-Target: DynamoDB_20120810.{operation}\r\n\
             Content-Type: application/x-amz-json-1.0\r\nX-Amz-Date: 20260101T000000Z\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=tester/20260101/eu-west-1/dynamodb/aws4_request, \
             SignedHeaders=host, Signature=0\r\n"
        );
        self.say("POST", "/", &head, body)
    }

    /// Speaks HTTP/1.0, whose answers are not sent in pieces.
    fn say(&self, method: &str, path: &str, head: &str, body: &str) -> (u16, String) {
        let mut answer = String::new();
        let said = connect(self.port).and_then(|mut stream| {
            let length = body.len();
            write!(
                stream,
                "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{head}Content-Length: {length}\r\n\r\n\
                 {body}"
            )?;
            stream.read_to_string(&mut answer)
        });
        said.unwrap_or_else(|error| panic!("no answer: {error}; {}", self.process.said()));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_default(), body.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_answer() {
        for kind in [DynamoKind::Dynalite, DynamoKind::Moto] {
            let server = DynamoServer::start(kind);
            let (status, said) = server.ask("ListTables", "{}");
            assert!(status == 200 && said.contains("\"TableNames\""), "{status} {said}");
        }
    }

    #[test]
    fn dynalite_throttles_and_counts() {
        let server = DynamoServer::start(DynamoKind::Dynalite);
        server.throttle(true);
        let (status, said) = server.ask("ListTables", "{}");
        assert!(status == 400 && said.contains("ThroughputExceeded"), "{status} {said}");
        server.throttle(false);
        assert_eq!(server.ask("ListTables", "{}").0, 200);
        assert_eq!((server.calls("ListTables"), server.calls("Tables")), (2, 0));
    }
}
