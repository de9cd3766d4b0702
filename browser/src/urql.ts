/**
 * For `@urql/exchange-auth`.
 *
 * @module
 */
import type { AuthConfig, AuthUtilities } from "@urql/exchange-auth";
import type { Session } from "./api.js";

/**
 * What `authExchange` asks for: it refreshes where a server answers
 * `UNAUTHENTICATED` inside of a result. The client takes the session's `fetch`,
 * which does all the rest.
 */
export function sessionAuth(session: Session): (utilities: AuthUtilities) => Promise<AuthConfig> {
  let generation = session.generation;
  return async () => ({
    addAuthToOperation(operation) {
      generation = session.generation;
      return operation;
    },
    didAuthError: ({ graphQLErrors, response }) =>
      response?.status == 401 || graphQLErrors.some(({ extensions }) => extensions?.["code"] == "UNAUTHENTICATED"),
    refreshAuth: () => session.renew(generation),
  });
}
