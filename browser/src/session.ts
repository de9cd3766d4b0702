import type { Answer, Carrier, Session, SessionEvent, SessionOptions, SessionState } from "./api.js";
import { ask, type Verdict } from "./ask.js";
import { openChannel } from "./channel.js";
import { pause, systemClock } from "./clock.js";
import { absolute, browser } from "./environment.js";
import { RefreshUnavailable, SessionEnded, type EndReason } from "./errors.js";
import { createFetch, refused } from "./fetch.js";

interface News {
  n: number;
  /** Somebody logged in, perhaps somebody else. */
  began?: boolean;
  ended?: EndReason;
  /** The access token's lifetime in milliseconds. */
  life?: number;
  /** When it is over, by the machine's clock, which all tabs share. */
  over?: number;
  /** When the session is over unless it is refreshed. */
  end?: number;
}

// Requests that have to do with tokens themselves never wait for one. All
// others do, whatever they are: one that went past cost FOLIO many a 401.
const ofTokens = /^\/(authn\/(log(in|out)|refresh|token)|bl-users\/login)/;

// The lock is kept while news travel to those who wait for it.
const newsTravel = 50;

/** Starts to keep a session. Applications call createSession or createBearerSession. */
export function startSession(options: SessionOptions, carrier: Carrier): Session {
  const { patience = 30_000, resendAfter = 7_000, confirm = "/authn/sessions/_self?limit=1" } = options;
  const clock = options.clock ?? systemClock();
  const env = options.environment ?? browser();
  const send = options.fetch ?? fetch.bind(globalThis);
  const gateway = absolute(options.gateway);
  const base = gateway.href.replace(/\/*([?#].*)?$/, "");
  const { credentials } = carrier;

  let state: SessionState = { status: "unknown" };
  let ended: EndReason | undefined;
  let n = 0; // the generation
  let used = 0; // the newest one that a request of this tab went with
  let due = NaN; // when to refresh ahead, by the clock
  let over = NaN; // when the access token is over
  let end = NaN; // when the session is
  let flight: Promise<void> | undefined;
  let disarm = () => {}; // the timer of the next refresh ahead
  const hearers = new Set<(event: SessionEvent) => void>();

  const active = () => state.status == "active";

  const subscribe = (hear: (event: SessionEvent) => void) => {
    hearers.add(hear);
    return () => hearers.delete(hear);
  };

  const emit = (event: SessionEvent) => {
    // Later, so that what is told has happened; a fault of theirs is not ours.
    for (const hear of hearers) void Promise.resolve(event).then(hear);
  };

  const arm = (ms: number) => {
    // A page that nobody uses must not keep a session alive for ever.
    disarm = clock.after(ms, () => used == n && ahead());
  };

  /** Takes news, from this tab or another, unless newer ones are known. */
  const adopt = (news?: News) => {
    if (!(news && news.n > n)) return;
    const { life = NaN } = news;
    const now = clock.now();
    const left = (until = NaN) => now + until - clock.wall();
    ({ n, ended } = news);
    over = Math.min(left(news.over), now + life);
    due = over - Math.min(60_000, life / 4, Math.max(5_000, life / 5)) * (0.8 + 0.4 * Math.random());
    end = left(news.end);
    disarm();
    if (ended) void carrier.forget?.();
    else if (life) arm(due - now);
    emit(ended ? { type: "ended", reason: ended } : { type: news.began || !active() ? "started" : "refreshed" });
    state = ended ? { status: "ended", reason: ended } : { status: "active" };
  };

  const channel = openChannel<News>(env, "counterfoil:" + base, adopt);

  const publish = (news: Omit<News, "n">) => {
    // Beyond any number that another tab may have given and we have not heard.
    const numbered = { ...news, n: Math.max(n + 1, clock.wall()) };
    channel.post(numbered);
    adopt(numbered);
  };

  /** Reckons in lifetimes, from the gateway's clock to ours, whatever either shows. */
  const keep = (answer: Answer, sent: number, began?: boolean, date?: string | null) => {
    const { accessTokenExpiration, refreshTokenExpiration } = answer.tokenExpiration ?? answer;
    const served = Date.parse(date!) || clock.wall();
    const asked = clock.wall() + sent - clock.now();
    const life = Date.parse(accessTokenExpiration!) - served;
    const rest = Date.parse(refreshTokenExpiration!) - served;
    publish({ began: !!began, ...(life > 0 && { life, over: asked + life }), ...(rest > 0 && { end: asked + rest }) });
  };

  const headers: Session["headers"] = async (url, method, own) => {
    const all = new Headers(own);
    if (options.tenant && !all.has("X-Okapi-Tenant")) all.set("X-Okapi-Tenant", options.tenant);
    carrier.attach?.(all);
    new Headers(await options.headers?.({ url, method })).forEach((value, key) => all.set(key, value));
    return all;
  };

  const request = async (method: string, path: string, body?: object, init?: RequestInit) => {
    const url = new URL(base + path);
    return send(url, {
      ...init,
      method,
      headers: await headers(url, method, body && { "Content-Type": "application/json" }),
      body: body ? JSON.stringify(body) : null,
      credentials,
      cache: "no-store",
      keepalive: true, // the answer reaches the cookie jar even if the page is left
    });
  };

  const post = (path: string, judge: (answer: Response, sent: number) => Promise<Verdict>) =>
    ask(
      { clock, online: env.online, patience, resendAfter },
      (signal) => request("POST", path, carrier.body?.(), { signal }),
      judge,
    );

  /**
   * Does work while no other tab does, unless news make it needless. A lock is
   * never taken from whoever holds it: a second refresh beside a slow one is
   * what gets people logged out.
   */
  const alone = (needless: () => boolean, work: () => Promise<void>) => {
    const leave = new AbortController();
    const go = () => leave.abort();
    const { signal } = leave;
    const stop = clock.after(2 * patience, go);
    const deaf = subscribe(() => needless() && go());
    const got = () => {
      stop();
      deaf();
    };
    return new Promise<void>((resolve, reject) => {
      const locked = async () => {
        got();
        adopt(channel.read());
        if (!needless()) {
          await work().then(resolve, reject);
          await pause(clock, newsTravel);
        }
        resolve();
      };
      (env.locks ? env.locks.request("counterfoil:" + base, { signal }, locked) : locked()).catch(reject);
    }).catch((cause) => {
      got();
      if (!needless()) throw signal.aborted ? new RefreshUnavailable(undefined, { cause }) : cause;
    });
  };

  const judgeRefresh = async (from: number, answer: Response, sent: number): Promise<Verdict> => {
    const { ok, status } = answer;
    const body: Answer = await answer.json().catch(() => ({}));
    if (n > from) return "done"; // somebody logged in or out meanwhile: this is of an older session
    const kept = await carrier.keep?.(body);
    if (ok) {
      if (kept === false) return "again"; // half an answer has no tokens
      keep(body, sent, false, answer.headers.get("Date"));
    } else {
      // Somebody else has refreshed. The jar has the newer token, and with this
      // answer it got what makes up for the older one.
      if (body.errors?.[0]?.parameters?.some((p) => p.value == "superseded")) return "again";
      if (![400, 401, 422].includes(status)) return "failed";
      publish({ ended: status == 400 ? "absent" : "refused" });
    }
    return "done";
  };

  /** Refreshes once for all who ask, in whatever tab. */
  const refresh = () => {
    const from = n;
    return (flight ??= alone(
      () => n > from,
      async () => {
        await carrier.load?.();
        const generation = n;
        await post("/authn/refresh", (answer, sent) => judgeRefresh(generation, answer, sent));
      },
    )
      .catch((error) => {
        emit({ type: "unavailable", error });
        throw error;
      })
      .finally(() => (flight = undefined)));
  };

  const renew = async (generation: number) => {
    if (n == generation && !ended) await refresh();
    if (ended) throw new SessionEnded(ended);
    used = n;
  };

  /** Lets the gateway know that an answer arrived, if no request does that. */
  const acknowledge = () => {
    const from = n;
    clock.after(1_000, () => {
      if (confirm && used < n && n == from && active()) request("GET", confirm).catch(() => {});
    });
  };

  /** Refreshes before anybody has to wait for it. */
  const ahead = () => {
    const from = n;
    if (!flight)
      refresh().then(
        () => n > from && acknowledge(),
        () => n == from && arm(5_000 + 5_000 * Math.random()),
      );
  };

  const wake = () => {
    adopt(channel.read());
    if (active() && env.visible() && clock.now() >= due) ahead();
  };

  const known = channel.read();
  // An end that was noted before this page was opened says little: somebody may
  // have logged in elsewhere. The gateway knows.
  if (known?.ended) n = known.n;
  else adopt(known);
  const stops = ["visibilitychange", "resume", "online", "pageshow"].map((type) => env.listen(type, wake));

  const session: Omit<Session, "fetch"> = {
    credentials,
    get state() {
      return state;
    },
    get generation() {
      return n;
    },
    covers: (url) => (absolute(url).href.replace(/[?#].*/, "") + "/").startsWith(base + "/"),
    adopt: (expirations) => keep(expirations, clock.now(), true),
    async logout({ reason = "logout", everywhere } = {}) {
      const from = n;
      const needless = () => n > from && !!ended;
      await alone(needless, () =>
        // A refusal means that there is nothing left to end.
        post(everywhere ? "/authn/logout-all" : "/authn/logout", async ({ ok, status }) =>
          ok || [400, 401, 404, 422].includes(status) ? "done" : "failed",
        ),
      ).catch((error) => {
        // Whoever asks to log out must know that it failed; whoever is away must not be seen working.
        if (reason == "logout") throw error;
      });
      if (!needless()) publish({ ended: reason });
    },
    async refresh() {
      await refresh();
      if (ended) throw new SessionEnded(ended);
      acknowledge();
    },
    endsIn: () => end - clock.now(),
    subscribe,
    close() {
      disarm();
      channel.close();
      hearers.clear();
      for (const stop of stops) stop();
    },
    async ready(early) {
      if (active() && clock.now() >= due) {
        if (early || clock.now() >= over) await renew(n);
        else ahead();
      }
      return (used = n);
    },
    renew,
    headers,
    refused: options.refused ?? refused,
  };

  /** Logins and the like, which wait for a refresh: its late answer would overwrite their cookies. */
  const special = (url: URL, go: () => Promise<Response>) => {
    const [path] = ofTokens.exec(url.href.slice(base.length)) ?? [];
    return path && new Promise<Response>((resolve, reject) => {
      alone(() => false, async () => resolve(await note(path, go))).catch(reject);
    });
  };

  const note = async (path: string, go: () => Promise<Response>) => {
    const sent = clock.now();
    const answer = await go();
    if (answer.ok) {
      const body: Answer = await answer.clone().json().catch(() => ({}));
      await carrier.keep?.(body);
      if (path.endsWith("out")) publish({ ended: "logout" });
      else if ((body.tokenExpiration ?? body).accessTokenExpiration)
        keep(body, sent, !path.endsWith("refresh"), answer.headers.get("Date"));
    }
    return answer;
  };

  return Object.assign(session, { fetch: createFetch(session, send, special, options.copies) });
}
