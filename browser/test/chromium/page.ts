/** The application of the tests: it places orders and never thinks of tokens. */
import { createSession, type Session } from "@counterfoil/browser";
import { createBearerSession } from "@counterfoil/browser/bearer";
import { leaseLocks } from "@counterfoil/browser/lease";

const page = globalThis as unknown as {
  report(report: object): Promise<void>;
  ready: boolean;
  session: Session;
  login(): Promise<number>;
  traffic(every: number): void;
  stop(): Promise<{ sent: number; ok: number }>;
  once(): Promise<string>;
};
const query = new URLSearchParams(location.search);
const plain = fetch.bind(globalThis);
const gateway = query.get("gateway") ?? location.origin;
const options = {
  gateway,
  tenant: "diku",
  resendAfter: Number(query.get("resend") ?? 5_000),
  patience: Number(query.get("patience") ?? 30_000),
  fetch: (input: RequestInfo | URL, init?: RequestInit) => {
    if (String(input).endsWith("/authn/refresh")) void page.report({ type: "asks", from: session.generation });
    return plain(input, init);
  },
  ...(query.has("lease") && {
    environment: {
      navigator: { locks: leaseLocks(), get onLine() { return navigator.onLine; } },
      document, localStorage, BroadcastChannel,
      addEventListener: addEventListener.bind(globalThis),
    },
  }),
};
const bearer = query.has("bearer");
const session = bearer ? await createBearerSession(options) : createSession(options);
session.subscribe(({ type, reason, error }) => void page.report({ type, reason, text: error && String(error.cause ?? error.status) }));

page.session = session;
page.login = async () => {
  const body = JSON.stringify({ username: "diku_admin", password: "admin" });
  const headers = { "Content-Type": "application/json" };
  return (await session.fetch(gateway + (bearer ? "/authn/login" : "/authn/login-with-expiry"), { method: "POST", headers, body })).status;
};

let timer = 0;
let sent = 0;
let ok = 0;
const open = new Set<Promise<void>>();

const write = (id: string) =>
  session.fetch(gateway + "/orders", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ id }) });

async function order(): Promise<void> {
  const id = crypto.randomUUID?.() ?? String(Math.random()) + Math.random();
  try {
    const answer = await (sent++ % 2 ? session.fetch(gateway + "/echo") : write(id));
    if (answer.ok) ok++;
    else void page.report({ type: "error", text: `${answer.status} ${await answer.text()}` });
  } catch (error) {
    void page.report({ type: "error", text: String(error) });
  }
}

page.once = () =>
  write(String(Math.random())).then(
    ({ status }) => String(status),
    (error) => String(error),
  );

page.traffic = (every) => {
  timer = setInterval(() => {
    if (open.size > 1) return; // a slow machine is no reason to queue
    const one = order().finally(() => open.delete(one));
    open.add(one);
  }, every) as unknown as number;
};
page.stop = async () => {
  clearInterval(timer);
  await Promise.all(open);
  await page.report({ type: "stopped" }); // and with it, all that was reported before
  return { sent, ok };
};
if (query.has("traffic")) page.traffic(Number(query.get("traffic")));
page.ready = true;
