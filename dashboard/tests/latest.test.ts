import { expect, test, vi } from "vitest";
import { latest } from "../src/lib/latest";
import { paced } from "../src/lib/paced";

test("an answer that was overtaken is let go, whether it brings something or fails", async () => {
  const taken: string[] = [];
  const waiting: { answer: (text: string) => void; fail: (failure: unknown) => void }[] = [];
  const ask = () => new Promise<string>((answer, fail) => waiting.push({ answer, fail }));
  const start = () =>
    latest(
      ask,
      (text) => taken.push(text),
      (failure) => taken.push(`failed: ${String(failure)}`),
    );
  start()();
  start()();
  start();
  waiting[2]!.answer("last");
  waiting[0]!.answer("first");
  waiting[1]!.fail("second");
  await Promise.resolve();
  await Promise.resolve();
  expect(taken).toEqual(["last"]);
});

test("what is typed is asked for when it rests", () => {
  vi.useFakeTimers();
  const asked: string[] = [];
  const type = (text: string) =>
    latest(
      () => (asked.push(text), new Promise(() => undefined)),
      () => undefined,
      () => undefined,
      100,
    );
  const takeBack = type("a");
  vi.advanceTimersByTime(99);
  takeBack();
  type("ab");
  vi.advanceTimersByTime(100);
  expect(asked).toEqual(["ab"]);
  vi.useRealTimers();
});

test("causes that come while a pause lasts make one turn, at its end", () => {
  vi.useFakeTimers();
  let turns = 0;
  const pace = paced(
    () => (turns += 1),
    () => 100,
  );
  for (let n = 0; n < 3; n++) pace.ask();
  vi.advanceTimersByTime(0);
  expect(turns).toBe(1); // at once
  for (let n = 0; n < 3; n++) pace.ask();
  vi.advanceTimersByTime(99);
  expect(turns).toBe(1);
  vi.advanceTimersByTime(1);
  expect(turns).toBe(2);
  pace.ask();
  pace.stop();
  vi.advanceTimersByTime(1000);
  expect(turns).toBe(2);
});
