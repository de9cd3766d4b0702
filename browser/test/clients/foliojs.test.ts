/**
 * @indexdata/foliojs, as published. It never refreshes: it logs in again at
 * half of a token's life. Its cookie jar is one for the whole process, so the
 * two modes are on two names of this machine. The jar is of an age that sends no
 * Secure cookies to http.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import Folio from "@indexdata/foliojs";
import { admin } from "../program.js";
import { failures, Place, times } from "./world.js";

/** A token lives five seconds at most, in milliseconds; jitter makes that less, not more. */
const ended = 5100;

describe("@indexdata/foliojs", () => {
  let place: Place;
  before(async () => (place = await Place.start("5s", "1s", "--plain-cookies")));
  after(() => place?.stop());
  const withCookies = () => Folio.service(place.url);
  const withToken = () => Folio.service(place.url.replace("localhost", "127.0.0.1"));
  const logins = () => place.front.count("POST /authn/login-with-expiry");

  /** Sets a variable that the library reads when it logs in. */
  async function having<T>(name: string, value: string, work: () => Promise<T>): Promise<T> {
    process.env[name] = value;
    return work().finally(() => delete process.env[name]);
  }

  describe("cookie mode", () => {
    test("5 at once before the token is over: one login, no refresh", async () => {
      const [logged, refreshed] = [logins(), place.refreshes];
      const session = await withCookies().login("diku", admin.username, admin.password);
      assert.match(session.getSessionCookie()!, /^[\w-]+\.[\w-]+\.[\w-]+$/);
      await times(5, (i) => session.folioFetch("/orders", { json: { id: `foliojs-${i}` } }));
      assert.deepEqual([logins() - logged, place.refreshes - refreshed], [1, 0]);
      assert.ok((await session.modulesEnabled("diku")).some(({ id }) => id == "mod-graphql-1.0.0"));
      session.close();
      const orders = await place.program.orders();
      assert.deepEqual([0, 1, 2, 3, 4].map((i) => orders.get(`foliojs-${i}`)), [1, 1, 1, 1, 1]);
    });

    test("it logs in again by its timer, with the older cookies, and goes on", async () => {
      const logged = logins();
      await having("FOLIOJS_SESSION_TIMEOUT", "0.5", async () => {
        const session = await withCookies().login("diku", admin.username, admin.password);
        for (let again = 1; again <= 2; again++) {
          const cookie = session.getSessionCookie();
          await place.front.comes("POST /authn/login-with-expiry", logged + 1 + again);
          // To close it in the middle of a login would not stop its timer.
          while (session.getSessionCookie() == cookie) await pause(5);
          await session.folioFetch("/orders");
        }
        session.close();
      });
      assert.equal(place.refreshes, 0);
    });

    test("refused for want of a token: handed on with its status", async () => {
      const session = await having("FOLIOJS_SESSION_TIMEOUT", "60", () => withCookies().login("diku", admin.username, admin.password));
      session.close();
      await pause(ended); // and the timer that would log in again is off
      const errors = await failures(8, () => session.folioFetch("/orders"));
      assert.deepEqual(errors.map((error) => (error as { status: number }).status), Array(8).fill(401));
    });

    test("a wrong password is told with its status", async () => {
      const [error] = await failures(1, () => withCookies().login("diku", admin.username, "wrong"));
      assert.equal((error as { status: number }).status, 422);
    });
  });

  describe("bearer mode", () => {
    test("a token beside another session's cookies, which no session can keep back, is refused", async () => {
      const session = await withCookies().login("diku", admin.username, admin.password);
      session.close();
      const other = await having("FOLIOJS_OLD_AUTH", "1", () => withToken().login("diku", admin.username, admin.password));
      const [error] = await failures(1, () => withCookies().resumeSession("diku", other.getToken()!).folioFetch("/orders"));
      assert.equal((error as { status: number }).status, 400);
    });

    test("the older way to log in, and a token handed on to another process", async () => {
      const session = await having("FOLIOJS_OLD_AUTH", "1", () => withToken().login("diku", admin.username, admin.password));
      await times(5, () => session.folioFetch("/orders"));
      const resumed = withToken().resumeSession("diku", session.getToken()!);
      await resumed.folioFetch("/orders");
    });

    test("its token ends like any other, and the library does not know", async () => {
      const session = await having("FOLIOJS_OLD_AUTH", "1", () => withToken().login("diku", admin.username, admin.password));
      await pause(ended);
      const [error] = await failures(1, () => session.folioFetch("/orders"));
      assert.equal((error as { status: number }).status, 401);
    });
  });
});
