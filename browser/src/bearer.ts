/**
 * For pages that cannot use cookies: on plain http, or in a frame of another
 * site. The page holds the tokens itself, and so could any script that gets
 * into it; where cookies work, use them.
 *
 * @module
 */
import type { Carrier, Session, SessionOptions } from "./api.js";
import type { Environment } from "./environment.js";
import { startSession } from "./session.js";

/** The tokens of a session. */
export interface Tokens {
  /** Goes with requests, for minutes. */
  accessToken: string;
  /** Works once: after a refresh there is another. */
  refreshToken: string;
}

/** Where tokens are kept. */
export interface TokenStore {
  /** What was saved last, by whatever tab. */
  load(): Promise<Tokens | undefined>;
  /** Once this resolves, the tokens are used: those before are of no use then. */
  save(tokens: Tokens): Promise<void>;
  /** Forgets them: the session is over. */
  clear(): Promise<void>;
}

/** What a session with tokens in the page's hands is told when it begins. */
export interface BearerOptions extends SessionOptions {
  /**
   * Keeps the tokens beyond a reload. Default: they live and die with the page,
   * and each tab has a session of its own. With a store, all tabs share one.
   */
  store?: TokenStore;
}

/** A session whose tokens are in the page's memory, or in a store of yours. */
export async function createBearerSession(options: BearerOptions): Promise<Session> {
  const { store, environment = globalThis as Environment } = options;
  let tokens = await store?.load();
  let heal: string | undefined; // what makes up for an older refresh token that came too late
  const newest = async () => (tokens = (await store?.load()) ?? tokens); // another tab may have refreshed
  const forget = async () => {
    tokens = heal = undefined;
    await store?.clear();
  };
  const carrier: Carrier = {
    credentials: "omit", // a cookie beside the header would be a second, other session
    async attach(headers) {
      await newest();
      if (tokens && !headers.has("Authorization")) headers.set("Authorization", "Bearer " + tokens.accessToken);
    },
    async body() {
      await newest();
      return tokens && { refreshToken: tokens.refreshToken, ...(heal && { heal }) };
    },
    async keep({ accessToken, refreshToken, errors }) {
      const told = (name: string) => errors?.[0]?.parameters?.find(({ key }) => key == name)?.value;
      // Any other refusal may pass: of a user who is inactive, or in a foreign network.
      if (told("reason") == "ended") await forget();
      heal = told("heal") ?? heal;
      if (!accessToken || !refreshToken) return true;
      const fresh = { accessToken, refreshToken };
      await store?.save(fresh);
      tokens = fresh;
      heal = undefined;
      return false;
    },
    async forget(reason) {
      if (reason != "refused") await forget();
    },
  };
  const { navigator, document } = environment;
  const alone: Environment = {
    navigator: {
      get onLine() {
        return navigator.onLine;
      },
    },
    document,
    addEventListener: (...args) => environment.addEventListener(...args),
  };
  return startSession({ ...options, environment: store ? environment : alone }, carrier);
}
