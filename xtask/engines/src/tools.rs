//! What tests need and Debian does not bring: what stands in for DynamoDB, libraries of OAuth
//! clients, what reads OpenAPI, and what checks JavaScript.
//!
//! `cargo xtask test` installs them beneath `target/tools`, in the versions that `xtask/engines/tools`
//! names.

use std::path::{Path, PathBuf};

/// What is written beside a tool when it is installed: which versions of what.
pub const STAMP: &str = "installed";

/// What is committed for a tool: its version, and how it is started.
#[must_use]
pub fn ours(tool: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tools").join(tool)
}

/// Where a tool is installed.
#[must_use]
pub fn installed(tool: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools").join(tool)
}

/// The same, for whoever is about to use it.
///
/// # Panics
/// It is not there.
#[must_use]
pub fn present(tool: &str) -> PathBuf {
    let place = installed(tool);
    assert!(
        place.join(STAMP).is_file(),
        "this needs {tool}: `cargo xtask test` installs it into `{}`",
        place.display()
    );
    place
}
