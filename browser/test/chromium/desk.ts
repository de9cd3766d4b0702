import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium, type Browser, type Page } from "playwright-core";
import { root } from "../program.js";
import { chromiumPath } from "./world.js";

const require = createRequire(import.meta.url);

/** Pages of the program in a browser, used by keyboard alone. */
export class Desk {
  readonly reports: string[] = [];
  private constructor(
    readonly browser: Browser,
    readonly page: Page,
    readonly base: string,
    readonly axe: string,
  ) {}

  static async open(base: string): Promise<Desk> {
    const browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox", "--disable-background-networking"] });
    const context = await browser.newContext({ viewport: { width: 1180, height: 760 }, locale: "en-GB", timezoneId: "Europe/Copenhagen" });
    const page = await context.newPage();
    const axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
    const desk = new Desk(browser, page, base, axe);
    await context.exposeBinding("report", (_, violated: string) => void desk.reports.push(violated));
    await context.addInitScript(`addEventListener("securitypolicyviolation", (event) => report(event.effectiveDirective + " " + event.blockedURI))`);
    context.on("weberror", (error) => void desk.reports.push(String(error.error())));
    return desk;
  }

  async see(path: string): Promise<void> {
    await this.page.goto(this.base + path);
  }

  /** Goes with the Tab key to what has this name. */
  async reach(name: string): Promise<void> {
    for (let i = 0; i < 80; i++) {
      const found = await this.page.evaluate(() => {
        const at = document.activeElement as HTMLElement | null;
        return [at?.getAttribute("aria-label"), at?.textContent?.trim(), (at as HTMLInputElement | null)?.labels?.[0]?.textContent?.trim()];
      });
      if (found.includes(name)) return;
      await this.page.keyboard.press("Tab");
    }
    assert.fail(`${name} cannot be reached by keyboard on ${this.page.url()}`);
  }

  /** Presses a button or follows a link by keyboard, and waits for the page that comes. */
  async press(name: string): Promise<void> {
    await this.reach(name);
    await Promise.all([this.page.waitForNavigation(), this.page.keyboard.press("Enter")]);
  }

  async type(name: string, text: string): Promise<void> {
    await this.reach(name);
    await this.page.keyboard.type(text);
  }

  main(): Promise<string> {
    return this.page.locator("main").innerText();
  }

  /** What axe finds that keeps people out. It runs beside the page, whose policy lets in no script but its own. */
  async barriers(): Promise<string[]> {
    const session = await this.page.context().newCDPSession(this.page);
    const { frameTree } = await session.send("Page.getFrameTree");
    const { executionContextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
    await session.send("Runtime.evaluate", { expression: this.axe, contextId: executionContextId });
    const run = `axe.run(document, { resultTypes: ["violations"] }).then((found) => JSON.stringify(found.violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => v.id + ": " + v.nodes.map((n) => n.html).join(" "))))`;
    const { result } = await session.send("Runtime.evaluate", { expression: run, contextId: executionContextId, awaitPromise: true });
    await session.detach();
    return JSON.parse(result.value as string) as string[];
  }

  /** The pictures in the documents, if they are to be made. */
  async photograph(name: string): Promise<void> {
    if (process.env["PHOTOGRAPH"]) await this.page.screenshot({ path: join(root, "docs", "console", name + ".png") });
  }
}
