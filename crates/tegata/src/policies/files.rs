//! Policies as files of a directory.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    path::Path,
    sync::Arc,
};

use aws_lc_rs::digest;
use serde::{Deserialize, Serialize};
use tegata_policy::{Bundle, Fault};

use super::cases;

/// The most bytes that the files of a directory may have together: policies, and as much of tests.
const BYTES: usize = 2 * Bundle::BYTES;

/// The most files.
const FILES: usize = 1_000;

/// How deep directories may lie in each other.
const DEPTH: usize = 8;

/// How often a directory is read until it is twice the same.
const TRIES: usize = 5;

/// The files of a directory of policies, by their names in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Files {
    /// `*.cedarschema`.
    #[serde(default)]
    pub(crate) schema: BTreeMap<String, String>,
    /// `*.cedar`.
    pub(crate) policies: BTreeMap<String, String>,
    /// `*.test.toml`.
    #[serde(default)]
    pub(crate) tests: BTreeMap<String, String>,
}

/// Why files are not policies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unsound {
    /// In the order of the files; at least one.
    pub(crate) faults: Vec<Fault>,
}

impl Unsound {
    /// One fault without a place.
    pub(crate) fn of(file: &str, what: String) -> Self {
        let fault = Fault { file: file.to_owned(), line: 1, column: 1, what, mend: None };
        Self { faults: vec![fault] }
    }
}

impl std::fmt::Display for Unsound {
    /// One line: the first fault, and how many there are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(first) = self.faults.first() {
            write!(f, "{}", first.to_string().replace('\n', " "))?;
        }
        match self.faults.len() {
            0 | 1 => Ok(()),
            many => write!(f, "; and {} more: `tegata policy check` tells all", many - 1),
        }
    }
}

/// What a file is, by its name.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Schema,
    Policies,
    Tests,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        let ends = |end: &str| name.len() > end.len() && name.ends_with(end);
        match () {
            () if ends(".cedarschema") => Some(Self::Schema),
            () if ends(".cedar") => Some(Self::Policies),
            () if ends(".test.toml") => Some(Self::Tests),
            () => None,
        }
    }
}

impl Files {
    /// Reads a directory, and what lies in it. Directories whose names begin with a point are passed over, and
    /// so are those that are links; files may be links. Blocks.
    ///
    /// # Errors
    /// What cannot be read, or that somebody writes there meanwhile.
    pub(crate) fn read(directory: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("`{}`: {error}", directory.display());
        let mut before = Self::read_once(directory).map_err(failed)?;
        for _ in 0..TRIES {
            let now = Self::read_once(directory).map_err(failed)?;
            // INVARIANT: what is half of one state and half of another is not read twice in a row.
            if now == before {
                return Ok(now);
            }
            before = now;
        }
        Err(format!(
            "`{}`: somebody writes there meanwhile; try again when they have ended",
            directory.display()
        ))
    }

    fn read_once(directory: &Path) -> io::Result<Self> {
        let mut files = Self::default();
        let mut left = BYTES;
        files.walk(directory, "", DEPTH, &mut left)?;
        Ok(files)
    }

    fn walk(&mut self, at: &Path, prefix: &str, deep: usize, left: &mut usize) -> io::Result<()> {
        let other = |what: String| io::Error::other(what);
        for entry in fs::read_dir(at)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                let name = entry.file_name().to_string_lossy().into_owned();
                return Err(other(format!("the name of `{name}` is no UTF-8; rename it")));
            };
            if name.starts_with('.') {
                continue;
            }
            let named = format!("{prefix}{name}");
            if entry.file_type()?.is_dir() {
                if deep == 0 {
                    return Err(other(format!("`{named}` lies deeper than {DEPTH} directories")));
                }
                self.walk(&entry.path(), &format!("{named}/"), deep - 1, left)?;
                continue;
            }
            let Some(kind) = Kind::of(&name) else { continue };
            let of_file =
                |error: io::Error| io::Error::new(error.kind(), format!("`{named}`: {error}"));
            if !fs::metadata(entry.path()).map_err(of_file)?.is_file() {
                return Err(other(format!("`{named}` is no file")));
            }
            let text = read_text(&entry.path(), *left).map_err(of_file)?;
            *left -= text.len();
            self.put(kind, named, text);
            if self.schema.len() + self.policies.len() + self.tests.len() > FILES {
                return Err(other(format!("there are more than {FILES} files")));
            }
        }
        Ok(())
    }

    /// Adds a file; one of another kind is none of these.
    pub(crate) fn add(&mut self, name: String, text: String) {
        if let Some(kind) = Kind::of(&name) {
            self.put(kind, name, text);
        }
    }

    fn put(&mut self, kind: Kind, name: String, text: String) {
        let these = match kind {
            Kind::Schema => &mut self.schema,
            Kind::Policies => &mut self.policies,
            Kind::Tests => &mut self.tests,
        };
        these.insert(name, text);
    }

    /// SHA-256 of all of it, as hexadecimal digits.
    pub(crate) fn digest(&self) -> String {
        let mut context = digest::Context::new(&digest::SHA256);
        for (kind, these) in [(b"s", &self.schema), (b"p", &self.policies), (b"t", &self.tests)] {
            for (name, text) in these {
                for part in [kind.as_slice(), name.as_bytes(), text.as_bytes()] {
                    context.update(&part.len().to_be_bytes());
                    context.update(part);
                }
            }
        }
        context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The policies, checked: each file has some, they are what the schema says, and their own tests pass.
    /// Blocks.
    ///
    /// # Errors
    /// [`Unsound`].
    pub(crate) fn bundle(&self) -> Result<Arc<Bundle>, Unsound> {
        let bundle = self.unproven()?;
        let faults = cases::failing(&self.tests, &bundle)?;
        if faults.is_empty() { Ok(bundle) } else { Err(Unsound { faults }) }
    }

    /// The same, whatever their tests say.
    ///
    /// # Errors
    /// [`Unsound`].
    pub(crate) fn unproven(&self) -> Result<Arc<Bundle>, Unsound> {
        if self.policies.is_empty() {
            let what = "there is no policy: no file ends with `.cedar`";
            return Err(Unsound::of(".", what.to_owned()));
        }
        let bundle = Bundle::read(texts(&self.schema), texts(&self.policies));
        let bundle = bundle.map_err(|invalid| Unsound { faults: invalid.faults })?;
        // A file that was cut off to nothing would take away what it forbade.
        let has_some = |name: &str| bundle.policies().iter().any(|policy| &*policy.file == name);
        let empty = self.policies.keys().filter(|name| !has_some(name));
        let faults: Vec<_> = empty
            .map(|name| Fault {
                file: name.clone(),
                line: 1,
                column: 1,
                what: "there is no policy in this file".to_owned(),
                mend: Some("remove the file, if nothing is to stand in it".to_owned()),
            })
            .collect();
        if faults.is_empty() { Ok(Arc::new(bundle)) } else { Err(Unsound { faults }) }
    }
}

fn texts(files: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    files.iter().map(|(name, text)| (name.as_str(), text.as_str()))
}

/// Reads a text of no more than `most` bytes.
fn read_text(path: &Path, most: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::other(format!("all files together have more than {BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::other("it is no UTF-8"))
}
