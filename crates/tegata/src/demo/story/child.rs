//! The demo as another process, and commands given to it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
    time::timeout,
};

use super::{Demo, PATIENCE};

/// A running demo. It is killed with its owner.
pub(crate) struct Child {
    process: tokio::process::Child,
    demo: Demo,
    data: PathBuf,
    // Its standard output must be read, or it would wait for a reader.
    _output: tokio::task::JoinHandle<()>,
}

impl Child {
    /// Starts a demo and waits until it says what it is.
    pub(crate) async fn start(demo: &Demo, data: &Path) -> Result<(Self, Value), String> {
        std::fs::create_dir_all(data).map_err(|error| format!("`{}`: {error}", data.display()))?;
        let description = data.join("description.json");
        // One of an earlier run would be read in place of this one's.
        match std::fs::remove_file(&description) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(format!("`{}`: {error}", description.display()));
            }
            _ => {}
        }
        let mut command = Command::new(program()?);
        command.arg("demo").arg("--data-dir").arg(data).arg("--describe").arg(&description);
        if let Some(base) = demo.port_base {
            command.args(["--port-base", &base.to_string()]);
        }
        if let Some(key) = &demo.signing_key {
            command.arg("--signing-key").arg(key);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process =
            command.spawn().map_err(|error| format!("the demo cannot be started: {error}"))?;
        let output = process.stdout.take().ok_or("the demo has no standard output")?;
        let mut lines = BufReader::new(output).lines();
        // The description is written before the first line is.
        let first = timeout(PATIENCE, lines.next_line()).await;
        match first {
            Ok(Ok(Some(_))) => {}
            _ => {
                let status = process.wait().await.map(|status| status.to_string());
                return Err(format!("the demo did not start: {}", status.unwrap_or_default()));
            }
        }
        let reader =
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let text = std::fs::read(&description)
            .map_err(|error| format!("`{}`: {error}", description.display()))?;
        let value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        let child = Self { process, demo: demo.clone(), data: data.to_owned(), _output: reader };
        Ok((child, value))
    }

    /// Runs a command against it; answers what it said as JSON.
    pub(crate) async fn command(&self, args: &[&str]) -> Result<Value, String> {
        let output = Command::new(program()?)
            .args(args)
            .arg("--data-dir")
            .arg(&self.data)
            .args(["--format", "json"])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|error| error.to_string())?;
        if output.status.success() {
            serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }

    /// Kills it without a word, and starts it again on the same data.
    pub(crate) async fn kill_and_restart(&mut self) -> Result<(), String> {
        self.process.kill().await.map_err(|error| error.to_string())?;
        let (next, _) = Self::start(&self.demo, &self.data).await?;
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

fn program() -> Result<PathBuf, String> {
    std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))
}
