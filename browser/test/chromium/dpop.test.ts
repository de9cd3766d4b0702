import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { Page } from "playwright-core";
import type { Front } from "../front.js";
import { Program } from "../program.js";
import { Chromium, frontOf, missing } from "./world.js";

/** Runs an async function in the page, with a session whose tokens are bound to the key. */
const inPage = <T>(page: Page, body: string): Promise<T> =>
  page.evaluate<T>(`(async () => {
    const { openProofKey } = await import("@counterfoil/browser/dpop");
    const { createBearerSession } = await import("@counterfoil/browser/bearer");
    const gateway = location.origin;
    const key = await openProofKey({ gateway });
    ${body}
  })()`);

describe("a key that stays in real Chromium", { skip: missing(), timeout: 240_000 }, () => {
  let program: Program;
  let front: Front;
  let chromium: Chromium;
  let page: Page;
  before(async () => {
    front = await frontOf();
    program = await Program.start("2s", "400ms", "--public-url", `http://localhost:${front.port}`);
    front.gateway = program.url;
    chromium = await Chromium.start(front);
    page = await chromium.open();
  });
  after(async () => {
    await chromium?.stop();
    await front?.stop();
    await program?.stop();
  });

  test("tokens are bound, refreshed, and worth nothing without the key", async () => {
    const seen = await inPage<{ login: number; statuses: number[]; stolen: number[]; types: string[] }>(page, `
      let tokens, refreshed = 0;
      const types = [];
      const store = { load: async () => tokens, save: async (fresh) => void (tokens = fresh, refreshed++), clear: async () => void (tokens = undefined) };
      const spy = async (input, init) => {
        const answer = await key.fetch(input, init);
        if (/login|refresh/.test(input.url ?? input)) types.push((await answer.clone().json()).tokenType);
        return answer;
      };
      const session = await createBearerSession({ gateway, tenant: "diku", fetch: spy, store });
      const headers = { "Content-Type": "application/json" };
      const login = (await session.fetch(gateway + "/authn/login", { method: "POST", headers, body: '{"username":"diku_admin","password":"admin"}' })).status;
      const statuses = [];
      while (refreshed < 4) {
        const id = crypto.randomUUID();
        statuses.push((await session.fetch(gateway + "/echo")).status);
        statuses.push((await session.fetch(new Request(gateway + "/orders", { method: "POST", headers, body: JSON.stringify({ id }) }))).status);
        await new Promise((done) => setTimeout(done, 300));
      }
      const asBearer = { "X-Okapi-Tenant": "diku", Authorization: "Bearer " + tokens.accessToken };
      const body = JSON.stringify({ refreshToken: tokens.refreshToken });
      const stolen = [
        (await fetch(gateway + "/echo", { headers: asBearer, credentials: "omit" })).status,
        (await fetch(gateway + "/authn/refresh", { method: "POST", headers: { ...headers, "X-Okapi-Tenant": "diku" }, credentials: "omit", body })).status,
        (await session.fetch(gateway + "/echo")).status, // its owner notices nothing
      ];
      await session.logout();
      return { login, statuses, stolen, types };`);
    assert.equal(seen.login, 201);
    assert.deepEqual([...new Set(seen.statuses)].sort(), [200, 201]);
    assert.deepEqual(seen.stolen, [401, 422, 200]);
    assert.ok(seen.types.length >= 4 && seen.types.slice(0, 4).every((type) => type == "DPoP"), String(seen.types));
  });

  test("no script gets the key, and other tabs and later pages have the same", async () => {
    const body = `
      const open = indexedDB.open("counterfoil-dpop", 1);
      const pair = await new Promise((done) => open.onsuccess = () => {
        const got = open.result.transaction("keys").objectStore("keys").get("key");
        got.onsuccess = () => (open.result.close(), done(got.result));
      });
      const taken = await crypto.subtle.exportKey("jwk", pair.privateKey).then(() => "taken", (error) => error.name);
      return [taken, pair.privateKey.extractable, key.thumbprint];`;
    const first = await inPage<unknown[]>(page, body);
    assert.deepEqual(first.slice(0, 2), ["InvalidAccessError", false]);
    assert.match(String(first[2]), /^[A-Za-z0-9_-]{43}$/);
    assert.deepEqual(await inPage(await chromium.open(), body), first);
    const [, , other] = await inPage<unknown[]>(page, `await key.forget(); return ["", "", (await openProofKey({ gateway })).thumbprint]`);
    assert.notEqual(other, first[2]);
  });

  test("other hosts get no proof", async () => {
    const sent = await inPage<(string | null)[]>(page, `
      const sent = [];
      const key2 = await openProofKey({ gateway, fetch: async (input, init) => (sent.push(new Headers(init?.headers).get("DPoP")), new Response()) });
      await key2.fetch("http://evil.example.org/authn/login", { headers: { Authorization: "Bearer x" } });
      await key2.fetch(gateway + "/users");
      return sent;`);
    assert.deepEqual(sent, [null, null]);
  });
});
