import assert from "node:assert/strict";
import { test } from "node:test";
import apollo3 from "@apollo/client/core/core.cjs";
import * as apollo4 from "apollo-client-4";
import { Client, fetchExchange, gql } from "@urql/core";
import { authExchange } from "@urql/exchange-auth";
import axios, { type InternalAxiosRequestConfig } from "axios";
import ky from "ky";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { sessionLink } from "@counterfoil/browser/apollo";
import { attachSession } from "@counterfoil/browser/axios";
import { withSession } from "@counterfoil/browser/ky";
import { useSession } from "@counterfoil/browser/react";
import { sessionAuth } from "@counterfoil/browser/urql";
import { logIn, origin, type Tab } from "./world.js";

const minute = 60_000;

/** The GraphQL server of the tests is one behind the gateway that says no inside of a 200. */
function graphql(tab: Tab, refusals: number, partly = false): typeof fetch {
  let left = refusals;
  return async (input, init) => {
    const answer = await tab.session.fetch(input, init);
    if (!answer.ok || left-- <= 0) return answer;
    const errors = [{ message: "no", extensions: { code: "UNAUTHENTICATED" } }];
    return new Response(JSON.stringify({ data: { me: partly ? "half" : null }, errors }), { status: 200, headers: { "Content-Type": "application/json" } });
  };
}

for (const [name, apollo] of [["3", apollo3], ["4", apollo4]] as const)
  test(`Apollo Client ${name}`, async () => {
    const { tab, world, gateway } = await logIn();
    const { ApolloLink, HttpLink, InMemoryCache, Observable } = apollo as typeof apollo4;
    const query = apollo4.gql`query { me }`;
    const client = (fetch: typeof globalThis.fetch) =>
      new (apollo as typeof apollo4).ApolloClient({
        cache: new InMemoryCache(),
        link: ApolloLink.from([sessionLink(tab.session, { ApolloLink, Observable }), new HttpLink({ uri: origin + "/graphql", fetch })]),
      });
    const ask = (fetch: typeof globalThis.fetch) => client(fetch).query<{ me: string }>({ query, fetchPolicy: "network-only" });

    await world.run(11 * minute);
    const all = await world.until(Promise.all(Array.from({ length: 8 }, () => ask(tab.session.fetch))));
    assert.ok(all.every(({ data }) => data?.me == "diku"));
    assert.deepEqual([gateway.count("POST /authn/refresh"), gateway.count("POST /graphql")], [1, 8], "waited for one refresh");

    assert.equal((await world.until(ask(graphql(tab, 1)))).data?.me, "diku");
    assert.equal(gateway.count("POST /authn/refresh"), 2);
    await assert.rejects(world.until(ask(graphql(tab, 9))), "it is sent once more and not for ever");
    const sent = gateway.count("POST /graphql");
    await assert.rejects(world.until(ask(graphql(tab, 1, true))));
    assert.equal(gateway.count("POST /graphql"), sent + 1, "what was carried out in part is not sent again");

    [...gateway.rows.values()][0]!.revoked = true;
    await world.run(11 * minute);
    await assert.rejects(world.until(ask(tab.session.fetch)), /refused/);
  });

/** axios with a transport of this world. */
function axiosOf(tab: Tab) {
  return axios.create({
    baseURL: origin,
    adapter: async (config: InternalAxiosRequestConfig) => {
      const headers = Object.entries(config.headers.toJSON()).map(([name, value]) => [name, String(value)] as [string, string]);
      const init: RequestInit = { method: config.method!.toUpperCase(), headers, credentials: config.withCredentials ? "include" : "omit" };
      const answer = await tab.fetch(axios.getUri(config), { ...init, ...(config.data !== undefined && { body: config.data }) });
      const response = { data: await answer.text(), status: answer.status, statusText: "", headers: Object.fromEntries(answer.headers), config };
      if (answer.ok) return response;
      throw new axios.AxiosError("refused", undefined, config, null, response);
    },
  });
}

test("axios", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const client = axiosOf(tab);
  const detach = attachSession(client, tab.session);
  await world.run(11 * minute);
  const all = await world.until(Promise.all([1, 2, 3].map((i) => client.post("/orders", { id: i }))));
  assert.deepEqual([all.map(({ status }) => status), gateway.count("POST /authn/refresh")], [[201, 201, 201], 1]);
  browser.jar["access"] = undefined;
  const again = await world.until(Promise.all([4, 5, 6].map((i) => client.post("/orders", { id: i }))));
  assert.deepEqual([again.map(({ status }) => status), gateway.count("POST /authn/refresh")], [[201, 201, 201], 2]);
  assert.deepEqual([...gateway.orders], [1, 2, 3, 4, 5, 6].map((id) => [JSON.stringify({ id }), 1]));

  const bearer = { status: 401, headers: { "WWW-Authenticate": "Bearer" } };
  gateway.fail("/orders", bearer, bearer);
  await assert.rejects(world.until(client.get("/orders")), { name: "AxiosError" });
  gateway.fail("/orders", { status: 403 });
  await assert.rejects(world.until(client.get("/orders")), { name: "AxiosError" });
  [...gateway.rows.values()][0]!.revoked = true;
  await assert.rejects(world.until(client.get("/orders")), { name: "SessionEnded" });
  detach();
  await assert.rejects(world.until(client.get("/orders")), { name: "AxiosError" });
});

test("ky", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const client = withSession(ky.create({ prefixUrl: origin, timeout: false }), tab.session);
  await world.run(11 * minute);
  assert.equal((await world.until(client.post("orders", { json: { id: 1 } }))).status, 201);
  browser.jar["access"] = undefined;
  assert.equal((await world.until(client.post("orders", { json: { id: 2 } }))).status, 201);
  assert.deepEqual([...gateway.orders.values()], [1, 1]);
  await world.until(tab.session.logout());
  await assert.rejects(world.until(client.post("orders", { json: { id: 3 } })), { name: "SessionEnded" });
});

test("urql", async () => {
  const { tab, world, gateway, browser } = await logIn();
  const client = (fetch: typeof globalThis.fetch) =>
    new Client({ url: origin + "/graphql", fetch, preferGetMethod: false, exchanges: [authExchange(sessionAuth(tab.session)), fetchExchange] });
  const ask = async (fetch: typeof globalThis.fetch) => world.until(client(fetch).query(gql`query { me }`, {}, { requestPolicy: "network-only" }).toPromise());
  await world.run(11 * minute);
  assert.equal((await ask(tab.session.fetch)).data.me, "diku");
  browser.jar["access"] = undefined;
  assert.equal((await ask(tab.session.fetch)).data.me, "diku");
  assert.equal((await ask(graphql(tab, 1))).data.me, "diku");
  assert.equal(gateway.count("POST /authn/refresh"), 3);
});

test("React", async () => {
  const { tab, world } = await logIn();
  const Greeting = () => useSession(tab.session).status;
  assert.equal(renderToString(createElement(Greeting)), "active");
  await world.until(tab.session.logout());
  assert.equal(renderToString(createElement(Greeting)), "ended");
});
