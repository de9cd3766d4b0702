/**
 * Asks for the password again where the gateway wants a fresh proof of who is
 * there (RFC 9470), and sends the request once more.
 *
 * @module
 */
import type { Session, SessionOptions } from "./api.js";
import { refused as wantsRefresh } from "./fetch.js";

/** What the gateway wants a proof for. */
export interface ElevationRequest {
  /** The permissions that the request needs. */
  readonly permissions: string[];
  /** The authentication context that is asked for, if one is. */
  readonly acr?: string;
  /** How many seconds ago the password may have been given, if there is a limit. */
  readonly maxAge?: number;
}

/** Options of {@link withElevation}. */
export interface ElevationOptions extends Pick<SessionOptions, "gateway" | "tenant" | "fetch"> {
  /**
   * Asks whoever is there for the password, such as in a dialog. `undefined` is
   * that nobody wants to give it: the refusal is then the request's answer.
   * Requests that are refused at the same time for the same permissions share
   * one question.
   */
  password(request: ElevationRequest): Promise<string | undefined>;
}

// For the same answer, this is asked by the session and by the adapter.
const challenge = /insufficient_user_authentication/;

/**
 * Whether an answer refuses a request for want of a fresh token. Give it to the
 * session as `refused`, so that a wish for a proof does not refresh in vain.
 */
export const refused = async (answer: Response): Promise<boolean> =>
  !challenge.test(answer.headers.get("WWW-Authenticate") ?? "") && wantsRefresh(answer);

/** The session's fetch, with which a request that needs a fresh proof asks for it. */
export function withElevation(session: Session, options: ElevationOptions): typeof fetch {
  const send = options.fetch ?? fetch.bind(globalThis);
  const base = String(options.gateway).replace(/\/*$/, "");
  const flights = new Map<string, Promise<string | undefined>>();

  const elevate = async (need: ElevationRequest) => {
    const password = await options.password(need);
    if (password === undefined) return undefined;
    const answer = await session.fetch(base + "/authn/elevate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ password, permissions: need.permissions }),
    });
    return answer.ok ? ((await answer.json()) as { accessToken: string }).accessToken : undefined;
  };

  return async (input, init) => {
    const request = input instanceof Request ? input : undefined;
    const path = session.covers(request ? request.url : (input as string | URL));
    if (!path || init?.body instanceof ReadableStream) return session.fetch(input, init);
    const again = request?.clone();
    const answer = await session.fetch(input, init);
    const need = answer.status == 401 ? await wanted(answer) : undefined;
    if (!need) {
      void again?.body?.cancel(); // or all that was sent stays in memory
      return answer;
    }
    const key = need.permissions.join();
    const flight =
      flights.get(key) ??
      elevate(need).finally(() => flights.delete(key));
    flights.set(key, flight);
    const token = await flight;
    if (!token) return answer;
    void answer.body?.cancel();
    const headers = new Headers(init?.headers ?? request?.headers);
    if (options.tenant && !headers.has("X-Okapi-Tenant")) headers.set("X-Okapi-Tenant", options.tenant);
    headers.set("X-Okapi-Token", token);
    // The gateway refuses a cookie beside a token that differs.
    return send(again ?? input, { ...init, headers, credentials: "omit" });
  };
}

/** What the gateway wants, if that is why it refused. A module's own 401 has no such body. */
async function wanted(answer: Response): Promise<ElevationRequest | undefined> {
  if (!challenge.test(answer.headers.get("WWW-Authenticate") ?? "")) return undefined;
  const told = await answer
    .clone()
    .json()
    .catch(() => ({}));
  return told.code == "ELEVATION_REQUIRED" && Array.isArray(told.permissions) ? told : undefined;
}
