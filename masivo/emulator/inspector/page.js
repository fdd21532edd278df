// The inspector's page. It polls for changes, keeps the newest rows, and draws at most once a frame.
// Anything that comes from an app is inserted as text, never as markup.

const POLL_MS = 500;
const RETRY_MS = 1500;
const MAX_EVENTS = 20_000;
const MAX_REQUESTS = 2_000;
const MAX_TYPES = 200;
const ROW_PX = 28; // as --row in page.css
const OVERSCAN = 8; // rows drawn beyond what is visible, on each side
const CHART_SECONDS = 60;

const byId = (id) => document.getElementById(id);
const count = new Intl.NumberFormat("en");
const plural = (number, noun) => `${count.format(number)} ${noun}${number === 1 ? "" : "s"}`;

function clockTime(seconds, millis = true) {
  const at = new Date(seconds * 1000);
  const two = (number) => String(number).padStart(2, "0");
  const text = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return millis ? `${text}.${String(at.getMilliseconds()).padStart(3, "0")}` : text;
}

function duration(seconds) {
  if (seconds < 0.9995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 2 : 0)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

// Announces the result of a user's action to screen readers; not used for what arrives.
function announce(text) {
  byId("announcer").textContent = text;
}

// ── A table of any length, of which only the visible rows exist ──────────────────────────────

class Grid {
  /**
   * `draw(row)` returns [text, class] for each cell; `open(row)` shows the whole of it. `rows` are
   * kept oldest first and shown newest first.
   */
  constructor(table, { draw, open }) {
    this.table = table;
    this.scroller = table.parentElement;
    this.draw = draw;
    this.open = open;
    this.rows = [];
    this.active = null;
    this.drawn = new Map(); // row -> tr
    this.columns = table.tHead.rows[0].cells.length;
    this.classes = [...table.tHead.rows[0].cells].map((cell) => cell.className);
    this.above = this.#spacer();
    this.body = table.createTBody();
    this.below = this.#spacer();
    this.height = 400;
    new ResizeObserver(() => {
      this.height = this.scroller.clientHeight;
      this.redraw();
    }).observe(this.scroller);
    this.scroller.addEventListener("scroll", () => this.redraw(), { passive: true });
    table.addEventListener("keydown", (event) => this.#key(event));
    this.body.addEventListener("click", (event) => this.#click(event));
  }

  // `added`: the number of new rows at the top; the visible rows keep their place.
  show(rows, added = 0) {
    this.rows = rows;
    if (added && this.scroller.scrollTop > 0) {
      this.pending = (this.pending ?? 0) + added;
    }
    this.redraw();
  }

  redraw({ afresh = false } = {}) {
    this.afresh ||= afresh;
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      this.#render();
    });
  }

  #spacer() {
    const body = this.table.createTBody();
    body.className = "spacer";
    body.setAttribute("aria-hidden", "true");
    const cell = body.insertRow().insertCell();
    cell.colSpan = this.columns;
    body.hidden = true;
    return body;
  }

  #stretch(spacer, rows) {
    spacer.hidden = rows === 0;
    spacer.rows[0].cells[0].style.height = `${rows * ROW_PX}px`;
  }

  #render() {
    const total = this.rows.length;
    let top = this.scroller.scrollTop;
    if (this.pending) {
      top += this.pending * ROW_PX;
      this.pending = 0;
      this.#stretch(this.below, total); // room to scroll to
      this.scroller.scrollTop = top;
    }
    const start = Math.min(Math.max(0, Math.floor(top / ROW_PX) - OVERSCAN), Math.max(0, total - 1));
    const end = Math.min(total, Math.ceil((top + this.height) / ROW_PX) + OVERSCAN);
    const wanted = new Map();
    let previous = null;
    for (let at = start; at < end; at += 1) {
      const row = this.rows[total - 1 - at];
      let tr = this.drawn.get(row);
      if (!tr) {
        tr = this.#make(row);
      } else if (this.afresh) {
        this.#fill(tr, row);
      }
      const index = String(at + 2); // the head is row 1
      if (tr.getAttribute("aria-rowindex") !== index) tr.setAttribute("aria-rowindex", index);
      const selected = String(row === this.active);
      if (tr.getAttribute("aria-selected") !== selected) tr.setAttribute("aria-selected", selected);
      wanted.set(row, tr);
    }
    this.afresh = false;
    for (const [row, tr] of this.drawn) if (!wanted.has(row)) tr.remove();
    for (const tr of wanted.values()) {
      const next = previous ? previous.nextSibling : this.body.firstChild;
      if (next !== tr) this.body.insertBefore(tr, next);
      previous = tr;
    }
    this.drawn = wanted;
    this.#stretch(this.above, start);
    this.#stretch(this.below, Math.max(0, total - end));
    this.table.setAttribute("aria-rowcount", String(total + 1));
    const active = wanted.get(this.active);
    if (active) this.table.setAttribute("aria-activedescendant", active.id);
    else this.table.removeAttribute("aria-activedescendant");
  }

  #make(row) {
    const tr = document.createElement("tr");
    Grid.made = (Grid.made ?? 0) + 1;
    tr.id = `row-${Grid.made}`;
    for (let cell = 0; cell < this.columns; cell += 1) tr.insertCell();
    tr.row = row;
    this.#fill(tr, row);
    return tr;
  }

  #fill(tr, row) {
    this.draw(row).forEach(([text, kind], at) => {
      const cell = tr.cells[at];
      if (cell.textContent !== text) {
        cell.textContent = text;
        cell.title = text;
      }
      cell.className = `${this.classes[at]} ${kind ?? ""}`.trim();
    });
  }

  select(row) {
    this.active = row;
    this.redraw();
  }

  #click(event) {
    const tr = event.target.closest("tr");
    if (!tr) return;
    this.select(tr.row);
    this.open(tr.row);
  }

  #key(event) {
    const page = Math.max(1, Math.floor(this.height / ROW_PX) - 2);
    const moves = {
      ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity,
    };
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if ((event.key === "Enter" || event.key === " ") && this.active) {
      event.preventDefault();
      this.open(this.active);
      return;
    }
    const move = moves[event.key];
    if (move === undefined || !this.rows.length) return;
    event.preventDefault();
    this.#render(); // scrolling is bounded by what is drawn
    const last = this.rows.length - 1;
    const found = this.rows.lastIndexOf(this.active);
    const at = found < 0 ? (move > 0 && move !== Infinity ? -1 : 0) : last - found;
    const to = Math.min(last, Math.max(0, at + move));
    this.select(this.rows[last - to]);
    const y = to * ROW_PX;
    const room = this.height - 2 * ROW_PX; // the head, and the row itself
    if (y < this.scroller.scrollTop) this.scroller.scrollTop = y;
    else if (y > this.scroller.scrollTop + room) this.scroller.scrollTop = y - room;
    if (!byId("detail").hidden) this.open(this.rows[last - to]);
  }
}

