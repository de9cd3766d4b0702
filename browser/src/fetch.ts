import type { Session, SessionOptions } from "./api.js";
import { absolute } from "./environment.js";
import { NotReplayable } from "./errors.js";

/**
 * A fetch that refreshes ahead, and sends once more what was refused for want
 * of a fresh token. Requests of logins and logouts are given to special.
 */
export function createFetch(
  session: Omit<Session, "fetch">,
  send: typeof fetch,
  special: (url: URL, go: () => Promise<Response>) => Promise<Response> | "" | undefined,
  copies: SessionOptions["copies"],
): typeof fetch {
  return async (input, init) => {
    const request = input instanceof Request ? input : undefined;
    let url: URL;
    try {
      url = absolute(request ? request.url : (input as string | URL));
      if (!session.covers(url)) throw url;
    } catch {
      return send(input, init); // none of ours; if it is no URL at all, fetch says so better
    }
    const method = init?.method ?? request?.method ?? "GET";
    const go = async (again?: Request) =>
      send(again ?? input, {
        ...init,
        credentials: session.credentials,
        headers: await session.headers(url, method, init?.headers ?? request?.headers),
      });
    const answered = special(url, go);
    if (answered) return answered;

    const body = init?.body;
    const signal = init?.signal ?? request?.signal;
    let once = body instanceof ReadableStream;
    let copy: Request | undefined;
    const generation = await unless(signal, session.ready(once));
    if (request && !body && !/GET|HEAD/.test(method)) {
      once = copies?.(request) === false;
      if (!once) copy = request.clone();
    }
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
  const { status, headers } = answer;
  return (
    (status == 401 && /^bearer/i.test(headers.get("WWW-Authenticate")!)) ||
    ((status == 401 || status == 400) &&
      /"TOKEN_(EXPIRED|INVALID)"|^Token missing|^Invalid token/.test(await answer.clone().text()))
  );
}

/** Waits for something, but no longer than the signal says; that goes on by itself. */
function unless<T>(signal: AbortSignal | null | undefined, something: Promise<T>): Promise<T> {
  if (!signal) return something;
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal.aborted) leave();
    signal.addEventListener("abort", leave);
    something.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
  });
}
