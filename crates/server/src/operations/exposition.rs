//! Metrics in the text format 0.0.4 of Prometheus.
//!
//! The registry writes OpenMetrics, which differs in three ways: there, a counter is described under
//! its name without `_total`, units have lines of their own, and the text ends with `# EOF`.

use std::fmt;

use prometheus_client::{encoding::text::encode, registry::Registry};

/// The metrics of a registry.
///
/// # Errors
/// Where a metric cannot be written.
pub(super) fn text(registry: &Registry) -> Result<String, fmt::Error> {
    let mut open = String::new();
    encode(&mut open, registry)?;
    Ok(translated(&open))
}

fn translated(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help: Option<(&str, &str)> = None;
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some("EOF" | "UNIT"), ..) => {}
            (Some("#"), Some("HELP"), Some(name), rest) => {
                help = Some((name, rest.unwrap_or_default()));
            }
            (Some("#"), Some("TYPE"), Some(name), Some(kind)) => {
                let (suffix, kind) = match kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some((_, rest)) = help.take().filter(|(of, _)| *of == name) {
                    text.push_str(&format!("# HELP {name}{suffix} {rest}\n"));
                }
                text.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            }
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn describes_counters_under_the_name_that_they_have() {
        let open = "# HELP a_b Help it.\n# TYPE a_b counter\na_b_total{c=\"d # HELP\"} 1\n\
                    # HELP e_seconds Two.\n# TYPE e_seconds histogram\n# UNIT e_seconds seconds\n\
                    e_seconds_bucket{le=\"+Inf\"} 0\n# TYPE f unknown\nf 1\n# EOF\n";
        let text = "# HELP a_b_total Help it.\n# TYPE a_b_total counter\na_b_total{c=\"d # HELP\"} 1\n\
                    # HELP e_seconds Two.\n# TYPE e_seconds histogram\n\
                    e_seconds_bucket{le=\"+Inf\"} 0\n# TYPE f untyped\nf 1\n";
        assert_eq!(translated(open), text);
    }
}
