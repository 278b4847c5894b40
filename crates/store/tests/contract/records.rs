//! The contract of `Records`, from the hardest point down.

mod batches;
mod documents;
mod logs;
mod purging;
mod races;

pub(crate) use self::{batches::*, documents::*, logs::*, purging::*, races::*};

use tegata_core::{
    Batch, CommitRefused, EventId, Expect, Kind, Lifetime, Log, Records,
    port::{Append, Body, Change, Page, Positioned, Record, Sequenced},
};

use super::bed::{Bed, node_id, realm};

/// What most clauses write.
pub(crate) static NOTES: Kind =
    Kind { name: "note", indexes: &["owner", "colour"], lifetime: Lifetime::Kept, secret: false };
/// A second kind, whose name begins like the first.
pub(crate) static NOTES_TWO: Kind =
    Kind { name: "note_two", indexes: &["owner"], lifetime: Lifetime::Kept, secret: false };
/// A kind whose bodies are taken only sealed.
pub(crate) static SECRETS: Kind =
    Kind { name: "note_secret", indexes: &[], lifetime: Lifetime::Kept, secret: true };
/// A kind stored by day; keys are `epoch.day.rest`.
pub(crate) static DAILY: Kind = Kind {
    name: "daily",
    indexes: &["owner"],
    lifetime: Lifetime::ByDay(tegata_core::id::expiry_day),
    secret: false,
};
/// The kinds that an adapter under test is opened with.
pub(crate) static KINDS: &[&Kind] = &[&NOTES, &NOTES_TWO, &SECRETS, &DAILY];
/// A kind that no adapter is opened with.
pub(crate) static UNDECLARED: Kind =
    Kind { name: "undeclared", indexes: &["owner"], lifetime: Lifetime::Kept, secret: false };

/// A note without indexes.
pub(crate) fn note(key: &str, expect: Expect, body: &str) -> Change {
    put(&NOTES, key, expect, body, &[])
}

/// A record of any kind.
pub(crate) fn put(
    kind: &'static Kind,
    key: &str,
    expect: Expect,
    body: &str,
    indexes: &[(&'static str, &str)],
) -> Change {
    Change::Put {
        kind,
        key: key.to_owned(),
        expect,
        body: Body::Plain(body.into()),
        indexes: indexes.iter().map(|(index, value)| (*index, (*value).to_owned())).collect(),
    }
}

/// A batch of one change in the first realm.
pub(crate) fn batch(change: Change) -> Batch {
    Batch::new(realm()).with(change)
}

/// A log entry.
pub(crate) fn append(log: Log, id: EventId, body: &str) -> Append {
    Append { log, id, body: body.into() }
}

/// Whether a commit was refused because somebody else was first.
pub(crate) fn is_conflict(refused: &CommitRefused) -> bool {
    matches!(refused, CommitRefused::Conflict { .. })
}

/// The note under a key, as version and text.
pub(crate) async fn noted(records: &dyn Records, key: &str) -> Option<(u64, String)> {
    records.load(&realm(), &NOTES, key).await.unwrap().map(|record| read(&record))
}

/// A record's version and text.
pub(crate) fn read(record: &Record) -> (u64, String) {
    match &record.body {
        Body::Plain(bytes) => (record.version, String::from_utf8(bytes.clone()).unwrap()),
        Body::Sealed(_) => panic!("a sealed body was answered for a plain one"),
    }
}

/// The keys of records.
pub(crate) fn keys(records: &[Record]) -> Vec<&str> {
    records.iter().map(|record| record.key.as_str()).collect()
}

/// A page after a key.
pub(crate) fn page(after: Option<&str>, limit: u32) -> Page {
    Page { after: after.map(ToOwned::to_owned), limit }
}

/// Lets the handles give positions until all that is committed has one.
pub(crate) async fn settle(bed: &Bed<dyn Records>, log: Log) {
    loop {
        let mut lease_held = false;
        for (n, node) in bed.nodes.iter().enumerate() {
            match node.sequence(log, node_id(n)).await.unwrap() {
                Sequenced::AtCommit | Sequenced::Positioned(0) => return,
                Sequenced::Positioned(_) => lease_held = true,
                Sequenced::NotOurs => {}
            }
        }
        assert!(lease_held, "no handle can take the lease of the sequencer");
    }
}

/// All entries of a log, pulled in pieces.
pub(crate) async fn entries(bed: &Bed<dyn Records>, log: Log) -> Vec<Positioned> {
    settle(bed, log).await;
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let pull = bed.first().pull(log, after, 37).await.unwrap();
        match pull.entries.last() {
            Some(last) => after = last.position,
            None => return all,
        }
        all.extend(pull.entries);
    }
}

/// One test for each clause of the contract of `Records`.
macro_rules! records_contract {
    ($adapter:ident, $bed:expr) => {
        mod $adapter {
            use crate::contract::records as clauses;

            clauses! { $bed,
                one_of_many_commits_that_expect_one_version_wins
                one_of_many_commits_that_expect_nothing_wins
                one_of_many_removals_wins
                no_update_is_lost_by_those_who_try_again
                a_requirement_holds_against_a_concurrent_writer
                batches_that_cross_each_other_all_end
                a_reader_that_pulls_all_the_time_misses_nothing
                a_repeated_append_at_once_makes_one_entry
                a_conflict_undoes_the_whole_batch
                a_batch_is_applied_in_order
                expectations_decide
                a_required_record_is_left_alone
                a_refused_batch_names_the_record
                an_empty_batch_is_committed
                a_commit_is_seen_by_every_node_at_once
                versions_count_writes
                indexes_find_what_was_last_written
                realms_and_kinds_are_apart
                listings_are_paged_in_order_of_keys
                odd_keys_are_kept_apart_and_ordered_by_bytes
                keys_are_bounded
                bodies_of_any_size_and_content_are_kept
                what_was_not_declared_is_refused
                secret_kinds_are_written_only_sealed
                positions_are_dense_and_never_change
                a_repeated_append_changes_nothing
                the_same_id_elsewhere_is_another_entry
                entries_come_back_as_they_were_written
                a_pull_tells_where_the_log_ends
                past_days_are_dropped_and_living_ones_kept
                old_entries_are_trimmed_and_the_tail_tells
                an_entry_behind_a_younger_one_is_not_trimmed
            }
        }
    };
}
