/** Colours of runs: ten that stay apart in simulated colour blindness, then the same with dashes. */
const LIGHT = [
  "#1c346b",
  "#bb8d1c",
  "#16949f",
  "#db3d7e",
  "#6a2431",
  "#715f02",
  "#9282f1",
  "#4b814b",
  "#a60ab4",
  "#696969",
];
const DARK = [
  "#5f66ed",
  "#c68627",
  "#80ebf6",
  "#fea9b3",
  "#bb5753",
  "#e2df50",
  "#a0acf1",
  "#25bb73",
  "#aa77af",
  "#8c8c8c",
];
export const DASHES: number[][] = [[], [8, 4], [2, 3]];

export interface Stroke {
  colour: string;
  dash: number[];
}

/** How the run in a slot is drawn; slots from 30 on repeat. */
export function strokeOf(slot: number, dark: boolean): Stroke {
  const colours = dark ? DARK : LIGHT;
  return {
    colour: colours[slot % colours.length]!,
    dash: DASHES[Math.floor(slot / colours.length) % DASHES.length]!,
  };
}
