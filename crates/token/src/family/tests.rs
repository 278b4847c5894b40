use tegata_core::{Epoch, SeededEntropy};

use super::*;
use crate::status::ListId;

const WINDOW: Duration = Duration::from_secs(10);

pub(crate) fn at(secs: u64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + secs)
}

pub(crate) fn access(number: u32) -> Access {
    let list = ListId { epoch: Epoch::FIRST, slot: 1, number: 0 };
    Access {
        jti: TokenId::new(&format!("1.t{number}")).unwrap(),
        iat: at(0).secs(),
        exp: at(900).secs(),
        scope: Scope::default(),
        audience: None,
        details: None,
        status: StatusIndex { list, index: number },
        kid: None,
    }
}

pub(crate) fn network(name: &str) -> Binding {
    Binding::Network { network: name.into(), agent: "Firefox/Linux".into() }
}

pub(crate) fn family() -> Family {
    Family {
        id: FamilyId::generate(Epoch::FIRST, at(30 * 86_400), &SeededEntropy::new(1)),
        client: ClientId::new("web").unwrap(),
        user: UserId::new("usr_1").unwrap(),
        session: None,
        began_in: None,
        salt: [7; 16],
        grant: Granted::default(),
        started: at(0),
        ends: at(30 * 86_400),
        idle_millis: 604_800_000,
        binding: network("home"),
        authority: 1,
        generation: 0,
        made: at(0),
        attempt: None,
        access: access(0),
        used: None,
        earlier: vec![],
        ended: None,
    }
}

/// A family that has been spent `times`, once an hour, last by `network("home")`.
fn spent(times: u32) -> Family {
    (1..=times).fold(family(), |family, time| {
        family.spend(access(time), network("home"), 1, at(3600 * u64::from(time))).0
    })
}

fn judge(
    family: &Family,
    generation: u32,
    binding: &Binding,
    authority: u64,
    when: Timestamp,
) -> Judgement {
    let client = ClientId::new("web").unwrap();
    family.judge(&Presentation {
        generation,
        client: &client,
        binding,
        attempt: None,
        authority,
        at: when,
        window: WINDOW,
    })
}

#[test]
fn the_current_generation_is_spent_wherever_its_holder_is() {
    let family = spent(3);
    assert_eq!(judge(&family, 3, &network("home"), 1, at(20_000)), Judgement::Spend);
    assert_eq!(judge(&family, 3, &network("train"), 2, at(20_000)), Judgement::Spend);
}

#[test]
fn a_key_bound_family_is_spent_by_its_key_alone() {
    let key = Binding::Key("a".into());
    let family = Family { binding: key.clone(), ..spent(3) };
    assert_eq!(judge(&family, 3, &key, 1, at(20_000)), Judgement::Spend);
    let others = [
        Binding::Key("b".into()),
        Binding::Client,
        Binding::ClientKey("a".into()),
        network("home"),
    ];
    for other in others {
        let judged = judge(&family, 3, &other, 1, at(20_000));
        assert_eq!(judged, Judgement::Refuse(Verdict::Unproven));
    }
}

#[test]
fn a_client_may_change_its_key_but_not_go_without() {
    let family = Family { binding: Binding::ClientKey("a".into()), ..spent(3) };
    for key in ["a", "b"] {
        let shown = Binding::ClientKey(key.into());
        assert_eq!(judge(&family, 3, &shown, 1, at(20_000)), Judgement::Spend);
    }
    for other in [Binding::Key("a".into()), Binding::Client, network("home")] {
        let judged = judge(&family, 3, &other, 1, at(20_000));
        assert_eq!(judged, Judgement::Refuse(Verdict::Unproven));
    }
    // A lost answer is bound to the key that asked for it: another has no use for it.
    let other = Binding::ClientKey("b".into());
    let stale = Judgement::Refuse(Verdict::Stale);
    assert_eq!(judge(&family, 2, &other, 1, family.made), stale);
}

