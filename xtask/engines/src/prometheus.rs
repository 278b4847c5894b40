//! Prometheus, which asks others for their metrics, and `promtool`, which judges them.

use std::{
    fs,
    io::{Read as _, Write as _},
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use crate::process::{Process, Yard, connect, free_port, program};

/// How long it may take to start on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The Debian package of both programs.
const PACKAGE: &str = "prometheus";

/// One server. It is killed when this is dropped, and what it has seen is gone with it.
#[derive(Debug)]
pub struct PrometheusServer {
    process: Process,
    port: u16,
    _yard: Yard,
}

impl PrometheusServer {
    /// A server that asks `target`, a port of this machine, four times a second, as the job `job`, and
    /// evaluates the rules of a file.
    ///
    /// # Panics
    /// It does not start, and says why.
    #[must_use]
    pub fn scraping(job: &str, target: u16, rules: &Path) -> Self {
        let yard = Yard::new("prometheus");
        let configuration = yard.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s}}\n\
             rule_files: ['{}']\n\
             scrape_configs:\n  - job_name: {job}\n    \
             static_configs: [{{targets: ['localhost:{target}']}}]\n",
            rules.display()
        );
        fs::write(&configuration, text).expect("a configuration");
        let mut said = String::new();
        // Between our asking for a free port and its use, another may take it.
        for n in 0..5 {
            let port = free_port();
            let arguments = vec![
                format!("--config.file={}", configuration.display()),
                format!("--storage.tsdb.path={}", yard.path().join("data").display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
            ];
            let name = format!("prometheus-{n}");
            let process = Process::new(&yard, &name, program("prometheus", PACKAGE), arguments);
            let ready = || get(port, "/-/ready").is_some_and(|(status, _)| status == 200);
            if process.start(&yard, PATIENCE, ready) {
                return Self { process, port, _yard: yard };
            }
            said = process.said();
            process.kill(&yard);
        }
        panic!("Prometheus does not start: {said}");
    }

    /// What it answers at a path of its API.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn get(&self, target: &str) -> (u16, String) {
        get(self.port, target).unwrap_or_else(|| panic!("no answer: {}", self.process.said()))
    }

    /// What it answers to a query, as JSON.
    ///
    /// # Panics
    /// It does not understand the query.
    #[must_use]
    pub fn query(&self, query: &str) -> String {
        let (status, answer) = self.get(&format!("/api/v1/query?query={}", encoded(query)));
        assert!(status == 200, "`{query}`: {answer}");
        answer
    }
}

/// Runs `promtool` in a directory, with a text to read.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn promtool(place: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(program("promtool", PACKAGE));
    command.args(arguments).current_dir(place);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool");
    let mut reads = child.stdin.take().expect("its input");
    // Whoever does not read all of it has said why not.
    let _ = reads.write_all(input.as_bytes());
    drop(reads);
    child.wait_with_output().expect("what promtool says")
}

/// Asks with HTTP/1.0, whose answers are not sent in pieces.
fn get(port: u16, target: &str) -> Option<(u16, String)> {
    let mut stream = connect(port).ok()?;
    write!(stream, "GET {target} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Percent-encoded, all but letters and digits.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_asks_and_answers() {
        let place = tempfile::tempdir().expect("a directory");
        let rules = place.path().join("no.rules.yml");
        fs::write(&rules, "groups: []\n").expect("rules");
        let server = PrometheusServer::scraping("nobody", free_port(), &rules);
        let seen = || server.query("up{job=\"nobody\"}").contains("\"0\"");
        assert!(crate::process::until(PATIENCE, seen), "{}", server.query("up"));
    }

    #[test]
    fn promtool_judges() {
        let judged = |text| promtool(Path::new("/"), &["check", "metrics"], text).status.success();
        assert!(judged("# HELP a_total A.\n# TYPE a_total counter\na_total 1\n"));
        assert!(!judged("# HELP a A.\n# TYPE a counter\na 1\n"));
    }
}
