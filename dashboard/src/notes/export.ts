/**
 * A note as one HTML file that needs neither a server nor a network: text and tables as they are, charts as pictures of lines. Nothing
 * in it runs, and its own policy keeps a browser from loading anything.
 */
import { extentOf } from "../chart/draw";
import { loadChart, type ChartQuery } from "../chart/load";
import { xRangeOf, yRangeOf } from "../chart/scales";
import { svgOf } from "../chart/share";
import { escaped } from "../chart/take";
import { tracesOf } from "../chart/traces";
import type { View } from "../chart/view.svelte";
import { getBlob, messageOf, runAddress } from "../lib/api";
import { formatTime, runName } from "../lib/format";
import { statusLook } from "../lib/status";
import type { Note, Run } from "../lib/types";
import { bestRuns, cellText } from "../runs/columns";
import { keepFile } from "../runs/export";
import { readEmbed, type Block, type Embed } from "./embed";
import { piecesOf } from "./markdown";
import { Drawn, findRuns, groupsOf, type Passing, type Subject } from "./runs";

const BUCKETS = 768;
const MOST_PICTURE = 8 << 20; // bytes of one that is taken into the file
const PICTURES = /^image\/(png|jpeg|gif|webp|avif|svg\+xml)$/;
const COLOURS = { panel: "#ffffff", text: "#1b1f24", muted: "#59636e", rule: "#d5dae1" };
const STYLE = `
body { font: 15px/1.6 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 880px; margin: 24px auto; padding: 0 16px;
  overflow-wrap: anywhere; }
h1, h2, h3 { line-height: 1.25; } a { color: #1f5fd0; }
figure { margin: 16px 0; overflow-x: auto; } figcaption { font-weight: 600; margin-bottom: 4px; } img { max-width: 100%; height: auto; }
table { border-collapse: collapse; font-size: 13px; } th, td { border: 1px solid #d5dae1; padding: 2px 8px; text-align: left; }
td.num { text-align: right; font-variant-numeric: tabular-nums; }
pre, code { font-family: monospace; background: #f5f6f8; } pre { padding: 8px 12px; overflow-x: auto; }
blockquote { border-left: 3px solid #d5dae1; margin-left: 0; padding-left: 12px; color: #59636e; }
.about { color: #59636e; font-size: 13px; } .wrong { border-left: 3px solid #c62828; padding-left: 12px; }
`;

/** Have the browser keep a note as a file; returns what to tell. */
export async function keepNote(note: Note, of: string, subject: Subject): Promise<string> {
  const title = note.title || `Note of ${of}`;
  const name = `${
    title
      .replace(/[^\p{L}\p{N}.-]+/gu, "-")
      .replace(/^[-.]+|-+$/g, "")
      .slice(0, 80) || "note"
  }.html`;
  keepFile(await noteFile(note, title, subject), "text/html", name);
  return `Saved ${name}.`;
}

