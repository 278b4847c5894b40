//! Reading the configuration, and saying what is wrong with it.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::{Config, Declared, environment};

/// The names of all environment variables that set something begin with this.
pub(super) const PREFIX: &str = "TEGATA_";

/// What is wrong with the configuration: what, where, and how to mend it. One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BadConfig(pub(crate) String);

impl fmt::Display for BadConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadConfig {}

/// Where the configuration came from.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    /// The file, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// What relative paths in it are relative to.
    pub(crate) base: PathBuf,
    /// The data directory that was named in place of the configuration's.
    pub(crate) data_dir: Option<PathBuf>,
}

/// What was set, before it is made into a configuration. It may hold secrets, so it is shown to nobody.
#[derive(Clone, PartialEq)]
pub(crate) struct Given {
    table: Table,
    /// Whether the file ends with the end of a line.
    is_whole: bool,
    /// Whether the file sets nothing, whatever the environment does.
    is_empty: bool,
}

impl Given {
    /// Which settings are others in `new`, by their names, such as `gateway.limits.body`. A list is one.
    pub(crate) fn changes(&self, new: &Self) -> Vec<String> {
        self.paths(new).iter().map(|path| path.join(".")).collect()
    }

    fn paths(&self, new: &Self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        compare(&self.table, &new.table, &[], &mut paths);
        paths
    }

    /// The same, with those of the settings of `new` that `taken` says.
    pub(crate) fn with(&self, new: &Self, taken: impl Fn(&str) -> bool) -> Self {
        let mut table = self.table.clone();
        for path in self.paths(new).iter().filter(|path| taken(&path.join("."))) {
            put(&mut table, path, &new.table);
        }
        Self { table, is_whole: new.is_whole, is_empty: new.is_empty }
    }

    /// What it sets, with paths relative to `base`.
    pub(crate) fn config(&self, base: &Path) -> Result<Config, BadConfig> {
        let place = "the settings that can change, with those that count until a restart";
        let config: Config = from_table(self.table.clone(), place)?;
        whole(config, &self.table, base, place)
    }

    /// Whether a file that is read anew looks as if somebody were still writing it.
    pub(crate) fn is_half_written(&self, new: &Self) -> bool {
        (self.is_whole && !new.is_whole) || (new.is_empty && !self.is_empty)
    }
}

fn compare(old: &Table, new: &Table, before: &[String], paths: &mut Vec<Vec<String>>) {
    let none = Value::Table(Table::new());
    let added = new.keys().filter(|key| !old.contains_key(*key));
    for key in old.keys().chain(added) {
        let path = [before, std::slice::from_ref(key)].concat();
        match (old.get(key), new.get(key)) {
            (was, is) if was == is => {}
            // A section that is not there sets nothing.
            (was, is) if [was, is].into_iter().flatten().all(Value::is_table) => {
                let tables = (was.unwrap_or(&none).as_table(), is.unwrap_or(&none).as_table());
                if let (Some(was), Some(is)) = tables {
                    compare(was, is, &path, paths);
                }
            }
            _ => paths.push(path),
        }
    }
}

/// Has `table` hold at `path` what `new` holds there, be it nothing.
fn put(table: &mut Table, path: &[String], new: &Table) {
    match path {
        [] => {}
        [key] => match new.get(key) {
            Some(value) => {
                table.insert(key.clone(), value.clone());
            }
            None => {
                table.remove(key);
            }
        },
        [section, rest @ ..] => {
            let empty = Table::new();
            let new = new.get(section).and_then(Value::as_table).unwrap_or(&empty);
            let within = table
                .entry(section.clone())
                .or_insert_with(|| Value::Table(Table::new()))
                .as_table_mut();
            if let Some(within) = within {
                put(within, rest, new);
            }
        }
    }
}

/// Reads `file`, or `tegata.toml` here if there is one, with `environment` over it.
pub(crate) fn read(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<(Config, Source, Given), BadConfig> {
    let default = Path::new("tegata.toml");
    let chosen = file.or_else(|| default.exists().then_some(default));
    let text = match chosen {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            BadConfig(format!(
                "{}; `tegata init` writes one with comments",
                unreadable(path, &error)
            ))
        })?,
        None => String::new(),
    };
    let shown =
        chosen.map_or_else(|| "the environment".to_owned(), |path| format!("`{}`", path.display()));
    let mut table: Table = parse(&text, &shown)?;
    // Read once as it stands, so that what is wrong is shown with its line.
    parse::<Config>(&text, &shown)?;
    let set = over(environment);
    let file = table.clone();
    set.iter().try_for_each(|set| overlay(&mut table, set))?;
    let given = Given {
        table: table.clone(),
        is_whole: text.is_empty() || text.ends_with('\n'),
        is_empty: file.is_empty(),
    };
    let config: Config =
        table.try_into().map_err(|error: toml::de::Error| blame(&file, &set, error.message()))?;
    let base = chosen.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
    let source = Source {
        file: chosen.map(Path::to_owned),
        base: base.map_or_else(|| PathBuf::from("."), Path::to_owned),
        data_dir: None,
    };
    let config = whole(config, &given.table, &source.base, &shown)?;
    Ok((config, source, given))
}

/// A configuration with what stands in files of its own, and with paths relative to `base`, unless it
/// contradicts itself.
fn whole(mut config: Config, table: &Table, base: &Path, shown: &str) -> Result<Config, BadConfig> {
    let wrong = |what: String| BadConfig(format!("{shown}: {what}"));
    config.resolve(base);
    config.read_addresses(table).map_err(wrong)?;
    config.contradictions().into_iter().next().map_or(Ok(config), |found| Err(wrong(found)))
}

