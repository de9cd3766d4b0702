import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { chromium, type Browser, type Page } from "playwright-core";
import { Program } from "../program.js";
import { chromiumPath, missing } from "./world.js";

/** The demonstration's page in a browser, used by keyboard alone. */
class Demo {
  readonly reports: string[] = [];
  readonly errors: string[] = [];
  private constructor(
    readonly browser: Browser,
    readonly page: Page,
  ) {}

  static async open(program: Program): Promise<Demo> {
    const browser = await chromium.launch({ executablePath: chromiumPath, args: ["--no-sandbox", "--disable-background-networking"] });
    const context = await browser.newContext({ viewport: { width: 1180, height: 900 } });
    const page = await context.newPage();
    const demo = new Demo(browser, page);
    await context.exposeBinding("report", (_, violated: string) => void demo.reports.push(violated));
    await context.addInitScript(`addEventListener("securitypolicyviolation", (event) => report(event.effectiveDirective + " " + event.blockedURI))`);
    context.on("weberror", (error) => void demo.errors.push(String(error.error())));
    context.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) demo.errors.push(`${message.text()} ${new URL(message.location().url || program.url).pathname}`);
    });
    await page.goto(program.url + "/demo/");
    await page.waitForFunction(() => !document.querySelector("main")!.hidden);
    return demo;
  }

  /** Goes to what has this text, or this id, with the Tab key. */
  async reach(what: string): Promise<void> {
    for (let i = 0; i < 60; i++) {
      const [text, id] = await this.page.evaluate(() => [document.activeElement?.textContent, document.activeElement?.id]);
      if (text == what || id == what) return;
      await this.page.keyboard.press("Tab");
    }
    assert.fail(`${what} cannot be reached by keyboard`);
  }

  /** Presses a button, waits until it is done, and returns what the log says since, oldest first. */
  async press(name: string, until?: RegExp): Promise<string> {
    await this.reach(name);
    await this.page.keyboard.press("Enter");
    await this.says(new RegExp(`^page ${name}$`, "m"));
    await this.page.waitForFunction(() => !document.querySelector("[aria-disabled]"));
    if (until) await this.says(until, name);
    return this.log(name);
  }

  /** What the log says, oldest first; only since a button was pressed, if it is named. */
  log(since?: string): Promise<string> {
    return this.page.evaluate((since) => {
      const lines = [...document.querySelectorAll("#log li")].map((line) => line.textContent!.replace(line.querySelector("time")!.textContent!, ""));
      const from = lines.indexOf("page " + since);
      return (from < 0 ? lines : lines.slice(0, from)).reverse().join("\n");
    }, since);
  }

  async says(what: RegExp, since?: string): Promise<void> {
    const until = Date.now() + 30_000;
    for (;;) {
      const log = await this.log(since);
      if (what.test(log)) return;
      if (Date.now() > until) assert.match(log, what);
      await this.page.waitForTimeout(50);
    }
  }

  async logIn(user: string): Promise<void> {
    await this.reach("user");
    await this.page.keyboard.type(user);
    await this.reach("Log in");
    await this.page.keyboard.press("Enter");
    await this.page.waitForFunction((user) => document.querySelector("#who")!.textContent!.startsWith(user), user);
    await this.page.waitForFunction(() => /generation 1, live/.test(document.querySelector("#who")!.textContent!));
  }

  text(selector: string): Promise<string> {
    return this.page.locator(selector).innerText();
  }

  /** The picture of the README. */
  async photograph(path: string): Promise<void> {
    await this.page.setViewportSize({ width: 1000, height: 700 });
    await this.page.evaluate(() => scrollTo(0, 0));
    await this.page.screenshot({ path });
  }

  marks(): Promise<string[]> {
    return this.page.locator("svg .mark").allTextContents();
  }
}

const count = (text: string, what: RegExp) => text.match(new RegExp(what, "gm"))?.length ?? 0;

