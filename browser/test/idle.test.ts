import assert from "node:assert/strict";
import { test } from "node:test";
import { watchIdle, type IdleWatch } from "@counterfoil/browser/idle";
import { logIn, type Tab } from "./world.js";

const minute = 60_000;
const watch = (tab: Tab, options: object = {}): IdleWatch =>
  watchIdle(tab.session, { clock: tab.clock, environment: tab.environment, after: 30 * minute, ...options });

test("nobody is there: a warning, and the end, once for all tabs", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const other = browser.open();
  const watches = [watch(tab), watch(other)];
  const told: unknown[] = [];
  watches[1]!.subscribe((warning) => told.push(warning?.reason));
  await world.run(29 * minute - 100);
  assert.deepEqual(told, []);
  await world.run(200);
  assert.deepEqual(told, ["idle"]);
  assert.ok(Math.abs(watches[0]!.warning!.left() - minute) < 1000);
  await world.run(minute);
  assert.deepEqual(told, ["idle", undefined]);
  assert.equal(gateway.count("POST /authn/logout"), 1);
  for (const one of [tab, other]) assert.deepEqual(one.session.state, { status: "ended", reason: "idle" });
});

test("who works in one tab is there in all", async () => {
  const { tab, world, browser } = await logIn();
  const other = browser.open();
  const watches = [watch(tab), watch(other)];
  for (let i = 0; i < 10; i++) {
    await world.run(10 * minute);
    tab.fire("keydown");
  }
  await world.run(28 * minute);
  assert.deepEqual(watches.map(({ warning }) => warning), [undefined, undefined]);
  assert.equal(other.session.state.status, "active");
});

test("while the warning stands, only keep working counts, in any tab", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const other = browser.open();
  const watches = [watch(tab), watch(other)];
  await world.run(29.5 * minute);
  tab.fire("keydown");
  await world.run(100);
  assert.equal(watches[0]!.warning?.reason, "idle");
  await world.until(watches[1]!.keepWorking());
  await world.run(100);
  assert.deepEqual(watches.map(({ warning }) => warning), [undefined, undefined]);
  assert.equal(gateway.count("POST /authn/refresh"), 1);
  await world.run(28 * minute);
  assert.equal(tab.session.state.status, "active");
});

test("a session of fixed length ends a little before the gateway ends it", async () => {
  const { tab, world, gateway } = await logIn({}, (gateway) => (gateway.refreshTTL = 20 * minute));
  const one = watch(tab, { after: 0 });
  await world.run(19 * minute);
  assert.equal(one.warning?.reason, "expired");
  await world.until(one.keepWorking()); // this one slides
  await world.run(100);
  assert.equal(one.warning, undefined);
  await world.run(20 * minute);
  assert.deepEqual(tab.session.state, { status: "ended", reason: "expired" });
  assert.equal(gateway.count("POST /authn/logout"), 1);
  assert.equal(gateway.outcomes.includes("ended"), false);
});

test("sessions of months do not end at once", async () => {
  const { tab, world } = await logIn({}, (gateway) => (gateway.refreshTTL = 90 * 24 * 60 * minute));
  // Timers of browsers end after 24.8 days at the latest.
  const clock = { ...tab.clock, after: (ms: number, call: () => void) => tab.clock.after(Math.min(ms, 2 ** 31 - 1), call) };
  const one = watch(tab, { after: 0, clock });
  await world.run(60 * 24 * 60 * minute);
  assert.deepEqual([one.warning, tab.session.state.status], [undefined, "active"]);
  await world.run(30 * 24 * 60 * minute);
  assert.equal(tab.session.state.reason, "expired");
});

test("nobody is seen working although the gateway cannot be asked", async () => {
  const { tab, world, browser } = await logIn();
  watch(tab);
  browser.online = false;
  await world.run(31 * minute);
  assert.deepEqual(tab.session.state, { status: "ended", reason: "idle" });
});

test("a new login begins anew, and a closed watch does nothing", async () => {
  const { tab, world } = await logIn();
  const one = watch(tab);
  await world.run(31 * minute);
  await world.until(tab.login());
  await world.run(20 * minute);
  assert.equal(tab.session.state.status, "active");
  one.close();
  await world.run(60 * minute);
  assert.equal(tab.session.state.status, "active");
});
