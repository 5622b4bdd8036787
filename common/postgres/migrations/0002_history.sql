-- History: what the recorder keeps (services/recorder) and common/history reads.
-- docs/ARCHITECTURE.md, "History", says why it looks like this. Enumerators are those of
-- common/domain/ping.h and status.h; they are never renumbered.

-- Names of locations and producers, so that rows carry four bytes for each.
CREATE TABLE history_names (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE
);

-- Hot rows -----------------------------------------------------------------------------------

-- One row per stream and partition, locked before anything is recorded, so that two recorders come
-- one after the other. `number`: of the last hot row. `token`: drawn anew by each commit, so that a
-- recorder sees whether what it committed last is still the newest (another recorder, an older
-- database after a fail-over).
CREATE TABLE stream_heads (
  stream text NOT NULL,
  partition smallint NOT NULL,
  number bigint NOT NULL DEFAULT 0,
  token bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (stream, partition)
) WITH (fillfactor = 50);
INSERT INTO stream_heads (stream, partition)
SELECT s, p FROM unnest(ARRAY['ping', 'transitions']) s, generate_series(0, 7) p;

-- Hot rows up to `number` are in ping_chunks; a reader takes later ones from ping_hot.
CREATE TABLE ping_watermarks (
  partition smallint PRIMARY KEY,
  number bigint NOT NULL DEFAULT 0,
  moved_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);
INSERT INTO ping_watermarks (partition) SELECT generate_series(0, 7);

-- The batches of one partition and commit, as they came (common/codec/hot_codec.h). Leaves cover a
-- span of written_at each; they are dropped once they lie below the watermark, never deleted from.
-- To read it within a snapshot: LOCK TABLE ping_hot IN ACCESS SHARE MODE first, else a leaf that
-- the snapshot still needs may be dropped before it is read.
CREATE TABLE ping_hot (
  number bigint NOT NULL,
  written_at timestamptz NOT NULL,
  results integer NOT NULL,
  partition smallint NOT NULL,
  batches bytea NOT NULL
) PARTITION BY RANGE (written_at);
ALTER TABLE ping_hot ALTER COLUMN batches SET STORAGE EXTERNAL;
CREATE INDEX ping_hot_number ON ping_hot (partition, number);

-- Chunks -------------------------------------------------------------------------------------

-- One run of results of a device from one producer and location: slots start_ms, start_ms +
-- step_ms, ... all within one hour of UTC. `samples` holds `echoes` numbers per slot
-- (common/domain/chunk.h says which); `extra` is for the rare results that do not fit.
-- `part` is unique per device: hot number << 16 | counter. What comes late is another row.
-- Leaves cover a day of start_ms each and are dropped when they are past raw retention.
CREATE TABLE ping_chunks (
  device_id bigint NOT NULL,
  start_ms bigint NOT NULL,
  part bigint NOT NULL,
  step_ms integer NOT NULL,
  location_id integer NOT NULL,
  producer_id integer NOT NULL,
  clock_steps smallint NOT NULL,
  echoes smallint NOT NULL,
  samples integer[] NOT NULL,
  extra integer[],
  PRIMARY KEY (device_id, start_ms, part)
) PARTITION BY RANGE (start_ms);
ALTER TABLE ping_chunks ALTER COLUMN samples SET STORAGE EXTERNAL;

-- Streams ------------------------------------------------------------------------------------

-- Up to where each producer's records are in history: everything up to `cumulative`, and up to
-- `highest` all but `missing` ("3-5,9-9"). Moved in the transaction that records; what a recorder
-- acknowledges is what stands here. `epoch_order`: of the epoch among its producer's.
CREATE TABLE stream_positions (
  stream text NOT NULL,
  producer text NOT NULL,
  epoch bigint NOT NULL,
  partition smallint NOT NULL,
  cumulative bigint NOT NULL,
  highest bigint NOT NULL,
  missing text NOT NULL DEFAULT '',
  epoch_order bigint NOT NULL,
  closed boolean NOT NULL DEFAULT false,
  PRIMARY KEY (stream, producer, epoch, partition)
) WITH (fillfactor = 50);

-- Epochs of producers. clock_steps counts the epochs of this producer that began with a clock step,
-- this one included: where one producer measured a slot twice, the higher one counts.
CREATE TABLE stream_epochs (
  stream text NOT NULL,
  producer text NOT NULL,
  epoch bigint NOT NULL,
  predecessor bigint NOT NULL DEFAULT 0,
  reason smallint NOT NULL DEFAULT 0,
  clock_steps smallint NOT NULL DEFAULT 0,
  first_seen timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (stream, producer, epoch)
);

