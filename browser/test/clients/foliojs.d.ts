/** What the tests use of a package that has no types. */
declare module "@indexdata/foliojs" {
  interface Session {
    folioFetch(path: string, options?: { json?: object; method?: string }): Promise<Record<string, unknown>>;
    modulesEnabled(tenant: string): Promise<{ id: string }[]>;
    getToken(): string | undefined;
    getSessionCookie(): string | undefined;
    close(): void;
  }
  interface Service {
    login(tenant: string, username: string, password: string): Promise<Session>;
    resumeSession(tenant: string, token: string): Session;
  }
  const Folio: { service(url: string): Service };
  export default Folio;
}
