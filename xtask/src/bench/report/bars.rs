//! A picture of bars: what was measured beside something else, in groups.

use std::fmt::Write as _;

use super::{COLOURS, Finding, plain};

/// What the bars are about.
pub const ABOUT: &str = "Requests a second, beside HAProxy that checks nothing";

/// Where bars begin, how long one of 1 is, and how far they are apart.
const LEFT: f64 = 330.0;
const WIDTH: f64 = 380.0;
const APART: f64 = 20.0;

/// Those for which nothing is wanted, by what they belong to, each with the range of its rounds.
/// What is checked and what is not have their own colours.
pub fn picture(findings: &[Finding]) -> String {
    let shown: Vec<_> = findings.iter().filter(|it| it.gate.is_none() && it.unit == "x").collect();
    let mut rows = String::new();
    let (mut group, mut y) = ("", 40.0);
    for it in shown {
        if it.id != group {
            group = &it.id;
            y += 14.0;
            let _ = writeln!(
                rows,
                "<text x=\"12\" y=\"{y}\" font-size=\"14\" font-weight=\"bold\">{group}</text>"
            );
            y += 8.0;
        }
        let colour = if it.what.starts_with("Tegata") { COLOURS[1] } else { COLOURS[0] };
        let faint = if it.what.ends_with("nothing checked") { "0.45" } else { "1" };
        let [length, low, high] = [it.median, it.min, it.max].map(|it| it * WIDTH);
        let (middle, below) = (y + 6.0, y + 11.0);
        let what = it.what.replace('`', "");
        let _ = writeln!(
            rows,
            "<text x=\"{:.1}\" y=\"{below:.1}\" text-anchor=\"end\">{what}</text>\
             <rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{length:.1}\" height=\"13\" fill=\"{colour}\" \
             fill-opacity=\"{faint}\"/>\
             <line x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\" stroke=\"#333333\"/>\
             <text x=\"{:.1}\" y=\"{below:.1}\">{}</text>",
            LEFT - 8.0,
            LEFT + low,
            LEFT + high,
            LEFT + high.max(length) + 6.0,
            plain(it.median)
        );
        y += APART;
    }
    let height = y + 10.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 900 {height:.0}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"900\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\">{ABOUT}: one core each; lines span all \
         rounds</text>\n{rows}</svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn draws_a_bar_for_each_in_its_group() {
        let found = |id: &str, what: &str, gate: Option<f64>| -> Finding {
            serde_json::from_value(json!({
                "id": id, "what": what, "unit": "x", "rounds": 5, "median": 0.5, "min": 0.4,
                "max": 0.6, "greater_is_better": true, "gate": gate, "goal": gate,
                "moonshot": gate, "verdict": null, "at": null, "wrong": 0, "checked": 7,
                "seen": "",
            }))
            .unwrap()
        };
        let svg = picture(&[
            found("HTTP/1.1", "one, `checked`", None),
            found("HTTP/1.1", "Tegata", None),
            found("HTTP/2", "one, nothing checked", None),
            found("G1", "what is wanted", Some(0.6)),
        ]);
        assert_eq!((svg.matches("<rect").count(), svg.matches("font-weight").count()), (4, 2));
        assert!(svg.contains("one, checked<") && !svg.contains("what is wanted"), "{svg}");
        assert!(svg.contains(&format!("width=\"{:.1}\"", WIDTH / 2.0)), "{svg}");
    }
}
