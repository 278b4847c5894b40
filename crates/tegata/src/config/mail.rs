//! `[mail]` and `[users]`: how mail leaves, what people may do by themselves, and what they must.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use serde::Deserialize;
use tegata_identity::Demand;
use tegata_session::Environment;

use super::{Config, Hidden, is_loopback};
use crate::mail::address::Server;

/// How mail leaves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Mail {
    /// `smtp://user@host:587` (with STARTTLS, except on this machine) or `smtps://user@host:465`.
    pub(crate) url: Option<Hidden>,
    /// The file that it is in, in place of `url`.
    pub(crate) url_file: Option<PathBuf>,
    /// The file that the password of the user is in.
    pub(crate) password_file: Option<PathBuf>,
    /// Who the mail is from: `Name <address>`, or an address.
    pub(crate) from: Option<String>,
    /// Certificates that sign that of the mail server; those that this machine trusts without it.
    pub(crate) ca_file: Option<PathBuf>,
}

/// What people may do by themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Users {
    /// Whether people may make accounts for themselves.
    pub(crate) registration: Registration,
    /// The roles of whoever did.
    pub(crate) registration_roles: Vec<String>,
    /// Whether people may sign in by a mail, without their password.
    pub(crate) sign_in_by_mail: bool,
    /// Whether everybody must have a second factor.
    pub(crate) second_factor: SecondFactors,
    /// The roles whose people must have one in any case.
    pub(crate) second_factor_roles: Vec<String>,
    /// A file of passwords that were stolen somewhere, which nobody may choose; relative to the
    /// configuration file.
    pub(crate) breached_passwords: Option<PathBuf>,
}

/// Who must have a second factor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SecondFactors {
    /// Nobody, but for some roles.
    #[default]
    Optional,
    /// Everybody.
    Required,
}

/// Who may have an account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Registration {
    /// Those whom operators register.
    #[default]
    Closed,
    /// Everybody who answers a mail.
    Open,
}

/// How long a mail server may take.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(20);

impl Config {
    /// Whether mail reaches people: through a server, or, while the program is tried out on one machine, in
    /// the log.
    pub(crate) fn has_mail(&self) -> bool {
        self.mail.url.is_some() || self.shows_mail()
    }

    /// Whether mail is shown in the log.
    pub(crate) fn shows_mail(&self) -> bool {
        let in_development = self.public.environment == Environment::Development;
        self.mail.url.is_none() && in_development && is_loopback(&self.issuer())
    }

    /// What is wrong with mail, and with what needs it.
    pub(super) fn of_mail(&self, found: &mut Vec<String>) {
        let (mail, users) = (&self.mail, &self.users);
        if let Some(url) = &mail.url
            && let Err(why) = url.expose().parse::<Server>()
        {
            found.push(format!("[mail] url {why}"));
        }
        match (&mail.url, &mail.from) {
            (Some(_), None) => found.push(
                "[mail] from is missing: the address that mail comes from, such as \
                 `\"Example <no-reply@example.com>\"`"
                    .to_owned(),
            ),
            (_, Some(from)) => {
                if let Err(why) = crate::mail::address::sender(from) {
                    found.push(format!("[mail] from {why}"));
                }
            }
            (None, None) => {}
        }
        if let Err(error) = self.registration_roles() {
            found.push(format!("[users] registration_roles: {error}"));
        }
        if let Err(error) = self.demand() {
            found.push(format!("[users] second_factor_roles: {error}"));
        }
        let wants = [
            ("registration = \"open\"", users.registration == Registration::Open),
            ("sign_in_by_mail = true", users.sign_in_by_mail),
        ];
        for (name, _) in wants.into_iter().filter(|(_, wanted)| *wanted && !self.has_mail()) {
            found.push(format!("[users] {name} needs mail: set `url` and `from` in [mail]"));
        }
    }

    /// The roles of whoever made their account themselves.
    pub(crate) fn registration_roles(
        &self,
    ) -> Result<Vec<tegata_identity::Role>, tegata_core::InvalidName> {
        self.users.registration_roles.iter().map(|name| tegata_identity::Role::new(name)).collect()
    }

    /// Of whom a second factor is demanded.
    pub(crate) fn demand(&self) -> Result<Demand, tegata_core::InvalidName> {
        let roles = self.users.second_factor_roles.iter();
        let roles: BTreeSet<_> =
            roles.map(|name| tegata_identity::Role::new(name)).collect::<Result<_, _>>()?;
        Ok(match self.users.second_factor {
            SecondFactors::Required => Demand::Everybody,
            SecondFactors::Optional if roles.is_empty() => Demand::Nobody,
            SecondFactors::Optional => Demand::Roles(roles),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(edit: impl FnOnce(&mut Config)) -> String {
        let mut config = Config::default();
        edit(&mut config);
        config.contradictions().join("\n")
    }

    #[test]
    fn what_needs_mail_is_refused_without() {
        let url = |text: &str| Some(Hidden::new(text.to_owned()));
        let elsewhere = |config: &mut Config| {
            config.public.issuer = Some("https://id.example.com".to_owned());
            config.users.registration = Registration::Open;
        };
        assert!(wrong(elsewhere).contains("needs mail"));
        let with = |config: &mut Config| {
            elsewhere(config);
            config.mail.url = url("smtps://tegata@mail.example.com");
            config.mail.from = Some("Example <no-reply@example.com>".to_owned());
        };
        assert_eq!(wrong(with), "");
        // On this machine, the log shows it.
        assert_eq!(wrong(|config| config.users.sign_in_by_mail = true), "");
        let nobody = wrong(|config| config.mail.url = url("smtp://localhost:25"));
        assert!(nobody.contains("[mail] from is missing"), "{nobody}");
        for bad in ["http://mail.example.com", "smtp://", "mail.example.com", "smtp://a:b:c"] {
            let said = wrong(|config| {
                config.mail.url = url(bad);
                config.mail.from = Some("a@b.example".to_owned());
            });
            assert!(said.contains("[mail] url"), "{bad}: {said}");
        }
        let from = wrong(|config| config.mail.from = Some("a@b.example\r\nBcc: c@d".to_owned()));
        assert!(from.contains("[mail] from"), "{from}");
        let role = wrong(|config| config.users.registration_roles = vec!["a b".to_owned()]);
        assert!(role.contains("[users] registration_roles"), "{role}");
        let role = wrong(|config| config.users.second_factor_roles = vec!["a b".to_owned()]);
        assert!(role.contains("[users] second_factor_roles"), "{role}");
    }
}
