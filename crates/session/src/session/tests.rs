use proptest::prelude::*;
use tegata_core::{Epoch, SeededEntropy};

use super::*;
use crate::{binding::Part, fingerprint::Fingerprint};

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

fn home() -> Binding {
    Binding::of("192.0.2.1".parse().unwrap(), None)
}

fn elsewhere() -> Binding {
    Binding::of("203.0.113.1".parse().unwrap(), None)
}

fn session() -> Session {
    let ends = START + Limits::default().absolute;
    Session {
        id: SessionId::generate(Epoch::FIRST, ends, &SeededEntropy::new(1)),
        user: UserId::new("usr_1").unwrap(),
        salt: [0; 16],
        started: START,
        ends,
        idle_millis: 1_800_000,
        seen: START,
        binding: home(),
        fingerprint: Fingerprint::default(),
        generation: 0,
        made: START,
        handover: None,
        standing: Standing::default(),
        data: BTreeMap::new(),
        ended: None,
    }
}

fn judge(session: &Session, generation: u32, binding: &Binding, after: u64) -> Judgement {
    let at = START + Duration::from_secs(after);
    let fingerprint = &Fingerprint::default();
    let shown = Shown { generation, binding, fingerprint, at, rotates: true, vouched: false };
    session.judge(&shown, &Limits::default())
}

fn at(seconds: u64) -> Timestamp {
    START + Duration::from_secs(seconds)
}

#[test]
fn only_the_latest_before_the_current_one_is_handed_over() {
    let twice = session().rotate(at(300)).confirm(at(301)).rotate(at(600));
    assert_eq!(judge(&twice, 2, &home(), 601), Judgement::Confirm);
    assert_eq!(judge(&twice, 1, &home(), 601), Judgement::Repeat);
    let superseded = Judgement::Refuse(Verdict::Superseded);
    assert_eq!(judge(&twice, 0, &home(), 601), superseded);
    assert_eq!(judge(&twice, 0, &elsewhere(), 601), Judgement::Replay);
    assert_eq!(judge(&twice, 3, &home(), 601), Judgement::Replay);
}

#[test]
fn a_value_whose_successor_was_never_used_shows_no_thief() {
    let lost = session().rotate(at(300));
    let superseded = Judgement::Refuse(Verdict::Superseded);
    assert_eq!(judge(&lost, 0, &home(), 361), superseded);
    let bound = Judgement::Refuse(Verdict::Bound(Part::Network));
    assert_eq!(judge(&lost, 0, &elsewhere(), 361), bound);
}

#[test]
fn a_value_that_is_vouched_for_works_until_its_successor_is_used() {
    let judge = |session: &Session, generation, binding: &Binding, after| {
        let (fingerprint, at) = (&Fingerprint::default(), at(after));
        let shown = Shown { generation, binding, fingerprint, at, rotates: true, vouched: true };
        session.judge(&shown, &Limits::default())
    };
    let lost = session().rotate(at(300));
    assert_eq!(judge(&lost, 0, &home(), 1_500), Judgement::Repeat);
    let risen = session().rise(0, Standing::default(), at(350));
    assert_eq!(judge(&risen, 0, &home(), 1_500), Judgement::Lower);
    let superseded = Judgement::Refuse(Verdict::Superseded);
    assert_eq!(judge(&lost.clone().confirm(at(301)), 0, &home(), 302), superseded);
    // Nothing vouches for another browser.
    let bound = Judgement::Refuse(Verdict::Bound(Part::Network));
    assert_eq!(judge(&lost, 0, &elsewhere(), 1_500), bound);
}

