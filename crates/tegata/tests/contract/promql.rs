//! What metrics a program exports, and which of them an expression of Prometheus names.

use std::collections::{BTreeMap, BTreeSet};

/// The labels that Prometheus itself adds.
const ADDED: [&str; 2] = ["job", "instance"];

/// Metrics with the labels that they have.
pub(crate) type Exported = BTreeMap<String, BTreeSet<String>>;

/// What a page of metrics exports.
pub(crate) fn exported(page: &str) -> Exported {
    let mut all = Exported::new();
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let end = line.find(['{', ' ']).unwrap();
        let labels = all.entry(line[..end].to_owned()).or_default();
        labels.extend(ADDED.map(str::to_owned));
        if line[end..].starts_with('{') {
            labels.extend(matched(&line[end + 1..]).0);
        }
    }
    // What Prometheus says of whom it asks.
    all.insert("up".to_owned(), ADDED.map(str::to_owned).into());
    all
}

/// What an expression names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Named {
    /// Metrics, with the labels that they are selected by.
    pub(crate) metrics: Vec<(String, Vec<String>)>,
    /// Labels that are grouped or joined by.
    pub(crate) grouped: Vec<String>,
}

impl Named {
    /// Reads an expression in which each metric is followed by braces.
    pub(crate) fn of(expression: &str) -> Self {
        let mut named = Self::default();
        let mut rest = expression;
        while let Some(start) = rest.find(|it: char| it.is_ascii_alphabetic() || it == '"') {
            rest = &rest[start..];
            if let Some(text) = rest.strip_prefix('"') {
                rest = &text[text.find('"').unwrap() + 1..];
                continue;
            }
            let end = rest.find(|it: char| !is_of_name(it)).unwrap_or(rest.len());
            let word = &rest[..end];
            rest = rest[end..].trim_start();
            if let Some(selector) = rest.strip_prefix('{') {
                let (labels, after) = matched(selector);
                named.metrics.push((word.to_owned(), labels));
                rest = after;
            } else if ["by", "on", "group_left"].contains(&word) {
                let (list, after) = rest[1..].split_once(')').unwrap();
                let labels = list.split(',').map(str::trim).filter(|label| !label.is_empty());
                named.grouped.extend(labels.map(str::to_owned));
                rest = after;
            }
        }
        named
    }

    /// What is named and not exported.
    pub(crate) fn missing(&self, exported: &Exported) -> Vec<String> {
        let mut missing = Vec::new();
        let mut known = BTreeSet::new();
        for (metric, labels) in &self.metrics {
            let Some(own) = exported.get(metric) else {
                missing.push(metric.clone());
                continue;
            };
            known.extend(own);
            let others = labels.iter().filter(|label| !own.contains(*label));
            missing.extend(others.map(|label| format!("{metric}{{{label}}}")));
        }
        let others = self.grouped.iter().filter(|label| !known.contains(label));
        missing.extend(others.cloned());
        missing
    }
}

/// The names of labels up to the closing brace, and what comes after it.
fn matched(selector: &str) -> (Vec<String>, &str) {
    let (mut labels, mut rest) = (Vec::new(), selector.trim_start());
    while !rest.starts_with('}') {
        let end = rest.find(|it: char| !is_of_name(it)).unwrap();
        labels.push(rest[..end].to_owned());
        let value = rest[end..].split_once('"').unwrap().1;
        rest = value[value.find('"').unwrap() + 1..].trim_start_matches(',').trim_start();
    }
    (labels, &rest[1..])
}

/// What recording rules make has colons in its name.
const fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')
}

#[test]
fn an_expression_names_metrics_and_labels() {
    let named = Named::of(
        "histogram_quantile(0.9, sum by (le, who) (rate(a_bucket{job=\"x}\",b=~\"1|2\"}[5m]))) / \
         on () group_left () 5e3 * a:c:rate5m{}",
    );
    let one = ("a_bucket".to_owned(), vec!["job".to_owned(), "b".to_owned()]);
    let metrics = vec![one, ("a:c:rate5m".to_owned(), vec![])];
    assert_eq!(named, Named { metrics, grouped: vec!["le".to_owned(), "who".to_owned()] });
    let exported = exported("# TYPE a histogram\na_bucket{le=\"+Inf\",b=\"{\"} 5\n");
    assert_eq!(named.missing(&exported), ["a:c:rate5m", "who"]);
}
