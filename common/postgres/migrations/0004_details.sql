-- What is known of a check beyond its round trip times: who said unreachable, late and duplicate
-- answers, proofs of life, who paused (common/domain/chunk_details.h says how). NULL in nearly all
-- chunks, and in all from before this column.
ALTER TABLE ping_chunks ADD COLUMN details bytea;

-- A device that is given by name got another address, as a prober saw it. "was" NULL: the first one
-- it had; "becomes" NULL: the name resolved no more.
CREATE TABLE address_changes (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  device_id bigint NOT NULL,
  location text NOT NULL,
  prober text NOT NULL,
  at timestamptz NOT NULL,
  was inet,
  becomes inet
);
CREATE INDEX address_changes_device ON address_changes (device_id, at DESC, id DESC);
CREATE INDEX address_changes_at ON address_changes (at);

-- The same with the device's name.
CREATE VIEW device_addresses AS
SELECT a.device_id, coalesce(nullif(d.hostname, ''), d.address) AS hostname, d.address AS name,
       a.location, a.prober, a.at, a.was, a.becomes
FROM address_changes a LEFT JOIN devices d ON d.id = a.device_id;

CREATE OR REPLACE FUNCTION ping_reason_text(reason integer) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
  SELECT CASE reason
    WHEN 0 THEN 'none' WHEN 1 THEN 'lossy' WHEN 2 THEN 'timeout' WHEN 3 THEN 'unreachable'
    WHEN 4 THEN 'time exceeded' WHEN 16 THEN 'not running' WHEN 17 THEN 'paused'
    WHEN 18 THEN 'clock step' WHEN 19 THEN 'send error' WHEN 20 THEN 'late'
    WHEN 21 THEN 'prober suspect' WHEN 22 THEN 'no address' WHEN 23 THEN 'stream gap'
    WHEN 24 THEN 'queue full' WHEN 25 THEN 'web alive' WHEN 26 THEN 'tcp alive'
    ELSE 'reason ' || reason END
$$;

-- As in 0002, and with the echoes -7 to -10: network, host, port unreachable, prohibited. The check's
-- reason is then unreachable.
CREATE OR REPLACE FUNCTION ping_chunk_results(start_ms bigint, step_ms integer, echoes integer,
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
      sent_code := 0;
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
      reason := CASE WHEN sent_code = 0 THEN 0 WHEN verdict = 0 THEN 1
                     WHEN sent_code <= -7 THEN 3 ELSE 1 - sent_code END;
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
