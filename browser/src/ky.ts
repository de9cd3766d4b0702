/**
 * Puts a session under a ky instance.
 *
 * @module
 */
import type { KyInstance } from "ky";
import type { Session } from "./api.js";

/** An instance whose requests to the gateway go through the session. */
export function withSession(ky: KyInstance, session: Session): KyInstance {
  return ky.extend({ fetch: session.fetch });
}
