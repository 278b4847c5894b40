//! How far an order is that takes long: seen by whoever gives it at a terminal, and by nobody else.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tegata_engines::{Mode, TegataNode};
use tegata_faults::stage::{self, PERSON};

use super::PROGRAM;

/// How many sign-ins somebody has: they end a hundred at a time.
const SIGN_INS: usize = 250;

/// Runs a command at a terminal; answers what is written to it. `script` is in `bsdutils`, which every Debian
/// has.
fn at_a_terminal(node: &TegataNode, arguments: &str) -> String {
    let command = format!("'{PROGRAM}' {arguments}");
    let mut script = Command::new("script");
    let script = script.args(["-qec", &command, "/dev/null"]).current_dir(node.directory());
    let script = script.env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    let output = script.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

/// The numbers before "taken back", in the order in which they were drawn.
fn counted(said: &str) -> Vec<u64> {
    let before = |part: &str| {
        let part = part.rsplit_once(" of ").map_or(part, |(count, _)| count);
        part.trim_end().rsplit(|it: char| !it.is_ascii_digit()).next()?.parse().ok()
    };
    let mut parts: Vec<_> = said.split(" taken back").collect();
    // What comes after the last is no count.
    parts.pop();
    parts.into_iter().filter_map(before).collect()
}

#[test]
fn who_takes_very_much_back_sees_at_a_terminal_how_far_it_is() {
    let stage = stage::plain(Path::new(PROGRAM), 1).unwrap();
    let member = stage.cluster().member(0);
    let order = format!("revoke --user {} --reason test", PERSON.0);
    stage.families(SIGN_INS).unwrap();
    // A database that is far away, so that there is something to see.
    member.postgres.set(Mode::Delay(Duration::from_millis(40)));
    let said = at_a_terminal(&member.node, &order);
    member.postgres.set(Mode::Sound);
    let counted = counted(&said);
    assert!(counted.is_sorted() && counted.len() > 1, "{counted:?} in {said:?}");
    assert!(counted.iter().any(|count| (1..250).contains(count)), "{counted:?} in {said:?}");
    // The one that the browser began with is among them.
    assert!(said.contains("families  251"), "{said:?}");
    // Every line is of one form, the first too, and no rate has a point.
    let lines = said.split("\u{1b}[2K").filter(|line| line.contains("251") && line.contains('░'));
    let is_whole = |line: &str| line.contains(" of 251 taken back, ") && !line.contains('.');
    assert!(lines.clone().count() > 0 && lines.clone().all(is_whole), "{said:?}");
    // The line is gone before the answer comes.
    let answer = said.rfind("revoked").unwrap();
    assert!(!said[answer..].contains("taken back"), "{said:?}");

    // Whoever is no terminal gets the answer alone.
    stage.forget();
    stage.families(SIGN_INS).unwrap();
    for format in ["text", "json"] {
        let order: Vec<_> = order.split(' ').chain(["--format", format]).collect();
        let output = member.node.run(&order);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
