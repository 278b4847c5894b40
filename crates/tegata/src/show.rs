//! Answers, for people or for machines.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde_json::Value;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Writes an answer to standard output.
pub(crate) fn show(answer: &Value, format: Format) -> io::Result<()> {
    let text = match format {
        Format::Json => format!("{answer:#}\n"),
        Format::Text => as_text(answer),
    };
    write(&text)
}

/// Writes a text to standard output.
pub(crate) fn write(text: &str) -> io::Result<()> {
    io::stdout().lock().write_all(text.as_bytes())
}

/// A list of objects as a table, an object as lines of names and values.
fn as_text(answer: &Value) -> String {
    match answer {
        Value::Array(rows) if rows.is_empty() => "none\n".to_owned(),
        Value::Array(rows) => table(rows),
        Value::Object(members) => {
            let width = members.keys().map(String::len).max().unwrap_or_default();
            let line = |(name, value): (&String, &Value)| match value {
                Value::Array(rows) if rows.iter().any(Value::is_object) => {
                    format!("{name}\n{}", indented(&as_text(value)))
                }
                Value::Object(_) => format!("{name}\n{}", indented(&as_text(value))),
                value => format!("{name:width$}  {}\n", cell(value)),
            };
            members.iter().map(line).collect()
        }
        other => format!("{}\n", cell(other)),
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

fn table(rows: &[Value]) -> String {
    let mut columns: Vec<&str> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(|row| row.keys()) {
        if !columns.contains(&name.as_str()) {
            columns.push(name);
        }
    }
    let mut lines: Vec<Vec<String>> =
        vec![columns.iter().map(|name| name.to_uppercase()).collect()];
    for row in rows {
        let at = |name: &&str| row.get(*name).map(cell).unwrap_or_default();
        lines.push(columns.iter().map(at).collect());
    }
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        let padded: Vec<String> =
            line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| format!("{name}={}", cell(value)))
            .collect::<Vec<_>>()
            .join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_are_tables_and_objects_are_lines() {
        let list = json!([
            {"name": "orders", "callers": ["api", "web"]},
            {"name": "a", "callers": [], "extra": null},
        ]);
        assert_eq!(as_text(&list), "NAME    CALLERS  EXTRA\norders  api,web\na       -        -\n");
        let object = json!({"kid": "k", "state": {"since": 1}, "empty": []});
        assert_eq!(as_text(&object), "kid    k\nstate\n  since  1\nempty  -\n");
        assert_eq!(as_text(&json!([])), "none\n");
    }
}
