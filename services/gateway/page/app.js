// The page: one event stream in, text out. No framework, no markup from data: every name a device
// has comes from outside, so it is only ever set as textContent.
//
// The token is kept in sessionStorage (this tab, until it is closed) and sent as a header; the
// stream is read with fetch, because EventSource cannot send headers (docs/adr/0020).
"use strict";

const ROWS_MAX = 100;         // of the latest results; devices beyond replace the oldest row
const TRANSITIONS_MAX = 50;
const RETRY_MS = 2000;
const SILENT_MS = 25000;      // heartbeats come every 10 s: after this the connection is dead
const TOKEN = "gema.token";

const by = (id) => document.getElementById(id);

// --- token --------------------------------------------------------------------------------------

// "#token=..." as printed at the start. A fragment never leaves the browser; it is taken out of the
// address at once.
function takeTokenFromAddress() {
  const found = /^#token=([!-~]+)$/.exec(location.hash);
  if (location.hash) {
    history.replaceState(null, "", location.pathname);
  }
  if (found) {
    sessionStorage.setItem(TOKEN, decodeURIComponent(found[1]));
  }
}

let session = null;  // AbortController of the running stream

function showLogin(error) {
  by("login").hidden = false;
  by("view").hidden = true;
  by("logout").hidden = true;
  by("pause").hidden = true;
  by("login-error").textContent = error || "";
  by("token").focus();
}

function logOut(error) {
  sessionStorage.removeItem(TOKEN);
  if (session) session.abort();
  session = null;
  setConnection("off", "not connected");
  showLogin(error);
}

function logIn() {
  by("login").hidden = true;
  by("view").hidden = false;
  by("logout").hidden = false;
  session = new AbortController();
  follow(sessionStorage.getItem(TOKEN), session);
}

// --- stream -------------------------------------------------------------------------------------

function setConnection(state, text) {
  by("connection").dataset.state = state;
  by("connection").textContent = text;
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function follow(token, mine) {
  while (session === mine) {
    setConnection("off", "connecting …");
    try {
      await readEvents(token, mine);
      setConnection("off", "the stream ended; trying again");
    } catch (error) {
      if (session !== mine) return;
      if (error.status === 401) {
        logOut("This token is not valid.");
        return;
      }
      setConnection("off", `${error.message || "the gateway is away"}; trying again`);
    }
    await pause(RETRY_MS);
  }
}

async function readEvents(token, mine) {
  const attempt = new AbortController();
  const stop = () => attempt.abort();
  mine.signal.addEventListener("abort", stop);
  let watchdog = setTimeout(stop, SILENT_MS);
  try {
    const answer = await fetch("/api/v1/events", {
      headers: { Authorization: `Bearer ${token}` },
      cache: "no-store",
      credentials: "omit",
      signal: attempt.signal,
    });
    if (!answer.ok) {
      const error = new Error(`the gateway answered ${answer.status}`);
      error.status = answer.status;
      throw error;
    }
    setConnection("live", "live");
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(watchdog);
      watchdog = setTimeout(stop, SILENT_MS);
      text += value;
      const parts = text.split("\n\n");
      text = parts.pop();
      parts.forEach(takeFrame);
    }
  } finally {
    clearTimeout(watchdog);
    mine.signal.removeEventListener("abort", stop);
  }
}

function takeFrame(frame) {
  let name = "";
  let data = "";
  for (const line of frame.split("\n")) {
    if (line.startsWith("event: ")) name = line.slice(7);
    if (line.startsWith("data: ")) data += line.slice(6);
  }
  const show = { counts: showCounts, results: showResults, silent: showSilent,
                 transition: showTransition, address: showAddress, prober: showProber, dropped: showDropped }[name];
  if (show && data) show(JSON.parse(data));
}

// --- showing ------------------------------------------------------------------------------------

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

function clock(iso) {
  return iso ? new Date(iso).toLocaleTimeString() : "never";
}

function moment(iso) {
  if (!iso) return "never";
  const at = new Date(iso);
  return at.toDateString() === new Date().toDateString() ? at.toLocaleTimeString()
                                                         : at.toLocaleString();
}

function newRow(cells) {
  const row = document.createElement("tr");
  for (let i = 0; i < cells; i++) row.append(document.createElement("td"));
  return row;
}

const STATUS_CLASS = { up: "good", down: "bad", unknown: "bad", new: "unsure" };

function showCounts(counts) {
  for (const node of document.querySelectorAll("[data-count]")) {
    const value = counts[node.dataset.count];
    set(node, value === undefined ? "–" : value.toLocaleString(undefined, { maximumFractionDigits: node.dataset.count.startsWith("rtt") ? 3 : 1 }));
  }
  by("notice").hidden = counts.tracker_loaded;
  set(by("notice"), "The timeout-tracker has not answered yet: statuses and timeouts are not known.");
  showProbing(counts.probing);
  showTroubles(counts.troubles);
}

// What which process waits for: "recorder: postgres: PostgreSQL: its disk is full: ...".
function showTroubles(troubles) {
  const list = by("troubles");
  list.hidden = troubles.length === 0;
  while (list.children.length > troubles.length) list.lastChild.remove();
  while (list.children.length < troubles.length) list.append(document.createElement("li"));
  troubles.forEach((trouble, i) => set(list.children[i], `${trouble.process}: ${trouble.what}`));
}

// --- pause --------------------------------------------------------------------------------------

let paused = false;

