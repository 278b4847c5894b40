//! Settings from the environment.

use toml::{Table, Value};

use super::{
    Config,
    load::{PREFIX, distance, known},
};

/// How deep sections lie in each other.
const DEEPEST: usize = 4;

/// Whether a variable sets something: its name has two underscores between section and key, or it is a list
/// that stands in no section, as TOML writes it: `TEGATA_USER=[{username = "alice"}]`.
pub(super) fn sets((name, text): &(String, String)) -> bool {
    let Some(path) = name.strip_prefix(PREFIX) else { return false };
    path.contains("__")
        || (text.trim_start().starts_with('[') && is_list(&path.to_ascii_lowercase()))
}

/// What a variable sets: a number, a list or `true` where it is written so, else a text. Where a text is
/// wanted, it is one whatever it looks like.
pub(super) fn value(path: &[&str], text: &str) -> Value {
    let as_text = || Value::String(text.to_owned());
    // Whoever writes quotes around a PIN means them.
    if path == ["keys", "pkcs11", "pin"] {
        return as_text();
    }
    let typed = toml::from_str::<Table>(&format!("value = {text}")).ok();
    match typed.and_then(|mut table| table.remove("value")) {
        None => as_text(),
        Some(text @ Value::String(_)) => text,
        Some(typed) => {
            let fits = |value| alone(path, value).try_into::<Config>().is_ok();
            if !fits(typed.clone()) && fits(as_text()) { as_text() } else { typed }
        }
    }
}

/// Of each variable that looks as if it should set something and does not: what to call it. Others' have
/// names of this form too, so they are no errors.
pub(crate) fn unheeded(environment: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let of_ours = |it: &(String, String)| {
        let path = it.0.strip_prefix(PREFIX).map(str::to_ascii_lowercase);
        path.is_some_and(|path| !sets(it) && !is_of_kubernetes(&path))
    };
    let mut names: Vec<_> = environment.filter(of_ours).map(|(name, _)| name).collect();
    if names.is_empty() {
        return names;
    }
    names.sort();
    let mut settings = Vec::new();
    collect(&mut Vec::new(), &mut settings);
    names.iter().filter_map(|name| told(name, &settings)).collect()
}

fn told(name: &str, settings: &[Vec<String>]) -> Option<String> {
    let path = name.strip_prefix(PREFIX)?.to_ascii_lowercase();
    let far = |setting: &&Vec<String>| distance(&path, &setting.join("_"));
    let nearest = settings.iter().min_by_key(far)?;
    let is_in_section =
        settings.iter().filter_map(|setting| setting.split_last()).any(|(_, sections)| {
            let section = sections.join("_");
            path.strip_prefix(&section).is_some_and(|rest| rest.starts_with('_'))
        });
    let is_near = far(&nearest) <= path.len() / 4;
    let known = format!("{PREFIX}{}", nearest.join("__").to_ascii_uppercase());
    let begins = format!("`{name}` in the environment sets nothing");
    match (is_near, is_in_section) {
        (true, _) => Some(format!("{begins}; did you mean `{known}`?")),
        (false, true) => Some(format!(
            "{begins}: two underscores stand between section and key, as in `{known}`, the nearest"
        )),
        (false, false) => None,
    }
}

/// What Kubernetes tells every container of services whose names begin as the variables here do.
fn is_of_kubernetes(path: &str) -> bool {
    let mut after_port =
        path.match_indices("port_").filter_map(|(at, it)| path.get(at + it.len()..));
    path.ends_with("service_host")
        || path.contains("service_port")
        || path == "port"
        || path.ends_with("_port")
        || after_port.any(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

/// Whether a key that stands in no section is that of a list.
fn is_list(key: &str) -> bool {
    alone(&[key], Value::Array(Vec::new())).try_into::<Config>().is_ok()
}

/// All settings with their sections.
fn collect(path: &mut Vec<String>, settings: &mut Vec<Vec<String>>) {
    for key in keys(path) {
        path.push(key);
        let before = settings.len();
        if path.len() < DEEPEST {
            collect(path, settings);
        }
        if settings.len() == before {
            settings.push(path.clone());
        }
        path.pop();
    }
}

/// The keys of a section, as what reads it says when it is asked for one that there is not.
fn keys(section: &[String]) -> Vec<String> {
    let path: Vec<&str> = section.iter().map(String::as_str).chain(["?"]).collect();
    let read = alone(&path, Value::Integer(0)).try_into::<Config>();
    read.err().map(|error| known(error.message())).unwrap_or_default()
}

/// A configuration that sets this alone.
fn alone(path: &[&str], value: Value) -> Table {
    let mut table = Table::new();
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value);
        }
        [section, rest @ ..] => {
            table.insert((*section).to_owned(), Value::Table(alone(rest, value)));
        }
    }
    table
}
