//! `[gateway.introspection]`: who is asked about tokens while revocations cannot be learnt.

use std::path::PathBuf;

use serde::Deserialize;

use super::issuer::is_fetched_safely;

/// The most nodes that are asked: each may take a part of the second that a request waits.
const MOST: usize = 8;

/// Other nodes that are asked about a token, on routes that are `bounded`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Introspection {
    /// Their public listeners, or that of a balancer before them, in the order in which they are asked:
    /// addresses without a path. Empty: nobody is asked.
    pub(crate) at: Vec<String>,
    /// As which client: one that may introspect.
    pub(crate) client_id: String,
    /// The file of its secret.
    pub(crate) client_secret_file: Option<PathBuf>,
    /// Certificates that sign theirs; without it, those that this machine trusts.
    pub(crate) ca_file: Option<PathBuf>,
}

impl Introspection {
    /// The paths that are relative to where the configuration is, by the settings that name them.
    pub(super) fn files(&mut self) -> impl Iterator<Item = (&'static str, &mut PathBuf)> {
        let secret = self.client_secret_file.as_mut();
        let named = [
            ("[gateway.introspection] client_secret_file", secret),
            ("[gateway.introspection] ca_file", self.ca_file.as_mut()),
        ];
        named.into_iter().filter_map(|(name, file)| Some((name, file?)))
    }

    /// What is wrong although each value can be read.
    pub(super) fn contradictions(&self, found: &mut Vec<String>) {
        let mut wrong = |what: &str| found.push(format!("[gateway.introspection] {what}"));
        for address in &self.at {
            let rest = address.split_once("://").map_or("", |(_, rest)| rest);
            if !is_fetched_safely(address) || rest.contains(['/', '?', '#']) {
                wrong(&format!(
                    "at `{address}` must begin with `https://`, or lead to this machine, and have no path"
                ));
            }
        }
        if self.at.len() > MOST {
            wrong(&format!("at names more than {MOST}; name a balancer before them"));
        }
        let named = !self.client_id.is_empty();
        let is_complete = named && self.client_secret_file.is_some();
        if !self.at.is_empty() && !is_complete {
            wrong(
                "needs `client_id` and `client_secret_file`: whoever asks about tokens says who it is",
            );
        }
        if self.at.is_empty() && (named || self.client_secret_file.is_some()) {
            wrong("says as which client it asks, and `at` names nobody to ask");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(at: &[&str], client_id: &str, file: bool) -> Vec<String> {
        let set = Introspection {
            at: at.iter().map(|&at| at.to_owned()).collect(),
            client_id: client_id.to_owned(),
            client_secret_file: file.then(|| "gateway.secret".into()),
            ca_file: None,
        };
        let mut found = Vec::new();
        set.contradictions(&mut found);
        found
    }

    #[test]
    fn tokens_are_shown_to_nobody_in_the_clear_and_nobody_is_asked_without_saying_who_asks() {
        assert_eq!(wrong(&[], "", false), [""; 0]);
        assert_eq!(
            wrong(&["https://b.example", "http://127.0.0.1:8001"], "gateway", true),
            [""; 0]
        );
        for at in [
            "http://b.example",
            "https://b.example/",
            "https://b.example/oauth2/introspect",
            "https://gateway@b.example",
            "https://b.example?x",
            "b.example",
            "",
        ] {
            assert_eq!(wrong(&[at], "gateway", true).len(), 1, "`{at}`");
        }
        assert_eq!(wrong(&["https://b.example"; 9], "gateway", true).len(), 1);
        assert_eq!(wrong(&["https://b.example"], "", true).len(), 1);
        assert_eq!(wrong(&["https://b.example"], "gateway", false).len(), 1);
        assert_eq!(wrong(&[], "gateway", true).len(), 1);
    }
}
