// Built from browser/ by `make demo-page`. Change it there.

// demo/page.ts
import { createSession } from "./counterfoil.js";

// demo/ledger.ts
var settings = async () => (await fetch("settings")).json();
async function look(session2) {
  const answer = await fetch("ledger?session=" + session2).catch(() => void 0);
  return answer?.ok ? answer.json() : void 0;
}

// demo/words.ts
function wordsOf({ type, reason, error }) {
  switch (type) {
    case "started":
      return "started: somebody is logged in";
    case "refreshed":
      return "refreshed: the session goes on with new tokens";
    case "unavailable":
      return `unavailable: no refresh for now (${error?.status ?? "no answer"}); the session goes on, and it will be tried again`;
    case "ended":
      return "ended: " + ends[reason];
  }
}
var ends = {
  logout: "somebody logged out",
  idle: "nobody was there for too long",
  expired: "its longest lifetime is over",
  refused: "the gateway refuses to refresh it; log in again",
  absent: "nobody is logged in here"
};
function wordsOfAudit({ kind, reason }) {
  return (audit[kind] ?? kind) + (reason ? ` (${reason})` : "");
}
var audit = {
  login: "login: a session was issued",
  superseded: "superseded: an old token came back and was refused; unless the owner proves itself, the session ends",
  strike_healed: "strike healed: the owner holds the newest token",
  late_recovery: "late recovery: the successor was given once more",
  refresh_reuse: "refresh reuse: the session was ended",
  session_revoked: "revoked: an operator ended the session",
  logout: "logout: the user ended the session",
  logout_all: "logout: the user ended all sessions"
};
function span(ms) {
  const s = Math.max(0, Math.ceil(ms / 1e3));
  const two = (n) => String(n).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)}:${two(Math.floor(s % 3600 / 60))} h`;
  return `${Math.floor(s / 86400)} days`;
}

// demo/misfortunes.ts
var pause = (ms) => new Promise((done) => setTimeout(done, ms));
async function rotates(stage2) {
  for (let told = false; ; ) {
    const ledger = await stage2.look();
    if (stage2.session.state.status != "active") throw new Error("the session is over");
    if (!ledger.rotatesIn) return ledger;
    if (!told) stage2.tell(`waits ${span(ledger.rotatesIn)}: the refresh token is replaced every ${span(stage2.settings.floor)} at most`);
    told = true;
    await pause(ledger.rotatesIn);
  }
}
async function refreshUnder(stage2, what, times) {
  stage2.wire.arm(what, times);
  stage2.picture.mark("loss");
  try {
    await stage2.session.refresh();
  } finally {
    stage2.wire.disarm();
  }
}
var tabs = (locks) => async (stage2) => {
  const { generation } = await rotates(stage2);
  await stage2.tabs.open(4, locks);
  const requests = await stage2.tabs.refreshTogether();
  const after = await stage2.look();
  stage2.tell(`5 tabs asked at once: ${requests} request${requests == 1 ? "" : "s"}, generation ${generation} to ${after.generation}`);
};
var misfortunes = {
  async refresh(stage2) {
    await stage2.session.refresh();
  },
  async lose(stage2) {
    const { generation } = await rotates(stage2);
    await refreshUnder(stage2, "lose-answer", 1);
    const after = await stage2.look();
    stage2.tell(`an answer was lost: generation ${generation} to ${after.generation}, and the session is ${after.state}`);
  },
  opentabs: tabs(true),
  lockless: tabs(false),
  async unavailable(stage2) {
    await refreshUnder(stage2, "unavailable", 2);
    stage2.tell("503 twice, and nobody was logged out");
  },
  async cut(stage2) {
    await refreshUnder(stage2, "lose-request", Infinity).catch(() => {
    });
    const answer = await stage2.session.fetch("/orders");
    stage2.tell(`the line is back: the next call was answered ${answer.status}`);
  },
  async steal(stage2) {
    const { session: session2, tell: tell2 } = stage2;
    if ((await stage2.look()).generation == 1) await session2.refresh();
    let answer;
    do {
      const { graceFor } = await stage2.look();
      if (graceFor) tell2(`the thief waits ${span(graceFor)}: within its grace, the old token is answered like its owner's`);
      await pause(graceFor);
      answer = await session2.fetch("steal", { method: "POST" });
    } while (answer.status == 409);
    if (!answer.ok) throw new Error(`the thief could not act: ${answer.status}`);
    const { presented, newest, status, reason } = await answer.json();
    stage2.picture.mark("theft");
    tell2(`the thief used token ${presented} while ${newest} is the newest, and got ${status} ${reason ?? ""}`);
    await stage2.look();
    tell2(`nobody can tell who is the thief, so the session ends ${span(stage2.settings.heal)} later, for both`);
  },
  async revoke(stage2) {
    const answer = await stage2.session.fetch("revoke", { method: "POST" });
    stage2.tell(answer.ok ? "an operator ended the session; the next call finds out" : `not revoked: ${answer.status}`);
    await stage2.session.fetch("/orders").catch(() => {
    });
  },
  async clock(stage2) {
    const wrong2 = stage2.turnClock();
    stage2.tell(wrong2 ? "this page's clock is an hour ahead" : "this page's clock is right again");
    await stage2.session.fetch("/orders");
  }
};

