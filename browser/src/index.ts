/**
 * Keeps a session with a FOLIO gateway in all tabs of a browser, so that no
 * application code has to think about tokens.
 *
 * @module
 */
import type { Session, SessionOptions } from "./api.js";
import { startSession } from "./session.js";

/** A session whose tokens are in HttpOnly cookies: no script ever sees one. */
export function createSession(options: SessionOptions): Session {
  return startSession(options, { credentials: "include" });
}

export { SessionEnded, RefreshUnavailable, NotReplayable, type EndReason } from "./errors.js";
export type { Clock } from "./clock.js";
export type { Environment, Locks } from "./environment.js";
export type { Dress, Expirations, Session, SessionEvent, SessionOptions, SessionState } from "./api.js";
