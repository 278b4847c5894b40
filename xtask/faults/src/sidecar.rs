//! A sidecar beside a service, which asks the installation through its front.

use std::{fs, path::Path, time::Duration};

use anyhow::{Result, ensure};
use tegata_engines::process::{Process, Yard, free_port};

use crate::{
    http::{Ask, Client},
    stage::{Access, PATIENCE, ROBOT, Stage},
};

/// For how long it is told to go on without hearing of the issuer.
pub const STALE: Duration = Duration::from_secs(5);

/// A sidecar of the service `echo`. It is killed when this is dropped.
#[derive(Debug)]
pub struct Sidecar {
    process: Process,
    yard: Yard,
    port: u16,
}

impl Sidecar {
    /// Starts one; answers when it has heard of the issuer.
    ///
    /// # Errors
    /// It does not start.
    pub fn start(stage: &Stage, program: &Path) -> Result<Self> {
        let yard = Yard::new("sidecar");
        let port = free_port();
        let (issuer, audience) = (stage.cluster().issuer(), stage.cluster().audience());
        fs::write(yard.path().join("robot.secret"), ROBOT.1)?;
        let text = format!(
            "[sidecar]\nlisten = \"127.0.0.1:{port}\"\nservice = \"echo\"\naudience = [\"{audience}\"]\n\
             issuer = \"{issuer}\"\nclient_id = \"{}\"\nclient_secret_file = \"robot.secret\"\n\
             stale = \"{}s\"\n",
            ROBOT.0,
            STALE.as_secs()
        );
        fs::write(yard.path().join("tegata.toml"), text)?;
        let process = Process::new(&yard, "sidecar", program, vec!["sidecar".to_owned()]);
        let sidecar = Self { process, yard, port };
        let ready = || sidecar.is_ready();
        let started = sidecar.process.start(&sidecar.yard, PATIENCE, ready);
        ensure!(started, "the sidecar does not start: {}", sidecar.process.said());
        Ok(sidecar)
    }

    fn is_ready(&self) -> bool {
        let asked = Client::new(self.port).ask(&Ask::get("/health/ready"));
        asked.is_ok_and(|answer| answer.status == 200)
    }

    /// What it says of a token: a status, or 0 where it says nothing.
    #[must_use]
    pub fn check(&self, access: &Access) -> u16 {
        let asked = Client::new(self.port).ask(&Ask::get("/check").bearer(&access.token));
        asked.map_or(0, |answer| answer.status)
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.process.kill(&self.yard);
    }
}
