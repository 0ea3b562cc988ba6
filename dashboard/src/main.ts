import "./app.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { followLinks } from "./lib/route.svelte";

followLinks();
mount(App, { target: document.getElementById("app")! });
