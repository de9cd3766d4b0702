/** All time in this library comes from here, so that tests can move it. */
export interface Clock {
  /**
   * Milliseconds since whenever. They never go back, whatever the user does to
   * the machine's clock, and they count while the machine sleeps.
   */
  now(): number;
  /** The machine's idea of the time of day, which all tabs share and which may be wrong. */
  wall(): number;
  /** Calls once, after so many milliseconds of now. Returns how to cancel. */
  after(ms: number, call: () => void): () => void;
}

// Longer timers fire at once: browsers keep the milliseconds in 31 bits.
const longest = 2 ** 31 - 1;

/**
 * The clock of the machine. A monotonic clock stops while a laptop sleeps, and
 * the time of day jumps when somebody sets it. So the first one counts, and a
 * jump of the second one ahead of it is taken for sleep: at worst, a session is
 * refreshed too early.
 */
export function systemClock(
  monotonic: () => number = () => performance.now(),
  wall: () => number = () => Date.now(),
): Clock {
  let apart = wall() - monotonic();
  let slept = 0;
  const now = () => {
    const m = monotonic();
    const jump = wall() - m - apart;
    if (Math.abs(jump) > 1000) {
      apart += jump;
      slept += Math.max(jump, 0);
    }
    return m + slept;
  };
  const after = (ms: number, call: () => void) => {
    const end = now() + ms;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const wait = () => {
      const left = end - now();
      timer = setTimeout(left > longest ? wait : call, Math.min(left, longest));
    };
    wait();
    return () => clearTimeout(timer);
  };
  return { now, wall, after };
}

/** Waits. */
export const pause = (clock: Clock, ms: number) => new Promise<void>((done) => clock.after(ms, done));
