import assert from "node:assert/strict";
import { test } from "node:test";
import type { Fault } from "./gateway.js";
import { logIn, type Tab } from "./world.js";

const second = 1000;
const minute = 60 * second;

/** Numbers that are the same again for the same seed. */
function dice(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

// All that the refresh rule promises to survive, at once and in any order.
for (let seed = 1; seed <= 4; seed++)
  test(`an hour of misfortunes, seed ${seed}`, async () => {
    const roll = dice(seed);
    const pick = <T>(list: T[]): T => list[Math.floor(roll() * list.length)]!;
    const { tab, world, gateway, browser } = await logIn({}, (gateway) => (gateway.accessTTL = 2 * minute));
    gateway.lateBudget = 0; // nothing below needs it
    const row = [...gateway.rows.values()][0]!;
    const tabs = [tab, browser.open(), browser.open()];
    const problems: unknown[] = [];
    let placed = 0;
    let going = true;

    const work = async (one: Tab) => {
      while (going && !one.closed) {
        const id = "order " + ++placed;
        const online = browser.online;
        try {
          const { status } = await one.place(id);
          if (status != 201) problems.push([world.t, id, status]);
          else if (gateway.orders.get(id) != 1) problems.push([world.t, id, "placed", gateway.orders.get(id)]);
        } catch (error) {
          if (online && browser.online && !one.closed) problems.push([world.t, id, error]);
        }
        await world.pause((5 + 20 * roll()) * second);
      }
    };
    const fault = (): Fault =>
      pick<Fault>([
        { lost: true },
        { status: 503, headers: { "Retry-After": "2" } },
        { status: 502 },
        { there: 2 * second },
        { back: 3 * second },
        { there: 3 * second, back: 5 * second },
        { back: 9 * second },
      ]);
    const working = tabs.map(work);

    while (world.t < 60 * minute) {
      await world.run((10 + 50 * roll()) * second);
      const one = pick(tabs);
      switch (pick(["fault", "fault", "fault", "close", "offline", "lose", "hide", "wake"])) {
        case "fault":
          if (!gateway.faults.get("/authn/refresh")?.length) gateway.fail("/authn/refresh", fault(), {});
          break;
        case "close":
          one.close();
          tabs.splice(tabs.indexOf(one), 1, browser.open());
          working.push(work(tabs.at(-1)!));
          break;
        case "offline":
          browser.online = false;
          await world.run(4 * second);
          browser.online = true;
          for (const each of tabs) each.fire("online");
          break;
        case "lose":
          browser.jar["access"] = undefined;
          break;
        case "hide":
          one.hidden = !one.hidden;
          break;
        case "wake":
          one.fire("visibilitychange");
      }
    }
    going = false;
    await world.until(Promise.all(working), 3 * minute);
    assert.deepEqual(problems, []);
    assert.equal(row.revoked, false);
    assert.ok(gateway.outcomes.includes("retried"), "there was misfortune");
    assert.ok(row.gen > 20, `${row.gen} generations`);
    assert.ok([...gateway.orders.values()].every((count) => count == 1), "no write was doubled");
    for (const { session } of tabs) assert.equal(session.state.status, "active");
  });
