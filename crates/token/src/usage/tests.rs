use tegata_core::{ManualClock, SeededEntropy};

use super::*;

/// Nodes on one clock, and what becomes of what they tell.
struct World {
    clock: Arc<ManualClock>,
    nodes: Vec<Usage>,
    chance: u64,
}

impl World {
    fn of(nodes: u64, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        let node = |n| Node::with(clock.clone(), Arc::new(SeededEntropy::new(seed * 100 + n)));
        let nodes = (0..nodes).map(|n| Usage::new(node(n))).collect();
        Self { clock, nodes, chance: seed | 1 }
    }

    fn any(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    /// Ten seconds pass; everybody tells, and is heard by whom `reaches` says.
    fn round(&mut self, reaches: impl Fn(&mut Self, usize, usize) -> bool) {
        self.clock.advance(FLUSHED);
        for from in 0..self.nodes.len() {
            for message in self.nodes[from].flush() {
                for to in 0..self.nodes.len() {
                    if to != from && reaches(self, from, to) {
                        self.nodes[to].hear(&message);
                    }
                }
            }
        }
    }
}

fn use_now(node: &Usage, jti: &str, service: &str) {
    node.used(jti, &service.into(), node.node.now());
}

#[test]
fn two_halves_that_were_apart_come_to_know_the_same() {
    for seed in 1..40 {
        let mut world = World::of(4, seed);
        let mut uses = [0_u64; 5];
        let mut work = |world: &mut World| {
            for _ in 0..world.any(30) {
                let node = usize::try_from(world.any(4)).unwrap();
                let token = world.any(5);
                if world.any(15) == 0 {
                    world.nodes[node].refused(&format!("1.{token}"));
                } else {
                    uses[usize::try_from(token).unwrap()] += 1;
                    let name = if world.any(2) == 0 { "orders" } else { "carts" };
                    use_now(&world.nodes[node], &format!("1.{token}"), name);
                }
            }
        };
        // Apart, and messages are lost within the halves too.
        for _ in 0..world.any(20) {
            work(&mut world);
            world.round(|world, from, to| from / 2 == to / 2 && world.any(3) > 0);
        }
        // Together again, in silence, for as long as the pause may be by then; one in three is lost.
        for _ in 0..200 {
            world.round(|world, _, _| world.any(3) > 0);
        }
        for (token, uses) in uses.iter().enumerate() {
            let known: Vec<_> =
                world.nodes.iter().map(|node| node.of(&format!("1.{token}"))).collect();
            assert!(known.iter().all(|it| *it == known[0]), "seed {seed}: {known:?}");
            let total = known[0].as_ref().map_or(0, |it| it.usage_count.total());
            assert_eq!(total, *uses, "seed {seed}");
        }
    }
}

#[test]
fn what_is_told_is_little_where_nothing_happens() {
    let mut world = World::of(2, 3);
    for token in 0..100 {
        use_now(&world.nodes[0], &format!("1.{token}"), "orders");
    }
    let mut told = 0;
    for _ in 0..180 {
        world.clock.advance(FLUSHED);
        told += world.nodes[0].flush().len();
    }
    // Half an hour: after 0, 10, 30, 70, 150, 310, 630 and 1,270 s, in two messages each.
    assert_eq!(told, 16);
    world.round(|_, _, _| true);
}

#[test]
fn the_last_service_is_that_of_the_last_use_whoever_noted_it() {
    let mut world = World::of(2, 5);
    use_now(&world.nodes[0], "1.a", "orders");
    world.round(|_, _, _| true);
    // Another node, whose use is later because it has heard of the first.
    use_now(&world.nodes[1], "1.a", "carts");
    world.round(|_, _, _| true);
    for node in &world.nodes {
        let known = node.of("1.a").unwrap();
        assert_eq!(known.service.get().map(String::as_str), Some("carts"));
        assert_eq!((known.usage_count.total(), known.usage_count.processes()), (2, 2));
        assert!(!known.revoked.is_raised());
    }
    world.nodes[0].refused("1.a");
    world.round(|_, _, _| true);
    assert!(world.nodes[1].of("1.a").unwrap().revoked.is_raised());
}

#[test]
fn an_hour_after_its_last_use_a_token_is_forgotten_everywhere() {
    let mut world = World::of(2, 7);
    use_now(&world.nodes[0], "1.a", "orders");
    world.round(|_, _, _| true);
    let late = world.nodes[0].flush();
    for _ in 0..359 {
        world.round(|_, _, _| true);
        assert!(world.nodes.iter().any(|node| node.of("1.a").is_some()) || late.is_empty());
    }
    for _ in 0..3 {
        world.round(|_, _, _| true);
    }
    assert!(world.nodes.iter().all(|node| node.of("1.a").is_none()));
}

#[test]
fn what_is_not_ours_changes_nothing_and_memory_is_bounded() {
    let world = World::of(1, 9);
    let node = &world.nodes[0];
    for bytes in [&b""[..], b"nonsense", &[0x92; 300], &vec![0; LONGEST + 1]] {
        node.hear(bytes);
    }
    assert_eq!(node.held.lock().len(), 0);
    for token in 0..2 * MOST {
        use_now(node, &format!("1.{token}"), "orders");
    }
    assert!(!node.flush().is_empty());
    assert!(node.held.lock().len() <= MOST);
    // Who is known is noted all the same.
    let known = node.held.lock().iter().next().unwrap().0.to_owned();
    use_now(node, &known, "orders");
    let _ = node.flush();
    assert_eq!(node.of(&known).unwrap().usage_count.total(), 2);
}

fn origin(of: Option<&str>, first: Option<&str>) -> Origin {
    Origin {
        at: Timestamp::from_secs(1_767_225_600),
        how: "token_exchange".into(),
        client: "orders".into(),
        sub: "usr_1".into(),
        audience: vec!["payments".into()],
        of: of.map(str::to_owned),
        first: first.map(str::to_owned),
        ..Origin::default()
    }
}

#[test]
fn where_tokens_came_from_and_were_used_is_known_everywhere_and_at_once_where_it_was_noted() {
    let mut world = World::of(2, 3);
    let [here, there] = world.nodes.as_slice() else { panic!() };
    here.issued("1.b", origin(Some("1.a"), Some("1.a")));
    there.issued("1.c", origin(Some("1.b"), Some("1.a")));
    use_now(here, "1.a", "orders");
    use_now(there, "1.a", "carts");
    let derived =
        |node: &Usage| node.derived_from("1.a").into_iter().map(|(jti, _)| jti).collect::<Vec<_>>();
    assert_eq!((derived(here), derived(there)), (vec!["1.b".to_owned()], vec!["1.c".to_owned()]));
    assert_eq!(here.of("1.a").unwrap().usage_count.total(), 1);
    for _ in 0..2 {
        world.round(|_, _, _| true);
    }
    for node in &world.nodes {
        assert_eq!(derived(node), ["1.b", "1.c"]);
        assert_eq!(node.derived_from("1.b").len(), 1);
        let state = node.of("1.a").unwrap();
        assert_eq!(state.usage_count.total(), 2);
        assert_eq!(state.services.keys().collect::<Vec<_>>(), ["carts", "orders"]);
    }
    // Nobody used them for an hour.
    world.clock.advance(KEPT);
    let _ = world.nodes[0].flush();
    assert_eq!(world.nodes[0].of("1.b"), None);
    assert_eq!(derived(&world.nodes[0]), Vec::<String>::new());
}

/// However much is known of each token: a message that is too long is not looked at.
#[test]
fn no_message_is_longer_than_what_is_looked_at() {
    let world = World::of(1, 4);
    let long = "a service whose name is far too long".repeat(20);
    for token in 0..200 {
        for number in 0..100 {
            use_now(&world.nodes[0], &format!("1.{token}"), &format!("{long}-{number}"));
        }
    }
    let messages = world.nodes[0].flush();
    assert!(messages.len() > 4 && messages.iter().all(|message| message.len() <= LONGEST));
    let other = World::of(1, 5);
    messages.iter().for_each(|message| other.nodes[0].hear(message));
    for token in 0..200 {
        let state = other.nodes[0].of(&format!("1.{token}")).unwrap();
        assert_eq!(state.usage_count.total(), 100);
        assert_eq!(state.services.len(), MOST_SERVICES);
    }
}

/// What a node of an earlier version tells has neither services nor an origin.
#[test]
fn what_an_earlier_version_tells_is_heard() {
    #[derive(Serialize)]
    struct Before {
        revoked: Flag,
        last_used: Greatest<Timestamp>,
        usage_count: Count,
        service: Register<String>,
    }
    #[derive(Serialize)]
    struct ToldBefore {
        at: Hybrid,
        states: Vec<(String, Before)>,
    }
    let world = World::of(2, 6);
    use_now(&world.nodes[0], "1.a", "orders");
    let state = world.nodes[0].of("1.a").unwrap();
    let TokenUse { revoked, last_used, usage_count, service, .. } = state;
    let before = Before { revoked, last_used, usage_count, service };
    let told = ToldBefore { at: Hybrid::default(), states: vec![("1.a".to_owned(), before)] };
    world.nodes[1].hear(&repository::encode(FORM, &told));
    assert_eq!(world.nodes[1].of("1.a").unwrap().usage_count.total(), 1);
}

/// However many tokens services get and never show, the uses of others count, and what was issued last is
/// known.
#[test]
fn what_is_issued_and_never_shown_takes_no_place_from_what_is() {
    let world = World::of(2, 8);
    let [here, there] = world.nodes.as_slice() else { panic!() };
    let at = |secs: usize| {
        let at = Timestamp::from_secs(1_767_225_600 + u64::try_from(secs).unwrap());
        Origin { at, ..origin(None, None) }
    };
    // As many as come in minutes, in rounds as they would.
    for round in 0..10 {
        for token in 0..MOST / 10 {
            here.issued(&format!("1.{round}-{token}"), at(round));
        }
        let told = here.flush();
        // Enough for more than what is kept.
        if round > 6 {
            told.iter().for_each(|message| there.hear(message));
            let _ = there.flush();
        }
    }
    for node in [here, there] {
        assert_eq!(node.held.lock().len(), MOST_UNUSED);
        let kept = |round| {
            let named = (0..MOST / 10).map(|token| format!("1.{round}-{token}"));
            named.filter(|jti| node.of(jti).is_some()).count()
        };
        assert_eq!([6, 7, 8, 9].map(kept), [0, 5_000, 10_000, 10_000]);
        use_now(node, "1.persons", "orders");
        node.refused("1.stolen");
        let _ = node.flush();
        assert_eq!(node.of("1.persons").unwrap().usage_count.total(), 1);
        assert!(node.of("1.stolen").unwrap().revoked.is_raised());
    }
    // One that is used then is one of those that are.
    use_now(here, "1.9-0", "orders");
    for token in 0..MOST_UNUSED {
        here.issued(&format!("1.late-{token}"), at(20));
    }
    let _ = here.flush();
    assert!(here.of("1.9-0").unwrap().origin.get().is_some());
    // Nor does anybody crowd out others between two rounds.
    for token in 0..2 * MOST_UNUSED {
        here.issued(&format!("1.burst-{token}"), at(30));
    }
    use_now(here, "1.other", "orders");
    let _ = here.flush();
    assert!(here.of("1.other").is_some());
}
