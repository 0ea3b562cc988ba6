import {
  fill,
  type AnswerOf,
  type Args,
  type Body,
  type JsonPath,
  type Method,
  type ParamsOf,
  type PathOf,
} from "./endpoints";
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

/** Brings a request to the server: the browser's own `fetch`, unless the page cannot reach the server by itself. */
type Transport = (path: string, init: RequestInit) => Promise<Response>;

let transport: Transport | null = null;

/** Let all requests go another way (a notebook's page asks its kernel). */
export function setTransport(other: Transport | null): void {
  transport = other;
}

/** An address of the API as an image can have it: itself, or its content when the browser does not reach it. */
export async function imageSource(path: string): Promise<{ src: string; release: () => void }> {
  if (!transport && !session()) return { src: path, release: () => undefined };
  const src = URL.createObjectURL(new Blob([await (await request(path)).arrayBuffer()]));
  return { src, release: () => URL.revokeObjectURL(src) };
}

/** Where a film or sound of the API is to be had by a player, which sends no token of its own. */
export async function playerSource(
  path: string,
  type: string,
): Promise<{ src: string; release: () => void }> {
  if (!transport && !session()) return { src: path, release: () => undefined };
  const src = URL.createObjectURL(new Blob([await (await request(path)).arrayBuffer()], { type }));
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

/** Ask for JSON. */
export async function getJson<P extends JsonPath>(
  path: P,
  ...[params, signal]: Args<"get", P, [signal?: AbortSignal]>
): Promise<AnswerOf<"get", P>> {
  const response = await request(fill(path, params), signal ? { signal } : undefined);
  return (await response.json()) as AnswerOf<"get", P>;
}

/** Ask for anything else. */
export async function getBytes<P extends PathOf<"get">>(
  path: P,
  ...[params, signal]: Args<"get", P, [signal?: AbortSignal]>
): Promise<ArrayBuffer> {
  const response = await request(fill(path, params), signal ? { signal } : undefined);
  return response.arrayBuffer();
}

/** A file that holds JSON; whoever wrote it says what. */
export async function getFile<T>(address: string, signal: AbortSignal): Promise<T> {
  return (await (await request(address, { signal })).json()) as T;
}

/** The bytes of a file. */
export async function getBuffer(address: string, signal: AbortSignal): Promise<ArrayBuffer> {
  return (await request(address, { signal })).arrayBuffer();
}

/** What an address of this server answers, with its type. */
export async function getBlob(path: string): Promise<Blob> {
  return (await request(path)).blob();
}

/** A part of a file's text: its last bytes when `tail` is given. */
export async function getText(path: string, tail?: number): Promise<{ text: string; cut: boolean }> {
  const response = await request(path, tail ? { headers: { Range: `bytes=-${tail}` } } : undefined);
  const range = response.headers.get("content-range");
  const cut = range !== null && !range.startsWith("bytes 0-");
  return { text: await response.text(), cut };
}

/** Change something. */
export async function sendJson<M extends Exclude<Method, "get">, P extends PathOf<M>>(
  method: M,
  path: P,
  params: ParamsOf<M, P>,
  ...[body]: Body<M, P>
): Promise<AnswerOf<M, P>> {
  const init: RequestInit = { method: method.toUpperCase() };
  if (body !== undefined) {
    init.headers = { "Content-Type": "application/json" };
    init.body = JSON.stringify(body);
  }
  const response = await request(fill(path, params), init);
  return (response.status === 204 ? undefined : await response.json()) as AnswerOf<M, P>;
}

/** The same address for what a browser fetches without headers (downloads, events): with a ticket, where it has a session. */
export async function withTicket(address: string): Promise<string> {
  if (transport || !session()) return address;
  const path = decodeURIComponent(address.split("?")[0]!);
  const { ticket } = await sendJson("post", "/api/v1/tickets", {}, { path });
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

export function runAddress(runId: string): string {
  return `/runs/${encodeURIComponent(runId)}`;
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
