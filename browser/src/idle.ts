/**
 * Ends a session when nobody is there, and says so in good time; and says so
 * when it reaches the end of its longest lifetime.
 *
 * @module
 */
import { openChannel } from "./channel.js";
import { systemClock } from "./clock.js";
import { listen, type Environment } from "./environment.js";
import type { Session, SessionOptions } from "./api.js";

/** When nobody is taken to be there. */
export interface IdleOptions extends Pick<SessionOptions, "clock" | "environment"> {
  /** Milliseconds without a key or a pointer, in any tab, after which the session ends. 0 is never. Default: 4 hours. */
  after?: number;
  /** Milliseconds before either end at which to warn. Default: a minute. */
  warning?: number;
  /** What counts as somebody being there. */
  activity?: string[];
}

/** What is coming. */
export interface Warning {
  /** `idle`: nobody is there. `expired`: the session's lifetime runs out. */
  readonly reason: "idle" | "expired";
  /** Milliseconds left. */
  left(): number;
}

/** Watches whether somebody is there. */
export interface IdleWatch {
  /** The warning that stands, if one does. */
  readonly warning: Warning | undefined;
  /** Hears a warning, and `undefined` once it is over. Returns how to stop. */
  subscribe(hear: (warning: Warning | undefined) => void): () => void;
  /** Somebody is there and wants to go on: refreshes the session, in all tabs. */
  keepWorking(): Promise<void>;
  /** Stops watching. The session goes on. */
  close(): void;
}

// Ends a little before the gateway does, while the token is still good to log out with.
const early = 200;
// How much movement of a mouse is worth telling other tabs.
const often = 1000;

/** Watches over a session. While a warning stands, only {@link IdleWatch.keepWorking} counts. */
export function watchIdle(session: Session, options: IdleOptions = {}): IdleWatch {
  const {
    after = 4 * 60 * 60_000,
    warning: notice = 60_000,
    activity = ["keydown", "pointerdown", "wheel", "touchstart"],
    clock = systemClock(),
    environment: env = globalThis as Environment,
  } = options;
  const hearers = new Set<(warning: Warning | undefined) => void>();
  const closed = new AbortController();
  let seen = clock.now();
  let warning: Warning | undefined;
  let disarm = () => {};
  let ending = false;

  const idleLeft = () => (after ? seen + after - clock.now() : Infinity);
  const expiryLeft = () => {
    const left = session.endsIn() - early;
    return isNaN(left) ? Infinity : left;
  };

  const tell = (next: Warning | undefined) => {
    if (next?.reason == warning?.reason) return;
    warning = next;
    for (const hear of hearers) void Promise.resolve(next).then(hear);
  };

  const look = () => {
    disarm();
    if (session.state.status == "ended") return tell(undefined);
    const reason = idleLeft() <= expiryLeft() ? "idle" : "expired";
    const measure = reason == "idle" ? idleLeft : expiryLeft;
    const left = measure();
    if (left <= 0) {
      tell(undefined);
      if (ending || session.state.status != "active") return;
      ending = true;
      void session.logout({ reason }).finally(() => (ending = false));
      return;
    }
    tell(left <= notice ? { reason, left: () => Math.max(0, measure()) } : undefined);
    if (left < Infinity) disarm = clock.after(left <= notice ? left : left - notice, look);
  };

  const here = (at: number) => {
    seen = Math.max(seen, at);
    look();
  };

  // When somebody was last there, by the machine's clock, which all tabs share.
  const channel = openChannel<{ at: number }>(env, "counterfoil:activity", closed.signal, ({ at }) =>
    here(clock.now() - Math.max(0, clock.wall() - at)),
  );

  const noticed = () => {
    if (warning || clock.now() - seen < often) return;
    channel.post({ at: clock.wall() });
    here(clock.now());
  };

  listen(env, activity, closed.signal, noticed);
  listen(env, ["visibilitychange", "pageshow"], closed.signal, look);
  const deaf = session.subscribe(({ type }) => {
    if (type == "started") seen = clock.now();
    look();
  });
  look();

  return {
    get warning() {
      return warning;
    },
    subscribe(hear) {
      hearers.add(hear);
      return () => hearers.delete(hear);
    },
    async keepWorking() {
      channel.post({ at: clock.wall() });
      here(clock.now());
      await session.refresh();
    },
    close() {
      disarm();
      deaf();
      closed.abort();
      hearers.clear();
    },
  };
}
