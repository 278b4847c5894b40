use proptest::prelude::*;
use tegata_core::{Epoch, Secret, SeededEntropy, Timestamp};

use super::*;

const FIREFOX: (&str, &str) = ("en-US,en;q=0.5", "gzip, deflate, br");
const DESK: &str = "screen=1920x1080x24,tz=Europe/Berlin,plugins=5f0a31c2";

fn traits((language, codings): (&str, &str), hints: Option<&str>) -> Traits {
    let hints: Vec<_> = hints.into_iter().map(str::as_bytes).collect();
    Traits::of(&Said {
        language: &[language.as_bytes()],
        codings: &[codings.as_bytes()],
        hints: &hints,
        range: false,
    })
}

struct Place {
    keys: Keys,
    sid: SessionId,
}

impl Place {
    fn new(seed: u64) -> Self {
        let ends = Timestamp::from_secs(1_767_225_600);
        let sid = SessionId::generate(Epoch::FIRST, ends, &SeededEntropy::new(seed));
        Self { keys: Keys::of_root(Secret::new([7; 32])), sid }
    }

    fn keep(&self, traits: &Traits) -> Fingerprint {
        Fingerprint::new(&self.keys, &Realm::default(), (&self.sid, &[1; 16]), traits)
    }

    fn shown(&self, kept: &Fingerprint, traits: &Traits) -> Fingerprint {
        kept.of(&self.keys, &Realm::default(), (&self.sid, &[1; 16]), traits)
    }

    /// In which part `later` differs from what signed in.
    fn differs(&self, first: &Traits, later: &Traits) -> Option<Part> {
        let kept = self.keep(first);
        kept.difference(&self.shown(&kept, later))
    }
}

#[test]
fn an_update_is_not_a_thief() {
    let place = Place::new(1);
    let before = traits(FIREFOX, Some(DESK));
    for after in [
        ("en-US,en;q=0.9", "gzip, deflate, br, zstd"),
        ("en-us", "zstd, br, deflate, gzip, dcb, dcz"),
        ("en-US, ja;q=0.8, en;q=0.1", "gzip;q=1.0,deflate"),
    ] {
        assert_eq!(place.differs(&before, &traits(after, Some(DESK))), None, "{after:?}");
        assert_eq!(place.differs(&before, &traits(after, None)), None, "{after:?}");
    }
}

#[test]
fn one_part_of_six_may_differ_and_two_may_not() {
    let place = Place::new(1);
    let own = traits(FIREFOX, Some(DESK));
    let docked = "screen=2560x1440x24,tz=Europe/Berlin,plugins=5f0a31c2";
    let elsewhere = "screen=2560x1440x24,tz=Asia/Tokyo,plugins=5f0a31c2";
    assert_eq!(place.differs(&own, &traits(FIREFOX, Some(docked))), None);
    assert_eq!(place.differs(&own, &traits(FIREFOX, Some(elsewhere))), Some(Part::Screen));
    let japanese = ("ja,en;q=0.5", "gzip, deflate, br");
    assert_eq!(place.differs(&own, &traits(japanese, Some(DESK))), None);
    assert_eq!(place.differs(&own, &traits(japanese, Some(docked))), Some(Part::AcceptLanguage));
}

/// 2 of 3 are 66 %, 3 of 4 are 75 %, 4 of 5 are 80 %, 4 of 6 are 66 %.
#[test]
fn the_share_is_of_what_both_sides_say() {
    let place = Place::new(1);
    let japanese = ("ja", "gzip, deflate, br");
    for (hints, refused) in [
        (None, true),
        (Some("tz=UTC"), false),
        (Some("tz=UTC,screen=1x1x8"), false),
        (Some(DESK), false),
    ] {
        let differs = place.differs(&traits(FIREFOX, hints), &traits(japanese, hints));
        assert_eq!(differs.is_some(), refused, "{hints:?}");
    }
}

#[test]
fn whoever_leaves_hints_out_must_be_right_in_all_that_is_left() {
    let place = Place::new(1);
    let own = traits(FIREFOX, Some(DESK));
    assert_eq!(place.differs(&own, &traits(FIREFOX, None)), None);
    let thief = traits(("en-GB,en", "gzip, deflate, br"), None);
    assert_eq!(place.differs(&own, &thief), Some(Part::AcceptLanguage));
    let thief = traits(("en-US", "gzip"), None);
    assert_eq!(place.differs(&own, &thief), Some(Part::AcceptEncoding));
}

