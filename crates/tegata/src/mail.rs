//! Mail leaves: one node makes letters of what was asked for and hands them to the mail server, beside the
//! requests. What is not taken is tried again, less and less often, until it is of no more use.

use std::sync::Arc;

use tegata_core::{BoxFuture, Node, StoreError};
use tegata_identity::{
    Letter,
    letters::{Carried, Post, Written},
};
use tegata_server::{Letterhead, metrics::Letters as Counts};
use tokio::task::JoinSet;

use crate::{
    background::Rounds, command::Failed, compose::Composed, config::Config, signals::lease::Lease,
};

pub(crate) mod address;
mod smtp;

/// How often it is looked whether somebody waits for mail.
const LOOKS: std::time::Duration = std::time::Duration::from_millis(500);

/// So many looks later, what is of no more use is forgotten.
const TIDIES: u32 = 120;

/// How many are under way at once.
const TOGETHER: usize = 8;

/// Starts sending, where mail reaches people.
pub(crate) fn start(
    tasks: &mut JoinSet<()>,
    composed: &Arc<Composed>,
    counts: Counts,
) -> Result<(), Failed> {
    let config = &composed.config;
    if !config.has_mail() {
        return Ok(());
    }
    let post: Arc<dyn Post> = if config.shows_mail() {
        Arc::new(Shown)
    } else {
        Arc::new(smtp::Smtp::open(config, &composed.node)?)
    };
    tasks.spawn(carry(Arc::clone(composed), post, counts));
    Ok(())
}

/// Reads what is named for mail, as at a start, and asks nobody. Answers who it comes from; nobody, where
/// no mail server is named.
pub(crate) fn check(config: &Config) -> Result<Option<&str>, Failed> {
    if config.mail.url.is_none() {
        return Ok(None);
    }
    smtp::Smtp::open(config, &Node::start())?;
    Ok(config.mail.from.as_deref())
}

async fn carry(composed: Arc<Composed>, post: Arc<dyn Post>, counts: Counts) {
    let mut rounds = Rounds::every(LOOKS, "mail cannot be looked after; it waits");
    let mut lease = Lease::of("letters");
    let mut look = 0_u32;
    loop {
        rounds.next().await;
        look = look.wrapping_add(1);
        let round = async {
            if !lease.is_ours(&composed).await? {
                return Ok(());
            }
            composed.letters.make(&composed.realm).await?;
            if look.is_multiple_of(TIDIES) {
                composed.letters.tidy(&composed.realm).await?;
            }
            // Those that fail now are due later, so this ends.
            while round(&composed, &post, &counts).await? == TOGETHER {}
            Ok::<_, StoreError>(())
        };
        rounds.ended(&round.await);
    }
}

/// Sends what is due, some of it; answers how many.
async fn round(
    composed: &Arc<Composed>,
    post: &Arc<dyn Post>,
    counts: &Counts,
) -> Result<usize, StoreError> {
    let due = composed.letters.due(&composed.realm, TOGETHER).await?;
    let (count, mut under_way) = (due.len(), JoinSet::new());
    for letter in due {
        let (composed, post, counts) = (Arc::clone(composed), Arc::clone(post), counts.clone());
        under_way.spawn(async move { send(&composed, post.as_ref(), &counts, &letter).await });
    }
    let mut noted = Ok(());
    while let Some(sent) = under_way.join_next().await {
        noted = noted.and(sent.unwrap_or(Ok(())));
    }
    noted.map(|()| count)
}

async fn send(
    composed: &Composed,
    post: &dyn Post,
    counts: &Counts,
    letter: &Letter,
) -> Result<(), StoreError> {
    let letterhead = Letterhead::new(composed.config.issuer());
    let written = composed.letters.written(&composed.realm, letter, &letterhead)?;
    let carried = post.carry(&written).await;
    let about = letter.content.name();
    counts.noted(match &carried {
        Carried::Taken => "sent",
        Carried::Refused(_) => "refused",
        Carried::Failed(_) => "failed",
    });
    match &carried {
        Carried::Taken => {}
        Carried::Refused(why) => {
            tracing::warn!(about, %why, "mail was refused; it is not sent again");
        }
        Carried::Failed(why) => tracing::warn!(about, %why, "mail was not sent; it is tried again"),
    }
    composed.letters.note(&composed.realm, letter, &carried).await
}

/// Mail in the log, for whoever tries the program out on their own machine.
struct Shown;

impl Post for Shown {
    fn carry<'a>(&'a self, written: &'a Written) -> BoxFuture<'a, Carried> {
        let Written { to, subject, text } = written;
        tracing::info!(
            "mail to {} (shown here because [mail] is not set): {subject}\n\n{}",
            to.as_str(),
            text.expose()
        );
        Box::pin(std::future::ready(Carried::Taken))
    }
}