-- Records that their producer announced as lost. Slots from from_ms to to_ms may be concerned; NULL
-- = unknown.
CREATE TABLE stream_gaps (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL,
  producer text NOT NULL,
  epoch bigint NOT NULL,
  partition smallint NOT NULL,
  first_seq bigint NOT NULL,
  last_seq bigint NOT NULL,
  from_ms bigint,
  to_ms bigint,
  reason text NOT NULL,
  noticed_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX stream_gaps_noticed ON stream_gaps (noticed_at);

-- Records that will never be right: undecodable, or with slots that cannot be.
CREATE TABLE stream_quarantine (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  stream text NOT NULL,
  producer text NOT NULL,
  epoch bigint NOT NULL,
  partition smallint NOT NULL,
  seq bigint NOT NULL,
  produced_at timestamptz,
  reason text NOT NULL,
  payload bytea NOT NULL,
  noticed_at timestamptz NOT NULL DEFAULT now()
);

-- Records with slots more than 10 s in the recorder's future, whole, until they no longer are.
CREATE TABLE stream_set_aside (
  stream text NOT NULL,
  producer text NOT NULL,
  epoch bigint NOT NULL,
  partition smallint NOT NULL,
  seq bigint NOT NULL,
  newest_ms bigint NOT NULL,
  produced_at timestamptz NOT NULL,
  payload bytea NOT NULL,
  noticed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (stream, producer, epoch, partition, seq)
);

-- Transitions of the timeout-tracker. `state` is the device's complete state after it
-- (gema.v1.DeviceState).
CREATE TABLE transitions (
  id uuid PRIMARY KEY,
  device_id bigint NOT NULL,
  counter bigint NOT NULL,
  from_status smallint NOT NULL,
  to_status smallint NOT NULL,
  reason smallint NOT NULL,
  slot_at timestamptz NOT NULL,
  decided_at timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL DEFAULT now(),
  state bytea NOT NULL
);
CREATE INDEX transitions_device ON transitions (device_id, counter DESC);
CREATE INDEX transitions_decided ON transitions (decided_at);

-- Leaves -------------------------------------------------------------------------------------

-- Makes a leaf unless it is there. ATTACH (unlike CREATE ... PARTITION OF) lets readers go on.
CREATE FUNCTION history_make_leaf(parent text, leaf text, from_bound text, to_bound text)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  IF to_regclass(leaf) IS NOT NULL THEN RETURN false; END IF;
  PERFORM pg_advisory_xact_lock(hashtext('gema history leaf'), hashtext(parent));
  IF to_regclass(leaf) IS NOT NULL THEN RETURN false; END IF;
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', leaf, parent);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                 parent, leaf, from_bound, to_bound);
  RETURN true;
END
$$;

-- The leaf of ping_hot for rows written at `at`: ten minutes.
CREATE FUNCTION ping_hot_make_leaf(at timestamptz) RETURNS boolean LANGUAGE sql AS $$
  SELECT history_make_leaf('ping_hot',
    'ping_hot_' || to_char(begin_at AT TIME ZONE 'UTC', 'YYYYMMDD"_"HH24MI'),
    begin_at::text, (begin_at + interval '10 minutes')::text)
  FROM (SELECT to_timestamp(floor(extract(epoch FROM at) / 600) * 600) AS begin_at) AS b
$$;

-- The leaf of ping_chunks for slots of the day (UTC) that holds start_ms.
CREATE FUNCTION ping_chunks_make_leaf(start_ms bigint) RETURNS boolean LANGUAGE sql AS $$
  SELECT history_make_leaf('ping_chunks',
    'ping_chunks_' || to_char(to_timestamp(day * 86400) AT TIME ZONE 'UTC', 'YYYYMMDD'),
    (day * 86400000)::text, ((day + 1) * 86400000)::text)
  FROM (SELECT floor(start_ms / 86400000.0)::bigint AS day) AS b
$$;

-- Drops leaves of ping_hot that end before `before` and hold nothing above the watermark.
-- Returns how many.
CREATE FUNCTION ping_hot_drop_leaves(before timestamptz) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  leaf text;
  waiting boolean;
  dropped integer := 0;
BEGIN
  FOR leaf IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ping_hot'::regclass
      AND to_timestamp(right(c.relname, 13), 'YYYYMMDD"_"HH24MI') + interval '10 minutes' <= before
    ORDER BY c.relname
  LOOP
    EXECUTE format('LOCK TABLE ping_hot, %I IN ACCESS EXCLUSIVE MODE', leaf);
    EXECUTE format('SELECT EXISTS (SELECT FROM %I h JOIN ping_watermarks w USING (partition)'
                   ' WHERE h.number > w.number)', leaf) INTO waiting;
    IF NOT waiting THEN
      EXECUTE format('DROP TABLE %I', leaf);
      dropped := dropped + 1;
    END IF;
  END LOOP;
  RETURN dropped;
END
$$;

-- Drops leaves of ping_chunks whose days ended before `before_ms`. Returns how many.
CREATE FUNCTION ping_chunks_drop_leaves(before_ms bigint) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  leaf text;
  dropped integer := 0;
BEGIN
  FOR leaf IN
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'ping_chunks'::regclass
      AND extract(epoch FROM to_timestamp(right(c.relname, 8), 'YYYYMMDD')) * 1000 + 86400000
          <= before_ms
  LOOP
    EXECUTE format('DROP TABLE %I', leaf);
    dropped := dropped + 1;
  END LOOP;
  RETURN dropped;
END
$$;

-- For people who write SQL ---------------------------------------------------------------------

CREATE FUNCTION ping_verdict_text(verdict integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT (ARRAY['answered', 'failed', 'not measured'])[verdict + 1]
$$;

CREATE FUNCTION ping_reason_text(reason integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE reason
    WHEN 0 THEN 'none' WHEN 1 THEN 'lossy' WHEN 2 THEN 'timeout' WHEN 3 THEN 'unreachable'
    WHEN 4 THEN 'time exceeded' WHEN 16 THEN 'not running' WHEN 17 THEN 'paused'
    WHEN 18 THEN 'clock step' WHEN 19 THEN 'send error' WHEN 20 THEN 'late'
    WHEN 21 THEN 'prober suspect' WHEN 22 THEN 'no address' WHEN 23 THEN 'stream gap'
    WHEN 24 THEN 'queue full' ELSE 'reason ' || reason END
$$;

-- The results of one chunk, a row each. The same rules as append_chunk() in common/domain/chunk.cpp.
CREATE FUNCTION ping_chunk_results(start_ms bigint, step_ms integer, echoes integer,
                                   samples integer[], extra integer[])
RETURNS TABLE (due_ms bigint, verdict integer, reason integer, echoes_sent integer,
               echoes_answered integer, rtt_min_us integer, rtt_max_us integer, rtt_sum_us bigint)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
DECLARE
  slots integer := cardinality(samples) / echoes;
  x integer := 1;                         -- next entry of extra
  x_end integer := coalesce(cardinality(extra), 0);
  v integer;
  sent_code integer;
  mixed boolean;
BEGIN
  FOR i IN 0 .. slots - 1 LOOP
    v := samples[i * echoes + 1];
    IF v = -100 THEN CONTINUE; END IF;    -- no result for this slot
    due_ms := start_ms + i::bigint * step_ms;
    echoes_sent := 0; echoes_answered := 0; rtt_min_us := NULL; rtt_max_us := NULL;
    rtt_sum_us := 0;
    IF v <= -200 THEN
      verdict := 2; reason := -200 - v;
    ELSE
      sent_code := 0; mixed := false;
      FOR e IN 1 .. echoes LOOP
        v := samples[i * echoes + e];
        IF v = -6 THEN EXIT; END IF;      -- fewer echoes than the row's widest check
        echoes_sent := echoes_sent + 1;
        IF v >= 0 THEN
          echoes_answered := echoes_answered + 1;
          rtt_min_us := least(rtt_min_us, v);
          rtt_max_us := greatest(rtt_max_us, v);
          rtt_sum_us := rtt_sum_us + v;
        ELSIF sent_code = 0 THEN
          sent_code := v;
        END IF;
      END LOOP;
      verdict := CASE WHEN echoes_answered > 0 THEN 0 ELSE 1 END;
      reason := CASE WHEN sent_code = 0 THEN 0 WHEN verdict = 0 THEN 1 ELSE 1 - sent_code END;
    END IF;
    IF x <= x_end AND extra[x] = i THEN   -- index, verdict << 8 | reason, burst sent, answers, rtts
      verdict := extra[x + 1] >> 8; reason := extra[x + 1] & 255;
      echoes_sent := echoes_sent + extra[x + 2];
      FOR e IN 1 .. extra[x + 3] LOOP
        v := extra[x + 3 + e];
        echoes_answered := echoes_answered + 1;
        rtt_min_us := least(rtt_min_us, v);
        rtt_max_us := greatest(rtt_max_us, v);
        rtt_sum_us := rtt_sum_us + v;
      END LOOP;
      x := x + 4 + extra[x + 3];
    END IF;
    RETURN NEXT;
  END LOOP;
END
$$;

-- One row per check, from chunks (so up to a chunk's span behind). Where two results exist for one
-- slot: per producer the later clock, then measured, then answered, then the lower producer.
-- Ask for a device and the planner reads that device only; for a span of time use ping_history().
CREATE VIEW ping_checks AS
SELECT device_id, location, producer AS prober, to_timestamp(due_ms / 1000.0) AS at,
       step_ms AS interval_ms, ping_verdict_text(verdict) AS verdict,
       ping_reason_text(reason) AS reason, echoes_sent, echoes_answered, rtt_min_us,
       CASE WHEN echoes_answered > 0 THEN rtt_sum_us::double precision / echoes_answered END
         AS rtt_avg_us,
       rtt_max_us, due_ms
FROM (
  SELECT DISTINCT ON (device_id, location, due_ms) *
  FROM (
    SELECT DISTINCT ON (c.device_id, l.name, r.due_ms, p.name)
           c.device_id, l.name AS location, r.due_ms, p.name AS producer, c.step_ms, c.clock_steps,
           r.verdict, r.reason, r.echoes_sent, r.echoes_answered, r.rtt_min_us, r.rtt_max_us,
           r.rtt_sum_us
    FROM ping_chunks c
    JOIN history_names l ON l.id = c.location_id
    JOIN history_names p ON p.id = c.producer_id
    CROSS JOIN LATERAL ping_chunk_results(c.start_ms, c.step_ms, c.echoes, c.samples, c.extra) r
    ORDER BY c.device_id, l.name, r.due_ms, p.name, c.clock_steps DESC, r.verdict, r.reason,
             r.rtt_sum_us, r.echoes_sent, r.echoes_answered, r.rtt_min_us, r.rtt_max_us
  ) AS by_producer
  ORDER BY device_id, location, due_ms, verdict, producer
) AS chosen;

-- ping_checks of one device and a span of time [from_at, to_at), newest first.
CREATE FUNCTION ping_history(device bigint, from_at timestamptz, to_at timestamptz)
RETURNS TABLE (location text, prober text, at timestamptz, interval_ms integer, verdict text,
               reason text, echoes_sent integer, echoes_answered integer, rtt_min_us integer,
               rtt_avg_us double precision, rtt_max_us integer)
LANGUAGE sql STABLE AS $$
  WITH span AS (
    SELECT floor(extract(epoch FROM from_at) * 1000)::bigint AS from_ms,
           floor(extract(epoch FROM to_at) * 1000)::bigint AS to_ms
  ), results AS (
    SELECT DISTINCT ON (l.name, r.due_ms, p.name)
           l.name AS location, p.name AS producer, c.step_ms, r.*
    FROM span
    JOIN ping_chunks c ON c.device_id = device
         AND c.start_ms >= span.from_ms - 3600000 AND c.start_ms < span.to_ms
    JOIN history_names l ON l.id = c.location_id
    JOIN history_names p ON p.id = c.producer_id
    CROSS JOIN LATERAL ping_chunk_results(c.start_ms, c.step_ms, c.echoes, c.samples, c.extra) r
    WHERE r.due_ms >= span.from_ms AND r.due_ms < span.to_ms
    ORDER BY l.name, r.due_ms, p.name, c.clock_steps DESC, r.verdict, r.reason, r.rtt_sum_us,
             r.echoes_sent, r.echoes_answered, r.rtt_min_us, r.rtt_max_us
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

-- The table of ace-connection-logger: one row per measured check of a host, latencies in
-- milliseconds, success_rate in percent. A check that was not measured is no row: it says nothing
-- about the host. Several locations that checked the host at one instant are added up.
CREATE VIEW ping_results AS
SELECT d.id * 4398046511104 + c.due_ms AS id,
       coalesce(nullif(d.hostname, ''), d.address) AS host_name, d.address AS host_address,
       to_timestamp(c.due_ms / 1000.0) AS "timestamp",
       sum(c.echoes_answered)::integer AS success_count,
       sum(c.echoes_sent - c.echoes_answered)::integer AS failure_count,
       (100.0 * sum(c.echoes_answered) / nullif(sum(c.echoes_sent), 0))::real AS success_rate,
       (min(c.rtt_min_us) / 1000.0)::real AS min_latency,
       (max(c.rtt_max_us) / 1000.0)::real AS max_latency,
       (sum(c.rtt_avg_us * c.echoes_answered) / nullif(sum(c.echoes_answered), 0) / 1000.0)::real
         AS avg_latency
FROM ping_checks c JOIN devices d ON d.id = c.device_id
WHERE c.verdict <> 'not measured'
GROUP BY d.id, d.hostname, d.address, c.due_ms;
