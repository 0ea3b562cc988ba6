/** Where the links lead that MLflow's client prints. */
import { expect, test } from "vitest";
import { addressOf } from "../src/lib/mlflow_links";

test.each([
  ["#/experiments/3/runs/5f0c", "/runs/5f0c"],
  ["#/experiments/0/runs/a%20b", "/runs/a%20b"],
  ["#/experiments/3/runs/5f0c/artifacts", "/runs/5f0c"],
  ["#/experiments/3", "/experiments/id/3"],
  ["#/experiments/0", "/"],
  ["", null],
  ["#section", null],
  ["#/models/a", null],
])("%s leads to %s", (fragment, address) => {
  expect(addressOf(fragment)).toBe(address);
});
