use std::sync::atomic::Ordering;

use super::*;
use crate::{
    HashingPool,
    credential::password::HasherConfig,
    testing::{Bed, address, cheap, secret, typed},
    workers,
};

const PASSWORD: &str = "correct horse battery";

async fn attempt(bed: &Bed, name: &str, password: &str) -> Result<Assurance, Refused> {
    let home = address("192.0.2.1");
    bed.sign_in().by_password(&bed.realm, name, secret(password), home).await.map(whole)
}

/// What a password alone gives whoever has no second factor.
fn whole(proof: Proof) -> Assurance {
    match proof {
        Proof::Whole(assurance) => assurance,
        Proof::First(first) | Proof::Unenrolled(first) => {
            panic!("{first:?} is only the first factor")
        }
    }
}

#[tokio::test]
async fn the_right_password_gives_an_assurance() {
    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    let assurance = attempt(&bed, " Alice ", PASSWORD).await.unwrap();
    assert_eq!(assurance.user, alice);
    assert_eq!(assurance.amr.iter().map(|method| method.as_str()).collect::<Vec<_>>(), ["pwd"]);
    assert_eq!((assurance.acr.as_str(), assurance.auth_time), ("aal1", bed.node.now()));
}

/// S10, by counting: the same answer, after the same reads in the same order and the same hashing,
/// whatever is wrong.
#[tokio::test]
async fn nothing_tells_whether_a_user_exists() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    bed.user("passkey-only", None).await;
    let mallory = bed.user("mallory", Some(PASSWORD)).await;
    bed.users.disable(&bed.realm, &mallory.id, "root").await.unwrap();
    bed.records.loads();
    let long = "x".repeat(5000);
    for (name, password) in [
        ("alice", "wrong"),
        ("alice", ""),
        ("alice", &long),
        ("alice", &format!("{PASSWORD}\0")),
        ("nobody", PASSWORD),
        ("nobody", &long),
        ("not a name\n", PASSWORD),
        ("", ""),
        ("usr_nobody", PASSWORD),
        ("-", PASSWORD),
        ("passkey-only", PASSWORD),
        ("passkey-only", ""),
        ("mallory", PASSWORD),
        ("mallory", "wrong"),
    ] {
        let hashed = bed.hasher.performed();
        let refused = attempt(&bed, name, password).await.unwrap_err();
        assert_eq!(refused, Refused::InvalidCredentials, "{name}");
        assert_eq!(bed.hasher.performed() - hashed, 1, "{name}");
        let loads = ["password_efforts", "username", "password", "user", "password"];
        assert_eq!(bed.records.loads(), loads, "{name}");
        bed.clock.advance(Duration::from_secs(3600));
    }
}

/// Hashes of other systems, and ours of before, each of another cost.
const OTHERS: [(&str, &str); 10] = [
    ("bcrypt", BCRYPT),
    ("bcrypt-more", "$2b$06$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2"),
    ("django", "pbkdf2_sha256$1000$Q8sPuU4wW1mD$4vIQUKPVGIqtYJxYjBIpWSFeW6+NfEfKiu3bVIP7X0g="),
    ("django-more", "pbkdf2_sha256$1700$Q8sPuU4wW1mD$4vIQUKPVGIqtYJxYjBIpWSFeW6+NfEfKiu3bVIP7X0g="),
    (
        "passlib",
        "$pbkdf2-sha512$i=1000,l=64$MDEyMzQ1Njc4OWFiY2RlZg$OM0FAoIqCVK1sWtxDiffVlBejtLa+ks4TP71JiecwuSZCG8iLbnlIEPOMoVX+i2B2wkSxjQ8CRGR9OkNGuIPMQ",
    ),
    (
        "scrypt",
        "$scrypt$ln=10,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg$6g3umF+uVrJsObaTZhIbbTlgrvOEFcCItdwSjtPF67M",
    ),
    ("scrypt-wide", "$scrypt$ln=9,r=24,p=1$MDEyMzQ1Njc4OWFiY2RlZg$MDEyMzQ1Njc4OWFiY2RlZg"),
    ("argon2-large", "$argon2id$v=19$m=400,t=2,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg"),
    ("argon2", "$argon2id$v=19$m=32,t=3,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg"),
    ("argon2i", "$argon2i$v=19$m=16,t=2,p=1$c2FsdHNhbHRzYWx0$MDEyMzQ1Njc4OWFiY2RlZg"),
];

