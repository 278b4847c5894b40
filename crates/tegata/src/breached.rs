//! A list of passwords that were stolen somewhere, in a file on this machine: the text in which
//! *Have I Been Pwned* gives out its hashes, ordered by hash. Nothing of a password leaves the machine.
//!
//! Each line is a SHA-1 in 40 hexadecimal digits, and what follows a colon is passed over. The file is
//! tens of gigabytes, so it is neither read nor kept in memory: a look is a binary search with about
//! thirty reads of a few hundred bytes. A list is replaced by renaming another over it and starting anew:
//! what is open stays as it was.

use std::{
    cmp::Ordering,
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use tegata_identity::Breached;

/// The longest line that is read: a hash, a colon, a count, and the end of a line.
const LONGEST: usize = 64;

/// Below so many bytes, lines are read one after the other.
const FEW: u64 = 1024;

/// In how many places a list is looked at before it is used.
const LOOKS: u64 = 512;

/// A list that is open.
#[derive(Debug)]
pub(crate) struct List {
    file: File,
    path: PathBuf,
    length: u64,
}

/// Why a file is no such list.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoList {
    #[error("the list of breached passwords `{}` cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "the list of breached passwords `{}` is not one: {why}; what is needed is one SHA-1 a line in 40 \
         hexadecimal digits, ordered by hash, as *Have I Been Pwned* gives them out",
        path.display()
    )]
    Malformed { path: PathBuf, why: String },
}

impl List {
    /// Opens a list, and looks whether it is one: at its ends and in places all over it.
    pub(crate) fn open(path: &Path) -> Result<Self, NoList> {
        let read = |source| NoList::Read { path: path.to_owned(), source };
        let malformed =
            |why: &str| NoList::Malformed { path: path.to_owned(), why: why.to_owned() };
        // Before it is opened: a pipe would be waited for.
        if !std::fs::metadata(path).map_err(read)?.is_file() {
            return Err(malformed("it is no file"));
        }
        let file = File::open(path).map_err(read)?;
        let length = file.metadata().map_err(read)?.len();
        let list = Self { file, path: path.to_owned(), length };
        if list.length == 0 {
            return Err(malformed("it is empty"));
        }
        let mut before: Option<[u8; 20]> = None;
        for look in 0..LOOKS {
            let at = u64::try_from(u128::from(list.length) * u128::from(look) / u128::from(LOOKS))
                .unwrap_or_default();
            let line = list.line_from(at).map_err(|why| malformed(&why))?;
            let Some((_, hash, _)) = line else { break };
            if before.is_some_and(|before| before > hash) {
                return Err(malformed("it is not ordered by hash"));
            }
            before = Some(hash);
        }
        Ok(list)
    }

    /// The first line that begins at this place or after it: where it begins, its hash, and where the next
    /// one begins. `None`: there is none.
    fn line_from(&self, at: u64) -> Result<Option<(u64, [u8; 20], u64)>, String> {
        // From one byte before, so that a line that begins just there is seen to.
        let from = at.saturating_sub(1);
        let mut buffer = [0; 2 * LONGEST + 1];
        let count = self.read(&mut buffer, from)?;
        let read = buffer.get(..count).unwrap_or_default();
        let skipped = if at == 0 {
            0
        } else {
            match read.iter().position(|byte| *byte == b'\n') {
                Some(end) => end + 1,
                None if from + length(count) >= self.length => return Ok(None),
                None => return Err(format!("at byte {from}, there is a line that is too long")),
            }
        };
        let rest = read.get(skipped..).unwrap_or_default();
        let begins = from + length(skipped);
        if rest.is_empty() {
            return Ok(None);
        }
        let line = match rest.iter().position(|byte| *byte == b'\n') {
            Some(end) => rest.get(..end).unwrap_or_default(),
            None if begins + length(rest.len()) >= self.length => rest,
            None => return Err(format!("at byte {begins}, there is a line that is too long")),
        };
        let next = begins + length(line.len()) + 1;
        let hash = hash(line).ok_or_else(|| format!("at byte {begins}, there is no hash"))?;
        Ok(Some((begins, hash, next)))
    }

