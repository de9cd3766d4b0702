import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Page } from "playwright-core";
import type { Front } from "../front.js";
import { Program } from "../program.js";
import { Chromium, frontOf, missing } from "./world.js";

/** Runs an async function in the page, with the session. */
const inPage = <T>(page: Page, body: string): Promise<T> => page.evaluate<T>(`(async () => { ${body} })()`);

const send = `
  const send = (method, url, body, type = "") => new Promise((done) => {
    const xhr = new XMLHttpRequest(), seen = [];
    for (const name of ["loadstart", "load", "error", "abort", "loadend"]) xhr.addEventListener(name, () => seen.push(name));
    xhr.onreadystatechange = () => seen.push(xhr.readyState);
    xhr.onloadend = () => setTimeout(() => done({ status: xhr.status, seen: seen.join(" "), response: xhr.response, twice: seen.filter((name) => name === "loadend").length }), 50);
    xhr.open(method, url);
    xhr.responseType = type;
    if (body) xhr.setRequestHeader("Content-Type", "application/json");
    xhr.send(body);
  });`;
const ours = `
  const { createXMLHttpRequest } = await import("@counterfoil/browser/xhr");
  const XMLHttpRequest = createXMLHttpRequest(session);` + send;

interface Seen {
  status: number;
  seen: string;
  response: unknown;
  twice: number;
}

describe("entries in real Chromium", { skip: missing(), timeout: 240_000 }, () => {
  let program: Program;
  let front: Front;
  let chromium: Chromium;
  let page: Page;
  before(async () => {
    program = await Program.start("2s", "400ms");
    front = await frontOf(program);
    chromium = await Chromium.start(front);
    page = await chromium.open();
    assert.equal(await page.evaluate("login()"), 201);
  });
  after(async () => {
    await chromium?.stop();
    await front?.stop();
    await program?.stop();
  });
  const lose = () => chromium.context.clearCookies({ name: "folioAccessToken" });

  test("XMLHttpRequest: refused, refreshed, sent again, and the page sees one answer", async () => {
    const plain = "1 loadstart 2 3 4 load loadend";
    for (const [id, type] of [["xhr-1", ""], ["xhr-2", "json"], ["xhr-3", "arraybuffer"]]) {
      await lose();
      const refreshes = front.count("POST /authn/refresh");
      const got = await inPage<Seen>(page, `${ours} return send("POST", "/orders", '{"id":"${id}"}', "${type}")`);
      assert.deepEqual([got.status, got.twice], [201, 1]);
      assert.ok(got.seen.endsWith("2 3 4 load loadend"), got.seen);
      assert.equal(front.count("POST /authn/refresh"), refreshes + 1);
      assert.equal((await program.orders()).get(id!), 1);
    }
    await chromium.expired(); // as the page knows
    const got = await inPage<Seen>(page, `${ours} return send("GET", "/echo")`);
    assert.deepEqual([got.status, got.seen], [200, plain]);
  });

  test("XMLHttpRequest: what is no refusal is seen as it is", async () => {
    const bad = await inPage<Seen>(page, `${ours} return send("POST", "/orders", '{}', "json")`);
    assert.deepEqual([bad.status, bad.twice, bad.response], [400, 1, { message: 'send an order as {"id":"…"}' }]);
    const other = await inPage<Seen>(page, `${ours} return send("GET", "/page/page.js")`);
    assert.deepEqual([other.status, other.twice], [200, 1]);
  });

  test("XMLHttpRequest: aborted while it waits", async () => {
    await chromium.expired();
    const seen = await inPage<string>(page, `${ours}
      const xhr = new XMLHttpRequest(), seen = [];
      for (const name of ["load", "error", "abort", "loadend"]) xhr.addEventListener(name, () => seen.push(name));
      xhr.open("POST", "/orders");
      xhr.send('{"id":"aborted"}');
      xhr.abort();
      await session.fetch("/echo"); // after the refresh that it waited for
      return seen.join(" ")`);
    assert.doesNotMatch(seen, /load$|error/);
    assert.equal((await program.orders()).get("aborted"), undefined);
  });

  test("globals are replaced, and given back", async () => {
    await lose();
    const got = await inPage<Record<string, unknown>>(page, `${send}
      const { patchGlobals } = await import("@counterfoil/browser/patch");
      const before = [fetch, XMLHttpRequest];
      const restore = patchGlobals(session);
      const replaced = fetch !== before[0] && XMLHttpRequest !== before[1];
      const answer = await fetch("/orders", { method: "POST", headers: { "Content-Type": "application/json" }, body: '{"id":"patched"}' });
      const xhr = await send("GET", "/echo");
      const wrapper = (...args) => ours(...args), ours = fetch;
      globalThis.fetch = wrapper;
      restore();
      const kept = fetch === wrapper && XMLHttpRequest === before[1];
      const through = (await fetch("/page/")).status;
      globalThis.fetch = before[0];
      return { replaced, statuses: [answer.status, xhr.status], kept, through }`);
    assert.deepEqual(got, { replaced: true, statuses: [201, 200], kept: true, through: 200 });
  });

  test("the banner warns, and keeps working", async () => {
    await inPage(page, `
      const { watchIdle } = await import("@counterfoil/browser/idle");
      const { defineBanner } = await import("@counterfoil/browser/banner");
      defineBanner(); defineBanner();
      const banner = document.createElement("counterfoil-banner");
      banner.setAttribute("button-text", "Ich bin da");
      document.body.append(banner);
      banner.watch = watchIdle(session, { after: 4000, warning: 3000 });`);
    const banner = page.locator("counterfoil-banner");
    assert.equal(await banner.isVisible(), false);
    await banner.waitFor({ state: "visible" });
    assert.match(await banner.getByRole("alert").innerText(), /nobody seems to be here[^]*0:0\d[^]*Ich bin da/);
    if (process.env["SCREENSHOT"]) await page.screenshot({ path: process.env["SCREENSHOT"], clip: { x: 0, y: 0, width: 1280, height: 90 } });
    const refreshes = front.count("POST /authn/refresh");
    await banner.getByRole("button").click();
    await banner.waitFor({ state: "hidden" });
    await banner.waitFor({ state: "visible" });
    assert.ok(front.count("POST /authn/refresh") > refreshes);
    await page.waitForFunction("session.state.status === 'ended'");
    assert.equal(await page.evaluate("session.state.reason"), "idle");
    assert.equal(await banner.isVisible(), false);
    const got = await inPage<Seen>(page, `${ours} return send("GET", "/orders")`);
    assert.match(got.seen, /error loadend$/, "the session is over");
  });
});
