import type { paths } from "../../generated/openapi";
import { keepSession, session, signedOut } from "./session.svelte";

/** An error the server answered (problem+json), or its absence (status 0). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export type Params = Record<string, string | number | boolean | null | undefined | readonly string[]>;

/** The query string of the parameters that are set; lists repeat their name. */
export function queryString(params: Params): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (Array.isArray(value)) for (const item of value) search.append(name, String(item));
    else if (value !== null && value !== undefined && value !== "") search.append(name, String(value));
  }
  const text = search.toString();
  return text ? `?${text}` : "";
}

/** Brings a request to the server: the browser's own `fetch`, unless the page cannot reach the server by itself. */
export type Transport = (path: string, init: RequestInit) => Promise<Response>;

let transport: Transport | null = null;

/** Let all requests go another way (a notebook's page asks its kernel). */
export function setTransport(other: Transport | null): void {
  transport = other;
}

/** An address of the API as an image can have it: itself, or its content when the browser does not reach it. */
export async function imageSource(path: string): Promise<{ src: string; release: () => void }> {
  if (!transport && !session()) return { src: path, release: () => undefined };
  const src = URL.createObjectURL(new Blob([await getBytes(path)]));
  return { src, release: () => URL.revokeObjectURL(src) };
}

async function request(path: string, init?: RequestInit): Promise<Response> {
  let response: Response;
  try {
    const headers = new Headers(init?.headers);
    const secret = transport ? "" : session();
    if (secret) headers.set("Authorization", `Bearer ${secret}`);
    const all: RequestInit = { credentials: "omit", ...init, headers };
    response = await (transport ? transport(path, all) : fetch(path, all));
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "The server does not answer. Is the service up? (runstream up)");
  }
  if (response.ok) return response;
  let detail = response.statusText;
  try {
    const problem = (await response.json()) as { detail?: string };
    detail = problem.detail ?? detail;
  } catch {
    // no JSON: the status text has to do
  }
  if (response.status === 401) {
    if (!transport) keepSession("");
    signedOut.value = true;
  }
  throw new ApiError(response.status, detail);
}

type Answer<P extends keyof paths> = paths[P] extends {
  get: { responses: { 200: { content: { "application/json": infer A } } } };
}
  ? A
  : never;

/** Paths whose GET answers JSON. */
type Path = { [P in keyof paths]: [Answer<P>] extends [never] ? never : P }[keyof paths];

/** What is answered is known by the path, unless there is a name in it: then whoever asks says what. */
export async function getJson<P extends Path>(
  path: P,
  params?: Params,
  signal?: AbortSignal,
): Promise<Answer<P>>;
export async function getJson<T>(path: string, params?: Params, signal?: AbortSignal): Promise<T>;
export async function getJson(path: string, params: Params = {}, signal?: AbortSignal): Promise<unknown> {
  const response = await request(path + queryString(params), signal ? { signal } : undefined);
  return response.json();
}

export async function getBytes(
  path: string,
  params: Params = {},
  signal?: AbortSignal,
): Promise<ArrayBuffer> {
  const response = await request(path + queryString(params), signal ? { signal } : undefined);
  return response.arrayBuffer();
}

/** A part of a file's text: its last bytes when `tail` is given. */
export async function getText(path: string, tail?: number): Promise<{ text: string; cut: boolean }> {
  const response = await request(path, tail ? { headers: { Range: `bytes=-${tail}` } } : undefined);
  const range = response.headers.get("content-range");
  const cut = range !== null && !range.startsWith("bytes 0-");
  return { text: await response.text(), cut };
}

export async function postJson(path: string, body: unknown): Promise<Response> {
  return sendJson("POST", path, body);
}

export async function sendJson(
  method: "POST" | "PUT" | "PATCH" | "DELETE",
  path: string,
  body?: unknown,
): Promise<Response> {
  if (body === undefined) return request(path, { method });
  return request(path, {
    method,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

/** The same address for what a browser fetches without headers (downloads, events): with a ticket, where it has a session. */
export async function withTicket(address: string): Promise<string> {
  if (transport || !session()) return address;
  const path = decodeURIComponent(address.split("?")[0]!);
  const { ticket } = (await (await postJson("/api/v1/tickets", { path })).json()) as { ticket: string };
  return ticket ? `${address}${address.includes("?") ? "&" : "?"}ticket=${ticket}` : address;
}

/** Links to the API are downloads: where this browser has a session, each gets its ticket when it is clicked. */
export function followDownloads(): void {
  document.addEventListener("click", (event) => {
    const link = (event.target as Element | null)?.closest<HTMLAnchorElement>('a[href^="/api/"]');
    if (!link || !session() || link.search.includes("ticket=") || event.button !== 0) return;
    event.preventDefault();
    void withTicket(link.pathname + link.search).then((address) => {
      const now = document.createElement("a");
      now.href = address;
      now.download = link.download;
      document.body.append(now);
      now.click();
      now.remove();
    });
  });
}

/** Address of a run's file; slashes stay, all else is escaped. */
export function fileAddress(runId: string, path: string): string {
  return `/api/v1/runs/${encodeURIComponent(runId)}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

export function runAddress(runId: string): string {
  return `/runs/${encodeURIComponent(runId)}`;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
