/** What a workspace needs no page for: which runs its charts show, their colours, how cards fill the width, which columns tell. */
import { describe, expect, test } from "vitest";
import { fit } from "../src/chart/fit";
import type { Run } from "../src/lib/types";
import { choicesOf, grouped } from "../src/workspace/grouping";
import { tellingLabels, tellingMetrics } from "../src/runs/telling";
import { chartedRuns } from "../src/workspace/charted";
import { ALL, alone, readChoice, shows, toggled, writeChoice } from "../src/workspace/choice";
import { slotsOf } from "../src/workspace/slots";

const all = ["a", "b", "c"];
const shown = (choice: typeof ALL) => all.filter((id) => shows(choice, id));

describe("which runs are shown", () => {
  test("all, until one is hidden; a run that comes later is shown", () => {
    expect(shown(ALL)).toEqual(all);
    const choice = toggled(ALL, "b");
    expect(shown(choice)).toEqual(["a", "c"]);
    expect(shows(choice, "later")).toBe(true);
    expect(shown(toggled(choice, "b"))).toEqual(all);
  });
  test("one alone, to which others are added; a run that comes later is not shown", () => {
    const choice = toggled(alone(ALL, "b", all), "c");
    expect(shown(choice)).toEqual(["b", "c"]);
    expect(shows(choice, "later")).toBe(false);
    expect(shown(alone(alone(ALL, "b", all), "b", all))).toEqual(all);
  });
  test("the address holds it, and a bare one shows all", () => {
    expect(writeChoice(ALL)).toEqual({ hide: null, only: null });
    for (const choice of [
      ALL,
      toggled(ALL, "b"),
      alone(ALL, "b", all),
      { only: true, ids: new Set<string>() },
    ]) {
      const { hide, only } = writeChoice(choice);
      expect(shown(readChoice(hide, only))).toEqual(shown(choice));
    }
  });
  test("up to 500 all at once, of more the first 100 of the order", () => {
    const rows = (n: number) => Array.from({ length: n }, () => ({ run: {} }) as never);
    expect(chartedRuns({ rows: rows(500), total: 500, more: false }, 0)).toHaveLength(500);
    expect(chartedRuns({ rows: rows(600), total: 10_000, more: true }, 0)).toHaveLength(100);
    expect(chartedRuns({ rows: rows(600), total: 10_000, more: true }, 500)).toHaveLength(500);
    expect(chartedRuns({ rows: rows(600), total: 10_000, more: true }, 499)).toHaveLength(100);
  });
});

describe("colours", () => {
  const run = (number: number) => ({ run_id: `r${number}`, number });
  test("thirty runs are all drawn differently, whatever their numbers", () => {
    const slots = slotsOf(
      Array.from({ length: 30 }, (_, i) => run(7 * i)),
      new Map(),
    );
    expect(new Set(slots.values()).size).toBe(30);
  });
  test("a run that comes or goes gives no other another colour, and the order says nothing", () => {
    const before = slotsOf([run(3), run(2), run(1)], new Map());
    const after = slotsOf([run(4), run(1), run(3)], before);
    expect([after.get("r1"), after.get("r3")]).toEqual([before.get("r1"), before.get("r3")]);
    expect(slotsOf([run(1), run(2), run(3)], new Map())).toEqual(new Map([...before].reverse()));
  });
});

describe("the width is filled", () => {
  const rows = (cards: number, width: number, least = 320) => {
    const { tracks, span } = fit(cards, width, least);
    const filled: number[][] = [[]];
    let left = tracks;
    for (let i = 0; i < cards; i++) {
      if (!left) {
        left = tracks;
        filled.push([]);
      }
      filled.at(-1)!.push(span(i) / tracks);
      left -= span(i);
    }
    return { filled, left };
  };
  test.each([1, 2, 3, 4, 5, 7, 11, 13, 23, 24])("by %i cards, in every row", (cards) => {
    for (const width of [300, 700, 1100, 1440, 1920, 3840]) {
      const { filled, left } = rows(cards, width);
      expect(left).toBe(0);
      for (const row of filled) expect(row.reduce((sum, part) => sum + part, 0)).toBeCloseTo(1);
    }
  });
  test("no card is narrower than the least but where nothing wider fits", () => {
    const { columns } = fit(20, 1440, 320);
    expect((1440 - (columns - 1) * 8) / columns).toBeGreaterThanOrEqual(320);
    expect(fit(3, 200, 320).columns).toBe(1);
  });
  test("as many columns as somebody asked for", () => {
    expect(fit(2, 1440, 320, 4)).toMatchObject({ tracks: 4, columns: 4 });
  });
});

function stored(
  last: Record<string, number>,
  params: Record<string, string> = {},
  tags: Record<string, string> = {},
): Run {
  return {
    summaries: Object.fromEntries(
      Object.entries(last).map(([name, value]) => [name, { kind: 0, last: value }]),
    ),
    params: Object.fromEntries(Object.entries(params).map(([key, text]) => [key, { kind: "text", text }])),
    tags,
    details: {},
  } as unknown as Run;
}

describe("columns that tell runs apart", () => {
  const metrics = { epoch: 9, "train/loss": 1, "val/loss": 2, constant: 5, "test/accuracy": 0.5, size: 1 };
  const runs = [0, 1, 2].map((k) =>
    stored(
      Object.fromEntries(
        Object.entries(metrics).map(([name, value]) => [name, name === "constant" ? value : value + k]),
      ),
      { lr: String(k), batch: "8", seed: String(k) },
      { team: "a", note: String(k % 2) },
    ),
  );
  test("validation before training, what counts the training last, nothing constant", () => {
    expect(tellingMetrics(runs, Object.keys(metrics), null, 9)).toEqual([
      "test/accuracy.last",
      "val/loss.last",
      "train/loss.last",
      "size.last",
      "epoch.last",
    ]);
  });
  test("what the sweep is after comes first, by its good end", () => {
    const goal = { metric: "size", maximize: true };
    expect(tellingMetrics(runs, Object.keys(metrics), goal, 2)).toEqual(["size.max", "test/accuracy.last"]);
  });
  test("parameters that differ, then tags, then seeds", () => {
    expect(tellingLabels(runs, 4)).toEqual(["param:lr", "tag:note", "param:seed"]);
    expect(tellingLabels(runs.slice(0, 1), 4)).toEqual([]);
  });
});

test("runs are grouped by what puts some of them together", () => {
  const run = (n: number, lr: string, team: string): Run =>
    ({
      run_id: `r${n}`,
      status: "Completed",
      tags: { team, own: `only ${n}` },
      details: {},
      params: { lr: { text: lr }, seed: { text: String(n) } },
    }) as unknown as Run;
  const runs = [run(0, "0.1", "a"), run(1, "0.01", "a"), run(2, "0.1", "a"), run(3, "0.01", "a")];
  expect(choicesOf(runs)).toEqual(["param:lr"]); // all have a team, and each a seed of its own
  expect(grouped(runs, "param:lr")).toEqual([
    ["0.01", ["r1", "r3"]],
    ["0.1", ["r0", "r2"]],
  ]);
  expect(grouped(runs, "tag:nobody")).toEqual([["–", ["r0", "r1", "r2", "r3"]]]);
});
