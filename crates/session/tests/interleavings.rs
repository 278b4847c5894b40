//! Every interleaving of a browser's requests around one session, walked to the end.
//!
//! The steps are those of the real thing: send the value that the jar holds; load the record;
//! judge, and commit by compare-and-set; receive the answer and its cookie, or lose it. The judging
//! is the real code. What must hold is checked at every step of every interleaving, and a walk over
//! a store that does not compare versions shows that the checks can fail.

#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    time::Duration,
};

use tegata_core::{Epoch, SeededEntropy, SessionId, Timestamp, UserId};
use tegata_session::{
    Binding, Fingerprint, Limits, Reason, Session, Standing, Verdict,
    session::{Judgement, Shown},
};

const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// A browser, or a thief with a copy of its cookie.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Jar {
    binding: Binding,
    fingerprint: Fingerprint,
    /// The generation that its cookie is of.
    holds: u32,
    honest: bool,
}

/// Requests from one jar, one after the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Lane {
    jar: usize,
    /// How many more requests there are.
    wants: u32,
    /// How many more answers may get lost.
    losable: u32,
    /// Whether its requests prove a rise.
    raises: bool,
    at: At,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    Ready,
    /// On its way, with a value of this generation.
    Sent(u32),
    /// It has loaded this version. `sunk`: what must not be served any more to whoever loads now.
    Loaded {
        shown: u32,
        version: usize,
        sunk: Sunk,
    },
    /// The answer is on its way, with a value of this generation.
    Answered(Result<Option<u32>, (u32, Verdict)>),
    Done,
}

/// What has gone for good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Sunk {
    /// All generations before this one.
    before: u32,
    /// The session.
    all: bool,
}

#[derive(Clone)]
struct World {
    jars: Vec<Jar>,
    lanes: Vec<Lane>,
    /// Somebody will end the session: the version in their hands, once they have loaded it.
    ender: Option<Option<usize>>,
    /// How much time may yet pass at once, in order.
    pauses: Vec<Duration>,
    now: Timestamp,
    version: usize,
    /// Every version the record has had.
    history: Vec<Session>,
    /// Who made each generation.
    made: BTreeMap<u32, usize>,
    sunk: Sunk,
    /// Which verdicts the walk has come across.
    met: BTreeSet<&'static str>,
    compares_versions: bool,
}

type Violation = String;

impl World {
    /// A session that is about to be due for rotation.
    fn new(jars: Vec<Jar>, lanes: Vec<Lane>) -> Self {
        Self {
            jars,
            lanes,
            ender: None,
            pauses: vec![],
            now: START + limits().rotation,
            version: 0,
            history: vec![session()],
            made: BTreeMap::new(),
            sunk: Sunk::default(),
            met: BTreeSet::new(),
            compares_versions: true,
        }
    }

    fn record(&self) -> &Session {
        &self.history[self.version]
    }

    /// All worlds that one step can lead to.
    fn next(&self) -> Result<Vec<Self>, Violation> {
        let mut worlds = vec![];
        for lane in 0..self.lanes.len() {
            self.step(lane, &mut worlds)?;
        }
        match self.ender {
            Some(None) => {
                let mut world = self.clone();
                world.ender = Some(Some(self.version));
                worlds.push(world);
            }
            Some(Some(version)) => {
                let mut world = self.clone();
                let ended = self.history[version].clone().end(&Reason::Logout, self.now);
                let won = world.commit(version, ended);
                world.ender = if won { None } else { Some(None) };
                world.sunk.all |= won;
                worlds.push(world);
            }
            None => {}
        }
        if !self.pauses.is_empty() && self.lanes.iter().any(|it| it.at != At::Done) {
            let mut world = self.clone();
            world.now = world.now + world.pauses.remove(0);
            worlds.push(world);
        }
        Ok(worlds)
    }

