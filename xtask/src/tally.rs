//! How many tests passed and failed, from what test runners print.

use std::{fmt, mem};

/// What became of the tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// So many did what they should.
    pub passed: u64,
    /// So many did not, or died before they could say.
    pub failed: u64,
    /// So many were told not to run.
    pub skipped: u64,
}

impl Tally {
    /// Whether at least one test was executed and none failed.
    pub const fn is_good(self) -> bool {
        self.failed == 0 && self.passed > 0
    }
}

impl fmt::Display for Tally {
    /// The plain line: `12 passed, 0 failed`, and `, 3 skipped` where tests were.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

/// Reads the output of `cargo test`, line by line.
///
/// A test program that dies (an abort, a signal, a stack overflow) prints no result. It is noticed
/// because cargo announced it and nothing followed.
#[derive(Debug, Default)]
pub struct Reader {
    tally: Tally,
    running: Option<String>,
    /// What the program that runs has printed of its failures.
    told: Vec<String>,
    died: Vec<String>,
    failures: Vec<String>,
}

/// What the output as a whole says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The counts.
    pub tally: Tally,
    /// The test programs that ended without a result.
    pub died: Vec<String>,
    /// What each program in which tests failed printed of them, headed by its name.
    pub failures: Vec<String>,
}

/// The most lines of a program's failures that are kept; of more, the last.
const KEPT: usize = 400;

/// What a line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// One test passed.
    Passed,
    /// Anything else.
    Other,
}

impl Reader {
    /// Reads one line.
    pub fn read(&mut self, line: &str) -> Said {
        let line = without_colours(line);
        let words = line.trim_start();
        if line.starts_with(' ')
            && (words.starts_with("Running ") || words.starts_with("Doc-tests "))
        {
            self.bury();
            self.running = Some(words.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let program = self.running.take().unwrap_or_default();
            self.tell(&program);
            self.count(result);
        } else if line.starts_with("test ") && line.ends_with(" ... ok") {
            return Said::Passed;
        } else if line == "failures:" || !self.told.is_empty() {
            self.told.push(line);
        }
        Said::Other
    }

    /// How it stands so far.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// How it ended, given whether cargo was content, and which test programs died. A program
    /// without a result is only then taken for dead: one that is not made of tests prints none.
    pub fn finish(mut self, content: bool) -> Ended {
        self.bury();
        if content {
            self.died.clear();
        }
        self.tally.failed += u64::try_from(self.died.len()).unwrap_or(u64::MAX);
        Ended { tally: self.tally, died: self.died, failures: self.failures }
    }

    fn bury(&mut self) {
        if let Some(program) = self.running.take() {
            self.tell(&program);
            self.died.push(program);
        }
    }

    /// Keeps what was printed of failures, for the end: what comes after it may be long.
    fn tell(&mut self, program: &str) {
        let told = mem::take(&mut self.told);
        if !told.is_empty() {
            let last = told.iter().skip(told.len().saturating_sub(KEPT));
            let text: Vec<_> = last.map(String::as_str).collect();
            self.failures.push(format!("{program}\n{}", text.join("\n").trim_end()));
        }
    }

    /// Reads `ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s`.
    fn count(&mut self, result: &str) {
        let counts = result.split_once(". ").map_or("", |(_, counts)| counts);
        for part in counts.split("; ") {
            let Some((number, what)) = part.split_once(' ') else { continue };
            let Ok(number) = number.parse::<u64>() else { continue };
            match what {
                "passed" => self.tally.passed += number,
                "failed" => self.tally.failed += number,
                "ignored" => self.tally.skipped += number,
                _ => {}
            }
        }
    }
}

/// A line without the escape sequences that colour it (ECMA-48 `CSI … m`).
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = sequence.split_once('m').map_or("", |(_, after)| after);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str, content: bool) -> Ended {
        let mut reader = Reader::default();
        for line in output.lines() {
            reader.read(line);
        }
        reader.finish(content)
    }

    const GOOD: &str = "     Running unittests src/lib.rs (target/debug/deps/a-1)\n\n\
        running 2 tests\ntest a ... ok\ntest b ... ignored\n\n\
        test result: ok. 1 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n";

    #[test]
    fn adds_up_programs_and_doctests() {
        let output = format!(
            "{GOOD}\u{1b}[1m\u{1b}[32m   Doc-tests\u{1b}[0m tegata_core\n\
            test result: \u{1b}[31mFAILED\u{1b}[0m. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s\n"
        );
        let tally = Tally { passed: 3, failed: 3, skipped: 1 };
        assert_eq!(read(&output, false), Ended { tally, ..Ended::default() });
    }

    #[test]
    fn keeps_what_failed_for_the_end() {
        let failing = "     Running tests/clients.rs (target/debug/deps/clients-1)\n\n\
            running 2 tests\ntest a ... ok\ntest b ... FAILED\n\nfailures:\n\n\
            ---- b stdout ----\nb is lost\n\nfailures:\n    b\n\n\
            test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s\n\n";
        let ended = read(&format!("{failing}{GOOD}"), false);
        let told = "Running tests/clients.rs (target/debug/deps/clients-1)\n\
            failures:\n\n---- b stdout ----\nb is lost\n\nfailures:\n    b";
        assert_eq!(ended.failures, [told]);
    }

    #[test]
    fn keeps_the_end_of_failures_that_are_long() {
        let lines: Vec<_> = (0..2 * KEPT).map(|number| format!("line {number}")).collect();
        let dying = format!("     Running a\nfailures:\n{}\n", lines.join("\n"));
        let ended = read(&dying, false);
        assert!(ended.failures.iter().all(|told| told.lines().count() == KEPT + 1));
        assert!(ended.failures.iter().any(|told| told.ends_with("line 799")), "{ended:?}");
    }

    #[test]
    fn a_program_that_dies_is_a_failure() {
        let dying = "     Running tests/contract.rs (target/debug/deps/contract-1)\n\nrunning 4 tests\ntest a ... ok\n";
        for output in [format!("{dying}{GOOD}"), format!("{GOOD}{dying}")] {
            let ended = read(&output, false);
            assert_eq!(ended.tally, Tally { passed: 1, failed: 1, skipped: 1 });
            assert_eq!(ended.died, ["Running tests/contract.rs (target/debug/deps/contract-1)"]);
        }
    }

    #[test]
    fn a_program_without_tests_in_it_is_no_failure() {
        let output = format!("     Running benches/verify.rs (target/debug/deps/verify-1)\n{GOOD}");
        let tally = Tally { passed: 1, failed: 0, skipped: 1 };
        assert_eq!(read(&output, true), Ended { tally, ..Ended::default() });
    }

    #[test]
    fn a_run_without_tests_is_not_good() {
        assert!(!Tally::default().is_good());
        assert!(!Tally { skipped: 4, ..Tally::default() }.is_good());
        assert!(!Tally { passed: 9, failed: 1, skipped: 0 }.is_good());
        assert!(Tally { passed: 1, failed: 0, skipped: 0 }.is_good());
    }

    #[test]
    fn prints_the_plain_line() {
        assert_eq!(Tally { passed: 12, failed: 0, skipped: 0 }.to_string(), "12 passed, 0 failed");
        assert_eq!(
            Tally { passed: 1, failed: 2, skipped: 3 }.to_string(),
            "1 passed, 2 failed, 3 skipped"
        );
    }
}
