/** What the demonstration's server tells. Times are durations in milliseconds, from its answer. */

export interface Settings {
  tenant: string;
  users: { username: string; password: string }[];
  accessTTL: number;
  grace: number;
  floor: number;
  heal: number;
}

/** What the program knows of a session. */
export interface Ledger {
  session: string;
  username: string;
  state: "live" | "expired" | "ended";
  endReason?: string;
  endedBy?: string;
  generation: number;
  /** How long ago the newest refresh token was made. */
  rotated: number;
  /** How long the one before it is still answered. */
  graceFor: number;
  /** When a refresh will rotate again. */
  rotatesIn: number;
  idleEndsIn: number;
  endsIn: number;
  /** Answers that gave the same token again. */
  retries: number;
  strikes: number;
  strikeEndsIn?: number;
  access?: { id: string; generation: number; issued: number; endsIn: number };
  events: { seq: number; ago: number; kind: string; reason?: string }[];
}

/** A theft: generations, and what the thief was answered. */
export interface Robbery {
  presented: number;
  newest: number;
  status: number;
  reason?: string;
}

export const settings = async (): Promise<Settings> => (await fetch("settings")).json();

/** Reads the ledger; undefined if there is none, or nobody answers. */
export async function look(session: string): Promise<Ledger | undefined> {
  const answer = await fetch("ledger?session=" + session).catch(() => undefined);
  return answer?.ok ? answer.json() : undefined;
}
