import type { Session, SessionOptions } from "./api.js";
import { NotReplayable } from "./errors.js";

// Requests that have to do with tokens themselves never wait for one. All
// others do, whatever they are: one that went past cost FOLIO many a 401.
const ofTokens = /^\/(authn|bl-users)\/(log(in(-with-expiry)?|out(-all)?)|refresh|token)\/$/;

/**
 * A fetch that refreshes ahead, and sends once more what was refused for want
 * of a fresh token. Logins and the like are given to special.
 */
export function createFetch(
  session: Omit<Session, "fetch">,
  send: typeof fetch,
  special: (path: string, go: () => Promise<Response>) => Promise<Response>,
  copies: SessionOptions["copies"],
): typeof fetch {
  return async (input, init) => {
    const request = input instanceof Request ? input : undefined;
    const url = request ? request.url : (input as string | URL);
    const path = session.covers(url);
    if (!path) return send(input, init);
    const method = init?.method ?? request?.method ?? "GET";
    const go = async (again?: Request) =>
      send(again ?? input, {
        ...init,
        ...(await session.dress(url, method, init?.headers ?? request?.headers)),
      });
    if (ofTokens.test(path)) return special(path, go);

    const body = init?.body;
    const signal = init?.signal ?? request?.signal;
    const whole = !body && !/GET|HEAD/.test(method) && request;
    const once = body instanceof ReadableStream || (whole && copies?.(whole) === false);
    const generation = await unless(signal, session.ready(once));
    const copy = whole && !once ? whole.clone() : undefined;
    const answer = await go();
    if (await session.refused(answer)) {
      await unless(signal, session.renew(generation));
      if (once) throw new NotReplayable(answer);
      void answer.body?.cancel();
      return go(copy);
    }
    void copy?.body?.cancel(); // or all that was sent stays in memory
    return answer;
  };
}

/**
 * Whether the gateway refused a request for want of a fresh token, and so did
 * not carry it out. An access cookie that is over is not even sent, so a token
 * that is missing counts, in FOLIO's words with status 400 or 401. Another 401
 * is a module's own and no reason to refresh.
 */
export async function refused(answer: Response): Promise<boolean> {
  return (
    [400, 401].includes(answer.status) &&
    (/^bearer/i.test(answer.headers.get("WWW-Authenticate")!) ||
      /"TOKEN_(EXPIRED|INVALID)"|^(Token missing|Invalid token)/.test(await answer.clone().text()))
  );
}

/** Waits for something, but no longer than the signal says; that goes on by itself. */
function unless<T>(signal: AbortSignal | null | undefined, something: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal!.reason);
    if (signal?.aborted) leave();
    signal?.addEventListener("abort", leave);
    something.then(resolve, reject).finally(() => signal?.removeEventListener("abort", leave));
  });
}
