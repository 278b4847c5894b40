//! What is answered while nothing can be written: the disk is full, or somebody else holds the
//! database. Each needs a demo of its own.

use std::thread;

use rusqlite::Connection;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{
    browser::{Browser, as_client, ask_token, tokens},
    demo::{Client, Demo, Person},
    http::Answer,
};

/// Somebody who was signed in before the shortage began.
struct Before<'d> {
    demo: &'d Demo,
    client: Client,
    person: Person,
    browser: Browser,
    refresh: String,
    access: String,
}

impl<'d> Before<'d> {
    fn of(demo: &'d Demo) -> Self {
        let (client, person) = (demo.client("demo-web"), demo.person("customer"));
        let told = tokens(demo, &client, &person);
        let text = |name: &str| told[name].as_str().unwrap().to_owned();
        let (refresh, access) = (text("refresh_token"), text("access_token"));
        let (browser, _) = Browser::signed_in(demo.public, &person);
        Self { demo, client, person, browser, refresh, access }
    }

    fn refresh(&self) -> Answer {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", self.refresh.as_str())];
        ask_token(self.demo, &self.client, &fields)
    }

    fn revoke(&self) -> Answer {
        let ask = self.demo.public.post("/oauth2/revoke");
        as_client(ask, &self.client, &[("token", &self.access)]).send()
    }

    fn serves(&self) -> u16 {
        self.demo.gateway.get("/echo/x").bearer(&self.access).send().status
    }

    /// Whatever would have to be written is refused for the time being, and what need not be goes on.
    fn nothing_is_acknowledged(&self) {
        let again_later = |answer: &Answer| {
            assert_eq!(answer.status, 503, "{}", answer.text());
            let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
            assert!(wait >= 1);
            assert!(answer.field("set-cookie").is_none());
        };
        let public = self.demo.public;
        // At once: each waits for whoever holds the database.
        thread::scope(|scope| {
            scope.spawn(|| {
                let refreshed = self.refresh();
                again_later(&refreshed);
                assert_eq!(refreshed.json()["error"], "temporarily_unavailable");
            });
            scope.spawn(|| {
                again_later(&self.revoke());
                assert_eq!(self.serves(), 200, "what was not taken back counts");
            });
            scope.spawn(|| {
                let signed_in = Browser::new(public).sign_in(&self.person);
                again_later(&signed_in);
                signed_in.problem();
            });
            // Who is not signed out keeps the cookies.
            let out = self.browser.changing(public.post("/api/auth/logout"));
            scope.spawn(move || again_later(&out.send()));
            scope.spawn(|| self.demo.operations.get("/health/live").send().expect(200));
        });
    }

    /// Everything works again, and nothing has been lost.
    fn all_is_well_again(&mut self) {
        let successor = self.refresh().expect(200).json();
        assert_ne!(successor["refresh_token"], self.refresh.as_str());
        self.access = successor["access_token"].as_str().unwrap().to_owned();
        assert_eq!(self.serves(), 200);
        self.revoke().expect(200);
        assert_eq!(self.serves(), 401);
        self.browser.get("/api/auth/session").expect(200);
        self.browser.change(self.demo.public.post("/api/auth/logout")).expect(204);
        Browser::new(self.demo.public).sign_in(&self.person).expect(200);
    }
}

#[test]
fn on_a_full_disk_nothing_is_acknowledged_and_nothing_is_lost() {
    let demo = Demo::start(&[]);
    let mut before = Before::of(&demo);
    // No file of the process can grow or be written any more.
    let pid = Pid::from_raw(demo.pid());
    let nothing = Rlimit { current: Some(0), maximum: None };
    let limits = prlimit(pid, Resource::Fsize, nothing).unwrap();
    before.nothing_is_acknowledged();
    prlimit(pid, Resource::Fsize, limits).unwrap();
    before.all_is_well_again();
}

#[test]
fn while_somebody_holds_the_database_nothing_is_acknowledged_and_nothing_is_lost() {
    let demo = Demo::start(&[]);
    let mut before = Before::of(&demo);
    let other = Connection::open(demo.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    before.nothing_is_acknowledged();
    other.execute_batch("ROLLBACK").unwrap();
    before.all_is_well_again();
}
