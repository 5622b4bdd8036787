-- History for good: packed chunks and rollups (docs/packed-chunk.md, docs/rollups.md), what the
-- recorder's compactor makes of short chunks, hour by hour. ADR 0040 says why it looks like this.

-- Which hours have short chunks, and whether these are in packed rows. `written`: the number that
-- the partition's watermark moved to when a chunk of this hour was last written (part >> 20 of its
-- rows), in that transaction. `compacted`: everything up to there is in packed rows and rollups. So
-- what comes late makes its hour dirty by being written. Rows go with the hour's short chunks.
CREATE TABLE ping_hours (
  hour_ms bigint NOT NULL,
  partition smallint NOT NULL,
  written bigint NOT NULL,
  written_ms bigint NOT NULL,             -- the recorder's clock
  dirty_ms bigint NOT NULL,               -- when it was first written after it was compacted
  compacted bigint NOT NULL DEFAULT 0,
  compacted_ms bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (hour_ms, partition)
) WITH (fillfactor = 50);
INSERT INTO ping_hours (hour_ms, partition, written, written_ms, dirty_ms)
SELECT hour * 3600000, w.partition, w.number, hour * 3600000, hour * 3600000
FROM (SELECT DISTINCT floor(start_ms / 3600000.0)::bigint AS hour FROM ping_chunks) h
CROSS JOIN ping_watermarks w;

-- Days whose hour rollups are built. From then on a late hour brings its devices' row up to date.
CREATE TABLE ping_days (
  day_ms bigint PRIMARY KEY,
  built_ms bigint NOT NULL
);

-- Results before floor_ms were cleaned up on demand; what comes late for that time is discarded.
CREATE TABLE history_state (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  floor_ms bigint NOT NULL DEFAULT 0
);
INSERT INTO history_state DEFAULT VALUES;

-- The hour of a device, source (location, producer, clock) and step: a row, or several of about 1 KB
-- where it is larger than 1.4 KB. `part` only tells rows of one start apart. Slots are start_ms,
-- start_ms + step_ms, ... `packed` and `details`: docs/packed-chunk.md, chunk_details.h.
CREATE TABLE ping_packed (
  device_id bigint NOT NULL,
  start_ms bigint NOT NULL,
  part integer NOT NULL,
  step_ms integer NOT NULL,
  location_id integer NOT NULL,
  producer_id integer NOT NULL,
  results integer NOT NULL,
  clock_steps smallint NOT NULL,
  packed bytea NOT NULL,
  details bytea,
  PRIMARY KEY (device_id, start_ms, part)
) PARTITION BY RANGE (start_ms);
ALTER TABLE ping_packed ALTER COLUMN packed SET STORAGE EXTERNAL;

-- 60 rollups of a minute each (12 of 5 minutes when checks are more than 2 s apart, 4 above 10 s, 1
-- above 30 s), and 24 of an hour each (docs/rollups.md), of the results that count.
CREATE TABLE ping_rollup_minutes (
  device_id bigint NOT NULL,
  hour_ms bigint NOT NULL,
  location_id integer NOT NULL,
  rollups bytea NOT NULL,
  PRIMARY KEY (device_id, hour_ms, location_id)
) PARTITION BY RANGE (hour_ms);
ALTER TABLE ping_rollup_minutes ALTER COLUMN rollups SET STORAGE EXTERNAL;
CREATE TABLE ping_rollup_hours (
  device_id bigint NOT NULL,
  day_ms bigint NOT NULL,
  location_id integer NOT NULL,
  rollups bytea NOT NULL,
  PRIMARY KEY (device_id, day_ms, location_id)
) PARTITION BY RANGE (day_ms);
ALTER TABLE ping_rollup_hours ALTER COLUMN rollups SET STORAGE EXTERNAL;

