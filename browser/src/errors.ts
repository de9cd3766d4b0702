/**
 * Why a session is over.
 *
 * - `logout`: somebody logged out, in this tab or another one
 * - `idle`: nobody was there for too long
 * - `expired`: its longest lifetime is over
 * - `refused`: the gateway refuses to refresh it
 * - `absent`: there is none: nobody logged in here, or this browser keeps no cookies of the gateway
 */
export type EndReason = "logout" | "idle" | "expired" | "refused" | "absent";

/** Somebody has to log in (again). Trying again is of no use. */
export class SessionEnded extends Error {
  /** Survives minification. */
  override readonly name = "SessionEnded";
  constructor(
    /** Why it ended. */
    readonly reason: EndReason,
  ) {
    super(reason);
  }
}

/** The gateway could not be asked now. The session may well go on: try again. */
export class RefreshUnavailable extends Error {
  /** Survives minification. */
  override readonly name = "RefreshUnavailable";
  constructor(
    /** The last status that the gateway answered, if it did. */
    readonly status?: number,
    options?: ErrorOptions,
  ) {
    super("", options);
  }
}

/**
 * A request was refused for want of a fresh token and cannot be sent again,
 * because its body is a stream that has been read. It was not carried out. The
 * session has been refreshed: make the request anew.
 */
export class NotReplayable extends Error {
  /** Survives minification. */
  override readonly name = "NotReplayable";
  constructor(
    /** The refusal. */
    readonly response: Response,
  ) {
    super();
  }
}
