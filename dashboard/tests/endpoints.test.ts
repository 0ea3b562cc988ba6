import { expect, test } from "vitest";
import { getJson, sendJson } from "../src/lib/api";
import { address, fileAddress, fill } from "../src/lib/endpoints";

test("names of the path go into the path, the others into the query", () => {
  expect(address("/api/v1/runs/{run_id}/tables/{name}", { run_id: "a b", name: "x/y", offset: 5 })).toBe(
    "/api/v1/runs/a%20b/tables/x%2Fy?offset=5",
  );
  expect(address("/api/v1/runs", { run: ["a", "b"], q: "", limit: null })).toBe("/api/v1/runs?run=a&run=b");
  expect(fileAddress("r", "logs/ü b.txt")).toBe("/api/v1/runs/r/files/logs/%C3%BC%20b.txt");
  expect(fill("/api/v1/access")).toBe("/api/v1/access");
});

// Held by the types (npm run check): each of these lines is a mistake, and one that passes fails the check.
export const mistakes = [
  // @ts-expect-error there is no such path
  () => getJson("/api/v1/rums"),
  // @ts-expect-error its GET answers no JSON
  () => getJson("/api/v1/metrics", { run: ["r"] }),
  // @ts-expect-error there is no such parameter
  () => getJson("/api/v1/runs", { limitt: 5 }),
  // @ts-expect-error it is a number
  () => getJson("/api/v1/runs", { limit: "5" }),
  // @ts-expect-error it is one of three words
  () => getJson("/api/v1/runs", { archived: "yes" }),
  // @ts-expect-error the name of the run is missing
  () => getJson("/api/v1/runs/{run_id}/series", {}),
  // @ts-expect-error parameters that are needed are missing
  () => address("/api/v1/export/points"),
  // @ts-expect-error it takes no such method
  () => sendJson("put", "/api/v1/runs", {}, { runs: [], changes: {} }),
  // @ts-expect-error the body is missing
  () => sendJson("patch", "/api/v1/runs", {}),
  // @ts-expect-error there is no such change
  () => sendJson("patch", "/api/v1/runs", {}, { runs: [], changes: { archive: true } }),
  // @ts-expect-error the answer has no such field
  async () => (await getJson("/api/v1/runs")).rums,
];
