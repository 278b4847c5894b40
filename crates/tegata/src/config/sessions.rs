//! How long browser sessions live, and what they are bound to.

use std::{fmt, time::Duration};

use serde::Deserialize;
use tegata_server::ApprovalProof;

use super::{Config, Span, mail::SecondFactors};

/// Browser sessions.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Sessions {
    /// The assurance level of NIST SP 800-63B-4 whose limits hold: `aal1`, `aal2` or `aal3`.
    pub(crate) preset: Option<Preset>,
    /// Without being used.
    idle: Option<Span>,
    /// Used or not.
    absolute: Option<Span>,
    /// How often the cookie's value changes.
    pub(crate) rotation: Span,
    /// How many a person may have.
    pub(crate) most: usize,
    /// Whether what browsers say of themselves is left out of account.
    pub(crate) danger_ignore_fingerprint: bool,
    /// Where people show once more that they are there, before they allow a device or a client:
    /// `shared_origin`, `always` or `danger_never`.
    pub(crate) approval_proof: ApprovalProof,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            preset: None,
            idle: None,
            absolute: None,
            rotation: Span::secs(300),
            most: 3,
            danger_ignore_fingerprint: false,
            approval_proof: ApprovalProof::default(),
        }
    }
}

/// An assurance level (NIST SP 800-63B-4 §2), with what it asks of sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Preset {
    /// §2.1.3: 30 days. It names no limit for sessions that are not used; ours is a week.
    Aal1,
    /// §2.2.3: 24 hours, and one without use. Two factors.
    Aal2,
    /// §2.3.3: 12 hours, and 15 minutes without use. Two factors, one of them hardware.
    Aal3,
}

impl Preset {
    const fn idle(self) -> Duration {
        Duration::from_secs(match self {
            Self::Aal1 => 7 * 86_400,
            Self::Aal2 => 3_600,
            Self::Aal3 => 900,
        })
    }

    const fn absolute(self) -> Duration {
        Duration::from_secs(match self {
            Self::Aal1 => 30 * 86_400,
            Self::Aal2 => 86_400,
            Self::Aal3 => 43_200,
        })
    }

    /// Whether everybody must have shown two factors.
    const fn needs_two(self) -> bool {
        matches!(self, Self::Aal2 | Self::Aal3)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aal1 => "aal1",
            Self::Aal2 => "aal2",
            Self::Aal3 => "aal3",
        })
    }
}

impl Sessions {
    /// For how long a session may go unused: 30 minutes, where nothing is said.
    pub(crate) fn idle(&self) -> Duration {
        let usual = self.preset.map_or(Duration::from_secs(1_800), Preset::idle);
        // A shorter life that is set by itself needs no shorter sleep beside it.
        self.idle.map_or_else(|| usual.min(self.absolute()), Span::get)
    }

    /// How long a session lives, used or not: a day, where nothing is said.
    pub(crate) fn absolute(&self) -> Duration {
        let usual = self.preset.map_or(Duration::from_secs(86_400), Preset::absolute);
        self.absolute.map_or(usual, Span::get)
    }
}

