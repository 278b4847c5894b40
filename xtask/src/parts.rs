//! Parts of the system that tests need and cargo does not bring.
//!
//! To add one: a line in [`FOR_TESTS`] that names the Debian package, where its program is found,
//! and the test that needs it. Tests start what they need themselves, on ports that the system
//! gives them; nothing here starts a service.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::command;

/// A part of the system.
pub struct Part {
    /// The Debian package that brings it.
    package: &'static str,
    /// The program by which its presence is known.
    program: &'static str,
    /// Where Debian puts the program when it is not on the path; `*` stands for any one directory.
    elsewhere: &'static str,
    /// What needs it.
    needed_by: &'static str,
}

/// What the tests of the workspace need.
pub const FOR_TESTS: &[Part] = &[
    Part {
        package: "postgresql",
        program: "postgres",
        elsewhere: "/usr/lib/postgresql/*/bin",
        needed_by: "the contract suite of tegata-store on PostgreSQL",
    },
    Part {
        package: "redis-server",
        program: "redis-server",
        elsewhere: "/usr/bin",
        needed_by: "the contract suite of tegata-store on Redis",
    },
    Part {
        package: "nats-server",
        program: "nats-server",
        elsewhere: "/usr/sbin",
        needed_by: "the contract suite of tegata-store on NATS",
    },
    Part {
        package: "softhsm2",
        program: "softhsm2-util",
        elsewhere: "/usr/bin",
        needed_by: "the tests of root keys in a PKCS#11 token",
    },
    Part {
        package: "npm",
        program: "npm",
        elsewhere: "/usr/bin",
        needed_by: "the tests of tegata-store on DynamoDB and of clients: it installs dynalite and openid-client",
    },
    Part {
        package: "python3-venv",
        program: "python3",
        elsewhere: "/usr/bin",
        needed_by: "the tests of tegata-store on DynamoDB and of clients: it installs moto, authlib and pycose",
    },
    Part {
        package: "prometheus",
        program: "prometheus",
        elsewhere: "/usr/bin",
        needed_by: "the tests of alert rules and dashboards",
    },
    Part {
        package: "nginx",
        program: "nginx",
        elsewhere: "/usr/sbin",
        needed_by: "the test of tegata-gateway that plays the guide to a sidecar behind a proxy",
    },
    Part {
        package: "libfaketime",
        program: "libfaketimeMT.so.1",
        elsewhere: "/usr/lib/*/faketime",
        needed_by: "the scenarios that move the clock of one node",
    },
    Part {
        package: "util-linux",
        program: "prlimit",
        elsewhere: "/usr/bin",
        needed_by: "the scenarios that let files grow no more",
    },
    Part {
        package: "chromium",
        program: "chromium",
        elsewhere: "/usr/bin",
        needed_by: "the tests of tegata that use passkeys and the browser SDK in a browser",
    },
    Part {
        package: "curl",
        program: "curl",
        elsewhere: "/usr/bin",
        needed_by: "the tests of tegata that play the guides to three nodes, to signals and to administration",
    },
    Part {
        package: "jq",
        program: "jq",
        elsewhere: "/usr/bin",
        needed_by: "the test of tegata that plays the guide to administration",
    },
    Part {
        package: "bsdutils",
        program: "script",
        elsewhere: "/usr/bin",
        needed_by: "the test of tegata that types a password on a terminal",
    },
];

/// What the fuzz targets need.
pub const FOR_FUZZING: &[Part] = &[Part {
    package: "g++",
    program: "c++",
    elsewhere: "/usr/bin",
    needed_by: "libFuzzer, which is compiled from C++",
}];

/// What the figures of revocation need.
pub const FOR_REVOCATION: &[Part] = &[
    Part {
        package: "postgresql",
        program: "postgres",
        elsewhere: "/usr/lib/postgresql/*/bin",
        needed_by: "the nodes that share a store",
    },
    Part {
        package: "nats-server",
        program: "nats-server",
        elsewhere: "/usr/sbin",
        needed_by: "the nodes that hear each other",
    },
    Part {
        package: "redis-server",
        program: "redis-server",
        elsewhere: "/usr/bin",
        needed_by: "what durable revocations are measured against",
    },
    Part {
        package: "redis-tools",
        program: "redis-benchmark",
        elsewhere: "/usr/bin",
        needed_by: "what durable revocations are measured against",
    },
    Part {
        package: "wrk",
        program: "wrk",
        elsewhere: "/usr/bin",
        needed_by: "the load on the gateway",
    },
    Part {
        package: "util-linux",
        program: "taskset",
        elsewhere: "/usr/bin",
        needed_by: "the load on the gateway, which has a core of its own",
    },
];

/// What the gateway is measured with, and beside.
pub const FOR_PROXIES: &[Part] = &[
    Part {
        package: "haproxy",
        program: "haproxy",
        elsewhere: "/usr/sbin",
        needed_by: "what the gateway is measured beside",
    },
    Part {
        package: "nginx",
        program: "nginx",
        elsewhere: "/usr/sbin",
        needed_by: "what the gateway is measured beside",
    },
    Part {
        package: "wrk",
        program: "wrk",
        elsewhere: "/usr/bin",
        needed_by: "the load over HTTP/1.1",
    },
    Part {
        package: "nghttp2-client",
        program: "h2load",
        elsewhere: "/usr/bin",
        needed_by: "the load over HTTP/2",
    },
    Part {
        package: "openssl",
        program: "openssl",
        elsewhere: "/usr/bin",
        needed_by: "the keys and certificates of the others",
    },
    Part {
        package: "python3-venv",
        program: "python3",
        elsewhere: "/usr/bin",
        needed_by: "Envoy, which is installed with it",
    },
    Part {
        package: "util-linux",
        program: "taskset",
        elsewhere: "/usr/bin",
        needed_by: "the load, which has a core of its own",
    },
];

