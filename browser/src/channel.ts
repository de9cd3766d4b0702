import { listen, type Environment } from "./environment.js";

/** News that all tabs share. */
export interface Channel<T> {
  /** The newest that this tab can see. Another tab's may arrive a moment later. */
  read(): T | null | undefined;
  post(news: T): void;
}

/**
 * Opens a channel between the tabs of an origin, until the signal. News are kept
 * in the storage, where a tab finds them that is opened later or was frozen, and
 * they travel by BroadcastChannel and by the storage's own event: where one is
 * missing, the other does. They may be heard twice.
 */
export function openChannel<T>(env: Environment, name: string, signal: AbortSignal, hear: (news: T) => void): Channel<T> {
  const line = env.BroadcastChannel && new env.BroadcastChannel(name);
  if (line) {
    line.onmessage = ({ data }) => hear(data);
    signal.addEventListener("abort", () => line.close());
  }
  const read = (): T | null | undefined => {
    try {
      return JSON.parse(env.localStorage!.getItem(name)!);
    } catch {
      // There is no storage, or somebody else wrote there.
    }
  };
  listen(env, ["storage"], signal, () => {
    const news = read();
    if (news) hear(news);
  });
  return {
    read,
    post(news) {
      try {
        env.localStorage!.setItem(name, JSON.stringify(news));
      } catch {
        // There is none, or it is full. The message is enough for the tabs that are open.
      }
      line?.postMessage(news);
    },
  };
}
