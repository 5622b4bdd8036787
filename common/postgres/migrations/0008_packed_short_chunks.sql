-- Short chunks are packed, too (docs/packed-chunk.md): a third of the bytes, and PostgreSQL copies them
-- instead of taking each number apart. Rows from before have `samples`, and no `packed` and `results`
-- (how many it holds); they are read until they are compacted.
ALTER TABLE ping_chunks ADD COLUMN results integer;
ALTER TABLE ping_chunks ADD COLUMN packed bytea;
ALTER TABLE ping_chunks ALTER COLUMN packed SET STORAGE EXTERNAL;
ALTER TABLE ping_chunks ALTER COLUMN samples DROP NOT NULL;

-- For people who write SQL ---------------------------------------------------------------------

-- The results of one short chunk, a row each.
CREATE FUNCTION ping_short_results(start_ms bigint, step_ms integer, echoes integer,
                                   samples integer[], extra integer[], packed bytea)
RETURNS TABLE (due_ms bigint, verdict integer, reason integer, echoes_sent integer,
               echoes_answered integer, rtt_min_us integer, rtt_max_us integer, rtt_sum_us bigint)
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
  IF packed IS NULL THEN
    RETURN QUERY SELECT r.* FROM ping_chunk_results(start_ms, step_ms, echoes, samples, extra) r;
  ELSE
    RETURN QUERY SELECT r.* FROM ping_packed_results(start_ms, step_ms, packed) r;
  END IF;
END
$$;

-- As in 0005, and from short chunks of both kinds. For a while a result may be in several; it is one
-- row.
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
      CROSS JOIN LATERAL ping_short_results(s.start_ms, s.step_ms, s.echoes, s.samples, s.extra,
                                               s.packed) r
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
    CROSS JOIN LATERAL ping_short_results(s.start_ms, s.step_ms, s.echoes, s.samples, s.extra,
                                               s.packed) r
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
