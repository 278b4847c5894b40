//! A connection in one caller's hands.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::sync::OwnedSemaphorePermit;
use tokio_postgres::Row;

use super::{
    fault::Fault,
    param::Param,
    pool::Shared,
    session::Session,
    silence::{SILENT, Unheard},
};

/// A connection in one caller's hands. It goes back to the pool when it is dropped.
pub(super) struct Lease {
    shared: Arc<Shared>,
    session: Option<Session>,
    /// Whether a statement was sent whose answer has not been read to the end.
    midway: bool,
    permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    pub(super) fn new(
        shared: &Arc<Shared>,
        permit: OwnedSemaphorePermit,
        session: Session,
    ) -> Self {
        shared.leased.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        Self { shared, session: Some(session), midway: false, permit: Some(permit) }
    }

    /// Asks one statement, for as long as it may take.
    pub(super) async fn ask(mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        let Some(session) = &self.session else {
            return Err(Fault::Unsent("the connection is gone".to_owned()));
        };
        self.midway = true;
        let sent = AtomicBool::new(false);
        let answer = session.ask(sql, params, &sent, &self.shared.ear);
        let why = match self.shared.hear(&session.door, answer).await {
            Ok(answer) => {
                self.midway = false;
                match &answer {
                    Ok(_) | Err(Fault::Refused { .. }) => self.shared.ear.hears(),
                    Err(_) => {}
                }
                if answer.as_ref().is_err_and(Fault::ends_session) {
                    self.session = None;
                }
                return answer;
            }
            Err(Unheard::Silent) => SILENT,
            Err(Unheard::Late) => {
                // The server would have said so by now. What is idle may hang in the same way.
                self.shared.idle.lock().clear();
                "it did not answer in time"
            }
        };
        self.session = None;
        let why = why.to_owned();
        Err(if sent.into_inner() { Fault::Lost(why) } else { Fault::Unsent(why) })
    }

    /// Asks nothing, and waits for the answer to it. Answers whether one came.
    pub(super) async fn settle(&mut self) -> bool {
        let Some(session) = &self.session else { return false };
        self.midway = true;
        let settled = session.settle().await;
        self.midway = false;
        if !settled {
            self.session = None;
        }
        settled
    }

    /// Ends the connection.
    pub(super) fn end(mut self) {
        self.session = None;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let leased = Leased(self.shared.clone());
        let Some(session) = self.session.take() else { return };
        if !self.midway {
            self.shared.give_back(session);
            return;
        }
        // The caller has gone away in the middle of a statement. The connection is of use when that
        // is over; until then it counts as in use.
        let (shared, permit) = (self.shared.clone(), self.permit.take());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(true) = shared.hear(&session.door, session.settle()).await {
                    shared.ear.hears();
                    shared.give_back(session);
                }
                drop((leased, permit));
            });
        }
    }
}

/// That a connection is in somebody's hands, until this is dropped.
struct Leased(Arc<Shared>);

impl Drop for Leased {
    fn drop(&mut self) {
        self.0.leased.fetch_sub(1, Ordering::SeqCst);
    }
}
