declare module "plotly.js-strict-dist-min" {
  const Plotly: {
    newPlot(
      place: HTMLElement,
      figure: {
        data: unknown[];
        layout: Record<string, unknown>;
        frames?: unknown[];
        config: Record<string, unknown>;
      },
    ): Promise<unknown>;
  };
  export default Plotly;
}

declare module "d3-dsv" {
  export function dsvFormat(delimiter: string): { parseRows(text: string): string[][] };
}
