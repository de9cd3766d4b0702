import assert from "node:assert/strict";
import { test } from "node:test";
import { createSession, NotReplayable, RefreshUnavailable, SessionEnded } from "@counterfoil/browser";
import { Gateway } from "./gateway.js";
import { Browser, logIn, origin, World } from "./world.js";

const minute = 60_000;
const refreshes = (gateway: Gateway) => gateway.count("POST /authn/refresh");

test("requests that are not for the gateway pass untouched", async () => {
  const seen: [RequestInfo | URL, RequestInit | undefined][] = [];
  const { tab } = await logIn();
  const session = createSession({
    gateway: "https://folio.example.org/okapi/",
    tenant: "diku",
    fetch: async (input, init) => (seen.push([input, init]), new Response("{}")),
    clock: tab.clock,
    environment: tab.environment,
  });
  const others = [
    "https://folio.example.org/other",
    "https://folio.example.org/okapi-2/orders",
    "https://folio.example.org.evil.example/okapi/orders",
    "https://folio.example.org:8443/okapi/orders",
    "http://folio.example.org/okapi/orders",
    "https://folio.example.org/okapi/../orders",
    new URL("https://other.example.org/okapi/orders"),
    "data:,x",
  ];
  for (const url of others) await session.fetch(url, { headers: { a: "b" } });
  assert.deepEqual(seen, others.map((url) => [url, { headers: { a: "b" } }]));
  seen.length = 0;
  for (const url of ["https://FOLIO.example.org:443/okapi/orders?x=1#y", new URL("https://folio.example.org/okapi"), new Request("https://folio.example.org/okapi/x")])
    await session.fetch(url);
  assert.deepEqual(
    seen.map(([, init]) => [init?.credentials, new Headers(init?.headers).get("X-Okapi-Tenant")]),
    Array(3).fill(["include", "diku"]),
  );
});

test("a request keeps what it came with", async () => {
  const { tab, world, gateway } = await logIn({ headers: ({ method }) => ({ "X-Proof": "of " + method }) });
  await world.until(tab.get("/orders", { headers: { "X-Okapi-Tenant": "other" } }));
  assert.equal(gateway.log.at(-1)?.tenant, "other");
});

test("a login starts the session, a wrong password does not", async () => {
  const { tab } = await logIn();
  assert.deepEqual(tab.events.map(({ type }) => type), ["started"]);
  assert.equal(tab.session.state.status, "active");
  const world = new World();
  const other = new Browser(world, new Gateway(world)).open();
  const answer = await world.until(other.session.fetch(origin + "/bl-users/login-with-expiry", { method: "POST", body: '{"password":"wrong"}' }));
  assert.notEqual(answer.status, 201);
  assert.equal(other.session.state.status, "unknown");
});

test("it refreshes ahead while the page is used, and no request waits", async () => {
  const { tab, world, gateway } = await logIn();
  for (let i = 0; i < 30; i++) {
    const before = world.t;
    assert.equal((await world.until(tab.get())).status, 200);
    assert.ok(world.t - before <= 2 * gateway.latency);
    await world.run(minute);
  }
  assert.equal(refreshes(gateway), 3);
  assert.equal(gateway.log.filter(({ what }) => what == "GET /orders").length, 30, "nothing was refused");
});

test("pages that logged in at one moment refresh at many, all in time", async () => {
  const ahead: number[] = [];
  for (let i = 0; i < 20; i++) {
    const { tab, world, gateway } = await logIn();
    const expires = world.t + gateway.accessTTL;
    await world.run(gateway.accessTTL - 2 * minute);
    await world.until(tab.get()); // or it would be a page that nobody uses
    while (refreshes(gateway) == 0) await world.run(100);
    ahead.push(expires - world.t);
  }
  assert.ok(Math.min(...ahead) >= 20_000 && Math.max(...ahead) <= 70_000, String(ahead));
  assert.ok(new Set(ahead).size > 10, String(ahead));
});

test("a page that nobody uses keeps no session alive", async () => {
  const { tab, world, gateway } = await logIn();
  await world.run(60 * minute);
  assert.equal(refreshes(gateway), 0);
  const [first, second] = await world.until(Promise.all([tab.get(), tab.get()]));
  assert.deepEqual([first.status, second.status, refreshes(gateway)], [200, 200, 1]);
});