// ── State ────────────────────────────────────────────────────────────────────────────────────

const state = {
  run: "",
  cursor: 0,
  clearedTo: 0, // the highest serial removed by "Clear lists"
  forgottenTo: 0, // the highest serial dropped for lack of room
  highest: 0,
  arrived: 0, // events in all
  serverAhead: 0, // seconds that the emulator's clock is ahead of this one
  requests: new Map(), // serial -> request
  events: [],
  types: new Set(),
  tokens: [],
  switches: { latency: 0, response: null, retry_after: 5, scope: "events" },
  perSecond: new Map(),
  paused: false,
};

function forget() {
  state.requests.clear();
  state.events = [];
  state.perSecond.clear();
  showEvents();
  showRequests();
  closeDetail();
}

function take(response) {
  if (state.run && response.run !== state.run) {
    state.clearedTo = 0;
    state.forgottenTo = 0;
    state.highest = 0;
    forget();
    announce("The emulator has restarted; the lists are empty.");
  }
  state.run = response.run;
  state.cursor = response.cursor;
  state.serverAhead = response.now - Date.now() / 1000;
  state.tokens = response.tokens;
  takeSwitches(response.switches);
  takeRows(response.requests);
  if (response.skipped) announce(`${plural(response.skipped, "older request")} not shown.`);
  showTotals(response.totals);
  showTokens();
  byId("base-url").textContent = location.origin + response.base_path;
  byId("setup-key").hidden = response.default_key !== null;
  byId("setup").textContent = `export MASIVO_BASE_URL=${location.origin}${response.base_path}\n` +
    `export MASIVO_API_KEY=${response.default_key ?? "…"}`;
}

