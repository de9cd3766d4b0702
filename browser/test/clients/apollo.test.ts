/** apollo-link-token-refresh in Apollo Client 3, as published. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import apollo from "@apollo/client/core/core.cjs";
import errorLink from "@apollo/client/link/error/error.cjs";
import refreshing from "apollo-link-token-refresh";
import { failures, modes, Place, times, Wallet } from "./world.js";

const { ApolloClient, ApolloLink, fromPromise, gql, HttpLink, InMemoryCache } = apollo;
const query = gql`query { me }`;

describe("apollo-link-token-refresh", () => {
  let place: Place;
  before(async () => (place = await Place.start("5s", "1s")));
  after(() => place?.stop());

  /** A tab with a client, as the link's README makes it. */
  function tab(wallet: Wallet, { reactive = false } = {}) {
    const errors: Error[] = [];
    const link = new refreshing.TokenRefreshLink<string>({
      accessTokenField: wallet.mode == "bearer" ? "accessToken" : "accessTokenExpiration",
      isTokenValidOrUndefined: async () => wallet.fresh,
      fetchAccessToken: wallet.refresh,
      handleFetch: () => {}, // the wallet has it all
      handleError: (error) => errors.push(error),
    });
    const again = errorLink.onError(({ networkError, operation, forward }) => {
      if (!networkError || !("statusCode" in networkError) || networkError.statusCode != 401) return;
      return fromPromise(wallet.refresh()).flatMap(() => forward(operation));
    });
    const http = new HttpLink({ uri: place.url + "/graphql", fetch: wallet.fetch });
    const client = new ApolloClient({
      cache: new InMemoryCache(), queryDeduplication: false,
      link: ApolloLink.from([link, ...(reactive ? [again] : []), http]),
    });
    const ask = async () => {
      const { data } = await client.query<{ me: string }>({ query, fetchPolicy: "network-only" });
      assert.match(data.me, /^[0-9a-f-]{36}$/);
    };
    return { ask, errors };
  }

  for (const mode of modes)
    describe(mode + " mode", () => {
      const start = () => new Wallet(place, mode).login();

      test("5 at once before the token is over: no refresh", async () => {
        const { ask } = tab(await start());
        const before = place.refreshes;
        await times(5, ask);
        assert.equal(place.refreshes, before);
      });

      test("8 at once after it: one refresh, and all get their data; three times over", async () => {
        const wallet = await start();
        const { ask, errors } = tab(wallet);
        for (let i = 0; i < 3; i++) {
          const before = place.refreshes;
          await wallet.expired();
          await times(8, ask);
          assert.deepEqual([place.refreshes - before, errors], [1, []]);
        }
      });

      test("a refresh answered 503 once: all 8 are rejected, the next call recovers", async () => {
        const wallet = await start();
        const { ask, errors } = tab(wallet);
        await wallet.expired();
        place.front.misfortune = () => ({ status: 503 });
        assert.equal((await failures(8, ask)).length, 8);
        place.front.misfortune = () => undefined;
        await times(8, ask);
        assert.match(String(errors), /Received status code 503/);
        assert.equal(errors.length, 1);
      });

      test("a refresh refused with 422: the handler hears of it once", async () => {
        const wallet = await start();
        const { ask, errors } = tab(wallet);
        await wallet.end();
        await wallet.expired();
        assert.equal((await failures(8, ask)).length, 8);
        assert.equal(errors.length, 1);
        assert.equal((errors[0] as Error & { statusCode: number }).statusCode, 422);
        assert.equal((errors[0] as Error & { result: { errors: { code: string }[] } }).result.errors[0]!.code, "token.refresh.unprocessable");
      });

      test("401 in the middle of a life is handed on: the link does not see answers", async () => {
        const wallet = await start();
        const { ask, errors } = tab(wallet);
        const before = place.refreshes;
        await wallet.end();
        await assert.rejects(ask(), /Received status code 401/);
        assert.deepEqual([place.refreshes - before, errors], [0, []]);
      });

      test("with an error link beside it, 8 refused at once refresh as often, and all get their data", async () => {
        const wallet = await start();
        const { ask } = tab(wallet, { reactive: true });
        const before = place.refreshes;
        await wallet.spoil();
        await times(8, ask);
        const took = place.refreshes - before;
        assert.ok(took >= 1 && took <= 8, `${took} refreshes`);
        await wallet.expired();
        await ask(); // the session goes on
      });

      test("two tabs with one jar refresh at the same moment: both go on, and the session does", async () => {
        const wallet = await start();
        const tabs = [tab(wallet), tab(wallet)];
        for (let i = 0; i < 3; i++) {
          const before = place.refreshes;
          await wallet.expired();
          await Promise.all(tabs.map(({ ask }) => times(4, ask)));
          assert.equal(place.refreshes - before, 2, "nobody tells the tabs of each other");
        }
        assert.deepEqual(tabs.flatMap(({ errors }) => errors), []);
      });
    });

  test("the module behind the gateway saw who asks, and no token of a client", () => {
    assert.deepEqual(place.graphql.complaints, []);
  });
});
