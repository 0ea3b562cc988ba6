import { expect, test } from "vitest";
import { branchLines, MOST_DRAWN } from "../src/run/branches";
import type { Branches } from "../src/lib/types";

const RUN: Branches = { run_id: "run", forked_from: null, rewinds: [], forks: [] };
const rewind = (number: number, step: number, last_step: number, points = 1) => ({
  number,
  step,
  last_step,
  points,
  metrics: 1,
  time_utc: "2026-01-01T00:00:00Z",
});

test("a run by itself is one line", () => {
  expect(branchLines(RUN, 10)).toEqual([{ kind: "run", from: 0, to: 10, off: 0 }]);
});

test("former branches leave the run at the step of their rewind, forks at theirs", () => {
  const branches: Branches = {
    ...RUN,
    forked_from: { run_id: "parent", step: 5 },
    rewinds: [rewind(1, 8, 30), rewind(2, -1, 12), rewind(3, 9, 0, 0)],
    forks: [{ run_id: "fork", step: 9, status: "Running" }],
  };
  expect(branchLines(branches, 20)).toEqual([
    { kind: "parent", from: 0, to: 30, off: 0 },
    { kind: "run", from: 5, to: 20, off: 0 },
    { kind: "former", from: 8, to: 30, off: 1 },
    { kind: "former", from: 0, to: 12, off: 1 },
    { kind: "fork", from: 9, to: 30, off: 1 },
  ]);
});

test("of very many forks some are drawn", () => {
  const forks = Array.from({ length: 500 }, (_, i) => ({ run_id: `fork ${i}`, step: null }));
  expect(branchLines({ ...RUN, forks }, 3)).toHaveLength(1 + MOST_DRAWN);
});
