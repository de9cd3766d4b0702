/** The real program, as built, with its seed data and sample modules. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

export const root = resolve(import.meta.dirname, "../..");

/** Who logs in, in tenant diku. */
export const admin = { username: "diku_admin", password: "admin" };

/** The demonstration, on ports of its own. */
export class Program {
  private constructor(
    readonly url: string,
    readonly admin: string,
    readonly process: ChildProcess,
    readonly data: string,
  ) {}

  /** Starts one whose access tokens and grace last so long, as in Go: "2s", "400ms". */
  static async start(accessTTL: string, grace: string, ...flags: string[]): Promise<Program> {
    const data = await mkdtemp(join(tmpdir(), "counterfoil-browser-"));
    // tools/browser.sh builds it once for all tests.
    let binary = process.env["COUNTERFOIL"];
    if (!binary) {
      binary = join(data, "counterfoil");
      await promisify(execFile)("go", ["build", "-o", binary, "./cmd/counterfoil"], { cwd: root });
    }
    const any = ["--listen", "--internal-listen", "--admin-listen"].flatMap((flag) => [flag, "127.0.0.1:0"]);
    const child = spawn(binary, ["demo", "--data", join(data, "store"), "--access-ttl", accessTTL, "--grace", grace, ...any, ...flags]);
    const [url, admin] = await new Promise<string[]>((found, failed) => {
      let told = "";
      child.stdout.on("data", (text) => {
        told += text;
        const addresses = /public +(http\S+)[^]*admin +(http\S+)/.exec(told);
        if (addresses) found(addresses.slice(1));
      });
      child.stderr.on("data", (text) => process.stderr.write(text));
      child.on("error", failed);
      child.on("exit", (code) => failed(new Error(`the program ended with ${code}: ${told}`)));
    });
    return new Program(url!, admin!, child, data);
  }

  async stop(): Promise<void> {
    const ended = new Promise((done) => this.process.on("exit", done));
    this.process.kill();
    await ended;
    await rm(this.data, { recursive: true, force: true });
  }

  /** Calls the management API, which the demonstration leaves open on loopback. */
  async manage(path: string, body: object): Promise<void> {
    const answer = await fetch(this.admin + path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
  }

  /** How often each order was placed, as the sample module counted. */
  async orders(): Promise<Map<string, number>> {
    const headers = { "X-Okapi-Tenant": "diku", "Content-Type": "application/json" };
    const login = await fetch(this.url + "/authn/login", { method: "POST", headers, body: JSON.stringify(admin) });
    const { accessToken } = (await login.json()) as { accessToken: string };
    const answer = await fetch(this.url + "/orders", { headers: { ...headers, Authorization: "Bearer " + accessToken } });
    return new Map(Object.entries(((await answer.json()) as { orders: Record<string, number> }).orders));
  }
}