#[test]
fn a_rise_does_not_put_off_the_end_of_a_handover() {
    let risen = session().rotate(at(300)).rise(0, Standing::default(), at(350));
    assert_eq!(judge(&risen, 0, &home(), 355), Judgement::Lower);
    assert_eq!(judge(&risen, 1, &home(), 360), Judgement::Lower);
    for generation in [0, 1] {
        let superseded = Judgement::Refuse(Verdict::Superseded);
        assert_eq!(judge(&risen, generation, &home(), 361), superseded);
    }
    assert_eq!(judge(&risen, 2, &home(), 500), Judgement::Confirm);
}

#[test]
fn an_end_is_final_and_keeps_its_first_reason() {
    let ended = session().end(&Reason::Logout, at(5)).end(&Reason::Limit, at(6));
    assert_eq!(ended.ended, Some(Ended { at: at(5), reason: "logout".into() }));
    assert_eq!(judge(&ended, 0, &home(), 7), Judgement::Refuse(Verdict::Ended));
    assert_eq!(judge(&ended, 0, &elsewhere(), 7), Judgement::Refuse(Verdict::Ended));
}

#[test]
fn the_last_generation_is_the_end() {
    let mut last = session();
    last.generation = u32::MAX - 1;
    let over = last.rotate(at(300));
    assert_eq!(judge(&over, u32::MAX, &home(), 301), Judgement::Refuse(Verdict::Expired));
}

#[test]
fn a_cookie_is_taken_only_from_those_who_cannot_use_it() {
    assert!(Verdict::Ended.is_final() && Verdict::Expired.is_final());
    assert!(!Verdict::Superseded.is_final() && !Verdict::Bound(Part::Network).is_final());
}

/// What may be done to a session.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    /// Presented by its browser, so many generations back.
    Present(u32),
    /// The same, with the proof of a rise.
    Raise(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0_u64..400).prop_map(Step::Wait),
        (0_u32..4).prop_map(Step::Present),
        (0_u32..3).prop_map(Step::Raise),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn whatever_happens_few_values_are_good_and_not_for_long(steps in steps()) {
        let limits = Limits::default();
        let (mut session, mut after) = (session(), 0);
        for step in steps {
            let (back, rises) = match step {
                Step::Wait(seconds) => {
                    after += seconds;
                    continue;
                }
                Step::Present(back) => (back, false),
                Step::Raise(back) => (back, true),
            };
            let generation = session.generation.saturating_sub(back);
            let judgement = judge(&session, generation, &home(), after);
            let before = session.clone();
            session = match judgement {
                Judgement::Refuse(_) | Judgement::Replay => session,
                _ if rises => {
                    let elevated_until = Some(at(after + 300));
                    let standing = Standing { elevated_until, ..Standing::default() };
                    session.rise(generation, standing, at(after))
                }
                Judgement::Rotate => session.rotate(at(after)),
                Judgement::Confirm => session.confirm(at(after)),
                Judgement::Lower => session.lower(at(after)),
                Judgement::Serve | Judgement::Repeat | Judgement::Hold => session,
            };
            // Generations only grow, by one at a time.
            prop_assert!(session.generation - before.generation <= 1);
            // What is given to a holder of an earlier value may do no more than that value.
            if matches!(judgement, Judgement::Repeat | Judgement::Lower) && !rises {
                prop_assert_eq!(session.standing_of(generation), &session.standing);
            }
            let good = |generation: u32, after: u64| {
                !matches!(
                    judge(&session, generation, &home(), after),
                    Judgement::Refuse(_) | Judgement::Replay
                )
            };
            // When the handover is over, one value is good: the current one.
            let later = after + limits.handover.as_secs() + 1;
            if !session.is_over(at(later), &Limits::default()) {
                prop_assert!(good(session.generation, later));
                for old in 0..session.generation {
                    prop_assert!(!good(old, later), "generation {} at {}", old, later);
                }
            }
            // And no value is good from elsewhere, whenever.
            for generation in 0..=session.generation {
                let judged = judge(&session, generation, &elsewhere(), after);
                prop_assert!(matches!(judged, Judgement::Refuse(_) | Judgement::Replay));
            }
        }
    }
}
