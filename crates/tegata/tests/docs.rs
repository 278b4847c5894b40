//! What the documents say: configurations that are read, commands that exist, links that lead
//! somewhere, tests that show what they are said to show.

#![cfg(test)]

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;

mod docs {
    mod maps;
}

#[test]
fn every_configuration_in_the_documents_is_a_good_one() {
    let place = tempfile::tempdir().unwrap();
    assert!(tegata(place.path(), &["init"]).status.success());
    let mut read = 0;
    for (document, block) in blocks(&["toml"]) {
        fs::write(place.path().join("tegata.toml"), &block).unwrap();
        for file in named(&block, &["client_secret_file", "password_file", "secret_file"]) {
            fs::write(place.path().join(file), "a long and private phrase\n").unwrap();
        }
        for file in named(&block, &["breached_passwords"]) {
            let one = format!("{}:1\n", "0".repeat(40));
            fs::write(place.path().join(file), one).unwrap();
        }
        let doctor = tegata(place.path(), &["doctor", "--data-dir", ".", "--format", "json"]);
        let checks: Vec<Value> = serde_json::from_slice(&doctor.stdout).unwrap();
        for check in checks.iter().filter(|check| check["ok"] == false) {
            let detail = check["detail"].as_str().unwrap();
            // The files that it names are the reader's, and some of it is for `tegata apply`, which
            // shows the secrets that it makes.
            let is_fine = detail.contains("No such file") || detail.contains("has no secret");
            assert!(is_fine, "{}:\n{block}{check}", document.display());
        }
        // The token is the reader's, too, and without it nothing can be opened.
        if block.contains("[keys.pkcs11]") {
            continue;
        }
        fs::write(place.path().join("declared.toml"), declarations(&block)).unwrap();
        let apply =
            tegata(place.path(), &["apply", "--data-dir", ".", "--dry-run", "declared.toml"]);
        assert!(apply.status.success(), "{}:\n{block}{}", document.display(), said(&apply));
        read += 1;
    }
    assert!(read > 0, "no document has a configuration");
}

#[test]
fn every_command_in_the_documents_exists_with_its_options() {
    let mut helps = HashMap::new();
    let mut checked = 0;
    for (document, block) in blocks(&["sh", "console"]) {
        for words in commands(&block) {
            let refused = check(&words, &mut helps);
            assert_eq!(refused, None, "{}: `{}`", document.display(), words.join(" "));
            checked += 1;
        }
    }
    assert!(checked > 0, "no document has a command");
}

#[test]
fn refuses_commands_and_options_that_do_not_exist() {
    let mut helps = HashMap::new();
    for wrong in [
        "tegata --config tegata.toml",
        "tegata fly",
        "tegata user",
        "tegata user fly",
        "tegata serve --fast",
        "tegata key list --all",
    ] {
        let words: Vec<_> = wrong.split(' ').map(str::to_owned).collect();
        assert!(check(&words, &mut helps).is_some(), "{wrong}");
    }
}

#[test]
fn every_setting_and_every_command_has_a_place_in_the_documents() {
    let place = tempfile::tempdir().unwrap();
    assert!(tegata(place.path(), &["init"]).status.success());
    let template = fs::read_to_string(place.path().join("tegata.toml")).unwrap();
    let document = fs::read_to_string(root().join("docs/configuration.md")).unwrap();
    for line in template.lines().filter_map(|line| line.strip_prefix("# ")) {
        // What is indented is an example of what has no default, or is a section of its own.
        if let Some((key, _)) = line.strip_prefix("  ").and_then(|line| line.split_once(" = ")) {
            let named = [format!("| `{key}` |"), format!(".{key}]`")];
            assert!(named.iter().any(|it| document.contains(it)), "configuration.md: no `{key}`");
        } else if let Some((key, value)) = line.split_once(" = ") {
            let value = value.trim_matches('"').replace("localhost:8000", "localhost:PORT");
            let value = value.replace("localhost:8080", "localhost:PORT");
            let row = format!("| `{key}` | `{value}` |");
            assert!(document.contains(&row), "docs/configuration.md has no row `{row}`");
        }
    }
    let help = said(&tegata(place.path(), &["--help"]));
    let document = fs::read_to_string(root().join("docs/commands.md")).unwrap();
    let commands = help.split("\nCommands:\n").nth(1).unwrap().lines();
    for line in commands.take_while(|line| !line.is_empty()) {
        let name = line.split_whitespace().next().unwrap();
        let heading = format!("\n## `tegata {name}");
        assert!(name == "help" || document.contains(&heading), "docs/commands.md: no `{name}`");
    }
}

