import { pause, type Clock } from "./clock.js";
import { RefreshUnavailable } from "./errors.js";

/** What an answer means: it counts, it is no answer yet, or there will be none. */
export type Verdict = "done" | "again" | "failed";

/**
 * Sends a request, and a second one at its side if it is stuck, while the
 * gateway still answers both the same. The first answer counts.
 */
function twice(clock: Clock, after: number, once: () => Promise<Response>): Promise<Response> {
  return new Promise((resolve, reject) => {
    let open = 0;
    const go = () => {
      open++;
      once()
        .then(resolve, (error) => --open || reject(error))
        .finally(() => stop?.());
    };
    const stop = after ? clock.after(after, go) : undefined;
    go();
  });
}

/**
 * Sends until there is an answer that means something. If there is none for as
 * long as patience lasts, it fails with RefreshUnavailable: nobody waits for
 * ever, and nobody is logged out because a gateway is being restarted.
 */
export async function ask(
  { clock, online, patience, resendAfter }: { clock: Clock; online(): boolean; patience: number; resendAfter: number },
  send: (signal: AbortSignal) => Promise<Response>,
  judge: (answer: Response, sent: number) => Promise<Verdict>,
): Promise<void> {
  const until = clock.now() + patience;
  const leave = new AbortController();
  const stop = clock.after(patience, () => leave.abort());
  let status: number | undefined;
  let cause: unknown;
  for (let wait = 0, tries = 0; clock.now() + wait < until; tries++) {
    await pause(clock, wait);
    const sent = clock.now();
    wait = 250 * 2 ** tries * (0.5 + Math.random());
    try {
      const answer = await twice(clock, resendAfter, () => send(leave.signal));
      ({ status } = answer);
      if (status >= 500 || [408, 425, 429].includes(status)) {
        wait = Math.max(wait, 1000 * Number(answer.headers.get("Retry-After")) || 0);
      } else {
        const verdict = await judge(answer, sent);
        if (verdict == "done") return stop();
        if (verdict == "failed") break;
        if (!tries) wait = 0;
      }
    } catch (error) {
      cause = error;
      if (!online()) break;
    }
  }
  stop();
  throw new RefreshUnavailable(status, { cause });
}