describe("the page of the demonstration", { skip: missing() }, () => {
  let program: Program;
  let demo: Demo;
  before(async () => {
    program = await Program.start("8s", "1500ms");
    demo = await Demo.open(program);
  });
  after(async () => {
    await demo?.browser.close();
    await program?.stop();
  });

  test("log in, and watch tokens being renewed", async () => {
    assert.match(await demo.text("#picture"), /No access token/);
    await demo.logIn("diku_admin");
    assert.match(await demo.log(), /^network POST \/authn\/login-with-expiry: 201[^]*^library started: somebody is logged in[^]*^gateway login: a session was issued/m);
    assert.match(await demo.text("[data-access]"), /Access token: \d s of [6-9] s left/);
    assert.match(await demo.text("[data-refresh]"), /generation 1; unless it is used, the session ends in [67] days, and in 2[34] days whatever happens/);
    await demo.says(/^library refreshed/m);
    await demo.says(/^gateway rotated: generation 2 is the newest refresh token/m);
    assert.match(await demo.text("#who"), /generation 2, live/);
    await demo.page.waitForFunction(() => document.querySelectorAll("svg rect.access").length >= 2);
    assert.ok((await demo.page.locator("svg rect.refresh").count()) >= 2);
    assert.match((await demo.page.locator("svg").getAttribute("aria-label"))!, /Access token: .* Refresh token: generation 2/);
  });

  test("a page that was reloaded, and a second one, go on", async () => {
    const second = await demo.page.context().newPage();
    await second.goto(program.url + "/demo/");
    await demo.page.reload();
    for (const page of [second, demo.page]) await page.waitForFunction(() => /^diku_admin.* live$/.test(document.querySelector("#who")!.textContent!));
    await second.close();
  });

  test("refresh now", async () => {
    assert.match(await demo.press("Refresh now"), /^network POST \/authn\/refresh: 201, new cookies\n[^]*^library refreshed/m);
  });

  test("a lost answer", async () => {
    const log = await demo.press("Lose an answer");
    assert.match(log, /^network POST \/authn\/refresh: no answer\n[^]*^network POST \/authn\/refresh: 201, new cookies\n[^]*^library refreshed/m);
    const [, from, to] = /an answer was lost: generation (\d+) to (\d+), and the session is live/.exec(log)!;
    assert.equal(Number(to), Number(from) + 1);
    assert.deepEqual(await demo.marks(), ["⚡"]);
    await demo.says(/^gateway gave the same token again/m, "Lose an answer");
  });

  test("tabs, with locks and without", async () => {
    let log = await demo.press("Open tabs");
    assert.match(log, /5 tabs asked at once: 1 request, generation (\d+) to /);
    assert.equal(count(log, /POST \/authn\/refresh: 201/), 1);
    for (const tab of [2, 3, 4, 5]) await demo.says(new RegExp(`^tab ${tab} refreshed`, "m"), "Open tabs");
    assert.equal(await demo.page.frames()[1]!.locator("#status").innerText(), "Tab 2: active, heard of 1 refresh");

    log = await demo.press("Open tabs without locks");
    const [, requests, from, to] = /5 tabs asked at once: (\d) requests, generation (\d+) to (\d+)/.exec(log)!;
    assert.ok(Number(requests) > 1);
    assert.equal(Number(to), Number(from) + 1);
    assert.equal(count(log, /POST \/authn\/refresh: 201/), Number(requests));
    assert.doesNotMatch(log, /refused|ended/);
  });

  test("503, and no answers at all", async () => {
    let log = await demo.press("Answer 503");
    assert.equal(count(log, /refresh: 503, not now/), 2);
    assert.match(log, /503[^]*503[^]*refresh: 201, new cookies\n[^]*library refreshed[^]*nobody was logged out/);
    log = await demo.press("Cut the line");
    assert.match(log, /no answer[^]*^library unavailable: no refresh for now \(no answer\); the session goes on[^]*the next call was answered 200/m);
    assert.doesNotMatch(log, /ended/);
  });

  test("a wrong clock", async () => {
    for (const [pressed, said] of [["true", "an hour ahead"], ["false", "right again"]] as const) {
      const log = await demo.press("Set the clock an hour ahead");
      assert.match(log, new RegExp("this page's clock is " + said));
      assert.ok(count(log, /authn\/refresh/) <= 1, log);
      assert.doesNotMatch(log, /ended|unavailable/);
      assert.equal(await demo.page.locator("#clock").getAttribute("aria-pressed"), pressed);
    }
  });

  test("a stolen token", async () => {
    await demo.press("Lose an answer"); // for the screenshot, and it must not matter
    const log = await demo.press("Steal the token");
    const [, presented, newest] = /the thief used token (\d+) while (\d+) is the newest, and got 422 superseded/.exec(log)!;
    assert.equal(Number(presented), Number(newest) - 1);
    assert.match(log, /^gateway superseded: an old token came back/m);
    assert.match(await demo.text("[data-strike]"), /An old token came back\. Unless its owner proves itself, the session ends in \d s/);
    assert.ok((await demo.marks()).includes("✖"));
    assert.equal(await demo.page.locator("svg .strike").count(), 1);
    if (process.env["DEMO_SCREENSHOT"]) await demo.photograph(process.env["DEMO_SCREENSHOT"]);
    await demo.says(/^library ended: the gateway refuses to refresh it; log in again/m);
    await demo.says(/^gateway the session is over: refresh_reuse/m);
    assert.match(await demo.text("#picture"), /No refresh token is good any more: refresh_reuse/);
    assert.equal(await demo.page.evaluate(() => document.activeElement?.textContent), "Log in", "whoever works by keyboard goes on from there");
  });

  test("revoked by an operator", async () => {
    await demo.logIn("reader");
    const log = await demo.press("Revoke from the console", /^gateway the session is over: revoked/m);
    assert.match(log, /an operator ended the session; the next call finds out\n[^]*^network POST \/authn\/refresh: 422, refused\n[^]*^library ended: the gateway refuses/m);
    assert.match(log, /^gateway revoked: an operator ended the session/m);
  });

  test("log out", async () => {
    await demo.logIn("diku_admin");
    const log = await demo.press("Log out", /^gateway the session is over: logout/m);
    assert.match(log, /^network POST \/authn\/logout: 204, cookies cleared\n[^]*^library ended: somebody logged out/m);
    assert.deepEqual(await demo.page.context().cookies(), []);
  });

  test("no call failed, nothing was blocked, and no error is unexplained", async () => {
    assert.match(await demo.text("#calls").catch(() => demo.page.locator("#calls").textContent()) ?? "", /^[1-9]\d* answered, 0 failed$/);
    assert.deepEqual(demo.reports, []);
    // The browser itself notes each answer that a misfortune costs.
    const explained = /^Failed to load resource: (net::ERR_EMPTY_RESPONSE|.* status of (422|503) .*) \/authn\/refresh$|^Failed to load resource: .* status of 401 .* \/(orders|authn\/sessions\/_self)$/;
    assert.deepEqual(demo.errors.filter((error) => !explained.test(error)), []);
  });

  for (const scheme of ["light", "dark"] as const)
    test(`readable, ${scheme}, also at 360 pixels`, async () => {
      await demo.page.emulateMedia({ colorScheme: scheme });
      await demo.page.setViewportSize({ width: 360, height: 700 });
      await demo.logIn("reader");
      await demo.press("Open tabs");
      assert.equal(await demo.page.evaluate(() => document.scrollingElement!.scrollWidth), 360);
      assert.deepEqual(await demo.page.evaluate(faint), []);
      await demo.press("Log out");
    });
});

/** Texts whose contrast is below that of WCAG 2.2, level AA. Runs in the page. */
function faint(): string[] {
  const channels = (color: string) => color.match(/[\d.]+/g)!.map(Number);
  const light = (color: string) => {
    const [r, g, b] = channels(color).map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r! + 0.7152 * g! + 0.0722 * b!;
  };
  const ground = (element: Element): string => {
    const { backgroundColor } = getComputedStyle(element);
    return channels(backgroundColor)[3] == 0 && element.parentElement ? ground(element.parentElement) : backgroundColor;
  };
  const bad: string[] = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType == Node.TEXT_NODE && node.textContent!.trim());
    if (!own || !element.checkVisibility() || element.closest("svg")) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) bad.push(`${element.textContent!.trim().slice(0, 40)}: ${contrast.toFixed(1)}`);
  }
  return bad;
}