/** The file's text. */
async function noteFile(note: Note, title: string, subject: Subject): Promise<string> {
  const drawn = new Drawn();
  const parts: string[] = [];
  for (const piece of piecesOf(note.text ?? ""))
    parts.push("html" in piece ? await standing(piece.html) : await figureOf(piece.block, subject, drawn));
  const about = `Version ${note.version} by ${note.author}, ${formatTime(note.changed_utc)}; as of ${formatTime(new Date().toISOString())}.`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'">
<meta name="viewport" content="width=device-width">
<meta name="referrer" content="no-referrer">
<title>${escaped(title)}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${escaped(title)}</h1>
<p class="about">${escaped(about)}</p>
${parts.join("\n")}
</main>
</body>
</html>
`;
}

/** HTML whose pictures are in it, and whose links lead where they led. */
async function standing(html: string): Promise<string> {
  const held = document.createElement("template"); // nothing in it is loaded
  held.innerHTML = html;
  for (const link of held.content.querySelectorAll("a[href]"))
    link.setAttribute("href", new URL(link.getAttribute("href")!, location.href).href);
  await Promise.all([...held.content.querySelectorAll("img")].map(takePicture));
  for (const other of held.content.querySelectorAll("source, track")) other.remove();
  return held.innerHTML;
}

/** The picture itself in place of its address; of one that cannot be had, its words. */
async function takePicture(picture: HTMLImageElement): Promise<void> {
  const source = picture.getAttribute("src");
  if (source?.startsWith("data:")) return;
  const words = document.createElement("em");
  words.textContent = picture.alt;
  try {
    if (source === null) throw new Error("it is elsewhere");
    const address = new URL(source, location.href);
    const blob = await getBlob(address.pathname + address.search);
    if (!PICTURES.test(blob.type)) throw new Error(`${source} is no picture`);
    if (blob.size > MOST_PICTURE) throw new Error(`${source} is too large`);
    picture.setAttribute("src", await dataOf(blob));
  } catch (failure) {
    if (source !== null) words.textContent = `[${picture.alt}: ${messageOf(failure)}]`;
    picture.replaceWith(words);
  }
}

function dataOf(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(new Error("it cannot be read"));
    reader.readAsDataURL(blob);
  });
}

async function figureOf(block: Block, subject: Subject, drawn: Drawn): Promise<string> {
  try {
    const embed = readEmbed(block);
    const passing = await findRuns(embed, subject);
    drawn.add(passing.runs);
    const title = embed.title || (embed.kind === "chart" ? "" : passing.more ? "The first runs" : "Runs");
    const shown = passing.runs.length
      ? embed.kind === "chart"
        ? await pictureOf(embed, passing, drawn)
        : embed.kind === "table"
          ? tableOf(passing)
          : listOf(passing.runs, drawn)
      : "<p>No run passes.</p>";
    const caption = title && embed.kind !== "chart" ? `<figcaption>${escaped(title)}</figcaption>` : "";
    return `<figure>${caption}${shown}</figure>`;
  } catch (failure) {
    return `<figure class="wrong"><p><strong>This was not shown.</strong> ${escaped(messageOf(failure))}</p><pre>${escaped(`${block.info}\n${block.body}`)}</pre></figure>`;
  }
}

async function pictureOf(embed: Embed, passing: Passing, drawn: Drawn): Promise<string> {
  const { metrics, axis, smoothing, log } = embed;
  const view: View = {
    axis,
    from: null,
    to: null,
    smoothing,
    log,
    logX: false,
    withoutOutliers: false,
    y: null,
  };
  const query: ChartQuery = {
    runs: passing.runs.map((run) => run.run_id),
    axis,
    width: BUCKETS,
    from: null,
    to: null,
    smoothing,
  };
  const frames = await Promise.all(metrics.map((name) => loadChart(name, query)));
  const traces = tracesOf(frames, drawn.lines(passing.runs, false), groupsOf(embed, passing.runs, false));
  const title = embed.title || metrics.join(", ");
  if (!traces.length) return `<p>${escaped(title)}: no points.</p>`;
  const x = xRangeOf(view, frames);
  const y = yRangeOf(
    view,
    extentOf(
      traces.map((trace) => trace.line),
      x,
      log,
      false,
      smoothing > 0,
    ),
  );
  const svg = svgOf({ title, traces, axis, x, y, log, logX: false, colours: COLOURS });
  const alt = `${title}: ${traces.map((trace) => trace.name).join(", ")}`;
  // As a picture: what stands in it is no part of the page.
  return `<img alt="${escaped(alt)}" src="${await dataOf(new Blob([svg], { type: "image/svg+xml" }))}">`;
}

const linkTo = (run: Run) =>
  `<a href="${escaped(location.origin + runAddress(run.run_id))}">${escaped(runName(run))}</a>`;

function tableOf({ runs, columns }: Passing): string {
  const best = bestRuns(runs, columns);
  const now = Date.now();
  const head = columns.map(
    (column) =>
      `<th scope="col">${escaped(column.sub ? `${column.title} ${column.sub}` : column.title)}</th>`,
  );
  const rows = runs.map((run) => {
    const cells = columns.map((column) => {
      const text = column.id === "status" ? statusLook(run.status).word : cellText(run, column, now);
      const star = best.get(column.id) === run.run_id ? " ★" : "";
      return `<td${column.numeric ? ' class="num"' : ""}>${escaped(text)}${star}</td>`;
    });
    return `<tr><td>${linkTo(run)}</td>${cells.join("")}</tr>`;
  });
  return `<table><thead><tr><th scope="col">Run</th>${head.join("")}</tr></thead><tbody>${rows.join("\n")}</tbody></table>`;
}

function listOf(runs: readonly Run[], drawn: Drawn): string {
  const items = runs.map(
    (run) =>
      `<li style="color: ${drawn.stroke(run.run_id, false).colour}">${linkTo(run)} <span style="color: #1b1f24">${escaped(statusLook(run.status).word)}${run.experiment ? `, ${escaped(run.experiment)}` : ""}</span></li>`,
  );
  return `<ul>${items.join("")}</ul>`;
}
