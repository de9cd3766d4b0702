import type { Environment } from "./environment.js";

/** News that all tabs share. */
export interface Channel<T> {
  /** The newest that this tab can see. Another tab's may arrive a moment later. */
  read(): T | undefined;
  post(news: T): void;
  close(): void;
}

/**
 * Opens a channel between the tabs of an origin. News are kept in the storage,
 * where a tab finds them that is opened later or was frozen, and they travel by
 * BroadcastChannel and by the storage's own event: where one is missing, the
 * other does. They may be heard twice.
 */
export function openChannel<T>({ storage, channel, listen }: Environment, name: string, hear: (news: T) => void): Channel<T> {
  const line = channel?.(name);
  if (line) line.onmessage = ({ data }) => hear(data);
  const read = () => {
    try {
      return JSON.parse(storage!.getItem(name)!) ?? undefined;
    } catch {
      // There is no storage, or somebody else wrote there.
    }
  };
  const stop = listen("storage", () => {
    const news = read();
    if (news) hear(news);
  });
  return {
    read,
    post(news) {
      try {
        storage!.setItem(name, JSON.stringify(news));
      } catch {
        // There is none, or it is full. The message is enough for the tabs that are open.
      }
      line?.postMessage(news);
    },
    close() {
      line?.close();
      stop();
    },
  };
}
