//! A secret that is typed: it is not shown on the terminal.

use std::io::{self, Read as _};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// What a terminal sends for Ctrl-C.
const INTERRUPT: u8 = 3;

/// Asks for `what` and reads a line from standard input, unseen where somebody types it.
pub(crate) fn read(what: &str) -> io::Result<String> {
    // Before anybody is asked: they may be fast.
    let unseen = Unseen::begin();
    warn_line!("{what}, ending with a line break:");
    let mut line = Vec::new();
    for byte in io::stdin().lock().bytes() {
        match byte? {
            b'\n' => break,
            INTERRUPT if unseen.is_some() => return Err(io::ErrorKind::Interrupted.into()),
            byte => line.push(byte),
        }
    }
    String::from_utf8(line).map_err(io::Error::other)
}

/// A terminal that does not show what is typed, until this is dropped.
struct Unseen(Termios);

impl Unseen {
    /// `None`: standard input is not a terminal.
    fn begin() -> Option<Self> {
        let before = tcgetattr(io::stdin()).ok()?;
        let mut unseen = before.clone();
        // Ctrl-C ends the line in place of the process, which would leave the terminal as it is.
        unseen.local_modes.remove(LocalModes::ECHO | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VEOL] = INTERRUPT;
        tcsetattr(io::stdin(), OptionalActions::Now, &unseen).ok()?;
        Some(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // The line break that was typed was not shown either.
        warn_line!("");
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
