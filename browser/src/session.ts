import type { Answer, Carrier, Session, SessionEvent, SessionOptions, SessionState } from "./api.js";
import { ask, twice } from "./ask.js";
import { openChannel } from "./channel.js";
import { pause, systemClock } from "./clock.js";
import { listen, type Environment } from "./environment.js";
import { RefreshUnavailable, SessionEnded, type EndReason } from "./errors.js";
import { createFetch, refused } from "./fetch.js";

interface News {
  /** The generation. */
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

// Other refusals are not the gateway's word on a refresh token.
const refuses = (status: number) => [400, 401, 422].includes(status);

/** Starts to keep a session. Applications call createSession or createBearerSession. */
export function startSession(options: SessionOptions, carrier: Carrier): Session {
  const { patience = 30_000, resendAfter = 7_000, confirm = "/authn/sessions/_self?limit=1" } = options;
  const clock = options.clock ?? systemClock();
  const env: Environment = options.environment ?? (globalThis as Environment);
  const send = options.fetch ?? fetch.bind(globalThis);
  const absolute = (url: string | URL) => new URL(url, env.document.baseURI);
  const base = absolute(options.gateway).href.replace(/\/*$/, "");
  const name = "counterfoil:" + base;
  const closed = new AbortController();

  let state: SessionState = { status: "unknown" };
  let ended: EndReason | undefined;
  let active = false;
  let n = 0; // the generation
  let used = 0; // the newest one that a request of this tab went with
  let due = NaN; // when to refresh ahead, by the clock
  let over = NaN; // when the access token is over
  let end = NaN; // when the session is
  let flight: Promise<void> | undefined;
  let disarm = () => {}; // the timer of the next refresh ahead
  const hearers = new Set<(event: SessionEvent) => void>();

  const emit = (event: SessionEvent) => {
    // Later, so that what is told has happened; a fault of theirs is not ours.
    for (const hear of hearers) queueMicrotask(() => hear(event));
  };

  const arm = (ms: number) => {
    // A page that nobody uses must not keep a session alive for ever.
    disarm = clock.after(ms, () => used == n && ahead());
  };

  /** Takes news, from this tab or another, unless newer ones are known. */
  const adopt = (news: News | null | undefined) => {
    if (!(news && news.n > n)) return;
    const life = news.life!;
    const now = clock.now();
    const apart = now - clock.wall();
    ({ n, ended } = news);
    over = life > 0 ? Math.min(news.over! + apart, now + life) : NaN;
    due = over - Math.min(45_000, life / 5) * (0.5 + Math.random());
    end = (news.end || NaN) + apart;
    disarm();
    if (over) arm(due - now);
    if (ended) void carrier.forget?.(ended);
    emit({ type: ended ? "ended" : news.began || !active ? "started" : "refreshed", reason: ended });
    active = !ended;
    state = { status: ended ? "ended" : "active", reason: ended };
  };

  const channel = openChannel<News>(env, name, closed.signal, adopt);

  const publish = (untold: Omit<News, "n">) => {
    const news = untold as News;
    // Beyond any number that another tab may have given and we have not heard.
    news.n = Math.max(n + 1, clock.wall());
    channel.post(news);
    adopt(news);
  };

  /** Reckons in lifetimes, from the gateway's clock to ours, whatever either shows. */
  const keep = (answer: Answer, sent: number, began: boolean, from?: Response) => {
    const { accessTokenExpiration, refreshTokenExpiration } = answer.tokenExpiration ?? answer;
    const served = Date.parse(from?.headers.get("Date")!) || clock.wall();
    const asked = clock.wall() + sent - clock.now();
    const life = Date.parse(accessTokenExpiration!) - served;
    publish({ began, life, over: asked + life, end: asked + Date.parse(refreshTokenExpiration!) - served });
  };

  const dress: Session["dress"] = async (url, method, own) => {
    const all = new Headers(own);
    if (options.tenant && !all.has("X-Okapi-Tenant")) all.set("X-Okapi-Tenant", options.tenant);
    await carrier.attach?.(all);
    new Headers(await options.headers?.({ url: absolute(url), method })).forEach((value, key) => all.set(key, value));
    return { credentials: carrier.credentials, headers: all };
  };

  const request = async (method: string, path: string, signal?: AbortSignal) => {
    const url = base + path;
    const body = signal && (await carrier.body?.());
    return send(url, {
      ...(await dress(url, method, body && { "Content-Type": "application/json" })),
      method,
      body: body && JSON.stringify(body),
      signal,
      keepalive: true, // the answer reaches the cookie jar even if the page is left
    });
  };

  const post = (path: string, judge: (answer: Response, sent: number) => Promise<boolean>) =>
    ask(
      clock,
      patience,
      env,
      (signal) => twice(clock, resendAfter, () => request("POST", path, signal)),
      judge,
    );

  /**
   * Does work while no other tab does, unless what happened meanwhile makes it
   * needless. A lock is never taken from whoever holds it: a second refresh
   * beside a slow one is what gets people logged out.
   */
  const alone = <T>(needless: () => boolean, work: () => Promise<T>) =>
    new Promise<T | void>((resolve, reject) => {
      const stop = clock.after(2 * patience, () => {
        needless = () => true;
        reject(new RefreshUnavailable());
      });
      const locked = async () => {
        stop();
        adopt(channel.read());
        if (!needless()) {
          needless = () => true;
          await work().then(resolve, reject);
          // The lock is kept while news travel to those who wait for it. In a
          // hidden page that would take a second.
          if (!env.document.hidden) await pause(clock, 50);
        }
        resolve();
      };
      // In frames of other sites, browsers have locks and refuse them.
      (env.navigator.locks?.request(name, locked) ?? locked()).catch(locked);
    });

  /** Refreshes once for all who ask, in whatever tab. */
  const refresh = () => {
    const from = n;
    const judge = async (answer: Response, sent: number) => {
      const { ok, status } = answer;
      const body: Answer = await answer.json().catch(() => ({}));
      if (n > from) return true; // somebody logged in or out meanwhile: this is of an older session
      const lacking = await carrier.keep?.(body);
      if (ok) {
        if (lacking) return false; // half an answer
        keep(body, sent, false, answer);
      } else {
        // Superseded: somebody else has refreshed. The jar has the newer token, and
        // with this answer it got what makes up for the older one.
        if (!refuses(status) || /"superseded"/.test(JSON.stringify(body))) return false;
        publish({ ended: status == 400 ? "absent" : "refused" });
      }
      return true;
    };
    return (flight ??= alone(
      () => n > from,
      () => post("/authn/refresh", judge),
    )
      .catch((error) => {
        emit({ type: "unavailable", error });
        throw error;
      })
      .finally(() => (flight = undefined)));
  };

  const renew = async (generation: number) => {
    // The newest may be about to end, too, and there is no third try.
    if ((n == generation || clock.now() >= due) && !ended) await refresh();
    if (ended) throw new SessionEnded(ended);
    used = n;
  };

  /** Refreshes before anybody has to wait for it. */
  const ahead = () => {
    const from = n;
    if (!flight)
      refresh().then(
        () => {
          const to = n;
          // So that the gateway learns that its answer arrived, if no request tells it.
          clock.after(1_000, () => {
            if (confirm && used < to && n == to && active) request("GET", confirm).catch(() => {});
          });
        },
        () => n == from && arm(10_000 * (0.5 + Math.random())),
      );
  };

  const wake = () => {
    adopt(channel.read());
    if (active && !env.document.hidden && clock.now() >= due) ahead();
  };

  const known = channel.read();
  // An end that was noted before this page was opened says little: somebody may
  // have logged in elsewhere. The gateway knows.
  if (known?.ended) n = known.n;
  else adopt(known);
  listen(env, ["visibilitychange", "online", "pageshow"], closed.signal, wake);

  const session: Omit<Session, "fetch"> & { fetch?: typeof fetch } = {
    get state() {
      return state;
    },
    get generation() {
      return n;
    },
    covers(url) {
      const path = absolute(url).href.replace(/[?#].*|$/, "/");
      return path.startsWith(base + "/") && path.slice(base.length);
    },
    adopt: (expirations) => keep(expirations, clock.now(), true),
    async logout({ reason = "logout", everywhere } = {}) {
      const from = n;
      const needless = () => n > from && !!ended;
      await alone(needless, () =>
        // A refusal means that there is nothing left to end.
        post("/authn/logout" + (everywhere ? "-all" : ""), async ({ ok, status }) => ok || refuses(status)),
      ).catch((error) => {
        // Whoever asks to log out must know that it failed; whoever is away must not be seen working.
        if (reason == "logout") throw error;
      });
      if (!needless()) publish({ ended: reason });
    },
    async refresh() {
      await refresh();
      if (ended) throw new SessionEnded(ended);
    },
    endsIn: () => end - clock.now(),
    subscribe(hear) {
      hearers.add(hear);
      return () => hearers.delete(hear);
    },
    close() {
      disarm();
      closed.abort();
    },
    async ready(early) {
      if (active && clock.now() >= due) {
        if (early || clock.now() >= over) await renew(n);
        else ahead();
      }
      return (used = n);
    },
    renew,
    dress,
    refused: options.refused ?? refused,
  };

  /** Logins and the like wait for a refresh: its late answer would overwrite their cookies. */
  const special = (path: string, go: () => Promise<Response>) =>
    alone(() => false, async () => {
      const sent = clock.now();
      const answer = await go();
      if (answer.ok) {
        const body: Answer = await answer.clone().json().catch(() => ({}));
        await carrier.keep?.(body);
        if (/out/.test(path)) publish({ ended: "logout" });
        else keep(body, sent, !/refresh/.test(path), answer);
      }
      return answer;
    }) as Promise<Response>;

  session.fetch = createFetch(session, send, special, options.copies);
  return session as Session;
}
