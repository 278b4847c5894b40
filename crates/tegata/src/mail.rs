//! Mail leaves: one node makes letters of what was asked for and hands them to the mail server, beside the
//! requests. What is not taken is tried again, less and less often, until it is of no more use.

use std::sync::Arc;

use tegata_core::{BoxFuture, Node, StoreError};
use tegata_identity::{
    Letter,
    letters::{Carried, Post, Waiting, Walk, Written},
};
use tegata_server::{Letterhead, metrics::Letters as Counts};
use tokio::task::JoinSet;

use crate::{
    background::Rounds,
    command::Failed,
    compose::Composed,
    config::Config,
    signals::lease::Lease,
    supervisor::{Tasks, Weight},
};

pub(crate) mod address;
mod smtp;

/// How often it is looked whether somebody waits for mail.
const LOOKS: std::time::Duration = std::time::Duration::from_millis(500);

/// So many looks later, mail that was tried in vain is looked at.
const RETRIES: u32 = 10;

/// So many looks later, what is of no more use is forgotten.
const TIDIES: u32 = 120;

/// How many are under way at once.
const TOGETHER: usize = 8;

/// Starts sending, where mail reaches people.
pub(crate) fn start(
    tasks: &mut Tasks,
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
    let all = Arc::clone(composed);
    tasks.keep("mail", Weight::Helpful, move || {
        carry(Arc::clone(&all), Arc::clone(&post), counts.clone())
    });
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
    let (mut look, mut again) = (0_u32, None);
    loop {
        rounds.next().await;
        look = look.wrapping_add(1);
        if look.is_multiple_of(RETRIES) && again.is_none() {
            again = Some(Waiting::Again.walk());
        }
        let round = async {
            if !lease.is_ours(&composed).await? {
                again = None;
                return Ok(());
            }
            // What cannot be made holds up nothing that is.
            let made = composed.letters.make(&composed.realm).await;
            let mut new = Waiting::New.walk();
            while send_some(&composed, &post, &counts, &mut new).await? {}
            // Some at each look: a server that is away is waited for, and new mail does not wait for that.
            if let Some(walk) = &mut again
                && !send_some(&composed, &post, &counts, walk).await?
            {
                again = None;
            }
            if look.is_multiple_of(TIDIES) {
                composed.letters.tidy(&composed.realm).await?;
            }
            made
        };
        rounds.ended(&round.await);
    }
}

/// Sends what is due of the next page of a walk; answers whether there was one.
async fn send_some(
    composed: &Arc<Composed>,
    post: &Arc<dyn Post>,
    counts: &Counts,
    walk: &mut Walk,
) -> Result<bool, StoreError> {
    let Some(due) = composed.letters.due(&composed.realm, walk).await? else { return Ok(false) };
    let (mut due, mut under_way, mut noted) = (due.into_iter(), JoinSet::new(), Ok(()));
    loop {
        while under_way.len() < TOGETHER
            && let Some(letter) = due.next()
        {
            let (composed, post, counts) = (Arc::clone(composed), Arc::clone(post), counts.clone());
            under_way.spawn(async move { send(&composed, post.as_ref(), &counts, &letter).await });
        }
        match under_way.join_next().await {
            Some(sent) => noted = noted.and(sent.unwrap_or(Ok(()))),
            None => return noted.map(|()| true),
        }
    }
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
        let to = to.as_str();
        tracing::info!("mail to {to} (shown here because [mail] is not set): {subject}");
        // A line of the log is one line.
        text.expose().lines().for_each(|line| tracing::info!("mail to {to}: {line}"));
        Box::pin(std::future::ready(Carried::Taken))
    }
}