    fn step(&self, index: usize, worlds: &mut Vec<Self>) -> Result<(), Violation> {
        let lane = &self.lanes[index];
        let mut world = self.clone();
        match lane.at.clone() {
            At::Done => return Ok(()),
            At::Ready => world.lanes[index].at = At::Sent(self.jars[lane.jar].holds),
            At::Sent(shown) => {
                let (version, sunk) = (self.version, self.sunk);
                world.lanes[index].at = At::Loaded { shown, version, sunk };
            }
            At::Loaded { shown, version, sunk } => {
                let answer = world.decide(index, shown, version, sunk)?;
                world.lanes[index].at = answer.map_or(At::Sent(shown), At::Answered);
            }
            At::Answered(answer) => {
                if lane.losable > 0 {
                    let mut lost = self.clone();
                    lost.lanes[index].losable -= 1;
                    lost.lanes[index].end_one();
                    worlds.push(lost);
                }
                match answer {
                    // An answer is given a cookie only while it is the newest.
                    Ok(Some(given)) if given == self.record().generation => {
                        world.jars[lane.jar].holds = given;
                    }
                    Ok(_) => {}
                    Err((shown, verdict)) => {
                        world.met.insert(verdict.name());
                        self.check_refusal(&self.jars[lane.jar], shown, verdict)?;
                    }
                }
                world.lanes[index].end_one();
            }
        }
        worlds.push(world);
        Ok(())
    }

    /// Judges and commits. `None`: the commit was refused, so it is loaded again.
    #[expect(clippy::type_complexity, reason = "an answer, as the step before keeps it")]
    fn decide(
        &mut self,
        index: usize,
        shown: u32,
        version: usize,
        sunk: Sunk,
    ) -> Result<Option<Result<Option<u32>, (u32, Verdict)>>, Violation> {
        let lane = self.lanes[index].clone();
        let jar = self.jars[lane.jar].clone();
        let found = self.history[version].clone();
        let judgement = found.judge(&as_shown(shown, &jar, self.now), &limits());
        let (next, gives) = match judgement {
            Judgement::Refuse(verdict) => return Ok(Some(Err((shown, verdict)))),
            Judgement::Replay => {
                let ended = found.end(&Reason::Replayed, self.now);
                let won = self.commit(version, ended);
                self.sunk.all |= won;
                return Ok(won.then_some(Err((shown, Verdict::Replayed))));
            }
            _ if sunk.all || shown < sunk.before => {
                return Err(format!("generation {shown} came back to life"));
            }
            _ if lane.raises => {
                let elevated_until = Some(self.now + Duration::from_secs(300));
                let standing = Standing { elevated_until, ..found.standing.clone() };
                (found.clone().rise(shown, standing, self.now), true)
            }
            Judgement::Rotate => (found.clone().rotate(self.now), true),
            Judgement::Lower => (found.clone().lower(self.now), true),
            Judgement::Confirm => (found.clone().confirm(self.now), false),
            Judgement::Repeat => (found.clone(), true),
            Judgement::Serve | Judgement::Hold => (found.clone(), false),
        };
        if next != found && !self.commit(version, next.clone()) {
            return Ok(None);
        }
        if next.generation != found.generation
            && let Some(other) = self.made.insert(next.generation, index)
        {
            return Err(format!("lanes {other} and {index} made generation {}", next.generation));
        }
        if shown == next.generation || next.handover.is_none() {
            self.sunk.before = self.sunk.before.max(shown);
        }
        let proven = lane.raises && next.generation != found.generation;
        let seen_as = if proven { next.generation } else { shown };
        if !jar.honest && next.standing_of(seen_as).is_elevated(self.now) {
            return Err("a thief was served what only the owner has proven".to_owned());
        }
        self.check_values()?;
        Ok(Some(Ok(gives.then_some(next.generation))))
    }

    fn commit(&mut self, expected: usize, next: Session) -> bool {
        let won = expected == self.version || !self.compares_versions;
        if won {
            self.history.push(next);
            self.version = self.history.len() - 1;
        }
        won
    }

    /// Whether a value is good at a moment, for a browser.
    fn is_good(&self, jar: &Jar, generation: u32, at: Timestamp) -> bool {
        let judgement = self.record().judge(&as_shown(generation, jar, at), &limits());
        !matches!(judgement, Judgement::Refuse(_) | Judgement::Replay)
    }

    /// Whatever happens from here, only one value is good when the handover is over.
    fn check_values(&self) -> Result<(), Violation> {
        let record = self.record();
        let later = self.now + limits().handover + Duration::from_millis(1);
        let good = (0..=record.generation).filter(|it| self.is_good(&self.jars[0], *it, later));
        let good: Vec<_> = good.collect();
        if good.len() <= 1 { Ok(()) } else { Err(format!("{good:?} are good for too long")) }
    }

