/**
 * Puts a session under an axios instance.
 *
 * @module
 */
import type { AxiosInstance, InternalAxiosRequestConfig } from "axios";
import type { Session } from "./api.js";
import { NotReplayable } from "./errors.js";

// Survives in a configuration, which axios copies.
const replayed = "counterfoilReplayed";

/** Adds interceptors to an instance, with whatever adapter. Returns how to remove them. */
export function attachSession(axios: AxiosInstance, session: Session): () => void {
  // The generation that a request went with, if it may be sent again.
  const sent = new WeakMap<InternalAxiosRequestConfig, number>();

  const request = axios.interceptors.request.use(async (config) => {
    const url = axios.getUri(config);
    if (!session.covers(url)) return config;
    const generation = await session.ready();
    const own = config.headers.toJSON() as Record<string, string>;
    const method = (config.method ?? "get").toUpperCase();
    const { headers, credentials } = await session.dress(url, method, pairs(own));
    headers.forEach((value, name) => config.headers.set(name, value));
    config.withCredentials = credentials == "include";
    if (!(replayed in config)) sent.set(config, generation);
    return config;
  });

  const response = axios.interceptors.response.use(undefined, async (error) => {
    const { config, response } = error ?? {};
    const generation = config && sent.get(config);
    if (generation === undefined || !response) throw error;
    const { status, data, headers } = response;
    const text = typeof data == "string" ? data : JSON.stringify(data);
    const answer = new Response(text, { status, headers: pairs(headers.toJSON?.() ?? headers) });
    if (!(await session.refused(answer))) throw error;
    await session.renew(generation);
    if (typeof config.data?.pipe == "function" || config.data instanceof ReadableStream) throw new NotReplayable(answer);
    return axios.request({ ...config, [replayed]: true });
  });

  return () => {
    axios.interceptors.request.eject(request);
    axios.interceptors.response.eject(response);
  };
}

function pairs(headers: Record<string, unknown>): [string, string][] {
  return Object.entries(headers).flatMap(([name, value]) => (value == null || value === false ? [] : [[name, String(value)]]));
}
