import { expect, test } from "vitest";
import {
  environmentDifference,
  environmentFacts,
  gitOf,
  originOf,
  otherDetails,
  parametersOf,
  snapshotOf,
} from "../src/run/facts";
import { fileTree, filesOf, firstLog, sizeOf } from "../src/run/tree";

test("parameters, and arguments without a name", () => {
  const details = {
    runDefinition: {
      arguments: ["--lr", 0.1, "--fast", "--data=a=b", "--shift", "-3", "x.csv", "-9", "--verbose"],
    },
  };
  const params = {
    "layer.10": { kind: "int", text: "9007199254740993" },
    "layer.2": { kind: "float", text: "0.5" },
  } as const;
  expect(parametersOf({ details, params })).toEqual([
    ["layer.2", "0.5"],
    ["layer.10", "9007199254740993"],
    ["argument 1", "x.csv"],
    ["argument 2", "-9"],
  ]);
  expect(parametersOf({ details: {} })).toEqual([]);
});

test("an environment as facts: each package with its version, each setting by its path", () => {
  const environment = {
    name: "torch",
    docker: { enabled: false, image: null },
    python: {
      condaDependencies: { dependencies: ["python=3.11", { pip: ["numpy==2.1", "x[y]>=1,<2", "plain", 7] }] },
    },
  };
  expect(environmentFacts({ details: { python: "3.11.9", runDefinition: { environment } } })).toEqual([
    ["python", "3.11.9"],
    ["name", "torch"],
    ["docker.enabled", "false"],
    ["python.condaDependencies.dependencies python", "=3.11"],
    ["python.condaDependencies.dependencies.pip numpy", "==2.1"],
    ["python.condaDependencies.dependencies.pip x[y]", ">=1,<2"],
    ["python.condaDependencies.dependencies.pip plain", "✓"],
    ["python.condaDependencies.dependencies.pip 7", "✓"],
  ]);
  expect(environmentFacts({ details: {} })).toEqual([]);
});

test("two environments differ in packages and settings, and may be there in one only", () => {
  const of = (python: string, pip: string[], environment: object = {}) => ({
    details: { python, runDefinition: { environment: { ...environment, pip } } },
  });
  const before = of("3.11.9", ["numpy==2.1", "torch==2.4", "same==1"], { name: "old" });
  const now = of("3.11.9", ["numpy==2.2", "same==1", "rich"], { name: "new" });
  expect(environmentDifference(now, before)).toEqual([
    { name: "name", path: "", here: "new", there: "old" },
    { name: "numpy", path: "pip", here: "==2.2", there: "==2.1" },
    { name: "rich", path: "pip", here: "✓", there: null },
    { name: "torch", path: "pip", here: null, there: "==2.4" },
  ]);
  expect(environmentDifference(now, now)).toEqual([]);
  expect(environmentDifference({ details: {} }, { details: { python: "3.12.1" } })).toEqual([
    { name: "python", path: "", here: null, there: "3.12.1" },
  ]);
});

test("a commit is linked only where its host has pages of commits", () => {
  const git = (uri: string, dirty = "False") =>
    gitOf({
      properties: {
        "azureml.git.commit": "abc",
        "azureml.git.repository_uri": uri,
        "azureml.git.dirty": dirty,
      },
    });
  expect(git("git@github.com:a/b.git", "True")).toMatchObject({
    link: "https://github.com/a/b/commit/abc",
    dirty: true,
  });
  expect(git("https://me@gitlab.example.org/a/b/c.git")).toMatchObject({
    link: "https://gitlab.example.org/a/b/c/commit/abc",
    dirty: false,
  });
  expect(git("/srv/code")?.link).toBeNull();
  expect(git("javascript:alert(1)//github.com/a")?.link).toBeNull();
  expect(gitOf({ properties: {} })).toBeNull();
});

test("what has its own place is not repeated below", () => {
  const details = {
    script: "a.py",
    host: "h",
    extra: 1,
    runDefinition: { script: "train.py", arguments: [], target: "local" },
  };
  expect(originOf({ details })).toEqual([
    ["Script", "train.py"],
    ["Machine", "h"],
  ]);
  expect(otherDetails({ details })).toEqual([
    ["extra", 1],
    ["run configuration", { target: "local" }],
  ]);
  expect(snapshotOf({ properties: { ContentSnapshotId: "f00" } })).toBe("f00");
});

test("files as a tree, and the log of the latest phase", () => {
  const file = (path: string) => ({ path, size: 10, sha256: "" });
  const files = [
    "azureml-logs/8_a.txt",
    "azureml-logs/70_driver.txt",
    "logs/z.txt",
    "outputs/model/w.bin",
    "outputs/a.png",
  ].map(file);
  expect(firstLog(files)).toBe("azureml-logs/70_driver.txt");
  expect(firstLog([file("outputs/a.txt")])).toBeUndefined();
  const outputs = fileTree(files).folders.find((folder) => folder.name === "outputs")!;
  expect([filesOf(outputs), sizeOf(outputs)]).toEqual([2, 20]);
});
