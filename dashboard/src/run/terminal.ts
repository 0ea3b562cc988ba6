/** A text as a terminal shows it: what is overwritten is gone, colours become styles. */

export interface Style {
  /** 0 to 15: of the palette; else as CSS has it; null: the text's own. */
  colour: number | string | null;
  background: number | string | null;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
}

export interface Piece {
  text: string;
  style: Style | null;
}

const PLAIN: Style = {
  colour: null,
  background: null,
  bold: false,
  dim: false,
  italic: false,
  underline: false,
};

interface Row {
  cells: string[];
  styles: (Style | null)[];
}

const ESC = String.fromCharCode(27);
const BELL = String.fromCharCode(7);
const TOKEN = new RegExp(
  [
    `${ESC}\\[([0-9;?]*)([A-Za-z])`,
    `${ESC}\\][^${BELL}${ESC}]*(?:${BELL}|${ESC}\\\\)`,
    `${ESC}.`,
    "[\\r\\n\\b]",
    `[^${ESC}\\r\\n\\b]+`,
  ].join("|"),
  "g",
);
const FURTHEST = 4000;

/** The rows a terminal shows, each in pieces of one style. */
export function rowsOf(text: string): Piece[][] {
  const rows: Row[] = [{ cells: [], styles: [] }];
  let row = 0;
  let column = 0;
  let style: Style | null = null;
  const at = (index: number): Row => {
    while (rows.length <= index) rows.push({ cells: [], styles: [] });
    return rows[index]!;
  };
  for (const match of text.matchAll(TOKEN)) {
    const [token, digits, kind] = match;
    if (token === "\n") {
      row += 1;
      column = 0;
      at(row);
    } else if (token === "\r") column = 0;
    else if (token === "\b") column = Math.max(0, column - 1);
    else if (kind !== undefined) {
      const count = Math.min(Number.parseInt(digits ?? "", 10) || 0, FURTHEST);
      const by = Math.max(count, 1);
      if (kind === "m") style = styled(style, digits ?? "");
      else if (kind === "A" || kind === "F") row = Math.max(0, row - by);
      else if (kind === "B" || kind === "E") row = Math.min(rows.length - 1, row + by);
      else if (kind === "C") column = Math.min(column + by, FURTHEST);
      else if (kind === "D") column = Math.max(0, column - by);
      else if (kind === "G") column = by - 1;
      else if (kind === "K") erase(at(row), count, column);
      else if (kind === "J" && count === 0) {
        erase(at(row), 0, column);
        rows.length = row + 1;
      }
      if (kind === "E" || kind === "F") column = 0;
    } else if (!token.startsWith(ESC)) {
      const { cells, styles } = at(row);
      while (cells.length < column) {
        cells.push(" ");
        styles.push(null);
      }
      for (const letter of token) {
        cells[column] = letter;
        styles[column] = style;
        column += 1;
      }
    }
  }
  return rows.map(pieces);
}

function erase(row: Row, mode: number, column: number): void {
  if (mode === 0) row.cells.length = row.styles.length = Math.min(column, row.cells.length);
  else if (mode === 2) row.cells.length = row.styles.length = 0;
  else row.cells.fill(" ", 0, column + 1);
}

function pieces({ cells, styles }: Row): Piece[] {
  const parts: Piece[] = [];
  let from = 0;
  for (let i = 1; i <= cells.length; i++) {
    if (i < cells.length && styles[i] === styles[from]) continue;
    parts.push({ text: cells.slice(from, i).join(""), style: styles[from]! });
    from = i;
  }
  return parts;
}

/** The style behind a sequence of codes. */
function styled(before: Style | null, digits: string): Style | null {
  const codes = digits.split(";").map((code) => Number(code) || 0);
  let style: Style = { ...(before ?? PLAIN) };
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i]!;
    if (code === 0) style = { ...PLAIN };
    else if (code === 1) style.bold = true;
    else if (code === 2) style.dim = true;
    else if (code === 3) style.italic = true;
    else if (code === 4) style.underline = true;
    else if (code === 7) [style.colour, style.background] = [style.background ?? "reverse", style.colour];
    else if (code === 22) style.bold = style.dim = false;
    else if (code === 23) style.italic = false;
    else if (code === 24) style.underline = false;
    else if (code === 39) style.colour = null;
    else if (code === 49) style.background = null;
    else if (code >= 30 && code <= 37) style.colour = code - 30;
    else if (code >= 90 && code <= 97) style.colour = code - 82;
    else if (code >= 40 && code <= 47) style.background = code - 40;
    else if (code >= 100 && code <= 107) style.background = code - 92;
    else if (code === 38 || code === 48) {
      const [colour, used] = longColour(codes.slice(i + 1));
      i += used;
      if (code === 38) style.colour = colour;
      else style.background = colour;
    }
  }
  const plain = Object.entries(PLAIN).every(([name, value]) => style[name as keyof Style] === value);
  return plain ? null : style;
}

/** A colour of 256, or of three parts; and how many codes it took. */
function longColour([how, ...rest]: number[]): [number | string | null, number] {
  const byte = (value: number | undefined) => Math.max(0, Math.min(255, value ?? 0));
  if (how === 2) return [`rgb(${byte(rest[0])}, ${byte(rest[1])}, ${byte(rest[2])})`, 4];
  if (how !== 5) return [null, 1];
  const number = byte(rest[0]);
  if (number < 16) return [number, 2];
  if (number >= 232) {
    const grey = 8 + 10 * (number - 232);
    return [`rgb(${grey}, ${grey}, ${grey})`, 2];
  }
  const level = (value: number) => (value ? 55 + 40 * value : 0);
  const cube = number - 16;
  return [`rgb(${level(Math.floor(cube / 36))}, ${level(Math.floor(cube / 6) % 6)}, ${level(cube % 6)})`, 2];
}

/** The text of a row, without styles. */
export function textOf(row: readonly Piece[]): string {
  return row.map((piece) => piece.text).join("");
}

/** The consoles among a run's files, the one to show first in front. */
export function consolesOf(paths: readonly string[]): string[] {
  const rank = (path: string) => (path.startsWith("azureml-logs/") ? 0 : path.startsWith("logs/") ? 1 : 2);
  const printed = paths.filter((path) =>
    /^(azureml-logs\/\d\d.*\.txt|logs\/user_log\.txt|user_logs\/std_log.*\.txt)$/.test(path),
  );
  const driver = printed.some((path) => path.startsWith("azureml-logs/70"));
  // Of a submitted run it is the same text once more.
  return printed
    .filter((path) => !(driver && path === "user_logs/std_log.txt"))
    .sort((a, b) => rank(a) - rank(b) || (a < b ? 1 : -1));
}
