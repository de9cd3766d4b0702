import assert from "node:assert/strict";
import { test } from "node:test";
import { createBearerSession, type BearerOptions, type Tokens, type TokenStore } from "@counterfoil/browser/bearer";
import { Gateway } from "./gateway.js";
import { Browser, origin, World } from "./world.js";

const minute = 60_000;

async function start(options: Partial<BearerOptions> = {}, tabs = 1) {
  const world = new World();
  const gateway = new Gateway(world);
  const browser = new Browser(world, gateway);
  const sessions = [];
  for (let i = 0; i < tabs; i++) {
    const tab = browser.open();
    const { clock, environment } = tab;
    sessions.push(
      await createBearerSession({ gateway: origin, tenant: "diku", fetch: (...args) => tab.fetch(...args), clock, environment, ...options }),
    );
  }
  const [session] = sessions;
  const login = await world.until(session!.fetch(origin + "/authn/login", { method: "POST", body: '{"password":"admin"}' }));
  assert.equal(login.status, 201);
  await world.run(100);
  const get = (one = session!) => world.until(one.fetch(origin + "/orders"));
  return { world, gateway, browser, session: session!, sessions, get };
}

/** A store as an application may have it, in which saving takes its time. */
function shared(world?: World): TokenStore & { tokens: Tokens | undefined; saved: string[] } {
  return {
    tokens: undefined,
    saved: [],
    async load() {
      return this.tokens;
    },
    async save(tokens) {
      await world?.pause(500);
      this.tokens = tokens;
      this.saved.push(tokens.refreshToken);
    },
    async clear() {
      this.tokens = undefined;
    },
  };
}

test("tokens go by header and body, and never by cookie", async () => {
  const { world, gateway, browser, get } = await start();
  assert.equal((await get()).status, 200);
  await world.run(25 * minute);
  assert.equal((await get()).status, 200);
  assert.deepEqual([browser.jar, new Set(gateway.outcomes)], [{}, new Set(["rotated"])]);
});

test("half an answer is none: it asks again, and gets the same tokens", async () => {
  const { world, gateway, get } = await start();
  await world.run(11 * minute);
  gateway.fail("/authn/refresh", { lost: true }, { lost: true });
  assert.equal((await get()).status, 200);
  assert.deepEqual(gateway.outcomes, ["rotated", "retried", "retried"]);
});

test("superseded: the nonce goes back with the newest token of the store", async () => {
  const store = shared();
  const { world, gateway, get } = await start({ store });
  await world.run(11 * minute);
  await get();
  const older = store.tokens!;
  await world.run(25 * minute);
  const newer = store.tokens!;
  assert.notEqual(older.refreshToken, newer.refreshToken);
  // Another page of the application had not seen the newer token yet.
  const load = store.load;
  store.load = async () => ((store.load = load), older);
  assert.equal((await get()).status, 200);
  assert.deepEqual(gateway.outcomes.slice(-2), ["stale", "rotated"]);
  await world.run(5 * minute);
  assert.equal([...gateway.rows.values()][0]!.revoked, false);
});

test("tokens are stored before they are used", async () => {
  const world: { current?: World } = {};
  const store = shared();
  const save = store.save;
  store.save = async function (tokens) {
    await world.current?.pause(500);
    return save.call(store, tokens);
  };
  const started = await start({ store });
  world.current = started.world;
  await started.world.run(11 * minute);
  const request = started.session.fetch(origin + "/orders");
  await started.world.run(300);
  assert.deepEqual([started.gateway.outcomes, started.gateway.count("GET /orders")], [["rotated"], 0]);
  assert.equal((await started.world.until(request)).status, 200);
  assert.equal(store.saved.at(-1), "rt.s1.2");
});

test("with a store all tabs share a session, and refresh once", async () => {
  const store = shared();
  const { world, gateway, sessions, get } = await start({ store }, 4);
  await get();
  for (let i = 0; i < 5; i++) {
    await world.run(25 * minute);
    const answers = await world.until(Promise.all(sessions.map((one) => one.fetch(origin + "/orders"))));
    assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200, 200]);
  }
  assert.deepEqual(new Set(gateway.outcomes), new Set(["rotated"]));
});

test("without one, each tab has its own", async () => {
  const { sessions, get, world } = await start({}, 2);
  await get();
  await world.run(1000);
  assert.deepEqual(sessions.map(({ state }) => state.status), ["active", "unknown"]);
});

test("after logout nothing is left", async () => {
  const store = shared();
  const { world, gateway, session, get } = await start({ store });
  await world.until(session.logout());
  assert.equal(store.tokens, undefined);
  assert.equal([...gateway.rows.values()][0]!.revoked, true);
  await assert.rejects(get(), { name: "SessionEnded", reason: "logout" });
});

test("tokens of a session that has ended are forgotten", async () => {
  const store = shared();
  const { world, gateway, get } = await start({ store });
  [...gateway.rows.values()][0]!.revoked = true;
  await world.run(11 * minute);
  await assert.rejects(get(), { name: "SessionEnded", reason: "refused" });
  assert.equal(store.tokens, undefined);
});

test("tokens that are refused for now are kept, and tried again by the next page", async () => {
  const store = shared();
  const { world, gateway, browser, session, get } = await start({ store });
  const { refreshToken } = store.tokens!;
  await world.run(11 * minute);
  gateway.fail("/authn/refresh", { status: 422 });
  await assert.rejects(get(), { name: "SessionEnded", reason: "refused" });
  assert.equal(store.tokens!.refreshToken, refreshToken);
  session.close();
  const tab = browser.open();
  const { clock, environment } = tab;
  const next = await createBearerSession({ gateway: origin, tenant: "diku", fetch: (...args) => tab.fetch(...args), clock, environment, store });
  assert.equal((await get(next)).status, 200);
  assert.notEqual(store.tokens!.refreshToken, refreshToken);
});
