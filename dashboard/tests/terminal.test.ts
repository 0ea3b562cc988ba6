import { expect, test } from "vitest";
import { systemSections, unitless } from "../src/run/system";
import { consolesOf, rowsOf, textOf } from "../src/run/terminal";

const texts = (text: string) => rowsOf(text).map(textOf);

test("a progress bar is shown in its last state", () => {
  expect(texts("begin\n\r 1%\r 50%\r100%\nend\n")).toEqual(["begin", "100%", "end", ""]);
  expect(texts("longer\rabc")).toEqual(["abcger"]);
  expect(texts("longer\r\x1b[Kabc")).toEqual(["abc"]);
});

test("bars below one another keep their rows", () => {
  expect(texts("\r outer 1\n\r inner 1\x1b[A\r outer 2\n\r inner 2\n")).toEqual([" outer 2", " inner 2", ""]);
  expect(texts("a\nb\nc\x1b[2A\x1b[2K\rx")).toEqual(["x", "b", "c"]);
  expect(texts("a\nb\x1b[A\r\x1b[J")).toEqual([""]);
});

test("colours become styles, and what is unknown is passed over", () => {
  const [row] = rowsOf("\x1b[1;31mred\x1b[0m plain\x1b]0;title\x07\x1b[?25l \x1b[38;5;196mhot\x1b[39m");
  expect(row!.map(({ text, style }) => [text, style?.colour ?? null, style?.bold ?? false])).toEqual([
    ["red", 1, true],
    [" plain ", null, false],
    ["hot", "rgb(255, 0, 0)", false],
  ]);
  expect(rowsOf("\x1b[38;2;1;2;999mx")[0]![0]!.style!.colour).toBe("rgb(1, 2, 255)");
  expect(rowsOf("\x1b[7mx")[0]![0]!.style!.colour).toBe("reverse");
  expect(textOf(rowsOf("\x1b[999999999Cx")[0]!).length).toBe(4001);
});

test("the console of a run is its driver's, its block's, or what it printed", () => {
  expect(consolesOf(["outputs/x.txt", "user_logs/std_log.txt", "logs/other.txt"])).toEqual([
    "user_logs/std_log.txt",
  ]);
  expect(
    consolesOf([
      "user_logs/std_log.txt",
      "azureml-logs/20_image_build_log.txt",
      "azureml-logs/70_driver_log.txt",
    ]),
  ).toEqual(["azureml-logs/70_driver_log.txt", "azureml-logs/20_image_build_log.txt"]);
  expect(consolesOf(["user_logs/std_log.txt", "logs/user_log.txt"])).toEqual([
    "logs/user_log.txt",
    "user_logs/std_log.txt",
  ]);
});

test("system metrics lie by what they are of, GPUs first", () => {
  const names = [
    "system/cpu_utilization_percentage",
    "system/gpu_10_temperature_celsius",
    "system/gpu_2_power_usage_watts",
  ];
  expect(systemSections(names)).toEqual([
    { name: "GPU", names: ["system/gpu_2_power_usage_watts", "system/gpu_10_temperature_celsius"] },
    { name: "CPU", names: ["system/cpu_utilization_percentage"] },
  ]);
  expect(unitless("system/gpu_2_power_usage_watts")).toBe("gpu 2 power usage, W");
  expect(unitless("system/process_threads")).toBe("process threads");
});