    /// An honest browser is refused only what it need not have sent: it holds a better value.
    fn check_refusal(&self, jar: &Jar, shown: u32, verdict: Verdict) -> Result<(), Violation> {
        let thieves = self.jars.iter().any(|it| !it.honest);
        let excused = !jar.honest
            || self.sunk.all
            || thieves
            || (verdict == Verdict::Superseded && jar.holds > shown);
        if excused { Ok(()) } else { Err(format!("generation {shown} was refused: {verdict}")) }
    }

    fn key(&self) -> String {
        // Versions in hand matter by what they say, not by their number.
        let in_hand: Vec<_> = self
            .lanes
            .iter()
            .map(|it| match &it.at {
                At::Loaded { shown, version, sunk } => {
                    let is_current = *version == self.version;
                    let held = &self.history[*version];
                    format!("{shown} {is_current} {sunk:?} {}", state(held, self.now))
                }
                at => format!("{at:?}"),
            })
            .collect();
        let lanes: Vec<_> = self.lanes.iter().map(|it| (it.wants, it.losable)).collect();
        let holds: Vec<_> = self.jars.iter().map(|it| it.holds).collect();
        let ender = self.ender.map(|it| it.map(|version| version == self.version));
        let record = state(self.record(), self.now);
        let left = self.pauses.len();
        format!("{in_hand:?} {lanes:?} {holds:?} {ender:?} {record} {left} {:?}", self.sunk)
    }
}

impl Lane {
    fn end_one(&mut self) {
        self.wants -= 1;
        self.at = if self.wants == 0 { At::Done } else { At::Ready };
    }
}

fn state(session: &Session, now: Timestamp) -> String {
    let Session { generation, handover, standing, ended, .. } = session;
    let handover = handover.as_ref().map(|it| (it.from, now.since(it.since), &it.before));
    let (age, ended) = (now.since(session.made), ended.is_some());
    format!("{generation} {age:?} {handover:?} {:?} {ended}", standing.elevated_until)
}

fn as_shown(generation: u32, jar: &Jar, at: Timestamp) -> Shown<'_> {
    let (binding, fingerprint) = (&jar.binding, &jar.fingerprint);
    Shown { generation, binding, fingerprint, at, rotates: true, vouched: false }
}

/// What a walk came across.
struct Walked {
    worlds: usize,
    verdicts: BTreeSet<&'static str>,
}

/// Walks every interleaving from `start`; `last` is asked about every world in which nothing more
/// can happen.
fn walk(start: World, last: &dyn Fn(&World) -> Result<(), Violation>) -> Result<Walked, Violation> {
    let mut seen = HashSet::new();
    let mut verdicts = BTreeSet::new();
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        if !seen.insert(world.key()) {
            continue;
        }
        verdicts.extend(&world.met);
        let next = world.next()?;
        if next.is_empty() {
            last(&world)?;
        }
        open.extend(next);
        assert!(seen.len() < 2_000_000, "the model has grown too large to walk");
    }
    Ok(Walked { worlds: seen.len(), verdicts })
}

fn limits() -> Limits {
    Limits::default()
}

fn jar(address: &str, honest: bool) -> Jar {
    let binding = Binding::of(address.parse().unwrap(), None);
    Jar { binding, fingerprint: Fingerprint::default(), holds: 0, honest }
}

fn owner() -> Jar {
    jar("192.0.2.1", true)
}

fn lane(jar: usize, wants: u32, losable: u32) -> Lane {
    Lane { jar, wants, losable, raises: false, at: At::Ready }
}

fn raising(jar: usize, wants: u32, losable: u32) -> Lane {
    Lane { raises: true, ..lane(jar, wants, losable) }
}

fn session() -> Session {
    let ends = START + limits().absolute;
    Session {
        id: SessionId::generate(Epoch::FIRST, ends, &SeededEntropy::new(1)),
        user: UserId::new("usr_1").unwrap(),
        salt: [0; 16],
        started: START,
        ends,
        idle_millis: 1_800_000,
        seen: START,
        binding: owner().binding,
        fingerprint: Fingerprint::default(),
        generation: 0,
        made: START,
        handover: None,
        standing: Standing::default(),
        data: BTreeMap::new(),
        ended: None,
    }
}