/// Work, not time: which hashes are computed how often differs, what it takes in all does not.
#[tokio::test]
async fn every_refusal_takes_as_much_work_whatever_system_a_hash_is_of() {
    let bed = Bed::new();
    bed.user("ours", Some(PASSWORD)).await;
    bed.user("passkey-only", None).await;
    for (name, text) in OTHERS {
        let phc = Phc::parse(text, bed.hasher.caps()).unwrap();
        let new = crate::NewUser { password: Some(phc), ..crate::testing::new_user(name) };
        bed.users.register(&bed.realm, new, "import").await.unwrap();
    }
    let disabled = bed.user("disabled", Some(PASSWORD)).await;
    bed.users.disable(&bed.realm, &disabled.id, "root").await.unwrap();
    let others = OTHERS.map(|(name, _)| (name, "wrong"));
    let ours = [
        ("ours", "wrong"),
        ("nobody", "wrong"),
        ("not a name\n", "wrong"),
        ("passkey-only", "wrong"),
        // Whether it is right is nobody's business, either.
        ("disabled", PASSWORD),
        ("disabled", "wrong"),
    ];
    let mut works = Vec::new();
    for (name, password) in others.into_iter().chain(ours) {
        let (before, jobs) = (bed.hasher.worked(), bed.workers.jobs.load(Ordering::SeqCst));
        let refused = attempt(&bed, name, password).await.unwrap_err();
        assert_eq!(refused, Refused::InvalidCredentials, "{name}");
        let work: Vec<u64> =
            bed.hasher.worked().iter().zip(before).map(|(after, it)| after.1 - it.1).collect();
        works.push((name, work, bed.workers.jobs.load(Ordering::SeqCst) - jobs));
        bed.clock.advance(Duration::from_secs(3600));
    }
    let (_, work, jobs) = &works[0];
    assert!(work.iter().filter(|work| **work > 0).count() == 6 && *jobs == 2, "{works:?}");
    // Memory is rounded by pass.
    let near = |it: &Vec<u64>| it.iter().zip(work).all(|(one, other)| one.abs_diff(*other) <= 8);
    assert!(works.iter().all(|(_, it, of)| near(it) && of == jobs), "{works:?}");
    // Whoever is right pays for their own hash alone.
    let before = bed.hasher.worked();
    assert!(attempt(&bed, "ours", PASSWORD).await.is_ok());
    let paid =
        bed.hasher.worked().iter().zip(before).map(|(after, it)| after.1 - it.1).sum::<u64>();
    assert_eq!(paid, bed.hasher.effort().work);
}

/// Whose hash is the costliest has nothing left to do, and waits for the workers as often as others.
#[tokio::test]
async fn whose_hash_is_the_costliest_takes_as_many_jobs_as_others() {
    let bed = Bed::new();
    let jobs = async |name: &str| {
        let before = bed.workers.jobs.load(Ordering::SeqCst);
        attempt(&bed, name, "wrong").await.unwrap_err();
        bed.clock.advance(Duration::from_secs(3600));
        bed.workers.jobs.load(Ordering::SeqCst) - before
    };
    // Where there is no hash, nobody has anything to do.
    assert_eq!(jobs("nobody").await, 1);
    bed.user("ours", Some(PASSWORD)).await;
    let (_, text) = OTHERS.into_iter().find(|(name, _)| *name == "argon2-large").unwrap();
    let phc = Phc::parse(text, bed.hasher.caps()).unwrap();
    let new = crate::NewUser { password: Some(phc), ..crate::testing::new_user("costliest") };
    bed.users.register(&bed.realm, new, "import").await.unwrap();
    for name in ["costliest", "ours", "nobody"] {
        assert_eq!(jobs(name).await, 2, "{name}");
    }
}

/// What was taken over by a version before is noted by the first who tries.
#[tokio::test]
async fn what_nobody_noted_is_noted_where_it_is_met() {
    let bed = Bed::new();
    imported(&bed).await;
    let noted = load::<Efforts>(bed.records.as_ref(), &bed.realm, "all").await.unwrap().unwrap();
    let forget = Batch::new(bed.realm.clone()).with(noted.remove());
    bed.records.commit(forget).await.unwrap();
    let cost = async |name: &str| {
        let before = bed.hasher.worked();
        attempt(&bed, name, "wrong").await.unwrap_err();
        bed.hasher.worked().iter().zip(before).map(|(after, it)| after.1 - it.1).collect::<Vec<_>>()
    };
    let unknowing = cost("nobody").await;
    let met = cost("alice").await;
    assert_ne!(unknowing, met);
    assert_eq!(cost("nobody").await, met);
}

