/** The server's endpoints as it declares them: which there are, what each takes and answers, and the address of a request. */
import type { paths } from "../../generated/openapi";

export type Method = "get" | "post" | "put" | "patch" | "delete";

/** Paths that take a method. */
export type PathOf<M extends Method> = {
  [P in keyof paths]: paths[P] extends Record<M, object> ? P : never;
}[keyof paths];

type Operation<M extends Method, P extends PathOf<M>> = paths[P][M];

type Given<T> = [NonNullable<T>] extends [never] ? unknown : NonNullable<T>;

/** Values of a query, where null stands for one that is left out, and lists are only read. */
type Settable<T> = {
  [K in keyof T]:
    | (NonNullable<T[K]> extends (infer I)[] ? readonly I[] : NonNullable<T[K]>)
    | (undefined extends T[K] ? null | undefined : never);
};

/** What stands in the braces of a path, and in its query. */
export type ParamsOf<M extends Method, P extends PathOf<M>> =
  Operation<M, P> extends { parameters: { query?: infer Q; path?: infer N } }
    ? Settable<Given<Q>> & Given<N>
    : never;

/** Parameters as an argument that may be left out where none is needed. */
export type Args<M extends Method, P extends PathOf<M>, More extends unknown[] = []> =
  Record<never, never> extends ParamsOf<M, P>
    ? [params?: ParamsOf<M, P>, ...more: More]
    : [params: ParamsOf<M, P>, ...more: More];

type ReadOnly<T> = T extends (infer I)[]
  ? readonly ReadOnly<I>[]
  : T extends object
    ? { [K in keyof T]: ReadOnly<T[K]> }
    : T;

/** The JSON body a method of a path takes, as an argument; nothing where it takes none. */
export type Body<M extends Method, P extends PathOf<M>> =
  Operation<M, P> extends { requestBody: { content: { "application/json": infer B } } }
    ? [body: ReadOnly<B>]
    : Operation<M, P> extends { requestBody?: { content: { "application/json": infer B } } }
      ? [body?: ReadOnly<B>]
      : [];

type Success<R> = R[keyof R & (200 | 201 | 204)];

/** What is answered as JSON. */
export type AnswerOf<M extends Method, P extends PathOf<M>> =
  Operation<M, P> extends { responses: infer R }
    ? Success<R> extends { content: { "application/json": infer A } }
      ? A
      : undefined
    : never;

/** Paths whose GET answers JSON. */
export type JsonPath = {
  [P in PathOf<"get">]: AnswerOf<"get", P> extends undefined ? never : P;
}[PathOf<"get">];

/** Which runs, in which order, with which summaries. */
export type RunsQuery = ParamsOf<"get", "/api/v1/runs">;

type Value = string | number | boolean | null | undefined | readonly (string | number)[];

/** A path with its braces filled and its query behind it: parameters that are set; lists repeat their name. */
export function fill(path: string, params: object = {}): string {
  const search = new URLSearchParams();
  const left = new Map(Object.entries(params as Record<string, Value>));
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = String(left.get(name));
    left.delete(name);
    return name === "path" ? value.split("/").map(encodeURIComponent).join("/") : encodeURIComponent(value);
  });
  for (const [name, value] of left) {
    if (Array.isArray(value)) for (const item of value) search.append(name, String(item));
    else if (value !== null && value !== undefined && value !== "") search.append(name, String(value));
  }
  return search.size ? `${filled}?${search}` : filled;
}

/** The address of what a GET answers, for a link or an image. */
export function address<P extends PathOf<"get">>(path: P, ...[params]: Args<"get", P>): string {
  return fill(path, params);
}

/** Address of a run's file; slashes stay, all else is escaped. */
export function fileAddress(runId: string, path: string): string {
  return address("/api/v1/runs/{run_id}/files/{path}", { run_id: runId, path });
}