/// Makes sure that these parts are present: as root by installing them, otherwise by saying how.
///
/// # Errors
/// Parts are missing and could not be installed.
pub fn ensure(parts: &[Part]) -> Result<()> {
    let missing: Vec<_> = parts.iter().filter(|part| !is_present(part)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    for part in &missing {
        println!("missing: `{}`, needed by {}", part.package, part.needed_by);
    }
    let packages: Vec<_> = missing.iter().map(|part| part.package).collect();
    bring(&packages)?;
    match missing.iter().find(|part| !is_present(part)) {
        Some(part) => bail!(
            "`{}` is installed, but `{}` is neither on the path nor in `{}`",
            part.package,
            part.program,
            part.elsewhere
        ),
        None => Ok(()),
    }
}

/// Brings packages of Debian: as root by installing them, otherwise by saying how.
///
/// # Errors
/// They could not be installed.
pub fn bring(packages: &[&str]) -> Result<()> {
    let by_hand = format!("apt-get install --yes --no-install-recommends {}", packages.join(" "));
    if find("apt-get", "/usr/bin").is_none() {
        bail!(
            "parts are missing, and this system has no `apt-get`: install what Debian calls `{}`",
            packages.join("`, `")
        );
    }
    if !is_root() {
        bail!("parts are missing: run `sudo {by_hand}`, then try again");
    }
    install(packages)
}

/// Installs packages without starting the services that they bring.
fn install(packages: &[&str]) -> Result<()> {
    let _quiet = QuietServices::begin(Path::new("/usr/sbin/policy-rc.d"))?;
    let apt = |arguments: &[&str]| {
        let mut apt = command::program("apt-get");
        // Another installation may be under way.
        apt.args(["-o", "DPkg::Lock::Timeout=300"]).args(arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        command::succeed(&mut apt)
    };
    apt(&["update", "-qq"])?;
    let mut arguments = vec!["install", "-qq", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt(&arguments)
}

/// While this lives, Debian starts no service that it installs: `invoke-rc.d` asks the policy, and
/// the policy says no (101). What was there before is put back afterwards.
struct QuietServices {
    policy: PathBuf,
    saved: PathBuf,
}

const DENY: &str = "#!/bin/sh\n# Written by `cargo xtask` while it installs packages.\nexit 101\n";

impl QuietServices {
    fn begin(policy: &Path) -> Result<Self> {
        let saved = policy.with_extension("d.before-xtask");
        let this = Self { policy: policy.to_owned(), saved };
        // A run that was killed left its own policy behind.
        if fs::read_to_string(policy).is_ok_and(|text| text == DENY) {
            this.restore();
        }
        if policy.exists() {
            fs::rename(policy, &this.saved)
                .with_context(|| format!("`{}` cannot be moved aside", policy.display()))?;
        }
        fs::write(policy, DENY)
            .and_then(|()| fs::set_permissions(policy, fs::Permissions::from_mode(0o755)))
            .with_context(|| format!("`{}` cannot be written", policy.display()))?;
        Ok(this)
    }

    fn restore(&self) {
        let restored = if self.saved.exists() {
            fs::rename(&self.saved, &self.policy)
        } else {
            fs::remove_file(&self.policy)
        };
        if let Err(error) = restored {
            eprintln!("warning: `{}` was not put back: {error}", self.policy.display());
        }
    }
}

impl Drop for QuietServices {
    fn drop(&mut self) {
        self.restore();
    }
}

fn is_present(part: &Part) -> bool {
    find(part.program, part.elsewhere).is_some()
}

/// Where a program is: on the path, or in `elsewhere`.
fn find(program: &str, elsewhere: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path);
    on_path.chain(expand(elsewhere)).map(|directory| directory.join(program)).find(|p| p.is_file())
}

/// The directories that a path with at most one `*` stands for.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once("*/") else {
        return vec![PathBuf::from(pattern)];
    };
    let entries = fs::read_dir(before).into_iter().flatten().flatten();
    entries.map(|entry| entry.path().join(after)).collect()
}

/// Whether this process may install packages.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_program_in_any_version_of_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let bin = directory.path().join("17/bin");
        fs::create_dir_all(&bin).unwrap();
        fs::write(bin.join("a-program-of-this-test"), "").unwrap();
        let pattern = format!("{}/*/bin", directory.path().display());
        assert_eq!(
            find("a-program-of-this-test", &pattern),
            Some(bin.join("a-program-of-this-test"))
        );
        assert_eq!(find("another-program-of-this-test", &pattern), None);
    }

    #[test]
    fn puts_the_policy_of_services_back() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy-rc.d");
        let read = || fs::read_to_string(&policy).ok();

        drop(QuietServices::begin(&policy).unwrap());
        assert_eq!(read(), None);

        fs::write(&policy, "theirs").unwrap();
        let quiet = QuietServices::begin(&policy).unwrap();
        assert_eq!(read().as_deref(), Some(DENY));
        drop(quiet);
        assert_eq!(read().as_deref(), Some("theirs"));
    }

    #[test]
    fn puts_the_policy_back_that_a_killed_run_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let policy = directory.path().join("policy-rc.d");
        fs::write(&policy, "theirs").unwrap();
        std::mem::forget(QuietServices::begin(&policy).unwrap());
        drop(QuietServices::begin(&policy).unwrap());
        assert_eq!(fs::read_to_string(&policy).unwrap(), "theirs");
    }
}
