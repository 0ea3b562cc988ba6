/** Paths as a tree of folders. */
import type { RunFile } from "../lib/types";
import { naturalOrder } from "../lib/names";

type File = Pick<RunFile, "path" | "size" | "sha256">;

export interface Folder {
  name: string;
  path: string;
  folders: Folder[];
  files: { name: string; file: File }[];
}

/** How many files lie below a folder. */
export function filesOf(folder: Folder): number {
  return folder.folders.reduce((sum, below) => sum + filesOf(below), folder.files.length);
}

/** Bytes of all that lies below a folder. */
export function sizeOf(folder: Folder): number {
  return folder.folders.reduce(
    (sum, below) => sum + sizeOf(below),
    folder.files.reduce((sum, { file }) => sum + file.size, 0),
  );
}

/** The log that is shown first: that of the latest phase by the number in its name, else the last. As the widget chooses. */
export function firstLog(files: readonly File[]): string | undefined {
  const phase = (path: string) =>
    path.startsWith("azureml-logs/") ? Number(/\/(\d+)_[^/]*$/.exec(path)?.[1] ?? -1) : -1;
  const logs = files
    .filter((file) => /^(user_logs|azureml-logs|logs)\//.test(file.path) && kindOf(file.path) === "text")
    .map((file) => file.path);
  return logs.sort((a, b) => phase(a) - phase(b) || naturalOrder(a, b)).at(-1);
}

export function fileTree(files: readonly File[]): Folder {
  const root: Folder = { name: "", path: "", folders: [], files: [] };
  const known = new Map<string, Folder>([["", root]]);
  const folderOf = (path: string): Folder => {
    const folder = known.get(path);
    if (folder) return folder;
    const at = path.lastIndexOf("/");
    const made: Folder = { name: path.slice(at + 1), path, folders: [], files: [] };
    known.set(path, made);
    folderOf(at < 0 ? "" : path.slice(0, at)).folders.push(made);
    return made;
  };
  for (const file of files) {
    const at = file.path.lastIndexOf("/");
    folderOf(at < 0 ? "" : file.path.slice(0, at)).files.push({ name: file.path.slice(at + 1), file });
  }
  for (const folder of known.values()) {
    folder.folders.sort((a, b) => naturalOrder(a.name, b.name));
    folder.files.sort((a, b) => naturalOrder(a.name, b.name));
  }
  return root;
}

const TEXTS = /\.(txt|log|json|jsonl|yaml|yml|csv|tsv|md|py|toml|ini|cfg|sh|xml|html|js|ts|out|err)$/i;
const IMAGES = /\.(png|jpe?g|gif|webp|bmp|svg)$/i;

export function kindOf(path: string): "text" | "image" | "other" {
  if (TEXTS.test(path) || /(^|\/)[^./]+$/.test(path)) return "text";
  return IMAGES.test(path) ? "image" : "other";
}
