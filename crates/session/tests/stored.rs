//! Sessions on every store that keeps them: rotation, limits, rises and ends. Each clause is played in memory, on
//! SQLite, on PostgreSQL, and on PostgreSQL with Redis: alone, under Sentinels and as a cluster.

#![cfg(test)]

mod stored {
    pub(crate) mod data;
    pub(crate) mod earlier;
    pub(crate) mod ending;
    pub(crate) mod failures;
    pub(crate) mod fingerprint;
    pub(crate) mod idle;
    pub(crate) mod limit;
    pub(crate) mod near;
    pub(crate) mod presenting;
    pub(crate) mod raising;
    pub(crate) mod reading;
    pub(crate) mod stores;
    pub(crate) mod world;

    mod fail_over;
}

/// All clauses, by the file that they are in. One that is missing here is never used, which is an error.
macro_rules! clauses {
    ($store:expr) => {
        clauses! { $store, data:
            is_kept_across_rotations_and_rises_and_can_be_removed
            is_gone_with_the_session
            keeps_nobody_signed_in
            stays_small
            each_sees_only_its_own
            is_replaced_only_where_it_is_what_was_read
            writers_at_once_lose_nothing
            whoever_compares_loses_no_count
        }
        clauses! { $store, earlier:
            a_session_of_the_first_release_goes_on
            a_session_that_remembers_its_browser_goes_on_and_is_nobody_elses
            what_an_application_kept_with_it_is_still_there
        }
        clauses! { $store, ending:
            signing_out_is_told_and_revoked_and_final
            an_end_can_join_the_batch_of_something_else
            a_record_from_a_replica_does_not_revive_what_this_node_knows_to_have_ended
            an_end_beats_every_rotation_in_flight
            all_of_a_person_can_be_ended_but_one
        }
        clauses! { $store, failures:
            a_store_that_loses_answers_signs_nobody_out
            a_session_that_cannot_be_looked_up_is_not_refused_for_good
        }
        clauses! { $store, fingerprint:
            a_thief_in_the_same_network_is_found_by_the_language
            hints_are_remembered_when_they_are_first_sent
            whoever_changes_one_thing_after_another_is_never_signed_out
            a_listener_that_does_not_rotate_follows_once_in_a_rotation
            an_earlier_value_changes_no_hints
            whoever_says_hints_of_their_own_first_shows_themselves
            what_is_remembered_survives_a_rotation_and_is_renewed_by_a_rise
            a_thief_who_says_something_else_raises_nothing
            an_old_value_by_another_browser_ends_the_session
            the_network_is_compared_first
            a_session_of_an_older_release_is_served_as_it_was
        }
        clauses! { $store, idle:
            an_unused_session_expires_after_half_an_hour
            what_has_slept_for_too_long_has_expired_whichever_value_is_shown_and_from_where
            what_has_reached_its_end_has_expired_whichever_value_is_shown_and_from_where
            a_used_copy_from_elsewhere_is_told_of_though_the_session_slept
            a_session_in_use_ends_after_a_day
            losing_what_is_known_of_its_use_signs_nobody_out_early
            losing_what_is_known_of_its_use_keeps_nobody_signed_in_for_long
            a_use_on_one_node_keeps_it_awake_on_another
            a_store_of_uses_that_is_away_signs_nobody_out
            a_listener_that_cannot_rotate_keeps_a_session_awake_through_a_loss
            uses_are_counted_and_written_once_a_minute
            sessions_in_use_are_counted_until_they_are_idle_or_have_ended
            stricter_limits_hold_for_sessions_that_are_there
        }
        clauses! { $store, limit:
            the_fourth_ends_the_one_used_least_recently
            sign_ins_at_once_leave_three
            signing_in_anew_ends_what_the_browser_had
            what_has_ended_takes_no_room
            one_that_slept_is_told_to_have_slept
            of_all_nodes_one_tells_a_person_once_an_hour
            of_three_thousand_sign_ins_of_one_person_three_are_left_and_all_can_be_ended
        }
        clauses! { $store, near:
            an_old_record_refuses_nobody
            what_is_known_to_have_ended_is_not_served_however_near_it_is
            of_whoever_may_do_less_since_a_moment_the_latest_is_asked
            a_node_that_has_not_heard_for_a_while_what_ended_asks_the_store
            a_copy_used_elsewhere_is_found_out_a_minute_later_at_most
            a_session_that_is_near_is_served_without_the_store
        }
        clauses! { $store, presenting:
            a_young_generation_is_served_and_nothing_is_written
            no_session_outlives_a_restore_of_its_store
            the_cookie_cannot_be_made_from_what_is_public_or_stored
            twenty_requests_at_the_mark_are_all_given_the_same_successor
            requests_in_parallel_on_two_nodes_make_one_successor
            the_earlier_value_works_for_sixty_seconds_and_no_longer
            only_two_values_are_ever_good_over_many_rotations
            a_listener_that_cannot_rotate_gives_nothing_and_serves
            another_browser_is_refused_and_named_by_the_part_that_differs
            a_browser_update_is_not_a_thief
            suspicions_do_not_fill_the_journal
            a_used_copy_from_elsewhere_ends_the_session
            a_record_that_went_back_in_time_ends_the_session
            a_slow_answer_does_not_overwrite_a_newer_cookie
            a_slow_answer_brings_back_no_session_that_has_ended
            a_genuine_cookie_names_its_session_and_a_forged_one_does_not
        }
        clauses! { $store, raising:
            a_rise_is_for_the_new_value_alone
            nothing_is_raised_where_what_it_requires_does_not_hold
            elevation_is_short
            a_lost_rise_is_repaired_by_proving_it_again
            a_lost_rise_that_is_not_proven_again_is_withdrawn
            a_thief_is_not_raised_by_what_the_owner_proves
            roles_that_were_taken_away_are_gone_for_earlier_values_too
            what_is_taken_out_is_gone_for_earlier_values_and_other_people_keep_theirs
        }
        clauses! { $store, reading:
            finds_what_is_alive_and_nothing_that_has_ended
            what_nobody_used_for_too_long_is_not_alive
            the_stricter_limit_counts_and_no_epoch_before
        }
    };
    ($store:expr, $file:ident: $($clause:ident)*) => {
        mod $file {
            use crate::stored::{$file as clauses, stores::Store};

            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $clause() {
                    clauses::$clause($store).await;
                }
            )*
        }
    };
}

mod in_memory {
    clauses!(Store::Memory);
}

mod on_sqlite {
    clauses!(Store::Sqlite);
}

mod on_postgresql {
    clauses!(Store::Postgresql);
}

mod on_postgresql_with_redis {
    clauses!(Store::Redis);
}

mod on_postgresql_with_redis_sentinels {
    clauses!(Store::RedisSentinels);
}

mod on_postgresql_with_a_redis_cluster {
    clauses!(Store::RedisCluster);
}
