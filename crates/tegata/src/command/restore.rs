//! `tegata restore`.

use clap::Args;

use super::{Context, Failed};
use crate::{
    compose::{self, Ground, Startup},
    history::{self, Seen},
    restore,
};

#[derive(Args)]
pub(crate) struct Restore {
    /// Says that the database was brought back by its own means: a copy of files, `pg_basebackup`, a
    /// dump, a standby that lacked the latest. Nothing that was issued before counts any more, and all
    /// signing keys are replaced. To be run with every node stopped, before any is started.
    #[arg(long, required = true)]
    declare: bool,
}

impl Restore {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failed> {
        if !self.declare {
            return Err(Failed::Usage("say `--declare`".to_owned()));
        }
        let (config, source) = context.load()?;
        compose::check_data_dir(&config, &source)?;
        let ground = Ground::open(&config, &source).await?;
        let seen = match Seen::read(ground.data.path()) {
            Ok(seen) => seen.map(|seen| seen.epoch()),
            // It says less than the clock does, and is written anew.
            Err(Startup::SeenDamaged(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let records = ground.records.as_ref();
        let declared = restore::declare(records, &ground.node, &ground.rings, seen).await;
        let told = declared.map_err(|refused| Failed::Operation(refused.to_string()))?;
        history::begin_anew(ground.data.path(), records).await?;
        context.show(&told)
    }
}