function takeRows(requests) {
  const fresh = [];
  let changed = false;
  for (const { events, ...request } of requests) {
    if (request.serial <= Math.max(state.clearedTo, state.forgottenTo)) continue;
    state.highest = Math.max(state.highest, request.serial);
    const known = state.requests.get(request.serial);
    if (known) {
      Object.assign(known, request);
      changed = true;
      continue;
    }
    state.requests.set(request.serial, request);
    events.forEach(([type, customer, brand, text], index) => {
      state.arrived += 1;
      fresh.push({ order: state.arrived, request, index, type, customer, brand, text });
      if (type !== null && state.types.size < MAX_TYPES && !state.types.has(type)) addType(type);
    });
    if (events.length) {
      const second = Math.floor(request.at);
      state.perSecond.set(second, (state.perSecond.get(second) ?? 0) + events.length);
    }
  }
  if (!requests.length) return;
  for (const row of fresh) state.events.push(row);
  if (state.events.length > MAX_EVENTS) state.events.splice(0, state.events.length - MAX_EVENTS);
  for (const serial of state.requests.keys()) {
    if (state.requests.size <= MAX_REQUESTS) break;
    state.requests.delete(serial);
    state.forgottenTo = Math.max(state.forgottenTo, serial);
  }
  if (changed) showEvents();
  else showNewEvents(fresh);
  showRequests(requests.length);
}

function addType(type) {
  state.types.add(type);
  const option = document.createElement("option");
  option.value = type;
  byId("types").append(option);
}

// ── The lists ────────────────────────────────────────────────────────────────────────────────

// The outcome of a request, as [text, class] of a cell.
function outcome(request) {
  if (request.ending === "pending") return ["pending", "pending"];
  const mark = request.fault ? " (fault)" : "";
  const text = request.ending ?? String(request.status);
  return [text + mark, request.failed ? "bad" : "good"];
}

function eventOutcome({ request }) {
  const [text, kind] = outcome(request);
  if (request.accepted && request.failed) return [`accepted, ${text}`, kind];
  return [request.failed || kind === "pending" ? text : "accepted", kind];
}

function what(request) {
  switch (request.route) {
    case "authorize": return `authorize, ${request.key}`;
    case "events":
      return request.count === null ? "batch, malformed" : `batch of ${count.format(request.count)}`;
    case "event": return "single event";
    default: return `${request.method} ${request.path}`;
  }
}

const missing = ["–", "none"];

const eventGrid = new Grid(byId("events-grid"), {
  draw: (row) => [
    [clockTime(row.request.at)],
    row.type === null ? missing : [row.type],
    row.customer === null ? missing : [row.customer],
    row.brand === null ? missing : [row.brand],
    eventOutcome(row),
  ],
  open: openEvent,
});

const requestGrid = new Grid(byId("requests-grid"), {
  draw: (request) => [
    [String(request.number)],
    [clockTime(request.at)],
    [what(request)],
    request.trigger === null ? missing : [request.trigger, request.said ? "" : "quiet"],
    outcome(request),
    request.seconds === null ? missing : [duration(request.seconds)],
  ],
  open: openRequest,
});

const filters = { type: "", customer: "", brand: "", text: "", failures: false, request: null };

const contains = (field, part) => part === "" || (field ?? "").toLowerCase().includes(part);

