/** The part of Web Locks that this library uses. */
export interface Locks {
  /** Does work while nobody else does under this name, in whatever tab. */
  request(name: string, work: () => Promise<void>): Promise<unknown>;
}

/** The part of `window` that this library uses. Most of it may be missing. */
export interface Environment {
  /** The part of `navigator`. */
  readonly navigator: {
    /** False where there is certainly no network. */
    readonly onLine: boolean;
    /** Missing in old browsers and on plain http; see entry `lease`. Without, the gateway sorts out tabs that come at the same time. */
    readonly locks?: Locks | undefined;
  };
  /** Where there is no base, URLs must be absolute. */
  readonly document: {
    /** Whether nobody can see the page. */
    readonly hidden: boolean;
    /** What relative URLs are relative to. */
    readonly baseURI?: string;
  };
  /** Keeps expiry times, never tokens. Missing, or throws, where the user blocks it. */
  readonly localStorage?: Pick<Storage, "getItem" | "setItem" | "removeItem"> | undefined;
  /** Carries news to other tabs. Without, they find them in the storage. */
  readonly BroadcastChannel?: (new (name: string) => BroadcastChannel) | undefined;
  /** Hears events of the page, those of the document too. */
  addEventListener(type: string, hear: (event: Event) => void, options: { capture: boolean; signal: AbortSignal }): void;
}

/** Hears events of the page, those of the document too. */
export function listen(env: Environment, types: string[], signal: AbortSignal, hear: (event: Event) => void): void {
  for (const type of types) env.addEventListener(type, hear, { capture: true, signal });
}
