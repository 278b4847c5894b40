use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use tegata_policy::ReasonId;

use super::*;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The sources of a crate without what is for tests.
fn sources(krate: &str) -> Vec<String> {
    let (mut all, mut open) = (Vec::new(), vec![root().join("crates").join(krate).join("src")]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|it| it == "rs")
                && !path.ends_with("tests.rs")
                && !path.ends_with("reasons.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                let own = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                all.push(own.to_owned());
            }
        }
    }
    all
}

#[test]
fn reasons_of_all_phases_keep_their_names() {
    let all: BTreeSet<_> = ids().collect();
    assert_eq!(all.len(), ids().count(), "a name stands twice");
    let told = all.into_iter().collect::<Vec<_>>().join("\n") + "\n";
    assert_eq!(told, include_str!("names.txt"), "names are promises: add, and take none away");
}

#[test]
fn what_policies_paths_and_framing_say_stands_in_the_one_table() {
    for reason in ReasonId::ALL {
        assert!(Reason::of(reason.as_str()).is_some(), "{reason}");
    }
}

/// Where a name stands in a refusal, it is the first text behind one of these.
const MAKERS: [&str; 13] = [
    "Refusal::new(",
    "Refusal::bad_request(",
    "Refusal::invalid_token(",
    "Refusal::unavailable(",
    "Wrong::new(",
    "Wrong::bad(",
    "Wrong::at(",
    "Wrong::several(",
    "Failed::service(",
    "refuse(",
    "too_large(",
    "wrong(",
    "Self::new(",
];

fn is_name(text: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
    !text.is_empty() && text.bytes().all(legal)
}

#[test]
fn no_refusal_has_a_name_that_does_not_stand_in_the_table() {
    let mut found = 0;
    for text in sources("gateway") {
        for maker in MAKERS {
            for (at, _) in text.match_indices(maker) {
                let rest = &text[at + maker.len()..];
                // Within the call, before the next one.
                let end = rest.find(';').unwrap_or(rest.len());
                let Some(name) = rest[..end].split('"').nth(1) else { continue };
                if name.contains('_') && is_name(name) {
                    assert!(Reason::of(name).is_some(), "`{name}` is missing in `reasons`");
                    found += 1;
                }
            }
        }
    }
    assert!(found > 60, "{found}");
}

#[test]
fn every_name_of_the_table_is_given_by_somebody() {
    let mut all = sources("gateway");
    all.extend(["mesh", "policy"].into_iter().flat_map(sources));
    for id in ids() {
        let text = format!("\"{id}\"");
        assert!(all.iter().any(|source| source.contains(&text)), "{id} is given by nobody");
    }
}

#[test]
fn every_reason_says_what_it_means_and_what_to_change_in_both_languages() {
    let is_japanese = |text: &str| text.chars().any(|c| ('\u{3040}'..='\u{9fff}').contains(&c));
    for reason in REASONS {
        assert!(!reason.ids.is_empty() && !reason.statuses.is_empty());
        for [english, japanese] in [reason.means, reason.change] {
            assert!(english.is_ascii() || english.contains('§'), "{english}");
            assert!(is_japanese(japanese), "{japanese}");
        }
    }
}

/// Text without its links.
fn plain(text: &str) -> String {
    let mut all = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('[') {
        let linked =
            after.split_once("](").and_then(|(text, rest)| Some((text, rest.split_once(')')?.1)));
        all += before;
        match linked {
            Some((text, behind)) => {
                all += text;
                rest = behind;
            }
            None => {
                all.push('[');
                rest = after;
            }
        }
    }
    all + rest
}

fn row(reason: &Reason) -> String {
    let statuses: Vec<_> = reason.statuses.iter().map(u16::to_string).collect();
    let ids: Vec<_> = reason.ids.iter().map(|id| format!("`{id}`")).collect();
    let [means, _] = reason.means;
    let phase = reason.phase.as_str();
    format!("| {} | {} | {phase} | {means} |", statuses.join(", "), ids.join(", "))
}

#[test]
fn the_table_of_the_documentation_is_this_one() {
    let page = fs::read_to_string(root().join("docs/gateway.md")).unwrap();
    let (_, behind) =
        page.split_once("| status | names | phase | why |\n|---|---|---|---|\n").unwrap();
    let told: Vec<_> = behind.lines().take_while(|line| line.starts_with('|')).map(plain).collect();
    let own: Vec<_> = REASONS.iter().map(row).collect();
    assert_eq!(told, own, "the table should be:\n{}", own.join("\n"));
}