// null: inventory has not said yet.
function showProbing(probing) {
  by("pause").hidden = !probing;
  paused = Boolean(probing && probing.paused);
  set(by("pause"), paused ? "Resume probing" : "Pause probing");
  by("paused").hidden = !paused;
  if (paused) {
    by("pause-form").hidden = true;
    set(by("paused"), `Probing is paused by ${probing.by} since ${moment(probing.since)}` +
                      (probing.reason ? `: ${probing.reason}` : ""));
  }
}

async function changeProbing(pausing, body) {
  set(by("pause-error"), "");
  try {
    const answer = await fetch(`/api/v1/probing/${pausing ? "pause" : "resume"}`, {
      method: "POST",
      headers: { Authorization: `Bearer ${sessionStorage.getItem(TOKEN)}`,
                 "Content-Type": "application/json" },
      body: JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    showProbing(said.probing);
  } catch (error) {
    set(by("pause-error"), error.message || "the gateway is away");
  }
}

const resultRows = new Map();  // device id -> { row, seen }
let resultClock = 0;

function oldestResult() {
  let oldest = null;
  for (const [id, entry] of resultRows) {
    if (!oldest || entry.seen < oldest.entry.seen) oldest = { id, entry };
  }
  return oldest;
}

// Rows stay where they are and change in place; only devices beyond ROWS_MAX take the place of the
// row that has waited longest.
function resultRow(id) {
  const known = resultRows.get(id);
  if (known) return known;
  let entry = { row: null, seen: 0 };
  if (resultRows.size < ROWS_MAX) {
    entry.row = newRow(6);
    by("results").append(entry.row);
  } else {
    const oldest = oldestResult();
    resultRows.delete(oldest.id);
    entry = oldest.entry;
  }
  resultRows.set(id, entry);
  return entry;
}

function showResults(frame) {
  for (const result of frame.results) {
    const entry = resultRow(result.device_id);
    entry.seen = ++resultClock;
    const [name, address, rtt, verdict, status, at] = entry.row.children;
    const answered = result.verdict === "answered";
    set(name, result.hostname);
    set(address, result.address);
    setClass(rtt, "number");
    set(rtt, result.rtt_ms === null ? "" : result.rtt_ms.toFixed(2));
    setClass(verdict, answered ? "good" : "bad");
    set(verdict, answered ? result.verdict : result.why || result.reason);
    setClass(status, STATUS_CLASS[result.status] || "");
    set(status, result.status);
    set(at, clock(result.at));
  }
  set(by("results-total"), resultRows.size >= ROWS_MAX ? `the ${ROWS_MAX} shown change in turn` : "");
}

const silentRows = new Map();

function showSilent(frame) {
  const body = by("silent");
  const present = new Set(frame.devices.map((device) => device.device_id));
  for (const [id, row] of silentRows) {
    if (!present.has(id)) {
      row.remove();
      silentRows.delete(id);
    }
  }
  frame.devices.forEach((device, index) => {
    let row = silentRows.get(device.device_id);
    if (!row) {
      row = newRow(7);
      silentRows.set(device.device_id, row);
    }
    if (body.children[index] !== row) body.insertBefore(row, body.children[index] || null);
    const [name, address, status, timeouts, since, last, why] = row.children;
    set(name, device.hostname);
    set(address, device.address);
    setClass(status, STATUS_CLASS[device.status] || "");
    set(status, device.status);
    setClass(timeouts, "number");
    set(timeouts, device.consecutive_timeouts.toLocaleString());
    set(since, moment(device.since));
    set(last, moment(device.last_success));
    set(why, device.why || device.reason);
  });
  const more = frame.total - frame.devices.length;
  set(by("silent-total"), frame.total.toLocaleString());
  set(by("silent-more"), more > 0 ? `… and ${more.toLocaleString()} more`
                                  : frame.total === 0 ? "Every device answers." : "");
}

function showTransition(change) {
  addChange(change.decided_at, `${nameOf(change)}: ${change.from} → ${change.to}, ${change.reason}`);
}

function showAddress(change) {
  addChange(change.at, `${nameOf(change)}: address ${change.was || "none"} → ` +
                       `${change.becomes || "none"}, seen from ${change.location}`);
}

function showProber(prober) {
  addChange(prober.suspicion_since, prober.suspicion === "none"
    ? `${prober.name} trusts itself again`
    : `${prober.name} does not trust itself: ${prober.suspicion}; its devices are not measured`);
}

function nameOf(change) {
  return change.hostname === undefined ? `device ${change.device_id}`
                                       : `${change.hostname} (${change.address})`;
}

function addChange(at, text) {
  const item = document.createElement("li");
  item.textContent = `${moment(at)}  ${text}`;
  const list = by("transitions");
  list.prepend(item);
  while (list.children.length > TRANSITIONS_MAX) list.lastElementChild.remove();
}

function showDropped() {
  setConnection("off", "this browser did not keep up; connecting again");
}

// --- start --------------------------------------------------------------------------------------

by("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, by("token").value.trim());
  by("token").value = "";
  logIn();
});
by("logout").addEventListener("click", () => logOut());
by("pause").addEventListener("click", () => {
  if (paused) {
    changeProbing(false, {});
  } else {
    by("pause-form").hidden = !by("pause-form").hidden;
    by("pause-by").focus();
  }
});
by("pause-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const body = {};
  if (by("pause-by").value.trim()) body.by = by("pause-by").value.trim();
  if (by("pause-reason").value.trim()) body.reason = by("pause-reason").value.trim();
  changeProbing(true, body);
});
takeTokenFromAddress();
if (sessionStorage.getItem(TOKEN)) {
  logIn();
} else {
  showLogin();
}