// demo/picture.ts
var lanes = { access: 26, refresh: 78, height: 26, axis: 118 };
var Picture = class {
  constructor(root, settings3) {
    this.settings = settings3;
    const part2 = (name) => root.querySelector(name);
    this.#svg = part2("svg");
    this.#access = part2("[data-access]");
    this.#refresh = part2("[data-refresh]");
    this.#strike = part2("[data-strike]");
    this.#future = Math.min(Math.max(settings3.accessTTL * 1.2, 1e4), 6e4);
    this.#past = this.#future * 1.5;
    this.#draw();
    setInterval(() => this.#draw(), matchMedia("(prefers-reduced-motion: reduce)").matches ? 1e3 : 200);
  }
  settings;
  #svg;
  #access;
  #refresh;
  #strike;
  /** How much of the past and of the future is shown. */
  #past;
  #future;
  #tokens = [];
  #generations = [];
  #marks = [];
  #last;
  /** Takes what the server has just told. */
  take(ledger) {
    const at = performance.now();
    if (this.#last?.ledger.session != ledger.session) this.clear();
    this.#last = { ledger, at };
    const { access, generation, rotated, state, endsIn } = ledger;
    if (access && this.#tokens.at(-1)?.id != access.id)
      this.#tokens.push({ id: access.id, label: span(access.issued + access.endsIn), from: at - access.issued, to: at + access.endsIn });
    const newest = this.#generations.at(-1);
    if (newest?.id != generation) {
      const from = at - rotated;
      if (newest) newest.to = Math.min(newest.to, from);
      this.#generations.push({ id: generation, label: "#" + generation, from, to: at + endsIn });
    }
    if (state != "live") {
      for (const one of [this.#tokens.at(-1), this.#generations.at(-1)]) if (one) one.to = Math.min(one.to, at);
    }
    const oldest = at - 2 * this.#past;
    this.#tokens = this.#tokens.filter(({ to }) => to > oldest);
    this.#generations = this.#generations.filter(({ to }) => to > oldest);
    this.#marks = this.#marks.filter((mark) => mark.at > oldest);
    this.#draw();
  }
  mark(kind) {
    this.#marks.push({ at: performance.now(), kind });
  }
  clear() {
    [this.#tokens, this.#generations, this.#marks] = [[], [], []];
    this.#last = void 0;
    this.#draw();
  }
  #draw() {
    const now = performance.now();
    const x = (at) => Math.min(Math.max((at - now + this.#past) / (this.#past + this.#future), 0), 1) * 100 + "%";
    const bars = [];
    const bar = (kind, y, { from, to, label }) => {
      if (to <= now - this.#past || to <= from) return;
      const left = parseFloat(x(from));
      const width = parseFloat(x(to)) - left;
      bars.push(shape("rect", { class: kind + (to <= now ? " over" : ""), x: left + "%", y, width: width + "%", height: lanes.height, rx: 4 }));
      if (width > 7) bars.push(shape("text", { x: left + 1 + "%", y: y + 18 }, label));
    };
    for (const one of this.#tokens) bar("access", lanes.access, one);
    for (const one of this.#generations) bar("refresh", lanes.refresh, one);
    for (const { at, kind } of this.#marks)
      if (at > now - this.#past) bars.push(shape("text", { class: "mark " + kind, x: x(at), y: lanes.refresh - 5 }, kind == "theft" ? "✖" : "⚡"));
    const said = this.#say(now);
    if (said.strike) bars.push(shape("rect", { class: "strike", x: x(now), y: lanes.refresh - 4, width: parseFloat(x(now + said.strike)) - parseFloat(x(now)) + "%", height: lanes.height + 8 }));
    this.#svg.replaceChildren(
      shape("text", { class: "lane", x: 0, y: lanes.access - 8 }, "access tokens"),
      shape("text", { class: "lane", x: 0, y: lanes.refresh - 8 }, "refresh tokens"),
      ...bars,
      shape("line", { class: "now", x1: x(now), x2: x(now), y1: 8, y2: lanes.axis }),
      shape("text", { class: "axis start", x: 0, y: lanes.axis + 14 }, `${span(this.#past)} ago`),
      shape("text", { class: "axis middle", x: x(now), y: lanes.axis + 14 }, "now"),
      shape("text", { class: "axis end", x: "100%", y: lanes.axis + 14 }, `in ${span(this.#future)}`)
    );
    this.#svg.setAttribute("aria-label", `${this.#access.textContent} ${this.#refresh.textContent} ${this.#strike.textContent}`);
  }
  /** Says the same in words, and how long an open strike has left. */
  #say(now) {
    const say = (access, refresh, strike = "") => {
      this.#access.textContent = access;
      this.#refresh.textContent = refresh;
      this.#strike.textContent = strike;
    };
    if (!this.#last) {
      say("No access token.", "No refresh token.");
      return {};
    }
    const { ledger, at } = this.#last;
    const left = (ms) => Math.max(0, ms - (now - at));
    if (ledger.state != "live") {
      say("No access token is good any more.", `No refresh token is good any more: ${ledger.endReason ?? ledger.state}.`);
      return {};
    }
    const token = this.#tokens.at(-1);
    const good = token && token.to > now;
    say(
      good ? `Access token: ${span(token.to - now)} of ${span(token.to - token.from)} left.` : "Access token: over; the next request refreshes.",
      `Refresh token: generation ${ledger.generation}; unless it is used, the session ends in ${span(left(ledger.idleEndsIn))}, and in ${span(left(ledger.endsIn))} whatever happens.`,
      ledger.strikes ? `An old token came back. Unless its owner proves itself, the session ends in ${span(left(ledger.strikeEndsIn ?? 0))}.` : ""
    );
    return ledger.strikes ? { strike: left(ledger.strikeEndsIn ?? 0) } : {};
  }
};
function shape(name, attributes, text = "") {
  const it = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) it.setAttribute(key, String(value));
  it.textContent = text;
  return it;
}

// demo/line.ts
function openLine(room, hear) {
  const line = new BroadcastChannel("counterfoil-demo:" + room);
  line.onmessage = ({ data }) => hear(data);
  return (message) => line.postMessage(message);
}

// demo/tabs.ts
var Tabs = class {
  constructor(place, session2, settings3, resendAfter2, tell2) {
    this.place = place;
    this.session = session2;
    this.settings = settings3;
    this.resendAfter = resendAfter2;
    this.#post = openLine(this.#room, (message) => {
      switch (message.type) {
        case "entry":
          return tell2("tab " + message.tab, message.entry);
        case "asks":
          return this.asks();
        case "ready":
        case "done":
          return this.#arrived(message);
      }
    });
  }
  place;
  session;
  settings;
  resendAfter;
  #room = crypto.randomUUID();
  #post;
  #asks = 0;
  #waiting;
  #open = [];
  /** Counts a refresh that some tab sent. */
  asks() {
    this.#asks++;
  }
  async open(count, locks) {
    this.close();
    this.#open = Array.from({ length: count }, (_, i) => i + 2);
    const ready = this.#all("ready");
    for (const tab of this.#open) {
      const frame = document.createElement("iframe");
      const query = { tab, tenant: this.settings.tenant, room: this.#room, resend: this.resendAfter, locks: locks ? "yes" : "no" };
      frame.src = "tab.html?" + new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
      frame.title = `Tab ${tab}`;
      this.place.append(frame);
    }
    await ready;
  }
  /** All tabs and the page want a fresh token now. Resolves to how many requests went out. */
  async refreshTogether() {
    this.#asks = 0;
    const done = this.#all("done");
    this.#post({ type: "refresh" });
    await this.session.refresh();
    await done;
    return this.#asks;
  }
  close() {
    this.#open = [];
    this.place.replaceChildren();
  }
  #all(type) {
    return new Promise((all, failed2) => {
      this.#waiting = { type, tabs: new Set(this.#open), all };
      setTimeout(() => failed2(new Error("a tab does not answer")), 6e4);
    });
  }
  #arrived({ type, tab }) {
    if (this.#waiting?.type != type) return;
    this.#waiting.tabs.delete(tab);
    if (!this.#waiting.tabs.size) this.#waiting.all();
  }
};

// demo/wire.ts
function openWire(tell2, asks) {
  const plain = fetch.bind(globalThis);
  let armed;
  let left = 0;
  return {
    arm(what, times) {
      armed = what;
      left = times;
    },
    disarm() {
      left = 0;
    },
    async fetch(input, init) {
      const request = new Request(input, init);
      const { pathname } = new URL(request.url);
      if (!pathname.startsWith("/authn/")) return plain(request);
      const what = `${request.method} ${pathname}`;
      if (pathname == "/authn/refresh") {
        asks();
        if (left-- > 0) request.headers.set("X-Counterfoil-Demo", armed);
      }
      try {
        const answer = await plain(request);
        tell2(`${what}: ${answer.status}${means[answer.status] ?? ""}`);
        return answer;
      } catch (error) {
        tell2(`${what}: no answer`);
        throw error;
      }
    }
  };
}
var means = {
  201: ", new cookies",
  204: ", cookies cleared",
  422: ", refused",
  503: ", not now"
};

// demo/page.ts
var part = (name) => document.querySelector(name);
var machine = Date.now;
var wrong = 0;
Date.now = () => machine() + wrong;
var settings2 = await settings();
var resendAfter = settings2.grace * 0.7;
var log = part("#log");
function tell(who, { source, text }) {
  const item = document.createElement("li");
  item.dataset["source"] = source;
  const label = document.createElement("b");
  label.textContent = who;
  const time = document.createElement("time");
  time.textContent = new Date(machine()).toLocaleTimeString();
  item.append(time, label, " " + text);
  log.prepend(item);
  while (log.childElementCount > 300) log.lastElementChild.remove();
}
var note = (source, text) => tell(source, { source, text });
var wire = openWire((text) => note("network", text), () => tabs2.asks());
var session = createSession({
  gateway: location.origin,
  tenant: settings2.tenant,
  fetch: wire.fetch,
  resendAfter,
  // Two answers of 503 must fit in.
  patience: Math.min(Math.max(3 * settings2.grace, 6e3), 1e4)
});
var tabs2 = new Tabs(part("#tabs"), session, settings2, resendAfter, tell);
var picture = new Picture(part("#picture"), settings2);
var shown;
var last;
async function lookAgain() {
  const ledger = shown && await look(shown);
  if (!ledger) throw new Error("the server does not answer");
  if (ledger.session == shown) take(ledger);
  return ledger;
}
function take(ledger) {
  const before = last?.session == ledger.session ? last : void 0;
  if (before && (before.generation > ledger.generation || before.state != "live" && ledger.state == "live")) return;
  const seen = before?.events.at(-1)?.seq ?? 0;
  for (const event of ledger.events) if (event.seq > seen) note("gateway", wordsOfAudit(event));
  if (before && ledger.generation > before.generation) note("gateway", `rotated: generation ${ledger.generation} is the newest refresh token`);
  if (before && ledger.retries > before.retries) {
    const times = ledger.retries - before.retries;
    note("gateway", `gave the same token again, ${times} time${times == 1 ? "" : "s"}`);
  }
  if (before?.state == "live" && ledger.state != "live") note("gateway", `the session is over: ${ledger.endReason ?? ledger.state}`);
  last = ledger;
  picture.take(ledger);
  part("#who").textContent = `${ledger.username}, session ${ledger.session.slice(0, 8)}, generation ${ledger.generation}, ${ledger.state}`;
}
var answered = 0;
var failed = 0;
async function call() {
  const { ok } = await session.fetch("/orders").catch(() => ({ ok: false }));
  if (session.state.status != "active") return;
  if (ok) answered++;
  else failed++;
  part("#calls").textContent = `${answered} answered, ${failed} failed`;
}
setInterval(() => {
  if (session.state.status == "active" && part("#work").checked && !document.hidden) void call();
}, Math.min(2e3, settings2.accessTTL / 5));
setInterval(() => {
  if (shown && (last?.state ?? "live") == "live" && !document.hidden) void lookAgain().catch(() => {
  });
}, 1e3);
function show() {
  const active = session.state.status == "active";
  const held = document.activeElement;
  part("#login").hidden = active;
  part("#controls").hidden = !active;
  if (held instanceof HTMLElement && held != document.body && !held.checkVisibility())
    part(active ? "#refresh" : "#login button").focus();
}
async function begin() {
  const answer = await session.fetch("session");
  if (!answer.ok) return;
  ({ session: shown } = await answer.json());
  await lookAgain();
}
session.subscribe((event) => {
  note("library", wordsOf(event));
  show();
  if (event.type == "started") void begin().catch(() => {
  });
  else void lookAgain().catch(() => {
  });
});
var users = part("#user");
for (const { username } of settings2.users) users.add(new Option(username));
var password = part("#password");
var fill = () => password.value = settings2.users.find(({ username }) => username == users.value).password;
users.addEventListener("change", fill);
fill();
part("#login").addEventListener("submit", (event) => {
  event.preventDefault();
  tabs2.close();
  const body = JSON.stringify({ username: users.value, password: password.value });
  session.fetch("/authn/login-with-expiry", { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch((error) => note("page", `login failed: ${error}`));
});
var stage = {
  session,
  settings: settings2,
  wire,
  picture,
  tabs: tabs2,
  look: lookAgain,
  tell: (text) => note("page", text),
  turnClock: () => !!(wrong = wrong ? 0 : 36e5)
};
var buttons = [...document.querySelectorAll("#controls button")];
var busy = false;
for (const button of buttons)
  button.addEventListener("click", async () => {
    if (busy) return;
    busy = true;
    for (const one of buttons) one.setAttribute("aria-disabled", "true");
    try {
      note("page", button.textContent);
      if (button.id == "logout") await session.logout();
      else await misfortunes[button.id](stage);
    } catch (error) {
      note("page", `${button.textContent}: ${error instanceof Error && error.message ? error.message : error}`);
    }
    busy = false;
    for (const one of buttons) one.removeAttribute("aria-disabled");
    part("#clock").setAttribute("aria-pressed", String(!!wrong));
  });
show();
if (session.state.status == "active") void begin().catch(() => {
});
part("main").hidden = false;
