import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { Program } from "../program.js";
import { Desk } from "./desk.js";
import { missing } from "./world.js";

const operator = { username: "operator", password: "operator" };

/** What a stranger may call his browser. */
const script = `<img src=x onerror="document.title='broken into'">`;

describe("the operators' console", { skip: missing() }, () => {
  let program: Program;
  let desk: Desk;
  const logIn = (username: string, agent: string) =>
    fetch(program.url + "/authn/login", {
      method: "POST",
      headers: { "X-Okapi-Tenant": "diku", "Content-Type": "application/json", "User-Agent": agent },
      body: JSON.stringify({ username, password: username == "reader" ? "reader" : "admin" }),
    });
  before(async () => {
    program = await Program.start("1m", "2s");
    await logIn("diku_admin", script);
    await logIn("reader", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36");
    desk = await Desk.open(program.admin + "/console/");
  });
  after(async () => {
    await desk?.browser.close();
    await program?.stop();
  });

  test("log in, after a wrong password", async () => {
    await desk.see("sessions");
    await desk.type("User name", operator.username);
    await desk.type("Password", "wrong");
    await desk.press("Log in");
    assert.match(await desk.main(), /User name or password is wrong/);
    assert.deepEqual(await desk.barriers(), []);
    await desk.type("Password", operator.password);
    await desk.press("Log in");
    assert.match(desk.page.url(), /\/console\/sessions$/);
    const cookies = await desk.page.context().cookies();
    for (const cookie of cookies) {
      assert.match(cookie.name, /^__Host-Http-counterfoil-console/);
      assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite == "Strict", JSON.stringify(cookie));
    }
    assert.equal(cookies.length, 2);
    assert.equal(await desk.page.evaluate(() => document.cookie), "");
  });

  test("every page opens by keyboard, without barriers, at two widths and in the dark", async () => {
    const pages = ["Overview", "Sessions", "Users", "Policies", "Keys", "API keys", "Audit", "Modules"];
    for (const name of pages) {
      await desk.press(name);
      assert.equal(await desk.page.locator("h1").innerText(), name);
      assert.equal(await desk.page.locator("nav [aria-current=page]").innerText(), name);
    }
    for (const [name, path] of Object.entries({ overview: "", sessions: "sessions", users: "users?tenant=diku", user: "users/diku/reader", policies: "policies?tenant=diku", keys: "keys", audit: "audit", modules: "modules?tenant=diku" })) {
      await desk.see(path);
      assert.deepEqual(await desk.barriers(), [], path);
      await desk.photograph(name);
      await desk.page.setViewportSize({ width: 360, height: 740 });
      assert.equal(await desk.page.evaluate(() => document.documentElement.scrollWidth), 360, `${path} is wider than the screen`);
      await desk.page.emulateMedia({ colorScheme: "dark" });
      assert.deepEqual(await desk.barriers(), [], path + " in the dark");
      if (name == "sessions") await desk.photograph("narrow-dark");
      await desk.page.emulateMedia({ colorScheme: "light" });
      await desk.page.setViewportSize({ width: 1180, height: 760 });
    }
  });

  test("the filter finds without a reload, and times are those of the place", async () => {
    await desk.see("sessions");
    await desk.page.evaluate(() => ((window as { kept?: boolean }).kept = true));
    await desk.page.locator("select[name=tenant]").focus();
    await desk.page.keyboard.type("diku");
    await desk.page.keyboard.press("Tab");
    await desk.page.waitForFunction(() => !document.querySelector("#found")!.textContent!.includes("supertenant"));
    assert.ok(await desk.page.evaluate(() => (window as { kept?: boolean }).kept));
    assert.match(desk.page.url(), /tenant=diku/);
    const time = desk.page.locator("#found time").first();
    const [shown, utc] = [await time.innerText(), (await time.getAttribute("datetime"))!];
    assert.equal(shown, new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium", timeZone: "Europe/Copenhagen" }).format(new Date(utc)));
  });

  test("what a stranger wrote is text", async () => {
    await desk.see("sessions?tenant=diku&user=diku_admin");
    assert.ok((await desk.main()).includes(script));
    await desk.press((await desk.page.locator("#found a[aria-label]").first().getAttribute("aria-label"))!);
    assert.match(await desk.page.title(), /^Session/);
    assert.ok((await desk.main()).includes(script));
  });

  test("end a session, and say why it ended", async () => {
    await desk.see("sessions?tenant=diku&user=reader");
    await desk.press((await desk.page.locator("#found a[aria-label]").first().getAttribute("aria-label"))!);
    assert.match(await desk.main(), /Chrome on Linux/);
    const address = desk.page.url();
    desk.page.once("dialog", (dialog) => void dialog.dismiss());
    await desk.reach("End this session");
    await desk.page.keyboard.press("Enter");
    assert.equal(desk.page.url(), address);
    desk.page.once("dialog", (dialog) => void dialog.accept());
    await desk.press("End this session");
    assert.match(await desk.main(), /1 session ended\.[^]*Effective on 1\/1 nodes in/);
    await desk.press("Back to the session");
    assert.match(await desk.main(), /ended at .* UTC: it was revoked by operator/);
    assert.deepEqual(await desk.barriers(), []);
    await desk.photograph("session");
  });

  test("the overview goes on by itself", async () => {
    await desk.see("");
    const asked = desk.page.waitForResponse((answer) => answer.url().endsWith("/console/live") && answer.status() == 200);
    const before = await desk.page.locator("#live > p.quiet time").getAttribute("datetime");
    await asked;
    await desk.page.waitForFunction((before) => document.querySelector("#live > p.quiet time")!.getAttribute("datetime") != before, before);
  });

  test("log out", async () => {
    await desk.press("Log out");
    assert.match(desk.page.url(), /\/console\/login$/);
    assert.equal((await desk.page.context().cookies()).length, 0);
    await desk.see("keys");
    assert.match(desk.page.url(), /\/console\/login\?next=/);
  });

  test("without JavaScript", async () => {
    const context = await desk.browser.newContext({ javaScriptEnabled: false });
    const page = await context.newPage();
    await page.goto(program.admin + "/console/users?tenant=diku");
    await page.fill("[name=username]", operator.username);
    await page.fill("[name=password]", operator.password);
    await page.keyboard.press("Enter");
    await page.waitForURL(/users\?tenant=diku/);
    await page.click("text=reader");
    await page.click("text=Block");
    await page.waitForSelector("[role=status]");
    await page.click("text=Back to reader");
    assert.match(await page.locator("main").innerText(), /blocked/);
    await context.close();
  });

  test("nothing broke the policy of the pages", () => assert.deepEqual(desk.reports, []));
});
