/** The part of Web Locks that this library uses. */
export interface Locks {
  request(name: string, options: { signal: AbortSignal }, work: () => Promise<void>): Promise<unknown>;
}

/** What this library needs of a browser. What is optional may be missing. */
export interface Environment {
  /** Missing in old browsers and on plain http; see entry `lease`. Without locks, the gateway sorts out tabs that come at the same time. */
  locks?: Locks | undefined;
  /** Keeps expiry times, never tokens. Missing where the user blocks it. */
  storage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined;
  /** Opens a BroadcastChannel. */
  channel?: ((name: string) => BroadcastChannel) | undefined;
  /** Hears events of the page. Returns how to stop. */
  listen(type: string, hear: (event: Event) => void): () => void;
  /** Whether the page can be seen. */
  visible(): boolean;
  /** Whether there may be a network at all. */
  online(): boolean;
}

/** The browser that runs this. */
export function browser(): Environment {
  let storage: Storage | undefined;
  try {
    storage = localStorage;
  } catch {
    // The user blocks it. News still travel by channel.
  }
  return {
    locks: navigator.locks as Locks | undefined,
    storage,
    channel: self.BroadcastChannel && ((name) => new BroadcastChannel(name)),
    listen(type, hear) {
      // Capture sees events of the document, too.
      addEventListener(type, hear, true);
      return () => removeEventListener(type, hear, true);
    },
    visible: () => !document.hidden,
    online: () => navigator.onLine,
  };
}

/** A URL as the page would resolve it. */
export const absolute = (url: string | URL): URL => new URL(url, globalThis.location?.href);
