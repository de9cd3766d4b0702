import { pause, type Clock } from "./clock.js";
import type { Environment } from "./environment.js";
import { RefreshUnavailable } from "./errors.js";

/**
 * Sends a request, and a second one at its side if it is stuck, while the
 * gateway still answers both the same. What settles first counts.
 */
export function twice(clock: Clock, after: number, once: () => Promise<Response>): Promise<Response> {
  let enough = !after;
  const first = once();
  const second = pause(clock, after).then(() => (enough ? first : once()));
  return Promise.race([first, second]).finally(() => (enough = true));
}

/**
 * Sends until an answer counts, which judge tells. If there is none for as long
 * as patience lasts, or no network at all, it fails with RefreshUnavailable:
 * nobody waits for ever, and nobody is logged out because a gateway is being
 * restarted.
 */
export async function ask(
  clock: Clock,
  patience: number,
  { navigator }: Environment,
  send: (signal: AbortSignal) => Promise<Response>,
  judge: (answer: Response, sent: number) => Promise<boolean>,
): Promise<void> {
  const until = clock.now() + patience;
  const leave = new AbortController();
  clock.after(patience, () => leave.abort());
  let status: number | undefined;
  let cause: unknown;
  for (let tries = 0; ; tries++) {
    const sent = clock.now();
    let wait = 500 * 2 ** tries * Math.random();
    try {
      const answer = await send(leave.signal);
      ({ status } = answer);
      if (/^5|408|425|429/.test("" + status)) wait += 1000 * Number(answer.headers.get("Retry-After")) || 0;
      else if (await judge(answer, sent)) return leave.abort(); // a late second answer would bring older cookies
      else if (!tries) wait = 0;
    } catch (error) {
      cause = error;
      if (!navigator.onLine) break;
    }
    if (clock.now() + wait > until) break;
    await pause(clock, wait);
  }
  leave.abort();
  throw new RefreshUnavailable(status, { cause });
}
