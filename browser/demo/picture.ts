/** The picture of lifetimes: what was given when, and how long it is good for. */
import type { Ledger, Settings } from "./ledger.js";
import { span } from "./words.js";

/** A stretch on the time axis, in milliseconds of the page's monotonic clock. */
interface Stretch {
  id: string | number;
  label: string;
  from: number;
  to: number;
}

interface Mark {
  at: number;
  kind: "theft" | "loss";
}

const lanes = { access: 26, refresh: 78, height: 26, axis: 118 };

export class Picture {
  readonly #svg: SVGSVGElement;
  readonly #access: HTMLElement;
  readonly #refresh: HTMLElement;
  readonly #strike: HTMLElement;
  /** How much of the past and of the future is shown. */
  readonly #past: number;
  readonly #future: number;
  #tokens: Stretch[] = [];
  #generations: Stretch[] = [];
  #marks: Mark[] = [];
  #last: { ledger: Ledger; at: number } | undefined;

  constructor(root: HTMLElement, readonly settings: Settings) {
    const part = <E extends Element>(name: string) => root.querySelector<E>(name)!;
    this.#svg = part("svg");
    this.#access = part("[data-access]");
    this.#refresh = part("[data-refresh]");
    this.#strike = part("[data-strike]");
    this.#future = Math.min(Math.max(settings.accessTTL * 1.2, 10_000), 60_000);
    this.#past = this.#future * 1.5;
    this.#draw();
    // Where somebody wants less to move, once a second is enough.
    setInterval(() => this.#draw(), matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 200);
  }

  /** Takes what the server has just told. */
  take(ledger: Ledger): void {
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
    // An end takes everything with it, the access token too.
    if (state != "live") for (const one of [this.#tokens.at(-1), this.#generations.at(-1)]) if (one) one.to = Math.min(one.to, at);
    const oldest = at - 2 * this.#past;
    this.#tokens = this.#tokens.filter(({ to }) => to > oldest);
    this.#generations = this.#generations.filter(({ to }) => to > oldest);
    this.#marks = this.#marks.filter((mark) => mark.at > oldest);
    this.#draw();
  }

  mark(kind: Mark["kind"]): void {
    this.#marks.push({ at: performance.now(), kind });
  }

  clear(): void {
    [this.#tokens, this.#generations, this.#marks] = [[], [], []];
    this.#last = undefined;
    this.#draw();
  }

  #draw(): void {
    const now = performance.now();
    const x = (at: number) => Math.min(Math.max((at - now + this.#past) / (this.#past + this.#future), 0), 1) * 100 + "%";
    const bars: Element[] = [];
    const bar = (kind: string, y: number, { from, to, label }: Stretch) => {
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
      shape("text", { class: "axis end", x: "100%", y: lanes.axis + 14 }, `in ${span(this.#future)}`),
    );
    this.#svg.setAttribute("aria-label", `${this.#access.textContent} ${this.#refresh.textContent} ${this.#strike.textContent}`);
  }

  /** Says the same in words, and how long an open strike has left. */
  #say(now: number): { strike?: number } {
    const say = (access: string, refresh: string, strike = "") => {
      this.#access.textContent = access;
      this.#refresh.textContent = refresh;
      this.#strike.textContent = strike;
    };
    if (!this.#last) {
      say("No access token.", "No refresh token.");
      return {};
    }
    const { ledger, at } = this.#last;
    const left = (ms: number) => Math.max(0, ms - (now - at));
    if (ledger.state != "live") {
      say("No access token is good any more.", `No refresh token is good any more: ${ledger.endReason ?? ledger.state}.`);
      return {};
    }
    const token = this.#tokens.at(-1);
    const good = token && token.to > now;
    say(
      good ? `Access token: ${span(token.to - now)} of ${span(token.to - token.from)} left.` : "Access token: over; the next request refreshes.",
      `Refresh token: generation ${ledger.generation}; unless it is used, the session ends in ${span(left(ledger.idleEndsIn))}, and in ${span(left(ledger.endsIn))} whatever happens.`,
      ledger.strikes ? `An old token came back. Unless its owner proves itself, the session ends in ${span(left(ledger.strikeEndsIn ?? 0))}.` : "",
    );
    return ledger.strikes ? { strike: left(ledger.strikeEndsIn ?? 0) } : {};
  }
}

function shape(name: string, attributes: Record<string, string | number>, text = ""): Element {
  const it = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) it.setAttribute(key, String(value));
  it.textContent = text;
  return it;
}
