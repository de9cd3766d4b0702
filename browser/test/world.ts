/**
 * A world in which tests move time: a gateway, browsers with cookie jars, tabs,
 * locks and channels, and a network that can be slow.
 */
import { createSession, type Clock, type Environment, type Locks, type Session, type SessionEvent, type SessionOptions } from "@counterfoil/browser";
import { Gateway, type Answer } from "./gateway.js";

export const origin = "https://folio.example.org";

export class World {
  /** Milliseconds since the beginning, which is at 2024-01-01. */
  t = 0;
  readonly epoch = Date.parse("2024-01-01T08:00:00.300Z");
  #timers: { at: number; call: () => void }[] = [];

  after(ms: number, call: () => void): () => void {
    const timer = { at: this.t + Math.max(0, ms), call };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other != timer);
    };
  }

  pause = (ms: number) => new Promise<void>((done) => this.after(ms, done));

  /** Lets time pass, timer by timer. */
  async run(ms: number): Promise<void> {
    const until = this.t + ms;
    for (;;) {
      await this.settle();
      const next = this.#timers.reduce<number>((first, { at }) => Math.min(first, at), Infinity);
      if (next > until) break;
      this.t = Math.max(this.t, next);
      const ready = this.#timers.filter(({ at }) => at <= this.t);
      this.#timers = this.#timers.filter(({ at }) => at > this.t);
      for (const { call } of ready) call();
    }
    this.t = until;
  }

  /** Runs until something has come about, for at most so long. */
  async until<T>(something: Promise<T>, atMost = 120_000): Promise<T> {
    let settled = false;
    something.then(
      () => (settled = true),
      () => (settled = true),
    );
    for (const end = this.t + atMost; !settled && this.t < end; ) await this.run(10);
    if (!settled) throw new Error(`nothing came about within ${atMost} ms`);
    return something;
  }

  async settle(): Promise<void> {
    for (let i = 0; i < 4; i++) await new Promise((done) => setImmediate(done));
  }
}

/** One browser: a cookie jar, and what its tabs share. */
export class Browser {
  jar: Record<string, { value: string; expires: number } | undefined> = {};
  /** What the machine's clock is wrong by. */
  skew = 0;
  /** How long news take from tab to tab. */
  travel = 5;
  online = true;
  writes = 0;
  readonly tabs = new Set<Tab>();
  readonly locks: Locks = new QueueLocks();

  constructor(
    readonly world: World,
    readonly gateway: Gateway,
  ) {}

  /** Opens a page. What is missing can be said. */
  open(options: Partial<SessionOptions> & { without?: ("locks" | "storage" | "channel")[] } = {}): Tab {
    const tab = new Tab(this, options);
    this.tabs.add(tab);
    return tab;
  }
}

class QueueLocks implements Locks {
  #tail = new Map<string, Promise<unknown>>();

  request = async (name: string, work: () => Promise<void>): Promise<void> => {
    const mine = (this.#tail.get(name) ?? Promise.resolve()).then(work);
    this.#tail.set(name, mine.catch(() => {}));
    return mine;
  };
}

export class Tab {
  readonly session: Session;
  readonly events: SessionEvent[] = [];
  readonly environment: Environment;
  readonly clock: Clock;
  hidden = false;
  closed = false;
  #leave!: () => void;
  readonly #gone = new Promise<void>((done) => (this.#leave = done));
  readonly #hearers = new Map<string, Set<(event: Event) => void>>();
  readonly #storage = new Map<string, string>();
  readonly #written = new Map<string, number>();
  readonly #channels = new Set<BroadcastChannel>();