/// A wrong guess that the workers were too busy to draw out is a guess all the same.
#[tokio::test]
async fn guesses_are_counted_though_nobody_had_time_to_draw_them_out() {
    let bed = Bed::new();
    imported(&bed).await;
    let busy_then = |after: usize| {
        let done = std::sync::atomic::AtomicUsize::new(0);
        SignIn::new(
            bed.second(),
            bed.throttle(),
            Arc::clone(&bed.hasher),
            Arc::new(BusyAfter { after, done }),
        )
    };
    let home = address("192.0.2.1");
    for _ in 0..5 {
        let refused =
            busy_then(1).by_password(&bed.realm, "alice", secret("wrong"), home).await.unwrap_err();
        assert_eq!(refused, Refused::Busy(Busy));
    }
    assert!(matches!(
        attempt(&bed, "alice", "correct horse").await,
        Err(Refused::Throttled { .. })
    ));
}

/// Workers that take so many jobs, and no more.
struct BusyAfter {
    after: usize,
    done: std::sync::atomic::AtomicUsize,
}

impl Workers for BusyAfter {
    fn submit(&self, job: workers::Job) -> Result<(), Busy> {
        if self.done.fetch_add(1, Ordering::SeqCst) >= self.after {
            return Err(Busy);
        }
        job();
        Ok(())
    }
}

#[tokio::test]
async fn throttling_does_not_tell_whether_a_user_exists_either() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    for name in ["alice", "nobody"] {
        for _ in 0..5 {
            assert_eq!(attempt(&bed, name, "wrong").await, Err(Refused::InvalidCredentials));
        }
        let hashed = bed.hasher.performed();
        let throttled = Refused::Throttled { retry_after: Duration::from_secs(60) };
        assert_eq!(attempt(&bed, name, PASSWORD).await, Err(throttled));
        assert_eq!(bed.hasher.performed(), hashed);
    }
    bed.clock.advance(Duration::from_secs(60));
    assert!(attempt(&bed, "alice", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn busy_workers_are_no_failed_attempt() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    bed.workers.busy.store(true, Ordering::SeqCst);
    for _ in 0..50 {
        assert_eq!(attempt(&bed, "alice", PASSWORD).await, Err(Refused::Busy(Busy)));
    }
    bed.workers.busy.store(false, Ordering::SeqCst);
    assert!(attempt(&bed, "alice", PASSWORD).await.is_ok());
}

#[tokio::test]
async fn an_error_of_the_store_signs_nobody_in_and_opens_no_way_around_the_count() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    bed.records.down.store(true, Ordering::SeqCst);
    for _ in 0..5 {
        assert!(matches!(attempt(&bed, "alice", PASSWORD).await, Err(Refused::Store(_))));
    }
    assert!(matches!(attempt(&bed, "alice", PASSWORD).await, Err(Refused::Throttled { .. })));
}

#[tokio::test]
async fn a_foreign_hash_is_hashed_anew_at_the_first_sign_in() {
    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    let stronger = HasherConfig { memory_kib: 16, passes: 2, ..cheap() };
    let hasher = Arc::new(PasswordHasher::new(stronger, bed.node.entropy()).unwrap());
    let sign_in = bed.sign_in_with(&hasher);
    let home = address("192.0.2.1");
    for expected in [2, 1, 1] {
        let before = hasher.performed();
        let signed_in =
            sign_in.by_password(&bed.realm, "alice", secret(PASSWORD), home).await.unwrap();
        assert_eq!(whole(signed_in).user, alice);
        assert_eq!(hasher.performed() - before, expected);
    }
    let record = load::<PasswordRecord>(bed.records.as_ref(), &bed.realm, alice.id.as_str());
    let record = record.await.unwrap().unwrap().value;
    assert!(record.phc.as_str().starts_with("$argon2id$v=19$m=16,t=2,p=1$"));
    assert_eq!(record.generation, 1);
    let (kind, data) = bed.events().await.pop().unwrap();
    assert_eq!((kind.as_str(), &data["change"]), ("REGISTRY_CHANGED", &"password_rehashed".into()));
}

/// What another system kept of `correct horse`.
const BCRYPT: &str = "$2b$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2";

async fn imported(bed: &Bed) -> User {
    let phc = Phc::parse(BCRYPT, bed.hasher.caps()).unwrap();
    let new = crate::NewUser { password: Some(phc), ..crate::testing::new_user("alice") };
    bed.users.register(&bed.realm, new, "import").await.unwrap()
}