function fits(row) {
  return (
    (filters.request === null || row.request === filters.request) &&
    (!filters.failures || row.request.failed) &&
    contains(row.type, filters.type) &&
    contains(row.customer, filters.customer) &&
    contains(row.brand, filters.brand) &&
    contains(row.text, filters.text)
  );
}

function showEvents() {
  eventGrid.redraw({ afresh: true });
  eventGrid.show(state.events.filter(fits));
  describeEvents();
}

function showNewEvents(fresh) {
  const fitting = fresh.filter(fits);
  let rows = eventGrid.rows;
  for (const row of fitting) rows.push(row);
  // Rows dropped from all events are dropped from the filtered ones, too.
  if (rows.length && rows[0].order < state.events[0].order) rows = state.events.filter(fits);
  eventGrid.show(rows, fitting.length);
  describeEvents();
}

function describeEvents() {
  const [shown, all] = [eventGrid.rows.length, state.events.length];
  const isFiltered = shown !== all;
  byId("events-count").textContent = all === 0 ? "none yet"
    : isFiltered ? `${count.format(shown)} of ${count.format(all)}`
      : all === MAX_EVENTS ? `the newest ${count.format(all)}` : `${count.format(all)} arrived`;
  byId("events-empty").hidden = all > 0;
  byId("events-filtered").hidden = all === 0 || shown > 0;
}

function showRequests(added = 0) {
  const onlyFailures = byId("requests-failures").checked;
  const all = [...state.requests.values()].sort((one, other) => one.serial - other.serial);
  const rows = onlyFailures ? all.filter((request) => request.failed) : all;
  const isNew = rows.length - requestGrid.rows.length;
  requestGrid.redraw({ afresh: true });
  requestGrid.show(rows, added ? Math.max(0, isNew) : 0);
  byId("requests-count").textContent = all.length === 0 ? "none yet"
    : rows.length !== all.length ? `${count.format(rows.length)} of ${count.format(all.length)}`
      : all.length === MAX_REQUESTS ? `the newest ${count.format(all.length)}`
        : `${count.format(all.length)} arrived`;
  byId("requests-empty").hidden = rows.length > 0;
  byId("requests-empty").textContent = all.length ? "None failed." : "No requests yet.";
}

// ── Details of an event or request ────────────────────────────────────────────────────────────

let detail = null; // {grid, request}: what is shown

// `copy`: what the button copies, as its name and a function that returns the text.
function showDetail(grid, title, facts, request, copy) {
  detail = { grid, request, copy: copy[1] };
  byId("detail-copy").textContent = copy[0];
  byId("detail-title").textContent = title;
  const list = byId("detail-facts");
  list.replaceChildren();
  for (const [name, text] of facts) {
    if (text === null) continue;
    const dt = document.createElement("dt");
    const dd = document.createElement("dd");
    dt.textContent = name;
    dd.append(...linked(text, request));
    list.append(dt, dd);
  }
  byId("detail-filter").hidden = !request.count;
  byId("detail").hidden = false;
}

// A text in which the numbers of other requests that the page keeps open their details.
function linked(text, shown) {
  const parts = text.split(/(\brequest \d+)/i);
  return parts.map((part) => {
    const number = Number(/^request (\d+)$/i.exec(part)?.[1]);
    const request = [...state.requests.values()].find((each) => each.number === number);
    if (!request || (request === shown && detail.grid === requestGrid)) return part;
    const link = document.createElement("button");
    link.type = "button";
    link.className = "link";
    link.textContent = part;
    link.addEventListener("click", () => {
      requestGrid.select(request);
      openRequest(request);
      byId("detail-title").focus();
    });
    return link;
  });
}

async function copy(button, text) {
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(await text());
  } catch (error) {
    said = `Not copied: ${error.message}`;
  }
  announce(`${said}.`);
  const name = button.textContent;
  button.textContent = said;
  setTimeout(() => {
    if (button.textContent === said) button.textContent = name;
  }, 1500);
}

