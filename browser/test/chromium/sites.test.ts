/** Pages and gateways on more than one site: where browsers keep cookies back, and where they do not. */
import assert from "node:assert/strict";
import { after, before, describe, test, type TestContext } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { Frame, Page } from "playwright-core";
import type { Front } from "../front.js";
import { Program } from "../program.js";
import { every, mayBeLate, note, onlyLong, seconds } from "./play.js";
import { Chromium, frontOf, inTab, missing } from "./world.js";

describe("sites in real Chromium", { skip: missing(), timeout: 480_000 }, () => {
  let program: Program;
  /** What has only pages; the program allows its origins. */
  let pages: Front;
  let front: Front;
  let chromium: Chromium;
  // To a browser, localhost and 127.0.0.1 are two sites, and both as good as https.
  const elsewhere = (name: string) => `http://${name}:${pages.port}`;
  before(async () => {
    pages = await frontOf();
    program = await Program.start("2s", "400ms", "--cors-origin", elsewhere("localhost"), "--cors-origin", elsewhere("127.0.0.1"));
  });
  after(async () => {
    await program?.stop();
    await pages?.stop();
  });
  const fresh = async <T>(work: () => Promise<T>, host = "localhost"): Promise<T> => {
    front = await frontOf(program);
    chromium = await Chromium.start(front, { host });
    return work().finally(async () => {
      await chromium.stop();
      await front.stop();
    });
  };

  /** The browser keeps no cookie: the page is told so at once, and the gateway is not asked again and again. */
  async function absent(tab: Page | Frame): Promise<void> {
    assert.equal(await inTab(tab, (it) => it.login()), 201);
    assert.deepEqual((await chromium.context.cookies()).map(({ name }) => name), []);
    for (let i = 0; i < 5; i++) assert.equal(await inTab(tab, (it) => it.once()), "SessionEnded: absent");
    assert.equal(front.count("POST /authn/refresh"), 1);
    assert.equal(front.placed.size, 0);
  }

  /** Steady traffic, and nothing fails. */
  async function works(t: TestContext, tab: Page | Frame): Promise<void> {
    assert.equal(await inTab(tab, (it) => it.login()), 201);
    await tab.evaluate(`traffic(${every})`);
    await pause(seconds * 1000);
    const { sent, ok } = await inTab(tab, (it) => it.stop());
    const known = await program.orders();
    const placed = [...front.placed];
    const lost = placed.filter((id) => !known.has(id)).length;
    const doubled = placed.filter((id) => known.get(id)! > 1).length;
    const refreshes = front.count("POST /authn/refresh");
    const logouts = chromium.of("ended").length;
    note(t.name, 1, seconds, front.count("POST /orders") + front.count("GET /echo"), chromium.expiries, refreshes, (refreshes / chromium.expiries).toFixed(2), logouts, lost, doubled, sent - ok);
    assert.deepEqual({ lost, doubled, logouts, refreshes }, { lost: 0, doubled: 0, logouts: 0, refreshes: chromium.expiries });
    assert.ok(sent - ok <= mayBeLate(sent), `${sent - ok} of ${sent} requests failed: ${JSON.stringify(chromium.of("error").slice(0, 3))}`);
  }

  test("a frame in a page of another site, cookies refused: the session says that it is absent", () =>
    fresh(async () => absent(await chromium.embed(elsewhere("127.0.0.1")))));

  test("a frame in a page of another site, cookies refused: tokens in memory", (t) =>
    fresh(async () => works(t, await chromium.embed(elsewhere("127.0.0.1"), "bearer"))));

  test("a page on another site than the gateway, cookies refused: the session says that it is absent", () =>
    fresh(async () => absent(await chromium.open("gateway=" + chromium.origin, elsewhere("127.0.0.1")))));

  test("a page on another site than the gateway, cookies refused: tokens in memory", onlyLong, (t) =>
    fresh(async () => works(t, await chromium.open("bearer&gateway=" + chromium.origin, elsewhere("127.0.0.1")))));

  test("a page on plain http, cookies refused: the session says that it is absent", () =>
    fresh(async () => absent(await chromium.open()), "folio.test"));

  test("a page on another origin of the same site: cookies", (t) =>
    fresh(async () => works(t, await chromium.open("gateway=" + chromium.origin, elsewhere("localhost")))));
});
