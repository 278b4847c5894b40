//! The library through which tokens are reached: one in a process, loaded once and kept until its end.
//!
//! A library has one state for the whole process. To start it twice is an error that some crash at, and
//! to end it takes the sessions of everybody. So whoever calls it holds it, and it is started anew only
//! when nobody does.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};

use super::Pkcs11Refused;

/// A library.
pub(super) struct Library {
    path: PathBuf,
    calls: Pkcs11,
    runs: bool,
    /// How often it was started. Sessions of an earlier run are closed, and their numbers are given
    /// again.
    run: u64,
}

/// The library, which is not started anew while this is held.
pub(super) type Held = MappedRwLockReadGuard<'static, Library>;

static LOADED: RwLock<Option<Library>> = RwLock::new(None);

/// The library at `path`, which runs.
///
/// # Errors
/// [`Pkcs11Refused::Module`], also where this process uses another library already.
pub(super) fn hold(path: &Path) -> Result<Held, Pkcs11Refused> {
    loop {
        if let Some(held) = running(path) {
            return Ok(held);
        }
        let mut loaded = LOADED.write();
        let library = match loaded.as_mut() {
            Some(library) => library,
            None => loaded.insert(Library::load(path)?),
        };
        library.check(path)?;
        library.start()?;
    }
}

/// The library where it runs already.
fn running(path: &Path) -> Option<Held> {
    let runs = |library: &&Library| library.runs && library.path == path;
    // Where it does not, nothing is held any more: it is to be written next.
    RwLockReadGuard::try_map(LOADED.read(), |loaded| loaded.as_ref().filter(runs)).ok()
}

/// Ends the library and starts it anew, unless somebody has done so since `run`. Some see a token that
/// was away only then. While somebody is at work in it, that is waited for no longer than `patience`: it
/// may hang there for ever, and whoever else has a session goes on only when nobody waits to end it.
///
/// Answers whether it has been started since.
///
/// # Errors
/// [`Pkcs11Refused::Module`] where it does not start.
pub(super) fn restart(path: &Path, run: u64, patience: Duration) -> Result<bool, Pkcs11Refused> {
    let Some(mut loaded) = LOADED.try_write_for(patience) else { return Ok(false) };
    let Some(library) = loaded.as_mut().filter(|library| library.run == run) else {
        return Ok(true);
    };
    library.check(path)?;
    if library.runs {
        library.runs = false;
        // What cannot be ended is not running, or is ended by being started.
        if let Err(error) = library.calls.clone().finalize() {
            tracing::warn!(%error, "the PKCS#11 module did not end");
        }
    }
    library.start().map(|()| true)
}

impl Library {
    fn load(path: &Path) -> Result<Self, Pkcs11Refused> {
        let calls = Pkcs11::new(path).map_err(|error| refused(path, error.to_string()))?;
        Ok(Self { path: path.to_owned(), calls, runs: false, run: 0 })
    }

    fn check(&self, path: &Path) -> Result<(), Pkcs11Refused> {
        if self.path == path {
            return Ok(());
        }
        Err(refused(path, format!("this process uses `{}` already", self.path.display())))
    }

    fn start(&mut self) -> Result<(), Pkcs11Refused> {
        if self.runs {
            return Ok(());
        }
        let arguments = CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK);
        let started = self.calls.initialize(arguments);
        started.map_err(|error| refused(&self.path, error.to_string()))?;
        (self.runs, self.run) = (true, self.run + 1);
        Ok(())
    }

    /// What it can be asked.
    pub(super) const fn calls(&self) -> &Pkcs11 {
        &self.calls
    }

    /// Which run of it this is.
    pub(super) const fn run(&self) -> u64 {
        self.run
    }
}

fn refused(path: &Path, detail: String) -> Pkcs11Refused {
    Pkcs11Refused::Module { path: path.to_owned(), detail }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread};

    use super::*;

    #[test]
    fn whoever_hangs_in_it_keeps_nobody_from_it_who_would_start_it_anew_or_use_it() {
        let (release, released) = mpsc::channel::<()>();
        let (hung, is_hung) = mpsc::channel();
        let hangs = thread::spawn(move || {
            let _held = LOADED.read();
            hung.send(()).unwrap();
            let _released = released.recv();
        });
        is_hung.recv().unwrap();
        // On a thread of its own each, so that one that does not end is found out.
        let (tell, told) = mpsc::channel();
        for restarts in [true, false] {
            let tell = tell.clone();
            thread::spawn(move || {
                let path = Path::new("/nowhere/library.so");
                let done = if restarts {
                    restart(path, 1, Duration::from_millis(20))
                } else {
                    Ok(running(path).is_some())
                };
                tell.send(done).unwrap();
            });
            let done = told.recv_timeout(Duration::from_secs(60)).expect("it is held up");
            assert_eq!(done, Ok(false), "{restarts}");
        }
        drop(release);
        hangs.join().unwrap();
        assert_eq!(restart(Path::new("/nowhere/library.so"), 1, Duration::from_secs(60)), Ok(true));
    }
}
