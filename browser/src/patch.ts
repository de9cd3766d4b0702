/**
 * Puts a session under code that cannot be given a fetch of its own.
 *
 * @module
 */
import type { Session } from "./api.js";
import { createXMLHttpRequest } from "./xhr.js";

/**
 * Replaces `fetch` and `XMLHttpRequest` of the page. Returns how to take that
 * back. Somebody may have wrapped ours by then: it is left in place, and does
 * no more than what was there before.
 */
export function patchGlobals(session: Session, scope: typeof globalThis = globalThis): () => void {
  const { fetch: before, XMLHttpRequest: Before } = scope;
  let on = true;
  const fetch: typeof before = (input, init) => (on ? session.fetch(input, init) : before.call(scope, input, init));
  scope.fetch = fetch;
  let Xhr: typeof XMLHttpRequest | undefined;
  if (Before) {
    const Ours = createXMLHttpRequest({ ...session, covers: (url) => on && session.covers(url) }, Before);
    scope.XMLHttpRequest = Xhr = Ours;
  }
  return () => {
    on = false;
    if (scope.fetch === fetch) scope.fetch = before;
    if (Xhr && scope.XMLHttpRequest === Xhr) scope.XMLHttpRequest = Before;
  };
}
