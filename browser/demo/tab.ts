/** A tab that is open beside the page. It keeps the session, and refreshes when asked. */
import { createSession } from "@counterfoil/browser";
import { openLine } from "./line.js";
import { openWire } from "./wire.js";
import { wordsOf } from "./words.js";

const query = new URLSearchParams(location.search);
const tab = Number(query.get("tab"));
const locks = query.get("locks") != "no";
const status = document.querySelector("#status")!;

const session = createSession({
  gateway: location.origin,
  tenant: query.get("tenant")!,
  resendAfter: Number(query.get("resend")),
  fetch: openWire(
    (text) => post({ type: "entry", tab, entry: { source: "network", text } }),
    () => post({ type: "asks", tab }),
  ).fetch,
  ...(!locks && {
    // A browser without Web Locks.
    environment: {
      navigator: { get onLine() { return navigator.onLine; } },
      document, localStorage, BroadcastChannel, addEventListener: addEventListener.bind(globalThis),
    },
  }),
});

const post = openLine(query.get("room")!, ({ type }) => {
  // An end is an event of the session, which the log has already.
  if (type == "refresh") void session.refresh().catch(() => {}).finally(() => post({ type: "done", tab }));
});

let heard = 0;
session.subscribe((event) => {
  heard += event.type == "refreshed" ? 1 : 0;
  post({ type: "entry", tab, entry: { source: "library", text: wordsOf(event) } });
  show();
});

function show(): void {
  status.textContent = `Tab ${tab}: ${session.state.status}, heard of ${heard} refresh${heard == 1 ? "" : "es"}`;
}

show();
post({ type: "ready", tab });