#[test]
fn every_link_in_the_documents_leads_somewhere() {
    let mut followed = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => document.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: `{link}` leads nowhere", document.display());
            if !anchor.is_empty() {
                let headings = headings(&fs::read_to_string(&target).unwrap());
                let known = headings.iter().any(|heading| heading == anchor);
                assert!(known, "{}: `{link}`: there are {headings:?}", document.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 0, "no document has a link");
}

/// The files that a configuration names in the given settings.
fn named<'b>(block: &'b str, settings: &'b [&str]) -> impl Iterator<Item = &'b str> {
    block.lines().filter_map(move |line| {
        let (setting, file) = line.split_once(" = \"")?;
        settings.contains(&setting).then(|| file.split('"').next())?
    })
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The Markdown of the repository, without what is built or downloaded.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules"
            {
                waiting.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The fenced blocks in these languages.
fn blocks(languages: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let mut open: Option<(&str, String)> = None;
        for line in text.lines() {
            match (line.strip_prefix("```"), open.take()) {
                (Some(language), None) => open = Some((language, String::new())),
                (Some(_), Some((language, block))) => {
                    if languages.contains(&language) {
                        found.push((document.clone(), block));
                    }
                }
                (None, Some((language, block))) => open = Some((language, block + line + "\n")),
                (None, None) => {}
            }
        }
    }
    found
}

/// The part of a configuration that a file of declarations can hold too.
fn declarations(block: &str) -> String {
    let mut declares = false;
    let mut kept = String::new();
    for line in block.lines() {
        if line.starts_with('[') {
            // Other issuers, trust domains, transmitters and cookies are settings, though there may be several.
            let several = ["[[issuer]]", "[[trust_domain]]", "[[signals.", "[[cookies."];
            let set = several.iter().any(|start| line.starts_with(start));
            declares = line.starts_with("[[") && !set;
        }
        if declares {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    kept
}

/// The words of the lines that run the program. In a transcript these begin with `$ `.
fn commands(block: &str) -> Vec<Vec<String>> {
    let lines = block.lines().map(|line| line.strip_prefix("$ ").unwrap_or(line));
    let ours = lines.filter(|line| line.starts_with("tegata "));
    let words = ours.map(|line| {
        let one = line.split([';', '|', '>', '<', '&']).next().unwrap_or_default();
        one.split_whitespace().map(str::to_owned).collect()
    });
    words.collect()
}

/// What is wrong with a command, if anything is.
fn check(words: &[String], helps: &mut HashMap<Vec<String>, Output>) -> Option<String> {
    let mut path = Vec::new();
    let mut words = words.iter().skip(1);
    let mut help = None;
    // As many words as name commands; one more where commands follow.
    while help.as_deref().is_none_or(|text: &str| text.contains("\nCommands:\n")) {
        let Some(word) = words.next().filter(|word| !word.starts_with('-')) else {
            return Some("it names no command".to_owned());
        };
        path.push(word.clone());
        let asked = helps.entry(path.clone()).or_insert_with(|| {
            let mut all: Vec<&str> = path.iter().map(String::as_str).collect();
            all.push("--help");
            tegata(Path::new("."), &all)
        });
        if !asked.status.success() {
            return Some(said(asked));
        }
        help = Some(String::from_utf8_lossy(&asked.stdout).into_owned());
    }
    let help = help.unwrap_or_default();
    let options = words.filter(|word| word.starts_with("--"));
    let names = options.map(|word| word.split('=').next().unwrap_or_default());
    names
        .filter(|name| !help.split([' ', '\n', ',']).any(|known| known == *name))
        .map(|name| format!("there is no option `{name}`"))
        .next()
}

/// The relative targets of links, outside of fenced blocks.
fn links(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        }
        if !fenced {
            let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
            found.extend(targets.filter(|target| !target.contains("://")));
        }
    }
    found
}

/// The names by which headings are linked to.
fn headings(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| line.starts_with('#'));
    let name = |line: &str| {
        let line = line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
        line.chars().filter(|it| it.is_alphanumeric() || matches!(it, '-' | '_')).collect()
    };
    lines.map(name).collect()
}

fn tegata(place: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tegata"))
        .args(arguments)
        .current_dir(place)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
