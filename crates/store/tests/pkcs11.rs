//! A root key in SoftHSM, and what goes wrong with tokens.
//!
//! SoftHSM reads once in a process where its tokens are, and has one state for all of it. So every
//! test has a directory of tokens of its own, and is played by a process of its own: this program,
//! started again with that directory in its environment, to run one ignored test.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "all of this is tests, and what does not hold is to end them"
)]

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeInfo, AttributeType, KeyType, ObjectClass},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use tegata_core::{Custody, CustodyRefused, Node, Secret};
use tegata_engines::{
    SoftHsm,
    softhsm::{PIN, make_token},
};
use tegata_store::{
    FileCustody, MemoryRecords, Pkcs11Config, Pkcs11Custody, Pkcs11Refused, Pkcs11Vault,
    SealRefused, Sealed,
    sealed::{DATA_KEYS, rewrap},
};

#[expect(dead_code, unused_macros, reason = "the rest of it is for other ports")]
#[path = "contract/bed.rs"]
mod bed;
#[expect(unused_macros, reason = "each clause is asked where the tokens are")]
#[path = "contract/custody.rs"]
mod custody;
mod pkcs11 {
    pub(crate) mod scenarios;
    pub(crate) mod signing;
}

/// Runs each scenario in a process of its own.
macro_rules! each_in_its_process {
    ($($module:ident: $($scenario:ident)*;)*) => {
        $($(
            #[test]
            fn $scenario() {
                play(stringify!($scenario));
            }
        )*)*

        mod played {
            $($(
                #[tokio::test]
                #[ignore = "run by the test of this name, in a process of its own"]
                async fn $scenario() {
                    crate::pkcs11::$module::$scenario().await;
                }
            )*)*
        }
    };
}

fn play(scenario: &str) {
    let hsm = SoftHsm::new();
    let (name, configuration) = hsm.environment();
    let played = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", &format!("played::{scenario}")])
        .env(name, configuration)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&played.stdout);
    assert!(played.status.success() && said.contains("1 passed"), "{said}");
}

each_in_its_process! {
    scenarios:
    keeps_the_contract
    a_key_is_made_on_demand_alone_and_never_twice
    a_key_is_made_that_does_nothing_else_and_is_never_shown
    a_missing_library_or_token_is_named
    a_missing_token_is_told_from_those_that_are_there
    a_wrong_pin_is_tried_once
    a_pin_that_became_wrong_is_tried_once
    a_key_that_is_no_root_key_is_refused
    two_of_one_name_are_refused
    a_lost_session_is_opened_anew
    a_token_that_is_taken_away_and_put_back
    what_a_file_wrapped_is_refused_by_name_and_moved_by_a_rewrap
    many_at_once_are_all_answered;
    signing:
    signs_with_each_scheme_and_never_shows_a_key
    signatures_are_made_side_by_side
    a_pin_that_became_wrong_is_not_tried_by_every_session
    a_signing_key_that_was_deleted_is_told_and_others_sign
    a_signing_key_that_can_be_taken_out_does_not_sign
    a_token_that_is_away_signs_nothing_and_signs_again_when_it_is_back
    a_destroyed_key_is_gone_and_nothing_else;
}

/// The tokens of this process.
fn place() -> PathBuf {
    env::var_os("SOFTHSM2_CONF").expect("played by another test").into()
}

fn config(token: &str) -> Pkcs11Config {
    Pkcs11Config {
        module: SoftHsm::module(),
        token: token.to_owned(),
        key: "root".to_owned(),
        pin: Secret::new(PIN.to_owned()),
        timeout: Duration::from_secs(30),
    }
}

async fn open(config: &Pkcs11Config) -> Result<Pkcs11Custody, Pkcs11Refused> {
    Pkcs11Custody::open(config.clone(), &Node::start()).await
}

/// A new token with a root key.
async fn made(token: &str) -> Pkcs11Config {
    make_token(&place(), token);
    let config = config(token);
    Pkcs11Custody::create(config.clone(), &Node::start()).await.unwrap();
    config
}

fn data_key() -> Secret<[u8; 32]> {
    Secret::new([7; 32])
}

async fn works(custody: &dyn Custody) -> Result<(), CustodyRefused> {
    let wrapped = custody.wrap(&data_key(), b"purpose").await?;
    assert!(custody.unwrap(&wrapped, b"purpose").await?.matches(&[7; 32]));
    Ok(())
}

/// The library as others in this process see it: what one does to the sessions, happens to all.
fn library() -> Pkcs11 {
    Pkcs11::new(SoftHsm::module()).unwrap()
}

/// Ends the library and starts it again: all sessions are lost, as when the service of a token is
/// started anew.
fn lose_all_sessions(library: Pkcs11) -> Pkcs11 {
    library.finalize().unwrap();
    let library = self::library();
    library.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).unwrap();
    library
}

fn slot(library: &Pkcs11, token: &str) -> Slot {
    let slots = library.get_slots_with_token().unwrap();
    let is_it = |slot: &Slot| library.get_token_info(*slot).unwrap().label() == token;
    slots.into_iter().find(is_it).unwrap()
}

fn logged_in(library: &Pkcs11, token: &str) -> Session {
    let session = library.open_rw_session(slot(library, token)).unwrap();
    match session.login(UserType::User, Some(&AuthPin::new(PIN.into()))) {
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => session,
        Err(error) => panic!("{error}"),
    }
}
