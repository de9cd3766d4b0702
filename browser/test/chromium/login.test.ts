import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { Program } from "../program.js";
import { Desk } from "./desk.js";
import { missing } from "./world.js";

/** Where the demonstration's application says that it listens. */
const callback = "http://127.0.0.1:9139/callback";

/** The login page of OAuth, as somebody sees it whom an application sends there. */
describe("the login page of OAuth", { skip: missing() }, () => {
  let program: Program;
  let desk: Desk;
  const verifier = randomBytes(32).toString("base64url");
  const authorize = (more: Record<string, string> = {}) =>
    "/oauth2/authorize?" +
    new URLSearchParams({
      response_type: "code",
      client_id: "demo-app",
      redirect_uri: callback,
      state: "s & t",
      scope: "openid orders.collection.get",
      code_challenge_method: "S256",
      code_challenge: createHash("sha256").update(verifier).digest("base64url"),
      ...more,
    });
  const application = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end("<h1>the application</h1>"));
  const open = () => Desk.open(program.url);
  const redeem = (code: string) =>
    fetch(program.url + "/oauth2/token", {
      method: "POST",
      body: new URLSearchParams({ grant_type: "authorization_code", client_id: "demo-app", redirect_uri: callback, code, code_verifier: verifier }),
    });
  before(async () => {
    await new Promise<void>((ready) => application.listen(9139, "127.0.0.1", ready));
    program = await Program.start("1m", "2s");
    desk = await open();
  });
  after(async () => {
    await desk?.browser.close();
    await program?.stop();
    application.close();
  });

  test("by keyboard: a wrong password is told, the right one leads back, and the code is good once", async () => {
    await desk.see(authorize());
    assert.equal(await desk.page.evaluate(() => document.activeElement?.id), "username", "the first field has the focus");
    await desk.type("User name", "reader");
    await desk.type("Password", "wrong");
    await desk.press("Log in");
    assert.match(await desk.main(), /Wrong user name or password/);
    assert.match(await desk.page.title(), /^Error: /);
    assert.equal(await desk.page.evaluate(() => document.activeElement?.id), "password");
    assert.equal(await desk.page.locator("#password").getAttribute("aria-describedby"), "fault");
    assert.equal(await desk.page.locator("#username").inputValue(), "reader", "the name need not be typed again");
    assert.equal(await desk.page.locator("#password").inputValue(), "");
    assert.deepEqual(await desk.barriers(), []);
    await desk.type("Password", "reader");
    await desk.press("Log in");
    const at = new URL(desk.page.url());
    assert.equal(at.origin + at.pathname, callback);
    assert.equal(at.searchParams.get("state"), "s & t");
    const first = await redeem(at.searchParams.get("code")!);
    assert.equal(first.status, 200);
    const tokens = (await first.json()) as { access_token: string; id_token: string };
    assert.ok(tokens.id_token);
    assert.equal((await redeem(at.searchParams.get("code")!)).status, 400, "the code again");
    assert.deepEqual(desk.reports, []);
  });

  test("without barriers at two widths and in the dark, with a name to begin with", async () => {
    await desk.see(authorize({ login_hint: "reader" }));
    assert.equal(await desk.page.locator("#username").inputValue(), "reader");
    for (const width of [1180, 360]) {
      await desk.page.setViewportSize({ width, height: 740 });
      assert.equal(await desk.page.evaluate(() => document.documentElement.scrollWidth), width);
      for (const colorScheme of ["light", "dark"] as const) {
        await desk.page.emulateMedia({ colorScheme });
        assert.deepEqual(await desk.barriers(), [], `${width} ${colorScheme}`);
      }
    }
    await desk.page.emulateMedia({ colorScheme: null });
    await desk.page.setViewportSize({ width: 1180, height: 760 });
    assert.deepEqual(desk.reports, []);
  });

  test("a request that cannot be meant goes nowhere", async () => {
    for (const [name, value] of [["client_id", "nobody"], ["redirect_uri", "https://evil.test/"]] as const) {
      await desk.see(authorize({ [name]: value }));
      assert.match(await desk.main(), /Go back to the application and start again/);
      assert.equal(await desk.page.locator("[role=alert]").count(), 1);
      assert.deepEqual(await desk.barriers(), []);
    }
  });

  test("nobody can frame it", async () => {
    const evil = createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(`<iframe src="${program.url + authorize()}"></iframe>`));
    await new Promise<void>((ready) => evil.listen(0, "127.0.0.1", ready));
    const other = await open();
    try {
      await other.page.goto(`http://localhost:${(evil.address() as AddressInfo).port}/`);
      const frame = other.page.frames()[1]!;
      await frame.waitForLoadState().catch(() => {});
      assert.equal(await frame.locator("#password").count(), 0);
    } finally {
      await other.browser.close();
      evil.close();
    }
  });

  test("works without JavaScript", async () => {
    const context = await desk.browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(program.url + authorize());
    await page.fill("#username", "reader");
    await page.fill("#password", "reader");
    await Promise.all([page.waitForURL(callback + "**"), page.keyboard.press("Enter")]);
    assert.equal((await redeem(new URL(page.url()).searchParams.get("code")!)).status, 200);
    await context.close();
  });

  test("too many wrong passwords are told, and an account that is blocked looks like a wrong password", async () => {
    await desk.see(authorize());
    await desk.type("User name", "reader");
    for (let i = 0; i < 20; i++) {
      await desk.type("Password", "wrong" + i);
      await desk.press("Log in");
      if (/Too many failed attempts/.test(await desk.main())) break;
    }
    assert.match(await desk.main(), /Too many failed attempts/);
    assert.deepEqual(await desk.barriers(), []);
    await desk.type("Password", "reader");
    await desk.press("Log in");
    assert.match(await desk.main(), /Too many failed attempts/, "also with the right one");
  });
});
