//! The demo as another process, and commands given to it.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use super::{Demo, PATIENCE};
use crate::{command::Failed, demo::make_directory};

/// A running demo. It is killed with its owner.
pub(crate) struct Child {
    process: tokio::process::Child,
    demo: Demo,
    data: PathBuf,
    // Its standard output must be read, or it would wait for a reader.
    _output: tokio::task::JoinHandle<()>,
}

impl Child {
    /// Starts a demo and waits until it says what it is. What it says of its own end is told as if
    /// this process said it, with its code.
    pub(crate) async fn start(demo: &Demo, data: &Path) -> Result<(Self, Value), Failed> {
        let failed = Failed::Operation;
        make_directory(data).map_err(Failed::Usage)?;
        let description = demo.describe.clone().unwrap_or_else(|| data.join("description.json"));
        let of_description =
            |error: &dyn std::fmt::Display| failed(format!("`{}`: {error}", description.display()));
        // One of an earlier run would be read in place of this one's.
        match std::fs::remove_file(&description) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(of_description(&error));
            }
            _ => {}
        }
        let mut process = command(demo, data, &description)?
            .spawn()
            .map_err(|error| failed(format!("the demo cannot be started: {error}")))?;
        let output = process.stdout.take();
        let output = output.ok_or_else(|| failed("the demo has no standard output".to_owned()))?;
        let mut lines = BufReader::new(output).lines();
        // The description is written before the first line is.
        match timeout(PATIENCE, lines.next_line()).await {
            Ok(Ok(Some(_))) => {}
            Ok(_) => return Err(ended(&mut process).await),
            Err(_) => {
                // Dropping it kills it.
                let secs = PATIENCE.as_secs();
                return Err(failed(format!("the demo did not start within {secs} s")));
            }
        }
        let reader =
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let text = std::fs::read(&description).map_err(|error| of_description(&error))?;
        let value = serde_json::from_slice(&text).map_err(|error| of_description(&error))?;
        let child = Self { process, demo: demo.clone(), data: data.to_owned(), _output: reader };
        Ok((child, value))
    }

    /// Runs a command against it; answers what it said as JSON.
    pub(crate) async fn command(&self, args: &[&str]) -> Result<Value, String> {
        let output = self.output(args).await?;
        if output.status.success() {
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Where its data is.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// What a token says, whether it counts or not.
    pub(crate) async fn inspect(&self, token: &str) -> Result<Value, String> {
        let output = self.output(&["token", "inspect", token]).await?;
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    async fn output(&self, args: &[&str]) -> Result<Output, String> {
        Command::new(program()?)
            .args(args)
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--format", "json"])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| error.to_string())
    }

    /// Kills it without a word, and starts it again on the same data.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<(), String> {
        self.process.kill().await.map_err(|error| error.to_string())?;
        let started = Self::start(&self.demo, &self.data).await;
        let (next, _) = started.map_err(Failed::why)?;
        *self = next;
        Ok(())
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) {
        let pid = self.process.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // It may have ended already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if timeout(PATIENCE, self.process.wait()).await.is_err() {
            let _ = self.process.kill().await;
        }
    }
}

/// The command that starts a demo. It says what is wrong on the standard error of this process.
fn command(demo: &Demo, data: &Path, description: &Path) -> Result<Command, Failed> {
    let mut command = Command::new(program().map_err(Failed::Operation)?);
    command.arg("demo").arg("--data-dir").arg(data).arg("--describe").arg(description);
    if let Some(base) = demo.port_base {
        command.args(["--port-base", &base.to_string()]);
    }
    if let Some(key) = &demo.signing_key {
        command.arg("--signing-key").arg(key);
    }
    command.args(["--limits", demo.limits.name()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// Why a demo that has closed its output is not there. It has said so itself, unless it was killed.
async fn ended(process: &mut tokio::process::Child) -> Failed {
    match timeout(PATIENCE, process.wait()).await {
        Ok(Ok(status)) => match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) if code != 0 => Failed::Said(code),
            _ => Failed::Operation(format!("the demo did not start: {status}")),
        },
        Ok(Err(error)) => Failed::Operation(format!("the demo did not start: {error}")),
        Err(_) => Failed::Operation("the demo neither starts nor ends".to_owned()),
    }
}

fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))
}
