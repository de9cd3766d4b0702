/** The page of the demonstration: log in, watch, and make things go wrong. */
import { createSession } from "@counterfoil/browser";
import { look, settings as readSettings, type Ledger } from "./ledger.js";
import type { Entry } from "./line.js";
import { misfortunes, type Stage } from "./misfortunes.js";
import { Picture } from "./picture.js";
import { Tabs } from "./tabs.js";
import { openWire } from "./wire.js";
import { wordsOf, wordsOfAudit } from "./words.js";

const part = <E extends Element>(name: string) => document.querySelector<E>(name)!;

// The page's clock can be set wrong, as a user's may be.
const machine = Date.now;
let wrong = 0;
Date.now = () => machine() + wrong;

const settings = await readSettings();
// Less than the grace, in which the same answer can be had twice.
const resendAfter = settings.grace * 0.7;

const log = part<HTMLOListElement>("#log");
function tell(who: string, { source, text }: Entry): void {
  const item = document.createElement("li");
  item.dataset["source"] = source;
  const label = document.createElement("b");
  label.textContent = who;
  const time = document.createElement("time");
  time.textContent = new Date(machine()).toLocaleTimeString();
  item.append(time, label, " " + text);
  log.prepend(item);
  while (log.childElementCount > 300) log.lastElementChild!.remove();
}
const note = (source: Entry["source"], text: string) => tell(source, { source, text });

const wire = openWire((text) => note("network", text), () => tabs.asks());
const session = createSession({
  gateway: location.origin,
  tenant: settings.tenant,
  fetch: wire.fetch,
  resendAfter,
  // Two answers of 503 must fit in.
  patience: Math.min(Math.max(3 * settings.grace, 6_000), 10_000),
});
const tabs = new Tabs(part("#tabs"), session, settings, resendAfter, tell);
const picture = new Picture(part("#picture"), settings);

/** The session that is shown: the newest that this page has known. */
let shown: string | undefined;
let last: Ledger | undefined;

/** Reads the ledger, shows it, and says in the log what is new in it. */
async function lookAgain(): Promise<Ledger> {
  const ledger = shown && (await look(shown));
  if (!ledger) throw new Error("the server does not answer");
  if (ledger.session == shown) take(ledger);
  return ledger;
}

function take(ledger: Ledger): void {
  const before = last?.session == ledger.session ? last : undefined;
  if (before && (before.generation > ledger.generation || (before.state != "live" && ledger.state == "live"))) return; // overtaken on its way
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

// The page works, as users' pages do: each call is a use of the session.
let answered = 0;
let failed = 0;
async function call(): Promise<void> {
  const { ok } = await session.fetch("/orders").catch(() => ({ ok: false }));
  if (session.state.status != "active") return; // that it is over is no failure
  if (ok) answered++;
  else failed++;
  part("#calls").textContent = `${answered} answered, ${failed} failed`;
}
setInterval(() => {
  if (session.state.status == "active" && part<HTMLInputElement>("#work").checked && !document.hidden) void call();
}, Math.min(2_000, settings.accessTTL / 5));
setInterval(() => {
  if (shown && (last?.state ?? "live") == "live" && !document.hidden) void lookAgain().catch(() => {});
}, 1_000);

/** Shows what can be done: log in, or all the rest. */
function show(): void {
  const active = session.state.status == "active";
  const held = document.activeElement;
  part<HTMLElement>("#login").hidden = active;
  part<HTMLElement>("#controls").hidden = !active;
  // Whoever works by keyboard must not fall out of the page.
  if (held instanceof HTMLElement && held != document.body && !held.checkVisibility())
    part<HTMLElement>(active ? "#refresh" : "#login button").focus();
}

async function begin(): Promise<void> {
  const answer = await session.fetch("session");
  if (!answer.ok) return;
  ({ session: shown } = (await answer.json()) as { session: string });
  await lookAgain();
}

session.subscribe((event) => {
  note("library", wordsOf(event));
  show();
  if (event.type == "started") void begin().catch(() => {});
  else void lookAgain().catch(() => {});
});

const users = part<HTMLSelectElement>("#user");
for (const { username } of settings.users) users.add(new Option(username));
const password = part<HTMLInputElement>("#password");
const fill = () => (password.value = settings.users.find(({ username }) => username == users.value)!.password);
users.addEventListener("change", fill);
fill();

part("#login").addEventListener("submit", (event) => {
  event.preventDefault();
  tabs.close();
  const body = JSON.stringify({ username: users.value, password: password.value });
  session
    .fetch("/authn/login-with-expiry", { method: "POST", headers: { "Content-Type": "application/json" }, body })
    .catch((error) => note("page", `login failed: ${error}`));
});

const stage: Stage = {
  session, settings, wire, picture, tabs,
  look: lookAgain,
  tell: (text) => note("page", text),
  turnClock: () => !!(wrong = wrong ? 0 : 3600_000),
};

// One after another, so that the log can be read. Buttons keep their focus.
const buttons = [...document.querySelectorAll<HTMLButtonElement>("#controls button")];
let busy = false;
for (const button of buttons)
  button.addEventListener("click", async () => {
    if (busy) return;
    busy = true;
    for (const one of buttons) one.setAttribute("aria-disabled", "true");
    try {
      note("page", button.textContent!);
      if (button.id == "logout") await session.logout();
      else await misfortunes[button.id]!(stage);
    } catch (error) {
      note("page", `${button.textContent}: ${error instanceof Error && error.message ? error.message : error}`);
    }
    busy = false;
    for (const one of buttons) one.removeAttribute("aria-disabled");
    part("#clock").setAttribute("aria-pressed", String(!!wrong));
  });

show();
if (session.state.status == "active") void begin().catch(() => {});
part<HTMLElement>("main").hidden = false;
