/** A real Chromium before the real program, and the page that the front serves from the gateway's own origin. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { chromium, type Browser, type BrowserContext, type Frame, type Page } from "playwright-core";
import { Front } from "../front.js";
import { root, type Program } from "../program.js";

export const chromiumPath = process.env["CHROMIUM"] ?? "/usr/bin/chromium";

/** Why these tests cannot run here, if they cannot. In CI they must. */
export function missing(): string | false {
  const why = existsSync(chromiumPath) ? false : `no browser at ${chromiumPath}, see tools/browser.sh`;
  if (why && process.env["CI"]) throw new Error(why);
  return why;
}

/** A front with the application of the tests on `/page/`, and nothing else if there is no program. */
export const frontOf = (program?: Program): Promise<Front> => new Front(program?.url ?? "http://there.is.none.invalid", servePage).start();

async function servePage(path: string, answer: ServerResponse): Promise<void> {
  const documents: Record<string, string> = { "": application, embedding: "<!doctype html><title>Another site</title>" };
  const text = documents[path] ?? (await readFile(fileOf(path)).catch(() => undefined));
  answer.writeHead(text ? 200 : 404, { "Content-Type": path in documents ? "text/html; charset=utf-8" : "text/javascript" });
  answer.end(text);
}

const fileOf = (path: string) =>
  path == "page.js" ? join(import.meta.dirname, "page.js") : join(root, "browser", path.replace(/^(dist\/\w+)$/, "$1.js"));

const application = `<!doctype html><title>Tab</title>
<script type="importmap">{"imports":{"@counterfoil/browser":"/page/dist/index.js","@counterfoil/browser/":"/page/dist/"}}</script>
<script type="module" src="/page/page.js"></script>`;

/** What tabs report. */
export interface Report {
  type: "started" | "refreshed" | "unavailable" | "ended" | "error" | "asks" | "stopped";
  reason?: string;
  text?: string;
  from?: number;
}

/** What the application gives to tests, in its global scope. */
export interface Application {
  login(): Promise<number>;
  traffic(every: number): void;
  stop(): Promise<{ sent: number; ok: number }>;
  /** One write, without traffic. Its status, or the error's name and reason. */
  once(): Promise<string>;
  session: { state: { status: string; reason?: string }; logout(): Promise<void> };
}

/** Runs a function in a tab or frame. */
export const inTab = <T>(page: Page | Frame, what: (tab: Application) => T | Promise<T>) => page.evaluate<T>(`(${what})(globalThis)`);

/** A browser with a cookie jar, and the tabs in it. */
export class Chromium {
  readonly reports: Report[] = [];
  readonly #watchers = new Set<() => void>();
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
    await context.exposeBinding("report", (_, report: Report) => {
      it.reports.push(report);
      for (const tell of it.#watchers) tell();
      it.#watchers.clear();
    });
    if (init) await context.addInitScript(init);
    return it;
  }

  /** Opens a tab; the query sets the session's options. */
  async open(query = "", site = this.origin): Promise<Page> {
    const page = await this.context.newPage();
    await page.goto(`${site}/page/?${query}`);
    await page.waitForFunction("window.ready");
    return page;
  }

  /** Opens the application in a frame of a page of another site. */
  async embed(site: string, query = ""): Promise<Frame> {
    const page = await this.context.newPage();
    await page.goto(site + "/page/embedding");
    const url = `${this.origin}/page/?${query}`;
    await page.evaluate(`document.body.append(Object.assign(document.createElement("iframe"), { src: ${JSON.stringify(url)} }))`);
    const element = await page.waitForSelector("iframe");
    const frame = (await element.contentFrame())!;
    await frame.waitForFunction("window.ready");
    return frame;
  }

  of(type: Report["type"]): Report[] {
    return this.reports.filter((report) => report.type == type);
  }

  /** Waits until so many of a type were reported, one more than now by default. */
  async reported(type: Report["type"], count = this.of(type).length + 1): Promise<void> {
    while (this.of(type).length < count) await new Promise<void>((done) => this.#watchers.add(done));
  }

  /** Waits until the browser has dropped the access cookie: the token is over, and so it is for the page. */
  async expired(): Promise<void> {
    while ((await this.context.cookies()).some(({ name }) => name == "folioAccessToken")) await pause(50);
  }

  /** Generations for which some tab asked for a refresh. */
  get expiries(): number {
    return new Set(this.of("asks").map(({ from }) => from)).size;
  }

  stop(): Promise<void> {
    return this.browser.close();
  }
}
