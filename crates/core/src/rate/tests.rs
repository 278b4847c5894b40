use super::*;

fn rate(text: &str) -> RateLimit {
    text.parse().unwrap()
}

fn at(millis: u64) -> SinceBoot {
    SinceBoot(Duration::from_millis(1_000_000 + millis))
}

fn count(limiter: &Limiter<Network>, address: &str, limit: RateLimit, now: SinceBoot) -> Answer {
    limiter.count_address(address.parse().unwrap(), |network| network, limit, now)
}

#[test]
fn the_whole_allowance_passes_at_once_and_then_one_by_one() {
    let limiter = Limiter::new(1000);
    let limit = rate("5/m");
    for left in (0..5).rev() {
        let answer = count(&limiter, "192.0.2.1", limit, at(0));
        assert!(answer.passes && answer.remaining == left, "{answer:?}");
    }
    let answer = count(&limiter, "192.0.2.1", limit, at(0));
    assert!(!answer.passes && answer.seconds() == 12, "{answer:?}");
    assert!(!count(&limiter, "192.0.2.1", limit, at(11_999)).passes);
    assert!(count(&limiter, "192.0.2.1", limit, at(12_000)).passes);
    assert!(!count(&limiter, "192.0.2.1", limit, at(12_001)).passes);
    for _ in 0..5 {
        assert!(count(&limiter, "192.0.2.1", limit, at(200_000)).passes);
    }
    assert!(!count(&limiter, "192.0.2.1", limit, at(200_000)).passes);
}

#[test]
fn refused_requests_do_not_push_the_next_one_away() {
    let limiter = Limiter::new(1000);
    let limit = rate("1/s");
    assert!(count(&limiter, "192.0.2.1", limit, at(0)).passes);
    for millis in 1..1000 {
        assert!(!count(&limiter, "192.0.2.1", limit, at(millis)).passes);
    }
    assert!(count(&limiter, "192.0.2.1", limit, at(1000)).passes);
}

#[test]
fn many_at_once_pass_together_or_not_at_all() {
    let (limiter, limit) = (Limiter::new(1000), rate("60/m"));
    let take = |many, millis| limiter.take("a", limit, many, at(millis));
    assert_eq!((take(40, 0).passes, take(40, 0).passes), (true, false));
    // What was refused took nothing.
    let answer = take(20, 0);
    assert_eq!((answer.passes, answer.remaining, answer.seconds()), (true, 0, 60));
    let answer = take(30, 10_000);
    assert_eq!((answer.passes, answer.seconds()), (false, 20));
    assert!(!take(30, 29_999).passes && take(30, 30_000).passes);
    assert!(take(0, 30_000).passes && !take(1, 30_000).passes);
    // More than all of it never passes.
    for many in [61, u32::MAX] {
        assert!(!limiter.take("b", limit, many, at(0)).passes);
    }
    assert!(limiter.take("b", limit, 60, at(0)).passes);
}

#[test]
fn many_addresses_of_one_ipv6_network_are_one_caller() {
    let limiter = Limiter::new(1000);
    let limit = rate("1/h");
    assert!(count(&limiter, "2001:db8:1:2::1", limit, at(0)).passes);
    assert!(!count(&limiter, "2001:db8:1:2:ffff::9", limit, at(0)).passes);
    assert!(count(&limiter, "2001:db8:1:3::1", limit, at(0)).passes);
    assert!(count(&limiter, "192.0.2.1", limit, at(0)).passes);
    assert!(!count(&limiter, "::ffff:192.0.2.1", limit, at(0)).passes);
}

#[test]
fn the_owner_of_many_ipv6_networks_has_the_allowance_of_a_few() {
    let limiter = Limiter::new(100_000);
    let limit = rate("10/h");
    let passed = (0..1000_u32).filter(|subnet| {
        let passes = |_| count(&limiter, &format!("2001:db8:1:{subnet:x}::1"), limit, at(0)).passes;
        (0..10).any(passes)
    });
    assert_eq!(passed.count(), 160);
    assert!(count(&limiter, "2001:db8:2::1", limit, at(0)).passes);
}

#[test]
fn one_loud_ipv6_network_does_not_use_up_what_its_neighbours_have() {
    let limiter = Limiter::new(1000);
    let limit = rate("10/h");
    for _ in 0..1000 {
        let _ = count(&limiter, "2001:db8:1:2::1", limit, at(0));
    }
    assert!(count(&limiter, "2001:db8:1:3::1", limit, at(0)).passes);
}

#[test]
fn a_flood_of_callers_stays_within_the_capacity_and_frees_nobody_who_is_over_the_limit_soon() {
    let limiter = Limiter::new(640);
    let limit = rate("100/h");
    let victim = || "usr_greedy".to_owned();
    while limiter.count(victim(), limit, at(0)).passes {}
    for number in 0..20_000_u32 {
        let _ = limiter.count(number.to_string(), limit, at(0));
    }
    assert!(limiter.len() <= 704, "{}", limiter.len());
    // The greedy one is furthest from its whole allowance, so it is the last to be forgotten.
    assert!(!limiter.count(victim(), limit, at(0)).passes);
    limiter.forget(at(3_600_001));
    assert!(limiter.is_empty());
}

#[test]
fn reads_and_writes_rates() {
    for (text, count, secs) in
        [("100/m", 100, 60), ("1/s", 1, 1), ("1000/h", 1000, 3600), ("5/d", 5, 86_400)]
    {
        let rate: RateLimit = text.parse().unwrap();
        assert_eq!((rate.count().get(), rate.per().as_secs()), (count, secs));
        assert_eq!(rate.to_string(), text);
    }
    for bad in ["", "100", "0/m", "-1/m", "+1/m", "1.5/m", "1/M", "1/min", "/m", "5000000000/s"] {
        assert_eq!(bad.parse::<RateLimit>(), Err(InvalidRate), "{bad}");
    }
}
