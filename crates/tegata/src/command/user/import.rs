//! `tegata user import`: people whom another system hands over.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
};

use serde_json::{Value, json};

use super::{Context, Failed, Order};
use crate::progress::UnderWay;

/// How many people one order takes at most, and how many bytes of them: an order has only so much room and
/// so much time.
const TOGETHER: usize = 2000;
const LONGEST: usize = 4 * 1024 * 1024;

/// The longest line that is read. The server says which is too long for a person.
const LONGEST_LINE: u64 = 1024 * 1024;

/// How many refusals are told of one by one.
const TOLD: usize = 100;

/// What became of all so far.
#[derive(Default)]
struct Sum {
    registered: u64,
    known: u64,
    refused: u64,
    /// The first of those that were refused.
    told: Vec<Value>,
}

/// Registers those of a file, or of standard input, part by part. Whoever is refused keeps nobody else from
/// being registered; then the command fails.
pub(super) async fn import(
    context: &Context,
    file: Option<&Path>,
    dry_run: bool,
) -> Result<(), Failed> {
    let place =
        file.map_or_else(|| "standard input".to_owned(), |it| format!("`{}`", it.display()));
    let failed = |error: io::Error| Failed::Operation(format!("{place}: {error}"));
    let of = file.map(lines_of).transpose().map_err(failed)?.unwrap_or_default();
    let mut lines: Box<dyn BufRead + Send> = match file {
        Some(file) => Box::new(BufReader::new(File::open(file).map_err(failed)?)),
        None => Box::new(BufReader::new(io::stdin())),
    };
    let bar = context.bar(if dry_run { "looked at" } else { "taken over" });
    let (mut sum, mut read) = (Sum::default(), 0);
    loop {
        let (numbers, people) = next(&mut lines, &mut read).map_err(failed)?;
        if people.is_empty() {
            break;
        }
        let done = context.order(Order::UserImport { people, dry_run }).await;
        // Those before are registered, and are known when it is done again.
        let done = done.map_err(|error| match error {
            Failed::Operation(why) => {
                let registered = sum.registered;
                Failed::Operation(format!("{why}; {registered} are registered: do it once more"))
            }
            other => other,
        })?;
        sum.add(&done, &numbers);
        if let Some(bar) = &bar {
            bar.draw(UnderWay { done: read, of });
        }
    }
    drop(bar);
    context.show(&json!({
        "registered": sum.registered,
        "known": sum.known,
        "refused": sum.refused,
        "lines": sum.told,
        "dry_run": dry_run,
    }))?;
    if sum.refused == 0 {
        return Ok(());
    }
    Err(Failed::Operation(format!("{place}: {}", sum.advice())))
}

impl Sum {
    /// What to do about those that were refused.
    fn advice(&self) -> String {
        let (refused, told) = (self.refused, self.told.len() as u64);
        let rest = match refused.saturating_sub(told) {
            0 => String::new(),
            rest => format!("; {rest} more are not shown, and are when it is done again"),
        };
        let these = if told == 1 { "this line" } else { "these lines" };
        format!("{refused} of them cannot be registered; mend {these} and do it once more{rest}")
    }

    fn add(&mut self, done: &Value, numbers: &[u64]) {
        let number = |name: &str| done.get(name).and_then(Value::as_u64).unwrap_or_default();
        self.registered += number("registered");
        self.known += number("known");
        for refused in done.get("refused").and_then(Value::as_array).into_iter().flatten() {
            self.refused += 1;
            let place = refused.get("place").and_then(Value::as_u64);
            let place = place.and_then(|place| usize::try_from(place).ok());
            let line = place.and_then(|place| numbers.get(place));
            if self.told.len() < TOLD {
                self.told.push(json!({"line": line, "why": refused.get("why")}));
            }
        }
    }
}

/// The people of the next part, with the numbers of their lines. Lines that are empty are passed over.
fn next(lines: &mut dyn BufRead, read: &mut u64) -> io::Result<(Vec<u64>, Vec<String>)> {
    let (mut numbers, mut people, mut bytes) = (Vec::new(), Vec::new(), 0);
    while people.len() < TOGETHER && bytes < LONGEST {
        let Some(line) = one(lines)? else { break };
        *read += 1;
        let line = line.trim();
        if !line.is_empty() {
            bytes += line.len();
            numbers.push(*read);
            people.push(line.to_owned());
        }
    }
    Ok((numbers, people))
}

/// The next line. Of one that is much too long, only so much as shows that it is.
fn one(lines: &mut dyn BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    let mut limited = io::Read::take(&mut *lines, LONGEST_LINE);
    if limited.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        lines.skip_until(b'\n')?;
    }
    // What is no text is no person, either, and is said to be none.
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

fn lines_of(file: &Path) -> io::Result<u64> {
    let mut reader = BufReader::new(File::open(file)?);
    let mut lines = 0;
    while reader.skip_until(b'\n')? > 0 {
        lines += 1;
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_in_parts_with_their_numbers() {
        let long = "y".repeat(3 * 1024 * 1024);
        let text = format!("a\n\n  b  \n{long}\nc\u{e9}\nlast");
        let mut reader = text.as_bytes();
        let mut read = 0;
        let (numbers, people) = next(&mut reader, &mut read).unwrap();
        assert_eq!((numbers, read), (vec![1, 3, 4, 5, 6], 6));
        assert_eq!(
            (people[1].as_str(), people[3].as_str(), people[4].as_str()),
            ("b", "cé", "last")
        );
        assert_eq!(people[2].len(), usize::try_from(LONGEST_LINE).unwrap());
        assert!(next(&mut reader, &mut read).unwrap().1.is_empty());
        let many = "x\n".repeat(TOGETHER + 1);
        let mut reader = many.as_bytes();
        assert_eq!(next(&mut reader, &mut 0).unwrap().1.len(), TOGETHER);
        assert_eq!(next(&mut reader, &mut 0).unwrap().1.len(), 1);
    }
}
