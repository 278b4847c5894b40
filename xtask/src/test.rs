//! All tests of the workspace, with the parts of the system that they need.

use std::{
    io::{self, BufRead as _, BufReader, PipeReader, Write as _},
    process::{Child, Command, ExitCode},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{self, Stopwatch},
    parts::{self, FOR_TESTS},
    tally::{Ended, Reader, Said, Tally},
    tools,
};

/// Runs the tests. The last line of the output is the plain one, also when something fails.
///
/// # Errors
/// None: what fails is printed before the plain line.
pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let report = execute(arguments);
    report.explain();
    println!("{}", report.tally);
    Ok(report.code())
}

/// What became of a run.
pub struct Report {
    /// The counts.
    pub tally: Tally,
    /// What is to be said beside the counts.
    complaints: Vec<String>,
    /// What the programs in which tests failed printed of them.
    failures: Vec<String>,
}

impl Report {
    /// Whether tests were executed and nothing failed.
    pub fn is_good(&self) -> bool {
        self.complaints.is_empty() && self.tally.is_good()
    }

    /// Says what went wrong: once more what tests said of it, which is far above by now, and then,
    /// on the standard error, what none of them said.
    pub fn explain(&self) {
        for failure in &self.failures {
            println!("== failed: {failure}\n");
        }
        for complaint in &self.complaints {
            eprintln!("error: {complaint}");
        }
    }

