//! Pieces of documents that are rendered from code, so that they cannot say something else.
//!
//! A piece stands between `<!-- generated: NAME -->` and `<!-- end: NAME -->`. To add one: those
//! two lines in the document, and a line in [`PIECES`]. What is a document by itself is printed by an
//! example of the crate that renders it, whose tests compare the two: a line in [`WHOLE`].

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result, bail};

use crate::{command, rules, workspace};

/// A piece: the document, the name between whose markers it stands, and what renders it.
type Piece = (&'static str, &'static str, fn() -> Result<String>);

const PIECES: &[Piece] = &[("ARCHITECTURE.md", "crates", crates)];

/// A document, and the package and its example that print it.
const WHOLE: &[(&str, &str, &str)] = &[("docs/admin-api.json", "tegata-server", "admin_api")];

fn crates() -> Result<String> {
    Ok(rules::layers::table(&workspace::members()?))
}

/// Checks that every piece says what the code says.
///
/// # Errors
/// A document is out of date, or has lost its markers.
pub fn check() -> Result<()> {
    for piece @ (document, name, _) in PIECES {
        if fresh(piece)?.is_some() {
            bail!(
                "`{name}` in `{document}` is out of date: \
                 run `cargo xtask generate` and commit the document"
            );
        }
    }
    Ok(())
}

/// Writes every piece anew that is out of date.
///
/// # Errors
/// A document has lost its markers, or cannot be written.
pub fn write() -> Result<ExitCode> {
    for piece @ (document, name, _) in PIECES {
        if let Some(text) = fresh(piece)? {
            fs::write(command::root().join(document), text)
                .with_context(|| format!("`{document}` cannot be written"))?;
            println!("wrote `{name}` in {document}");
        }
    }
    for (document, package, example) in WHOLE {
        let path = command::root().join(document);
        // The crate's tests cannot be built without it, but the crate can.
        let mut cargo = command::cargo();
        cargo.args(["run", "--quiet", "--package", package, "--example", example]);
        let printed = cargo.output().with_context(|| format!("`{example}` cannot be run"))?;
        if !printed.status.success() {
            bail!("`{example}` failed: {}", String::from_utf8_lossy(&printed.stderr).trim_end());
        }
        if fs::read(&path).ok().as_ref() != Some(&printed.stdout) {
            fs::write(&path, &printed.stdout)
                .with_context(|| format!("`{document}` cannot be written"))?;
            println!("wrote {document}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The document as it should be, where it is not so.
fn fresh((document, name, render): &Piece) -> Result<Option<String>> {
    let text = fs::read_to_string(command::root().join(document))
        .with_context(|| format!("`{document}` cannot be read"))?;
    let fresh = replace(&text, name, &render()?)
        .with_context(|| format!("`{document}` has no place for `{name}`"))?;
    Ok((fresh != text).then_some(fresh))
}

/// The text with another piece between the markers of `name`.
///
/// # Errors
/// It has lost one of them.
pub fn replace(text: &str, name: &str, piece: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- generated: {name} -->\n"), format!("<!-- end: {name} -->"));
    let (before, rest) =
        text.split_once(&begin).with_context(|| format!("no line `{}`", begin.trim_end()))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no line `{end}`"))?;
    Ok(format!("{before}{begin}{piece}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a\n<!-- generated: t -->\nold\n<!-- end: t -->\nz\n";

    #[test]
    fn replaces_what_stands_between_the_markers() {
        let fresh = replace(TEXT, "t", "new\n").unwrap();
        assert_eq!(fresh, TEXT.replace("old", "new"));
        assert_eq!(replace(&fresh, "t", "new\n").unwrap(), fresh);
    }

    #[test]
    fn refuses_a_document_that_lost_a_marker() {
        for marker in ["<!-- generated: t -->", "<!-- end: t -->"] {
            let error = replace(&TEXT.replace(marker, ""), "t", "new\n").unwrap_err();
            assert!(error.to_string().contains(marker), "{error}");
        }
    }
}
