/** Steady traffic in the tabs of a browser while something happens, and what came of it. */
import assert from "node:assert/strict";
import { appendFileSync, existsSync } from "node:fs";
import type { TestContext } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import type { Page } from "playwright-core";
import type { Misfortune } from "../front.js";
import type { Program } from "../program.js";
import { Chromium, frontOf, inTab } from "./world.js";

/** With LONG=1 everything, for a minute each; otherwise what every change must stand. */
export const long = !!process.env["LONG"];
export const onlyLong = { skip: !long && "only with LONG=1" };
export const seconds = long ? 60 : 6;
/**
 * How many of the requests that were sent may have been too late twice, as none
 * is where machine and network are quick enough for tokens of two seconds. Only
 * the long run, which measures, asks for that; elsewhere most must get through.
 */
export const mayBeLate = (sent: number) => (long ? sent / 20 : sent / 2);
/** Milliseconds between two requests of a tab. */
export const every = 250;

const table = "build/chromium.md";
const head =
  "| case | tabs | seconds | requests | expiries | refreshes | per expiry | forced logouts | lost | doubled | late twice |\n" +
  "| --- | --: | --: | --: | --: | --: | --: | --: | --: | --: | --: |\n";

/** Adds a line to the table that the run leaves. */
export function note(...cells: (string | number)[]): void {
  if (!existsSync(table)) appendFileSync(table, head);
  appendFileSync(table, `| ${cells.join(" | ")} |\n`);
}

export interface Case {
  tabs?: number;
  init?: string;
  query?: string;
  host?: string;
  misfortune?: (nth: number) => Misfortune;
  /** What happens meanwhile. */
  story?: (chromium: Chromium, pages: Page[], over: Promise<void>) => Promise<void>;
  /** Requests may fail with this. */
  mayFail?: RegExp;
  for?: number;
}

/**
 * Plays a case. Whatever happens, no write may be lost or doubled, nobody may be
 * logged out, and no request may fail but those that are allowed to.
 */
export async function play(t: TestContext, program: Program, it: Case) {
  const front = await frontOf(program);
  const chromium = await Chromium.start(front, { host: it.host ?? "localhost", init: it.init ?? "" });
  const lasts = it.for ?? seconds;
  try {
    const pages = [await chromium.open(it.query)];
    assert.equal(await inTab(pages[0]!, (tab) => tab.login()), 201);
    while (pages.length < (it.tabs ?? 4)) pages.push(await chromium.open(it.query));
    front.misfortune = it.misfortune ?? (() => undefined);
    for (const page of pages) await page.evaluate(`traffic(${every})`);
    const over = pause(lasts * 1000);
    await it.story?.(chromium, pages, over);
    await over;
    let sent = 0;
    let ok = 0;
    for (const page of pages) {
      const counts = await inTab(page, (tab) => tab.stop());
      sent += counts.sent;
      ok += counts.ok;
    }
    const known = await program.orders();
    const lost = [...front.placed].filter((id) => !known.has(id)).length;
    const doubled = [...front.placed].filter((id) => known.get(id)! > 1).length;
    const refreshes = front.count("POST /authn/refresh");
    const { expiries } = chromium;
    const logouts = chromium.of("ended").length;
    const ratio = refreshes / expiries;
    // A request is sent again once. On a machine that is busy with other things
    // a round trip can take as long as these tokens live.
    const tooLate = /TOKEN_EXPIRED|Token missing/;
    const late = chromium.of("error").filter(({ text }) => tooLate.test(text!)).length;
    const passed = front.count("POST /orders") + front.count("GET /echo");
    note(t.name, pages.length, lasts, passed, expiries, refreshes, ratio.toFixed(2), logouts, lost, doubled, late);
    const errors = chromium.of("error").filter(({ text }) => !it.mayFail?.test(text!) && !tooLate.test(text!));
    assert.deepEqual(errors.slice(0, 3), [], `${errors.length} requests failed`);
    assert.ok(late <= mayBeLate(sent), `${late} of ${sent} requests were too late twice`);
    assert.deepEqual({ lost, doubled, logouts }, { lost: 0, doubled: 0, logouts: 0 });
    return { sent, ok, late, expiries, ratio };
  } finally {
    await chromium.stop();
    await front.stop();
  }
}
