/**
 * A link for Apollo Client 3 and 4.
 *
 * @module
 */
import type { Session } from "./api.js";

interface Observer<T> {
  next?(value: T): void;
  error?(error: unknown): void;
  complete?(): void;
}

interface Result {
  data?: Record<string, unknown> | null | undefined;
  errors?: readonly { extensions?: Record<string, unknown> | undefined }[] | undefined;
}

/** The two classes of `@apollo/client` that a link is made of. Given by you, so that it works with both major versions. */
export interface Parts<Link> {
  /** Makes the link. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the versions differ in what they pass
  ApolloLink: new (request: (operation: any, forward: any) => any) => Link;
  /** Carries its results. */
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  Observable: new (subscribe: (observer: any) => () => void) => unknown;
}

/**
 * Waits for a fresh token before an operation goes on, and sends it once more
 * if a server refused it with 401 or with an error `UNAUTHENTICATED` and no
 * data. Behind it, `HttpLink` takes the session's `fetch`.
 */
export function sessionLink<Link>(session: Session, { ApolloLink, Observable }: Parts<Link>): Link {
  return new ApolloLink((operation, forward) => {
    return new Observable((observer: Required<Observer<Result>>) => {
      let stopped = false;
      let running: { unsubscribe(): void } | undefined;

      const run = (first: number | undefined) => {
        if (stopped) return;
        let again = false;
        const refused = (it: unknown) => {
          if (first === undefined || !unauthenticated(it)) return false;
          again = true;
          running?.unsubscribe();
          session.renew(first).then(() => run(undefined), fail);
          return true;
        };
        running = forward(operation).subscribe({
          next: (result: Result) => again || refused(result) || observer.next(result),
          error: (error: unknown) => again || refused(error) || observer.error(error),
          complete: () => again || observer.complete(),
        });
        if (again) running?.unsubscribe(); // it was refused before subscribe came back
      };
      const fail = (error: unknown) => stopped || observer.error(error);
      session.ready().then(run).catch(fail);
      return () => {
        stopped = true;
        running?.unsubscribe();
      };
    });
  });
}

/** A result with data was carried out, at least in part, and must not be again. */
function unauthenticated(it: unknown): boolean {
  const { data, errors, statusCode, cause } = it as Result & { statusCode?: number; cause?: unknown };
  if (statusCode == 401) return true;
  if (data && Object.values(data).some((value) => value !== null)) return false;
  return !!errors?.some(({ extensions }) => extensions?.["code"] == "UNAUTHENTICATED") || (!!cause && unauthenticated(cause));
}
