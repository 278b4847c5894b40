//! How long browser sessions live, and what they are bound to.

use std::{fmt, time::Duration};

use serde::Deserialize;
use tegata_server::ApprovalProof;
use tegata_session::Limits;

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
    /// How many a person may have: 1 to 100.
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

/// The most that one person may be allowed: each sign-in reads all that they have.
const MOST: usize = 100;

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

    /// What holds for every session.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            absolute: self.absolute(),
            idle: self.idle(),
            rotation: self.rotation.get(),
            most: self.most,
            danger_ignore_fingerprint: self.danger_ignore_fingerprint,
            ..Limits::default()
        }
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
        if sessions.most > MOST {
            found.push(format!(
                "[sessions] most is {}, and may be {MOST} at most: every sign-in looks at all sessions \
                 that its person has; set it to what one person needs",
                sessions.most
            ));
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
    use std::sync::Arc;

    use tegata_core::{
        Batch, BoxFuture, CommitRefused, Custody, Epoch, Kind, ManualClock, Node, Realm, Records,
        Secret, SeededEntropy, UserId,
    };
    use tegata_session::{
        Beginning, Binding, Ending, Endings, KINDS, Keys, Presentation, Session, SessionRefused,
        Standing, Traits, Verdict,
    };
    use tegata_store::{FileCustody, MemoryEphemeral, MemoryRecords, Sealed, sealed::DATA_KEYS};

    use super::*;

    fn read(text: &str) -> (Config, String) {
        let config: Config = toml::from_str(text).unwrap();
        let wrong = config.contradictions().join("\n");
        (config, wrong)
    }

    fn lives(text: &str) -> (u64, u64) {
        let (config, wrong) = read(text);
        assert_eq!(wrong, "", "{text}");
        (config.sessions.idle().as_secs(), config.sessions.absolute().as_secs())
    }

    const BOTH: &str = "[users]\nsecond_factor = \"required\"\n";

    #[test]
    fn presets_are_those_of_the_standard() {
        assert_eq!(lives(""), (1_800, 86_400));
        assert_eq!(lives("[sessions]\npreset = \"aal1\""), (604_800, 2_592_000));
        for (name, expected) in [("aal2", (3_600, 86_400)), ("aal3", (900, 43_200))] {
            let text = format!("{BOTH}[sessions]\npreset = \"{name}\"\n");
            assert_eq!(lives(&text), expected, "{name}");
        }
    }

    #[test]
    fn what_is_set_beside_a_preset_may_be_stricter() {
        let aal3 = format!("{BOTH}[sessions]\npreset = \"aal3\"");
        let text = format!("{aal3}\nidle = \"5m\"\nrotation = \"100s\"\nabsolute = \"8h\"");
        assert_eq!(lives(&text), (300, 28_800));
        let text = format!("{BOTH}[sessions]\npreset = \"aal2\"\nabsolute = \"30m\"");
        assert_eq!(lives(&text), (1_800, 1_800));
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

    #[test]
    fn nobody_may_have_more_sessions_than_a_sign_in_can_look_at() {
        for (most, refused) in [("100", false), ("101", true), ("18446744073709551615", true)] {
            let (_, wrong) = read(&format!("[sessions]\nmost = {most}"));
            assert_eq!(wrong.contains("may be 100 at most"), refused, "{most}: {wrong}");
        }
    }

    /// Nothing ends by a revocation here.
    struct Unending(Arc<dyn Records>);

    impl Endings for Unending {
        fn has_ended(&self, _: &Realm, _: &Session) -> bool {
            false
        }

        fn has_changed(&self, _: &Realm, _: &Session) -> bool {
            false
        }

        fn is_current(&self) -> bool {
            true
        }

        fn commit(&self, batch: Batch, _: Vec<Ending>) -> BoxFuture<'_, Result<(), CommitRefused>> {
            self.0.commit(batch)
        }
    }

    /// One browser, signed in where these settings hold.
    struct Lived {
        clock: Arc<ManualClock>,
        realm: Realm,
        sessions: tegata_session::Sessions,
        value: String,
    }

    impl Lived {
        async fn under(limits: Limits) -> Self {
            let clock = Arc::new(ManualClock::default());
            let node = Node::with(clock.clone(), Arc::new(SeededEntropy::new(1)));
            let kinds: Vec<&'static Kind> = KINDS.into_iter().chain([&DATA_KEYS]).collect();
            let bare = Arc::new(MemoryRecords::new(&kinds, clock.clone()).unwrap());
            let key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
            let custody: Arc<dyn Custody> =
                Arc::new(FileCustody::from_text(key, "the test", &node).unwrap());
            let records: Arc<dyn Records> =
                Arc::new(Sealed::open(bare, custody, &node).await.unwrap());
            let sessions = tegata_session::Sessions::new(
                node,
                Epoch::FIRST,
                records.clone(),
                Arc::new(MemoryEphemeral::new(clock.clone())),
                Keys::of_root(Secret::new([7; 32])),
                Arc::new(Unending(records)),
                limits,
            );
            let realm = Realm::default();
            let beginning = Beginning {
                user: UserId::new("usr_1").unwrap(),
                binding: binding(),
                traits: Traits::default(),
                standing: Standing::default(),
                address: None,
                replaces: None,
            };
            let begun = sessions.begin(&realm, &beginning).await.unwrap();
            Self { clock, realm, sessions, value: begun.cookie.expose().clone() }
        }

        /// Loads a page after this time; answers whether it was served.
        async fn after(&mut self, span: Duration) -> bool {
            self.clock.advance(span);
            let traits = Traits::default();
            let binding = binding();
            let shown = Presentation {
                value: &self.value,
                binding: &binding,
                traits: &traits,
                rotates: true,
            };
            match self.sessions.present(&self.realm, &shown).await {
                Ok(passage) => {
                    self.value =
                        passage.cookie.map_or(self.value.clone(), |it| it.expose().clone());
                    true
                }
                Err(SessionRefused::Verdict(Verdict::Expired)) => false,
                Err(other) => panic!("{other}"),
            }
        }
    }

    fn binding() -> Binding {
        Binding::of("192.0.2.1".parse().unwrap(), Some(b"Mozilla/5.0 (X11; Linux) Firefox/140.0"))
    }

    /// Each preset, as somebody lives with it: at work all the time until it is over, and away for as long
    /// as it allows, and longer.
    #[tokio::test]
    async fn a_session_lives_as_long_as_its_preset_says_and_no_longer() {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        for preset in ["", "preset = \"aal1\"", "preset = \"aal2\"", "preset = \"aal3\""] {
            let (config, wrong) = read(&format!("{BOTH}[sessions]\n{preset}\n"));
            assert_eq!(wrong, "", "{preset}");
            let limits = config.sessions.limits();
            let (idle, absolute) = (limits.idle, limits.absolute);

            let mut busy = Lived::under(limits.clone()).await;
            let step = idle - minute;
            let steps = (absolute - second).as_secs() / step.as_secs();
            for _ in 0..steps {
                assert!(busy.after(step).await, "{preset}");
            }
            let rest = absolute - second - step * u32::try_from(steps).unwrap();
            assert!(busy.after(rest).await, "{preset}: to its last second");
            assert!(!busy.after(second).await, "{preset}: and not one more");

            let mut away = Lived::under(limits.clone()).await;
            assert!(away.after(idle - second).await, "{preset}");
            assert!(away.after(idle - second).await, "{preset}: each use counts anew");
            // The minute that may not have been written down is the person's.
            assert!(!away.after(idle + minute).await, "{preset}");
            assert!(!away.after(second).await, "{preset}: nothing wakes it again");
        }
    }
}
