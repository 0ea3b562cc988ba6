import { describe, expect, it } from "vitest";
import { MOST_LINES, parseDiff } from "../src/run/diff";

const file = (name: string, body: string) => `diff --git a/${name} b/${name}\n${body}`;

describe("a diff of git", () => {
  it("is read by files, with the counts of its lines", () => {
    const { files, cut } = parseDiff(
      file(
        "a b/c.py",
        "index 1..2 100644\n--- a/a b/c.py\n+++ b/a b/c.py\n@@ -1,2 +1,2 @@ def f\n-x\n+y\n z\n",
      ) + file("new.py", "new file mode 100644\n--- /dev/null\n+++ b/new.py\n@@ -0,0 +1 @@\n+1\n"),
    );
    expect(cut).toBe("");
    expect(files.map(({ name, added, removed, note }) => [name, added, removed, note])).toEqual([
      ["a b/c.py", 1, 1, ""],
      ["new.py", 1, 0, "new"],
    ]);
    expect(files[0]!.lines.map((line) => line.kind)).toEqual(["hunk", "removed", "added", "same"]);
  });
  it("takes lines that look like heads for what they are", () => {
    const { files } = parseDiff(
      file("a", "--- a/a\n+++ b/a\n@@ -1 +1,2 @@\n--- old\n+++ new\n+# runstream: no\n"),
    );
    expect(files).toHaveLength(1);
    expect([files[0]!.added, files[0]!.removed]).toEqual([2, 1]);
  });
  it("tells renames, what is no text, and where it was cut", () => {
    const { files, cut } = parseDiff(
      "diff --git a/old.py b/new.py\nsimilarity index 100%\nrename from old.py\nrename to new.py\n" +
        file("x.bin", "Binary files a/x.bin and b/x.bin differ\n") +
        "# runstream: the diff goes on\n",
    );
    expect(files.map(({ name, note }) => [name, note])).toEqual([
      ["new.py", "was old.py"],
      ["x.bin", "no text"],
    ]);
    expect(cut).toBe("the diff goes on");
  });
  it("keeps so many lines of a file and counts all", () => {
    const n = MOST_LINES + 500;
    const [long] = parseDiff(file("a", `@@ -0,0 +1,${n} @@\n${"+x\n".repeat(n)}`)).files;
    expect([long!.lines.length, long!.added]).toEqual([MOST_LINES, n]);
  });
  it("is nothing when there is nothing", () => {
    expect(parseDiff("")).toEqual({ files: [], cut: "" });
  });
});
