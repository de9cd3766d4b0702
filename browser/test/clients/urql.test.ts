/** @urql/exchange-auth, as published, with what its documentation puts into it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Client, fetchExchange, gql } from "@urql/core";
import { authExchange } from "@urql/exchange-auth";
import { failures, modes, Place, times, Wallet } from "./world.js";

const query = gql`query { me }`;

describe("@urql/exchange-auth", () => {
  let place: Place;
  // A refresh takes as long as it may on a line: refusals arrive meanwhile.
  const slow = () => ({ delay: 800 });
  before(async () => {
    place = await Place.start("5s", "1s");
    place.front.misfortune = slow;
  });
  after(() => place?.stop());

  function tab(wallet: Wallet, { ahead = true } = {}) {
    const failed: number[] = [];
    const exchange = authExchange(async () => ({
      addAuthToOperation: (operation) => operation, // the wallet's fetch does
      willAuthError: () => ahead && !wallet.fresh,
      didAuthError: ({ response }) => response?.status == 401,
      async refreshAuth() {
        const { ok, status } = await wallet.refresh();
        if (ok) return;
        failed.push(status);
        throw new Error("refresh: " + status); // or each operation would try on its own
      },
    }));
    const client = new Client({ url: place.url + "/graphql", preferGetMethod: false, fetch: wallet.fetch, exchanges: [exchange, fetchExchange] });
    // Each operation has a key of its own, or the client would send one for all.
    const ask = async (i = 0) => {
      const { data, error } = await client.query<{ me: string }>(query, { i }, { requestPolicy: "network-only" }).toPromise();
      if (error) throw error;
      assert.match(data!.me, /^[0-9a-f-]{36}$/);
    };
    return { ask, failed };
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

      for (const ahead of [true, false])
        test(`8 at once after it, ${ahead ? "known beforehand" : "learnt from refusals"}: one refresh, and all get their data; three times over`, async () => {
          const wallet = await start();
          const { ask } = tab(wallet, { ahead });
          for (let i = 0; i < 3; i++) {
            const before = place.refreshes;
            await wallet.expired();
            await times(8, ask);
            assert.equal(place.refreshes - before, 1);
          }
        });

      test("a refresh answered 503 once: all 8 are rejected, the next call recovers", async () => {
        const wallet = await start();
        const { ask, failed } = tab(wallet);
        await wallet.expired();
        place.front.misfortune = () => ({ status: 503 });
        assert.equal((await failures(8, ask)).length, 8);
        place.front.misfortune = slow;
        await times(8, ask);
        assert.deepEqual(failed, [503]);
      });

      test("a refresh refused with 422: all are rejected, and no loop", async () => {
        const wallet = await start();
        const { ask, failed } = tab(wallet);
        await wallet.end();
        await wallet.expired();
        const before = place.refreshes;
        assert.equal((await failures(8, ask)).length, 8);
        assert.deepEqual([place.refreshes - before, failed], [1, [422]]);
      });

      test("401 in the middle of a life: one refresh, and all get their data", async () => {
        const wallet = await start();
        const { ask } = tab(wallet);
        const before = place.refreshes;
        await wallet.spoil();
        await times(8, ask);
        assert.equal(place.refreshes - before, 1);
      });

      test("two tabs with one jar refresh at the same moment: both go on, and the session does", async () => {
        const wallet = await start();
        const tabs = [tab(wallet), tab(wallet)];
        for (let i = 0; i < 3; i++) {
          await wallet.expired();
          await Promise.all(tabs.map(({ ask }) => times(4, ask)));
        }
        assert.deepEqual(tabs.flatMap(({ failed }) => failed), []);
      });
    });

  test("the module behind the gateway saw who asks, and no token of a client", () => {
    assert.deepEqual(place.graphql.complaints, []);
  });
});