/// The owner's next request is served, and leaves them with the one value that will do from then on.
fn owner_goes_on(world: &World) -> Result<(), Violation> {
    let owner = &world.jars[0];
    let at = world.now + Duration::from_secs(11);
    let session = world.record().clone();
    let next = match session.judge(&as_shown(owner.holds, owner, at), &limits()) {
        Judgement::Serve => (session, owner.holds),
        Judgement::Confirm => (session.confirm(at), owner.holds),
        Judgement::Repeat | Judgement::Lower => (session.clone(), session.generation),
        Judgement::Rotate => (session.clone().rotate(at), session.generation + 1),
        other => return Err(format!("{other:?} for generation {}: {session:?}", owner.holds)),
    };
    let (session, holds) = next;
    if holds == session.generation { Ok(()) } else { Err(format!("{holds}: {session:?}")) }
}

fn nothing_more(_: &World) -> Result<(), Violation> {
    Ok(())
}

#[test]
fn parallel_requests_and_lost_answers_sign_nobody_out() {
    let lanes = vec![lane(0, 2, 1), lane(0, 2, 2), lane(0, 1, 1), lane(0, 1, 0)];
    let walked = walk(World::new(vec![owner()], lanes), &owner_goes_on).unwrap();
    assert!(walked.worlds > 10_000, "{}", walked.worlds);
    // What is refused at all was overtaken by a newer value of the same browser.
    assert!(walked.verdicts.iter().all(|it| *it == "superseded"), "{:?}", walked.verdicts);
}

#[test]
fn every_answer_may_be_lost_within_the_handover() {
    let mut world = World::new(vec![owner()], vec![lane(0, 6, 6)]);
    world.pauses = vec![Duration::from_secs(16); 3];
    walk(world, &owner_goes_on).unwrap();
}

#[test]
fn a_rise_signs_nobody_out_whatever_is_lost() {
    let mut world = World::new(vec![owner()], vec![raising(0, 2, 2), lane(0, 1, 1), lane(0, 2, 0)]);
    world.pauses = vec![Duration::from_secs(11); 2];
    let walked = walk(world, &owner_goes_on).unwrap();
    assert!(walked.worlds > 10_000, "{}", walked.worlds);
}

#[test]
fn a_rise_is_of_no_use_to_a_thief_in_the_same_network() {
    let thief = jar("192.0.2.66", false);
    let lanes = vec![raising(0, 1, 1), lane(0, 1, 0), lane(1, 3, 0)];
    let mut world = World::new(vec![owner(), thief], lanes);
    world.pauses = vec![Duration::from_secs(11); 2];
    let walked = walk(world, &nothing_more).unwrap();
    assert!(walked.worlds > 10_000, "{}", walked.worlds);
}

#[test]
fn a_thief_elsewhere_is_never_served_and_can_only_end_the_session() {
    let thief = jar("203.0.113.66", false);
    let mut world =
        World::new(vec![owner(), thief], vec![lane(0, 2, 1), lane(0, 1, 1), lane(1, 2, 0)]);
    world.pauses = vec![Duration::from_secs(61)];
    let no_gain = |world: &World| {
        let thief = &world.jars[1];
        if thief.holds == 0 { Ok(()) } else { Err(format!("{thief:?}")) }
    };
    let walked = walk(world, &no_gain).unwrap();
    assert!(walked.verdicts.contains("bound"), "{:?}", walked.verdicts);
    assert!(walked.verdicts.contains("replayed"), "{:?}", walked.verdicts);
}

#[test]
fn nothing_is_served_to_whoever_begins_after_the_end() {
    let lanes = vec![lane(0, 2, 1), lane(0, 2, 0), raising(0, 1, 1)];
    let mut world = World::new(vec![owner()], lanes);
    world.ender = Some(None);
    let ended = |world: &World| {
        let ended = world.record().ended.is_some();
        if ended { Ok(()) } else { Err("the end was lost".to_owned()) }
    };
    let walked = walk(world, &ended).unwrap();
    assert!(walked.verdicts.contains("ended"), "{:?}", walked.verdicts);
}

#[test]
fn the_walk_finds_what_a_store_without_comparison_does_wrong() {
    let mut world = World::new(vec![owner()], vec![lane(0, 2, 1), lane(0, 2, 0)]);
    world.compares_versions = false;
    assert!(walk(world.clone(), &owner_goes_on).is_err());

    world.ender = Some(None);
    let ended = |world: &World| {
        let ended = world.record().ended.is_some();
        if ended { Ok(()) } else { Err("the end was lost".to_owned()) }
    };
    assert!(walk(world, &ended).is_err());
}
