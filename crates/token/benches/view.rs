//! What a verifier keeps in memory of what was taken back: for each list in which something was, and
//! for each name that has ended.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::{fs, time::Duration};

use tegata_core::{Epoch, FamilyId, Node, Realm};
use tegata_rounds::Effort;
use tegata_token::{
    ListId, StatusIndex, View,
    revocation::{Entry, Target},
    status::LIST_LENGTH,
};

fn main() {
    let effort = Effort::asked();
    let node = Node::start();
    let view = View::new(node.clone());
    let until = node.now() + Duration::from_secs(86_400);
    let apply = |places| {
        let family = FamilyId::generate(Epoch::FIRST, until, node.entropy());
        let target = Target::Family(family);
        let (reason, actor) = ("logout".to_owned(), "system".to_owned());
        let entry = Entry { target, places, at: node.now(), until, reason, actor };
        view.apply(&Realm::default(), &entry);
    };
    // Lists first: what names leave behind as they grow would hide them.
    let (slot, lists) = (ListId::slot_at(node.now()), effort.size(512, 2));
    let before = resident();
    for number in 0..u32::try_from(lists).unwrap() {
        let list = ListId { epoch: Epoch::FIRST, slot, number };
        // A token of every page: memory that nobody has touched is not there yet.
        let tokens = (0..LIST_LENGTH).step_by(8192);
        apply(tokens.map(|index| StatusIndex { list, index }).collect());
    }
    println!("a list      {:6.0} bytes, of {lists}", each(before, lists));
    let names = effort.size(2_000_000, 2000);
    let before = resident();
    (0..names).for_each(|_| apply(Vec::new()));
    println!("a name      {:6.0} bytes, of {names}", each(before, names));
}

/// What the process has in memory, in bytes.
fn resident() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
}

fn each(before: f64, count: usize) -> f64 {
    (resident() - before) / f64::from(u32::try_from(count).unwrap())
}
