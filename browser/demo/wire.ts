/** What a refresh may meet on its way. The demonstration's server sees to it. */
export type Misfortune = "lose-answer" | "lose-request" | "unavailable";

/** The `fetch` under the session: tells what passes, and calls for misfortunes. */
export interface Wire {
  readonly fetch: typeof fetch;
  /** The next refreshes, so many of them, meet a misfortune. */
  arm(what: Misfortune, times: number): void;
  disarm(): void;
}

export function openWire(tell: (text: string) => void, asks: () => void): Wire {
  const plain = fetch.bind(globalThis);
  let armed: Misfortune | undefined;
  let left = 0;
  return {
    arm(what, times) {
      armed = what;
      left = times;
    },
    disarm() {
      left = 0;
    },
    async fetch(input, init) {
      const request = new Request(input, init);
      const { pathname } = new URL(request.url);
      if (!pathname.startsWith("/authn/")) return plain(request);
      const what = `${request.method} ${pathname}`;
      if (pathname == "/authn/refresh") {
        asks();
        if (left-- > 0) request.headers.set("X-Counterfoil-Demo", armed!);
      }
      try {
        const answer = await plain(request);
        tell(`${what}: ${answer.status}${means[answer.status] ?? ""}`);
        return answer;
      } catch (error) {
        tell(`${what}: no answer`);
        throw error;
      }
    },
  };
}

const means: Record<number, string> = {
  201: ", new cookies",
  204: ", cookies cleared",
  422: ", refused",
  503: ", not now",
};
