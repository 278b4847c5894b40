//! Plots as SVG within a page, whose style sheet gives them their colours.

use std::fmt::Write as _;

use crate::plan::count::{Count, bytes, number};

/// The size of a plot, and what is beside its lines. Small, so that letters stay readable where the
/// whole plot has the width of a telephone.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 270.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 42.0;

/// A line of a plot.
pub(super) struct Line {
    /// Its class in the style sheet.
    pub(super) class: &'static str,
    /// What it stands for.
    pub(super) label: String,
    /// Its points, from left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// What is written at the ticks of an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// `10k`.
    Plain,
    /// `$10k`.
    Dollars,
    /// `32 MiB`.
    Bytes,
}

impl Unit {
    /// How many times the one below each tick is.
    const fn step(self) -> f64 {
        match self {
            Self::Plain | Self::Dollars => 10.0,
            Self::Bytes => 32.0,
        }
    }

    fn tick(self, value: f64) -> String {
        match self {
            Self::Plain => short(value),
            Self::Dollars => format!("${}", short(value)),
            Self::Bytes => bytes(value),
        }
    }

    /// A value as it is told of a point.
    fn value(self, value: f64) -> String {
        match self {
            Self::Plain => number(value.round()),
            Self::Dollars => format!("${}", number(value)),
            Self::Bytes => bytes(value),
        }
    }
}

/// A plot of lines, both of whose axes are logarithmic.
pub(super) struct Plot {
    /// What it shows, for whoever cannot see it.
    pub(super) title: String,
    /// What is along the bottom, and its unit.
    pub(super) across: (&'static str, Unit),
    /// The unit of what is along the left.
    pub(super) up: Unit,
    /// The lines.
    pub(super) lines: Vec<Line>,
    /// Where the plan itself is.
    pub(super) here: f64,
}

/// An axis: where it begins and ends, and what is written along it.
struct Axis {
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// Around these values. `most` is how many ticks there is room for.
    fn around(values: impl Iterator<Item = f64>, unit: Unit, most: usize) -> Self {
        let step = unit.step();
        let (least, largest) = values
            .filter(|value| *value > 0.0 && value.is_finite())
            .fold((f64::MAX, 0.0_f64), |(least, most), it| (least.min(it), most.max(it)));
        let (least, largest) = if largest > 0.0 { (least, largest) } else { (1.0, step) };
        let power = |value: f64| value.ln() / step.ln();
        let first = (power(least) + 1e-9).floor();
        let last = (power(largest) - 1e-9).ceil().max(first + 1.0);
        let all = std::iter::successors(Some(first), |at| Some(at + 1.0));
        let all: Vec<f64> = all.take_while(|at| *at <= last).map(|at| step.powf(at)).collect();
        let every = all.len().div_ceil(most.max(1)).max(1);
        let (from, to) = (step.powf(first), step.powf(last));
        let mut ticks: Vec<f64> = all.into_iter().step_by(every).collect();
        // Where there are few, one more between each.
        if unit != Unit::Bytes && ticks.len() * 2 <= most {
            ticks = ticks.into_iter().flat_map(|tick| [tick, tick * 3.0]).collect();
            ticks.retain(|tick| *tick <= to);
        }
        Self { from, to, ticks }
    }

