/**
 * Binds tokens to a key that no script can take out of the browser (RFC 9449):
 * for pages that hold their tokens themselves, as with `bearer`, or get them
 * from the OAuth endpoints. Whoever steals the tokens can do nothing with them
 * elsewhere. The page must be on https, or on localhost.
 *
 * @module
 */

/** Options of {@link openProofKey}. */
export interface ProofKeyOptions {
  /** The gateway's URL, as for the session. No other host gets a proof. */
  gateway: string | URL;
  /** What sends requests. Default: the `fetch` of this moment. */
  fetch?: typeof fetch;
  /** Under which name the browser keeps the key. All tabs of the origin share it. */
  name?: string;
}

/** A key in this browser. */
export interface ProofKey {
  /** RFC 7638, as `dpop_jkt` of the authorization endpoint has it. */
  readonly thumbprint: string;
  /** A proof for one request; `accessToken` is the token that goes along, if one does. */
  proof(request: { method: string; url: string | URL; accessToken?: string }): Promise<string>;
  /**
   * A fetch that proves the key to the gateway: at login, refresh and the token
   * endpoint, and wherever a token goes along as `Bearer`, which becomes `DPoP`.
   * Give it to `createBearerSession` as `fetch`.
   */
  readonly fetch: typeof fetch;
  /** Forgets the key, and with it what is bound to it. */
  forget(): Promise<void>;
}

const ofTokens = /\/(authn\/(login|refresh)|oauth2\/token)$/;
const algorithm = { name: "ECDSA", namedCurve: "P-256" };
const refusals = /use_dpop_nonce|invalid_dpop_proof/;

/** The key of this origin; the first time, a new one. */
export async function openProofKey(options: ProofKeyOptions): Promise<ProofKey> {
  const { gateway, name = "counterfoil-dpop" } = options;
  const send = options.fetch ?? fetch.bind(globalThis);
  const base = new URL(String(gateway).replace(/\/*$/, "/"), globalThis.location?.href);
  const keys = await kept(name);
  const { kty, crv, x, y } = await crypto.subtle.exportKey("jwk", keys.publicKey);
  const jwk = { crv, kty, x, y }; // in the order of RFC 7638
  const thumbprint = await hash(JSON.stringify(jwk));
  let nonce: string | undefined;
  let ahead = 0; // what the gateway's clock is ahead of ours, in ms

  const proof: ProofKey["proof"] = async ({ method, url, accessToken }) => {
    const { origin, pathname } = new URL(url, base);
    const text =
      encode(JSON.stringify({ typ: "dpop+jwt", alg: "ES256", jwk })) + "." +
      encode(JSON.stringify({
        jti: encode(String.fromCharCode(...crypto.getRandomValues(new Uint8Array(16)))),
        htm: method,
        htu: origin + pathname,
        iat: Math.floor((Date.now() + ahead) / 1000),
        nonce,
        ath: accessToken && (await hash(accessToken)),
      }));
    const signature = await crypto.subtle.sign({ name: "ECDSA", hash: "SHA-256" }, keys.privateKey, bytes(text));
    return text + "." + encode(String.fromCharCode(...new Uint8Array(signature)));
  };

  /** Whether another proof would be better than the one that this answers. */
  const learn = ({ headers }: Response) => {
    const given = headers.get("DPoP-Nonce") ?? nonce;
    const there = Date.parse(headers.get("Date") ?? "") - Date.now();
    const wrong = Math.abs(there - ahead) > 30_000; // not if there is no date
    const better = given != nonce || wrong;
    nonce = given;
    if (wrong) ahead = there;
    return better;
  };

  const proving: typeof fetch = async (input, init) => {
    const request = input instanceof Request ? input : undefined;
    const url = new URL(request ? request.url : String(input), globalThis.location?.href);
    const headers = new Headers(init?.headers ?? request?.headers);
    const accessToken = /^Bearer (.+)$/i.exec(headers.get("Authorization") ?? "")?.[1];
    const ours = url.origin == base.origin && url.pathname.startsWith(base.pathname);
    if (!ours || !(accessToken || ofTokens.test(url.pathname))) return send(input, init);
    const method = (init?.method ?? request?.method ?? "GET").toUpperCase();
    const stream = init?.body instanceof ReadableStream;
    const again = stream ? undefined : request?.clone();
    const go = async (what: typeof input) => {
      headers.set("DPoP", await proof({ method, url, ...(accessToken && { accessToken }) }));
      if (accessToken) headers.set("Authorization", "DPoP " + accessToken);
      return send(what, { ...init, headers });
    };
    const answer = await go(input);
    const better = learn(answer);
    const refused =
      [400, 401].includes(answer.status) &&
      (refusals.test(answer.headers.get("WWW-Authenticate") ?? "") || (answer.status == 400 && refusals.test(await answer.clone().text())));
    if (!refused || !better || stream) {
      void again?.body?.cancel(); // or all that was sent stays in memory
      return answer;
    }
    void answer.body?.cancel();
    const second = await go(again ?? input);
    learn(second);
    return second;
  };

  return { thumbprint, proof, fetch: proving, forget: async () => void (await inStore(name, (store) => store.delete("key"))) };
}

/** The key pair that is kept, or one that is made now. Of two tabs at the same time, the first to write wins. */
async function kept(name: string): Promise<CryptoKeyPair> {
  const get = () => inStore<CryptoKeyPair | undefined>(name, (store) => store.get("key"));
  const there = await get();
  if (there) return there;
  const made = await crypto.subtle.generateKey(algorithm, false, ["sign"]);
  try {
    await inStore(name, (store) => store.add(made, "key"));
    return made;
  } catch (error) {
    const other = await get();
    if (other) return other;
    throw error;
  }
}

function inStore<T>(name: string, act: (store: IDBObjectStore) => IDBRequest): Promise<T> {
  return new Promise((resolve, reject) => {
    const opening = indexedDB.open(name, 1);
    opening.onupgradeneeded = () => void opening.result.createObjectStore("keys");
    opening.onerror = () => reject(opening.error);
    opening.onsuccess = () => {
      const db = opening.result;
      const change = db.transaction("keys", "readwrite");
      const asked = act(change.objectStore("keys"));
      change.oncomplete = () => (db.close(), resolve(asked.result as T));
      change.onabort = () => (db.close(), reject(change.error));
    };
  });
}

const bytes = (text: string) => new TextEncoder().encode(text);
/** Base64url of text whose characters are bytes. */
const encode = (binary: string) => btoa(binary).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const hash = async (text: string) => encode(String.fromCharCode(...new Uint8Array(await crypto.subtle.digest("SHA-256", bytes(text)))));