    /// As many bytes from there as there are.
    fn read(&self, buffer: &mut [u8], from: u64) -> Result<usize, String> {
        let mut count = 0;
        while let Some(rest) = buffer.get_mut(count..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, from + length(count)) {
                Ok(0) => break,
                Ok(more) => count += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(count)
    }

    fn find(&self, wanted: &[u8; 20]) -> Result<bool, String> {
        // Of one that was cut or written anew in place, what is not found may have been there.
        if self.file.metadata().map_err(|error| error.to_string())?.len() != self.length {
            return Err("it has changed since the start: replace it with `mv`".to_owned());
        }
        // INVARIANT: lines that begin before `low` are smaller than what is wanted, and those that begin
        // at `high` or after it are larger.
        let (mut low, mut high) = (0, self.length);
        while high.saturating_sub(low) > FEW {
            let middle = low + (high - low) / 2;
            match self.line_from(middle)? {
                Some((begins, hash, next)) if begins < high => match hash.cmp(wanted) {
                    Ordering::Equal => return Ok(true),
                    Ordering::Less => low = next,
                    Ordering::Greater => high = middle,
                },
                _ => high = middle,
            }
        }
        let mut at = low;
        while let Some((begins, hash, next)) = self.line_from(at)? {
            if begins >= high {
                break;
            }
            match hash.cmp(wanted) {
                Ordering::Equal => return Ok(true),
                Ordering::Less => at = next,
                Ordering::Greater => break,
            }
        }
        Ok(false)
    }
}

impl Breached for List {
    fn has(&self, sha1: &[u8; 20]) -> Result<bool, String> {
        self.find(sha1).map_err(|why| {
            format!(
                "the list of breached passwords `{}` cannot be used: {why}",
                self.path.display()
            )
        })
    }
}

/// The hash that a line begins with.
fn hash(line: &[u8]) -> Option<[u8; 20]> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(40)?;
    if !(rest.is_empty() || rest.starts_with(b":")) {
        return None;
    }
    let mut hash = [0; 20];
    for (byte, pair) in hash.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(hash)
}

