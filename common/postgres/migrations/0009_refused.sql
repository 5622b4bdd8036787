-- What PostgreSQL refuses for its content (a constraint, a value out of range) is kept beside the
-- records that can never be right: a row of stream_quarantine with refused = true, its bytes whole,
-- and the slots it is about as a row of stream_gaps. Recording goes on without it.

-- gap_id: its row of stream_gaps; NULL when no slot is concerned. again: the recorder shall try it
-- once more (it looks once a minute); what is then recorded goes from here and from stream_gaps.
ALTER TABLE stream_quarantine
  ADD COLUMN refused boolean NOT NULL DEFAULT false,
  ADD COLUMN again boolean NOT NULL DEFAULT false,
  ADD COLUMN gap_id bigint;
CREATE INDEX stream_quarantine_refused ON stream_quarantine (stream, again) WHERE refused;

-- For people, once what was refused no longer is: SELECT history_retry_refused(). Returns: how many
-- records will be tried again.
CREATE FUNCTION history_retry_refused() RETURNS bigint LANGUAGE sql AS $$
  WITH chosen AS (
    UPDATE stream_quarantine SET again = true WHERE refused AND NOT again AND payload <> ''
    RETURNING 1
  )
  SELECT count(*) FROM chosen
$$;
