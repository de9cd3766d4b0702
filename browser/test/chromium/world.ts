/**
 * The real parts: the program as built, a real Chromium, and between them a
 * front that serves the page from the gateway's own origin, counts what passes,
 * and does what networks do.
 */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";

const root = resolve(import.meta.dirname, "../../..");
export const chromiumPath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

/** Why these tests cannot run here, if they cannot. In CI they must. */
export function missing(): string | false {
  const why = existsSync(chromiumPath) ? false : `no browser at ${chromiumPath}, see tools/browser.sh`;
  if (why && process.env["CI"]) throw new Error(why);
  return why;
}

/** The demonstration, on ports of its own. */
export class Program {
  private constructor(
    readonly url: string,
    readonly admin: string,
    readonly process: ChildProcess,
    readonly data: string,
  ) {}

  static async start(accessTTL: string, grace: string): Promise<Program> {
    const data = await mkdtemp(join(tmpdir(), "counterfoil-browser-"));
    const binary = join(data, "counterfoil");
    await promisify(execFile)("go", ["build", "-o", binary, "./cmd/counterfoil"], { cwd: root });
    const any = ["--listen", "--internal-listen", "--admin-listen"].flatMap((flag) => [flag, "127.0.0.1:0"]);
    const child = spawn(binary, ["demo", "--data", join(data, "store"), "--access-ttl", accessTTL, "--grace", grace, ...any]);
    const [url, admin] = await new Promise<string[]>((found, failed) => {
      let told = "";
      child.stdout.on("data", (text) => {
        told += text;
        const addresses = /public +(http\S+)[^]*admin +(http\S+)/.exec(told);
        if (addresses) found(addresses.slice(1));
      });
      child.stderr.on("data", (text) => process.stderr.write(text));
      child.on("exit", (code) => failed(new Error(`the program ended with ${code}: ${told}`)));
    });
    return new Program(url!, admin!, child, data);
  }

  async stop(): Promise<void> {
    const ended = new Promise((done) => this.process.on("exit", done));
    this.process.kill();
    await ended;
    await rm(this.data, { recursive: true, force: true });
  }
}

/** What the front does to an answer to a refresh. */
export type Misfortune = { delay?: number; drop?: boolean } | undefined;

export class Front {
  readonly #server: Server;
  readonly counts = new Map<string, number>();
  /** Orders whose 201 left for the browser. */
  readonly placed = new Set<string>();
  /** Refresh tokens that left for the browser. */
  readonly generations = new Set<string>();
  misfortune: (nth: number) => Misfortune = () => undefined;
  port = 0;

  constructor(readonly gateway: string) {
    this.#server = createServer((request, answer) => void this.#serve(request, answer).catch(() => answer.destroy()));
  }

  async start(): Promise<this> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    const address = this.#server.address();
    this.port = typeof address == "object" && address ? address.port : 0;
    return this;
  }

  stop(): Promise<unknown> {
    this.#server.closeAllConnections();
    return new Promise((done) => this.#server.close(done));
  }

  count(what: string): number {
    return this.counts.get(what) ?? 0;
  }

  async #serve(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    const path = request.url!.replace(/[?].*/, "");
    if (path.startsWith("/page/")) return this.#page(path.slice(6), answer);
    const what = request.method + " " + path;
    const nth = this.count(what) + 1;
    this.counts.set(what, nth);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const got = await this.#forward(request, body);
    const text: Buffer[] = [];
    for await (const chunk of got) text.push(chunk as Buffer);
    if (what == "POST /authn/refresh") {
      const { delay, drop } = this.misfortune(nth) ?? {};
      if (delay) await new Promise((done) => setTimeout(done, delay));
      if (drop) return void request.socket.destroy();
      const token = /folioRefreshToken=(cfrt_[^;]+)/.exec(String(got.headers["set-cookie"]))?.[1];
      if (token) this.generations.add(token);
    }
    if (what == "POST /orders" && got.statusCode == 201) this.placed.add((JSON.parse(body.toString()) as { id: string }).id);
    answer.writeHead(got.statusCode!, got.headers);
    answer.end(Buffer.concat(text));
  }

  #forward(request: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    return new Promise((done, failed) => {
      const { method, url, headers } = request;
      const onward = httpRequest(this.gateway + url, { method, headers }, done);
      onward.on("error", failed);
      onward.end(body);
    });
  }

  async #page(path: string, answer: ServerResponse): Promise<void> {
    if (path == "") {
      answer.writeHead(200, { "Content-Type": "text/html; charset=utf-8" });
      answer.end(html);
      return;
    }
    const file = path == "page.js" ? join(import.meta.dirname, "page.js") : join(root, "browser", path.replace(/^(dist\/\w+)$/, "$1.js"));
    const text = await readFile(file).catch(() => undefined);
    answer.writeHead(text ? 200 : 404, { "Content-Type": "text/javascript" });
    answer.end(text);
  }
}

const html = `<!doctype html><title>Tab</title>
<script type="importmap">{"imports":{"@counterfoil/browser":"/page/dist/index.js","@counterfoil/browser/":"/page/dist/"}}</script>
<script type="module" src="/page/page.js"></script>`;

/** What tabs report. */
export interface Report {
  type: "started" | "refreshed" | "unavailable" | "ended" | "error" | "asks";
  reason?: string;
  text?: string;
  from?: number;
}

/** A browser with a cookie jar, and the tabs in it. */
export class Chromium {
  readonly reports: Report[] = [];
  private constructor(
    readonly browser: Browser,
    readonly context: BrowserContext,
    readonly origin: string,
  ) {}

  static async start(front: Front, { host = "localhost", init = "" } = {}): Promise<Chromium> {
    const browser = await chromium.launch({
      executablePath: chromiumPath,
      args: ["--no-sandbox", "--disable-background-networking", `--host-resolver-rules=MAP ${host} 127.0.0.1`],
    });
    const context = await browser.newContext();
    const it = new Chromium(browser, context, `http://${host}:${front.port}`);
    await context.exposeBinding("report", (_, report: Report) => void it.reports.push(report));
    if (init) await context.addInitScript(init);
    return it;
  }

  /** Opens a tab; the query sets the session's options. */
  async open(query = ""): Promise<Page> {
    const page = await this.context.newPage();
    await page.goto(`${this.origin}/page/?${query}`);
    await page.waitForFunction("window.ready");
    return page;
  }

  of(type: Report["type"]): Report[] {
    return this.reports.filter((report) => report.type == type);
  }

  /** Generations for which some tab asked for a refresh. */
  get expiries(): number {
    return new Set(this.of("asks").map(({ from }) => from)).size;
  }

  stop(): Promise<void> {
    return this.browser.close();
  }
}

/** How often each order was placed, as the sample module counted. */
export async function orders(program: Program): Promise<Map<string, number>> {
  const headers = { "X-Okapi-Tenant": "diku", "Content-Type": "application/json" };
  const body = JSON.stringify({ username: "diku_admin", password: "admin" });
  const login = await fetch(program.url + "/authn/login", { method: "POST", headers, body });
  const { accessToken } = (await login.json()) as { accessToken: string };
  const answer = await fetch(program.url + "/orders", { headers: { ...headers, Authorization: "Bearer " + accessToken } });
  return new Map(Object.entries(((await answer.json()) as { orders: Record<string, number> }).orders));
}
