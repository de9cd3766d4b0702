/** What stands between clients and the program: it counts what passes, and does what networks do. */
import { createServer, request as httpRequest, type IncomingMessage, type Server, type ServerResponse } from "node:http";

/** What happens to a refresh. */
export type Misfortune =
  | {
      /** Milliseconds that the answer is late. */
      delay?: number;
      /** The answer never arrives, although all was done. */
      drop?: boolean;
      /** Answered in the program's place, with `Retry-After: 1`. */
      status?: number;
    }
  | undefined;

export class Front {
  readonly #server: Server;
  readonly #counts = new Map<string, number>();
  readonly #watchers = new Set<() => void>();
  /** Orders whose 201 left for the client. */
  readonly placed = new Set<string>();
  /** Decides about the nth refresh. */
  misfortune: (nth: number) => Misfortune = () => undefined;
  port = 0;

  /** Own paths are those that begin with `/page/`. */
  constructor(
    public gateway: string,
    readonly own?: (path: string, answer: ServerResponse) => Promise<void>,
  ) {
    this.#server = createServer((request, answer) => void this.#serve(request, answer).catch(() => answer.destroy()));
  }

  async start(): Promise<this> {
    await new Promise<void>((done) => this.#server.listen(0, "127.0.0.1", done));
    const address = this.#server.address();
    this.port = typeof address == "object" && address ? address.port : 0;
    return this;
  }

  stop(): Promise<unknown> {
    this.#server.closeAllConnections();
    return new Promise((done) => this.#server.close(done));
  }

  /** How many requests of a method and path came, as in "POST /authn/refresh". */
  count(what: string): number {
    return this.#counts.get(what) ?? 0;
  }

  /** Waits for the nth request of a kind to come. */
  async comes(what: string, nth = this.count(what) + 1): Promise<void> {
    while (this.count(what) < nth) await new Promise<void>((done) => this.#watchers.add(done));
  }

  async #serve(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    const path = request.url!.replace(/[?].*/, "");
    if (this.own && path.startsWith("/page/")) return this.own(path.slice(6), answer);
    const what = request.method + " " + path;
    const nth = this.count(what) + 1;
    this.#counts.set(what, nth);
    for (const tell of this.#watchers) tell();
    this.#watchers.clear();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const { delay, drop, status } = (what == "POST /authn/refresh" && this.misfortune(nth)) || {};
    if (status) {
      answer.writeHead(status, { "Retry-After": "1", "Content-Type": "application/json" });
      return void answer.end("{}");
    }
    const got = await this.#forward(request, body);
    const text: Buffer[] = [];
    for await (const chunk of got) text.push(chunk as Buffer);
    if (delay) await new Promise((done) => setTimeout(done, delay));
    if (drop) return void request.socket.destroy();
    if (what == "POST /orders" && got.statusCode == 201) this.placed.add((JSON.parse(body.toString()) as { id: string }).id);
    answer.writeHead(got.statusCode!, got.headers);
    answer.end(Buffer.concat(text));
  }

  #forward(request: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    return new Promise((done, failed) => {
      const { method, url, headers } = request;
      const onward = httpRequest(this.gateway + url, { method, headers }, done);
      onward.on("error", failed);
      onward.end(body);
    });
  }
}
