/**
 * XMLHttpRequest in which no token expires, for libraries that insist on it.
 *
 * @module
 */
import type { Session } from "./api.js";

type Body = Document | XMLHttpRequestBodyInit | null | undefined;

/**
 * Makes a class like XMLHttpRequest whose requests to the gateway wait for a
 * fresh token, and are sent once more if they were refused for want of one. The
 * refusal is not seen: each event fires for the answer that counts. Synchronous
 * requests pass untouched, because nothing can be waited for in them.
 */
export function createXMLHttpRequest(session: Session, Base: typeof XMLHttpRequest = XMLHttpRequest): typeof XMLHttpRequest {
  return class extends Base {
    #method = "GET";
    #url: string | URL | undefined; // only if the session covers it
    #own: [string, string][] = [];
    #body: Body;
    #generation = 0; // of the first try
    #turn = 0; // counts open and abort, so that what they overtook does not go on
    #replayed = false;
    #hidden = false; // what happens now may concern nobody

    constructor() {
      super();
      // Registered first, so these run before all handlers of the page.
      for (const type of ["loadstart", "readystatechange", "progress", "load", "loadend"]) {
        super.addEventListener(type, (event) => this.#look(event));
      }
    }

    override open(method: string, url: string | URL, async = true, user?: string | null, password?: string | null): void {
      this.#turn++;
      this.#replayed = this.#hidden = false;
      this.#own = [];
      this.#method = method;
      super.open(method, url, async, user, password);
      this.#url = async && session.covers(url) ? url : undefined;
    }

    override setRequestHeader(name: string, value: string): void {
      if (this.#url) this.#own.push([name, value]);
      else super.setRequestHeader(name, value);
    }

    override send(body?: Body): void {
      this.#body = body;
      if (this.#url) void this.#go(this.#url, this.#turn, async () => (this.#generation = await session.ready()));
      else super.send(body);
    }

    override abort(): void {
      this.#turn++;
      this.#hidden = false;
      super.abort();
    }

    async #go(url: string | URL, turn: number, fresh: () => Promise<unknown>): Promise<void> {
      try {
        await fresh();
        const { headers, credentials } = await session.dress(url, this.#method, this.#own);
        if (turn != this.#turn) return;
        if (this.#replayed) super.open(this.#method, url);
        this.#hidden = false;
        this.withCredentials = credentials == "include";
        headers.forEach((value, name) => super.setRequestHeader(name, value));
        super.send(this.#body);
      } catch {
        // The session is over, or cannot be refreshed now.
        if (turn == this.#turn) this.#show("error");
      }
    }

    /** Hides what may be a refusal until it has been read. */
    #look(event: Event): void {
      const { status, readyState } = this;
      if (this.#url && !this.#replayed && readyState > 1 && (status == 401 || status == 400)) this.#hidden = true;
      const second = this.#replayed && event.type == "loadstart";
      if (!this.#hidden && !second) return;
      event.stopImmediatePropagation();
      if (event.type == "loadend") void this.#decide(this.#url!, this.#turn);
    }

    async #decide(url: string | URL, turn: number): Promise<void> {
      const { status, response } = this;
      const type = this.getResponseHeader("WWW-Authenticate");
      const text = typeof response == "string" ? response : JSON.stringify(response);
      const refused = await session.refused(new Response(text, { status, headers: type ? { "WWW-Authenticate": type } : {} }));
      if (turn != this.#turn) return;
      this.#replayed = true;
      if (refused) void this.#go(url, turn, () => session.renew(this.#generation));
      else this.#show("load");
    }

    /** Fires what was held back. */
    #show(type: "load" | "error"): void {
      this.#hidden = false;
      this.dispatchEvent(new Event("readystatechange"));
      this.dispatchEvent(new ProgressEvent(type));
      this.dispatchEvent(new ProgressEvent("loadend"));
    }
  };
}
