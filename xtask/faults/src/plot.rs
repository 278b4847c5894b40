//! A picture of a round: how many requests were answered well, and how fast, while something was broken.

use std::{fmt::Write as _, time::Duration};

use crate::series::{Outcome, Sample, Series};

/// The width and height of one chart, and what is around it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 34.0;
const GAP: f64 = 46.0;

/// How long one point of a line stands for.
const STEP: Duration = Duration::from_millis(250);

/// Colours that people who see few of them can tell apart (Okabe and Ito).
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"];

/// A picture.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// What it says above.
    pub title: String,
    lines: Vec<(&'static str, Vec<Sample>)>,
    faults: Vec<(Duration, Duration)>,
}

impl Plot {
    /// A picture of these requests, with the time shaded in which something was broken.
    #[must_use]
    pub fn new(title: &str, series: &[&Series], faults: &[(Duration, Duration)]) -> Self {
        let lines = series.iter().map(|it| (it.name, it.all())).collect();
        Self { title: title.to_owned(), lines, faults: faults.to_vec() }
    }

    /// The picture without what was before a moment, and with the moment as its beginning.
    #[must_use]
    pub fn from(mut self, beginning: Duration) -> Self {
        for (_, samples) in &mut self.lines {
            samples.retain(|sample| sample.at >= beginning);
            samples.iter_mut().for_each(|sample| sample.at -= beginning);
        }
        for (from, to) in &mut self.faults {
            *from = from.saturating_sub(beginning);
            *to = to.saturating_sub(beginning);
        }
        self
    }

    /// As SVG.
    #[must_use]
    pub fn svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|(_, samples)| samples);
        let last = all().map(|sample| sample.at).max().unwrap_or_default();
        let end = (last + STEP).max(Duration::from_secs(1)).as_secs_f64();
        let slowest = all().map(|sample| sample.took.as_secs_f64() * 1000.0).fold(10.0, f64::max);
        let decades = slowest.log10().ceil().max(1.0);
        let (width, height) = (LEFT + WIDTH + 180.0, TOP + 2.0 * HEIGHT + GAP + 40.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\" font-weight=\"bold\">{}</text>\n",
            escaped(&self.title)
        );
        let lower = TOP + HEIGHT + GAP;
        let x = |at: f64| LEFT + at / end * WIDTH;
        for top in [TOP, lower] {
            for (from, to) in &self.faults {
                let (from, to) = (x(from.as_secs_f64()), x(to.as_secs_f64().min(end)));
                let _ = writeln!(
                    svg,
                    "<rect x=\"{from:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"{HEIGHT}\" \
                     fill=\"#f2d6d6\"/>",
                    (to - from).max(1.0)
                );
            }
            frame(&mut svg, top, end);
        }
        let share = |value: f64| TOP + HEIGHT * (1.0 - value);
        for (value, text) in [(0.0, "0 %"), (0.5, "50 %"), (1.0, "100 %")] {
            label(&mut svg, share(value), text);
        }
        // From a tenth of a millisecond on, each line ten times the one below.
        let height = |millis: f64| {
            let decade = (millis.max(0.1).log10() + 1.0) / (decades + 1.0);
            lower + HEIGHT * (1.0 - decade)
        };
        let mut millis = 0.1;
        while millis <= 10_f64.powf(decades) * 1.001 {
            let text = if millis >= 1000.0 {
                format!("{} s", millis / 1000.0)
            } else {
                format!("{millis} ms")
            };
            label(&mut svg, height(millis), &text);
            millis *= 10.0;
        }
        caption(&mut svg, TOP, "answered as it should be");
        caption(&mut svg, lower, "slowest answer");
        for (number, (name, samples)) in self.lines.iter().enumerate() {
            let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or("#000000");
            let mut good = Vec::new();
            let mut slow = Vec::new();
            for (at, step) in steps(samples) {
                let all = crate::series::Samples(step.clone());
                good.push((x(at), share(all.success())));
                let took = all.latencies(|outcome| outcome != Outcome::NotSent);
                slow.push((x(at), height(took.max().as_secs_f64() * 1000.0)));
            }
            for points in [good, slow] {
                line(&mut svg, &points, colour);
            }
            let y = TOP + 12.0 + 18.0 * crate::series::share(number, 1);
            let left = LEFT + WIDTH + 12.0;
            let _ = writeln!(
                svg,
                "<rect x=\"{left}\" y=\"{:.1}\" width=\"12\" height=\"3\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{y:.1}\">{}</text>",
                y - 5.0,
                left + 18.0,
                escaped(name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// The samples of each step that has any, with its middle in seconds.
fn steps(samples: &[Sample]) -> Vec<(f64, Vec<Sample>)> {
    let mut steps = std::collections::BTreeMap::<u128, Vec<Sample>>::new();
    for sample in samples {
        steps.entry(sample.at.as_millis() / STEP.as_millis()).or_default().push(*sample);
    }
    let middle = |number: u128| {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        STEP.as_secs_f64() * (f64::from(number) + 0.5)
    };
    steps.into_iter().map(|(number, samples)| (middle(number), samples)).collect()
}

fn frame(svg: &mut String, top: f64, end: f64) {
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" \
         stroke=\"#888888\"/>"
    );
    // Five to ten marks, at whole seconds.
    let every = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];
    let every = every.into_iter().find(|every| end / every <= 10.0).unwrap_or(600.0);
    let mut at = 0.0;
    while at <= end {
        let x = LEFT + at / end * WIDTH;
        let bottom = top + HEIGHT;
        let _ = writeln!(
            svg,
            "<line x1=\"{x:.1}\" y1=\"{bottom}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"#888888\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{at} s</text>",
            bottom + 4.0,
            bottom + 17.0
        );
        at += every;
    }
}

fn label(svg: &mut String, y: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{:.1}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>",
        LEFT + WIDTH,
        LEFT - 6.0,
        y + 4.0
    );
}

fn caption(svg: &mut String, top: f64, text: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{text}</text>",
        LEFT + WIDTH,
        top - 5.0
    );
}

fn line(svg: &mut String, points: &[(f64, f64)], colour: &str) {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
        points.join(" ")
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Stopwatch;

    #[test]
    fn draws_what_happened_and_shades_what_was_broken() {
        let series = Series::new("calls <all>", Stopwatch::start());
        for at in 0..8 {
            series.note(0, Duration::ZERO, if at < 4 { Outcome::Good } else { Outcome::Later });
        }
        let fault = (Duration::from_millis(200), Duration::from_millis(600));
        let svg = Plot::new("a & b", &[&series], &[fault]).svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("#f2d6d6").count(), 2);
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains("a &amp; b") && svg.contains("calls &lt;all&gt;"));
    }
}
