import type { Clock } from "./clock.js";
import type { Environment } from "./environment.js";
import type { EndReason, RefreshUnavailable } from "./errors.js";

/** What a session is told when it begins. */
export interface SessionOptions {
  /** The gateway's URL, with a path prefix if it has one (FOLIO's is often `/okapi`). May be relative to the page. */
  gateway: string | URL;
  /** Sent as `X-Okapi-Tenant` where a request names none. */
  tenant?: string;
  /** What sends requests. Default: the `fetch` of this moment. */
  fetch?: typeof fetch;
  /** Further headers for each request to the gateway: against CSRF, or a proof of possession for this URL and method. */
  headers?(request: { url: URL; method: string }): HeadersInit | Promise<HeadersInit>;
  /** Whether an answer refuses a request for want of a fresh token, so that it was not carried out. Default: 401 and FOLIO's 400. */
  refused?(response: Response): boolean | Promise<boolean>;
  /** Whether a `Request` object with a body may be copied before it is sent, so that it can be sent again. Default: yes. */
  copies?(request: Request): boolean;
  /**
   * Milliseconds without an answer after which a refresh is sent once more. Must
   * be less than the gateway's grace (10 s by default), in which the same answer
   * can be had twice. 0 is never: for gateways that allow a refresh token once.
   */
  resendAfter?: number;
  /** Milliseconds that a refresh is tried for until its callers get {@link RefreshUnavailable}. */
  patience?: number;
  /**
   * What to GET after a refresh that no request was waiting for, so that the
   * gateway learns that its answer arrived. `""` is nothing.
   */
  confirm?: string;
  /** Where time comes from. Default: the machine. */
  clock?: Clock;
  /** What stands for `window`. Default: the page's. */
  environment?: Environment;
}

/** What a session tells those who listen. */
export interface SessionEvent {
  /** `unavailable` is a refresh that did not succeed now; the session goes on. */
  readonly type: "started" | "refreshed" | "unavailable" | "ended";
  /** Why it ended. */
  readonly reason?: EndReason | undefined;
  /** Why a refresh was unavailable. */
  readonly error?: RefreshUnavailable;
}

/** What is known of the session. A new object after each change. */
export interface SessionState {
  /** `unknown` until the gateway has answered, or another tab has told. */
  readonly status: "unknown" | "active" | "ended";
  /** Why it ended. */
  readonly reason?: EndReason | undefined;
}

/** When tokens expire, as logins and refreshes answer it. */
export interface Expirations {
  /** RFC 3339. */
  accessTokenExpiration?: string;
  /** RFC 3339. */
  refreshTokenExpiration?: string;
}

/** What goes with a request. */
export interface Dress {
  /** Those of its own, and the session's. */
  headers: Headers;
  /** Whether cookies go along. */
  credentials: RequestCredentials;
}

/** The session of all tabs of this origin with one gateway. */
export interface Session {
  /**
   * A `fetch` in which no token ever expires. A successful login through it
   * starts the session. Requests that are not for the gateway pass untouched.
   */
  readonly fetch: typeof fetch;
  /** What is known of the session now. */
  readonly state: SessionState;
  /** Grows with every refresh, login and logout in any tab. */
  readonly generation: number;
  /** The path on the gateway, if this URL is on it; requests there get the session's tokens. */
  covers(url: string | URL): string | false;
  /** Takes over a session that began elsewhere: after single sign-on, with the expirations of the landing page's URL. */
  adopt(expirations: Expirations): void;
  /** Ends the session on the gateway and in all tabs. */
  logout(options?: { reason?: EndReason; everywhere?: boolean }): Promise<void>;
  /** Refreshes now, for whoever wants to keep working. */
  refresh(): Promise<void>;
  /** Milliseconds until the session ends unless it is refreshed. `NaN` if nobody knows. */
  endsIn(): number;
  /** Hears what happens. Returns how to stop. */
  subscribe(hear: (event: SessionEvent) => void): () => void;
  /** Stops timers and listeners. The session goes on. */
  close(): void;

  // For adapters of other ways to send requests.
  /** Waits for a fresh token if this one is over (or soon will be, with `early`). Resolves to the generation to use. */
  ready(early?: boolean | undefined): Promise<number>;
  /** Refreshes after a request of that generation was refused, unless that has happened meanwhile. */
  renew(generation: number): Promise<void>;
  /** What a request to the gateway must have, with headers of its own. */
  dress(url: string | URL, method: string, own?: HeadersInit): Promise<Dress>;
  /** Whether an answer refuses a request for want of a fresh token. */
  refused(answer: Response): boolean | Promise<boolean>;
}

/** What logins and refreshes answer in JSON. */
export interface Answer extends Expirations {
  tokenExpiration?: Expirations;
  accessToken?: string;
  refreshToken?: string;
  errors?: { parameters?: { key: string; value: string }[] }[];
}

/** How a session travels. In cookies, the browser does it all. */
export interface Carrier {
  readonly credentials: RequestCredentials;
  /** Adds what proves the session. */
  attach?(headers: Headers): Promise<void>;
  /** What a refresh or a logout has in its body, with what another tab left since. */
  body?(): Promise<object | undefined>;
  /** Keeps what an answer brought, before anybody uses it. True: the tokens are not there. */
  keep?(answer: Answer): Promise<boolean>;
  /** Hears that the session is over. After `refused` it may not be for good. */
  forget?(reason: EndReason): Promise<void>;
}
