// Built from browser/ by `make demo-page`. Change it there.

// dist/clock.js
function systemClock(monotonic = () => performance.now(), wall = Date.now) {
  let apart = wall() - monotonic();
  let slept = 0;
  return {
    wall,
    now() {
      const now = monotonic();
      const jump = wall() - now - apart;
      if (Math.abs(jump) > 1e3) {
        apart += jump;
        slept += Math.max(jump, 0);
      }
      return now + slept;
    },
    after(ms, call) {
      const timer = setTimeout(call, Math.min(ms, 2 ** 31 - 1));
      return () => clearTimeout(timer);
    }
  };
}
var pause = (clock, ms) => new Promise((done) => clock.after(ms, done));

// dist/errors.js
var SessionEnded = class extends Error {
  reason;
  /** Survives minification. */
  name = "SessionEnded";
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
};
var RefreshUnavailable = class extends Error {
  status;
  /** Survives minification. */
  name = "RefreshUnavailable";
  constructor(status, options) {
    super("", options);
    this.status = status;
  }
};
var NotReplayable = class extends Error {
  response;
  /** Survives minification. */
  name = "NotReplayable";
  constructor(response) {
    super();
    this.response = response;
  }
};

// dist/ask.js
function twice(clock, after, once) {
  let enough = !after;
  const first = once();
  const second = pause(clock, after).then(() => enough ? first : once());
  return Promise.race([first, second]).finally(() => enough = true);
}
async function ask(clock, patience, { navigator }, send, judge) {
  const until = clock.now() + patience;
  const leave = new AbortController();
  clock.after(patience, () => leave.abort());
  let status;
  let cause;
  for (let tries = 0; ; tries++) {
    const sent = clock.now();
    let wait = 500 * 2 ** tries * Math.random();
    try {
      const answer = await send(leave.signal);
      ({ status } = answer);
      if (/^5|408|425|429/.test("" + status))
        wait += 1e3 * Number(answer.headers.get("Retry-After")) || 0;
      else if (await judge(answer, sent))
        return leave.abort();
      else if (!tries)
        wait = 0;
    } catch (error) {
      cause = error;
      if (!navigator.onLine)
        break;
    }
    if (clock.now() + wait > until)
      break;
    await pause(clock, wait);
  }
  leave.abort();
  throw new RefreshUnavailable(status, { cause });
}

// dist/environment.js
function listen(env, types, signal, hear) {
  for (const type of types)
    env.addEventListener(type, hear, { capture: true, signal });
}

// dist/channel.js
function openChannel(env, name, signal, hear) {
  const line = env.BroadcastChannel && new env.BroadcastChannel(name);
  if (line) {
    line.onmessage = ({ data }) => hear(data);
    signal.addEventListener("abort", () => line.close());
  }
  const read = () => {
    try {
      return JSON.parse(env.localStorage.getItem(name));
    } catch {
    }
  };
  listen(env, ["storage"], signal, () => {
    const news = read();
    if (news)
      hear(news);
  });
  return {
    read,
    post(news) {
      try {
        env.localStorage.setItem(name, JSON.stringify(news));
      } catch {
      }
      line?.postMessage(news);
    }
  };
}

// dist/fetch.js
var ofTokens = /^\/(authn|bl-users)\/(log(in(-with-expiry)?|out(-all)?)|refresh|token)\/$/;
function createFetch(session, send, special, copies) {
  return async (input, init) => {
    const request = input instanceof Request ? input : void 0;
    const url = request ? request.url : input;
    const path = session.covers(url);
    if (!path)
      return send(input, init);
    const method = init?.method ?? request?.method ?? "GET";
    const go = async (again) => send(again ?? input, {
      ...init,
      ...await session.dress(url, method, init?.headers ?? request?.headers)
    });
    if (ofTokens.test(path))
      return special(path, go);
    const body = init?.body;
    const signal = init?.signal ?? request?.signal;
    const whole = !body && !/GET|HEAD/.test(method) && request;
    const once = body instanceof ReadableStream || whole && copies?.(whole) === false;
    const generation = await unless(signal, session.ready(once));
    const copy = whole && !once ? whole.clone() : void 0;
    const answer = await go();
    if (await session.refused(answer)) {
      await unless(signal, session.renew(generation));
      if (once)
        throw new NotReplayable(answer);
      void answer.body?.cancel();
      return go(copy);
    }
    void copy?.body?.cancel();
    return answer;
  };
}
async function refused(answer) {
  return [400, 401].includes(answer.status) && (/^bearer/i.test(answer.headers.get("WWW-Authenticate")) || /"TOKEN_(EXPIRED|INVALID)"|^(Token missing|Invalid token)/.test(await answer.clone().text()));
}
function unless(signal, something) {
  return new Promise((resolve, reject) => {
    const leave = () => reject(signal.reason);
    if (signal?.aborted)
      leave();
    signal?.addEventListener("abort", leave);
    something.then(resolve, reject).finally(() => signal?.removeEventListener("abort", leave));
  });
}