// The part of a batch's problem that concerns this event.
function problemOf({ request, index }) {
  if (!request.problem?.startsWith("events[")) return request.problem;
  const own = request.problem.split("; ").find((each) => each.startsWith(`events[${index}]`));
  return own ?? "nothing of the batch was accepted, because of other events in it";
}

async function openEvent(row) {
  const { request, index } = row;
  const place = request.count > 1 ? `, event ${index + 1} of ${request.count}` : "";
  showDetail(eventGrid, `${row.type ?? "Event"} of ${row.customer ?? "no customer"}`, [
    ["Sent in", `request ${request.number}${place}`],
    ["Outcome", [eventOutcome(row)[0], problemOf(row)].filter(Boolean).join(": ")],
  ], request, ["Copy JSON", () => byId("detail-body").textContent]);
  const shown = detail;
  const body = byId("detail-body");
  body.hidden = false;
  body.textContent = row.text;
  const query = new URLSearchParams({ run: state.run, request: request.serial, index });
  const response = await ask(`event?${query}`).catch(() => null);
  if (detail !== shown) return;
  body.textContent = response?.event ?? `${row.text}\n\n(Only the beginning: the emulator no longer keeps the whole event.)`;
}

function openRequest(request) {
  showDetail(requestGrid, `Request ${request.number}: ${what(request)}`, [
    ["Sent as", `${request.method} ${request.path}`],
    ["Arrived", clockTime(request.at)],
    ["Outcome", [outcome(request)[0], request.problem].filter(Boolean).join(": ")],
    ["Took", request.seconds === null ? null : duration(request.seconds)],
    ["Events", request.count === null ? null
      : `${plural(request.count, "event")}, ${count.format(request.accepted)} accepted`],
    ["Body", request.bytes ? size(request.bytes) : null],
    [request.said ? "Trigger" : "Probable trigger",
      request.trigger === null ? null : `${request.trigger}: ${request.why}`],
    ["Key", request.key],
    ["Token", request.token === null ? null : `number ${request.token}`],
    ["Fault", request.fault],
  ], request, ["Copy as curl", async () => {
    const query = new URLSearchParams({ run: state.run, request: request.serial });
    return (await ask(`curl?${query}`)).command;
  }]);
  byId("detail-body").hidden = true;
}

function closeDetail() {
  const grid = detail?.grid;
  const hadFocus = byId("detail").contains(document.activeElement);
  detail = null;
  byId("detail").hidden = true;
  if (grid && hadFocus) grid.table.focus();
}

// ── Counters, chart, tokens ──────────────────────────────────────────────────────────────────

function showTotals(totals) {
  for (const [name, number] of Object.entries(totals)) {
    byId(`total-${name}`).textContent = count.format(number);
  }
  byId("total-failures").classList.toggle("bad", totals.failures > 0);
}

const bars = Array.from({ length: CHART_SECONDS }, (_, at) => {
  const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  bar.setAttribute("x", String(at * 4 + 0.5));
  bar.setAttribute("width", "3");
  byId("chart").append(bar);
  return bar;
});

function showChart() {
  const now = Math.floor(Date.now() / 1000 + state.serverAhead);
  for (const second of state.perSecond.keys()) {
    if (second <= now - CHART_SECONDS) state.perSecond.delete(second);
  }
  const heights = bars.map((_, at) => state.perSecond.get(now - CHART_SECONDS + 1 + at) ?? 0);
  const peak = Math.max(...heights);
  heights.forEach((events, at) => {
    const height = events ? Math.max(1, (events / peak) * 38) : 0;
    bars[at].setAttribute("y", String(40 - height));
    bars[at].setAttribute("height", String(height));
  });
  byId("chart-caption").textContent = "Events per second, last minute: "
    + (peak ? `at most ${count.format(peak)}` : "none");
}

function life(token) {
  const left = token.expires_at - (Date.now() / 1000 + state.serverAhead);
  if (token.revoked) return ["revoked", "bad"];
  if (left <= 0) return ["expired", "none"];
  return [`${duration(left)} left`, "good"];
}