    /// How far along it a value is, 0 to 1. What is 0 or less stands at its beginning.
    fn share(&self, value: f64) -> f64 {
        let part = (value.max(self.from) / self.from).ln() / (self.to / self.from).ln();
        part.clamp(0.0, 1.0)
    }
}

impl Plot {
    /// The plot as SVG.
    pub(super) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let across = Axis::around(points().map(|(x, _)| *x), self.across.1, 8);
        let up = Axis::around(points().map(|(_, y)| *y), self.up, 8);
        let x = |value: f64| LEFT + across.share(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - up.share(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = format!(
            "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escaped(&self.title)
        );
        for tick in &up.ticks {
            let (at, text) = (y(*tick), self.up.tick(*tick));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                at + 4.0
            );
        }
        let foot = HEIGHT - BOTTOM;
        for tick in &across.ticks {
            let (at, text) = (x(*tick), self.across.1.tick(*tick));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {foot}v4\"/><text class=\"tick\" x=\"{at:.1}\" \
                 y=\"{:.1}\" text-anchor=\"middle\">{text}</text>",
                foot + 17.0
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
             <path class=\"here\" d=\"M{:.1} {TOP}V{foot}\"/>",
            LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
            HEIGHT - 5.0,
            escaped(self.across.0),
            x(self.here)
        );
        for line in &self.lines {
            self.draw(line, (&x, &y), &mut svg);
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw(
        &self,
        line: &Line,
        (x, y): (&dyn Fn(f64) -> f64, &dyn Fn(f64) -> f64),
        svg: &mut String,
    ) {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|(right, up)| format!("{:.1} {:.1}", x(*right), y(*up)))
            .collect();
        let _ = writeln!(svg, "<path class=\"line {}\" d=\"M{}\"/>", line.class, path.join("L"));
        for (right, up) in &line.points {
            // A point to be pointed at; only that of the plan itself is seen.
            let class = if (right / self.here - 1.0).abs() < 1e-9 { "dot" } else { "spot" };
            let _ = writeln!(
                svg,
                "<circle class=\"{class} {}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"><title>{}: {} → \
                 {}</title></circle>",
                line.class,
                x(*right),
                y(*up),
                escaped(&line.label),
                self.across.1.value(*right),
                self.up.value(*up)
            );
        }
    }
}

/// A part of a bar.
pub(super) struct Part {
    /// Its class in the style sheet.
    pub(super) class: &'static str,
    /// What it stands for, with its value.
    pub(super) label: String,
    /// How long it is.
    pub(super) value: f64,
}

/// A bar of parts that stand one after the other, as long as `longest` would fill the picture.
pub(super) fn bar(title: &str, parts: &[Part], longest: f64) -> String {
    let mut svg = format!(
        "<svg class=\"bar\" viewBox=\"0 0 1000 28\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{}\">\n",
        escaped(title)
    );
    let mut at = 0.0;
    for part in parts.iter().filter(|part| part.value > 0.0 && longest > 0.0) {
        let width = part.value / longest * 1000.0;
        let _ = writeln!(
            svg,
            "<rect class=\"{}\" x=\"{at:.2}\" width=\"{:.2}\" height=\"28\"><title>{}</title></rect>",
            part.class,
            (width - 2.0).max(0.5),
            escaped(&part.label)
        );
        at += width;
    }
    svg.push_str("</svg>");
    svg
}

/// A power of ten in few letters: `10k`, `1M`.
fn short(value: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, name) =
        units.into_iter().find(|(unit, _)| value >= unit * 0.999).unwrap_or((1.0, ""));
    format!("{}{name}", number(value / unit))
}

/// Numbers of people on both sides of `users`, with itself, in even steps of a logarithmic scale.
pub(super) fn users_around(users: Count) -> Vec<Count> {
    // Ten steps to a decade, from 1,000 on.
    let all = (0..=80_u32).map(|step| 1000.0 * 10_f64.powf(f64::from(step) / 10.0));
    let farthest = (users.number() * 10.0).clamp(1e8, 1e11) * 1.001;
    let mut all: Vec<Count> = all
        .take_while(|it| *it <= farthest)
        .filter_map(|it| Count::rounded_up(it.round()))
        .collect();
    all.push(users);
    all.sort_unstable();
    all.dedup();
    all
}

/// A text within markup.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, f64)>) -> String {
        let lines = vec![Line { class: "a", label: "<a>".to_owned(), points }];
        let across = ("users", Unit::Plain);
        Plot { title: "a \"plot\"".to_owned(), across, up: Unit::Bytes, lines, here: 1e4 }.svg()
    }

    #[test]
    fn draws_within_its_frame_whatever_there_is_to_draw() {
        for points in [
            vec![],
            vec![(1e4, 0.0)],
            vec![(1e4, 1.0), (1e5, 1e30)],
            vec![(1e3, 5.0), (1e4, 5.0)],
            vec![(1e4, f64::INFINITY)],
        ] {
            let svg = plot(points);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert!(svg.contains("&quot;plot&quot;") && !svg.contains("<a>"), "{svg}");
        }
    }

    #[test]
    fn the_plan_itself_is_among_the_points() {
        for users in [1_u32, 999, 12_345, 10_000_000, u32::MAX] {
            let around = users_around(Count::of(users));
            assert!(around.contains(&Count::of(users)) && around.len() >= 51);
            assert!(around.is_sorted());
        }
        let ticks = ["1", "1k", "10k", "1M", "1G"];
        assert_eq!([1.0, 1e3, 1e4, 1e6, 1e9].map(short), ticks);
    }
}