/// The time zone follows from the network, and films are asked for without a coding.
#[test]
fn a_hint_that_is_guessed_makes_up_for_nothing() {
    let place = Place::new(1);
    let own = traits(FIREFOX, Some(DESK));
    let english = ("en-GB,en", "gzip, deflate, br");
    for guessed in ["tz=Europe/Berlin", "tz=Europe/Berlin,screen=1920x1080x24"] {
        let thief = traits(english, Some(guessed));
        assert_eq!(place.differs(&own, &thief), Some(Part::AcceptLanguage), "{guessed}");
        let hints: &[&[u8]] = &[guessed.as_bytes()];
        let thief = Traits::of(&Said { hints, range: true, ..Said::default() });
        assert_eq!(place.differs(&own, &thief), Some(Part::AcceptLanguage), "{guessed}");
    }
    // Against whoever sends it, it counts.
    let (worker, elsewhere) = ("tz=Europe/Berlin", "tz=Asia/Tokyo,screen=1x1x8");
    assert_eq!(place.differs(&own, &traits(FIREFOX, Some(elsewhere))), Some(Part::Screen));
    // A worker knows no screen: what every browser says is enough, and needed.
    assert_eq!(place.differs(&own, &traits(FIREFOX, Some(worker))), None);
}

#[test]
fn whoever_differs_enrols_no_hints() {
    let place = Place::new(1);
    let kept = place.keep(&traits(FIREFOX, Some("tz=Europe/Berlin")));
    let thief = traits(("en-GB", "gzip, deflate, br"), Some(DESK));
    let shown = place.shown(&kept, &thief);
    // It is 3 of 4.
    assert_eq!(kept.difference(&shown), None);
    assert_eq!(kept.learn(&shown), kept);
    let owner = place.shown(&kept, &traits(FIREFOX, Some(DESK)));
    assert_eq!(kept.learn(&owner), place.keep(&traits(FIREFOX, Some(DESK))));
}

#[test]
fn what_browsers_always_send_is_missed() {
    let place = Place::new(1);
    let own = traits(FIREFOX, None);
    let bare = Traits::of(&Said::default());
    assert_eq!(place.differs(&own, &bare), Some(Part::AcceptLanguage));
    let half = Traits::of(&Said { language: &[b"en-US"], ..Said::default() });
    assert_eq!(place.differs(&own, &half), Some(Part::AcceptEncoding));
    // Hints beside it do not make up for it.
    let hints = Traits::of(&Said { hints: &[DESK.as_bytes()], ..Said::default() });
    let kept = place.keep(&traits(FIREFOX, Some(DESK)));
    assert!(kept.difference(&place.shown(&kept, &hints)).is_some());
}

#[test]
fn of_what_a_program_signed_in_with_nothing_is_concluded() {
    let place = Place::new(1);
    let curl = Traits::of(&Said::default());
    for later in [&curl, &traits(FIREFOX, None), &traits(FIREFOX, Some(DESK))] {
        assert_eq!(place.differs(&curl, later), None);
    }
    let requests = Traits::of(&Said { codings: &[b"gzip, deflate"], ..Said::default() });
    assert_eq!(place.differs(&requests, &curl), None);
    // That is what a record of an older release comes to.
    assert_eq!(Fingerprint::default(), place.keep(&curl).learn(&Fingerprint::default()).unrooted());
}

#[test]
fn a_film_is_asked_for_without_coding() {
    let place = Place::new(1);
    let film = |range| {
        let codings: &[&[u8]] = &[b"identity;q=1, *;q=0"];
        Traits::of(&Said { language: &[b"en-US"], codings, hints: &[], range })
    };
    assert_eq!(place.differs(&traits(FIREFOX, None), &film(true)), None);
    assert_eq!(place.differs(&traits(FIREFOX, None), &film(false)), Some(Part::AcceptEncoding));
}

#[test]
fn hints_are_learnt_once_and_learning_replaces_none() {
    let place = Place::new(1);
    let kept = place.keep(&traits(FIREFOX, None));
    let learnt = kept.learn(&place.shown(&kept, &traits(FIREFOX, Some(DESK))));
    assert_ne!(learnt, kept);
    let other = "screen=800x600x24,tz=Asia/Tokyo,plugins=00000000";
    let shown = place.shown(&learnt, &traits(FIREFOX, Some(other)));
    assert_eq!(learnt.learn(&shown), learnt);
    assert_eq!(learnt.difference(&shown), Some(Part::Screen));
    // What every browser sends is not learnt: a session without it began without it.
    let program = place.keep(&Traits::default());
    let shown = place.shown(&program, &traits(FIREFOX, None));
    assert_eq!(program.learn(&shown).unrooted(), program.unrooted());
}

