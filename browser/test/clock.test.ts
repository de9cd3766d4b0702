import assert from "node:assert/strict";
import { test, mock } from "node:test";
import { systemClock } from "../dist/clock.js";

/** A machine whose clocks can be set. */
function machine(tick: (ms: number) => void = () => {}) {
  let monotonic = 5_000;
  let wall = 1_700_000_000_000;
  const clock = systemClock(
    () => monotonic,
    () => wall,
  );
  return {
    clock,
    pass(ms: number) {
      monotonic += ms;
      wall += ms;
      tick(ms);
    },
    sleep: (ms: number) => (wall += ms),
    set: (ms: number) => (wall += ms),
  };
}

test("time passes, sleeps count, and nothing goes back", () => {
  const { clock, pass, sleep, set } = machine();
  const start = clock.now();
  pass(1000);
  assert.equal(clock.now() - start, 1000);
  sleep(8 * 3600_000);
  assert.equal(clock.now() - start, 1000 + 8 * 3600_000);
  set(-2 * 3600_000);
  assert.equal(clock.now() - start, 1000 + 8 * 3600_000);
  pass(500);
  assert.equal(clock.now() - start, 1500 + 8 * 3600_000);
  // A thousand small corrections are no sleep.
  for (let i = 0; i < 900; i++) {
    set(1);
    clock.now();
  }
  assert.equal(clock.now() - start, 1500 + 8 * 3600_000);
});

test("timers of months do not fire at once", (t) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  t.after(() => mock.timers.reset());
  const { clock, pass } = machine((ms) => mock.timers.tick(ms));
  const day = 24 * 3600_000;
  let fired = 0;
  clock.after(60 * day, () => fired++);
  const cancel = clock.after(30 * day, () => (fired = NaN));
  pass(1000);
  cancel();
  pass(24 * day);
  assert.equal(fired, 0);
  pass(1 * day);
  assert.equal(fired, 1, "after 24.8 days: whoever set it looks again");
  pass(100 * day);
  assert.equal(fired, 1);
});