  constructor(
    readonly browser: Browser,
    { without = [], ...options }: Partial<SessionOptions> & { without?: ("locks" | "storage" | "channel")[] },
  ) {
    const { world } = browser;
    const older = [...browser.tabs][0];
    if (older) for (const [key, value] of older.#storage) this.#storage.set(key, value);
    this.clock = { now: () => world.t, wall: () => world.epoch + world.t + browser.skew, after: (ms, call) => world.after(ms, () => this.closed || call()) };
    const tab = this;
    this.environment = {
      navigator: {
        locks: without.includes("locks") ? undefined : this.#locks(),
        get onLine() {
          return browser.online;
        },
      },
      document: {
        get hidden() {
          return tab.hidden;
        },
      },
      localStorage: without.includes("storage") ? undefined : this.#storageView(),
      BroadcastChannel: without.includes("channel") ? undefined : this.#channel(),
      addEventListener: (type, hear, { signal }) => {
        const set = this.#hearers.get(type) ?? new Set();
        this.#hearers.set(type, set.add(hear));
        signal.addEventListener("abort", () => set.delete(hear));
      },
    };
    this.session = createSession({
      gateway: origin, tenant: "diku", fetch: (input, init) => this.fetch(input, init),
      clock: this.clock, environment: this.environment, ...options,
    });
    this.session.subscribe((event) => this.events.push(event));
  }

  /** Fires an event of the page. */
  fire(type: string, details: object = {}): void {
    for (const hear of this.#hearers.get(type) ?? []) hear(Object.assign(new Event(type), details));
  }

  /** Closes the page; what is on the way with keepalive goes on. */
  close(): void {
    this.fire("pagehide");
    this.#leave();
    this.closed = true;
    this.session.close();
    this.browser.tabs.delete(this);
  }

  login(path = "/authn/login-with-expiry"): Promise<Response> {
    const body = JSON.stringify({ username: "diku_admin", password: "admin" });
    return this.session.fetch(origin + path, { method: "POST", body });
  }

  get(path = "/orders", init?: RequestInit): Promise<Response> {
    return this.session.fetch(origin + path, init);
  }

  place(id: string): Promise<Response> {
    return this.session.fetch(origin + "/orders", { method: "POST", body: id });
  }

  /** What the browser gives the page: cookies, latency, aborts. */
  async fetch(input: RequestInfo | URL, init?: RequestInit): Promise<Response> {
    const { world, gateway, jar } = this.browser;
    const request = new Request(input, init);
    const url = new URL(request.url);
    const fault = gateway.faults.get(url.pathname)?.shift() ?? {};
    const gone = new Promise<never>((_, reject) => request.signal.addEventListener("abort", () => reject(request.signal.reason)));
    gone.catch(() => {});
    request.signal.throwIfAborted();
    if (!this.browser.online) throw new TypeError("Failed to fetch");
    const now = () => world.t;
    const cookies: Record<string, string> = {};
    if (request.credentials == "include")
      for (const [name, cookie] of Object.entries(jar)) if (cookie && cookie.expires > now()) cookies[name] = cookie.value;
    const headers = new Headers(request.headers);
    headers.set("origin", origin);
    const body = await request.text();
    await Promise.race([world.pause(fault.there ?? gateway.latency / 2), gone]);
    const answer: Answer = fault.status
      ? { status: fault.status, headers: fault.headers ?? {} }
      : gateway.handle({ method: request.method, path: url.pathname, headers, cookies, body });
    if (fault.status) gateway.log.push({ at: world.t, what: request.method + " " + url.pathname, tenant: null });
    const date = new Date(world.epoch + world.t).toUTCString();
    await Promise.race([world.pause(fault.back ?? gateway.latency / 2), gone]);
    if (fault.lost) throw new TypeError("Failed to fetch");
    for (const [name, cookie] of Object.entries(answer.cookies ?? {})) jar[name] = cookie ?? undefined;
    const text = answer.body === undefined ? null : typeof answer.body == "string" ? answer.body : JSON.stringify(answer.body);
    return new Response(text, { status: answer.status, headers: { ...(gateway.date && { Date: date }), ...answer.headers } });
  }

  /** A page that is closed holds no locks. */
  #locks(): Locks {
    const { locks } = this.browser;
    return { request: (name, work) => locks.request(name, () => Promise.race([work(), this.#gone])) };
  }

  #storageView(): NonNullable<Environment["localStorage"]> {
    const change = (key: string, value: string | null) => {
      // All tabs agree in the end on what was written last.
      const order = ++this.browser.writes;
      const set = (tab: Tab) => {
        if ((tab.#written.get(key) ?? 0) > order) return;
        tab.#written.set(key, order);
        if (value === null) tab.#storage.delete(key);
        else tab.#storage.set(key, value);
      };
      set(this);
      for (const tab of this.browser.tabs)
        if (tab != this)
          this.browser.world.after(this.browser.travel, () => {
            set(tab);
            tab.fire("storage", { key, newValue: value });
          });
    };
    return {
      getItem: (key) => this.#storage.get(key) ?? null,
      setItem: (key, value) => change(key, value),
      removeItem: (key) => change(key, null),
    };
  }

  #channel(): NonNullable<Environment["BroadcastChannel"]> {
    const { browser } = this;
    const channels = this.#channels;
    return class {
      onmessage: ((event: MessageEvent) => void) | null = null;
      constructor(readonly name: string) {
        channels.add(this as unknown as BroadcastChannel);
      }
      postMessage(data: unknown): void {
        for (const tab of browser.tabs)
          for (const other of tab.#channels)
            if (other.name == this.name && other != (this as unknown))
              browser.world.after(browser.travel, () => other.onmessage?.({ data } as MessageEvent));
      }
      close(): void {
        channels.delete(this as unknown as BroadcastChannel);
      }
    } as unknown as NonNullable<Environment["BroadcastChannel"]>;
  }
}

/** A gateway, a browser and a tab that is logged in. */
export async function logIn(options: Parameters<Browser["open"]>[0] = {}, prepare?: (gateway: Gateway, browser: Browser) => void) {
  const world = new World();
  const gateway = new Gateway(world);
  const browser = new Browser(world, gateway);
  prepare?.(gateway, browser);
  const tab = browser.open(options);
  const answer = await world.until(tab.login());
  if (answer.status != 201) throw new Error("not logged in");
  return { world, gateway, browser, tab };
}