-- Rows that did not decode when they were to be merged: skipped. A packed row is left where it is;
-- a short chunk is kept here, as its leaf will go.
CREATE TABLE history_broken (
  from_table text NOT NULL,
  device_id bigint NOT NULL,
  start_ms bigint NOT NULL,
  part bigint NOT NULL,
  reason text NOT NULL,
  noticed_at timestamptz NOT NULL DEFAULT now(),
  kept jsonb,
  PRIMARY KEY (from_table, device_id, start_ms, part)
);

-- Leaves -------------------------------------------------------------------------------------

-- As in 0002, and with storage settings. Hot rows and short chunks are written once and dropped
-- within hours: vacuuming them would be work for nothing. Packed rows and rollups stay for long:
-- frozen when they are vacuumed for the first time, they are never rewritten for their age.
CREATE OR REPLACE FUNCTION history_make_leaf(parent text, leaf text, from_bound text, to_bound text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(leaf) IS NOT NULL THEN RETURN false; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('gema history leaf'), hashtext(parent));
  IF to_regclass(leaf) IS NOT NULL THEN RETURN false; END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) WITH (%s)', leaf, parent,
    CASE WHEN parent IN ('ping_hot', 'ping_chunks')
         THEN 'autovacuum_enabled = false, toast.autovacuum_enabled = false'
         ELSE 'autovacuum_freeze_min_age = 0, toast.autovacuum_freeze_min_age = 0,'
              ' autovacuum_vacuum_scale_factor = 0.1, toast.autovacuum_vacuum_scale_factor = 0.1'
    END);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                 parent, leaf, from_bound, to_bound);
  RETURN true;
END
$$;

-- The leaf of `parent` for at_ms: an hour of ping_chunks, a month of ping_rollup_hours, a day of the
-- others.
CREATE FUNCTION history_make_leaf_at(parent text, at_ms bigint) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  unit text := CASE parent WHEN 'ping_chunks' THEN 'hour' WHEN 'ping_rollup_hours' THEN 'month'
                           ELSE 'day' END;
  form text := CASE unit WHEN 'hour' THEN 'YYYYMMDD"_"HH24' WHEN 'month' THEN 'YYYYMM'
                         ELSE 'YYYYMMDD' END;
  begins timestamp := date_trunc(unit, timestamp '1970-01-01' + at_ms * interval '1 millisecond');
  ends timestamp := begins + ('1 ' || unit)::interval;
BEGIN
  -- Leaves from before this migration held a day of chunks.
  IF unit = 'hour' AND to_regclass(parent || '_' || to_char(begins, 'YYYYMMDD')) IS NOT NULL THEN
    RETURN false;
  END IF;
  RETURN history_make_leaf(parent, parent || '_' || to_char(begins, form),
                           (extract(epoch FROM begins) * 1000)::bigint::text,
                           (extract(epoch FROM ends) * 1000)::bigint::text);
END
$$;

DROP FUNCTION ping_chunks_make_leaf(bigint);
DROP FUNCTION ping_chunks_drop_leaves(bigint);

-- Leaves of a table that is partitioned by milliseconds, oldest first.
CREATE FUNCTION history_leaves(parent text)
RETURNS TABLE (leaf text, from_ms bigint, to_ms bigint) LANGUAGE sql STABLE AS $$
  SELECT c.relname::text, (bounds)[1]::bigint, (bounds)[2]::bigint
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  CROSS JOIN LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                  $r$FROM \('?(-?\d+)'?\) TO \('?(-?\d+)'?\)$r$) AS bounds
  WHERE i.inhparent = parent::regclass
  ORDER BY 2
$$;

