import { describe, expect, test } from "vitest";
import {
  cutMiddle,
  formatAgo,
  formatBytes,
  formatDuration,
  formatFull,
  formatNumber,
  formatStep,
  formatValue,
  runSeconds,
} from "../src/lib/format";
import { Kind } from "../src/lib/types";

describe("numbers", () => {
  test.each([
    [0.123456, "0.1235"],
    [25557032, "2.556e7"],
    [0.00012345, "1.234e−4"],
    [12345, "12345"],
    [-3, "−3"],
    [4404.7, "4405"],
    [NaN, "NaN"],
    [Infinity, "∞"],
    [null, "–"],
    [0, "0"],
    [1.5, "1.5"],
  ])("%s is shown as %s", (value, text) => expect(formatNumber(value)).toBe(text));

  test("three digits of a four digit number are no exponent", () =>
    expect(formatNumber(4404.7, 3)).toBe("4405"));
  test.each([
    [25557032, Kind.int, "25,557,032"],
    [-1200, Kind.int, "−1,200"],
    [1, Kind.bool, "true"],
    [0, Kind.bool, "false"],
    [25557032, Kind.float, "2.5557e7"],
    [null, Kind.int, "–"],
  ])("%s of kind %s is shown as %s", (value, kind, text) => expect(formatValue(value, kind)).toBe(text));

  test.each([
    [25557032, "25,557,032"],
    [-1200, "−1,200"],
    [0.1234567, "0.123457"],
    [1e300, "1e300"],
  ])("%s in full is %s", (value, text) => expect(formatFull(value, 6)).toBe(text));

  test("steps", () => expect([999, 12_000, 1_250_000].map(formatStep)).toEqual(["999", "12k", "1.25M"]));
  test("bytes", () => expect([12, 1234, 5_600_000].map(formatBytes)).toEqual(["12 B", "1.23 kB", "5.6 MB"]));
});

describe("times", () => {
  test.each([
    [0.25, "250 ms"],
    [4.2, "4.2 s"],
    [200, "3 m 20 s"],
    [7500, "2 h 5 m"],
    [3600, "1 h"],
    [100 * 3600, "4 d 4 h"],
    [null, "–"],
  ])("%s seconds last %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));

  test("ago", () => {
    const now = Date.parse("2026-11-21T12:00:00Z");
    expect(formatAgo("2026-11-21T11:59:57Z", now)).toBe("3 s ago");
    expect(formatAgo("2026-01-02T00:00:00Z", now)).toBe("2026-01-02");
  });

  test("a run that goes on lasts until now", () => {
    const run = { start_time_utc: "2026-11-21T12:00:00Z", end_time_utc: null };
    expect(runSeconds(run, Date.parse("2026-11-21T12:00:05Z"))).toBe(5);
  });
});

test("a long name keeps both ends", () => {
  expect(cutMiddle("resnet50-sweep-lr-0.001", 11)).toBe("resne…0.001");
  expect(cutMiddle("short", 11)).toBe("short");
  expect(cutMiddle("😀😀😀😀😀😀", 3)).toBe("😀…😀");
});