#[test]
fn a_family_of_a_certificate_is_spent_with_it_alone_unless_its_client_proves_itself_by_another() {
    let own = |x5t: &str| Binding::Certificate(x5t.into());
    let renewed = |x5t: &str| Binding::ClientCertificate(x5t.into());
    let unproven = Judgement::Refuse(Verdict::Unproven);
    let family = |binding| Family { binding, ..spent(3) };
    let judged = |of: &Binding, by: &Binding| judge(&family(of.clone()), 3, by, 1, at(20_000));
    assert_eq!(judged(&own("a"), &own("a")), Judgement::Spend);
    for other in ["a", "b"] {
        assert_eq!(judged(&renewed("a"), &renewed(other)), Judgement::Spend);
    }
    let key = Binding::ClientKey("a".into());
    for other in [own("b"), renewed("a"), key.clone(), Binding::Client, network("home")] {
        assert_eq!(judged(&own("a"), &other), unproven, "{other:?}");
    }
    for other in [own("a"), key, Binding::Key("a".into()), Binding::Client, network("home")] {
        assert_eq!(judged(&renewed("a"), &other), unproven, "{other:?}");
    }
}

#[test]
fn a_lost_answer_is_given_again_to_the_same_holder_within_the_window() {
    let family = spent(3);
    let made = family.made;
    assert_eq!(judge(&family, 2, &network("home"), 1, made), Judgement::Replay);
    assert_eq!(judge(&family, 2, &network("home"), 1, made + WINDOW), Judgement::Replay);
    let late = made + WINDOW + Duration::from_millis(1);
    assert_eq!(judge(&family, 2, &network("home"), 1, late), Judgement::Reuse);
}

#[test]
fn somebody_else_or_other_permissions_within_the_window_are_stale_and_end_nothing() {
    let family = spent(3);
    let stale = Judgement::Refuse(Verdict::Stale);
    assert_eq!(judge(&family, 2, &network("elsewhere"), 1, family.made), stale);
    assert_eq!(judge(&family, 2, &Binding::Client, 1, family.made), stale);
    assert_eq!(judge(&family, 2, &network("home"), 2, family.made), stale);
}

#[test]
fn an_older_generation_is_reuse_whoever_presents_it_and_whenever() {
    let family = spent(3);
    for generation in [0, 1] {
        assert_eq!(judge(&family, generation, &network("home"), 1, family.made), Judgement::Reuse);
    }
}

#[test]
fn a_generation_that_was_never_made_is_reuse() {
    let family = spent(3);
    for generation in [4, 5, u32::MAX] {
        assert_eq!(judge(&family, generation, &network("home"), 1, family.made), Judgement::Reuse);
    }
}

#[test]
fn an_attempt_is_answered_again_however_late_and_to_nobody_else() {
    let family = Family { attempt: Some("mine".into()), ..spent(3) };
    let client = ClientId::new("web").unwrap();
    let judge = |generation, attempt, binding: &Binding, authority, after: u64, window| {
        family.judge(&Presentation {
            generation,
            client: &client,
            binding,
            attempt,
            authority,
            at: family.made + Duration::from_secs(after),
            window,
        })
    };
    let (home, mine) = (network("home"), Some("mine"));
    assert_eq!(judge(2, mine, &home, 1, 5, WINDOW), Judgement::Replay);
    assert_eq!(judge(2, mine, &home, 1, 3_600, WINDOW), Judgement::Renew);
    // What the person may do has changed since: the token before says what is no longer so.
    assert_eq!(judge(2, mine, &home, 2, 5, WINDOW), Judgement::Renew);
    // A clock that is behind is no reason to doubt it.
    let early = family.made - Duration::from_secs(300);
    let shown = Presentation {
        generation: 2,
        client: &client,
        binding: &home,
        attempt: mine,
        authority: 1,
        at: early,
        window: WINDOW,
    };
    assert_eq!(family.judge(&shown), Judgement::Replay);
    // A thief has the cookie, and not the name; or is elsewhere.
    for other in [None, Some(""), Some("other")] {
        assert_eq!(judge(2, other, &home, 1, 3_600, WINDOW), Judgement::Reuse);
    }
    let stale = Judgement::Refuse(Verdict::Stale);
    assert_eq!(judge(2, mine, &network("elsewhere"), 1, 3_600, WINDOW), stale);
    // It is of one generation alone, and nothing where nothing is answered again.
    assert_eq!(judge(1, mine, &home, 1, 5, WINDOW), Judgement::Reuse);
    assert_eq!(judge(2, mine, &home, 1, 5, Duration::ZERO), Judgement::Reuse);
    assert_eq!(judge(3, mine, &home, 1, 5, WINDOW), Judgement::Spend);
    let next = family.clone().spend(access(4), home.clone(), 1, at(20_000)).0;
    assert_eq!(next.attempt, None, "a generation has a name of its own");
}