function showTokens() {
  const body = byId("tokens");
  while (body.rows.length > state.tokens.length) body.deleteRow(-1);
  state.tokens.forEach((token, at) => {
    const tr = body.rows[at] ?? body.insertRow();
    const [text, kind] = life(token);
    const cells = [
      [String(token.number), "number"], [token.kind, ""], [clockTime(token.issued_at, false), "time"],
      [text, kind],
    ];
    cells.forEach(([content, className], index) => {
      const cell = tr.cells[index] ?? tr.insertCell();
      if (cell.textContent !== content) cell.textContent = content;
      cell.className = className;
    });
  });
  byId("tokens-empty").hidden = state.tokens.length > 0;
}

// ── Faults ───────────────────────────────────────────────────────────────────────────────────

const SCOPES = { events: "batches", authorize: "authorizations", all: "all requests" };

function responseText({ response, retry_after }) {
  return {
    401: "401", 429: `429 with Retry-After ${retry_after} s`, 500: "500", reset: "connection reset",
    quota: "quota used up (429, 24 h)",
  }[response];
}

function takeSwitches(switches) {
  state.switches = switches;
  byId("latency").setAttribute("aria-pressed", String(switches.latency > 0));
  for (const button of document.querySelectorAll("[data-response]")) {
    button.setAttribute("aria-pressed", String(button.dataset.response === switches.response));
  }
  const inputs = { scope: switches.scope };
  if (switches.latency > 0) inputs["latency-seconds"] = switches.latency;
  if (switches.response === "429") inputs["retry-after"] = switches.retry_after;
  for (const [id, setting] of Object.entries(inputs)) {
    const input = byId(id);
    if (input !== document.activeElement && input.value !== String(setting)) input.value = setting;
  }
  const parts = [
    switches.latency > 0 ? `latency ${switches.latency} s` : null,
    switches.response === null ? null : responseText(switches),
  ].filter(Boolean);
  const on = parts.length > 0;
  byId("faults").classList.toggle("on", on);
  const patience = ["429", "quota"].includes(switches.response)
    ? " A client that got a Retry-After waits for it, even after you switch this off." : "";
  const text = on
    ? `On for ${SCOPES[switches.scope]}: ${parts.join(", ")}.${patience}`
    : "Off. Every request gets the API's own response.";
  if (byId("fault-state").textContent !== text) byId("fault-state").textContent = text;
  document.title = on ? "● Faults on – Masivo inspector" : "Masivo inspector";
}

async function ask(path, body) {
  const init = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" },
  };
  const response = await fetch(`/inspector/${path}`, {
    ...init, cache: "no-store", signal: AbortSignal.timeout(20_000),
  });
  const document = await response.json();
  if (!response.ok) throw new Error(document.details);
  return document;
}

async function switchTo(change) {
  try {
    const { switches } = await ask("switches", { ...state.switches, ...change });
    takeSwitches(switches);
    announce(`Faults: ${byId("fault-state").textContent}`);
  } catch (error) {
    const text = `Not switched: ${error.message}`;
    byId("fault-state").textContent = text;
    announce(text);
  }
}

// The seconds in a field; its default if the field cannot be read.
function secondsIn(id) {
  const input = byId(id);
  return input.validity.valid && input.value !== "" ? input.valueAsNumber : Number(input.defaultValue);
}

byId("latency").addEventListener("click", () => {
  switchTo({ latency: state.switches.latency > 0 ? 0 : secondsIn("latency-seconds") });
});
byId("latency-seconds").addEventListener("change", () => {
  if (state.switches.latency > 0) switchTo({ latency: secondsIn("latency-seconds") });
});
for (const button of document.querySelectorAll("[data-response]")) {
  button.addEventListener("click", () => {
    const { response } = button.dataset;
    const isOn = state.switches.response === response;
    switchTo({ response: isOn ? null : response, retry_after: secondsIn("retry-after") });
  });
}
byId("retry-after").addEventListener("change", () => {
  if (state.switches.response === "429") switchTo({ retry_after: secondsIn("retry-after") });
});
byId("scope").addEventListener("change", () => switchTo({ scope: byId("scope").value }));
byId("heal").addEventListener("click", () => switchTo({ latency: 0, response: null }));
byId("revoke").addEventListener("click", async () => {
  try {
    await ask("revoke", {});
    announce("All tokens are revoked.");
  } catch (error) {
    announce(`Not revoked: ${error.message}`);
  }
  wake();
});

