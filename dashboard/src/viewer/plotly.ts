/** Figures of Plotly. The bundle of its makers for strict policies: nothing in it makes code of texts. */
import Plotly from "plotly.js-strict-dist-min";
import { documentOf } from "./document";
import type { Draw } from "./main";

const HEIGHT = 400;
const CONFIG = {
  responsive: true,
  displaylogo: false,
  showSendToCloud: false,
  plotlyServerURL: "",
  topojsonURL: "/",
};

export const draw: Draw = async (place, { bytes, dark }) => {
  const { data, layout, frames } = documentOf(bytes);
  if (!Array.isArray(data)) throw new Error('The figure is broken: its "data" is no list of traces.');
  const own = typeof layout === "object" && layout !== null ? (layout as Record<string, unknown>) : {};
  const given = { autosize: own.width === undefined, height: HEIGHT, ...(dark ? darkOf() : {}), ...own };
  try {
    await Plotly.newPlot(place, {
      data,
      layout: given,
      ...(Array.isArray(frames) ? { frames } : {}),
      config: CONFIG,
    });
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new Error(
      why.includes("topojson")
        ? "Maps are not drawn here: their outlines would have to be fetched from elsewhere."
        : why,
      { cause: error },
    );
  }
};

/** Colours of a figure that has none of its own: Plotly's are for paper. */
function darkOf(): Record<string, unknown> {
  const axis = { gridcolor: "#2b323d", zerolinecolor: "#6b7686" };
  return {
    paper_bgcolor: "#14181f",
    plot_bgcolor: "#14181f",
    font: { color: "#e6e9ee" },
    template: { layout: { xaxis: axis, yaxis: axis } },
  };
}
