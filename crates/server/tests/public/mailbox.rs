//! A mail server that takes everything, and what people find in it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use parking_lot::Mutex;
use tegata_core::BoxFuture;
use tegata_identity::letters::{Carried, Post, Waiting, Written};
use tegata_server::Letterhead;

use super::{
    bench::{Bench, ISSUER},
    browser::{Answer, Browser},
};

/// A mail, as its person reads it.
#[derive(Debug, Clone)]
pub(crate) struct Mail {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
}

/// What was sent. A fake.
#[derive(Clone, Default)]
pub(crate) struct Mailbox {
    mails: Arc<Mutex<Vec<Mail>>>,
    /// Whether nothing is taken.
    pub(crate) is_away: Arc<AtomicBool>,
    /// How often it was tried.
    pub(crate) tried: Arc<Mutex<u32>>,
}

impl Post for Mailbox {
    fn carry<'a>(&'a self, written: &'a Written) -> BoxFuture<'a, Carried> {
        *self.tried.lock() += 1;
        if self.is_away.load(Ordering::SeqCst) {
            return Box::pin(std::future::ready(Carried::Failed("away".to_owned())));
        }
        self.mails.lock().push(Mail {
            to: written.to.as_str().to_owned(),
            subject: written.subject.clone(),
            text: written.text.expose().clone(),
        });
        Box::pin(std::future::ready(Carried::Taken))
    }
}

impl Bench {
    /// Sends what waits, and answers all of it.
    pub(crate) async fn mails(&self) -> Vec<Mail> {
        self.letters.make(&self.realm).await.unwrap();
        let letterhead = Letterhead::new(ISSUER.to_owned());
        for waiting in [Waiting::New, Waiting::Again] {
            let mut walk = waiting.walk();
            while let Some(due) = self.letters.due(&self.realm, &mut walk).await.unwrap() {
                for letter in due {
                    let written = self.letters.written(&self.realm, &letter, &letterhead).unwrap();
                    let carried = self.mailbox.carry(&written).await;
                    self.letters.note(&self.realm, &letter, &carried).await.unwrap();
                }
            }
        }
        std::mem::take(&mut *self.mailbox.mails.lock())
    }

    /// The one mail that waits.
    pub(crate) async fn mail(&self) -> Mail {
        let mut mails = self.mails().await;
        assert_eq!(mails.len(), 1, "{mails:#?}");
        mails.remove(0)
    }
}

impl Mail {
    /// The page that its link leads to, and what the link carries.
    pub(crate) fn link(&self) -> (String, String) {
        let line = self.text.lines().find(|line| line.contains("/login/") && line.contains('#'));
        let line = line.unwrap_or_else(|| panic!("no link in {}", self.text));
        let (page, carried) = line.strip_prefix(ISSUER).unwrap().split_once('#').unwrap();
        (page.to_owned(), carried.to_owned())
    }
}

impl Browser {
    /// Shows the page at `path` and sends its form with these fields.
    pub(crate) async fn fill(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = self.get(path).await;
        let token = page.field("csrf_token").to_owned();
        let target = path.split('?').next().unwrap();
        self.submit(target, &[&[("csrf_token", token.as_str())], fields].concat()).await
    }

    /// Follows the link of a mail and chooses a password.
    pub(crate) async fn choose(&mut self, mail: &Mail, password: &str) -> Answer {
        let (page, link) = mail.link();
        self.fill(&page, &[("link", &link), ("password", password)]).await
    }
}
