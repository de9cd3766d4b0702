/**
 * A gateway that follows the real refresh rule (the table over Present in
 * internal/session/family.go), on time that tests move.
 */
import type { World } from "./world.js";

export interface Answer {
  status: number;
  headers?: Record<string, string>;
  body?: unknown;
  cookies?: Partial<Record<string, { value: string; expires: number } | null>>;
}

/** A request as it arrives. */
export interface Asked {
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