#[test]
fn one_hint_that_is_another_is_followed_and_nothing_else() {
    let place = Place::new(1);
    let kept = place.keep(&traits(FIREFOX, Some(DESK)));
    let followed = |said: &Traits| kept.follow(&place.shown(&kept, said));
    let elsewhere = "screen=1920x1080x24,tz=Asia/Tokyo,plugins=5f0a31c2";
    assert_eq!(
        followed(&traits(FIREFOX, Some(elsewhere))),
        place.keep(&traits(FIREFOX, Some(elsewhere)))
    );
    let japanese = ("ja", "gzip, deflate, br");
    for other in [
        traits(FIREFOX, Some("screen=1x1x8,tz=Asia/Tokyo,plugins=5f0a31c2")),
        traits(japanese, Some(DESK)),
        traits(japanese, Some(elsewhere)),
        // Of what is left out nobody knows whether it is the same.
        traits(FIREFOX, Some("tz=Asia/Tokyo")),
        traits(FIREFOX, None),
        Traits::default(),
    ] {
        assert_eq!(followed(&other), kept, "{other:?}");
    }
    // With fewer parts, one may already be too many; and whoever differs enrols none that is not known.
    let few =
        place.keep(&Traits::of(&Said { hints: &[b"screen=1x1x8,tz=UTC"], ..Said::default() }));
    let shown = Traits::of(&Said { hints: &[b"screen=1x1x8,tz=Asia/Tokyo"], ..Said::default() });
    assert_eq!(few.follow(&place.shown(&few, &shown)), few);
    let kept = place.keep(&traits(FIREFOX, Some("screen=1920x1080x24,tz=Europe/Berlin")));
    let all = kept.follow(&place.shown(&kept, &traits(FIREFOX, Some(elsewhere))));
    let without = "screen=1920x1080x24,tz=Asia/Tokyo";
    assert_eq!(all, place.keep(&traits(FIREFOX, Some(without))));
}

#[test]
fn a_rise_remembers_what_was_said_with_it() {
    let place = Place::new(1);
    let kept = place.keep(&traits(FIREFOX, Some(DESK)));
    let moved = traits(FIREFOX, Some("screen=2560x1440x24"));
    let renewed = kept.renew(&place.shown(&kept, &moved));
    let all = "screen=2560x1440x24,tz=Europe/Berlin,plugins=5f0a31c2";
    assert_eq!(renewed, place.keep(&traits(FIREFOX, Some(all))));
}

#[test]
fn malformed_hints_say_nothing() {
    let place = Place::new(1);
    let none = place.keep(&traits(FIREFOX, None));
    for bad in [
        "",
        "screen",
        "screen=",
        "screen=1920x1080",
        "screen=1920x1080x24x1",
        "screen=-1x1x1",
        "screen=192000x1080x24",
        "screen=1920x1080x24,screen=1920x1080x24",
        "tz=Europe/Berlin,",
        "tz=Europe Berlin",
        "tz=\u{1f600}",
        "plugins=5F0A31C2",
        "plugins=5f0a",
        "colour=24",
        "screen=1920x1080x24;tz=UTC",
    ] {
        assert_eq!(place.keep(&traits(FIREFOX, Some(bad))), none, "{bad:?}");
    }
    let long = format!("tz=UTC,plugins={}", "a".repeat(LONGEST));
    assert_eq!(place.keep(&traits(FIREFOX, Some(&long))), none);
    let twice = Said {
        language: &[b"en-US"],
        codings: &[b"gzip, deflate"],
        hints: &[b"tz=UTC", b"tz=UTC"],
        range: false,
    };
    assert_eq!(place.keep(&Traits::of(&twice)), none);
}

#[test]
fn what_is_kept_tells_nothing_and_is_of_one_session() {
    let (place, other) = (Place::new(1), Place::new(2));
    let own = traits(FIREFOX, Some(DESK));
    assert_ne!(place.keep(&own), other.keep(&own));
    let stored = serde_json::to_string(&place.keep(&own)).unwrap();
    assert!(
        !stored.contains("Berlin") && !stored.contains("1920") && stored.len() < 64,
        "{stored}"
    );
    assert_eq!(format!("{own:?}"), "Traits(5 of 5)");
}

/// Records outlive the program that wrote them.
#[test]
fn is_stored_as_it_always_was() {
    let kept = Place::new(1).keep(&traits(FIREFOX, Some("tz=UTC")));
    let json = serde_json::to_value(kept).unwrap();
    assert_eq!(json["root"], 1);
    let parts = json["parts"].as_array().unwrap();
    let known: Vec<_> = parts.iter().map(|part| part.is_u64()).collect();
    assert_eq!(known, [true, true, false, true, false]);
    assert_eq!(serde_json::from_value::<Fingerprint>(json).unwrap(), kept);
}

#[test]
fn without_its_root_secret_nobody_is_taken_for_the_same() {
    let place = Place::new(1);
    let kept = place.keep(&traits(FIREFOX, None));
    let without = Keys::new(2, |number, _| {
        (number == 2).then(|| hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]))
    });
    let of = (&place.sid, &[1_u8; 16][..]);
    let shown = kept.of(&without, &Realm::default(), of, &traits(FIREFOX, None));
    assert!(kept.difference(&shown).is_some());
}

impl Fingerprint {
    fn unrooted(self) -> Self {
        Self { root: 0, ..self }
    }
}

proptest! {
    /// Whatever comes is read, and the same is always the same.
    #[test]
    fn reads_whatever_comes(
        language in proptest::collection::vec(any::<u8>(), 0..600),
        codings in proptest::collection::vec(any::<u8>(), 0..600),
        hints in proptest::collection::vec(any::<u8>(), 0..600),
        range in any::<bool>(),
    ) {
        let said =
            Said { language: &[&language], codings: &[&codings], hints: &[&hints], range };
        let (place, traits) = (Place::new(1), Traits::of(&said));
        prop_assert_eq!(place.differs(&traits, &traits), None);
    }
}
