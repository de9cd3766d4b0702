/**
 * Locks for browsers that have none.
 *
 * @module
 */
import { pause, systemClock, type Clock } from "./clock.js";
import { listen, type Environment, type Locks } from "./environment.js";

/** How leases last. */
export interface LeaseOptions {
  /** Milliseconds that a lease lasts if whoever holds it disappears. Longer than any refresh: see `patience`. */
  lasts?: number;
  /** Where time comes from. Default: the machine. */
  clock?: Clock;
  /** What stands for `window`. Default: the page's. */
  environment?: Environment;
}

/**
 * Locks that are leases in the storage. Needed only where a gateway allows a
 * refresh token once; others sort out tabs that come at the same time. Whoever
 * wrote last has it, once writing has reached all tabs, which browsers promise
 * nobody: two tabs may both have it at times.
 */
export function leaseLocks({ lasts = 60_000, clock = systemClock(), environment = globalThis as Environment }: LeaseOptions = {}): Locks {
  return {
    async request(name, work) {
      const storage = environment.localStorage;
      if (!storage) return work();
      const key = name + ":lease";
      const me = Math.random().toString(36);
      const holder = () => {
        const [until, owner] = (storage.getItem(key) ?? "").split(" ");
        const left = Number(until) - clock.wall();
        // One that runs for longer is of a clock that was set back.
        return left > 0 && left <= lasts ? owner : undefined;
      };
      const release = () => {
        if (holder() == me) storage.removeItem(key);
      };
      const done = new AbortController();
      listen(environment, ["pagehide"], done.signal, release); // whoever leaves keeps nobody waiting
      try {
        while (holder() != me) {
          if (!holder()) storage.setItem(key, clock.wall() + lasts + " " + me);
          await pause(clock, 30 + 30 * Math.random());
        }
        await work();
      } finally {
        release();
        done.abort();
      }
    },
  };
}
