-- What every release since the first one works with.

-- One row for each log. It is written when a lease is renewed and not for every entry: where somebody
-- keeps a snapshot for long, each new version of a row makes it slower to read.
--
-- `tail` is the smallest position that has not been trimmed away.
--
-- No pending entry with a `seq` up to `done` will ever be seen again, so nobody looks there. Dead
-- rows are many where somebody keeps a snapshot, and looking would mean to pass them by, one by one.
-- That holds for `done_next` once every transaction older than `done_when` has ended.
CREATE TABLE tegata.sequencer (
    log          text        PRIMARY KEY,
    tail         bigint      NOT NULL DEFAULT 1,
    node         bigint      NOT NULL DEFAULT 0,
    leased_until timestamptz NOT NULL DEFAULT '-infinity',
    done         bigint      NOT NULL DEFAULT 0,
    done_next    bigint      NOT NULL DEFAULT 0,
    done_when    xid8        NOT NULL DEFAULT '0'
) WITH (fillfactor = 10);

-- Whether a lease has not ended. One that ends later than any is given for was given before the
-- server's clock was set back, and nobody waits for it.
CREATE FUNCTION tegata.is_leased(until timestamptz) RETURNS boolean LANGUAGE sql AS $$
    SELECT until > clock_timestamp() AND until < clock_timestamp() + interval '2 s'
$$;

-- Ends a batch whose change number `change` did not find what it expects, and undoes the others.
CREATE FUNCTION tegata.refuse(change integer) RETURNS integer LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'TG001', MESSAGE = change::text;
END $$;

-- Revisions of ephemeral values. From a sequence, so that none ever returns, not even after a
-- value was taken and its key written anew.
CREATE SEQUENCE tegata.revision;

-- `expires_at` is in milliseconds since 1970. What changes with every use is not indexed, so that
-- keeping a session alive does not touch an index: `expires_in` is the span of ten minutes that
-- `expires_at` lies in.
CREATE TABLE tegata.ephemeral (
    realm      text COLLATE "C" NOT NULL,
    space      text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    revision   bigint           NOT NULL,
    expires_at bigint           NOT NULL,
    expires_in bigint           NOT NULL,
    index      text COLLATE "C",
    value      bytea            NOT NULL,
    PRIMARY KEY (realm, space, key)
) WITH (fillfactor = 80);
CREATE INDEX ephemeral_index ON tegata.ephemeral (realm, space, index, key) WHERE index IS NOT NULL;
CREATE INDEX ephemeral_expires ON tegata.ephemeral (expires_in);

-- Replaces a value. Answers the new revision and no value, or what stands there instead, or no row.
-- The loser looks again after it has waited for the winner, so it is a second statement: the first
-- one sees the value as it was.
CREATE FUNCTION tegata.swap(
    in_realm text, in_space text, in_key text, expected bigint, now bigint,
    new_value bytea, new_expires_at bigint, new_expires_in bigint, new_index text)
RETURNS TABLE (won bigint, lost bigint, lost_value bytea) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
        UPDATE tegata.ephemeral e
        SET revision = nextval('tegata.revision'), value = new_value,
            expires_at = new_expires_at, expires_in = new_expires_in,
            index = COALESCE(new_index, e.index)
        WHERE e.realm = in_realm AND e.space = in_space AND e.key = in_key
          AND e.revision = expected AND e.expires_at > now
        RETURNING e.revision, NULL::bigint, NULL::bytea;
    IF NOT FOUND THEN
        RETURN QUERY
            SELECT NULL::bigint, e.revision, e.value FROM tegata.ephemeral e
            WHERE e.realm = in_realm AND e.space = in_space AND e.key = in_key
              AND e.expires_at > now;
    END IF;
END $$;

-- Withdrawals: the second home of revocations. `numeric`, since a mark may be any 64 bits.
CREATE TABLE tegata.withdrawal (
    realm text COLLATE "C" NOT NULL,
    key   text COLLATE "C" NOT NULL,
    mark  numeric(20)      NOT NULL,
    until numeric(20)      NOT NULL,
    PRIMARY KEY (realm, key)
);
CREATE INDEX withdrawal_until ON tegata.withdrawal (until);

-- Makes the partition of a day, where there is none. It is made first and attached then, because
-- attaching lets others read and write the table meanwhile.
CREATE FUNCTION tegata.add_day(parent text, day integer) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || '_' || day;
BEGIN
    -- Of several that meet a new day at once, one makes its partition and the others find it.
    PERFORM pg_advisory_xact_lock(hashtextextended('tegata ' || child, 0));
    IF to_regclass('tegata.' || quote_ident(child)) IS NULL THEN
        EXECUTE format('CREATE TABLE tegata.%I (LIKE tegata.%I INCLUDING ALL) WITH (fillfactor = 80)',
                       child, parent);
        EXECUTE format('ALTER TABLE tegata.%I ATTACH PARTITION tegata.%I FOR VALUES FROM (%s) TO (%s)',
                       parent, child, day, day + 1);
    END IF;
    RETURN true;
END $$;

-- Drops the partition of a day; answers how many records it held, or nothing while it is in use.
CREATE FUNCTION tegata.drop_day(parent text, day integer) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    child text := parent || '_' || day;
    gone bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('tegata ' || child, 0));
    IF to_regclass('tegata.' || quote_ident(child)) IS NULL THEN
        RETURN 0;
    END IF;
    EXECUTE format('SELECT count(*) FROM tegata.%I', child) INTO gone;
    -- Whoever comes after us waits behind us, so we do not wait for long.
    PERFORM set_config('lock_timeout', '100ms', true);
    EXECUTE format('DROP TABLE tegata.%I', child);
    RETURN gone;
EXCEPTION WHEN lock_not_available THEN
    RETURN NULL;
END $$;
