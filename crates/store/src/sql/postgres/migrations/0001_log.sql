-- One log: `{log}`. Writers leave entries in `{log}_pending`; the sequencer moves them into `{log}`
-- and gives them positions. A number that a writer took itself would be no place in an order:
-- transactions commit in another order than they begin, so a reader would pass by the late ones.
CREATE TABLE tegata.{log} (
    position bigint           PRIMARY KEY,
    id       bytea            NOT NULL,
    realm    text COLLATE "C" NOT NULL,
    at       bigint           NOT NULL,
    body     bytea            NOT NULL,
    UNIQUE (id, realm)
);

-- Numbers of pending entries. In the order in which they were left, and so nearly, but not quite, the
-- order in which they are seen.
CREATE SEQUENCE tegata.{log}_seq;

-- Small and always changing, so it is cleaned often; giving its last pages back to the system would
-- lock it.
CREATE TABLE tegata.{log}_pending (
    seq      bigint           PRIMARY KEY,
    inserted timestamptz      NOT NULL,
    id       bytea            NOT NULL,
    realm    text COLLATE "C" NOT NULL,
    at       bigint           NOT NULL,
    body     bytea            NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = false);

INSERT INTO tegata.sequencer (log) VALUES ('{log}');

-- Leaves entries for the sequencer. `inserted` is by the server's clock: by it their age is told.
CREATE FUNCTION tegata.append_{log}(in_realm text, in_at bigint, ids bytea[], bodies bytea[])
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    -- INVARIANT: a transaction has its own number before it takes one of the sequence. By that the
    -- sequencer knows when all who took smaller ones have ended.
    PERFORM pg_current_xact_id();
    INSERT INTO tegata.{log}_pending (seq, inserted, id, realm, at, body)
        SELECT nextval('tegata.{log}_seq'), clock_timestamp(), e.id, in_realm, in_at, e.body
        FROM (
            SELECT u.id, u.body FROM unnest(ids, bodies) WITH ORDINALITY AS u (id, body, place)
            ORDER BY u.place
        ) e;
    RETURN true;
END $$;

-- The greatest position there is.
CREATE FUNCTION tegata.head_{log}(tail bigint) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT COALESCE((SELECT max(l.position) FROM tegata.{log} l), tail - 1)
$$;

-- Gives positions; answers how many, or -1 where another node holds the lease.
CREATE FUNCTION tegata.sequence_{log}(in_node bigint, most integer)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    held   tegata.sequencer;
    is_new boolean := pg_current_xact_id_if_assigned() IS NULL;
    given  bigint;
    renews boolean;
    ended  boolean;
    head   bigint;
    took   bigint;
    placed bigint;
BEGIN
    -- Most calls have nothing to do, and end here without locking or writing anything.
    SELECT s.last_value - CASE WHEN s.is_called THEN 0 ELSE 1 END INTO given FROM tegata.{log}_seq s;
    SELECT * INTO held FROM tegata.sequencer s WHERE s.log = '{log}';
    IF held.node <> in_node AND tegata.is_leased(held.leased_until) THEN
        RETURN -1;
    END IF;
    IF held.node = in_node AND tegata.is_leased(held.leased_until - interval '500 ms')
       AND held.done <= given AND NOT EXISTS (SELECT FROM tegata.{log}_pending p WHERE p.seq > held.done) THEN
        RETURN 0;
    END IF;

    -- INVARIANT: positions are given only by whoever has this row locked, and every statement after
    -- it sees what the one before left. So they are dense and in order however many believe that
    -- the lease is theirs: the lease saves work, the lock keeps order.
    SELECT * INTO held FROM tegata.sequencer s WHERE s.log = '{log}' FOR UPDATE;
    IF held.node <> in_node AND tegata.is_leased(held.leased_until) THEN
        RETURN -1;
    END IF;
    renews := held.node <> in_node OR NOT tegata.is_leased(held.leased_until - interval '500 ms');
    IF GREATEST(held.done, held.done_next) > given THEN
        -- The sequence has begun anew, as after a restore that left it out.
        held.done := 0;
        held.done_next := 0;
        renews := true;
    END IF;
    -- Asked before the entries are taken: whatever has ended now, the next statement sees.
    ended := held.done_when <= pg_snapshot_xmin(pg_current_snapshot());
    head := tegata.head_{log}(held.tail);

    WITH taken AS (
        DELETE FROM tegata.{log}_pending p
        WHERE p.seq = ANY (ARRAY(
            SELECT q.seq FROM tegata.{log}_pending q
            WHERE q.seq > held.done ORDER BY q.seq LIMIT most))
        RETURNING p.seq, p.id, p.realm, p.at, p.body
    ), fresh AS (
        -- An id that is known, or comes twice at once, is a repeated delivery.
        SELECT DISTINCT ON (t.id, t.realm) t.*
        FROM taken t
        WHERE NOT EXISTS (
            SELECT FROM tegata.{log} l WHERE l.id = t.id AND l.realm = t.realm)
        ORDER BY t.id, t.realm, t.seq
    ), entered AS (
        INSERT INTO tegata.{log} (position, id, realm, at, body)
            SELECT head + row_number() OVER (ORDER BY f.seq), f.id, f.realm, f.at, f.body
            FROM fresh f
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM entered), (SELECT count(*) FROM taken) INTO placed, took;

    IF renews THEN
        -- INVARIANT: `given` was read before this transaction had a number, so whoever took one up
        -- to `given` from the sequence has a smaller number than ours. Once all those have ended,
        -- and all that was to be seen of theirs has been taken, nothing of it remains.
        IF ended AND took < most THEN
            held.done := GREATEST(held.done, held.done_next);
            IF is_new THEN
                held.done_next := given;
                held.done_when := pg_current_xact_id();
            END IF;
        ELSIF held.done_when > pg_current_xact_id() THEN
            -- A number from another server, whose data was restored here.
            held.done_when := pg_current_xact_id();
        END IF;
        UPDATE tegata.sequencer s
            SET node = in_node, leased_until = clock_timestamp() + interval '1 s',
                done = held.done, done_next = held.done_next, done_when = held.done_when
            WHERE s.log = '{log}';
    END IF;
    RETURN placed;
END $$;

-- Drops up to `most` entries from the front that were written before `before`; answers how many.
-- It stops at the first that is younger: what is read has no holes.
CREATE FUNCTION tegata.trim_{log}(before bigint, most integer)
RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    from_position bigint;
    to_position   bigint;
    gone          bigint;
BEGIN
    SELECT s.tail, LEAST(s.tail + most, tegata.head_{log}(s.tail) + 1)
        INTO from_position, to_position
        FROM tegata.sequencer s WHERE s.log = '{log}';
    to_position := COALESCE((
        SELECT l.position FROM tegata.{log} l
        WHERE l.position >= from_position AND l.position < to_position AND l.at >= before
        ORDER BY l.position LIMIT 1), to_position);
    DELETE FROM tegata.{log} l
        WHERE l.position >= from_position AND l.position < to_position;
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone > 0 THEN
        UPDATE tegata.sequencer s SET tail = GREATEST(s.tail, to_position) WHERE s.log = '{log}';
    END IF;
    RETURN gone;
END $$;
