import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";

interface Package {
  name: string;
  license: string;
  private?: boolean;
  dependencies?: object;
  exports: Record<string, string | { types: string; default: string }>;
}

// Without scripts: prepack would take away what the other tests run on.
test("the package that npm would publish is whole, and has nothing of the tests", async () => {
  const manifest = JSON.parse(await readFile("package.json", "utf8")) as Package;
  const { stdout } = await promisify(execFile)("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { maxBuffer: 1 << 22 });
  const packed = JSON.parse(stdout) as { files: { path: string }[] }[];
  const files = new Set(packed[0]!.files.map(({ path }) => path));
  const targets = Object.values(manifest.exports).flatMap((to) => (typeof to == "string" ? [to] : [to.types, to.default]));
  for (const path of ["LICENSE", "README.md", ...targets.map((path) => path.replace("./", ""))]) assert.ok(files.has(path), path);
  for (const path of files) assert.match(path, /^(dist|src)\/[\w.-]+$|^(LICENSE|README\.md|package\.json)$/);
  // The maps lead to the sources, which therefore go along.
  for (const path of files) if (/^dist\/\w+\.js$/.test(path)) assert.ok(files.has(path.replace("dist", "src").replace(/\.js$/, ".ts")), path);
  assert.deepEqual([manifest.private, manifest.dependencies], [undefined, undefined]);
});

test("each entry is imported by the name by which applications do", async () => {
  const { name, exports } = JSON.parse(await readFile("package.json", "utf8")) as Package;
  for (const entry of Object.keys(exports)) {
    if (entry == "./package.json") continue;
    const module = (await import(name + entry.slice(1))) as object;
    assert.ok(Object.keys(module).length > 0, entry);
  }
});
