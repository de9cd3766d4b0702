import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";

// typedoc.json makes an error of each export and member without a comment, and
// of each type that is used and not exported.
test("the reference is generated from comments, and lacks none", async () => {
  await promisify(execFile)("node_modules/.bin/typedoc", ["--logLevel", "Warn"]).catch(({ stdout, stderr }) => assert.fail(stdout + stderr));
  const { exports } = JSON.parse(await readFile("package.json", "utf8")) as { exports: Record<string, unknown> };
  const entries = Object.keys(exports).flatMap((name) => (name == "./package.json" ? [] : [name.slice(2) || "index"]));
  const pages = (await readdir("build/docs/modules")).map((name) => name.replace(".html", ""));
  assert.deepEqual(pages.sort(), entries.sort());
});
