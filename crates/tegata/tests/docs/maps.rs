//! The documents that say which test shows what: every test that they name is there, no row is
//! without a verdict, and no requirement of the ASVS is missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use crate::root;

/// Documents with tables that have the columns `verdict` and `shown by`, how many rows they have at
/// least, and their verdicts.
const MAPS: [(&str, usize, &[Verdict]); 3] = [
    (
        "docs/conformance.md",
        50,
        &[
            ("supported", Some(Proof::Test)),
            ("skipped", Some(Proof::Test)),
            ("refused", Some(Proof::Test)),
            ("NOT YET", None),
        ],
    ),
    (
        "docs/oauth-security.md",
        30,
        &[
            ("met", Some(Proof::Test)),
            ("partly", Some(Proof::Test)),
            ("not applicable", None),
            ("absent", None),
        ],
    ),
    (
        "docs/asvs.md",
        50,
        &[
            ("met", Some(Proof::Test)),
            ("partly", Some(Proof::Test)),
            ("documented", Some(Proof::Link)),
            ("absent", None),
            ("NOT YET", None),
        ],
    ),
];

/// The requirements of OWASP ASVS 5.0.0 that are mapped: a number and its level each.
const REQUIREMENTS: &str = include_str!("asvs.txt");

/// A verdict, and what a row with it must have.
type Verdict = (&'static str, Option<Proof>);

#[derive(Clone, Copy)]
enum Proof {
    /// The name of a test.
    Test,
    /// A link to a document.
    Link,
}

#[test]
fn every_test_that_a_map_names_exists_and_no_row_is_without_a_verdict() {
    let tree = Tree::read();
    for (document, least, verdicts) in MAPS {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let faults = faults(&text, verdicts, &tree);
        let told: Vec<_> = faults.iter().map(|fault| format!("{document}, {fault}")).collect();
        assert!(faults.is_empty(), "{}", told.join("\n"));
        assert!(rows(&text).count() > least, "{document} has lost its tables");
    }
}

#[test]
fn the_map_of_the_asvs_has_every_requirement_once() {
    let text = fs::read_to_string(root().join("docs/asvs.md")).unwrap();
    let faults = missing(&text, REQUIREMENTS);
    assert!(faults.is_empty(), "docs/asvs.md: {}", faults.join("\ndocs/asvs.md: "));
}

#[test]
fn finds_what_is_wrong_with_a_map() {
    let tree = Tree(BTreeMap::from([
        ("a/one.rs".to_owned(), BTreeSet::from(["it_holds".to_owned()])),
        ("a/two.rs".to_owned(), BTreeSet::from(["it_moved".to_owned()])),
    ]));
    let verdicts = MAPS[2].2;
    let said = |row: &str| {
        let head = "| no. | requirement | verdict | how | shown by |\n|---|---|---|---|---|\n";
        faults(&format!("{head}{row}\n"), verdicts, &tree).join("; ")
    };
    let good = "| 1.1.1 | x | met | | `a/one.rs::it_holds` |";
    assert_eq!(said(good), "");
    assert_eq!(said("| 1.1.1 | x | NOT YET | why | |"), "");
    assert_eq!(said("| 1.1.1 | x | documented | [here](there.md) | |"), "");
    for (row, expected) in [
        ("| 1.1.1 | x | met | | `a/one.rs::it_holds_not` |", "no such test"),
        ("| 1.1.1 | x | met | | `a/none.rs::it_holds` |", "it is in `a/one.rs` now"),
        ("| 1.1.1 | x | met | | `a/one.rs::it_moved` |", "it is in `a/two.rs` now"),
        ("| 1.1.1 | x | met | | `it_holds` |", "is not the name of a test"),
        ("| 1.1.1 | x | met | | it_holds |", "is not the name of a test"),
        ("| 1.1.1 | x | met | | |", "names no test"),
        ("| 1.1.1 | x | documented | there | |", "has no link"),
        ("| 1.1.1 | x | good | | `a/one.rs::it_holds` |", "`good` is no verdict"),
        ("| 1.1.1 | x | met |", "has 3 cells"),
    ] {
        let said = said(row);
        assert!(said.starts_with("line 3: ") && said.contains(expected), "{row}: {said}");
    }
    let beside = faults("See `a/one.rs::it_holds_not`.\n", verdicts, &tree).join("; ");
    assert!(beside.contains("line 1: ") && beside.contains("no such test"), "{beside}");

    let head = "| no. | level | verdict | shown by |\n|---|---|---|---|\n";
    let counted = |rows: &str| missing(&format!("{head}{rows}"), "1.1.1 1\n1.1.2 3\n").join("; ");
    let one = "| 1.1.1 | 1 | absent | |\n";
    let two = "| 1.1.2 | 3 | absent | |\n";
    assert_eq!(counted(&format!("{one}{two}")), "");
    assert!(counted(one).contains("1.1.2 is missing"), "{}", counted(one));
    assert!(counted(&format!("{one}{two}{one}")).contains("1.1.1 stands 2 times"));
    assert!(counted(&format!("{one}{two}| 1.9.9 | 1 | absent | |\n")).contains("1.9.9 is none"));
    assert!(counted(&format!("{one}| 1.1.2 | 2 | absent | |\n")).contains("is of level 3"));
}

#[test]
fn takes_for_a_test_what_is_run_as_one() {
    let text = "#[test]\nfn plain() {}\n\n/// Says why.\n#[tokio::test]\n#[expect(dead_code)]\n\
                async fn of_tokio() {}\n\nfn helper() {}\n\n#[test]\n#[ignore = \"slow\"]\n\
                fn ignored() {}\n\n// #[test]\n// fn commented() {}\n\n    #[test]\n    fn inner() {}\n\n\
                pub(crate) async fn clause(store: Store) {}\n\nasync fn helper(store: Store) {}\n";
    let names: Vec<_> = tests(text).into_iter().collect();
    assert_eq!(names, ["clause", "inner", "of_tokio", "plain"]);
}

/// What is wrong with a map: where, what, and how to mend it.
fn faults(text: &str, verdicts: &[Verdict], tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in lines(text) {
        for named in quoted(line).filter(|it| it.contains(".rs::")) {
            found.extend(tree.lacks(named).map(|why| format!("line {number}: {why}")));
        }
    }
    for row in rows(text) {
        found.extend(row.fault(verdicts).map(|why| format!("line {}: {why}", row.number)));
    }
    found
}

/// Which of the requirements a map does not have once, with their level, and which it makes up.
fn missing(text: &str, requirements: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut stand: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in rows(text) {
        let number = row.cells.first().cloned().unwrap_or_default();
        stand.entry(number).or_default().push(row.cells.get(1).cloned().unwrap_or_default());
    }
    for line in requirements.lines() {
        let (number, level) = line.split_once(' ').unwrap();
        match stand.remove(number).unwrap_or_default().as_slice() {
            [one] if one == level => {}
            [one] => found.push(format!("{number} is of level {level}, not {one}: mend its row")),
            [] => found.push(format!("{number} is missing: add a row, if only with NOT YET")),
            more => found.push(format!("{number} stands {} times: leave one row", more.len())),
        }
    }
    let made_up = stand.keys().map(|number| {
        format!("{number} is none of the requirements in crates/tegata/tests/docs/asvs.txt")
    });
    found.extend(made_up);
    found
}

/// A row of a table with verdicts.
struct Row {
    number: usize,
    cells: Vec<String>,
    /// Which cell is the verdict, and how many there should be. The last names the tests.
    verdict: usize,
    width: usize,
}

impl Row {
    fn fault(&self, verdicts: &[Verdict]) -> Option<String> {
        if self.cells.len() != self.width {
            let (is, should) = (self.cells.len(), self.width);
            return Some(format!("the row has {is} cells, and its table {should}: mend the bars"));
        }
        let (verdict, shown) = (self.cells.get(self.verdict)?, self.cells.last()?);
        let known = verdicts.iter().find(|(word, _)| verdict.starts_with(word));
        let Some((word, proof)) = known else {
            let all: Vec<_> = verdicts.iter().map(|(word, _)| *word).collect();
            return Some(format!("`{verdict}` is no verdict: write one of {}", all.join(", ")));
        };
        let parts = || shown.split("<br>").map(str::trim).filter(|part| !part.is_empty());
        let is_named = |part: &str| {
            let inner = part.strip_prefix('`').and_then(|part| part.strip_suffix('`'));
            inner.is_some_and(|inner| inner.contains(".rs::") && !inner.contains('`'))
        };
        if let Some(other) = parts().find(|part| !is_named(part)) {
            return Some(format!(
                "{other} is not the name of a test: write `path/of/file.rs::name_of_test`, with \
                 `<br>` between several"
            ));
        }
        match proof {
            Some(Proof::Test) if parts().next().is_none() => Some(format!(
                "`{word}` names no test: name one that shows it, or write NOT YET and why"
            )),
            Some(Proof::Link) if !self.cells.iter().any(|cell| cell.contains("](")) => {
                Some(format!("`{word}` has no link: link to the document"))
            }
            _ => None,
        }
    }
}

/// The rows of all tables that have verdicts.
fn rows(text: &str) -> impl Iterator<Item = Row> {
    // Within a table: which column is the verdict, if one is, and how many there are.
    let mut table: Option<(Option<usize>, usize)> = None;
    lines(text).filter_map(move |(number, line)| {
        let Some(inner) = line.strip_prefix('|') else {
            table = None;
            return None;
        };
        let inner = inner.strip_suffix('|').unwrap_or(inner);
        let cells: Vec<_> = inner.split('|').map(|cell| cell.trim().to_owned()).collect();
        let Some((verdict, width)) = table else {
            let is_map = cells.last().is_some_and(|cell| cell == "shown by");
            let verdict = cells.iter().position(|cell| cell == "verdict").filter(|_| is_map);
            table = Some((verdict, cells.len()));
            return None;
        };
        let verdict = verdict.filter(|_| !inner.starts_with("---"))?;
        Some(Row { number, cells, verdict, width })
    })
}

fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// What stands between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The tests of the repository, by file.
struct Tree(BTreeMap<String, BTreeSet<String>>);

impl Tree {
    fn read() -> Self {
        let mut found = BTreeMap::new();
        let root = root();
        let mut waiting = vec![root.join("crates"), root.join("examples"), root.join("xtask")];
        while let Some(directory) = waiting.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
                    waiting.push(path);
                } else if path.extension().is_some_and(|it| it == "rs") {
                    let name = path.strip_prefix(&root).unwrap_or(Path::new(""));
                    let text = fs::read_to_string(&path).unwrap();
                    found.insert(name.display().to_string(), tests(&text));
                }
            }
        }
        Self(found)
    }

    /// Why a name is not that of a test, if it is not.
    fn lacks(&self, named: &str) -> Option<String> {
        let (file, name) = named.split_once("::")?;
        if self.0.get(file).is_some_and(|tests| tests.contains(name)) {
            return None;
        }
        let elsewhere = self.0.iter().find(|(_, tests)| tests.contains(name));
        let hint = match elsewhere {
            Some((file, _)) => format!("it is in `{file}` now: mend the path"),
            None => "name the test that shows it, or write NOT YET and why".to_owned(),
        };
        Some(format!("`{named}`: there is no such test; {hint}"))
    }
}

/// What a clause takes that is run on every store. One that no list names is never used, and does not compile.
const CLAUSE: (&str, &str) = ("pub(crate) async fn ", "(store: Store) {");

/// The names of the tests of a file: what is run by default.
fn tests(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        let clause = line.strip_prefix(CLAUSE.0).and_then(|rest| rest.split_once(CLAUSE.1));
        if let Some((name, _)) = clause {
            found.insert(name.to_owned());
            is_test = false;
        } else if line == "#[test]" || line.starts_with("#[tokio::test") {
            is_test = true;
        } else if line.starts_with("#[ignore") {
            is_test = false;
        } else if !line.starts_with("#[") && !line.starts_with("//") {
            let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
            let name = name.and_then(|rest| rest.split('(').next()).filter(|_| is_test);
            found.extend(name.map(str::to_owned));
            is_test = false;
        }
    }
    found
}
