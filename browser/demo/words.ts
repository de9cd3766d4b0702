/** What happened, in words. */
import type { SessionEvent } from "@counterfoil/browser";

/** An event of the library. */
export function wordsOf({ type, reason, error }: SessionEvent): string {
  switch (type) {
    case "started":
      return "started: somebody is logged in";
    case "refreshed":
      return "refreshed: the session goes on with new tokens";
    case "unavailable":
      return `unavailable: no refresh for now (${error?.status ?? "no answer"}); the session goes on, and it will be tried again`;
    case "ended":
      return "ended: " + ends[reason!];
  }
}

const ends: Record<NonNullable<SessionEvent["reason"]>, string> = {
  logout: "somebody logged out",
  idle: "nobody was there for too long",
  expired: "its longest lifetime is over",
  refused: "the gateway refuses to refresh it; log in again",
  absent: "nobody is logged in here",
};

/** A security event of the program, which operators find in its audit log. */
export function wordsOfAudit({ kind, reason }: { kind: string; reason?: string }): string {
  return (audit[kind] ?? kind) + (reason ? ` (${reason})` : "");
}

const audit: Record<string, string> = {
  login: "login: a session was issued",
  superseded: "superseded: an old token came back and was refused; unless the owner proves itself, the session ends",
  strike_healed: "strike healed: the owner holds the newest token",
  late_recovery: "late recovery: the successor was given once more",
  refresh_reuse: "refresh reuse: the session was ended",
  session_revoked: "revoked: an operator ended the session",
  logout: "logout: the user ended the session",
  logout_all: "logout: the user ended all sessions",
};

/** A time that is left, or past, rounded up. */
export function span(ms: number): string {
  const s = Math.max(0, Math.ceil(ms / 1000));
  const two = (n: number) => String(n).padStart(2, "0");
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)}:${two(s % 60)} min`;
  if (s < 48 * 3600) return `${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))} h`;
  return `${Math.floor(s / 86_400)} days`;
}
