//! Prints the document of the administration over HTTP. `cargo xtask generate` writes it to
//! `docs/admin-api.json`, and a test of this crate compares the two.

use std::io::{self, Write as _};

fn main() -> io::Result<()> {
    io::stdout().write_all(tegata_server::admin::openapi::pretty().as_bytes())
}