#[tokio::test]
async fn a_password_of_another_system_is_hashed_as_ours_at_the_first_sign_in() {
    let bed = Bed::new();
    let alice = imported(&bed).await;
    assert_eq!(attempt(&bed, "alice", "wrong").await, Err(Refused::InvalidCredentials));
    for _ in 0..2 {
        assert!(attempt(&bed, "alice", "correct horse").await.is_ok());
        let record = load::<PasswordRecord>(bed.records.as_ref(), &bed.realm, alice.id.as_str());
        let record = record.await.unwrap().unwrap().value;
        assert!(record.phc.as_str().starts_with("$argon2id$"), "{:?}", record.phc);
        assert_eq!(record.generation, 1);
    }
}

#[tokio::test]
async fn hashing_anew_does_not_bring_an_old_password_back() {
    use futures_util::FutureExt as _;

    let bed = Bed::new();
    let alice = imported(&bed).await;
    let (passwords, realm, id) = (bed.passwords.clone(), bed.realm.clone(), alice.id.clone());
    let next = bed.hasher.hash(&typed("another password"), bed.node.entropy()).unwrap();
    let jobs = std::sync::atomic::AtomicUsize::new(0);
    // The first job checks the password, the second hashes it anew.
    let meanwhile = Meanwhile(move || {
        if jobs.fetch_add(1, Ordering::SeqCst) == 1 {
            passwords.set(&realm, &id, &next, "root").now_or_never().unwrap().unwrap();
        }
    });
    let sign_in =
        SignIn::new(bed.second(), bed.throttle(), Arc::clone(&bed.hasher), Arc::new(meanwhile));
    let home = address("192.0.2.1");
    let _ = sign_in.by_password(&bed.realm, "alice", secret("correct horse"), home).await;
    let old = attempt(&bed, "alice", "correct horse").await;
    assert_eq!(old, Err(Refused::InvalidCredentials));
    assert!(attempt(&bed, "alice", "another password").await.is_ok());
}

#[tokio::test]
async fn a_wrong_password_hashes_nothing_anew() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    let stronger = HasherConfig { passes: 2, ..cheap() };
    let hasher = Arc::new(PasswordHasher::new(stronger, bed.node.entropy()).unwrap());
    let refused = bed
        .sign_in_with(&hasher)
        .by_password(&bed.realm, "alice", secret("wrong"), address("192.0.2.1"))
        .await;
    assert_eq!((refused, hasher.performed()), (Err(Refused::InvalidCredentials), 1));
}

/// A worker that lets something happen before each job.
struct Meanwhile<F>(F);

impl<F: Fn() + Send + Sync> Workers for Meanwhile<F> {
    fn submit(&self, job: workers::Job) -> Result<(), Busy> {
        (self.0)();
        job();
        Ok(())
    }
}

async fn while_hashing(
    bed: &Bed,
    event: impl Fn() + Send + Sync + 'static,
) -> Result<Assurance, Refused> {
    let sign_in = SignIn::new(
        bed.second(),
        bed.throttle(),
        Arc::clone(&bed.hasher),
        Arc::new(Meanwhile(event)),
    );
    let home = address("192.0.2.1");
    sign_in.by_password(&bed.realm, "alice", secret(PASSWORD), home).await.map(whole)
}

#[tokio::test]
async fn what_changes_during_the_hashing_counts() {
    use futures_util::FutureExt as _;

    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    let (passwords, users) = (bed.passwords.clone(), bed.users.clone());
    let (realm, id) = (bed.realm.clone(), alice.id.clone());
    let next = bed.hasher.hash(&typed(PASSWORD), bed.node.entropy()).unwrap();
    let changed = while_hashing(&bed, move || {
        passwords.set(&realm, &id, &next, "root").now_or_never().unwrap().unwrap();
    });
    // The same password, set anew: whoever set it wants what began before to end.
    assert_eq!(changed.await, Err(Refused::InvalidCredentials));

    let (realm, id) = (bed.realm.clone(), alice.id.clone());
    let disabled = while_hashing(&bed, move || {
        users.disable(&realm, &id, "root").now_or_never().unwrap().unwrap();
    });
    assert_eq!(disabled.await, Err(Refused::InvalidCredentials));
}