impl Config {
    pub(super) fn of_sessions(&self, found: &mut Vec<String>) {
        let sessions = &self.sessions;
        if sessions.idle() > sessions.absolute() {
            found.push("[sessions] idle is longer than absolute".to_owned());
        }
        if sessions.most == 0 {
            found.push("[sessions] most must be at least 1".to_owned());
        }
        let spans = [
            ("idle", sessions.idle()),
            ("absolute", sessions.absolute()),
            ("rotation", sessions.rotation.get()),
        ];
        for (name, _) in spans.into_iter().filter(|(_, span)| *span < Duration::from_secs(1)) {
            found.push(format!("[sessions] {name} must be at least 1s"));
        }
        let Some(preset) = sessions.preset else { return };
        for (name, set, most) in [
            ("idle", sessions.idle(), preset.idle()),
            ("absolute", sessions.absolute(), preset.absolute()),
        ] {
            if set > most {
                found.push(format!(
                    "[sessions] {name} is longer than the {} s that the preset `{preset}` allows; make \
                     it shorter, leave it out, or choose another preset",
                    most.as_secs()
                ));
            }
        }
        // Where what is known of its use is lost, a session may sleep for one rotation longer.
        let (rotation, third) = (sessions.rotation.get(), sessions.idle() / 3);
        if preset.needs_two() && rotation > third {
            found.push(format!(
                "[sessions] rotation is longer than a third of idle, {} s, which is the most with the \
                 preset `{preset}`; make it shorter, or choose `aal1`",
                third.as_secs()
            ));
        }
        if preset.needs_two() && self.users.second_factor != SecondFactors::Required {
            found.push(format!(
                "[sessions] preset `{preset}` is for people who have shown two factors; set \
                 `second_factor = \"required\"` in [users], or choose `aal1`"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Config, String) {
        let config: Config = toml::from_str(text).unwrap();
        let wrong = config.contradictions().join("\n");
        (config, wrong)
    }

    fn limits(text: &str) -> (u64, u64) {
        let (config, wrong) = read(text);
        assert_eq!(wrong, "", "{text}");
        (config.sessions.idle().as_secs(), config.sessions.absolute().as_secs())
    }

    const BOTH: &str = "[users]\nsecond_factor = \"required\"\n";

    #[test]
    fn presets_are_those_of_the_standard() {
        assert_eq!(limits(""), (1_800, 86_400));
        assert_eq!(limits("[sessions]\npreset = \"aal1\""), (604_800, 2_592_000));
        for (name, expected) in [("aal2", (3_600, 86_400)), ("aal3", (900, 43_200))] {
            let text = format!("{BOTH}[sessions]\npreset = \"{name}\"\n");
            assert_eq!(limits(&text), expected, "{name}");
        }
    }

    #[test]
    fn what_is_set_beside_a_preset_may_be_stricter() {
        let aal3 = format!("{BOTH}[sessions]\npreset = \"aal3\"");
        let text = format!("{aal3}\nidle = \"5m\"\nrotation = \"100s\"\nabsolute = \"8h\"");
        assert_eq!(limits(&text), (300, 28_800));
        let text = format!("{BOTH}[sessions]\npreset = \"aal2\"\nabsolute = \"30m\"");
        assert_eq!(limits(&text), (1_800, 1_800));
        for (set, word) in [
            ("preset = \"aal3\"\nidle = \"16m\"", "[sessions] idle is longer than the 900 s"),
            ("preset = \"aal3\"\nabsolute = \"13h\"", "[sessions] absolute is longer"),
            ("preset = \"aal2\"\nidle = \"2h\"", "preset `aal2` allows"),
            ("preset = \"aal1\"\nabsolute = \"31d\"", "choose another preset"),
        ] {
            let (_, wrong) = read(&format!("{BOTH}[sessions]\n{set}"));
            assert!(wrong.contains(word), "{set}: {wrong}");
        }
    }

    /// A session may sleep for one rotation longer than its limit.
    #[test]
    fn two_factors_need_a_rotation_that_is_short_beside_the_limit() {
        for (set, refused) in [
            ("preset = \"aal3\"\nrotation = \"301s\"", true),
            ("preset = \"aal3\"\nidle = \"5m\"", true),
            ("preset = \"aal2\"\nrotation = \"20m\"", false),
            ("preset = \"aal2\"\nrotation = \"1h\"", true),
            ("preset = \"aal1\"\nidle = \"5m\"", false),
            ("rotation = \"1h\"", false),
        ] {
            let (_, wrong) = read(&format!("{BOTH}[sessions]\n{set}"));
            assert_eq!(
                wrong.contains("rotation is longer than a third"),
                refused,
                "{set}: {wrong}"
            );
        }
    }

    #[test]
    fn two_factors_are_of_everybody() {
        for text in [
            "[sessions]\npreset = \"aal2\"",
            "[sessions]\npreset = \"aal3\"\n[users]\nsecond_factor_roles = [\"admin\"]",
        ] {
            let (_, wrong) = read(text);
            assert!(wrong.contains("second_factor = \"required\""), "{text}: {wrong}");
        }
        let unknown = toml::from_str::<Config>("[sessions]\npreset = \"aal4\"").unwrap_err();
        assert!(unknown.to_string().contains("aal4"), "{unknown}");
    }
}
