/** What a run's record says of where it comes from: git, script, arguments, environment, snapshot. */
import { naturalOrder } from "../lib/names";
import type { Run } from "../lib/types";

type Fact = [name: string, value: string];

/** The id of the source snapshot; empty: there is none. */
export function snapshotOf(run: Pick<Run, "properties">): string {
  return run.properties.ContentSnapshotId ?? "";
}

/** The id of the snapshot that holds the diff against the commit; empty: there is none. */
export function diffOf(run: Pick<Run, "properties">): string {
  return run.properties["runstream.git.diff"] ?? "";
}

interface Definition {
  script?: unknown;
  arguments?: unknown;
  environment?: Record<string, unknown>;
  [name: string]: unknown;
}

function definitionOf(run: Pick<Run, "details">): Definition {
  const definition = run.details.runDefinition;
  return definition && typeof definition === "object" ? (definition as Definition) : {};
}

/** The parameters of a run, and the arguments of its script that have no name, numbered. */
export function parametersOf(run: Pick<Run, "details" | "params">): Fact[] {
  const named = Object.entries(run.params ?? {}).map(([name, { text }]): Fact => [name, text]);
  return [...named.sort(([a], [b]) => naturalOrder(a, b)), ...unnamedArguments(run)];
}

/** The arguments of a script that have no name, numbered. */
export function unnamedArguments(run: Pick<Run, "details">): Fact[] {
  const given = definitionOf(run).arguments;
  const words = Array.isArray(given)
    ? given.map((word) => (typeof word === "string" ? word : JSON.stringify(word)))
    : [];
  const facts: Fact[] = [];
  for (let i = 0; i < words.length; i++) {
    const name = /^--?[A-Za-z_][^=]*(=.*)?$/s.exec(words[i]!);
    if (!name) facts.push([`argument ${facts.length + 1}`, words[i]!]);
    else if (name[1] === undefined && i + 1 < words.length && !/^--?[A-Za-z_]/.test(words[i + 1]!)) i += 1; // its value
  }
  return facts;
}

interface Git {
  commit: string;
  branch: string;
  repository: string;
  /** A page of the commit, where the repository's host has one. */
  link: string | null;
  dirty: boolean;
}

/** What git said of the folder; null: it is in no repository. */
export function gitOf(run: Pick<Run, "properties">): Git | null {
  const own = (name: string) => run.properties[`azureml.git.${name}`] ?? "";
  const commit = own("commit") || (run.properties["mlflow.source.git.commit"] ?? "");
  if (!commit) return null;
  const repository = own("repository_uri");
  const page = /^(?:https?:\/\/(?:[^@/]*@)?|git@|ssh:\/\/git@)([\w.-]+)[:/](.+?)(?:\.git)?\/?$/.exec(
    repository,
  );
  const known = page && /(^|\.)(github|gitlab|bitbucket|codeberg)\./.test(page[1]!);
  return {
    commit,
    branch: own("branch"),
    repository,
    link:
      known && page
        ? `https://${page[1]}/${page[2]}/${page[1]!.includes("bitbucket") ? "commits" : "commit"}/${commit}`
        : null,
    dirty: /^true$/i.test(own("dirty")),
  };
}

/** Script, folder, machine, Python. */
export function originOf(run: Pick<Run, "details">): Fact[] {
  const definition = definitionOf(run);
  const text = (value: unknown) => (value === null || value === undefined ? "" : String(value));
  const facts: Fact[] = [
    ["Script", text(definition.script) || text(run.details.script)],
    ["Directory", text(run.details.directory)],
    ["Machine", text(run.details.host)],
    ["Process", text(run.details.pid)],
    ["Python", text(run.details.python)],
  ];
  return facts.filter(([, value]) => value !== "");
}

/** The environment a run was submitted with; null: it ran where it was started. */
export function environmentOf(run: Pick<Run, "details">): Record<string, unknown> | null {
  const environment = definitionOf(run).environment;
  return environment && typeof environment === "object" && Object.keys(environment).length
    ? environment
    : null;
}

/** The environment as facts that can be compared: a version of each package, and each setting by its path. */
export function environmentFacts(run: Pick<Run, "details">): Fact[] {
  const facts = new Map<string, string>();
  const add = (value: unknown, path: string): void => {
    if (value === null || value === undefined || value === "") return;
    if (Array.isArray(value)) for (const item of value as unknown[]) addItem(item, path);
    else if (typeof value === "object")
      for (const [name, inner] of Object.entries(value)) add(inner, path ? `${path}.${name}` : name);
    else facts.set(path, String(value as string | number | boolean));
  };
  const addItem = (item: unknown, path: string): void => {
    const [, name, version] = (typeof item === "string" && /^([\w.[\],-]+)\s*([=<>!~].*)?$/.exec(item)) || [];
    if (name) facts.set(`${path} ${name}`, version ?? "✓");
    else if (item && typeof item === "object") add(item, path);
    else facts.set(`${path} ${String(item)}`, "✓");
  };
  add(run.details.python, "python");
  add(environmentOf(run), "");
  return [...facts];
}

interface Difference {
  /** A package or a setting. */
  name: string;
  /** Where in the environment it stands. */
  path: string;
  /** Its value in the one and in the other; null: it is not there. */
  here: string | null;
  there: string | null;
}

/** What two runs' environments differ in, package by package and setting by setting. */
export function environmentDifference(run: Pick<Run, "details">, other: Pick<Run, "details">): Difference[] {
  const [here, there] = [new Map(environmentFacts(run)), new Map(environmentFacts(other))];
  return [...new Set([...here.keys(), ...there.keys()])]
    .filter((key) => here.get(key) !== there.get(key))
    .sort(naturalOrder)
    .map((key) => {
      const [path, ...item] = key.split(" "); // a list's items follow its path
      const known = { here: here.get(key) ?? null, there: there.get(key) ?? null };
      return item.length
        ? { name: item.join(" "), path: path!, ...known }
        : { name: key, path: "", ...known };
    });
}

const SHOWN = new Set(["runDefinition", "script", "directory", "host", "pid", "python"]);

/** What else the record holds. */
export function otherDetails(run: Pick<Run, "details">): [string, unknown][] {
  const rest = Object.entries(run.details).filter(
    ([name, value]) => !SHOWN.has(name) && value !== null && value !== "",
  );
  const definition = Object.entries(definitionOf(run)).filter(
    ([name]) => !["script", "arguments", "environment"].includes(name),
  );
  return definition.length ? [...rest, ["run configuration", Object.fromEntries(definition)]] : rest;
}
