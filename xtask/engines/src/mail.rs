//! A mail server that keeps what it is given, and can be told to put senders off.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

/// How long a mail may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A mail, as it arrived.
#[derive(Debug, Clone)]
pub struct Mail {
    /// To whom, as the sender said to the server.
    pub to: Vec<String>,
    /// The header.
    pub head: String,
    /// What it says.
    pub text: String,
}

/// The server. It is closed when this is dropped.
#[derive(Debug)]
pub struct MailServer {
    port: u16,
    closed: Arc<AtomicBool>,
    refusals: Arc<AtomicU32>,
    arrived: Mutex<Receiver<Mail>>,
}

impl MailServer {
    /// Starts it on a free port.
    #[must_use]
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port for mail");
        let port = listener.local_addr().expect("a port for mail").port();
        let (closed, refusals) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (arrives, arrived) = channel();
        let (over, refuses) = (Arc::clone(&closed), Arc::clone(&refusals));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (refuses, arrives) = (Arc::clone(&refuses), arrives.clone());
                // Who goes away has had enough.
                thread::spawn(move || serve(&stream, &refuses, &arrives));
            }
        });
        Self { port, closed, refusals, arrived: Mutex::new(arrived) }
    }

    /// The port that it listens on.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Puts off the next mails, so many.
    pub fn put_off(&self, mails: u32) {
        self.refusals.store(mails, Ordering::SeqCst);
    }

    /// How many are still put off.
    #[must_use]
    pub fn puts_off(&self) -> u32 {
        self.refusals.load(Ordering::SeqCst)
    }

    /// The next mail, waited for.
    #[must_use]
    pub fn next(&self) -> Mail {
        let arrived = self.arrived.lock().expect("one who waits for mail");
        arrived.recv_timeout(PATIENCE).expect("no mail came")
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

fn serve(stream: &TcpStream, refusals: &AtomicU32, arrives: &Sender<Mail>) -> io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let mut to = Vec::new();
    let say = |text: &str| -> io::Result<()> {
        let mut stream = stream;
        stream.write_all(format!("{text}\r\n").as_bytes())
    };
    say("220 mail.test ESMTP")?;
    while let Some(line) = lines.next() {
        let line = line?;
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" | "HELO" => say("250 mail.test")?,
            "RCPT" => {
                let address = line.split(['<', '>']).nth(1).unwrap_or_default();
                to.push(address.to_owned());
                say("250 OK")?;
            }
            "DATA" => {
                say("354 go on")?;
                let mut said = Vec::new();
                for line in lines.by_ref() {
                    let line = line?;
                    if line == "." {
                        break;
                    }
                    said.push(line.strip_prefix('.').map_or(line.clone(), str::to_owned));
                }
                let one_less = |left: u32| left.checked_sub(1);
                let refused =
                    refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok();
                if refused {
                    say("451 later")?;
                    to.clear();
                    continue;
                }
                // Whoever waited may be gone.
                let _ = arrives.send(read(std::mem::take(&mut to), &said));
                say("250 OK")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 OK")?,
        }
    }
    Ok(())
}

fn read(to: Vec<String>, lines: &[String]) -> Mail {
    let end = lines.iter().position(String::is_empty).unwrap_or(lines.len());
    let (head, text) = lines.split_at(end);
    let (head, text) = (head.join("\n"), text.join("\n"));
    let quoted = head.to_ascii_lowercase().contains("quoted-printable");
    Mail { to, head, text: if quoted { unquoted(&text) } else { text } }
}

/// Quoted-printable as what it means (RFC 2045 §6.7).
fn unquoted(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.replace("=\n", "").into_bytes().into_iter());
    while let Some(byte) = rest.next() {
        if byte != b'=' {
            bytes.push(byte);
            continue;
        }
        let digits: String = rest.by_ref().take(2).map(char::from).collect();
        bytes.extend(u8::from_str_radix(&digits, 16).ok());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_quoted() {
        assert_eq!(unquoted("a=3Db =E3=81=82=\nc"), "a=b あc");
    }
}
