//! Kills a process that writes to SQLite, again and again on one file, and looks at what is left.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use tegata_faults::{Round, ledger::Checked, report::Seen};

use crate::command::{self, Stopwatch};

/// How often the process is killed in one round.
const KILLS: u64 = 5;

/// One round: a new database, several kills, and a look after each.
///
/// # Errors
/// Something acknowledged is lost, or something is there in part.
pub fn round(round: &Round) -> Result<Seen> {
    let seed = round.seed;
    let victim = super::built("tegata-victim", &[])?;
    let directory = command::root().join("target/faults").join(format!("sqlite-kill-{seed}"));
    if directory.exists() {
        fs::remove_dir_all(&directory)?;
    }
    fs::create_dir_all(&directory)?;
    let database = directory.join("victim.db");

    let mut acknowledged = Vec::new();
    let mut saw = String::new();
    for kill in 0..KILLS {
        acknowledged.extend(write_and_die(&victim, &database, moment(seed, kill))?);
        saw = judge(&victim, &database, &acknowledged)
            .with_context(|| format!("the database is kept in `{}`", directory.display()))?;
    }
    ensure!(!acknowledged.is_empty(), "nothing was acknowledged, so nothing was shown");
    fs::remove_dir_all(&directory)?;
    let checked = Checked { promises: acknowledged.len(), looks: acknowledged.len() };
    Ok(Seen { saw: format!("{KILLS} kills: {saw}"), checked, ..Seen::default() })
}

/// How long after its first acknowledgement the process is killed: 0 to 255 ms.
fn moment(seed: u64, kill: u64) -> Duration {
    // A step of SplitMix64 (Steele, Lea, Flood 2014), of which the upper bits are well mixed.
    let mixed = (seed ^ kill.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Duration::from_millis((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56)
}

/// Lets the victim write until the moment has come, kills it (SIGKILL), and answers what it said
/// was acknowledged.
fn write_and_die(victim: &Path, database: &Path, moment: Duration) -> Result<Vec<String>> {
    let mut command = Command::new(victim);
    let mut child = command.arg("write").arg(database).stdout(Stdio::piped()).spawn()?;
    let lines = lines_of(child.stdout.take().context("the victim has no output")?);
    let said = listen(&lines, moment);
    kill(&mut child)?;
    // What it said before it died, it said.
    Ok(said.into_iter().chain(lines).collect())
}

fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        // A last line without its end was not said.
        let mut output = BufReader::new(output);
        let mut line = String::new();
        while output.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
            if sender.send(line.trim_end().to_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// What the victim says within `moment` after its first line.
fn listen(lines: &Receiver<String>, moment: Duration) -> Vec<String> {
    let mut said: Vec<String> = lines.recv().into_iter().collect();
    let watch = Stopwatch::start();
    while let Some(left) = moment.checked_sub(watch.read()) {
        match lines.recv_timeout(left) {
            Ok(line) => said.push(line),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    said
}

fn kill(child: &mut Child) -> Result<()> {
    if let Some(status) = child.try_wait()? {
        bail!("the victim died by itself: {status}");
    }
    child.kill()?;
    child.wait()?;
    Ok(())
}

fn judge(victim: &Path, database: &Path, acknowledged: &[String]) -> Result<String> {
    let mut command = Command::new(victim);
    command.arg("judge").arg(database).stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut input = child.stdin.take().context("the judge has no input")?;
    // A judge who dies does not read to the end; why it died is what counts.
    let _ = input.write_all((acknowledged.join("\n") + "\n").as_bytes());
    drop(input);
    let output = child.wait_with_output()?;
    let said = if output.status.success() { output.stdout } else { output.stderr };
    let said = String::from_utf8_lossy(&said).trim().to_owned();
    ensure!(output.status.success(), "{said}");
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_moments_and_others_have_others() {
        let moments = |seed| (0..KILLS).map(|kill| moment(seed, kill)).collect::<Vec<_>>();
        assert_eq!(moments(7), moments(7));
        assert_ne!(moments(7), moments(8));
        assert!(moments(7).iter().all(|moment| *moment < Duration::from_millis(256)));
    }

    #[test]
    fn a_half_line_was_not_said() {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", "echo 1.1; printf 1.2"]).stdout(Stdio::piped());
        let mut child = shell.spawn().unwrap();
        let said: Vec<_> = lines_of(child.stdout.take().unwrap()).into_iter().collect();
        child.wait().unwrap();
        assert_eq!(said, ["1.1"]);
    }
}
