/** Values that are separated by something, read without the code that Vega's reader would make of their names. */
import { dsvFormat } from "d3-dsv";

interface Format {
  delimiter?: string;
  header?: readonly string[];
}
type Table = Record<string, string>[] & { columns: readonly string[] };

/** A reader for Vega; `delimiter` where the format says none itself. */
export function separated(delimiter?: string): (text: unknown, format?: Format) => Table {
  const read = (text: unknown, format?: Format): Table => {
    const rows = dsvFormat(delimiter ?? format?.delimiter ?? ",").parseRows(String(text));
    const columns = format?.header ?? rows.shift() ?? [];
    const table = rows.map((row) =>
      Object.fromEntries(columns.map((name, place) => [name, row[place] ?? ""])),
    );
    return Object.assign(table, { columns });
  };
  return Object.assign(read, { responseType: "text" });
}