#[test]
fn a_window_of_zero_answers_nothing_again() {
    let family = spent(3);
    let client = ClientId::new("web").unwrap();
    let judged = family.judge(&Presentation {
        generation: 2,
        client: &client,
        binding: &network("home"),
        attempt: None,
        authority: 1,
        at: family.made,
        window: Duration::ZERO,
    });
    assert_eq!(judged, Judgement::Reuse);
}

#[test]
fn a_clock_that_went_back_neither_kills_a_family_nor_opens_its_window() {
    let family = spent(3);
    let before = family.made - Duration::from_secs(300);
    let stale = Judgement::Refuse(Verdict::Stale);
    assert_eq!(judge(&family, 2, &network("home"), 1, before), stale);
    let a_little = family.made - Duration::from_secs(2);
    assert_eq!(judge(&family, 2, &network("home"), 1, a_little), Judgement::Replay);
    assert_eq!(judge(&family, 3, &network("home"), 1, before), Judgement::Spend);
}

#[test]
fn another_client_learns_nothing_and_ends_nothing() {
    let client = ClientId::new("other").unwrap();
    for generation in 0..5 {
        let judged = spent(3).judge(&Presentation {
            generation,
            client: &client,
            binding: &network("home"),
            attempt: None,
            authority: 1,
            at: at(20_000),
            window: WINDOW,
        });
        assert_eq!(judged, Judgement::Refuse(Verdict::Orphan));
    }
}

#[test]
fn expires_when_unused_and_at_its_end_however_much_it_is_used() {
    let expired = Judgement::Refuse(Verdict::Expired);
    let idle = family();
    let last = at(0) + Duration::from_millis(idle.idle_millis);
    assert_eq!(
        judge(&idle, 0, &network("home"), 1, last - Duration::from_millis(1)),
        Judgement::Spend
    );
    assert_eq!(judge(&idle, 0, &network("home"), 1, last), expired);
    let busy = Family { made: at(30 * 86_400 - 1), ..family() };
    assert_eq!(judge(&busy, 0, &network("home"), 1, at(30 * 86_400 - 1)), Judgement::Spend);
    assert_eq!(judge(&busy, 0, &network("home"), 1, at(30 * 86_400)), expired);
    let worn = Family { generation: u32::MAX, ..family() };
    assert_eq!(judge(&worn, u32::MAX, &network("home"), 1, at(1)), expired);
}

#[test]
fn what_has_ended_stays_ended_with_its_first_reason() {
    let ended = spent(3).end("logout", at(20_000)).end("reused", at(20_001));
    assert_eq!(ended.ended, Some(Ended { at: at(20_000), reason: "logout".into() }));
    for generation in 0..5 {
        let judged = judge(&ended, generation, &network("home"), 1, at(20_002));
        assert_eq!(judged, Judgement::Refuse(Verdict::Revoked));
    }
}

#[test]
fn remembers_the_access_tokens_that_live_and_lets_the_oldest_give_way() {
    let mut family = family();
    let mut given_way = vec![];
    for number in 1..=20 {
        let (next, gone) = family.spend(access(number), network("home"), 1, at(1));
        family = next;
        given_way.extend(gone.iter().map(|access| access.status.index));
    }
    assert_eq!(family.alive(at(2)).count(), MOST_ALIVE);
    assert_eq!(given_way, [0, 1, 2, 3, 4]);
    let (family, gone) = family.spend(access(21), network("home"), 1, at(900));
    assert!(gone.is_empty() && family.earlier.len() == 1);
    assert_eq!(family.alive(at(900)).count(), 0);
}