-- Drops leaves that end at or before before_ms: at most 50 a call, for the sake of locks. Returns
-- how many.
CREATE FUNCTION history_drop_leaves(parent text, before_ms bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  name text;
  dropped integer := 0;
BEGIN
  FOR name IN SELECT l.leaf FROM history_leaves(parent) l WHERE l.to_ms <= before_ms LIMIT 50 LOOP
    EXECUTE format('DROP TABLE %I', name);
    dropped := dropped + 1;
  END LOOP;
  IF parent = 'ping_chunks' THEN
    DELETE FROM ping_hours WHERE hour_ms + 3600000 <= before_ms;
  ELSIF parent = 'ping_packed' THEN
    DELETE FROM history_broken b
    WHERE (b.from_table = 'ping_packed' AND b.start_ms < before_ms
           AND NOT EXISTS (SELECT FROM ping_packed p WHERE p.device_id = b.device_id
                           AND p.start_ms = b.start_ms AND p.part = b.part))
       OR (b.from_table = 'ping_chunks' AND b.start_ms + 86400000 <= before_ms);
  ELSIF parent = 'ping_rollup_hours' THEN
    DELETE FROM ping_days WHERE day_ms + 86400000 <= before_ms;
  END IF;
  RETURN dropped;
END
$$;

-- Drops leaves of short chunks whose every hour was compacted before compacted_before_ms: readers
-- that began earlier have ended. Returns how many.
CREATE FUNCTION ping_chunks_drop_compacted(compacted_before_ms bigint) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
  l record;
  waiting boolean;
  dropped integer := 0;
BEGIN
  FOR l IN
    SELECT * FROM history_leaves('ping_chunks') v
    WHERE NOT EXISTS (SELECT FROM ping_hours h WHERE h.hour_ms >= v.from_ms AND h.hour_ms < v.to_ms
                      AND (h.written > h.compacted OR h.compacted_ms > compacted_before_ms))
      AND EXISTS (SELECT FROM ping_hours h WHERE h.hour_ms >= v.from_ms AND h.hour_ms < v.to_ms)
    LIMIT 50
  LOOP
    -- Nobody writes chunks now, so what is not compacted shows.
    EXECUTE format('LOCK TABLE ONLY ping_chunks, %I IN ACCESS EXCLUSIVE MODE', l.leaf);
    SELECT EXISTS (SELECT FROM ping_hours h WHERE h.hour_ms >= l.from_ms AND h.hour_ms < l.to_ms
                   AND h.written > h.compacted) INTO waiting;
    IF NOT waiting THEN
      EXECUTE format('DROP TABLE %I', l.leaf);
      DELETE FROM ping_hours WHERE hour_ms >= l.from_ms AND hour_ms < l.to_ms;
      dropped := dropped + 1;
    END IF;
  END LOOP;
  RETURN dropped;
END
$$;

-- Cleanup on demand: results and minute rollups of whole days (UTC) that ended more than so many days
-- ago. Hour rollups stay. dry_run: only says what would go. At most 50 leaves of a table a call:
-- call again until nothing is returned.
CREATE FUNCTION history_cleanup(older_than_days integer, dry_run boolean DEFAULT false,
                                at timestamptz DEFAULT now())
RETURNS TABLE (from_table text, leaf text, bytes bigint) LANGUAGE plpgsql AS $$
DECLARE
  -- Up to the beginning of a day, so that no table keeps a part of what another has dropped.
  floor_at bigint := floor(extract(epoch FROM at) / 86400 - older_than_days)::bigint * 86400000;
BEGIN
  IF older_than_days IS NULL OR older_than_days < 1 THEN
    RAISE invalid_parameter_value USING MESSAGE = 'older_than_days must be at least 1';
  END IF;
  FOREACH from_table IN ARRAY ARRAY['ping_chunks', 'ping_packed', 'ping_rollup_minutes'] LOOP
    RETURN QUERY SELECT from_table, l.leaf, pg_total_relation_size(l.leaf::regclass)::bigint
                 FROM history_leaves(from_table) l WHERE l.to_ms <= floor_at LIMIT 50;
    IF NOT dry_run THEN PERFORM history_drop_leaves(from_table, floor_at); END IF;
  END LOOP;
  IF NOT dry_run THEN
    UPDATE history_state SET floor_ms = greatest(floor_ms, floor_at);
  END IF;
END
$$;

-- For people who write SQL ---------------------------------------------------------------------

-- Reads the varint at byte `at`; `at` is then behind it. docs/packed-chunk.md
CREATE FUNCTION ping_varint(bytes bytea, INOUT at integer, OUT value bigint)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  b integer;
  shift integer := 0;
BEGIN
  value := 0;
  LOOP
    b := get_byte(bytes, at);
    at := at + 1;
    value := value | ((b & 127)::bigint << shift);
    IF b < 128 THEN RETURN; END IF;
    shift := shift + 7;
    IF shift > 56 THEN RAISE data_exception USING MESSAGE = 'a number too long'; END IF;
  END LOOP;
END
$$;

-- CRC-32C of the first `length` bytes.
CREATE FUNCTION ping_crc32c(bytes bytea, length integer) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  remainders bigint[];
  r bigint;
  crc bigint := 4294967295;
BEGIN
  FOR n IN 0 .. 255 LOOP
    r := n;
    FOR i IN 1 .. 8 LOOP
      r := CASE WHEN r & 1 = 1 THEN (r >> 1) # 2197175160 ELSE r >> 1 END;
    END LOOP;
    remainders[n] := r;
  END LOOP;
  FOR i IN 0 .. length - 1 LOOP
    crc := remainders[((crc # get_byte(bytes, i)) & 255)::integer] # (crc >> 8);
  END LOOP;
  RETURN crc # 4294967295;
END
$$;

-- The numbers of a packed chunk: unpack_chunk() in common/domain/packed_chunk.cpp, for people. One
-- that does not decode gives NULLs and a warning. (Not PARALLEL SAFE: it begins a subtransaction.)
CREATE FUNCTION ping_unpack(packed bytea, OUT echoes integer, OUT samples integer[],
                            OUT extra integer[])
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
  -- In memory and with room to look ahead.
  p bytea := packed || '\x00000000000000'::bytea;
  ends integer := octet_length(packed) - 4;
  at integer := 2;
  bit_at integer;
  implied boolean;
  n bigint;
  slots bigint;
  run_count bigint;
  runs bigint[] := '{}';
  value_count integer;
  vals integer[] := '{}';
  base bigint := 0;
  k integer;
  w bigint;
  q integer;
  placed integer := 0;
  next_value integer := 1;
  numbers integer;
BEGIN
  IF ends < 2 OR get_byte(p, 0) <> 1 OR get_byte(p, 1) > 1 THEN
    RAISE data_exception USING MESSAGE = 'unknown version or flag';
  END IF;
  w := 0;
  FOR i IN REVERSE 3 .. 0 LOOP w := (w << 8) | get_byte(p, ends + i); END LOOP;
  IF ping_crc32c(p, ends) <> w THEN
    RAISE data_exception USING MESSAGE = 'wrong checksum';
  END IF;
  implied := get_byte(p, 1) = 1;
  SELECT v.at, v.value INTO at, slots FROM ping_varint(p, at) v;
  SELECT v.at, v.value INTO at, echoes FROM ping_varint(p, at) v;
  SELECT v.at, v.value INTO at, run_count FROM ping_varint(p, at) v;
  numbers := slots * echoes;
  FOR i IN 1 .. run_count * 3 LOOP
    SELECT v.at, v.value INTO at, n FROM ping_varint(p, at) v;
    runs[i] := n;
  END LOOP;
  SELECT v.at, v.value INTO at, value_count FROM ping_varint(p, at) v;
  -- Blocks of 128.
  FOR block IN 1 .. value_count BY 128 LOOP
    SELECT v.at, v.value INTO at, n FROM ping_varint(p, at) v;
    base := base + ((n >> 1) # -(n & 1));
    k := get_byte(p, at);
    at := at + 1;
    IF k = 255 THEN
      FOR i IN block .. least(block + 127, value_count) LOOP vals[i] := base; END LOOP;
      CONTINUE;
    END IF;
    bit_at := at * 8;
    FOR i IN block .. least(block + 127, value_count) LOOP
      at := bit_at >> 3;
      w := (get_byte(p, at) + get_byte(p, at + 1) * 256 + get_byte(p, at + 2) * 65536
            + get_byte(p, at + 3) * 16777216::bigint) >> (bit_at & 7);
      q := 0;
      WHILE q < 24 AND w & 1 = 1 LOOP
        q := q + 1;
        w := w >> 1;
      END LOOP;
      bit_at := bit_at + CASE WHEN q < 24 THEN q + 1 ELSE 24 END;
      at := bit_at >> 3;
      w := (get_byte(p, at) + get_byte(p, at + 1) * 256 + get_byte(p, at + 2) * 65536
            + get_byte(p, at + 3) * 16777216::bigint
            + get_byte(p, at + 4) * 4294967296::bigint) >> (bit_at & 7);
      IF q < 24 THEN
        n := (q::bigint << k) | (w & ((1::bigint << k) - 1));
        bit_at := bit_at + k;
      ELSE
        n := w & 8589934591;
        bit_at := bit_at + 33;
      END IF;
      vals[i] := base + ((n >> 1) # -(n & 1));
    END LOOP;
    at := (bit_at + 7) >> 3;
  END LOOP;
  -- Values and runs of codes back to where they were.
  samples := array_fill(-6, ARRAY[numbers]);
  FOR r IN 0 .. run_count LOOP
    FOR i IN 1 .. CASE WHEN r < run_count THEN runs[r * 3 + 1]
                       ELSE value_count - next_value + 1 END LOOP
      placed := placed + 1;
      samples[placed] := vals[next_value];
      next_value := next_value + 1;
    END LOOP;
    EXIT WHEN r = run_count;
    n := -runs[r * 3 + 2];
    FOR i IN 1 .. runs[r * 3 + 3] LOOP
      placed := placed + 1;
      samples[placed] := n;
      -- The fillers behind are not written.
      IF implied AND n <= -100 AND (placed - 1) % echoes = 0 THEN
        placed := placed + echoes - 1;
      END IF;
    END LOOP;
  END LOOP;
  SELECT v.at, v.value INTO at, run_count FROM ping_varint(p, at) v;
  extra := '{}';
  FOR i IN 1 .. run_count LOOP
    SELECT v.at, v.value INTO at, n FROM ping_varint(p, at) v;
    extra[i] := (n >> 1) # -(n & 1);
  END LOOP;
  IF placed <> numbers OR at <> ends THEN
    RAISE data_exception USING MESSAGE = 'cut short or too long';
  END IF;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
  RAISE WARNING 'a packed chunk does not decode: %', SQLERRM;
  echoes := NULL;
  samples := NULL;
  extra := NULL;
END
$$;

-- The results of one packed row, a row each.
CREATE FUNCTION ping_packed_results(start_ms bigint, step_ms integer, packed bytea)
RETURNS TABLE (due_ms bigint, verdict integer, reason integer, echoes_sent integer,
               echoes_answered integer, rtt_min_us integer, rtt_max_us integer, rtt_sum_us bigint)
LANGUAGE sql IMMUTABLE AS $$
  SELECT r.* FROM ping_unpack(packed) u
  CROSS JOIN LATERAL ping_chunk_results(start_ms, step_ms, u.echoes, u.samples, u.extra) r
  WHERE u.echoes IS NOT NULL
$$;

-- As in 0002, and from packed rows. For a while a result may be in both; it is one row.
CREATE OR REPLACE VIEW ping_checks AS
SELECT device_id, location, producer AS prober, to_timestamp(due_ms / 1000.0) AS at,
       step_ms AS interval_ms, ping_verdict_text(verdict) AS verdict,
       ping_reason_text(reason) AS reason, echoes_sent, echoes_answered, rtt_min_us,
       CASE WHEN echoes_answered > 0 THEN rtt_sum_us::double precision / echoes_answered END
         AS rtt_avg_us,
       rtt_max_us, due_ms
FROM (
  SELECT DISTINCT ON (device_id, location, due_ms) *
  FROM (
    SELECT DISTINCT ON (c.device_id, l.name, c.due_ms, p.name)
           c.device_id, l.name AS location, c.due_ms, p.name AS producer, c.step_ms, c.clock_steps,
           c.verdict, c.reason, c.echoes_sent, c.echoes_answered, c.rtt_min_us, c.rtt_max_us,
           c.rtt_sum_us
    FROM (
      SELECT s.device_id, s.location_id, s.producer_id, s.step_ms, s.clock_steps, r.*
      FROM ping_chunks s
      CROSS JOIN LATERAL ping_chunk_results(s.start_ms, s.step_ms, s.echoes, s.samples, s.extra) r
      UNION ALL
      SELECT s.device_id, s.location_id, s.producer_id, s.step_ms, s.clock_steps, r.*
      FROM ping_packed s
      CROSS JOIN LATERAL ping_packed_results(s.start_ms, s.step_ms, s.packed) r
    ) c
    JOIN history_names l ON l.id = c.location_id
    JOIN history_names p ON p.id = c.producer_id
    ORDER BY c.device_id, l.name, c.due_ms, p.name, c.clock_steps DESC, c.verdict, c.reason,
             c.rtt_sum_us, c.echoes_sent, c.echoes_answered, c.rtt_min_us, c.rtt_max_us
  ) AS by_producer
  ORDER BY device_id, location, due_ms, verdict, producer
) AS chosen;

-- ping_checks of one device and a span of time [from_at, to_at), newest first.
CREATE OR REPLACE FUNCTION ping_history(device bigint, from_at timestamptz, to_at timestamptz)
RETURNS TABLE (location text, prober text, at timestamptz, interval_ms integer, verdict text,
               reason text, echoes_sent integer, echoes_answered integer, rtt_min_us integer,
               rtt_avg_us double precision, rtt_max_us integer)
LANGUAGE sql STABLE AS $$
  WITH span AS (
    SELECT floor(extract(epoch FROM from_at) * 1000)::bigint AS from_ms,
           floor(extract(epoch FROM to_at) * 1000)::bigint AS to_ms
  ), every AS (
    SELECT s.location_id, s.producer_id, s.step_ms, s.clock_steps, r.*
    FROM span
    JOIN ping_chunks s ON s.device_id = device
         AND s.start_ms >= span.from_ms - 3600000 AND s.start_ms < span.to_ms
    CROSS JOIN LATERAL ping_chunk_results(s.start_ms, s.step_ms, s.echoes, s.samples, s.extra) r
    WHERE r.due_ms >= span.from_ms AND r.due_ms < span.to_ms
    UNION ALL
    SELECT s.location_id, s.producer_id, s.step_ms, s.clock_steps, r.*
    FROM span
    JOIN ping_packed s ON s.device_id = device
         AND s.start_ms >= span.from_ms - 3600000 AND s.start_ms < span.to_ms
    CROSS JOIN LATERAL ping_packed_results(s.start_ms, s.step_ms, s.packed) r
    WHERE r.due_ms >= span.from_ms AND r.due_ms < span.to_ms
  ), results AS (
    SELECT DISTINCT ON (l.name, c.due_ms, p.name) l.name AS location, p.name AS producer, c.*
    FROM every c
    JOIN history_names l ON l.id = c.location_id
    JOIN history_names p ON p.id = c.producer_id
    ORDER BY l.name, c.due_ms, p.name, c.clock_steps DESC, c.verdict, c.reason, c.rtt_sum_us,
             c.echoes_sent, c.echoes_answered, c.rtt_min_us, c.rtt_max_us
  ), chosen AS (
    SELECT DISTINCT ON (x.location, x.due_ms) x.* FROM results x
    ORDER BY x.location, x.due_ms, x.verdict, x.producer
  )
  SELECT x.location, x.producer, to_timestamp(x.due_ms / 1000.0), x.step_ms,
         ping_verdict_text(x.verdict), ping_reason_text(x.reason), x.echoes_sent,
         x.echoes_answered, x.rtt_min_us,
         CASE WHEN x.echoes_answered > 0
              THEN x.rtt_sum_us::double precision / x.echoes_answered END,
         x.rtt_max_us
  FROM chosen x ORDER BY x.due_ms DESC, x.location
$$;