#[tokio::test]
async fn withdrawing_what_began_before_now_reaches_an_attempt_under_way() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    let (clock, began) = (Arc::clone(&bed.clock), bed.node.now());
    let assurance = while_hashing(&bed, move || clock.advance(Duration::from_secs(1))).await;
    assert_eq!(assurance.unwrap().auth_time, began);
}

#[tokio::test]
async fn works_on_real_threads() {
    let bed = Bed::new();
    bed.user("alice", Some(PASSWORD)).await;
    let pool = HashingPool::start(workers::Config::default(), bed.clock.clone()).unwrap();
    let sign_in =
        SignIn::new(bed.second(), bed.throttle(), Arc::clone(&bed.hasher), Arc::new(pool));
    let home = address("192.0.2.1");
    let right = sign_in.by_password(&bed.realm, "alice", secret(PASSWORD), home).await;
    let wrong = sign_in.by_password(&bed.realm, "alice", secret("wrong"), home).await;
    assert!(right.is_ok() && wrong == Err(Refused::InvalidCredentials));
}

/// What was tried is known to whoever reads the journal: whose account, from where, by what; never what was
/// typed.
#[tokio::test]
async fn attempts_that_fail_are_noted_without_what_was_typed() {
    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    let sign_in = bed.sign_in();
    let attempt = async |name: &str, password: &str| {
        let home = address("192.0.2.1");
        sign_in.by_password(&bed.realm, name, secret(password), home).await.map(whole)
    };
    let noted = || sign_in.throttle().failures().take();
    attempt("alice", PASSWORD).await.unwrap();
    assert!(noted().is_empty());

    attempt("alice", "hunter2").await.unwrap_err();
    // A password where the name belongs, and what cannot be a name.
    attempt("hunter2", "x").await.unwrap_err();
    attempt("hunter2 \u{1b}[2K\n", "x").await.unwrap_err();
    let events = noted();
    let data: Vec<_> = events.iter().map(|(_, event)| &event.data).collect();
    assert_eq!(data.len(), 3);
    assert_eq!(data[0]["user_id"], alice.id.as_str());
    assert!(data[1..].iter().all(|data| !data.contains_key("user_id")), "{data:?}");
    for (_, event) in &events {
        assert_eq!((event.kind.name(), &event.realm), ("SIGN_IN_FAILED", &bed.realm));
        assert_eq!(event.data["method"], "password");
        assert_eq!(
            (&event.data["error"], &event.data["address"]),
            (&"invalid_credentials".into(), &"192.0.2.1".into())
        );
        let text = String::from_utf8(event.to_json()).unwrap();
        assert!(!text.contains("hunter2") && !text.contains("alice"), "{text}");
    }

    // Who knocks on when there were too many is noted, once.
    while attempt("alice", "hunter2").await != Err(Refused::InvalidCredentials) {}
    let mut last = Refused::InvalidCredentials;
    while !matches!(last, Refused::Throttled { .. }) {
        last = attempt("alice", "hunter2").await.unwrap_err();
    }
    for _ in 0..100 {
        attempt("alice", "hunter2").await.unwrap_err();
    }
    let events = noted();
    let closed: Vec<_> =
        events.iter().filter(|(_, it)| it.data["error"] == "too_many_attempts").collect();
    assert_eq!(closed.len(), 1);
    assert!(closed[0].1.data["retry_after"].as_u64().unwrap() > 0);
}

/// The second step, too, and the proofs of whoever is signed in.
#[tokio::test]
async fn wrong_codes_are_noted_with_whose_they_should_have_been() {
    let bed = Bed::new();
    let alice = bed.user("alice", Some(PASSWORD)).await;
    bed.app(&alice).await;
    let sign_in = bed.sign_in();
    let home = address("192.0.2.1");
    let again = sign_in.again_by_code(&bed.realm, &alice.id, "000000", home).await;
    assert_eq!(again.unwrap_err(), Refused::WrongCode);
    let step = Step { token: "made up", browser: "b", address: home };
    let attempt = CodeAttempt { step, authenticator: None, code: "000000" };
    assert_eq!(sign_in.by_code(&bed.realm, &attempt).await.unwrap_err(), Refused::Over);
    let events = sign_in.throttle().failures().take();
    let told: Vec<_> = events
        .iter()
        .map(|(_, it)| (it.data["error"].clone(), it.data.get("user_id").cloned()))
        .collect();
    assert_eq!(
        told,
        [("wrong_code".into(), Some(alice.id.as_str().into())), ("expired".into(), None)]
    );
    assert!(events.iter().all(|(_, it)| it.data["method"] == "code"));
}