/// Reads a file of declarations: TOML, or JSON where its name ends so.
pub(crate) fn read_declared(path: &Path) -> Result<Declared, BadConfig> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let shown = format!("`{}`", path.display());
    if path.extension().is_some_and(|extension| extension == "json") {
        return serde_json::from_str(&text)
            .map_err(|error| BadConfig(explain(&error.to_string(), &shown)));
    }
    parse(&text, &shown)
}

/// Reads a TOML file that holds what a `T` is made from, as a table to be changed before it is made
/// into one.
pub(crate) fn read_table<T: DeserializeOwned>(path: &Path) -> Result<Table, BadConfig> {
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(path, &error))?;
    let shown = format!("`{}`", path.display());
    // Read as it stands, so that what is wrong is shown with its line.
    parse::<T>(&text, &shown)?;
    parse(&text, &shown)
}

/// Makes a `T` from a table that came from `place`.
pub(crate) fn from_table<T: DeserializeOwned>(table: Table, place: &str) -> Result<T, BadConfig> {
    table.try_into().map_err(|error: toml::de::Error| BadConfig(explain(error.message(), place)))
}

fn unreadable(path: &Path, error: &std::io::Error) -> BadConfig {
    BadConfig(format!("`{}` cannot be read: {error}", path.display()))
}

fn parse<T: DeserializeOwned>(text: &str, shown: &str) -> Result<T, BadConfig> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| {
            text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
        });
        BadConfig(explain(error.message(), &format!("{shown}, line {line}")))
    })
}

/// The message of a parser as one line, with the nearest known key where one is unknown.
fn explain(message: &str, place: &str) -> String {
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    let Some((before, rest)) = message.split_once("unknown field `") else {
        return format!("{place}: {message}");
    };
    let quoted: Vec<&str> = rest.split('`').collect();
    let unknown = quoted.first().copied().unwrap_or_default();
    let known = quoted.iter().skip(2).step_by(2);
    let nearest = known.min_by_key(|known| distance(unknown, known));
    match nearest {
        Some(nearest) if distance(unknown, nearest) <= unknown.len().max(3) / 2 => {
            format!("{place}: {before}unknown key `{unknown}`; did you mean `{nearest}`?")
        }
        _ => {
            let all: Vec<_> =
                quoted.iter().skip(2).step_by(2).map(|key| format!("`{key}`")).collect();
            format!("{place}: {before}unknown key `{unknown}`; there are {}", all.join(", "))
        }
    }
}

/// The keys of a parser's message that says which there are.
pub(super) fn known(message: &str) -> Vec<String> {
    let rest = message.split_once("unknown field `").map_or("", |(_, rest)| rest);
    rest.split('`').skip(2).step_by(2).map(str::to_owned).collect()
}

/// The least number of letters to add, drop or change (Levenshtein).
pub(super) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (at, left) in left.chars().enumerate() {
        let mut next = vec![at + 1];
        for (index, right) in right.iter().enumerate() {
            let above = row.get(index).copied().unwrap_or_default();
            let beside = row.get(index + 1).copied().unwrap_or_default();
            let before = next.last().copied().unwrap_or_default();
            next.push((above + usize::from(left != *right)).min(beside + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

/// A variable that sets something, and its text.
type Set = (String, String);

/// The variables that set something, in the order of their names.
fn over(environment: impl Iterator<Item = Set>) -> Vec<Set> {
    let mut set: Vec<_> = environment.filter(environment::sets).collect();
    set.sort();
    set
}

/// Sets a value from the environment: `TEGATA_TOKENS__ACCESS_LIFETIME=15m`. Two underscores stand
/// between section and key.
fn overlay(table: &mut Table, (name, text): &Set) -> Result<(), BadConfig> {
    let path = name.strip_prefix(PREFIX).unwrap_or(name).to_ascii_lowercase();
    let parts: Vec<&str> = path.split("__").collect();
    let Some((key, sections)) = parts.split_last() else { return Ok(()) };
    let mut target = table;
    for section in sections {
        let entry = target.entry(*section).or_insert_with(|| Value::Table(Table::new()));
        target = entry.as_table_mut().ok_or_else(|| {
            BadConfig(format!("`{name}` in the environment: `{section}` is not a section"))
        })?;
    }
    let value = environment::value(&parts, text);
    if sections.is_empty() && !value.is_array() {
        let wanted = "is not a list as TOML writes it: `[{ … }, …]`";
        return Err(BadConfig(format!("`{name}` in the environment {wanted}")));
    }
    target.insert((*key).to_owned(), value);
    Ok(())
}

/// What is wrong, with the variable that it is wrong with: the one that cannot stand over the file
/// even alone.
fn blame(file: &Table, set: &[Set], message: &str) -> BadConfig {
    for one in set {
        let mut table = file.clone();
        let read = overlay(&mut table, one).map(|()| table.try_into::<Config>());
        if let Ok(Err(error)) = read {
            let place = format!("`{}` in the environment", one.0);
            // INVARIANT: lists of people and clients hold secrets: what is wrong is told, and not what stands there.
            let told = match error.message().rsplit_once(", expected ") {
                Some((_, wanted))
                    if !one.0.contains("__") && !error.message().contains("unknown field `") =>
                {
                    format!("expected {wanted}")
                }
                _ => error.message().to_owned(),
            };
            return BadConfig(explain(&told, &place));
        }
    }
    BadConfig(explain(message, "the environment"))
}
