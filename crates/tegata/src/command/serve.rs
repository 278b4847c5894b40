//! `tegata serve`.

use std::{path::Path, sync::Arc, time::Duration};

use clap::Args;
use tokio::sync::mpsc;

use super::{Context, Failed, apply};
use crate::{
    admin::Ask,
    background::pause,
    circle,
    compose::{self, Composed, DataDir, Footing},
    config::{Config, Declared, Source},
    handover::{self, Giver, Taker},
    history,
    logging::{self, Level},
    notify::Notify,
    operate::{self, MadeSecrets, Refused, policy},
    reload::Current,
    run::{self, Asked, Heard, Listeners, Loopback, Running, Stop},
    sockets::{self, Brought, Rest},
};

/// How long it is waited until a process that has gone no longer has its data directory, and until nothing
/// here uses it any more.
const LETTING_GO: Duration = Duration::from_secs(10);

/// For how long a server that starts tries again to reach its database. The last try may end later, and all must
/// be over long before a server that hands over goes on by itself.
const WAITS: Duration = Duration::from_secs(30);
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Serve {
    /// Takes the place of the server that runs on the same data directory: its sockets first, and its data
    /// once it has let go. Nobody who connects meanwhile is refused.
    #[arg(long)]
    take_over: bool,
}

/// How a server ended that was not handed over: well, or for this reason.
type Over = Option<String>;

/// What a server is made from, and what it hears.
struct Server<'c> {
    context: &'c Context,
    source: Source,
    current: Current,
    level: Level,
    notify: &'c Notify,
    stop: Stop,
}

impl Serve {
    /// Runs the server until it is told to stop, or has handed over.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        let (config, source, given) = context.read()?;
        let level = logging::start(&config.observability)?;
        let declared = Declared::of(&config);
        let mut declarations =
            apply::declarations(declared, &source.base).map_err(Failed::Usage)?;
        // What is wrong with policies is found when it is known whether others decide.
        declarations.policies = None;
        let mut stop = Stop::listen()?;
        let data = compose::data_dir(&config, &source);
        let (listeners, mut giver) =
            listen(&config, context.brought()?, &data, self.take_over).await?;
        if let Some(giver) = &mut giver {
            tokio::select! {
                taken = take(giver, &data) => taken?,
                _ = stop.asked() => return Ok(()),
            }
        }
        let current = Current::new(config, &source, given);
        let notify = Notify::open();
        let server = Server { context, source, current, level, notify: &notify, stop };
        notify.alive_during(server.serve(listeners, declarations, giver, &data)).await
    }
}

/// The sockets, and whoever hands some over.
async fn listen(
    config: &Config,
    brought: Vec<Brought>,
    data: &Path,
    take_over: bool,
) -> Result<(Listeners, Option<Giver>), Failed> {
    if take_over {
        let asked = handover::ask(data).await.map_err(|error| {
            Failed::Operation(format!("the server that runs does not hand over: {error}"))
        })?;
        if let Some((giver, sockets)) = asked {
            return Ok((sockets::listeners(config, sockets, Rest::Closed)?, Some(giver)));
        }
    }
    Ok((sockets::listeners(config, brought, Rest::Refused)?, None))
}

async fn take(giver: &mut Giver, data: &Path) -> Result<(), Failed> {
    let taken = giver.take().await;
    taken.map_err(|error| Failed::Operation(format!("the server that runs: {error}")))?;
    free(data).await;
    Ok(())
}

