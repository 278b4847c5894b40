//! Several nodes that tell each other what they took back, simulated: the real code on a clock, a
//! store and a bus that do what a seed says. What must hold is looked at after every step.
//!
//! Nodes are cut off from the store and from each other, stand still, are killed and come back, leave,
//! and lose the answers of the store; messages are lost, late, repeated and reordered; a command
//! takes something back and goes. Whatever happens: what a node says to be the age of its knowledge is
//! never less than it is.

#![cfg(test)]

mod circle {
    pub(crate) mod by_hand;
    pub(crate) mod world;
}

use circle::world::{Rules, Told, World};

/// How many steps a world is watched.
const STEPS: u32 = 400;

/// What became of all seeds of a range.
fn watch(seeds: std::ops::Range<u64>, rules: Rules) -> Result<Told, String> {
    let mut told = Told::default();
    for seed in seeds {
        let mut world = World::new(seed, rules);
        for step in 0..STEPS {
            world.step().map_err(|wrong| format!("seed {seed}, step {step}: {wrong}"))?;
        }
        told.add(&world.told);
    }
    Ok(told)
}

#[test]
fn nobody_knows_less_than_it_says() {
    let told = watch(0..10_000, Rules::default()).unwrap();
    println!("{told:?}");
    // The worlds are worth watching: the word of others counted, also where the store was away.
    assert!(told.acknowledged > 10_000, "{told:?}");
    assert!(told.vouched > 10_000, "{told:?}");
    assert!(told.refused > 1000, "{told:?}");
}

#[test]
fn whoever_acknowledges_outside_of_the_circle_is_found_out() {
    let rules = Rules { outsiders: true };
    assert!(watch(0..2000, rules).is_err());
}
