-- What exists and who may check it. Written by inventory alone; SQL users and views read it.
-- Rows are never deleted: a removed device keeps its row, so that its id is never given again and
-- history keeps a name for it. Rules about values are inventory's (services/inventory/core); the
-- checks here only keep a second writer from breaking what readers rely on.

CREATE TABLE inventory_state (
  one            boolean PRIMARY KEY DEFAULT true CHECK (one),
  generation     bigint NOT NULL DEFAULT 0,   -- of the catalogue; see docs/ARCHITECTURE.md
  number         bigint NOT NULL DEFAULT 0,   -- grows by one with every change, in its transaction
  next_device_id bigint NOT NULL DEFAULT 1,   -- ids from here on were never given
  changed_at     timestamptz NOT NULL DEFAULT now()
);
INSERT INTO inventory_state DEFAULT VALUES;

CREATE TABLE devices (
  id          bigint PRIMARY KEY CHECK (id > 0),
  address     text NOT NULL CHECK (address <> ''),  -- IP address in canonical form, or a host name
  hostname    text NOT NULL DEFAULT '',
  merk        text NOT NULL DEFAULT '',             -- manufacturer
  os          text NOT NULL DEFAULT '',
  kondisi     text NOT NULL DEFAULT 'baik',         -- baik, maintenance, hilang, ...
  supplier    text NOT NULL DEFAULT '',
  type        text NOT NULL DEFAULT '',
  post_code   text NOT NULL DEFAULT '',
  web_url     text NOT NULL DEFAULT '',
  id_lokasi   text NOT NULL DEFAULT '',
  probe_from  text[] NOT NULL DEFAULT '{}',         -- locations; empty = the default one
  parent      bigint NOT NULL DEFAULT 0,            -- devices.id; 0 = none
  interval_ms integer NOT NULL CHECK (interval_ms > 0),
  timeout_ms  integer NOT NULL CHECK (timeout_ms > 0),
  echo_count  integer NOT NULL CHECK (echo_count > 0),
  min_replies integer NOT NULL CHECK (min_replies BETWEEN 1 AND echo_count),
  tags        jsonb NOT NULL DEFAULT '{}',
  source      text NOT NULL,                        -- file, api, ...
  source_id   text NOT NULL DEFAULT '',             -- its id there, when that could not be kept
  source_record bytea,                              -- what its source last said (v1.Device)
  created_at  timestamptz NOT NULL,
  updated_at  timestamptz NOT NULL,
  removed_at  timestamptz                           -- set: no longer checked, id kept reserved
);
CREATE INDEX devices_by_address ON devices (address);

-- From `from_at` on the device's slots are k * interval + phase; interval_ms 0 = not checked.
-- Expected slots, and so what was not measured, follow from these rows.
CREATE TABLE schedules (
  device_id   bigint NOT NULL,
  from_at     timestamptz NOT NULL,
  interval_ms integer NOT NULL CHECK (interval_ms >= 0),
  timeout_ms  integer NOT NULL,
  echo_count  integer NOT NULL,
  min_replies integer NOT NULL,
  probe_from  text[] NOT NULL DEFAULT '{}',
  PRIMARY KEY (device_id, from_at)
);

CREATE TABLE probers (
  name          text PRIMARY KEY,
  location      text NOT NULL,
  first_seen_at timestamptz NOT NULL,
  last_seen_at  timestamptz NOT NULL
);

-- Who changed what. `changes` = {"field": [before, after], ...}.
CREATE TABLE audit (
  id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at        timestamptz NOT NULL,
  actor     text NOT NULL,
  action    text NOT NULL,          -- device.created, device.updated, device.removed, device.restored
  device_id bigint NOT NULL,
  changes   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_by_device ON audit (device_id, id);
