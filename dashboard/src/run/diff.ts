/** A unified diff as git writes it, by files. */

interface DiffLine {
  kind: "added" | "removed" | "hunk" | "same";
  text: string;
}

interface FileDiff {
  name: string;
  added: number;
  removed: number;
  /** What git says of it beyond its lines: that it is new, renamed, or no text. */
  note: string;
  lines: DiffLine[];
}

/** Most lines of one file that are kept; `added` and `removed` count all. */
export const MOST_LINES = 2000;

/** The files of a diff, and the line the writer left at its end when it kept no more. */
export function parseDiff(text: string): { files: FileDiff[]; cut: string } {
  const files: FileDiff[] = [];
  let cut = "";
  let file: FileDiff | null = null;
  let left = [0, 0]; // lines the hunk has yet: of before, of after
  const put = (kind: DiffLine["kind"], line: string): void => {
    if (file!.lines.length < MOST_LINES) file!.lines.push({ kind, text: line });
  };
  for (const line of text.split("\n")) {
    const inHunk = left[0]! > 0 || left[1]! > 0;
    if (file && inHunk && /^[-+ ]/.test(line)) {
      const sign = line[0];
      if (sign !== "+") left[0]! -= 1;
      if (sign !== "-") left[1]! -= 1;
      if (sign === "+") file.added += 1;
      if (sign === "-") file.removed += 1;
      put(sign === "+" ? "added" : sign === "-" ? "removed" : "same", line);
    } else if (line.startsWith("diff --git ")) {
      file = { name: headName(line), added: 0, removed: 0, note: "", lines: [] };
      files.push(file);
      left = [0, 0];
    } else if (line.startsWith("# runstream: ")) {
      cut = line.slice("# runstream: ".length);
    } else if (file) {
      const hunk = /^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@/.exec(line);
      if (hunk) {
        left = [Number(hunk[1] ?? 1), Number(hunk[2] ?? 1)];
        put("hunk", line);
      } else if (line.startsWith("\\")) put("same", line);
      else if (/^(new|deleted) file/.test(line)) file.note = line.split(" ", 1)[0]!;
      else if (line.startsWith("rename from ")) file.note = `was ${line.slice("rename from ".length)}`;
      else if (line.startsWith("Binary files "))
        file.note = [file.note, "no text"].filter(Boolean).join(", ");
    }
  }
  return { files, cut };
}

/** The name behind `b/`: both halves are alike but for a rename, so a name with " b/" in it is found by their length. */
function headName(line: string): string {
  const both = line.slice("diff --git ".length);
  const half = both.slice((both.length + 1) / 2);
  if (both.slice(2, (both.length - 1) / 2) === half.slice(2)) return half.slice(2);
  return both.slice(both.lastIndexOf(" b/") + 3).replace(/"$/, "");
}
