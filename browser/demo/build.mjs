/**
 * Builds the scripts of the demonstration's page, which the program embeds.
 * `node demo/build.mjs` writes them; the tests compare. The library is built
 * before (`npm run build`).
 */
import { writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { build } from "esbuild";

export const target = resolve(import.meta.dirname, "../../internal/demo/page");

/** The library as applications import it stays a file of its own. */
const library = {
  name: "library",
  setup: ({ onResolve }) => onResolve({ filter: /^@counterfoil\/browser$/ }, () => ({ path: "./counterfoil.js", external: true })),
};

/** The scripts by name. They are not minified, so that changes can be read. */
export async function scripts() {
  const options = {
    bundle: true, format: "esm", target: "es2022", write: false, charset: "utf8", legalComments: "none",
    absWorkingDir: resolve(import.meta.dirname, ".."), outdir: target,
    banner: { js: "// Built from browser/ by `make demo-page`. Change it there." },
  };
  const built = await Promise.all([
    build({ ...options, entryPoints: { counterfoil: "dist/index.js" } }),
    build({ ...options, entryPoints: { page: "demo/page.ts", tab: "demo/tab.ts" }, plugins: [library] }),
  ]);
  return new Map(built.flatMap(({ outputFiles }) => outputFiles).map(({ path, text }) => [basename(path), text]));
}

if (process.argv[1] == import.meta.filename) for (const [name, text] of await scripts()) await writeFile(join(target, name), text);