// ── Filters and the other controls ───────────────────────────────────────────────────────────

let filtering;

function filter() {
  for (const name of ["type", "customer", "brand", "text"]) {
    filters[name] = byId(`filter-${name}`).value.toLowerCase();
  }
  filters.failures = byId("filter-failures").checked;
  const chip = byId("filter-request");
  const number = filters.request?.number;
  chip.hidden = number === undefined;
  chip.textContent = `Request ${number} ✕`;
  chip.setAttribute("aria-label", `Request ${number}: remove this filter`);
  eventGrid.scroller.scrollTop = 0;
  showEvents();
  clearTimeout(filtering);
  filtering = setTimeout(() => announce(`${plural(eventGrid.rows.length, "event")} shown.`), 700);
}

byId("filters").addEventListener("input", filter);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
byId("filters").addEventListener("reset", () => {
  filters.request = null;
  setTimeout(filter); // the fields are reset after this event
});
byId("filter-request").addEventListener("click", () => {
  filters.request = null;
  filter();
  byId("filter-text").focus();
});
byId("requests-failures").addEventListener("change", () => showRequests());

byId("detail-copy").addEventListener("click", (event) => copy(event.target, detail.copy));
byId("setup-copy").addEventListener("click", (event) => {
  copy(event.target, () => byId("setup").textContent);
});
byId("detail-close").addEventListener("click", closeDetail);
byId("detail-filter").addEventListener("click", () => {
  filters.request = detail.request;
  filter();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || byId("detail").hidden) return;
  if (event.target.closest("input, select")) return;
  closeDetail();
});

byId("pause").addEventListener("click", () => {
  state.paused = !state.paused;
  byId("pause").setAttribute("aria-pressed", String(state.paused));
  if (state.paused) showConnection("paused", "Paused");
  announce(state.paused ? "Paused." : "Updating again.");
  wake();
});
byId("clear").addEventListener("click", () => {
  state.clearedTo = state.highest;
  forget();
  announce("The lists are empty.");
});

// ── Polling ──────────────────────────────────────────────────────────────────────────────────

function showConnection(kind, text) {
  const shown = byId("connection");
  if (shown.dataset.state === kind) return;
  const away = ["lost", "gone"];
  if (away.includes(kind) || away.includes(shown.dataset.state)) announce(text);
  shown.dataset.state = kind;
  shown.textContent = text;
}

let wake = () => {};

// Waits this long, or until `wake` is called.
function pause(millis) {
  return new Promise((resolve) => {
    const timer = millis === Infinity ? 0 : setTimeout(resolve, millis);
    wake = () => {
      clearTimeout(timer);
      resolve();
    };
  });
}

document.addEventListener("visibilitychange", () => wake());
addEventListener("pageshow", () => wake());

async function follow() {
  for (;;) {
    if (state.paused || document.hidden) {
      await pause(Infinity);
      continue;
    }
    let wait = POLL_MS;
    try {
      const query = new URLSearchParams({ run: state.run, after: state.cursor });
      const response = await ask(`feed?${query}`);
      if (state.paused) continue;
      take(response);
      showChart();
      showConnection("live", "Live");
      if (response.more) wait = 16;
    } catch (error) {
      const gone = error instanceof TypeError; // nothing listens at its address
      const text = gone ? "Gone: the emulator has stopped. The page continues when it is started again."
        : "Not connected: the emulator does not respond. Trying again.";
      if (!state.paused) showConnection(gone ? "gone" : "lost", text);
      wait = RETRY_MS;
    }
    await pause(wait);
  }
}

follow();
