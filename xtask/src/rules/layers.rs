//! Which of our crates may use which. This table is also the one in `ARCHITECTURE.md`.

use std::fmt::Write as _;

use super::Violation;
use crate::workspace::{Dependency, Member};

/// A row of the picture in `ARCHITECTURE.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    /// What everybody shares.
    Base,
    /// What Tegata knows: no HTTP, no database, no runtime.
    Domain,
    /// What does I/O.
    Edge,
    /// What knows all of it.
    Wiring,
    /// What uses Tegata as others do.
    Customer,
    /// What helps to build the rest.
    Tool,
}

impl Row {
    const fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Domain => "domain",
            Self::Edge => "edge",
            Self::Wiring => "wiring",
            Self::Customer => "customer",
            Self::Tool => "tool",
        }
    }
}

/// What a crate may use of ours.
#[derive(Debug)]
struct Layer {
    name: &'static str,
    row: Row,
    /// In what it links.
    uses: &'static [&'static str],
    /// In its tests, beside that.
    tests_use: &'static [&'static str],
}

const LAYERS: &[Layer] = &[
    Layer { name: "core", row: Row::Base, uses: &[], tests_use: &[] },
    Layer {
        name: "token",
        row: Row::Domain,
        uses: &["core"],
        tests_use: &["store", "rounds", "engines"],
    },
    Layer { name: "session", row: Row::Domain, uses: &["core"], tests_use: &["store", "engines"] },
    Layer { name: "identity", row: Row::Domain, uses: &["core"], tests_use: &["store", "engines"] },
    Layer { name: "policy", row: Row::Domain, uses: &["core"], tests_use: &["rounds"] },
    Layer { name: "mesh", row: Row::Domain, uses: &["core"], tests_use: &[] },
    Layer {
        name: "oauth",
        row: Row::Domain,
        uses: &["core", "token", "session", "identity"],
        tests_use: &["store", "engines"],
    },
    Layer { name: "store", row: Row::Edge, uses: &["core"], tests_use: &["engines", "rounds"] },
    Layer {
        name: "sdk",
        row: Row::Edge,
        // `session` for services that read the store themselves, and only with the feature `store`.
        uses: &["core", "token", "session"],
        tests_use: &["store"],
    },
    Layer {
        name: "gateway",
        row: Row::Edge,
        // No `identity` and no `oauth`: what faces the internet links no password hashing and no
        // provider.
        uses: &["core", "token", "session", "policy", "mesh", "sdk"],
        tests_use: &["store", "engines", "rounds", "attack"],
    },
    Layer {
        name: "server",
        row: Row::Edge,
        uses: &["core", "token", "session", "identity", "oauth", "policy"],
        tests_use: &["store"],
    },
    Layer {
        name: "tegata",
        row: Row::Wiring,
        uses: &[
            "core", "token", "session", "identity", "oauth", "policy", "mesh", "store", "sdk",
            "gateway", "server", "shop",
        ],
        tests_use: &["rounds", "engines", "faults"],
    },
    Layer { name: "shop", row: Row::Customer, uses: &["sdk"], tests_use: &[] },
    Layer { name: "attack", row: Row::Tool, uses: &[], tests_use: &[] },
    Layer { name: "engines", row: Row::Tool, uses: &[], tests_use: &[] },
    Layer { name: "faults", row: Row::Tool, uses: &["attack", "engines"], tests_use: &[] },
    Layer { name: "rounds", row: Row::Tool, uses: &["core"], tests_use: &[] },
    Layer { name: "victim", row: Row::Tool, uses: &["core", "store"], tests_use: &[] },
    Layer { name: "xtask", row: Row::Tool, uses: &["attack", "engines", "faults"], tests_use: &[] },
];

/// Whether a crate may know no HTTP, no database and no runtime.
pub fn is_pure(name: &str) -> bool {
    find(name).is_some_and(|layer| matches!(layer.row, Row::Base | Row::Domain))
}

fn find(name: &str) -> Option<&'static Layer> {
    LAYERS.iter().find(|layer| layer.name == name)
}

/// Compares the manifests with the table.
pub fn check(members: &[Member]) -> Vec<Violation> {
    let absent = LAYERS.iter().filter(|layer| !members.iter().any(|m| m.name == layer.name));
    let mut violations: Vec<_> = absent
        .map(|layer| {
            Violation::new(
                "xtask/src/rules/layers.rs",
                format!("there is no crate `{}`", layer.name),
                "take its row out of `LAYERS`, then run `cargo xtask generate`",
            )
        })
        .collect();
    for member in members {
        match find(&member.name) {
            Some(layer) => violations.extend(compare(member, layer, members)),
            None => violations.push(Violation::in_file(
                &member.manifest,
                format!("`{}` is not in the table of crates", member.name),
                "add its row to `LAYERS` in `xtask/src/rules/layers.rs`, then run `cargo xtask generate`",
            )),
        }
    }
    violations
}

