//! What benchmarks found, put together: for machines, as a table, as a picture, and in the document.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{command, generated};

mod bars;

/// The document that tells of it.
const DOCUMENT: &str = "docs/performance.md";

/// What was found about one thing, as `tegata-rounds` tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    id: String,
    what: String,
    unit: String,
    rounds: u32,
    median: f64,
    min: f64,
    max: f64,
    greater_is_better: bool,
    gate: Option<f64>,
    goal: Option<f64>,
    moonshot: Option<f64>,
    verdict: Option<String>,
    at: Option<f64>,
    wrong: Option<u64>,
    checked: Option<u64>,
    seen: String,
}

/// All that was found, and under which circumstances.
#[derive(Debug, Serialize)]
pub struct Report {
    name: String,
    /// What was typed.
    command: String,
    /// How many cores there were, and how many wanted one when it began.
    condition: String,
    findings: Vec<Finding>,
}

/// What a run began under, beside what it found.
const CONDITION: &str = "condition";

/// Notes what the machine is like, before it is kept busy.
///
/// # Errors
/// It cannot be written.
pub fn begin(place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    fs::write(place.join(CONDITION), condition())
        .with_context(|| format!("`{}` cannot be written to", place.display()))
}

fn condition() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let cores = if cores == 1 { "one core".to_owned() } else { format!("{cores} cores") };
    format!("{cores}, which {load} others wanted when it began")
}

impl Report {
    /// Reads what the programs of a benchmark have told.
    ///
    /// # Errors
    /// They told nothing, or nothing that can be read.
    pub fn read(name: &str, command: String, place: &Path) -> Result<Self> {
        let mut findings: Vec<Finding> = Vec::new();
        let nothing = || format!("`{name}` found nothing");
        let condition = fs::read_to_string(place.join(CONDITION)).with_context(nothing)?;
        let told = fs::read_dir(place)?.flatten().map(|file| file.path());
        let mut told: Vec<_> =
            told.filter(|it| it.extension().is_some_and(|it| it == "json")).collect();
        // The order in which a directory is listed says nothing.
        told.sort();
        told.reverse();
        for path in told {
            let text = fs::read_to_string(&path)?;
            let read = serde_json::from_str::<Vec<Finding>>(&text);
            findings.extend(read.with_context(|| format!("`{}`", path.display()))?);
        }
        // In the order of the goals; within one, as they were found.
        findings.sort_by(|a, b| a.order().cmp(&b.order()));
        Ok(Self { name: name.to_owned(), command, condition, findings })
    }

