/** How the page and its tabs hear of each other. */

/** What the log shows. */
export interface Entry {
  /** Who says it: the library, the network, the gateway, or this page. */
  source: "library" | "network" | "gateway" | "page";
  text: string;
}

export type Message =
  /** A tab has opened, or has done what it was asked. */
  | { type: "ready" | "done"; tab: number }
  /** A tab sent a refresh. */
  | { type: "asks"; tab: number }
  | { type: "entry"; tab: number; entry: Entry }
  /** The page asks all its tabs to refresh. */
  | { type: "refresh" };

/** Opens the line of one page; its tabs know the room from their address. */
export function openLine(room: string, hear: (message: Message) => void): (message: Message) => void {
  const line = new BroadcastChannel("counterfoil-demo:" + room);
  line.onmessage = ({ data }: MessageEvent<Message>) => hear(data);
  return (message) => line.postMessage(message);
}