/// Waits until nobody has the data directory, but not for ever: who takes it then says what is wrong.
async fn free(data: &Path) {
    let freed = async {
        while !DataDir::is_free(data) {
            pause(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(LETTING_GO, freed).await;
}

enum Ended {
    Over(Over),
    /// To whoever is named: the data directory is free, and the sockets are still open.
    Given(Box<(Taker, Listeners)>),
}

/// Why a server stops.
enum Why {
    Asked(Asked),
    Over(String),
    Given(Taker),
}

impl Server<'_> {
    /// Serves until it is told to stop, or another process serves in its place.
    async fn serve(
        mut self,
        mut listeners: Listeners,
        declarations: operate::Declarations,
        mut giver: Option<Giver>,
        data: &Path,
    ) -> Result<(), Failed> {
        let mut declarations = Some(declarations);
        loop {
            let kept =
                listeners.kept().map_err(|it| Failed::Operation(format!("sockets: {it}")))?;
            let (mut taker, kept) = match self
                .once(listeners, declarations.take(), giver.take(), kept)
                .await?
            {
                Ended::Over(over) => return over.map_or(Ok(()), |it| Err(Failed::Operation(it))),
                Ended::Given(given) => *given,
            };
            let taken = tokio::select! {
                taken = taker.takes_over() => taken,
                _ = self.stop.asked() => return Ok(()),
            };
            if taken {
                tracing::info!("another process has taken over");
                return Ok(());
            }
            drop(taker);
            tracing::error!("the process that was to take over does not serve; this one goes on");
            free(data).await;
            listeners = kept;
        }
    }

    /// Serves until it is told to stop, or to hand over.
    async fn once(
        &mut self,
        listeners: Listeners,
        declarations: Option<operate::Declarations>,
        giver: Option<Giver>,
        kept: Listeners,
    ) -> Result<Ended, Failed> {
        let config = self.current.config.clone();
        let Some(composed) = self.composed(&config).await? else { return Ok(Ended::Over(None)) };
        let composed = Arc::new(composed);
        let inside = circle::enter(&composed).await;
        if let Some(declarations) = declarations {
            let declared = operate::declare(&composed, &declarations, MadeSecrets::WouldBeLost);
            declared.await.map_err(|refused| Failed::Usage(refused.why))?;
            policy::declare_at_start(&composed).await?;
        }
        let (asks, mut asked) = mpsc::channel(4);
        let started = run::start(Arc::clone(&composed), listeners, Loopback::Counted, asks);
        let mut running = started.await?;
        if let Some(giver) = giver {
            giver.serving().await;
        }
        tracing::info!(node = %composed.node.id(), issuer = composed.provider.issuer(), "started");
        self.notify.ready();
        let why = self.keep(&composed, &mut running, &mut asked, &kept).await;
        // Whoever asks from now on is refused: waiting here, they would hold what is let go of.
        drop(asked);
        let told = match &why {
            Why::Asked(_) => "asked to",
            Why::Over(why) => why,
            Why::Given(_) => "another process takes over",
        };
        tracing::info!(node = %composed.node.id(), why = told, "stopping");
        let (asked, over, given) = match why {
            Why::Asked(asked) => (asked, None, None),
            Why::Over(why) => (Asked::Hand, Some(why), None),
            // Clients are told to open other connections before those that they have are closed.
            Why::Given(taker) => (Asked::Next, None, Some(taker)),
        };
        let given = given.map(|taker| (taker, kept));
        if given.is_none() {
            self.notify.stopping();
        }
        running.stop(asked).await;
        history::note(&composed).await;
        drop(inside);
        Ok(match given {
            Some(given) if let_go(composed).await => Ended::Given(Box::new(given)),
            // The end of the process lets go of everything. Whoever takes over sees it.
            _ => Ended::Over(over),
        })
    }

    /// All that serves. A database that is away is waited for: it may be starting as well, or have much to do.
    /// Meanwhile nobody else gets the data directory. `None`: it is told to stop before.
    async fn composed(&mut self, config: &Config) -> Result<Option<Composed>, Failed> {
        let source = &self.source;
        let composing = async {
            let footing = Footing::take(config, source).await?;
            let began = footing.node.since_boot();
            loop {
                match compose::compose_on(&footing, config.clone()).await {
                    Err(error) if error.is_away() && footing.node.elapsed(began) < WAITS => {
                        tracing::warn!(%error, "nothing is served yet; trying again");
                    }
                    composed => return composed,
                }
                pause(BETWEEN_TRIES).await;
            }
        };
        tokio::select! {
            composed = composing => Ok(Some(composed?)),
            _ = self.stop.asked() => Ok(None),
        }
    }

    /// Serves, and answers what is asked meanwhile. Why it is over.
    async fn keep(
        &mut self,
        composed: &Arc<Composed>,
        running: &mut Running,
        asked: &mut mpsc::Receiver<Ask>,
        kept: &Listeners,
    ) -> Why {
        loop {
            let ask = tokio::select! {
                heard = self.stop.heard() => match heard {
                    Heard::Stop(asked) => return Why::Asked(asked),
                    Heard::Reload => None,
                },
                Some(ask) = asked.recv() => Some(ask),
                why = composed.history.ends() => return Why::Over(why),
                why = composed.supervisor.ends() => return Why::Over(why),
            };
            match ask {
                Some(Ask::HandOver(stream)) => match handover::offer(stream, kept).await {
                    Ok(taker) => return Why::Given(taker),
                    Err(error) => tracing::warn!(%error, "nothing was handed over"),
                },
                Some(Ask::Reload(tell)) => {
                    // Whoever asked may have gone.
                    let _ = tell.send(self.reload(composed, running).await);
                }
                None => {
                    if let Err(refused) = self.reload(composed, running).await {
                        tracing::error!(why = refused.why, "SIGHUP: not all was taken over");
                    }
                }
            }
        }
    }

    async fn reload(
        &mut self,
        composed: &Arc<Composed>,
        running: &mut Running,
    ) -> Result<serde_json::Value, Refused> {
        self.notify.reloading();
        let read = self.current.read_anew(self.context, composed, running, &self.level).await;
        self.notify.ready();
        read
    }
}

/// Lets go of the data directory. Whether nothing here uses it any more: what was begun in the background
/// may end a moment later than it is told to.
async fn let_go(composed: Arc<Composed>) -> bool {
    let alone = async {
        while Arc::strong_count(&composed) > 1 {
            pause(Duration::from_millis(5)).await;
        }
    };
    let is_alone = tokio::time::timeout(LETTING_GO, alone).await.is_ok();
    if !is_alone {
        let others = Arc::strong_count(&composed) - 1;
        tracing::warn!(others, "something still uses the data directory; this process ends");
    }
    drop(composed);
    is_alone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_a_database_gives_up_long_before_the_server_that_hands_over_goes_on() {
        assert!(WAITS * 3 < handover::STARTING);
    }
}
