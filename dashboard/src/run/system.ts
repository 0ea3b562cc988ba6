/** System metrics in the order they are looked at. */
import { naturalOrder } from "../lib/names";

interface Section {
  name: string;
  names: string[];
}

const SECTIONS: [name: string, pattern: RegExp][] = [
  ["GPU", /^system\/gpu_/],
  ["CPU", /^system\/(cpu_|process_cpu|process_threads)/],
  ["Memory", /memory/],
  ["Disk", /^system\/(disk_|process_disk)/],
  ["Network", /^system\/network_/],
  ["Others", /^/],
];

/** The metrics by what they are of; sections without any are left out. */
export function systemSections(names: readonly string[]): Section[] {
  const sections = SECTIONS.map(([name]): Section => ({ name, names: [] }));
  for (const name of [...names].sort(naturalOrder)) {
    sections[SECTIONS.findIndex(([, pattern]) => pattern.test(name))]!.names.push(name);
  }
  return sections.filter((section) => section.names.length);
}

const UNITS: [ending: string, unit: string][] = [
  ["_percentage", "%"],
  ["_megabytes", "MB"],
  ["_watts", "W"],
  ["_celsius", "°C"],
];

/** How people call a metric: `system/gpu_0_utilization_percentage` as `gpu 0 utilization, %`. */
export function unitless(name: string): string {
  const unit = UNITS.find(([ending]) => name.endsWith(ending));
  const rest = name.replace(/^system\//, "").slice(0, unit ? -unit[0].length : undefined);
  return rest.replaceAll("_", " ") + (unit ? `, ${unit[1]}` : "");
}
