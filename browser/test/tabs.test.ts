import assert from "node:assert/strict";
import { test } from "node:test";
import { leaseLocks } from "@counterfoil/browser/lease";
import { logIn, type Tab } from "./world.js";

const minute = 60_000;
type Missing = ("locks" | "storage" | "channel")[];

/** Several tabs with steady traffic over many expiries. */
async function traffic(missing: Missing, options: object = {}, tabs = 8) {
  const { tab, world, gateway, browser } = await logIn({ without: missing, ...options }, (gateway) => {
    gateway.accessTTL = minute;
    gateway.grace = 5_000;
  });
  await world.run(100);
  const all: Tab[] = [tab];
  while (all.length < tabs) all.push(browser.open({ without: missing, ...options }));
  const statuses = new Set<number>();
  let placed = 0;
  let going = true;
  const finished = all.map(async (one, i) => {
    await world.pause(i * 37);
    while (going) {
      statuses.add((await one.place("order " + placed++)).status);
      await world.pause(900 + (i * 131) % 400);
    }
  });
  await world.run(6 * minute);
  going = false;
  await world.until(Promise.all(finished));
  const expiries = [...gateway.rows.values()][0]!.gen - 1;
  const refreshes = gateway.count("POST /authn/refresh");
  assert.deepEqual([...statuses], [201]);
  assert.equal(gateway.orders.size, placed, "no write was lost");
  assert.ok([...gateway.orders.values()].every((count) => count == 1), "no write was doubled");
  assert.ok(all.every(({ session }) => session.state.status != "ended"));
  assert.ok(expiries >= 6 && expiries <= 8, `${expiries} expiries`);
  return { expiries, refreshes };
}

for (const missing of [[], ["channel"], ["storage"]] as Missing[])
  test(`eight tabs, one refresh per expiry${missing.length ? ", without " + missing : ""}`, async () => {
    const { expiries, refreshes } = await traffic(missing);
    assert.equal(refreshes, expiries);
  });

for (const missing of [["locks"], ["locks", "channel"], ["locks", "storage"], ["locks", "storage", "channel"]] as Missing[])
  test(`eight tabs without ${missing}: nobody is logged out`, async () => {
    const { expiries, refreshes } = await traffic(missing);
    assert.ok(refreshes <= 8 * expiries);
  });

test("leases in place of locks: one refresh per expiry, even where a token works once", async () => {
  const { tab, world, gateway, browser } = await logIn({ resendAfter: 0 }, (gateway) => (gateway.grace = 0));
  const all = [tab, browser.open({ resendAfter: 0 }), browser.open({ resendAfter: 0 }), browser.open({ resendAfter: 0 })];
  for (const one of all) {
    const { clock, environment } = one;
    Object.assign(environment.navigator, { locks: leaseLocks({ clock, environment }) });
  }
  for (let i = 0; i < 10; i++) {
    await world.run(11 * minute);
    const answers = await world.until(Promise.all(all.map((one) => one.get())));
    assert.ok(answers.every(({ status }) => status == 200));
  }
  assert.deepEqual(new Set(gateway.outcomes), new Set(["rotated"]));
  assert.ok(gateway.outcomes.length >= 10);
});

test("a lease of a tab that disappeared ends by itself, one of a page that was left at once", async () => {
  const { tab, world, browser } = await logIn();
  const other = browser.open();
  const locks = [tab, other].map(({ clock, environment }) => leaseLocks({ clock, environment }));
  void locks[0]!.request("x", () => new Promise(() => {}));
  await world.run(1000);
  let had = 0;
  void locks[1]!.request("x", async () => void had++);
  await world.run(30_000);
  assert.equal(had, 0);
  await world.run(31_000);
  assert.equal(had, 1);
  void locks[0]!.request("y", () => new Promise(() => {}));
  await world.run(1000);
  tab.fire("pagehide");
  void locks[1]!.request("y", async () => void had++);
  await world.run(1000);
  assert.equal(had, 2);
});

test("a tab that waits for the lock goes on with the news, and replays without it", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const others = [browser.open(), browser.open(), browser.open()];
  await world.run(11 * minute);
  gateway.latency = 400;
  const before = world.t;
  await world.until(Promise.all([tab, ...others].map((one) => one.place("from " + one.session.generation + Math.random()))));
  assert.ok(world.t - before < 900, `${world.t - before} ms`);
  assert.equal(gateway.count("POST /authn/refresh"), 1);
});

