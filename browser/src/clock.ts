/** All time in this library comes from here, so that tests can move it. */
export interface Clock {
  /**
   * Milliseconds since whenever. They never go back, whatever the user does to
   * the machine's clock, and they count while the machine sleeps.
   */
  now(): number;
  /** The machine's idea of the time of day, which all tabs share and which may be wrong. */
  wall(): number;
  /** Calls once, after so many milliseconds, or after 24 days if that is sooner. Returns how to cancel. */
  after(ms: number, call: () => void): () => void;
}

/**
 * The clock of the machine. A monotonic clock stops while a laptop sleeps, and
 * the time of day jumps when somebody sets it. So the first one counts, and a
 * jump of the second one ahead of it is taken for sleep: at worst, a session is
 * refreshed too early.
 */
export function systemClock(monotonic = () => performance.now(), wall = Date.now): Clock {
  let apart = wall() - monotonic();
  let slept = 0;
  return {
    wall,
    now() {
      const now = monotonic();
      const jump = wall() - now - apart;
      if (Math.abs(jump) > 1000) {
        apart += jump;
        slept += Math.max(jump, 0);
      }
      return now + slept;
    },
    after(ms, call) {
      // Browsers keep the milliseconds in 31 bits: longer timers would fire at once.
      const timer = setTimeout(call, Math.min(ms, 2 ** 31 - 1));
      return () => clearTimeout(timer);
    },
  };
}

/** Waits. */
export const pause = (clock: Clock, ms: number) => new Promise<void>((done) => clock.after(ms, done));
