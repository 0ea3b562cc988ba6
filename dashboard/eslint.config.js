import js from "@eslint/js";
import svelte from "eslint-plugin-svelte";
import globals from "globals";
import typescript from "typescript-eslint";
import svelteConfig from "./svelte.config.js";

// Style is Prettier's; what names are there is the compiler's to say.
export default typescript.config(
  { ignores: ["dist/", "generated/", "node_modules/"] },
  js.configs.recommended,
  typescript.configs.recommended,
  svelte.configs.recommended,
  svelte.configs.prettier,
  {
    languageOptions: { globals: globals.browser },
    rules: {
      "no-undef": "off",
      // A local name says what it holds.
      "id-denylist": ["error", "found", "one", "wanted"],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      // {" "} is a blank that no formatter takes away.
      "svelte/no-useless-mustaches": "off",
      // Maps and sets here are built, then replaced as a whole: their holder is what is reactive.
      "svelte/prefer-svelte-reactivity": "off",
    },
  },
  {
    files: ["**/*.svelte", "**/*.svelte.ts"],
    languageOptions: { parserOptions: { parser: typescript.parser, svelteConfig } },
  },
);