test("after a refresh ahead, one call tells the gateway that the answer arrived", async () => {
  const { tab, world, gateway } = await logIn();
  const row = [...gateway.rows.values()][0]!;
  await world.until(tab.get());
  await world.run(10 * minute);
  assert.deepEqual([row.gen, row.seen, gateway.count("GET /authn/sessions/_self")], [2, 2, 1]);
  assert.equal(refreshes(gateway), 1, "that call is no use of the page");

  const busy = await logIn({}, (gateway) => (gateway.accessTTL = minute));
  for (let i = 0; i < 240; i++) {
    await busy.world.until(busy.tab.get());
    await busy.world.run(500);
  }
  assert.ok(refreshes(busy.gateway) > 0);
  assert.equal(busy.gateway.count("GET /authn/sessions/_self"), 0, "a request did it");
});

test("many requests at once after expiry: one refresh, replays in parallel, none twice", async () => {
  const { tab, world, gateway, browser } = await logIn();
  gateway.latency = 200;
  await world.run(11 * minute);
  const before = world.t;
  const answers = await world.until(Promise.all(Array.from({ length: 12 }, (_, i) => tab.place("a" + i))));
  assert.ok(answers.every(({ status }) => status == 201));
  assert.ok(world.t - before < 450, "a refresh and a request");
  // The cookie is lost although its time is not over: only the gateway knows.
  browser.jar["access"] = undefined;
  const again = await world.until(Promise.all(Array.from({ length: 12 }, (_, i) => tab.place("b" + i))));
  assert.ok(again.every(({ status }) => status == 201));
  assert.equal(refreshes(gateway), 2);
  assert.deepEqual([...gateway.orders.values()], Array(24).fill(1));
});

test("a refusal in FOLIO's words counts, another 401 and 403 do not", async () => {
  const { tab, world, gateway } = await logIn();
  for (const status of [403, 404, 401, 500]) {
    gateway.fail("/orders", { status });
    assert.equal((await world.until(tab.get())).status, status);
  }
  assert.equal(refreshes(gateway), 0);
  const { refused } = tab.session;
  const words: [number, string, boolean][] = [
    [400, "Token missing, access requires permission: x", true],
    [400, "Token is fine", false],
    [401, "Invalid token", true],
    [401, '{"code":"TOKEN_EXPIRED"}', true],
    [403, "Invalid token", false],
  ];
  for (const [status, text, want] of words) assert.equal(await refused(new Response(text, { status })), want, text);
});

test("a request that is refused again is answered as it is", async () => {
  const { tab, world, gateway } = await logIn();
  gateway.fail("/orders", { status: 401, headers: { "WWW-Authenticate": "Bearer" } }, { status: 401, headers: { "WWW-Authenticate": "Bearer" } });
  assert.equal((await world.until(tab.get())).status, 401);
  assert.deepEqual([refreshes(gateway), gateway.count("GET /orders")], [1, 2]);
});

test("bodies: a Request is copied, a stream is not sent again", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const lose = () => (browser.jar["access"] = undefined);
  for (const body of ["text", new Blob(["blob"]), new TextEncoder().encode("bytes"), new URLSearchParams({ a: "b" })]) {
    lose();
    const answer = await world.until(tab.session.fetch(origin + "/orders", { method: "POST", body }));
    assert.equal(answer.status, 201);
  }
  lose();
  const request = () => new Request(origin + "/orders", { method: "POST", body: "request" });
  assert.equal((await world.until(tab.session.fetch(request()))).status, 201);
  assert.deepEqual([...gateway.orders.entries()], [["text", 1], ["blob", 1], ["bytes", 1], ["a=b", 1], ["request", 1]]);

  const stream = () => ({ method: "POST", body: new Blob(["stream"]).stream(), duplex: "half" }) as RequestInit;
  lose();
  await assert.rejects(world.until(tab.session.fetch(origin + "/orders", stream())), (error: NotReplayable) => error instanceof NotReplayable && error.response.status == 401);
  assert.equal((await world.until(tab.session.fetch(origin + "/orders", stream()))).status, 201, "it was refreshed for the next");
  // Near its end, a token is not good enough for what can be sent only once.
  const near = await logIn();
  await near.world.run(9.75 * minute);
  assert.equal((await near.world.until(near.tab.session.fetch(origin + "/orders", stream()))).status, 201);
  assert.deepEqual([refreshes(near.gateway), near.gateway.count("POST /orders")], [1, 1]);

  const sparing = browser.open({ copies: () => false });
  lose();
  await assert.rejects(world.until(sparing.session.fetch(request())), NotReplayable);
});

