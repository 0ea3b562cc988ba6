/** As what a chart can be taken along. */
export type Kind = "PNG" | "SVG" | "CSV";
export const KINDS: readonly Kind[] = ["PNG", "SVG", "CSV"];
