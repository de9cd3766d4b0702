import assert from "node:assert/strict";
import { test } from "node:test";
import { refused, withElevation, type ElevationRequest } from "@counterfoil/browser/elevation";
import type { Asked } from "./gateway.js";
import { logIn, origin } from "./world.js";

const challenge = 'Bearer error="insufficient_user_authentication", max_age="300"';

/** A tab, and a gateway that wants the password again for whatever is under /guarded. */
async function guarded(password: (request: ElevationRequest) => Promise<string | undefined>) {
  const asked: Asked[] = [];
  const all = await logIn({ refused }, (gateway) => {
    const handle = gateway.handle.bind(gateway);
    gateway.handle = (request) => {
      const { path, headers, body } = request;
      if (!path.startsWith("/guarded") && path != "/authn/elevate") return handle(request);
      asked.push(request);
      if (path == "/authn/elevate")
        return JSON.parse(body).password == "admin" ? { status: 201, body: { accessToken: "raised" } } : { status: 422, body: {} };
      if (headers.get("X-Okapi-Token") == "raised") return { status: 200, body: JSON.stringify(body) };
      if (path == "/guarded/other") return { status: 401, headers: { "WWW-Authenticate": challenge }, body: "of a module" };
      return {
        status: 401, headers: { "WWW-Authenticate": challenge },
        body: { code: "ELEVATION_REQUIRED", permissions: ["orders.item.delete"], maxAge: 300 },
      };
    };
  });
  const { tab } = all;
  const send = withElevation(tab.session, { gateway: origin, tenant: "diku", fetch: (...args) => tab.fetch(...args), password });
  return { ...all, asked, send };
}

test("the password is asked for once, and the request is sent once more", async () => {
  const questions: ElevationRequest[] = [];
  const { world, gateway, asked, send } = await guarded(async (request) => (questions.push(request), "admin"));
  const post = (body: string) => send(new Request(origin + "/guarded", { method: "POST", body }));
  const answers = await world.until(Promise.all([post("a"), post("b"), send(origin + "/orders")]));
  assert.deepEqual(answers.map(({ status }) => status), [200, 200, 200]);
  assert.deepEqual(await Promise.all(answers.slice(0, 2).map((answer) => answer.json())), ["a", "b"]);
  assert.deepEqual(questions.map(({ permissions, maxAge }) => [permissions, maxAge]), [[["orders.item.delete"], 300]]);
  assert.equal(asked.filter(({ path }) => path == "/authn/elevate").length, 1);
  const last = asked.at(-1)!;
  assert.deepEqual([last.headers.get("X-Okapi-Tenant"), last.cookies], ["diku", {}]);
  assert.equal(gateway.count("POST /authn/refresh"), 0);
  // Raised scope is for one operation: the next asks again.
  await world.until(send(origin + "/guarded", { method: "POST", body: "c" }));
  assert.equal(questions.length, 2);
});

for (const [name, given] of [["nobody gives a password", undefined], ["a wrong password", "wrong"]] as const)
  test(`${name}: the refusal is the answer, and the session goes on`, async () => {
    const { world, tab, gateway, asked, send } = await guarded(async () => given);
    const answer = await world.until(send(origin + "/guarded"));
    assert.deepEqual([answer.status, (await answer.json()).code], [401, "ELEVATION_REQUIRED"]);
    assert.equal(asked.filter(({ path }) => path == "/guarded").length, 1);
    assert.equal(gateway.count("POST /authn/refresh"), 0);
    assert.equal(tab.session.state.status, "active");
  });

test("a module's own challenge is its answer", async () => {
  const { world, send } = await guarded(async () => assert.fail("asked for a password"));
  const answer = await world.until(send(origin + "/guarded/other"));
  assert.deepEqual([answer.status, await answer.text()], [401, "of a module"]);
});

test("a token that is over is refreshed all the same", async () => {
  const { world, tab, gateway } = await guarded(async () => "admin");
  await world.run(11 * 60_000);
  assert.equal((await world.until(tab.get())).status, 200);
  assert.equal(gateway.count("POST /authn/refresh"), 1);
});
