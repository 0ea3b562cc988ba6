import { expect, test } from "vitest";
import { matcher, sections } from "../src/lib/names";

test("sections by prefix, those without first, in natural order", () => {
  const named = sections(["val/acc", "layer/10", "layer/2", "loss", "val/loss"]);
  expect(named.map((section) => section.name)).toEqual(["metrics", "layer", "val"]);
  expect(named[1]!.metrics).toEqual(["layer/2", "layer/10"]);
});

test.each([
  ["loss", "train/loss", true],
  ["TRAIN loss", "train/loss", true],
  ["val loss", "train/loss", false],
  ["/^train.*loss$/", "train/a/loss", true],
  ["/^train.*loss$/", "train/a/loss2", false],
  ["/acc|loss/", "val/accuracy", true],
  ["/^l.ss$/", "lass", true],
  ["/^l\\.ss$/", "lass", false],
  ["/^loss$/", "loss", true],
  ["/a.*b.*c/", "xaybzc", true],
  ["", "anything", true],
])("%s finds %s: %s", (search, name, passes) => expect(matcher(search)(name)).toBe(passes));

test("an evil pattern takes no longer than its length", () => {
  const began = performance.now();
  matcher(`/${"a.*".repeat(200)}b/`)("a".repeat(5000));
  expect(performance.now() - began).toBeLessThan(500);
});