/// What the manifest of a crate says beyond its row.
fn compare(member: &Member, layer: &Layer, members: &[Member]) -> Vec<Violation> {
    let ours = |dependency: &Dependency| members.iter().find(|m| m.package == dependency.package);
    member
        .dependencies
        .iter()
        .filter_map(|dependency| Some((dependency, ours(dependency)?.name.as_str())))
        .filter(|(dependency, used)| {
            // A crate names itself to turn on, for its own tests, what it offers to those of others.
            let in_tests =
                dependency.dev && (layer.tests_use.contains(used) || *used == member.name);
            !layer.uses.contains(used) && !in_tests
        })
        .map(|(dependency, used)| {
            let tests = if dependency.dev { "the tests of " } else { "" };
            Violation::in_file(
                &member.manifest,
                format!("{tests}`{}` may not use `{used}`", member.name),
                "reach it through a port of `core`, or move the code; where the arrow itself is right, \
                 change the row in `xtask/src/rules/layers.rs` and say why in the commit",
            )
        })
        .collect()
}

/// The table as `ARCHITECTURE.md` shows it.
pub fn table(members: &[Member]) -> String {
    let mut table = String::from(
        "| row | crate | what it is | may use | its tests may also use |\n|---|---|---|---|---|\n",
    );
    for layer in LAYERS {
        let member = members.iter().find(|member| member.name == layer.name);
        let what = member.map_or("", |member| member.description.as_str());
        let (uses, tests) = (names(layer.uses), names(layer.tests_use));
        let row = layer.row.name();
        let _ = writeln!(table, "| {row} | `{}` | {what} | {uses} | {tests} |", layer.name);
    }
    table
}

fn names(names: &[&str]) -> String {
    if names.is_empty() {
        return "–".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A workspace with all crates of the table; each entry of `arrows` is one dependency.
    fn workspace(arrows: &[(&str, &str, bool)]) -> Vec<Member> {
        let package = |name: &str| format!("tegata-{name}");
        let member = |layer: &Layer| Member {
            name: layer.name.to_owned(),
            package: package(layer.name),
            description: String::new(),
            manifest: format!("crates/{}/Cargo.toml", layer.name).into(),
            dependencies: arrows
                .iter()
                .filter(|(from, ..)| *from == layer.name)
                .map(|(_, to, dev)| Dependency { package: package(to), dev: *dev })
                .collect(),
            features: vec![],
            benches: vec![],
        };
        LAYERS.iter().map(member).collect()
    }

    #[test]
    fn accepts_the_arrows_of_the_table() {
        let arrows = [("token", "core", false), ("store", "core", false), ("token", "store", true)];
        assert_eq!(check(&workspace(&arrows)), []);
    }

    #[test]
    fn refuses_an_arrow_that_is_not_in_the_table() {
        for arrow in [("token", "store", false), ("core", "token", true), ("store", "token", false)]
        {
            let violations = check(&workspace(&[arrow]));
            assert_eq!(violations.len(), 1, "{arrow:?}");
            assert_eq!(violations[0].place, format!("crates/{}/Cargo.toml", arrow.0));
            assert!(violations[0].what.contains(arrow.1), "{violations:?}");
        }
    }

    #[test]
    fn refuses_a_crate_that_is_not_in_the_table_and_a_row_without_a_crate() {
        let mut members = workspace(&[]);
        members[0].name = "common".to_owned();
        let whats: Vec<_> = check(&members).into_iter().map(|violation| violation.what).collect();
        assert_eq!(whats, ["there is no crate `core`", "`common` is not in the table of crates"]);
    }

    #[test]
    fn no_pure_crate_may_use_an_edge() {
        for layer in LAYERS.iter().filter(|layer| is_pure(layer.name)) {
            for used in layer.uses {
                assert!(is_pure(used), "`{}` may use `{used}`", layer.name);
            }
        }
    }

    #[test]
    fn shows_a_row_per_crate() {
        let table = table(&workspace(&[]));
        assert_eq!(table.lines().count(), LAYERS.len() + 2);
        assert!(
            table.contains("| domain | `token` |  | `core` | `store` `rounds` `engines` |\n"),
            "{table}"
        );
    }
}
