import "./app.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { followDownloads } from "./lib/api";
import { followLinks } from "./lib/route.svelte";
import { startTheme } from "./lib/theme.svelte";

startTheme();
followLinks();
followDownloads();
mount(App, { target: document.getElementById("app")! });