    /// Writes it for machines, as a table and as a picture, beneath `target/bench`.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn keep(&self) -> Result<()> {
        let place = command::root().join("target/bench");
        fs::create_dir_all(&place)?;
        let json = serde_json::to_string_pretty(self)? + "\n";
        for (kind, text) in [("json", &json), ("md", &self.piece()), ("svg", &self.picture())] {
            let path = place.join(format!("{}.{kind}", self.name));
            fs::write(&path, text).with_context(|| format!("`{}`", path.display()))?;
        }
        println!("\n{}\nin `target/bench`: {n}.json, {n}.md, {n}.svg", self.piece(), n = self.name);
        Ok(())
    }

    /// Writes it into the document.
    ///
    /// # Errors
    /// The document has lost its place for it.
    pub fn publish(&self) -> Result<()> {
        let root = command::root();
        let text = fs::read_to_string(root.join(DOCUMENT))?;
        fs::write(root.join(DOCUMENT), generated::replace(&text, &self.name, &self.piece())?)?;
        let picture = format!("docs/pictures/{}.svg", self.name);
        fs::write(root.join(&picture), self.picture())?;
        println!("wrote `{}` in {DOCUMENT}, and {picture}", self.name);
        Ok(())
    }

    /// Whether nothing is worse than it may be.
    pub fn missed(&self) -> usize {
        let missed = |it: &&Finding| it.verdict.as_deref() == Some("missed");
        self.findings.iter().filter(missed).count()
    }

    /// The piece of the document.
    fn piece(&self) -> String {
        let mut text = format!(
            "`{}`, on {}. Each figure is the median of its rounds, then the smallest and the greatest.\n",
            self.command, self.condition
        );
        let about = if self.sizes().is_empty() { bars::ABOUT } else { LINES };
        let _ = write!(text, "\n![{about}](pictures/{}.svg)\n", self.name);
        self.points(&mut text);
        let _ = write!(
            text,
            "\n| | measured | | gate | goal | moonshot | |\n|---|---|---|---|---|---|---|\n"
        );
        for it in self.findings.iter().filter(|it| it.at.is_none()) {
            let limit = |limit: Option<f64>| limit.map_or(String::new(), plain);
            let verdict = match it.verdict.as_deref() {
                Some("missed") => "**missed**".to_owned(),
                Some(verdict) => format!("{verdict} held"),
                None => String::new(),
            };
            let verdict = verdict + if it.is_divided() { ", not in every round" } else { "" };
            let checked = it
                .checked
                .zip(it.wrong)
                .map(|(all, wrong)| format!("{wrong} of {all} answers wrong"));
            let seen: Vec<_> = Some(it.seen.clone())
                .filter(|seen| !seen.is_empty())
                .into_iter()
                .chain(checked)
                .collect();
            let _ = writeln!(
                text,
                "| {} | {}: {} | {} | {} | {} | {} | {verdict} |",
                it.id,
                it.what,
                it.figure(),
                seen.join("; "),
                limit(it.gate),
                limit(it.goal),
                limit(it.moonshot),
            );
        }
        text
    }

    /// The lines of the picture, as a table.
    fn points(&self, text: &mut String) {
        let sizes = self.sizes();
        if sizes.is_empty() {
            return;
        }
        let heads: Vec<_> = sizes.iter().map(|size| format!("of {}", grouped(*size))).collect();
        let _ = writeln!(text, "\n| is it taken back? | {} |", heads.join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(sizes.len()));
        for (what, points) in self.lines() {
            let figures: Vec<_> = points.iter().map(|it| it.figure()).collect();
            let _ = writeln!(text, "| {what} | {} |", figures.join(" | "));
        }
    }

    fn sizes(&self) -> Vec<f64> {
        let mut sizes: Vec<f64> = self.findings.iter().filter_map(|it| it.at).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        sizes
    }

    /// What was found at several sizes, by what it is.
    fn lines(&self) -> Vec<(&str, Vec<&Finding>)> {
        let mut lines: Vec<(&str, Vec<&Finding>)> = Vec::new();
        for it in self.findings.iter().filter(|it| it.at.is_some()) {
            match lines.iter_mut().find(|(what, _)| *what == it.what) {
                Some((_, points)) => points.push(it),
                None => lines.push((&it.what, vec![it])),
            }
        }
        lines
    }

    /// Lines where there are several sizes, or else bars.
    fn picture(&self) -> String {
        if self.sizes().is_empty() { bars::picture(&self.findings) } else { self.drawn() }
    }

    /// The lines, both ways by powers of ten, each with the range of its rounds.
    fn drawn(&self) -> String {
        let lines = self.lines();
        let points = || lines.iter().flat_map(|(_, points)| points);
        let greatest = points().map(|it| it.max).fold(10.0, f64::max).log10().ceil();
        let (first, last) = (3.0, points().filter_map(|it| it.at).fold(1e6, f64::max).log10());
        let x = |at: f64| LEFT + (at.max(1.0).log10() - first) / (last - first) * WIDTH;
        let y = |value: f64| TOP + HEIGHT * (1.0 - value.max(1.0).log10() / greatest);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 350\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"900\" height=\"350\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">is it taken back? Time of one answer, by how \
             many tokens are alive</text>\n\
             <rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" \
             stroke=\"#888888\"/>\n"
        );
        let mut value = 1.0;
        while value <= 10_f64.powf(greatest) * 1.001 {
            let at = y(value);
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{:.1}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{value} ns</text>",
                LEFT + WIDTH,
                LEFT - 6.0,
                at + 4.0
            );
            value *= 10.0;
        }
        for size in self.sizes() {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                x(size),
                TOP + HEIGHT + 18.0,
                grouped(size)
            );
        }
        let mut below = TOP + 12.0;
        for ((what, points), colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let mut path = Vec::new();
            for (it, at) in points.iter().filter_map(|it| Some((it, x(it.at?)))) {
                path.push(format!("{at:.1},{:.1}", y(it.median)));
                let (low, high) = (y(it.min), y(it.max));
                let _ = writeln!(
                    svg,
                    "<line x1=\"{at:.1}\" y1=\"{low:.1}\" x2=\"{at:.1}\" y2=\"{high:.1}\" \
                     stroke=\"{colour}\"/><circle cx=\"{at:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{colour}\"/>",
                    y(it.median)
                );
            }
            let left = LEFT + WIDTH + 14.0;
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n\
                 <rect x=\"{left}\" y=\"{:.1}\" width=\"12\" height=\"3\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{below:.1}\">{what}</text>",
                path.join(" "),
                below - 5.0,
                left + 18.0
            );
            below += 20.0;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// What lines are about.
