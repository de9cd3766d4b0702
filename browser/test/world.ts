/**
 * A world in which tests move time: a gateway that follows the real refresh
 * rule (the table over Present in internal/session/family.go), browsers with
 * cookie jars, tabs, locks and channels, and a network that can be slow.
 */
import { createSession, type Clock, type Environment, type Locks, type Session, type SessionEvent, type SessionOptions } from "@counterfoil/browser";

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

interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
  cookies?: Partial<Record<string, { value: string; expires: number } | null>>;
}

interface Asked {
  method: string;
  path: string;
  headers: Headers;
  cookies: Record<string, string>;
  body: string;
}

interface Row {
  id: string;
  gen: number;
  rotatedAt: number;
  windowAt: number;
  seen: number;
  late: number;
  strikes: Map<number, string>;
  strikeNo: number;
  strikeAt: number;
  revoked: boolean;
  expires: number;
}

/** What the gateway may do wrong, in order of requests to a path. */
export type Fault = Partial<{
  /** Answers this instead. */
  status: number;
  headers: Record<string, string>;
  /** Milliseconds on the way. */
  there: number;
  back: number;
  /** The answer never arrives, although all was done. */
  lost: boolean;
}>;

export class Gateway {
  accessTTL = 600_000;
  refreshTTL = 7 * 24 * 3600_000;
  grace = 10_000;
  lateBudget = 1;
  latency = 20;
  date = true;
  readonly rows = new Map<string, Row>();
  /** Requests by method and path. */
  readonly log: { at: number; what: string; tenant: string | null }[] = [];
  readonly outcomes: string[] = [];
  /** How often each order was placed. */
  readonly orders = new Map<string, number>();
  readonly faults = new Map<string, Fault[]>();
  #tokens = 0;

  constructor(readonly world: World) {}

  get floor() {
    return 2 * this.grace;
  }
  get heal() {
    return 3 * this.grace;
  }

  count(what: string): number {
    return this.log.filter((entry) => entry.what == what).length;
  }

  fail(path: string, ...faults: Fault[]): void {
    this.faults.set(path, [...(this.faults.get(path) ?? []), ...faults]);
  }

  handle(asked: Asked): Answer {
    this.log.push({ at: this.world.t, what: asked.method + " " + asked.path, tenant: asked.headers.get("X-Okapi-Tenant") });
    switch (asked.path) {
      case "/authn/login-with-expiry":
      case "/authn/login":
        return this.#login(asked);
      case "/authn/refresh":
        return this.#refresh(asked);
      case "/authn/logout":
      case "/authn/logout-all":
        return this.#logout(asked);
    }
    const refusal = this.#authorize(asked);
    if (refusal) return refusal;
    if (asked.path == "/orders" && asked.method == "POST") {
      this.orders.set(asked.body, (this.orders.get(asked.body) ?? 0) + 1);
      return { status: 201, body: { id: asked.body } };
    }
    if (asked.path == "/graphql") return { status: 200, body: { data: { me: "diku" } } };
    return { status: 200, body: { path: asked.path } };
  }