for (const skew of [3_600_000, -3_600_000])
  for (const date of [true, false])
    test(`a clock that is wrong by ${skew / minute} minutes, ${date ? "with" : "without"} the header Date`, async () => {
      const { tab, world, gateway } = await logIn({}, (gateway, browser) => {
        browser.skew = skew;
        gateway.date = date;
      });
      for (let i = 0; i < 40; i++) {
        assert.equal((await world.until(tab.get())).status, 200);
        await world.run(minute);
      }
      assert.ok(refreshes(gateway) <= 4, `${refreshes(gateway)} refreshes`);
    });

test("a gateway that is busy or restarted ends nothing", async () => {
  const { tab, world, gateway } = await logIn();
  await world.run(11 * minute);
  gateway.fail("/authn/refresh", { status: 503, headers: { "Retry-After": "3" } }, { status: 502 }, { status: 429 }, { lost: true });
  const before = world.t;
  assert.equal((await world.until(tab.get())).status, 200);
  assert.ok(world.t - before >= 3000, "it waits for as long as it was told");
  assert.equal(gateway.outcomes.at(-1), "retried");

  await world.run(25 * minute);
  gateway.fail("/authn/refresh", ...Array(50).fill({ status: 503 }));
  const failing = Promise.all([1, 2, 3].map(() => assert.rejects(tab.get(), (error: RefreshUnavailable) => error instanceof RefreshUnavailable && error.status == 503)));
  await world.until(failing);
  assert.equal(tab.session.state.status, "active");
  assert.equal(tab.events.at(-1)?.type, "unavailable");
  gateway.faults.clear();
  assert.equal((await world.until(tab.get())).status, 200);
});

test("offline, a request fails at once; back online, it goes on", async () => {
  const { tab, world, browser } = await logIn();
  await world.run(11 * minute);
  browser.online = false;
  const before = world.t;
  await assert.rejects(world.until(tab.get()), RefreshUnavailable);
  assert.ok(world.t - before < 1000);
  browser.online = true;
  tab.fire("online");
  await world.run(1000);
  assert.equal(tab.events.at(-1)?.type, "refreshed", "before anybody asks");
  assert.equal((await world.until(tab.get())).status, 200);
});

test("what is aborted rejects alone, and the refresh goes on", async () => {
  const { tab, world, gateway } = await logIn();
  await world.run(11 * minute);
  gateway.latency = 1000;
  const leave = new AbortController();
  const gone = assert.rejects(tab.get("/orders", { signal: leave.signal }), { name: "AbortError" });
  const stays = tab.get();
  await world.run(100);
  leave.abort();
  await world.until(gone, 50);
  assert.equal((await world.until(stays)).status, 200);
  assert.equal(refreshes(gateway), 1);
  await assert.rejects(world.until(tab.get("/orders", { signal: AbortSignal.abort(new Error("mine")) })), { message: "mine" });
});

test("an answer that is stuck: a second one comes at its side, in time for the same tokens", async () => {
  const { tab, world, gateway } = await logIn();
  for (const back of [5_000, 25_000]) {
    await world.run(25 * minute);
    gateway.fail("/authn/refresh", { back });
    const before = world.t;
    assert.equal((await world.until(tab.get())).status, 200);
    assert.ok(world.t - before < 8_000);
  }
  assert.deepEqual(gateway.outcomes.slice(-2), ["rotated", "retried"]);
  await world.run(25 * minute);
  gateway.fail("/authn/refresh", { back: 25_000 }, { back: 40_000 });
  assert.equal((await world.until(tab.get())).status, 200, "the first one counts when it comes");
  await world.run(2 * minute);
  assert.equal(tab.session.state.status, "active");
  assert.equal((await world.until(tab.get())).status, 200);
});

test("a gateway that allows a refresh token once is asked once", async () => {
  const { tab, world, gateway } = await logIn({ resendAfter: 0 }, (gateway) => (gateway.grace = 0));
  await world.run(11 * minute);
  gateway.fail("/authn/refresh", { back: 25_000 });
  assert.equal((await world.until(tab.get())).status, 200);
  assert.deepEqual(gateway.outcomes, ["rotated"]);
});

