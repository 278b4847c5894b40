//! Somebody on the bus who is no node: they hear what nodes say to each other, and say it again.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context as _, Result};
use tegata_engines::{NatsServer, process::connect};

use crate::{ledger::lock, seed::Seed};

/// Where nodes listen to each other.
pub const SUBJECTS: [&str; 6] = [
    "auth-events",
    "auth-revocations",
    "cache-invalidation",
    "auth-keys",
    "auth-heartbeats",
    "token_update",
];

/// How much is remembered of what was heard.
const MOST: usize = 20_000;

/// What was said, and where.
#[derive(Debug, Clone)]
struct Said {
    subject: String,
    words: Vec<u8>,
}

/// What was heard: the first so much of it, and the latest.
#[derive(Debug, Default)]
struct Heard {
    all: Vec<Said>,
    many: usize,
}

impl Heard {
    fn note(&mut self, said: Said) {
        self.many += 1;
        if self.all.len() < MOST {
            self.all.push(said);
        } else if let Some(place) = self.all.get_mut(MOST / 2 + self.many % (MOST / 2)) {
            *place = said;
        }
    }
}

/// Somebody who has a connection to the bus, as nodes have theirs, and no key.
#[derive(Debug)]
pub struct Bystander {
    port: u16,
    /// Whoever speaks has it.
    stream: Arc<Mutex<TcpStream>>,
    heard: Arc<Mutex<Heard>>,
}

impl Bystander {
    /// Comes, and listens to everything.
    ///
    /// # Errors
    /// NATS does not let them.
    pub fn come(nats: &NatsServer) -> Result<Self> {
        let (port, heard) = (nats.port(), Arc::default());
        let stream = listen(port, &heard)?;
        Ok(Self { port, stream, heard })
    }

    /// Comes once more, and remembers what was heard before.
    ///
    /// # Errors
    /// As [`Self::come`].
    pub fn come_back(&mut self) -> Result<()> {
        let stream = listen(self.port, &self.heard)?;
        let before = std::mem::replace(&mut self.stream, stream);
        hang_up(&before);
        Ok(())
    }

    /// Says something.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn say(&self, subject: &str, words: &[u8]) -> Result<()> {
        let head = format!("PUB {subject} {}\r\n", words.len());
        let message = [head.as_bytes(), words, b"\r\n"].concat();
        Ok(lock(&self.stream).write_all(&message)?)
    }

    /// Says something again that was heard at any time, as it was, and where it was. Answers where, and
    /// `None` where nothing was heard.
    ///
    /// # Errors
    /// As [`Self::say`].
    pub fn say_again(&self, seed: &mut Seed) -> Result<Option<String>> {
        // What is said seldom is no less often said again.
        let subject = seed.one_of(&SUBJECTS).copied().unwrap_or_default();
        let own = |said: &&Said| said.subject.split('.').next() == Some(subject);
        let chosen = {
            let heard = lock(&self.heard);
            let all: Vec<&Said> = heard.all.iter().filter(own).collect();
            seed.one_of(&all).map(|said| (*said).clone())
        };
        let Some(said) = chosen else { return Ok(None) };
        self.say(&said.subject, &said.words)?;
        Ok(Some(subject.to_owned()))
    }

    /// Says all that is remembered again: out of order, and every third of it twice. Answers how much.
    ///
    /// # Errors
    /// As [`Self::say`].
    pub fn play(&self, seed: &mut Seed) -> Result<usize> {
        let mut all = lock(&self.heard).all.clone();
        let twice: Vec<Said> = all.iter().step_by(3).cloned().collect();
        all.extend(twice);
        for last in (1..all.len()).rev() {
            all.swap(last, seed.below(last + 1));
        }
        for said in &all {
            self.say(&said.subject, &said.words)?;
        }
        Ok(all.len())
    }

    /// How much was heard.
    #[must_use]
    pub fn heard(&self) -> usize {
        lock(&self.heard).many
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        hang_up(&self.stream);
    }
}

/// Whoever listens there ends by it.
fn hang_up(stream: &Mutex<TcpStream>) {
    let _ = lock(stream).shutdown(Shutdown::Both);
}

/// Connects, and has everything that is heard noted. What one says oneself is not heard.
fn listen(port: u16, heard: &Arc<Mutex<Heard>>) -> Result<Arc<Mutex<TcpStream>>> {
    let mut stream = connect(port)?;
    stream.set_read_timeout(None)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    // It greets first.
    reader.read_line(&mut String::new())?;
    let mut words = "CONNECT {\"verbose\":false,\"echo\":false}\r\n".to_owned();
    for (number, subject) in SUBJECTS.iter().enumerate() {
        words += &format!("SUB {subject} {number}\r\nSUB {subject}.> {number}more\r\n");
    }
    stream.write_all(words.as_bytes())?;
    let stream = Arc::new(Mutex::new(stream));
    let (speaks, heard) = (Arc::clone(&stream), Arc::clone(heard));
    // It ends with its connection.
    thread::spawn(move || while note(&mut reader, &speaks, &heard).is_ok() {});
    Ok(stream)
}

/// Notes the next thing that is heard.
fn note(
    reader: &mut BufReader<TcpStream>,
    speaks: &Mutex<TcpStream>,
    heard: &Mutex<Heard>,
) -> Result<()> {
    let mut line = String::new();
    anyhow::ensure!(reader.read_line(&mut line)? > 0, "the connection has ended");
    let mut parts = line.split_whitespace();
    match parts.next() {
        Some("PING") => lock(speaks).write_all(b"PONG\r\n")?,
        Some("MSG") => {
            let subject = parts.next().context("a subject")?.to_owned();
            let length: usize = parts.next_back().context("a length")?.parse()?;
            let mut words = vec![0; length + 2];
            reader.read_exact(&mut words)?;
            words.truncate(length);
            lock(heard).note(Said { subject, words });
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{stage::PATIENCE, time::until};

    #[test]
    fn what_was_heard_is_said_again_as_it_was_and_not_heard_by_who_says_it() {
        let nats = NatsServer::start();
        let (mut one, other) = (Bystander::come(&nats).unwrap(), Bystander::come(&nats).unwrap());
        // Until both are heard, what is said may be said to nobody.
        let both = || {
            one.say("auth-keys", b"hear!\r\nPING\r\n").unwrap();
            other.say("auth-events.TOKEN_REVOKED", b"hear!").unwrap();
            one.heard() > 0 && other.heard() > 0
        };
        assert!(until(PATIENCE, both).is_some());
        one.come_back().unwrap();
        assert!(one.play(&mut Seed::new(1)).unwrap() > 0);
        // `one` has only heard what the other said, and says just that.
        let last = || lock(&other.heard).all.last().cloned().unwrap();
        let again = || last().subject == "auth-events.TOKEN_REVOKED" && last().words == b"hear!";
        assert!(until(PATIENCE, again).is_some(), "{:?}", last());
        let mut seed = Seed::new(1);
        let chosen = (0..200).find_map(|_| one.say_again(&mut seed).unwrap());
        assert_eq!(chosen.as_deref(), Some("auth-events"));
    }
}
