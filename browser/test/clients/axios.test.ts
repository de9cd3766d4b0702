/**
 * axios-auth-refresh, as published. What is refused while a refresh is under way
 * shares it only with deduplicateRefresh: false; by default it is rejected.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import axios, { AxiosError } from "axios";
import { createAuthRefresh } from "axios-auth-refresh";
import { failures, modes, Place, times, Wallet } from "./world.js";

describe("axios-auth-refresh", () => {
  let place: Place;
  // A refresh takes as long as it may on a line: refusals arrive meanwhile.
  const slow = () => ({ delay: 800 });
  before(async () => {
    place = await Place.start("5s", "1s");
    place.front.misfortune = slow;
  });
  after(() => place?.stop());

  let number = 0;
  /** A tab with a client. It places orders, and each is counted. */
  function tab(wallet: Wallet, options = { deduplicateRefresh: false }) {
    const client = axios.create({ baseURL: place.url, adapter: "fetch", env: { fetch: wallet.fetch } });
    // Its types are those that CommonJS gets.
    createAuthRefresh(client as never, async () => {
      const answer = await wallet.refresh();
      if (!answer.ok) throw new Error("refresh: " + answer.status);
    }, options);
    const mine: string[] = [];
    const send = async () => {
      const id = `axios-${++number}`;
      mine.push(id);
      assert.equal((await client.post("/orders", { id })).status, 201);
    };
    /** Each was placed once. */
    const once = async () => {
      const orders = await place.program.orders();
      assert.deepEqual(mine.map((id) => orders.get(id)), mine.map(() => 1));
    };
    return { client, order: send, once };
  }
  const status = (error: unknown) => (error instanceof AxiosError ? error.response?.status : String(error));

  for (const mode of modes)
    describe(mode + " mode", () => {
      const start = () => new Wallet(place, mode).login();

      test("5 at once before the token is over: no refresh", async () => {
        const { order, once } = tab(await start());
        const before = place.refreshes;
        await times(5, order);
        assert.equal(place.refreshes, before);
        await once();
      });

      test("8 at once after it: all are refused, one refresh, and each is placed once; three times over", async () => {
        const wallet = await start();
        const { order, once } = tab(wallet);
        for (let i = 0; i < 3; i++) {
          const before = place.refreshes;
          await wallet.expired();
          await times(8, order);
          assert.equal(place.refreshes - before, 1);
        }
        await once();
      });

      test("a refresh answered 503 once: all 8 are rejected, the next call recovers", async () => {
        const wallet = await start();
        const { client, order } = tab(wallet);
        await wallet.expired();
        place.front.misfortune = () => ({ status: 503 });
        assert.equal((await failures(8, () => client.get("/orders"))).length, 8);
        place.front.misfortune = slow;
        await times(8, order);
      });

      test("a refresh refused with 422: rejected, and no loop", async () => {
        const wallet = await start();
        const { client } = tab(wallet);
        await wallet.end();
        await wallet.expired();
        const before = place.refreshes;
        assert.equal((await failures(8, () => client.get("/orders"))).length, 8);
        assert.equal(place.refreshes - before, 1);
      });

      test("401 in the middle of a life: one refresh, and each is placed once", async () => {
        const wallet = await start();
        const { order, once } = tab(wallet);
        const before = place.refreshes;
        await wallet.spoil();
        await times(8, order);
        assert.equal(place.refreshes - before, 1);
        await once();
      });

      test("by default, what is refused while a refresh is under way is rejected; it was not carried out", async () => {
        const wallet = await start();
        const { client } = tab(wallet, { deduplicateRefresh: true });
        await wallet.spoil();
        const mine = Array.from({ length: 8 }, () => `axios-${++number}`);
        const errors = await failures(8, (i) => client.post("/orders", { id: mine[i] }));
        assert.deepEqual(errors.map(status), Array(7).fill(401));
        const orders = await place.program.orders();
        assert.equal(mine.filter((id) => orders.get(id) == 1).length, 1);
        assert.equal(mine.filter((id) => orders.has(id)).length, 1);
      });

      test("400 and 404 are no reason to refresh", async () => {
        const wallet = await start();
        const { client } = tab(wallet);
        const before = place.refreshes;
        assert.deepEqual((await failures(1, () => client.post("/orders", {}))).map(status), [400]);
        assert.deepEqual((await failures(1, () => client.get("/nowhere"))).map(status), [404]);
        assert.equal(place.refreshes, before);
      });

      test("two tabs with one jar refresh at the same moment: both go on, and the session does", async () => {
        const wallet = await start();
        const tabs = [tab(wallet), tab(wallet)];
        for (let i = 0; i < 3; i++) {
          await wallet.expired();
          await Promise.all(tabs.map(({ order }) => times(4, order)));
        }
        for (const { once } of tabs) await once();
      });
    });
});
