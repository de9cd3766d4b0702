import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

/** What an application carries that imports this, minified and compressed. */
async function size(contents: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: process.cwd() },
    bundle: true, minify: true, format: "esm", target: "es2022", write: false, external: ["react"],
  });
  return gzipSync(outputFiles[0]!.contents, { level: 9 }).length;
}

test("the core is small", async (t) => {
  const core = await size('export { createSession } from "@counterfoil/browser"');
  t.diagnostic(`core: ${core} bytes`);
  assert.ok(core <= 3 * 1024, `${core} bytes`);
});

test("what is not used costs nothing", async (t) => {
  assert.ok((await size('import "@counterfoil/browser"')) < 30);
  for (const entry of ["bearer", "idle", "banner", "lease", "elevation", "dpop", "xhr", "patch", "apollo", "axios", "ky", "urql", "react"])
    t.diagnostic(`${entry}: ${await size(`export * from "@counterfoil/browser/${entry}"`)} bytes`);
});
