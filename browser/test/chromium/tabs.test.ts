import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { after, before, describe, test, type TestContext } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { Page } from "playwright-core";
import { Chromium, Front, missing, orders, Program, type Misfortune } from "./world.js";

const long = !!process.env["LONG"];
const seconds = long ? 60 : 15;
const every = 250; // milliseconds between two requests of a tab
const rows: string[] = [];

interface Case {
  tabs?: number;
  init?: string;
  query?: string;
  host?: string;
  misfortune?: (nth: number) => Misfortune;
  /** What happens meanwhile. */
  story?: (chromium: Chromium, pages: Page[]) => Promise<void>;
  /** Requests may fail with this. */
  mayFail?: RegExp;
  locks?: boolean;
  for?: number;
}

type Tab = { login(): Promise<number>; traffic(every: number): void; stop(): Promise<{ sent: number; ok: number }>; session: { state: { status: string } } };
const inTab = <T>(page: Page, what: (tab: Tab) => T) => page.evaluate<T>(`(${what})(globalThis)`);

describe("real Chromium against the real program", { skip: missing() }, () => {
  let program: Program;
  before(async () => (program = await Program.start("2s", "400ms")));
  after(async () => {
    await program?.stop();
    const head = "| case | tabs | requests | expiries | refreshes | per expiry | forced logouts | lost | doubled | late twice |\n| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n";
    writeFileSync("build/chromium.md", head + rows.join("\n") + "\n");
    process.stderr.write("\n" + head + rows.join("\n") + "\n");
  });

  /** Steady traffic in all tabs, while something happens. */
  async function play(t: TestContext, program: Program, it: Case) {
    const front = await new Front(program.url).start();
    const chromium = await Chromium.start(front, { host: it.host ?? "localhost", init: it.init ?? "" });
    try {
      const query = it.query ?? "";
      const pages = [await chromium.open(query)];
      assert.equal(await inTab(pages[0]!, (tab) => tab.login()), 201);
      while (pages.length < (it.tabs ?? 4)) pages.push(await chromium.open(query));
      front.misfortune = it.misfortune ?? (() => undefined);
      for (const page of pages) await page.evaluate(`traffic(${every})`);
      const over = pause((it.for ?? seconds) * 1000);
      await it.story?.(chromium, pages);
      await over;
      let sent = 0;
      let ok = 0;
      for (const page of pages.filter((page) => !page.isClosed())) {
        const counts = await inTab(page, (tab) => tab.stop());
        sent += counts.sent;
        ok += counts.ok;
      }
      await pause(100); // for reports that are on their way
      const known = await orders(program);
      const lost = [...front.placed].filter((id) => !known.has(id)).length;
      const doubled = [...front.placed].filter((id) => known.get(id)! > 1).length;
      const refreshes = front.count("POST /authn/refresh");
      const { expiries } = chromium;
      const logouts = chromium.of("ended").length;
      const ratio = refreshes / expiries;
      // A request is sent again once. On a machine that is busy with other things
      // a round trip can take as long as these tokens live.
      const late = chromium.of("error").filter(({ text }) => /TOKEN_EXPIRED|Token missing/.test(text!)).length;
      rows.push(`| ${t.name} | ${it.tabs ?? 4} | ${sent} | ${expiries} | ${refreshes} | ${ratio.toFixed(2)} | ${logouts} | ${lost} | ${doubled} | ${late} |`);
      t.diagnostic(rows.at(-1)!);
      const errors = chromium.of("error").filter(({ text }) => !it.mayFail?.test(text!) && !/TOKEN_EXPIRED|Token missing/.test(text!));
      assert.deepEqual(errors.slice(0, 3), [], `${errors.length} requests failed`);
      assert.ok(late <= sent / 20, `${late} of ${sent} requests were too late twice`);
      assert.deepEqual([lost, doubled], [0, 0], "writes lost, doubled");
      if (it.locks !== false) assert.equal(logouts, 0);
      return { sent, ok, late, expiries, refreshes, ratio, front, chromium };
    } finally {
      await chromium.stop();
      await front.stop();
    }
  }

  for (const tabs of [1, 4, 8])
    test(`steady traffic, ${tabs} tab${tabs > 1 ? "s" : ""}`, async (t) => {
      const { sent, ok, late, expiries, ratio } = await play(t, program, { tabs });
      assert.equal(ok + late, sent);
      assert.ok(expiries >= seconds / 2, `${expiries} expiries`);
      assert.ok(ratio <= 1.05, `${ratio} refreshes per expiry`);
    });

  test("tabs opened, closed, reloaded, left", async (t) => {
    await play(t, program, {
      mayFail: /Failed to fetch|AbortError/, // of a page that is being left
      async story(chromium, pages) {
        const until = Date.now() + (seconds - 2) * 1000;
        for (let turn = 0; Date.now() < until; turn++) {
          const i = turn % pages.length;
          // Just when somebody asks for a refresh: that is the bad moment.
          const asked = chromium.of("asks").length;
          while (chromium.of("asks").length == asked && Date.now() < until) await pause(2);
          const page = pages[i]!;
          if (turn % 3 == 0) {
            await page.close();
            pages[i] = await chromium.open("traffic=" + every);
          } else if (turn % 3 == 1) {
            await page.reload();
            await page.waitForFunction("window.ready");
            await page.evaluate(`traffic(${every})`);
          } else {
            await page.goto("about:blank");
            await page.goto(chromium.origin + "/page/?traffic=" + every);
            await page.waitForFunction("window.ready");
          }
        }
      },
    });
  });

  // What follows needs the grace: in proportion to 600 s, 10 s and up to 40 s.
  const misfortunes: Record<string, Case> = {
    "answers delayed by more than the grace": { misfortune: (nth) => ({ delay: [0, 300, 900, 2000, 500][nth % 5]! }) },
    "every other answer dropped after the commit": { misfortune: (nth) => ({ drop: nth % 2 == 0 }) },
  };
  for (const [name, it] of Object.entries(misfortunes))
    test(name, async (t) => {
      const slower = await Program.start("8s", "1500ms");
      try {
        await play(t, slower, { ...it, query: "resend=400", for: 2 * seconds });
      } finally {
        await slower.stop();
      }
    });

  test("offline and back", async (t) => {
    await play(t, program, {
      mayFail: /Failed to fetch|RefreshUnavailable/,
      async story(chromium) {
        for (let i = 0; i < 2; i++) {
          await pause(1500);
          await chromium.context.setOffline(true);
          await pause(3000);
          await chromium.context.setOffline(false);
        }
      },
    });
  });

  test("frozen tabs, as when a laptop sleeps", async (t) => {
    await play(t, program, {
      async story(chromium, pages) {
        await pause(2000);
        const all = await Promise.all(pages.map((page) => chromium.context.newCDPSession(page)));
        for (const one of all) await one.send("Page.setWebLifecycleState", { state: "frozen" });
        await pause(5000);
        for (const one of all) await one.send("Page.setWebLifecycleState", { state: "active" });
      },
    });
  });

  for (const hours of [1, -1])
    test(`the machine's clock an hour ${hours > 0 ? "ahead" : "behind"}`, async (t) => {
      const { ratio } = await play(t, program, {
        init: `{ const D = Date, by = ${hours * 3600_000}; Date = class extends D { constructor(...a) { a.length ? super(...a) : super(D.now() + by) } static now() { return D.now() + by } } }`,
      });
      assert.ok(ratio <= 1.05, `${ratio} refreshes per expiry`);
    });

  const noLocks = `Object.defineProperty(Navigator.prototype, "locks", { get: () => undefined });`;
  test("without Web Locks", async (t) => {
    await play(t, program, { init: noLocks, locks: false });
  });

  test("without Web Locks, with leases", async (t) => {
    await play(t, program, { init: noLocks, query: "lease" });
  });

  test("plain http, tokens in memory, each tab with its own session", async (t) => {
    await play(t, program, { host: "folio.test", query: "bearer", tabs: 1 });
  });

  test("three tabs log out together", async () => {
    const front = await new Front(program.url).start();
    const chromium = await Chromium.start(front);
    try {
      const pages = [await chromium.open(), await chromium.open(), await chromium.open()];
      await inTab(pages[0]!, (tab) => tab.login());
      await pause(2500); // the access token is over
      await Promise.all(pages.map((page) => page.evaluate("session.logout()")));
      await pause(200);
      assert.deepEqual([front.count("POST /authn/logout"), front.count("POST /authn/refresh")], [1, 0]);
      for (const page of pages) assert.equal(await inTab(page, (tab) => tab.session.state.status), "ended");
      assert.deepEqual(await chromium.context.cookies(), []);
    } finally {
      await chromium.stop();
      await front.stop();
    }
  });

  test("answers delayed by 5 to 40 seconds, real lifetimes", { skip: !long && "only with LONG=1" }, async (t) => {
    const real = await Program.start("60s", "10s");
    try {
      await play(t, real, {
        for: 240, query: "resend=7000&patience=60000",
        misfortune: (nth) => ({ delay: [5, 20, 40, 8, 12][nth % 5]! * 1000 }),
      });
    } finally {
      await real.stop();
    }
  });
});
