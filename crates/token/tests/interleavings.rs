//! Every interleaving of a few presenters and a revoker around one family, walked to the end.
//!
//! The steps are those of the real thing: load the record; judge, and commit by compare-and-set;
//! receive the answer, or lose it and try again. The judging is the real code. What must hold is
//! checked at every step of every interleaving, and a walk over a store that does not compare
//! versions shows that the checks can fail.

#![cfg(test)]

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use tegata_core::{ClientId, Epoch, FamilyId, SeededEntropy, Timestamp, TokenId, UserId};
use tegata_token::{
    Binding, Family, ListId, Scope, StatusIndex, Verdict,
    family::{Access, Granted, Judgement, Presentation},
};

const WINDOW: Duration = Duration::from_secs(10);
const START: Timestamp = Timestamp::from_secs(1_767_225_600);

/// Someone who holds a refresh token and presents it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Presenter {
    binding: Binding,
    /// The generation whose token they hold.
    holds: u32,
    /// How many more refreshes they want.
    wants: u32,
    /// How many more answers may get lost on the way to them.
    losable: u32,
    at: At,
    refused: Option<Verdict>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum At {
    /// About to load.
    Start,
    /// Has loaded this version. `after_end`: the family had ended by then.
    Loaded {
        version: u64,
        after_end: bool,
    },
    /// The answer is on its way.
    Answered(Result<u32, Verdict>),
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Revoker {
    Start,
    Loaded(u64),
    Done,
}

#[derive(Clone)]
struct World {
    presenters: Vec<Presenter>,
    revoker: Option<Revoker>,
    /// Time can pass the window this many more times.
    pauses: u32,
    now: Timestamp,
    version: u64,
    /// Every version the record has had: what a loader that was slow still has in its hands.
    history: Vec<Family>,
    /// Which access token each generation has.
    minted: BTreeMap<u32, TokenId>,
    /// Who was given each generation.
    given: BTreeMap<u32, HashSet<Binding>>,
    compares_versions: bool,
}

type Violation = String;

impl World {
    fn new(presenters: Vec<Presenter>) -> Self {
        let family = family();
        Self {
            presenters,
            revoker: None,
            pauses: 0,
            now: START,
            version: 0,
            minted: [(0, family.access.jti.clone())].into(),
            history: vec![family],
            given: BTreeMap::new(),
            compares_versions: true,
        }
    }

    fn record(&self) -> &Family {
        &self.history[usize::try_from(self.version).unwrap()]
    }

    /// All worlds that one step can lead to.
    fn next(&self) -> Result<Vec<Self>, Violation> {
        let mut worlds = vec![];
        for index in 0..self.presenters.len() {
            self.step(index, &mut worlds)?;
        }
        match self.revoker {
            Some(Revoker::Start) => {
                let mut world = self.clone();
                world.revoker = Some(Revoker::Loaded(self.version));
                worlds.push(world);
            }
            Some(Revoker::Loaded(version)) => {
                let mut world = self.clone();
                let ended = self.at_version(version).clone().end("revoked", self.now);
                let won = world.commit(version, ended);
                world.revoker = Some(if won { Revoker::Done } else { Revoker::Start });
                worlds.push(world);
            }
            Some(Revoker::Done) | None => {}
        }
        if self.pauses > 0 && self.presenters.iter().any(|it| it.at != At::Done) {
            let mut world = self.clone();
            world.pauses -= 1;
            world.now = world.now + WINDOW + Duration::from_secs(1);
            worlds.push(world);
        }
        Ok(worlds)
    }

    fn at_version(&self, version: u64) -> &Family {
        &self.history[usize::try_from(version).unwrap()]
    }

    fn step(&self, index: usize, worlds: &mut Vec<Self>) -> Result<(), Violation> {
        let presenter = &self.presenters[index];
        match presenter.at.clone() {
            At::Done => {}
            At::Start => {
                let mut world = self.clone();
                let after_end = self.record().ended.is_some();
                world.presenters[index].at = At::Loaded { version: self.version, after_end };
                worlds.push(world);
            }
            At::Loaded { version, after_end } => {
                let mut world = self.clone();
                let answer = world.decide(index, version)?;
                world.presenters[index].at = answer.map_or(At::Start, At::Answered);
                if let At::Answered(Ok(generation)) = &world.presenters[index].at {
                    if after_end {
                        return Err(format!("generation {generation} came back to life"));
                    }
                    world.note(*generation, &presenter.binding)?;
                }
                worlds.push(world);
            }
            At::Answered(answer) => {
                if presenter.losable > 0 {
                    let mut world = self.clone();
                    let losing = &mut world.presenters[index];
                    (losing.losable, losing.at) = (losing.losable - 1, At::Start);
                    worlds.push(world);
                }
                let mut world = self.clone();
                let receiving = &mut world.presenters[index];
                match answer {
                    Ok(generation) => {
                        receiving.holds = generation;
                        receiving.wants -= 1;
                        receiving.at = if receiving.wants == 0 { At::Done } else { At::Start };
                    }
                    Err(verdict) => {
                        receiving.refused = Some(verdict);
                        receiving.at = At::Done;
                    }
                }
                worlds.push(world);
            }
        }
        Ok(())
    }

    /// Judges and commits. `None`: the commit was refused, so the presenter loads again.
    fn decide(
        &mut self,
        index: usize,
        version: u64,
    ) -> Result<Option<Result<u32, Verdict>>, Violation> {
        let presenter = self.presenters[index].clone();
        let family = self.at_version(version).clone();
        let judgement = family.judge(&Presentation {
            generation: presenter.holds,
            client: &family.client,
            binding: &presenter.binding,
            attempt: None,
            authority: 1,
            at: self.now,
            window: WINDOW,
        });
        Ok(match judgement {
            Judgement::Refuse(verdict) => Some(Err(verdict)),
            Judgement::Replay | Judgement::Renew => Some(Ok(family.generation)),
            Judgement::Reuse => {
                let ended = family.end("reused", self.now);
                self.commit(version, ended).then_some(Err(Verdict::Reused))
            }
            Judgement::Spend => {
                // Every attempt mints its own access token, as every node does.
                let jti = format!("1.g{}p{index}v{}", family.generation + 1, self.history.len());
                let access = access(&jti);
                let binding = presenter.binding;
                let (next, _) = family.spend(access.clone(), binding, 1, self.now);
                let generation = next.generation;
                if !self.commit(version, next) {
                    return Ok(None);
                }
                if let Some(other) = self.minted.insert(generation, access.jti) {
                    return Err(format!(
                        "generation {generation} was made twice: {other} and {jti}"
                    ));
                }
                Some(Ok(generation))
            }
        })
    }

    fn commit(&mut self, expected: u64, next: Family) -> bool {
        let won = expected == self.version || !self.compares_versions;
        if won {
            self.history.push(next);
            self.version = u64::try_from(self.history.len() - 1).unwrap();
        }
        won
    }

    /// Notes who is given a generation: never two holders that are not the same.
    fn note(&mut self, generation: u32, binding: &Binding) -> Result<(), Violation> {
        let holders = self.given.entry(generation).or_default();
        holders.insert(binding.clone());
        if holders.len() > 1 {
            return Err(format!("two holders were given generation {generation}"));
        }
        Ok(())
    }

    fn key(&self) -> String {
        let record = self.record();
        // Versions in hand matter by what they say, not by their number.
        let in_hand: Vec<_> = self
            .presenters
            .iter()
            .map(|it| match &it.at {
                At::Loaded { version, .. } => Some((
                    *version == self.version,
                    self.at_version(*version).generation,
                    self.at_version(*version).ended.is_some(),
                )),
                _ => None,
            })
            .collect();
        let presenters: Vec<_> = self
            .presenters
            .iter()
            .map(|it| {
                (
                    it.holds,
                    it.wants,
                    it.losable,
                    &it.refused,
                    match &it.at {
                        At::Start => "start".to_owned(),
                        At::Loaded { after_end, .. } => format!("loaded {after_end}"),
                        At::Answered(answer) => format!("{answer:?}"),
                        At::Done => "done".to_owned(),
                    },
                )
            })
            .collect();
        let revoker = self.revoker.as_ref().map(|it| match it {
            Revoker::Start => "start",
            Revoker::Loaded(version) if *version == self.version => "current",
            Revoker::Loaded(_) => "old",
            Revoker::Done => "done",
        });
        let pending = self.now.since(record.made);
        format!(
            "{presenters:?} {in_hand:?} {revoker:?} {} {:?} {pending:?} {:?} {:?} {:?}",
            self.pauses,
            record.generation,
            record.binding,
            record.ended.is_some(),
            self.given
        )
    }
}

/// Walks every interleaving from `start`; `last` is asked about every world in which nothing more
/// can happen. Answers how many worlds there were.
fn walk(start: World, last: &dyn Fn(&World) -> Result<(), Violation>) -> Result<usize, Violation> {
    let mut seen = HashSet::new();
    let mut open = vec![start];
    while let Some(world) = open.pop() {
        if !seen.insert(world.key()) {
            continue;
        }
        let next = world.next()?;
        if next.is_empty() {
            last(&world)?;
        }
        open.extend(next);
        assert!(seen.len() < 3_000_000, "the model has grown too large to walk");
    }
    Ok(seen.len())
}

fn presenter(place: &str, wants: u32, losable: u32) -> Presenter {
    let binding = Binding::Network { network: place.into(), agent: "Firefox/Linux".into() };
    Presenter { binding, holds: 0, wants, losable, at: At::Start, refused: None }
}

fn access(jti: &str) -> Access {
    let list = ListId { epoch: Epoch::FIRST, slot: 1, number: 0 };
    Access {
        jti: TokenId::new(jti).unwrap(),
        iat: START.secs(),
        exp: START.secs() + 900,
        scope: Scope::default(),
        audience: None,
        details: None,
        status: StatusIndex { list, index: 0 },
        kid: None,
    }
}

fn family() -> Family {
    let ends = START + Duration::from_secs(30 * 86_400);
    Family {
        id: FamilyId::generate(Epoch::FIRST, ends, &SeededEntropy::new(1)),
        client: ClientId::new("web").unwrap(),
        user: UserId::new("usr_1").unwrap(),
        session: None,
        began_in: None,
        salt: [0; 16],
        grant: Granted::default(),
        started: START,
        ends,
        idle_millis: 604_800_000,
        binding: presenter("home", 1, 0).binding,
        attempt: None,
        authority: 1,
        generation: 0,
        made: START,
        access: access("1.first"),
        used: None,
        earlier: vec![],
        ended: None,
    }
}

fn nothing_more(_: &World) -> Result<(), Violation> {
    Ok(())
}

#[test]
fn tabs_of_one_browser_lose_nobody_whatever_is_lost_on_the_way() {
    // Three tabs refresh at once; two answers may be lost for each; nobody waits past the window.
    let tabs = vec![presenter("home", 1, 2), presenter("home", 1, 2), presenter("home", 1, 2)];
    let all_served = |world: &World| {
        let served = world.presenters.iter().all(|it| it.refused.is_none() && it.holds == 1);
        let alive = world.record().ended.is_none();
        if served && alive { Ok(()) } else { Err(format!("{:?}", world.presenters)) }
    };
    let worlds = walk(World::new(tabs), &all_served).unwrap();
    assert!(worlds > 500, "{worlds}");
}

#[test]
fn an_honest_client_alone_is_never_refused_while_it_retries_within_the_window() {
    let world = World::new(vec![presenter("home", 4, 4)]);
    let kept = |world: &World| {
        let presenter = &world.presenters[0];
        if presenter.refused.is_none() && presenter.holds == 4 {
            Ok(())
        } else {
            Err(format!("{presenter:?}"))
        }
    };
    walk(world, &kept).unwrap();
}

#[test]
fn a_thief_and_the_owner_never_both_go_on() {
    // Both have generation 0 and go on as long as they can, with pauses longer than the window.
    let mut world = World::new(vec![presenter("home", 3, 1), presenter("elsewhere", 3, 1)]);
    world.pauses = 2;
    let parted = |world: &World| {
        let finished = world.presenters.iter().filter(|it| it.refused.is_none()).count();
        if finished <= 1 { Ok(()) } else { Err(format!("{:?}", world.presenters)) }
    };
    let worlds = walk(world, &parted).unwrap();
    assert!(worlds > 5_000, "{worlds}");
}

#[test]
fn nothing_is_answered_to_whoever_begins_after_a_revocation() {
    let mut world = World::new(vec![
        presenter("home", 2, 1),
        presenter("home", 2, 1),
        presenter("elsewhere", 2, 0),
    ]);
    world.revoker = Some(Revoker::Start);
    world.pauses = 1;
    let ended = |world: &World| {
        let ended = world.record().ended.is_some();
        if ended { Ok(()) } else { Err("the revocation was lost".to_owned()) }
    };
    let worlds = walk(world, &ended).unwrap();
    assert!(worlds > 50_000, "{worlds}");
}

#[test]
fn the_walk_finds_what_a_store_without_comparison_does_wrong() {
    let mut world = World::new(vec![presenter("home", 2, 1), presenter("elsewhere", 2, 0)]);
    world.compares_versions = false;
    let violation = walk(world.clone(), &nothing_more).unwrap_err();
    assert!(violation.contains("twice") || violation.contains("two holders"), "{violation}");

    world.presenters = vec![presenter("home", 2, 0)];
    world.revoker = Some(Revoker::Start);
    let ended = |world: &World| {
        if world.record().ended.is_some() { Ok(()) } else { Err("lost".to_owned()) }
    };
    assert_eq!(walk(world, &ended).unwrap_err(), "lost");
}
