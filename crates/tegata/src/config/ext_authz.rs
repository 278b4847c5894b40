//! `[ext_authz]`: where Envoy asks before it lets a request pass.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Config, Listen};

/// The answers to Envoy. Off, unless it is said where it asks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ExtAuthz {
    /// Where Envoy asks: on this machine.
    pub(crate) listen: Option<Listen>,
    /// The file of what it shows with each question, as `authorization: Bearer …`. Without one, whoever reaches
    /// the address may ask.
    pub(crate) secret_file: Option<PathBuf>,
}

impl Config {
    /// Whoever asks is believed about clients, and is told what services believe.
    pub(super) fn of_ext_authz(&self, found: &mut Vec<String>) {
        let set = &self.ext_authz;
        let mut wrong = |what: &str| found.push(format!("[ext_authz] {what}"));
        match &set.listen {
            None if set.secret_file.is_some() => {
                wrong("names a secret, and nobody can ask: say `listen`");
            }
            None => {}
            Some(listen) if listen.addresses().is_empty() => {
                wrong("listen is empty: name at least one address, or leave it out");
            }
            Some(listen) => {
                let open = listen.addresses().iter().find(|it| !it.ip().is_loopback());
                if let Some(open) = open {
                    wrong(&format!(
                        "listen `{open}` can be reached from other machines, where credentials would travel in \
                         the clear and strangers could ask: listen on 127.0.0.1 or [::1], and run Tegata \
                         beside Envoy"
                    ));
                }
            }
        }
    }
}
