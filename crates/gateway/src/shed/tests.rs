use super::*;

fn at(millis: u64) -> SinceBoot {
    SinceBoot(Duration::from_millis(millis))
}

fn limits(requests: u32) -> Limits {
    Limits { requests, ..Limits::default() }
}

fn worker(load: &Arc<Load>) -> Rc<Shed> {
    Shed::new(load, 0)
}

fn load() -> Arc<Load> {
    Load::new(2, Memory::new(0))
}

#[test]
fn a_part_of_the_places_is_kept_for_those_who_sign_in() {
    let (load, limits) = (load(), limits(16));
    let shed = worker(&load);
    let enter = |class| shed.enter(class, &limits, at(5000));
    let mut services = Vec::new();
    while let Ok(place) = enter(Class::Service) {
        services.push(place);
    }
    assert_eq!((services.len(), load.in_flight()), (14, 14));
    assert_eq!(enter(Class::Service).err(), Some(Reason::Requests));
    let kept = [enter(Class::Public), enter(Class::Public)];
    assert!(kept.iter().all(Result::is_ok));
    assert_eq!(enter(Class::Public).err(), Some(Reason::Requests));
    services.pop();
    // Who signs in may have the places of all.
    assert!(enter(Class::Service).is_err());
    let third = enter(Class::Public);
    assert!(third.is_ok());
    drop((services, kept, third));
    assert_eq!(load.in_flight(), 0);
    // Where there is one place, it is everybody's.
    assert!(shed.enter(Class::Service, &Limits { requests: 1, ..limits }, at(5000)).is_ok());
}

#[test]
fn what_waits_for_long_starves_nobody() {
    let (load, limits) = (load(), limits(8));
    let shed = worker(&load);
    let enter = |now| shed.enter(Class::Service, &limits, at(now));
    let mut streams: Vec<_> = (0..7).map(|_| enter(9000)).collect();
    assert!(streams.iter().all(Result::is_ok));
    assert_eq!(enter(9700).err(), Some(Reason::Requests));
    let later: Vec<_> = (0..7).map(|_| enter(9000 + COUNTS)).collect();
    assert!(later.iter().all(Result::is_ok));
    assert_eq!(load.in_flight(), 7);
    // That they end now takes nobody else's place away.
    streams.clear();
    assert_eq!((load.in_flight(), shed.here.get()), (7, 7));
    // Nor does a long silence.
    let last = enter(1_000_000);
    assert!(last.is_ok());
    assert_eq!(load.in_flight(), 1);
    drop(later);
    assert_eq!(load.in_flight(), 1);
    drop(last);
    assert_eq!((load.in_flight(), shed.here.get()), (0, 0));
}

#[test]
fn workers_share_the_places_of_a_node() {
    let (load, limits) = (load(), limits(10));
    let (one, two) = (worker(&load), Shed::new(&load, 1));
    let of_one: Vec<_> =
        std::iter::from_fn(|| one.enter(Class::Service, &limits, at(1)).ok()).collect();
    assert_eq!(of_one.len(), 9);
    assert_eq!(two.enter(Class::Service, &limits, at(1)).err(), Some(Reason::Requests));
    drop(of_one);
    assert!(two.enter(Class::Service, &limits, at(1)).is_ok());
}

/// Has a worker with so many requests wait so long, for so many milliseconds from then.
fn press(pressure: &mut Pressure, requests: u32, wait: u64, (from, span): (u64, u64)) {
    for now in (from..from + span).step_by(10) {
        pressure.see(requests.min(pressure.lets_in));
        pressure.note(Duration::from_millis(wait), now);
    }
}

#[test]
fn a_queue_that_stands_has_fewer_let_in_and_a_burst_does_not() {
    let mut pressure = Pressure::default();
    press(&mut pressure, 5000, 3, (0, 1000));
    // Of ten measurements one is short.
    for start in (1000..2000).step_by(100) {
        press(&mut pressure, 5000, 40, (start, 90));
        press(&mut pressure, 5000, 1, (start + 90, 10));
    }
    assert_eq!(pressure.lets_in, u32::MAX);
    press(&mut pressure, 1000, 40, (2000, 500));
    assert!((400..700).contains(&pressure.lets_in), "{pressure:?}");
    // Between what is short and what is long it stays as it is.
    let before = pressure.lets_in;
    press(&mut pressure, 1000, 8, (2500, 500));
    assert_eq!(pressure.lets_in, before);
    press(&mut pressure, 1000, 500, (3000, 20_000));
    assert_eq!(pressure.lets_in, FLOOR);
    // It comes back within seconds, and what was is forgotten.
    press(&mut pressure, 1000, 1, (23_000, 6000));
    assert!(pressure.lets_in > 1000, "{pressure:?}");
}

#[test]
fn one_moment_in_which_the_machine_stood_still_is_no_queue() {
    let mut pressure = Pressure::default();
    pressure.see(20_000);
    pressure.note(Duration::from_secs(30), 30_000);
    assert_eq!(pressure.lets_in, u32::MAX);
    pressure.note(Duration::from_millis(1), 30_005);
    assert_eq!(pressure.lets_in, u32::MAX);
}

#[test]
fn connections_are_counted_from_when_they_are_handed_over() {
    let load = load();
    let (first, second) = (load.seat(0), load.seat(1));
    let idle = first.idle();
    assert_eq!((load.of(0), load.of(1), load.connections()), ((1, 1), (1, 0), 2));
    idle.set(false);
    idle.set(false);
    assert_eq!(load.of(0), (1, 0));
    idle.set(true);
    drop((idle, first, second));
    assert_eq!((load.of(0), load.connections()), ((0, 0), 0));
}

#[test]
fn whoever_is_refused_waits_once() {
    let shed = worker(&load());
    let left = |waited: u64| {
        shed.waited(Duration::from_millis(waited), at(5000));
        shed.left()
    };
    assert_eq!(left(0), Some(REST));
    assert_eq!(left(4), Some(Duration::from_millis(6)));
    assert_eq!((left(10), left(60)), (None, None));
}