  #instant(ms: number): string {
    return new Date(Math.floor((this.world.epoch + ms) / 1000) * 1000).toISOString().replace(".000", "");
  }

  #access(row: Row) {
    const expires = this.world.t + this.accessTTL;
    return { value: `at.${row.id}.${row.gen}.${expires}.${++this.#tokens}`, expires };
  }

  #give(row: Row, status: number, inBody: boolean, withRefresh = true): Answer {
    const access = this.#access(row);
    const refresh = `rt.${row.id}.${row.gen}`;
    const expirations = {
      accessTokenExpiration: this.#instant(access.expires),
      refreshTokenExpiration: this.#instant(row.expires),
    };
    if (inBody) return { status, body: { accessToken: access.value, refreshToken: refresh, ...expirations } };
    return {
      status,
      body: expirations,
      cookies: { access, ...(withRefresh && { refresh: { value: refresh, expires: row.expires } }) },
    };
  }

  #login({ path, body }: Asked): Answer {
    if ((JSON.parse(body) as { password: string }).password == "wrong") return { status: 422, body: { errors: [{ code: "wrong" }] } };
    const id = "s" + (this.rows.size + 1);
    const row: Row = {
      id, gen: 1, rotatedAt: this.world.t, windowAt: -Infinity, seen: 0, late: 0,
      strikes: new Map(), strikeNo: 0, strikeAt: 0, revoked: false, expires: this.world.t + this.refreshTTL,
    };
    this.rows.set(id, row);
    return this.#give(row, 201, path == "/authn/login");
  }

  #refresh({ cookies, body, headers }: Asked): Answer {
    const sent = body ? (JSON.parse(body) as { refreshToken?: string; heal?: string }) : {};
    const token = sent.refreshToken ?? cookies["refresh"];
    if (!token) return { status: 400, body: { errors: [{ code: "token.parse.failure" }] } };
    const inBody = sent.refreshToken !== undefined;
    const [, id, generation] = token.split(".");
    const heals = inBody ? [sent.heal ?? ""] : [0, 1, 2, 3].map((slot) => cookies["heal" + slot] ?? "");
    const row = this.rows.get(id!)!;
    const outcome = this.#present(row, Number(generation), heals);
    this.outcomes.push(outcome);
    const refusal = { message: "Authorization server unable to process token refresh request", code: "token.refresh.unprocessable" };
    switch (outcome) {
      case "rotated":
      case "recovered":
      case "retried":
        return this.#give(row, 201, inBody);
      case "floored":
        return this.#give(row, 201, inBody, !headers.get("origin"));
      case "stale": {
        const nonce = row.strikes.get(row.strikeNo)!;
        const parameters = [{ key: "reason", value: "superseded" }, ...(inBody ? [{ key: "heal", value: nonce }] : [])];
        return {
          status: 422,
          body: { errors: [{ ...refusal, parameters }] },
          ...(!inBody && { cookies: { ["heal" + (row.strikeNo % 4)]: { value: nonce, expires: this.world.t + this.heal } } }),
        };
      }
      case "stale again":
        return { status: 422, body: { errors: [{ ...refusal, parameters: [{ key: "reason", value: "superseded" }] }] } };
      default:
        if (outcome == "ahead") return { status: 422, body: { errors: [refusal] } };
        return inBody
          ? { status: 422, body: { errors: [{ ...refusal, parameters: [{ key: "reason", value: "ended" }] }] } }
          : { status: 422, body: { errors: [refusal] }, cookies: { access: null, refresh: null } };
    }
  }

  #present(row: Row, g: number, heals: string[]): string {
    const now = this.world.t;
    const age = Math.max(0, now - row.windowAt);
    const revoke = (why: string) => {
      row.revoked = true;
      return why;
    };
    if (row.revoked || now >= row.expires) return "ended"; // 5
    if (g > row.gen) return "ahead"; // 7
    if (row.strikes.size && now - row.strikeAt > this.heal) return revoke("reused"); // 8
    if (g == row.gen) {
      for (const [number, nonce] of row.strikes) if (heals.includes(nonce)) row.strikes.delete(number);
      row.seen = Math.max(row.seen, g);
      if (row.strikes.size || age < this.floor) return "floored"; // 10
      row.gen++;
      row.rotatedAt = row.windowAt = now;
      row.expires = now + this.refreshTTL;
      return "rotated"; // 9
    }
    if (this.grace == 0) return revoke("reused"); // 11
    if (g == row.gen - 1 && age < this.grace) return "retried"; // 12
    if (g == row.gen - 1 && !row.strikes.size && row.seen < row.gen && row.late < this.lateBudget) {
      row.late++;
      row.windowAt = now;
      return "recovered"; // 13
    }
    if ([...row.strikes.values()].some((nonce) => heals.includes(nonce))) return "stale again"; // 15
    if (row.strikes.size < 4) {
      if (!row.strikes.size) row.strikeAt = now;
      row.strikes.set(++row.strikeNo, `heal.${row.id}.${row.strikeNo}`);
      this.world.after(this.heal, () => row.strikes.size && now == row.strikeAt && revoke("reused")); // T
      return "stale"; // 16
    }
    return revoke("reused"); // 17
  }

  #logout({ path, cookies, body }: Asked): Answer {
    const sent = body ? (JSON.parse(body) as { refreshToken?: string }) : {};
    const row = this.rows.get((sent.refreshToken ?? cookies["refresh"] ?? "").split(".")[1]!);
    if (row) row.revoked = true;
    if (path == "/authn/logout-all") for (const other of this.rows.values()) other.revoked = true;
    return { status: 204, cookies: { access: null, refresh: null } };
  }

  #authorize({ cookies, headers }: Asked): Answer | undefined {
    const token = cookies["access"] ?? headers.get("Authorization")?.replace("Bearer ", "");
    const refuse = (body: unknown): Answer => ({ status: 401, headers: { "WWW-Authenticate": "Bearer" }, body });
    if (!token) return refuse("Token missing, access requires permission: orders.collection.get");
    const [, id, generation, expires] = token.split(".");
    if (this.world.t >= Number(expires))
      return refuse({ message: "Access token has expired", code: "TOKEN_EXPIRED", type: "auth", refresh: "/authn/refresh" });
    const row = this.rows.get(id!)!;
    if (row.revoked) return refuse({ message: "Invalid token", code: "TOKEN_INVALID", type: "auth" });
    row.seen = Math.max(row.seen, Number(generation));
    return undefined;
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