test("superseded: it takes the newer cookie from the jar, with the nonce, at once", async () => {
  const { tab, world, gateway, browser } = await logIn();
  await world.run(11 * minute);
  await world.until(tab.get());
  const older = browser.jar["refresh"]!;
  await world.run(25 * minute); // refreshed ahead, and seen
  const newer = browser.jar["refresh"]!;
  assert.notEqual(older.value, newer.value);
  // A request of this browser was stuck on the way, and arrives with what the jar had then.
  browser.jar["refresh"] = older;
  const answer = tab.get();
  await world.run(gateway.latency / 2 + 1);
  browser.jar["refresh"] = newer;
  const before = world.t;
  assert.equal((await world.until(answer)).status, 200);
  assert.ok(world.t - before < 200);
  assert.deepEqual(gateway.outcomes.slice(-2), ["stale", "rotated"]);
  await world.run(5 * minute);
  assert.equal([...gateway.rows.values()][0]!.revoked, false);
});

test("refused: the session has ended, in all tabs, for all who wait, and for those after", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const other = browser.open();
  await world.run(11 * minute);
  [...gateway.rows.values()][0]!.revoked = true;
  const ended = (error: SessionEnded) => error instanceof SessionEnded && error.reason == "refused";
  await world.until(Promise.all([tab, tab, other].map((one) => assert.rejects(one.get(), ended))));
  assert.equal(refreshes(gateway), 1);
  await assert.rejects(world.until(other.get()), ended);
  assert.equal(refreshes(gateway), 1, "nobody asks in vain");
  await world.settle();
  assert.deepEqual(other.events.at(-1), { type: "ended", reason: "refused" });
  assert.deepEqual(other.session.state, { status: "ended", reason: "refused" });
  // Somebody logs in in one tab: all go on.
  await world.until(tab.login());
  await world.run(100);
  assert.equal(other.events.at(-1)?.type, "started");
  assert.equal((await world.until(other.get())).status, 200);
});

test("revoked while its access token lives: the next request says so", async () => {
  const { tab, world, gateway } = await logIn();
  [...gateway.rows.values()][0]!.revoked = true;
  await assert.rejects(world.until(tab.get()), { name: "SessionEnded", reason: "refused" });
});

test("nobody logged in, or cookies are blocked: absent", async () => {
  const world = new World();
  const tab = new Browser(world, new Gateway(world)).open();
  await assert.rejects(world.until(tab.get()), { name: "SessionEnded", reason: "absent" });
});

test("a session that began elsewhere is taken over", async () => {
  const { world, gateway, browser } = await logIn();
  browser.tabs.clear();
  const landing = browser.open({ without: ["storage", "channel"] });
  landing.session.adopt({
    accessTokenExpiration: new Date(world.epoch + world.t + 5 * minute).toISOString(),
    refreshTokenExpiration: new Date(world.epoch + world.t + 60 * minute).toISOString(),
  });
  assert.ok(Math.abs(landing.session.endsIn() - 60 * minute) < 1000);
  await world.run(6 * minute);
  assert.equal((await world.until(landing.get())).status, 200);
  assert.deepEqual([refreshes(gateway), gateway.count("GET /orders")], [1, 1], "it knew that the token was over");
});

test("a 403 of the refresh is a fault of the installation and ends nothing", async () => {
  const { tab, world, gateway } = await logIn();
  await world.run(11 * minute);
  gateway.fail("/authn/refresh", ...Array(30).fill({ status: 403 }));
  await assert.rejects(world.until(tab.get()), { name: "RefreshUnavailable", status: 403 });
  assert.equal(tab.session.state.status, "active");
});

test("locks that are there and refused, as in a frame of another site, are done without", async () => {
  const locks = { request: () => Promise.reject(new DOMException("The request was denied.", "SecurityError")) };
  const { tab, world, gateway } = await logIn();
  Object.defineProperty(tab.environment.navigator, "locks", { get: () => locks });
  await world.run(11 * 60_000);
  const all = await world.until(Promise.all([tab.place("a"), tab.place("b")]));
  assert.deepEqual([all.map(({ status }) => status), gateway.count("POST /authn/refresh"), [...gateway.orders.values()]], [[201, 201], 1, [1, 1]]);
});

test("a lock that fails after the work was done does not do it again", async () => {
  const { tab, world, gateway } = await logIn();
  const locks = { request: async (_: string, work: () => Promise<void>) => work().then(() => Promise.reject(new Error("lost"))) };
  Object.defineProperty(tab.environment.navigator, "locks", { get: () => locks });
  assert.equal((await world.until(tab.login())).status, 201);
  await world.run(1000);
  assert.equal(gateway.rows.size, 2, "the login before and this one");
});
