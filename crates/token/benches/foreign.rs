//! What it costs to ask whether a token of another issuer was taken back, by how many were: an answer of
//! a moment ago, and a filter's.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{hint::black_box, sync::Arc, time::Duration};

use tegata_core::{Node, Realm};
use tegata_rounds::{Effort, Turns, timed};
use tegata_token::{
    Claims, ForeignView, View,
    foreign::{Filter, Looked, Name, Names},
    revocation::{Entry, Target},
};

const ISSUER: &str = "https://idp.example";

fn main() {
    let effort = Effort::asked();
    alone(u64::try_from(effort.size(50_000_000, 10_000)).unwrap(), effort);
    layers(u64::try_from(effort.size(1_000_000, 1000)).unwrap(), effort);
}

fn name(number: u64) -> Name {
    Name::token(ISSUER, &number.to_string())
}

/// The filter of so many, and how often it is wrong.
fn alone(names: u64, effort: Effort) {
    let filter = Filter::new(usize::try_from(names).unwrap());
    let ((), took) = timed(|| (0..names).for_each(|number| filter.insert(&name(number))));
    let questions = u64::try_from(effort.size(10_000_000, 10_000)).unwrap();
    let strangers = (names..names + questions).filter(|number| filter.may_hold(&name(*number)));
    let wrong = strangers.count();
    let apart = usize::try_from(names / questions.min(names)).unwrap();
    let forgotten = (0..names).step_by(apart).filter(|number| !filter.may_hold(&name(*number)));
    assert_eq!(forgotten.count(), 0, "the filter forgot something");
    println!("a filter of {names}: {} bytes, filled in {:.1} s", filter.size(), took.as_secs_f64());
    println!("  of {questions} that it does not hold, it is wrong about {wrong}\n");
}

/// The layers that answer from memory, where so many were taken back and all stores have been told.
fn layers(many: u64, effort: Effort) {
    let node = Node::start();
    let known = Arc::new(ForeignView::new(node.clone(), usize::try_from(many).unwrap(), 0));
    let view = View::new(node.clone()).with_foreign(Realm::default(), Arc::clone(&known));
    for number in 0..many {
        let target = Target::ForeignToken { issuer: ISSUER.to_owned(), jti: number.to_string() };
        let (at, until) = (node.now(), node.now() + Duration::from_secs(86_400));
        let (reason, actor) = ("logout".to_owned(), "system".to_owned());
        view.apply(&Realm::default(), &Entry { target, places: vec![], at, until, reason, actor });
        known.told(&known.untold());
    }
    let names = |number: u64| {
        let (jti, sub) = (number.to_string(), format!("user-{number}"));
        let (iss, sid, iat) = (ISSUER.to_owned(), Some(format!("s-{number}")), node.now().secs());
        let client_id = Some("web".to_owned());
        let claims = Claims { iss, jti, sub, sid, iat, client_id, ..Claims::default() };
        Names::of(&claims, None, "key-1")
    };
    let hot: Vec<_> = (many..many + 1000).map(names).collect();
    let cold: Vec<_> = (many..many + many.max(1000)).map(names).collect();
    let taken: Vec<_> = (0..1000).map(names).collect();
    let [mut one, mut other, mut third] = [0_usize; 3];
    let look = |all: &[Names], at: &mut usize| {
        *at = (*at + 1) % all.len();
        all.get(*at).is_some_and(|names| matches!(known.look(names), Looked::Known(..)))
    };
    Turns::new(format!("was it taken back? of {many} of another issuer"))
        .case("an answer of a moment ago", || black_box(look(&hot, &mut one)))
        .case("the filter says no", || black_box(look(&cold, &mut other)))
        .case("the filter says perhaps", || black_box(look(&taken, &mut third)))
        .measure(effort);
}
