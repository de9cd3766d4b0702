/**
 * What an application has around a client library of npm's: the program, a
 * GraphQL server behind it, and what it keeps of a session. All that the
 * libraries do not do themselves is here, so that they run unmodified.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { CookieJar } from "tough-cookie";
import { Front } from "../front.js";
import { admin, Program } from "../program.js";

/** Cookies, or tokens in the page's hands. */
export const modes = ["cookie", "bearer"] as const;
export type Mode = (typeof modes)[number];

export class Place {
  private constructor(
    readonly program: Program,
    readonly front: Front,
    readonly graphql: GraphQL,
  ) {}

  static async start(accessTTL: string, grace: string, ...flags: string[]): Promise<Place> {
    const program = await Program.start(accessTTL, grace, ...flags);
    const front = await new Front(program.url).start();
    const graphql = await GraphQL.start(program);
    return new Place(program, front, graphql);
  }

  get url(): string {
    return "http://localhost:" + this.front.port;
  }

  get refreshes(): number {
    return this.front.count("POST /authn/refresh");
  }

  async stop(): Promise<void> {
    await this.front.stop();
    await this.graphql.stop();
    await this.program.stop();
  }
}

/** A module that answers every query alike, and looks at what the gateway lets through. */
class GraphQL {
  /** What should not have come. */
  readonly complaints: string[] = [];
  readonly #server: Server = createServer((request, answer) => {
    this.#complain(request);
    request.resume().on("end", () => {
      answer.writeHead(200, { "Content-Type": "application/json" });
      answer.end(JSON.stringify({ data: { me: request.headers["x-okapi-user-id"] } }));
    });
  });

  static async start(program: Program): Promise<GraphQL> {
    const it = new GraphQL();
    await new Promise<void>((done) => it.#server.listen(0, "127.0.0.1", done));
    const address = it.#server.address();
    const id = "mod-graphql-1.0.0";
    const handlers = [{ methods: ["POST"], pathPattern: "/graphql", permissionsRequired: ["orders.collection.get"] }];
    await program.manage("/_/proxy/modules", { id, provides: [{ id: "graphql", version: "1.0", handlers }] });
    const url = `http://127.0.0.1:${typeof address == "object" && address?.port}`;
    await program.manage("/_/discovery/modules", { srvcId: id, instId: "graphql", url });
    await program.manage("/_/proxy/tenants/diku/modules", { id });
    return it;
  }

  #complain({ headers }: IncomingMessage): void {
    if (/folio(Access|Refresh)Token/.test(headers.cookie ?? "")) this.complaints.push("cookies with tokens");
    if (headers.authorization) this.complaints.push("the client's own token");
    for (const name of ["x-okapi-user-id", "x-okapi-token", "x-okapi-tenant"]) if (!headers[name]) this.complaints.push("no " + name);
  }

  stop(): Promise<unknown> {
    return new Promise((done) => this.#server.close(done));
  }
}

/** What an application keeps of a session. Two clients that share one are two tabs. */
export class Wallet {
  readonly jar = new CookieJar();
  tokens: { accessToken: string; refreshToken: string } | undefined;
  /** When the access token is over, as the last answer told. */
  expires = 0;

  constructor(
    readonly place: Place,
    readonly mode: Mode,
  ) {}

  get fresh(): boolean {
    return Date.now() < this.expires;
  }

  /** `fetch` as a browser has it, with this jar; in bearer mode, with the token. */
  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init);
    if (this.mode == "bearer") {
      if (this.tokens) request.headers.set("Authorization", "Bearer " + this.tokens.accessToken);
    } else {
      const cookies = await this.jar.getCookieString(request.url);
      if (cookies) request.headers.set("Cookie", cookies);
    }
    const tenant = request.headers.has("X-Okapi-Tenant") ? {} : { "X-Okapi-Tenant": "diku" };
    for (const [name, value] of Object.entries(tenant)) request.headers.set(name, value);
    const answer = await fetch(request);
    for (const cookie of answer.headers.getSetCookie()) await this.jar.setCookie(cookie, request.url);
    return answer;
  };

  async #post(path: string, body?: object): Promise<Response> {
    const json = body && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
    return this.fetch(this.place.url + path, { method: "POST", ...json });
  }

  async #keep(answer: Response): Promise<Response> {
    if (!answer.ok) return answer;
    const { accessTokenExpiration, ...tokens } = (await answer.clone().json()) as NonNullable<Wallet["tokens"]> & { accessTokenExpiration: string };
    this.expires = Date.parse(accessTokenExpiration);
    if (this.mode == "bearer") this.tokens = tokens;
    return answer;
  }

  async login(): Promise<this> {
    const answer = await this.#post(this.mode == "bearer" ? "/authn/login" : "/authn/login-with-expiry", admin);
    if (answer.status != 201) throw new Error(`not logged in: ${answer.status}`);
    await this.#keep(answer);
    return this;
  }

  /** What each library calls to refresh. */
  readonly refresh = async (): Promise<Response> => this.#keep(await this.#post("/authn/refresh", this.#refreshToken));

  get #refreshToken() {
    return this.tokens && { refreshToken: this.tokens.refreshToken };
  }

  /** Waits until the access token is over. */
  async expired(): Promise<void> {
    await pause(Math.max(0, this.expires - Date.now()) + 10);
  }

  /** Makes the access token useless without a word to the application. */
  async spoil(): Promise<void> {
    if (this.tokens) this.tokens.accessToken = "spoilt";
    await this.jar.setCookie("folioAccessToken=; Path=/; Max-Age=0", this.place.url);
  }

  /** The session is ended from elsewhere. */
  async end(): Promise<void> {
    const body = this.#refreshToken && { headers: { "Content-Type": "application/json" }, body: JSON.stringify(this.#refreshToken) };
    const Cookie = await this.jar.getCookieString(this.place.url + "/authn/logout");
    const answer = await fetch(this.place.program.url + "/authn/logout", { method: "POST", ...body, headers: { ...body?.headers, Cookie } });
    if (answer.status != 204) throw new Error(`not logged out: ${answer.status}`);
  }
}

/** So many of the same at once. */
export const times = <T>(n: number, one: (i: number) => Promise<T>): Promise<T[]> => Promise.all(Array.from({ length: n }, (_, i) => one(i)));

/** How many of so many at once fail. */
export const failures = async (n: number, one: (i: number) => Promise<unknown>): Promise<unknown[]> => {
  const all = await times(n, (i) => one(i).then(() => undefined, (error: unknown) => ({ error })));
  return all.flatMap((failed) => (failed ? [failed.error] : []));
};
