-- How a device is checked in more detail, and how it may prove that it lives when its echoes fail.
ALTER TABLE devices
  ADD COLUMN echo_spacing_ms integer NOT NULL DEFAULT 100 CHECK (echo_spacing_ms > 0),
  ADD COLUMN web_status   integer NOT NULL DEFAULT 200,      -- what web_url must answer
  ADD COLUMN web_insecure boolean NOT NULL DEFAULT false,    -- its certificate is not checked
  ADD COLUMN web_auth     text NOT NULL DEFAULT '',          -- name of a secret on the prober
  ADD COLUMN web_json     text NOT NULL DEFAULT '',          -- "/pointer=value" its body must have
  ADD COLUMN tcp_ports    integer[] NOT NULL DEFAULT '{}';   -- one that accepts is enough
