//! SoftHSM: tokens of PKCS#11 in a directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::process::{Yard, program};

/// The Debian package of the library and its tool.
const PACKAGE: &str = "softhsm2";

/// Where distributions put the library; `*` stands for any one directory.
const PLACES: [(&str, &str); 4] = [
    ("/usr/lib", "softhsm"),
    ("/usr/lib/*", "softhsm"),
    ("/usr/lib64", "softhsm"),
    ("/usr/local/lib", "softhsm"),
];

/// The PIN of every token that is made here.
pub const PIN: &str = "2718281828";

/// A directory of tokens, gone when this is dropped. The library learns of it by its environment,
/// once in a process: so what is tested in it runs in a process of its own.
#[derive(Debug)]
pub struct SoftHsm {
    yard: Yard,
}

impl SoftHsm {
    /// A directory without tokens.
    ///
    /// # Panics
    /// The machine lacks SoftHSM.
    #[must_use]
    pub fn new() -> Self {
        let yard = Yard::new("softhsm");
        fs::create_dir(yard.path().join("tokens")).expect("a directory of tokens");
        let this = Self { yard };
        let text = format!("directories.tokendir = {}\n", this.tokens().display());
        fs::write(this.configuration(), text).expect("a configuration");
        this
    }

    /// The library.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn module() -> PathBuf {
        let in_place = |(parent, directory): (&str, &str)| {
            let parents: Vec<PathBuf> = match parent.strip_suffix("/*") {
                None => vec![parent.into()],
                Some(above) => fs::read_dir(above)
                    .map(|found| found.filter_map(|it| it.ok().map(|it| it.path())).collect())
                    .unwrap_or_default(),
            };
            let modules = parents.into_iter().map(|it| it.join(directory).join("libsofthsm2.so"));
            modules.into_iter().find(|module| module.is_file())
        };
        PLACES.into_iter().find_map(in_place).unwrap_or_else(|| {
            panic!("there is no `libsofthsm2.so`; install what Debian calls `{PACKAGE}`")
        })
    }

    /// What a process must find in its environment to see these tokens.
    #[must_use]
    pub fn environment(&self) -> (&'static str, PathBuf) {
        ("SOFTHSM2_CONF", self.configuration())
    }

    /// Where the tokens are.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.yard.path().join("tokens")
    }

    /// Makes a token with this label, whose PIN is [`PIN`].
    ///
    /// # Panics
    /// It cannot be made.
    pub fn make_token(&self, label: &str) {
        make_token(&self.configuration(), label);
    }

    fn configuration(&self) -> PathBuf {
        self.yard.path().join("softhsm2.conf")
    }
}

impl Default for SoftHsm {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a token with this label where a configuration says that tokens are.
///
/// # Panics
/// It cannot be made.
pub fn make_token(configuration: &Path, label: &str) {
    let made = Command::new(program("softhsm2-util", PACKAGE))
        .args(["--init-token", "--free", "--label", label, "--so-pin", "31415926", "--pin", PIN])
        .env("SOFTHSM2_CONF", configuration)
        .output()
        .expect("`softhsm2-util` runs");
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "no token `{label}` was made: {said}");
}