// dist/session.js
var refuses = (status) => [400, 401, 422].includes(status);
function startSession(options, carrier) {
  const { patience = 3e4, resendAfter = 7e3, confirm = "/authn/sessions/_self?limit=1" } = options;
  const clock = options.clock ?? systemClock();
  const env = options.environment ?? globalThis;
  const send = options.fetch ?? fetch.bind(globalThis);
  const absolute = (url) => new URL(url, env.document.baseURI);
  const base = absolute(options.gateway).href.replace(/\/*$/, "");
  const name = "counterfoil:" + base;
  const closed = new AbortController();
  let state = { status: "unknown" };
  let ended;
  let active = false;
  let n = 0;
  let used = 0;
  let due = NaN;
  let over = NaN;
  let end = NaN;
  let flight;
  let disarm = () => {
  };
  const hearers = /* @__PURE__ */ new Set();
  const emit = (event) => {
    for (const hear of hearers)
      queueMicrotask(() => hear(event));
  };
  const arm = (ms) => {
    disarm = clock.after(ms, () => used == n && ahead());
  };
  const adopt = (news) => {
    if (!(news && news.n > n))
      return;
    const life = news.life;
    const now = clock.now();
    const apart = now - clock.wall();
    ({ n, ended } = news);
    over = life > 0 ? Math.min(news.over + apart, now + life) : NaN;
    due = over - Math.min(45e3, life / 5) * (0.5 + Math.random());
    end = (news.end || NaN) + apart;
    disarm();
    if (over)
      arm(due - now);
    if (ended)
      void carrier.forget?.(ended);
    emit({ type: ended ? "ended" : news.began || !active ? "started" : "refreshed", reason: ended });
    active = !ended;
    state = { status: ended ? "ended" : "active", reason: ended };
  };
  const channel = openChannel(env, name, closed.signal, adopt);
  const publish = (untold) => {
    const news = untold;
    news.n = Math.max(n + 1, clock.wall());
    channel.post(news);
    adopt(news);
  };
  const keep = (answer, sent, began, from) => {
    const { accessTokenExpiration, refreshTokenExpiration } = answer.tokenExpiration ?? answer;
    const served = Date.parse(from?.headers.get("Date")) || clock.wall();
    const asked = clock.wall() + sent - clock.now();
    const life = Date.parse(accessTokenExpiration) - served;
    publish({ began, life, over: asked + life, end: asked + Date.parse(refreshTokenExpiration) - served });
  };
  const dress = async (url, method, own) => {
    const all = new Headers(own);
    if (options.tenant && !all.has("X-Okapi-Tenant"))
      all.set("X-Okapi-Tenant", options.tenant);
    await carrier.attach?.(all);
    new Headers(await options.headers?.({ url: absolute(url), method })).forEach((value, key) => all.set(key, value));
    return { credentials: carrier.credentials, headers: all };
  };
  const request = async (method, path, signal) => {
    const url = base + path;
    const body = signal && await carrier.body?.();
    return send(url, {
      ...await dress(url, method, body && { "Content-Type": "application/json" }),
      method,
      body: body && JSON.stringify(body),
      signal,
      keepalive: true
      // the answer reaches the cookie jar even if the page is left
    });
  };
  const post = (path, judge) => ask(clock, patience, env, (signal) => twice(clock, resendAfter, () => request("POST", path, signal)), judge);
  const alone = (needless, work) => new Promise((resolve, reject) => {
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
        if (!env.document.hidden)
          await pause(clock, 50);
      }
      resolve();
    };
    (env.navigator.locks?.request(name, locked) ?? locked()).catch(locked);
  });
  const refresh = () => {
    const from = n;
    const judge = async (answer, sent) => {
      const { ok, status } = answer;
      const body = await answer.json().catch(() => ({}));
      if (n > from)
        return true;
      const lacking = await carrier.keep?.(body);
      if (ok) {
        if (lacking)
          return false;
        keep(body, sent, false, answer);
      } else {
        if (!refuses(status) || /"superseded"/.test(JSON.stringify(body)))
          return false;
        publish({ ended: status == 400 ? "absent" : "refused" });
      }
      return true;
    };
    return flight ??= alone(() => n > from, () => post("/authn/refresh", judge)).catch((error) => {
      emit({ type: "unavailable", error });
      throw error;
    }).finally(() => flight = void 0);
  };
  const renew = async (generation) => {
    if ((n == generation || clock.now() >= due) && !ended)
      await refresh();
    if (ended)
      throw new SessionEnded(ended);
    used = n;
  };
  const ahead = () => {
    const from = n;
    if (!flight)
      refresh().then(() => {
        const to = n;
        clock.after(1e3, () => {
          if (confirm && used < to && n == to && active)
            request("GET", confirm).catch(() => {
            });
        });
      }, () => n == from && arm(1e4 * (0.5 + Math.random())));
  };
  const wake = () => {
    adopt(channel.read());
    if (active && !env.document.hidden && clock.now() >= due)
      ahead();
  };
  const known = channel.read();
  if (known?.ended)
    n = known.n;
  else
    adopt(known);
  listen(env, ["visibilitychange", "online", "pageshow"], closed.signal, wake);
  const session = {
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
      await alone(needless, () => (
        // A refusal means that there is nothing left to end.
        post("/authn/logout" + (everywhere ? "-all" : ""), async ({ ok, status }) => ok || refuses(status))
      )).catch((error) => {
        if (reason == "logout")
          throw error;
      });
      if (!needless())
        publish({ ended: reason });
    },
    async refresh() {
      await refresh();
      if (ended)
        throw new SessionEnded(ended);
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
        if (early || clock.now() >= over)
          await renew(n);
        else
          ahead();
      }
      return used = n;
    },
    renew,
    dress,
    refused: options.refused ?? refused
  };
  const special = (path, go) => alone(() => false, async () => {
    const sent = clock.now();
    const answer = await go();
    if (answer.ok) {
      const body = await answer.clone().json().catch(() => ({}));
      await carrier.keep?.(body);
      if (/out/.test(path))
        publish({ ended: "logout" });
      else
        keep(body, sent, !/refresh/.test(path), answer);
    }
    return answer;
  });
  session.fetch = createFetch(session, send, special, options.copies);
  return session;
}

// dist/index.js
function createSession(options) {
  return startSession(options, { credentials: "include" });
}
export {
  NotReplayable,
  RefreshUnavailable,
  SessionEnded,
  createSession
};
