import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Program } from "../program.js";
import { every, long, onlyLong, play, seconds, type Case } from "./play.js";
import { Chromium, frontOf, inTab, missing } from "./world.js";

describe("tabs of real Chromium", { skip: missing(), timeout: long ? 3600_000 : 480_000 }, () => {
  let program: Program;
  before(async () => (program = await Program.start("2s", "400ms")));
  after(() => program?.stop());

  for (const tabs of [1, 4, 8])
    test(`steady traffic, ${tabs} tab${tabs > 1 ? "s" : ""}`, tabs == 4 ? {} : onlyLong, async (t) => {
      const { sent, ok, late, expiries, ratio } = await play(t, program, { tabs });
      assert.equal(ok + late, sent);
      assert.ok(expiries >= (long ? seconds / 3 : 1), `${expiries} expiries`);
      assert.ok(ratio <= 1.05, `${ratio} refreshes per expiry`);
    });

  test("tabs opened, closed, reloaded, left, in the middle of a refresh", async (t) => {
    await play(t, program, {
      mayFail: /Failed to fetch|AbortError/, // of a page that is being left
      async story(chromium, pages, over) {
        let going = true;
        void over.then(() => (going = false));
        for (let turn = 0; ; turn++) {
          await Promise.race([chromium.reported("asks"), over]);
          if (!going) break;
          const i = turn % pages.length;
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
        await play(t, slower, { ...it, query: "resend=400", for: long ? 120 : 12 });
      } finally {
        await slower.stop();
      }
    });

  test("offline and back", async (t) => {
    await play(t, program, {
      mayFail: /Failed to fetch|RefreshUnavailable/,
      async story(chromium, _, over) {
        for (let i = 0; i < (long ? 8 : 2); i++) {
          await chromium.reported("refreshed");
          await chromium.context.setOffline(true);
          await chromium.reported("unavailable");
          await chromium.context.setOffline(false);
        }
        await Promise.race([chromium.reported("refreshed"), over]);
      },
    });
  });

  test("frozen tabs, as when a laptop sleeps", async (t) => {
    await play(t, program, {
      async story(chromium, pages) {
        const all = await Promise.all(pages.map((page) => chromium.context.newCDPSession(page)));
        for (let i = 0; i < (long ? 6 : 1); i++) {
          await chromium.reported("refreshed");
          for (const one of all) await one.send("Page.setWebLifecycleState", { state: "frozen" });
          await pause(4000); // longer than a token lives
          for (const one of all) await one.send("Page.setWebLifecycleState", { state: "active" });
        }
        await chromium.reported("refreshed");
      },
    });
  });

  for (const hours of [1, -1])
    test(`the machine's clock an hour ${hours > 0 ? "ahead" : "behind"}`, hours > 0 ? {} : onlyLong, async (t) => {
      const { ratio } = await play(t, program, {
        init: `{ const D = Date, by = ${hours * 3600_000}; Date = class extends D { constructor(...a) { a.length ? super(...a) : super(D.now() + by) } static now() { return D.now() + by } } }`,
      });
      assert.ok(ratio <= 1.05, `${ratio} refreshes per expiry`);
    });

  const noLocks = `Object.defineProperty(Navigator.prototype, "locks", { get: () => undefined });`;
  test("without Web Locks", async (t) => {
    await play(t, program, { init: noLocks });
  });

  test("without Web Locks, with leases", onlyLong, async (t) => {
    await play(t, program, { init: noLocks, query: "lease" });
  });

  test("plain http, tokens in memory, each tab with its own session", onlyLong, async (t) => {
    await play(t, program, { host: "folio.test", query: "bearer", tabs: 1 });
  });

  test("three tabs log out together", async () => {
    const front = await frontOf(program);
    const chromium = await Chromium.start(front);
    try {
      const pages = [await chromium.open(), await chromium.open(), await chromium.open()];
      await inTab(pages[0]!, (tab) => tab.login());
      await chromium.expired();
      const refreshes = front.count("POST /authn/refresh");
      await Promise.all(pages.map((page) => page.evaluate("session.logout()")));
      for (const page of pages) await page.waitForFunction("session.state.status === 'ended'");
      assert.deepEqual([front.count("POST /authn/logout"), front.count("POST /authn/refresh")], [1, refreshes]);
      assert.deepEqual(await chromium.context.cookies(), []);
    } finally {
      await chromium.stop();
      await front.stop();
    }
  });

  test("answers delayed by 5 to 40 seconds, tokens of 60 s, grace 10 s", onlyLong, async (t) => {
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