const LINES: &str = "Whether a token was taken back, by how many are alive";

/// Where the picture's lines are, within it.
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
const WIDTH: f64 = 540.0;
const HEIGHT: f64 = 270.0;

/// Those that everybody can tell apart (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

impl Finding {
    /// Where it stands among the others: goals by their numbers, then what has none.
    fn order(&self) -> (u32, &str) {
        let number = self.id.strip_prefix('G').and_then(|number| number.parse().ok());
        (number.unwrap_or(u32::MAX), if number.is_some() { "" } else { &self.id })
    }

    /// Whether some rounds are on one side of what it may be at least, and some on the other.
    fn is_divided(&self) -> bool {
        self.gate.is_some_and(|gate| self.min < gate && gate < self.max)
    }

    fn figure(&self) -> String {
        let unit = match self.unit.as_str() {
            "" | "x" => String::new(),
            unit => format!(" {unit}"),
        };
        let middle = plain(self.median);
        if self.rounds > 1 {
            format!("{middle}{unit} ({}..{})", plain(self.min), plain(self.max))
        } else {
            format!("{middle}{unit}")
        }
    }
}

/// A figure with three digits that count, or as it is where it is whole.
fn plain(figure: f64) -> String {
    let digits = match figure.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.9 => 4,
        _ => 3,
    };
    let text = format!("{figure:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A whole number as people read it.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(id: &str, at: Option<f64>, verdict: Option<&str>) -> Finding {
        let finding = json!({
            "id": id, "what": "a thing", "unit": "ns", "rounds": 5, "median": 12.34, "min": 1.0,
            "max": 200.5, "greater_is_better": false, "gate": 4.0, "goal": 2.0, "moonshot": 0.9999,
            "verdict": verdict, "at": at, "wrong": 0, "checked": 7, "seen": "in words",
        });
        serde_json::from_value(finding).unwrap()
    }

    fn report(findings: Vec<Finding>) -> Report {
        let [name, command, condition] = ["t", "a command", "a machine"].map(str::to_owned);
        Report { name, command, condition, findings }
    }

    #[test]
    fn says_what_was_measured_and_what_was_wanted() {
        let report =
            report(vec![found("G9", None, Some("missed")), found("G10", None, Some("goal"))]);
        let text = report.piece();
        assert!(text.contains(
            "| G9 | a thing: 12.3 ns (1..200) | in words; 0 of 7 answers wrong | 4 | 2 | 0.9999 | **missed**, not in every round |"
        ), "{text}");
        assert!(text.contains("| goal held, not in every round |"), "{text}");
        assert_eq!(report.missed(), 1);
    }

    #[test]
    fn draws_a_line_over_all_sizes() {
        let sizes = [1e3, 1e6, 5e7].map(|at| found("check", Some(at), None));
        let report = report(sizes.to_vec());
        let svg = report.picture();
        assert_eq!((svg.matches("<polyline").count(), svg.matches("<circle").count()), (1, 3));
        assert!(svg.contains(">50,000,000<") && svg.contains(">100 ns<"), "{svg}");
        assert!(report.piece().contains("| is it taken back? | of 1,000 | of 1,000,000 |"));
    }

    #[test]
    fn reads_what_programs_told_in_the_order_of_the_goals() {
        let place = tempfile::tempdir().unwrap();
        let write = |name: &str, ids: &[&str]| {
            let found: Vec<_> = ids.iter().map(|id| found(id, None, None)).collect();
            fs::write(place.path().join(name), serde_json::to_string(&found).unwrap()).unwrap();
        };
        write("a.json", &["lease", "G14"]);
        write("b.json", &["G13", "flat", "G9"]);
        begin(place.path()).unwrap();
        let read = Report::read("t", String::new(), place.path()).unwrap();
        let ids: Vec<_> = read.findings.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(ids, ["G9", "G13", "G14", "flat", "lease"]);
        let missing = Report::read("t", String::new(), &place.path().join("no"));
        assert!(missing.is_err());
    }
}