fn length(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use aws_lc_rs::digest;

    use super::*;

    struct Desk(tempfile::TempDir);

    impl Desk {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn file(&self, text: &[u8]) -> PathBuf {
            let path = self.0.path().join("list.txt");
            std::fs::write(&path, text).unwrap();
            path
        }

        fn open(&self, text: &[u8]) -> Result<List, NoList> {
            List::open(&self.file(text))
        }

        fn refused(&self, text: &[u8]) -> String {
            self.open(text).unwrap_err().to_string()
        }
    }

    fn sha1(text: &str) -> [u8; 20] {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        hash.as_ref().try_into().unwrap()
    }

    fn hex(hash: &[u8; 20]) -> String {
        hash.iter().map(|byte| format!("{byte:02X}")).collect()
    }

    fn text(hashes: &[[u8; 20]], end: &str) -> String {
        let mut text = String::new();
        for (number, hash) in hashes.iter().enumerate() {
            write!(text, "{}:{}{end}", hex(hash), number * 7919 % 100_000).unwrap();
        }
        text
    }

    #[test]
    fn finds_every_line_and_nothing_between_them() {
        let desk = Desk::new();
        for count in [1, 2, 3, 17, 21, 22, 23, 24, 100, 5000] {
            let mut hashes: Vec<_> = (0..count).map(|it| sha1(&format!("password {it}"))).collect();
            hashes.sort_unstable();
            for end in ["\n", "\r\n"] {
                let whole = text(&hashes, end);
                let unended = whole.trim_end();
                for text in [whole.as_str(), unended, &whole.to_lowercase()] {
                    let list = desk.open(text.as_bytes()).unwrap();
                    for hash in &hashes {
                        assert_eq!(list.has(hash), Ok(true), "{} of {count}", hex(hash));
                        let mut near = *hash;
                        near[19] ^= 1;
                        assert_eq!(list.has(&near), Ok(hashes.contains(&near)));
                    }
                    assert_eq!(list.has(&[0; 20]), Ok(false));
                    assert_eq!(list.has(&[0xff; 20]), Ok(false));
                }
            }
        }
    }

    #[test]
    fn lines_may_have_no_counts_and_come_twice() {
        let desk = Desk::new();
        let line = format!("{}\n", hex(&sha1("a")));
        let list = desk.open(line.repeat(200).as_bytes()).unwrap();
        assert_eq!(list.has(&sha1("a")), Ok(true));
        assert_eq!(list.has(&sha1("b")), Ok(false));
    }

    #[test]
    fn what_is_no_list_is_refused_at_once() {
        let desk = Desk::new();
        let good = format!("{}:3\n", hex(&sha1("a")));
        for (bad, why) in [
            (String::new(), "it is empty"),
            ("\n".to_owned(), "no hash"),
            ("password\n123456\n".to_owned(), "no hash"),
            (format!("{good}\n"), "no hash"),
            (good.replace(':', ";"), "no hash"),
            (good.get(1..).unwrap().to_owned(), "no hash"),
            (good.replacen('8', "G", 1), "no hash"),
            ("A".repeat(10_000), "too long"),
            (format!("{}{}\n", good.trim_end(), "1".repeat(300)), "too long"),
            (format!("{good}{}", "\0".repeat(500)), "too long"),
        ] {
            let refused = desk.refused(bad.as_bytes());
            assert!(refused.contains(why), "{refused}");
            assert!(refused.contains("ordered by hash"), "{refused}");
        }
        // By how often passwords were seen, as the same lists are also given out.
        let mut hashes: Vec<_> = (0..2000).map(|it| sha1(&it.to_string())).collect();
        assert!(desk.refused(text(&hashes, "\n").as_bytes()).contains("not ordered by hash"));
        hashes.sort_unstable();
        hashes.reverse();
        assert!(desk.refused(text(&hashes, "\n").as_bytes()).contains("not ordered by hash"));
        assert!(List::open(desk.0.path()).is_err());
        assert!(List::open(&desk.0.path().join("nowhere")).is_err());
    }

    #[test]
    fn what_is_spoilt_in_the_middle_ends_in_an_error_and_never_in_a_circle() {
        let desk = Desk::new();
        let mut hashes: Vec<_> = (0..3000).map(|it| sha1(&it.to_string())).collect();
        hashes.sort_unstable();
        let good = text(&hashes, "\n").into_bytes();
        let path = desk.file(&good);
        let list = List::open(&path).unwrap();
        // Written over in place, which nobody should do.
        for filling in [b'\0', b'\n', b'A', b':', 0xff] {
            let mut spoilt = good.clone();
            let middle = spoilt.len() / 2;
            spoilt[middle - 2000..middle + 2000].fill(filling);
            std::fs::write(&path, &spoilt).unwrap();
            let middle = hashes[1500];
            assert!(list.has(&middle).is_err(), "{filling}");
        }
        // Cut off.
        std::fs::write(&path, &good[..good.len() / 3]).unwrap();
        let changed = |list: &List| {
            hashes.iter().all(|hash| list.has(hash).is_err_and(|why| why.contains("with `mv`")))
        };
        assert!(changed(&list));
        std::fs::write(&path, b"").unwrap();
        assert!(changed(&list));
        // By a longer one.
        std::fs::write(&path, good.repeat(2)).unwrap();
        assert!(changed(&list));
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let desk = Desk::new();
        let pipe = desk.0.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        assert!(List::open(&pipe).unwrap_err().to_string().contains("it is no file"));
    }

    proptest::proptest! {
        #[test]
        fn no_contents_make_it_panic_or_go_on_for_ever(
            bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..5000),
            wanted in proptest::prelude::any::<[u8; 20]>(),
        ) {
            let desk = Desk::new();
            let path = desk.file(&bytes);
            let _ = List::open(&path);
            let file = File::open(&path).unwrap();
            let list = List { file, path, length: length(bytes.len()) };
            let _ = list.has(&wanted);
        }
    }
}
