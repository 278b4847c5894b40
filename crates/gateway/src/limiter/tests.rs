use super::*;

fn rate(text: &str) -> RateLimit {
    text.parse().unwrap()
}

fn at(millis: u64) -> SinceBoot {
    SinceBoot(Duration::from_millis(1_000_000 + millis))
}

fn address(text: &str) -> Whose {
    Whose::Address(text.parse().unwrap())
}

#[test]
fn the_whole_allowance_passes_at_once_and_then_one_by_one() {
    let limiter = Limiter::new(1000);
    let limit = rate("5/m");
    for left in (0..5).rev() {
        let answer = limiter.count(address("192.0.2.1"), limit, at(0));
        assert!(answer.passes && answer.remaining == left, "{answer:?}");
    }
    let answer = limiter.count(address("192.0.2.1"), limit, at(0));
    assert!(!answer.passes && answer.seconds() == 12, "{answer:?}");
    assert!(!limiter.count(address("192.0.2.1"), limit, at(11_999)).passes);
    assert!(limiter.count(address("192.0.2.1"), limit, at(12_000)).passes);
    assert!(!limiter.count(address("192.0.2.1"), limit, at(12_001)).passes);
    for _ in 0..5 {
        assert!(limiter.count(address("192.0.2.1"), limit, at(200_000)).passes);
    }
    assert!(!limiter.count(address("192.0.2.1"), limit, at(200_000)).passes);
}

#[test]
fn refused_requests_do_not_push_the_next_one_away() {
    let limiter = Limiter::new(1000);
    let limit = rate("1/s");
    assert!(limiter.count(address("192.0.2.1"), limit, at(0)).passes);
    for millis in 1..1000 {
        assert!(!limiter.count(address("192.0.2.1"), limit, at(millis)).passes);
    }
    assert!(limiter.count(address("192.0.2.1"), limit, at(1000)).passes);
}

#[test]
fn callers_and_purposes_are_counted_apart() {
    let limiter = Limiter::new(1000);
    let limit = rate("1/h");
    let ip: IpAddr = "192.0.2.1".parse().unwrap();
    for whose in [
        Whose::Address(ip),
        Whose::SignIn(ip),
        address("192.0.2.2"),
        Whose::Subject("usr_1".into()),
        Whose::Subject("usr_2".into()),
        Whose::Route("/a".into(), "usr_1".into()),
        Whose::Route("/b".into(), "usr_1".into()),
    ] {
        assert!(limiter.count(whose.clone(), limit, at(0)).passes);
        assert!(!limiter.count(whose, limit, at(0)).passes);
    }
}

#[test]
fn many_addresses_of_one_ipv6_network_are_one_caller() {
    let limiter = Limiter::new(1000);
    let limit = rate("1/h");
    assert!(limiter.count(address("2001:db8:1:2::1"), limit, at(0)).passes);
    assert!(!limiter.count(address("2001:db8:1:2:ffff::9"), limit, at(0)).passes);
    assert!(limiter.count(address("2001:db8:1:3::1"), limit, at(0)).passes);
    assert!(limiter.count(address("192.0.2.1"), limit, at(0)).passes);
    assert!(!limiter.count(address("::ffff:192.0.2.1"), limit, at(0)).passes);
}

#[test]
fn a_flood_of_callers_stays_within_the_capacity_and_frees_nobody_who_is_over_the_limit_soon() {
    let limiter = Limiter::new(640);
    let limit = rate("100/h");
    let victim = || Whose::Subject("usr_greedy".into());
    while limiter.count(victim(), limit, at(0)).passes {}
    for number in 0..20_000_u32 {
        let _ = limiter.count(Whose::Address(IpAddr::from(number.to_be_bytes())), limit, at(0));
    }
    assert!(limiter.len() <= 704, "{}", limiter.len());
    // The greedy one is furthest from its whole allowance, so it is the last to be forgotten.
    assert!(!limiter.count(victim(), limit, at(0)).passes);
    limiter.forget(at(3_600_001));
    assert!(limiter.is_empty());
}
