import "./app.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { followDownloads } from "./lib/api";
import { addressOf } from "./lib/mlflow_links";
import { followLinks, redirect } from "./lib/route.svelte";
import { startTheme } from "./lib/theme.svelte";

const meant = location.pathname === "/" ? addressOf(location.hash) : null;
if (meant !== null) redirect(meant);
startTheme();
followLinks();
followDownloads();
mount(App, { target: document.getElementById("app")! });
