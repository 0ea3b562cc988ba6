/** What the notebook's page and its kernel say to one another: traits that are pushed, and questions that are answered. */
import type { Run, SeriesSummary } from "../lib/types";

interface Children {
  runs: Run[];
  more: boolean;
}

export interface Logs {
  names: string[];
  chosen: string;
  text: string;
  cut: boolean;
  note: string;
}

/** The traits of runstream.widgets.model.RunWidget. */
export interface Traits {
  run: Partial<Run>;
  series: SeriesSummary[];
  total: number;
  charts: DataView;
  children: Partial<Children>;
  logs: Partial<Logs>;
  notice: string;
  page: string;
  wanted_log: string;
  settings: Record<string, unknown>;
}

/** A widget's model as anywidget hands it over. */
export interface Model {
  get<K extends keyof Traits>(name: K): Traits[K];
  set<K extends keyof Traits>(name: K, value: Traits[K]): void;
  save_changes(): void;
  on(event: string, callback: (...given: never[]) => void): void;
  off(event: string, callback: (...given: never[]) => void): void;
  send(content: unknown): void;
}

interface Answer {
  status: number;
  range: string;
  body: Uint8Array<ArrayBuffer>;
}

type Question =
  | { what: "get"; path: string; params: [string, string][]; range: string }
  | { what: "page" }
  | { what: "cancel" };

/** So long a cell may run before a question counts as lost. */
const PATIENCE = 60_000;

/** Asks the kernel; it answers between cells, or beside them where comms have a subshell. */
export class Kernel {
  #waiting = new Map<string, (answer: Answer) => void>();
  #number = 0;
  readonly #own = Math.random().toString(36).slice(2); // several views of a model hear one another's answers

  constructor(private readonly model: Model) {
    model.on("msg:custom", this.#heard);
  }

  close(): void {
    this.model.off("msg:custom", this.#heard);
  }

  async ask(question: Question, patience = PATIENCE): Promise<Answer> {
    const id = `${this.#own}-${(this.#number += 1)}`;
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<Answer>((resolve, reject) => {
        this.#waiting.set(id, resolve);
        timer = setTimeout(
          () => reject(new Error("The kernel does not answer: it is busy with a cell, or gone.")),
          patience,
        );
        this.model.send({ id, ...question });
      });
    } finally {
      clearTimeout(timer);
      this.#waiting.delete(id);
    }
  }

  /** A request of the HTTP API, as `fetch` would do it. */
  readonly fetch = async (path: string, init: RequestInit): Promise<Response> => {
    const url = new URL(path, "http://kernel");
    const range = new Headers(init.headers).get("Range") ?? "";
    const {
      status,
      range: part,
      body,
    } = await this.ask({ what: "get", path: url.pathname, params: [...url.searchParams], range });
    return new Response(body, { status, headers: part ? { "content-range": part } : {} });
  };

  readonly #heard = (
    content: { id?: string; status?: number; range?: string },
    buffers: DataView[] = [],
  ): void => {
    const answer = this.#waiting.get(content.id ?? "");
    if (!answer) return;
    const body = buffers[0] ? bytesOf(buffers[0]) : new ArrayBuffer(0);
    answer({ status: content.status ?? 500, range: content.range ?? "", body: new Uint8Array(body) });
  };
}

/** A buffer of its own: columns in it start at multiples of eight. */
export function bytesOf(view: DataView): ArrayBuffer {
  return (view.buffer as ArrayBuffer).slice(view.byteOffset, view.byteOffset + view.byteLength);
}
