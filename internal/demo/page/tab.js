// Built from browser/ by `make demo-page`. Change it there.

// demo/tab.ts
import { createSession } from "./counterfoil.js";

// demo/line.ts
function openLine(room, hear) {
  const line = new BroadcastChannel("counterfoil-demo:" + room);
  line.onmessage = ({ data }) => hear(data);
  return (message) => line.postMessage(message);
}

// demo/wire.ts
function openWire(tell, asks) {
  const plain = fetch.bind(globalThis);
  let armed;
  let left = 0;
  return {
    arm(what, times) {
      armed = what;
      left = times;
    },
    disarm() {
      left = 0;
    },
    async fetch(input, init) {
      const request = new Request(input, init);
      const { pathname } = new URL(request.url);
      if (!pathname.startsWith("/authn/")) return plain(request);
      const what = `${request.method} ${pathname}`;
      if (pathname == "/authn/refresh") {
        asks();
        if (left-- > 0) request.headers.set("X-Counterfoil-Demo", armed);
      }
      try {
        const answer = await plain(request);
        tell(`${what}: ${answer.status}${means[answer.status] ?? ""}`);
        return answer;
      } catch (error) {
        tell(`${what}: no answer`);
        throw error;
      }
    }
  };
}
var means = {
  201: ", new cookies",
  204: ", cookies cleared",
  422: ", refused",
  503: ", not now"
};

// demo/words.ts
function wordsOf({ type, reason, error }) {
  switch (type) {
    case "started":
      return "started: somebody is logged in";
    case "refreshed":
      return "refreshed: the session goes on with new tokens";
    case "unavailable":
      return `unavailable: no refresh for now (${error?.status ?? "no answer"}); the session goes on, and it will be tried again`;
    case "ended":
      return "ended: " + ends[reason];
  }
}
var ends = {
  logout: "somebody logged out",
  idle: "nobody was there for too long",
  expired: "its longest lifetime is over",
  refused: "the gateway refuses to refresh it; log in again",
  absent: "nobody is logged in here"
};

// demo/tab.ts
var query = new URLSearchParams(location.search);
var tab = Number(query.get("tab"));
var locks = query.get("locks") != "no";
var status = document.querySelector("#status");
var session = createSession({
  gateway: location.origin,
  tenant: query.get("tenant"),
  resendAfter: Number(query.get("resend")),
  fetch: openWire(
    (text) => post({ type: "entry", tab, entry: { source: "network", text } }),
    () => post({ type: "asks", tab })
  ).fetch,
  ...!locks && {
    // A browser without Web Locks.
    environment: {
      navigator: { get onLine() {
        return navigator.onLine;
      } },
      document,
      localStorage,
      BroadcastChannel,
      addEventListener: addEventListener.bind(globalThis)
    }
  }
});
var post = openLine(query.get("room"), ({ type }) => {
  if (type == "refresh") void session.refresh().catch(() => {
  }).finally(() => post({ type: "done", tab }));
});
var heard = 0;
session.subscribe((event) => {
  heard += event.type == "refreshed" ? 1 : 0;
  post({ type: "entry", tab, entry: { source: "library", text: wordsOf(event) } });
  show();
});
function show() {
  status.textContent = `Tab ${tab}: ${session.state.status}, heard of ${heard} refresh${heard == 1 ? "" : "es"}`;
}
show();
post({ type: "ready", tab });
