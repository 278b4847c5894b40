//! As much of the protocol of Redis as an administrator's command needs.

use std::io::{self, BufRead, BufReader};

use crate::process::connect;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A text, or a number as text.
    Text(String),
    /// Several answers.
    List(Vec<Answer>),
    /// Nothing is there.
    Nothing,
    /// It refuses.
    Error(String),
}

impl Answer {
    /// Whether it is this text.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        matches!(self, Self::Text(said) if said == text)
    }

    /// The text, or nothing where it is none.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            _ => String::new(),
        }
    }

    /// The answers of a list, or none.
    #[must_use]
    pub fn list(&self) -> Vec<Self> {
        match self {
            Self::List(list) => list.clone(),
            _ => Vec::new(),
        }
    }

    /// A list of names and values in turn.
    #[must_use]
    pub fn fields(&self) -> Vec<(String, String)> {
        let texts: Vec<_> = self.list().iter().map(Self::text).collect();
        let pairs = texts.chunks_exact(2);
        pairs.filter_map(|pair| Some((pair.first()?.clone(), pair.get(1)?.clone()))).collect()
    }
}

/// Asks the server at a port of this machine, on a connection of its own.
///
/// # Errors
/// It does not answer.
pub fn ask(port: u16, login: Option<(&str, &str)>, command: &[&str]) -> io::Result<Answer> {
    let mut stream = BufReader::new(connect(port)?);
    if let Some((user, password)) = login {
        send(stream.get_mut(), &["AUTH", user, password])?;
        if let Answer::Error(error) = read(&mut stream)? {
            return Ok(Answer::Error(error));
        }
    }
    send(stream.get_mut(), command)?;
    read(&mut stream)
}

fn send(to: &mut impl io::Write, command: &[&str]) -> io::Result<()> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for word in command {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    to.write_all(&bytes)
}

fn read(from: &mut impl BufRead) -> io::Result<Answer> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let strange = || io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` is no answer"));
    let (kind, rest) = line.split_at_checked(1).ok_or_else(strange)?;
    let count = || rest.parse::<i64>().map_err(|_| strange());
    Ok(match kind {
        "+" | ":" => Answer::Text(rest.to_owned()),
        "-" => Answer::Error(rest.to_owned()),
        "$" => match usize::try_from(count()?) {
            Err(_) => Answer::Nothing,
            Ok(size) => {
                let mut bytes = vec![0; size + 2];
                from.read_exact(&mut bytes)?;
                bytes.truncate(size);
                Answer::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        "*" => match usize::try_from(count()?) {
            Err(_) => Answer::Nothing,
            Ok(size) => Answer::List((0..size).map(|_| read(from)).collect::<io::Result<_>>()?),
        },
        _ => return Err(strange()),
    })
}
