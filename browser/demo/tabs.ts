/** The tabs that the page opens in itself. To the library, a frame is a tab like any other. */
import type { Session } from "@counterfoil/browser";
import { openLine, type Entry, type Message } from "./line.js";
import type { Settings } from "./ledger.js";

export class Tabs {
  readonly #room = crypto.randomUUID();
  readonly #post: (message: Message) => void;
  #asks = 0;
  #waiting: { type: "ready" | "done"; tabs: Set<number>; all: () => void } | undefined;
  #open: number[] = [];

  constructor(
    readonly place: HTMLElement,
    readonly session: Session,
    readonly settings: Settings,
    readonly resendAfter: number,
    tell: (who: string, entry: Entry) => void,
  ) {
    this.#post = openLine(this.#room, (message) => {
      switch (message.type) {
        case "entry":
          return tell("tab " + message.tab, message.entry);
        case "asks":
          return this.asks();
        case "ready":
        case "done":
          return this.#arrived(message);
      }
    });
  }

  /** Counts a refresh that some tab sent. */
  asks(): void {
    this.#asks++;
  }

  async open(count: number, locks: boolean): Promise<void> {
    this.close();
    this.#open = Array.from({ length: count }, (_, i) => i + 2); // the page is the first
    const ready = this.#all("ready");
    for (const tab of this.#open) {
      const frame = document.createElement("iframe");
      const query = { tab, tenant: this.settings.tenant, room: this.#room, resend: this.resendAfter, locks: locks ? "yes" : "no" };
      frame.src = "tab.html?" + new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)]));
      frame.title = `Tab ${tab}`;
      this.place.append(frame);
    }
    await ready;
  }

  /** All tabs and the page want a fresh token now. Resolves to how many requests went out. */
  async refreshTogether(): Promise<number> {
    this.#asks = 0;
    const done = this.#all("done");
    this.#post({ type: "refresh" });
    await this.session.refresh();
    await done;
    return this.#asks;
  }

  close(): void {
    this.#open = [];
    this.place.replaceChildren();
  }

  #all(type: "ready" | "done"): Promise<void> {
    return new Promise((all, failed) => {
      this.#waiting = { type, tabs: new Set(this.#open), all };
      setTimeout(() => failed(new Error("a tab does not answer")), 60_000);
    });
  }

  #arrived({ type, tab }: { type: "ready" | "done"; tab: number }): void {
    if (this.#waiting?.type != type) return;
    this.#waiting.tabs.delete(tab);
    if (!this.#waiting.tabs.size) this.#waiting.all();
  }
}
