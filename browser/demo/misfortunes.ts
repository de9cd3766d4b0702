/** What goes wrong at the press of a button. Each tells in the log what to look for. */
import type { Session } from "@counterfoil/browser";
import type { Ledger, Robbery, Settings } from "./ledger.js";
import type { Picture } from "./picture.js";
import type { Tabs } from "./tabs.js";
import type { Wire } from "./wire.js";
import { span } from "./words.js";

export interface Stage {
  readonly session: Session;
  readonly settings: Settings;
  readonly wire: Wire;
  readonly picture: Picture;
  readonly tabs: Tabs;
  /** Reads the ledger and shows it. */
  look(): Promise<Ledger>;
  tell(text: string): void;
  /** Sets the page's clock wrong, or right again; returns whether it is wrong now. */
  turnClock(): boolean;
}

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Waits until a refresh will rotate: until then it gives access tokens only. */
async function rotates(stage: Stage): Promise<Ledger> {
  for (let told = false; ; ) {
    const ledger = await stage.look();
    if (stage.session.state.status != "active") throw new Error("the session is over");
    if (!ledger.rotatesIn) return ledger;
    if (!told) stage.tell(`waits ${span(ledger.rotatesIn)}: the refresh token is replaced every ${span(stage.settings.floor)} at most`);
    told = true;
    await pause(ledger.rotatesIn);
  }
}

/** A refresh while something happens to it. */
async function refreshUnder(stage: Stage, what: Parameters<Wire["arm"]>[0], times: number): Promise<void> {
  stage.wire.arm(what, times);
  stage.picture.mark("loss");
  try {
    await stage.session.refresh();
  } finally {
    stage.wire.disarm();
  }
}

const tabs = (locks: boolean) => async (stage: Stage) => {
  const { generation } = await rotates(stage);
  await stage.tabs.open(4, locks);
  const requests = await stage.tabs.refreshTogether();
  const after = await stage.look();
  stage.tell(`5 tabs asked at once: ${requests} request${requests == 1 ? "" : "s"}, generation ${generation} to ${after.generation}`);
};

export const misfortunes: Record<string, (stage: Stage) => Promise<void>> = {
  async refresh(stage) {
    await stage.session.refresh();
  },

  async lose(stage) {
    const { generation } = await rotates(stage);
    await refreshUnder(stage, "lose-answer", 1);
    const after = await stage.look();
    stage.tell(`an answer was lost: generation ${generation} to ${after.generation}, and the session is ${after.state}`);
  },

  opentabs: tabs(true),
  lockless: tabs(false),

  async unavailable(stage) {
    await refreshUnder(stage, "unavailable", 2);
    stage.tell("503 twice, and nobody was logged out");
  },

  async cut(stage) {
    await refreshUnder(stage, "lose-request", Infinity).catch(() => {});
    const answer = await stage.session.fetch("/orders");
    stage.tell(`the line is back: the next call was answered ${answer.status}`);
  },

  async steal(stage) {
    const { session, tell } = stage;
    if ((await stage.look()).generation == 1) await session.refresh();
    let answer: Response;
    do {
      // Another refresh may have rotated meanwhile: the server has the last word.
      const { graceFor } = await stage.look();
      if (graceFor) tell(`the thief waits ${span(graceFor)}: within its grace, the old token is answered like its owner's`);
      await pause(graceFor);
      answer = await session.fetch("steal", { method: "POST" });
    } while (answer.status == 409);
    if (!answer.ok) throw new Error(`the thief could not act: ${answer.status}`);
    const { presented, newest, status, reason } = (await answer.json()) as Robbery;
    stage.picture.mark("theft");
    tell(`the thief used token ${presented} while ${newest} is the newest, and got ${status} ${reason ?? ""}`);
    await stage.look();
    tell(`nobody can tell who is the thief, so the session ends ${span(stage.settings.heal)} later, for both`);
  },

  async revoke(stage) {
    const answer = await stage.session.fetch("revoke", { method: "POST" });
    stage.tell(answer.ok ? "an operator ended the session; the next call finds out" : `not revoked: ${answer.status}`);
    await stage.session.fetch("/orders").catch(() => {});
  },

  async clock(stage) {
    const wrong = stage.turnClock();
    stage.tell(wrong ? "this page's clock is an hour ahead" : "this page's clock is right again");
    await stage.session.fetch("/orders");
  },
};
