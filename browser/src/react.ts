/**
 * Hooks for React 18 and later.
 *
 * @module
 */
import { useSyncExternalStore } from "react";
import type { Session, SessionState } from "./api.js";
import type { IdleWatch, Warning } from "./idle.js";

/** The state of a session. The component renders again when it changes, in whatever tab that was. */
export function useSession(session: Session): SessionState {
  const state = () => session.state;
  return useSyncExternalStore(session.subscribe, state, state);
}

/** The warning that stands, if one does. */
export function useWarning(watch: IdleWatch): Warning | undefined {
  const warning = () => watch.warning;
  return useSyncExternalStore(watch.subscribe, warning, warning);
}