test("a page that was left while it refreshed loses nothing", async () => {
  const { tab, world, gateway, browser } = await logIn();
  await world.run(11 * minute);
  gateway.fail("/authn/refresh", { back: 3000 });
  tab.get().catch(() => {});
  await world.run(100);
  tab.close();
  const next = browser.open();
  assert.equal((await world.until(next.get())).status, 200);
  assert.ok(!gateway.outcomes.includes("ended") && !gateway.outcomes.includes("reused"));
});

test("a new tab knows how long the token lives", async () => {
  const { world, gateway, browser } = await logIn();
  await world.run(9.6 * minute);
  const fresh = browser.open();
  assert.equal(fresh.session.state.status, "active");
  assert.equal((await world.until(fresh.get())).status, 200);
  await world.run(1000);
  assert.equal(gateway.count("POST /authn/refresh"), 1);
});

test("a tab that comes back to sight refreshes before anybody clicks", async () => {
  const { tab, world, gateway } = await logIn();
  tab.hidden = true;
  await world.run(60 * minute);
  tab.fire("visibilitychange");
  await world.run(1000);
  assert.equal(gateway.count("POST /authn/refresh"), 0);
  tab.hidden = false;
  tab.fire("visibilitychange");
  await world.run(1000);
  assert.equal(gateway.count("POST /authn/refresh"), 1);
});

test("three tabs log out together: one logout, no refresh", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const all = [tab, browser.open(), browser.open()];
  await world.run(11 * minute);
  await world.until(Promise.all(all.map(({ session }) => session.logout())));
  await world.run(1000);
  assert.deepEqual([gateway.count("POST /authn/logout"), gateway.count("POST /authn/refresh")], [1, 0]);
  for (const { session, events } of all) {
    assert.deepEqual(session.state, { status: "ended", reason: "logout" });
    assert.deepEqual(events.filter(({ type }) => type == "ended"), [{ type: "ended", reason: "logout" }]);
  }
  await assert.rejects(world.until(tab.get()), { name: "SessionEnded", reason: "logout" });
});

test("a logout waits for the refresh before it, and is known to have failed if it did", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const other = browser.open();
  await world.run(11 * minute);
  gateway.fail("/authn/refresh", { back: 2000 });
  const request = tab.get();
  await world.run(100);
  await world.until(other.session.logout());
  await world.run(100);
  await request.catch(() => {}); // it may have been sent with the newest token, or not
  assert.equal([...gateway.rows.values()][0]!.revoked, true);
  assert.equal(tab.session.state.status, "ended");

  const again = await logIn();
  again.gateway.fail("/authn/logout", ...Array(50).fill({ status: 503 }));
  await assert.rejects(again.world.until(again.tab.session.logout()), { name: "RefreshUnavailable" });
  assert.equal(again.tab.session.state.status, "active");
  again.gateway.faults.clear();
  await again.world.until(again.tab.session.logout({ everywhere: true }));
  assert.equal(again.gateway.count("POST /authn/logout-all"), 1);
});

test("a login waits for a refresh of an older session, whose late answer would clear its cookies", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const other = browser.open();
  await world.run(11 * minute);
  [...gateway.rows.values()][0]!.revoked = true;
  gateway.fail("/authn/refresh", { back: 3000 });
  const request = assert.rejects(tab.get(), { name: "SessionEnded", reason: "refused" });
  await world.run(500);
  assert.equal((await world.until(other.login())).status, 201);
  await request;
  await world.run(100);
  assert.deepEqual([tab.session.state.status, other.session.state.status], ["active", "active"]);
  assert.equal((await world.until(tab.get())).status, 200);
  assert.match(browser.jar["refresh"]!.value, /^rt\.s2/);
});

test("the end of an earlier session says nothing to a page that is opened later", async () => {
  const { tab, world, browser } = await logIn();
  await world.until(tab.session.logout());
  await world.run(1000);
  const next = browser.open();
  assert.equal(next.session.state.status, "unknown");
  await world.until(next.login());
  await world.run(100);
  assert.equal(tab.session.state.status, "active");
});
