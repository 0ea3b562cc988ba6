/** A run in a notebook: what anywidget loads. */
import "../app.css";
import { mount, unmount } from "svelte";
import { setTransport } from "../lib/api";
import { theme } from "../lib/theme.svelte";
import { onDark } from "./dark";
import { Kernel, type Model } from "./kernel";
import RunWidget from "./RunWidget.svelte";

const kernels: Kernel[] = [];

function render({ model, el }: { model: Model; el: HTMLElement }): () => void {
  const kernel = new Kernel(model);
  kernels.push(kernel);
  setTransport(kernel.fetch);
  el.classList.add("runstream");
  el.dataset.lmSuppressShortcuts = "true"; // JupyterLab's single-letter commands stay out of charts and inputs
  const undark = onDark(el, (dark) => {
    theme.dark = dark;
    el.dataset.theme = dark ? "dark" : "light";
  });
  const widget = mount(RunWidget, { target: el, props: { model, kernel } });
  return () => {
    undark();
    void unmount(widget);
    kernel.close();
    kernels.splice(kernels.indexOf(kernel), 1);
    setTransport(kernels.at(-1)?.fetch ?? null);
  };
}

export default { render };