    /// The exit code.
    pub fn code(&self) -> ExitCode {
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn stopped(error: &anyhow::Error) -> Self {
        let complaints = vec![format!("{error:#}")];
        Self { tally: Tally::default(), complaints, failures: Vec::new() }
    }
}

/// Installs what is missing, builds, and runs the tests.
pub fn execute(arguments: &[String]) -> Report {
    let ready = parts::ensure(FOR_TESTS).and_then(|()| tools::ensure()).and_then(|()| {
        // Built first, so that a terminal shows cargo's own progress.
        let (for_cargo, _) = split(arguments);
        command::succeed(cargo_test(for_cargo).arg("--no-run"))
    });
    match ready.and_then(|()| follow(arguments)) {
        Ok(report) => report,
        Err(error) => Report::stopped(&error),
    }
}

/// `cargo test` over the workspace, or over the packages that the arguments name.
fn cargo_test(arguments: &[String]) -> Command {
    let mut cargo = command::cargo();
    cargo.args(["test", "--locked", "--all-features", "--no-fail-fast"]);
    let names_packages = |word: &String| word.starts_with("-p") || word.starts_with("--package");
    if !arguments.iter().any(names_packages) {
        cargo.arg("--workspace");
    }
    cargo.args(arguments);
    cargo
}

/// The arguments before the first `--`, which are for cargo, and those from it on.
fn split(arguments: &[String]) -> (&[String], &[String]) {
    let end = arguments.iter().position(|word| word == "--").unwrap_or(arguments.len());
    arguments.split_at(end)
}

/// Runs the tests, shows their output as it comes, and counts.
fn follow(arguments: &[String]) -> Result<Report> {
    let (for_cargo, for_tests) = split(arguments);
    // One pipe for both streams keeps the order in which lines were written.
    let (output, input) = io::pipe().context("the system has no pipe to give")?;
    let mut cargo = cargo_test(for_cargo);
    cargo.args(for_tests);
    cargo.stdout(input.try_clone().context("the pipe cannot be shared")?).stderr(input);
    let mut child = cargo.spawn().context("`cargo test` cannot be started")?;
    drop(cargo); // and with it our writing ends of the pipe, so that reading ends

    let mut screen = Screen { folds: command::on_terminal(), folded: false };
    let mut reader = Reader::default();
    let ended = each_line(&lines_of(output), &mut child, GRACE, |line| {
        let said = reader.read(line);
        screen.show(line, said, reader.tally());
    });
    screen.unfold();
    let status = child.wait().context("`cargo test` is lost")?;

    let Ended { tally, died, failures } = reader.finish(status.success());
    let mut complaints: Vec<_> = died
        .iter()
        .map(|program| format!("a test program died without a result: {program}"))
        .collect();
    if !ended {
        complaints.push("something that a test started outlives the tests".to_owned());
    }
    if !status.success() && tally.failed == 0 {
        complaints.push(format!("no test failed, but `cargo test` ended with {status}"));
    }
    if tally.passed + tally.failed == 0 {
        complaints.push("no test was executed: a filter that fits none, perhaps".to_owned());
    }
    Ok(Report { tally, complaints, failures })
}

/// How long the output may stay open after `cargo test` has ended.
const GRACE: Duration = Duration::from_secs(10);

/// The lines that come out of a pipe, read by a thread of their own.
fn lines_of(output: PipeReader) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r']).to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// Shows each line as it comes, and answers whether the output ended within `grace` after the
/// child. It does not where a server that a test forgot to stop holds the pipe open; then nobody
/// waits for it.
fn each_line(
    lines: &Receiver<String>,
    child: &mut Child,
    grace: Duration,
    mut show: impl FnMut(&str),
) -> bool {
    let mut since_end = None;
    loop {
        match lines.recv_timeout(Duration::from_millis(500)) {
            Ok(line) => show(&line),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if since_end.is_none() && matches!(child.try_wait(), Ok(Some(_))) {
            since_end = Some(Stopwatch::start());
        }
        if since_end.as_ref().is_some_and(|since| since.read() > grace) {
            return false;
        }
    }
}

/// Where lines go: all of them to a file or to CI; on a terminal, tests that pass share one line.
struct Screen {
    folds: bool,
    folded: bool,
}

impl Screen {
    fn show(&mut self, line: &str, said: Said, tally: Tally) {
        if self.folds && said == Said::Passed {
            let name = line.trim_start_matches("test ").trim_end_matches(" ... ok");
            let name: String = name.chars().take(60).collect();
            print!("\r\u{1b}[K{tally} in finished programs; now {name}");
            let _ = io::stdout().flush();
            self.folded = true;
        } else {
            self.unfold();
            println!("{line}");
        }
    }

    /// Clears the shared line.
    fn unfold(&mut self) {
        if std::mem::take(&mut self.folded) {
            print!("\r\u{1b}[K");
            let _ = io::stdout().flush();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn runs_the_workspace_unless_packages_are_named() {
        let all = command::line_of(&cargo_test(&words("realm")));
        assert!(all.contains("--workspace realm"), "{all}");
        for named in ["-p tegata-core", "-ptegata-core", "--package tegata-core"] {
            let some = command::line_of(&cargo_test(&words(named)));
            assert!(!some.contains("--workspace"), "{some}");
        }
    }

    #[test]
    fn hands_what_follows_the_dashes_to_the_tests_alone() {
        let arguments = words("-p tegata-core -- --nocapture");
        let (for_cargo, for_tests) = split(&arguments);
        assert_eq!((for_cargo.len(), for_tests.len()), (2, 2));
    }

    fn shell(script: &str) -> (Receiver<String>, Child) {
        let (output, input) = io::pipe().unwrap();
        let mut shell = command::program("sh");
        let shell = shell.args(["-c", script]).stdin(Stdio::piped()).stdout(input);
        (lines_of(output), shell.spawn().unwrap())
    }

    #[test]
    fn reads_until_the_output_ends() {
        let (lines, mut child) = shell("echo one; printf two");
        let mut seen = Vec::new();
        assert!(each_line(&lines, &mut child, GRACE, |line| seen.push(line.to_owned())));
        child.wait().unwrap();
        assert_eq!(seen, ["one", "two"]);
    }

    #[test]
    fn does_not_wait_for_what_a_test_forgot_to_stop() {
        // The inner `cat` lives, and holds the output, until this test lets go of its input.
        let (lines, mut child) = shell("exec 3<&0; cat <&3 & echo one");
        let input = child.stdin.take();
        assert!(!each_line(&lines, &mut child, Duration::ZERO, |_| {}));
        drop(input);
        child.wait().unwrap();
    }

    #[test]
    fn a_run_with_a_complaint_is_not_good() {
        let passed = Tally { passed: 1, ..Tally::default() };
        let report = |complaints| Report { tally: passed, complaints, failures: Vec::new() };
        assert!(report(vec![]).is_good());
        assert!(!report(vec![String::from("lost")]).is_good());
        assert!(!Report::stopped(&anyhow::anyhow!("parts are missing")).is_good());
    }
}
