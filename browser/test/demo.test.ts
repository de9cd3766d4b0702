import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

/** The page's build script, which is no TypeScript. */
interface Build {
  target: string;
  scripts(): Promise<Map<string, string>>;
}

test("the scripts that the demonstration embeds are those of this source", async () => {
  const { target, scripts } = (await import(new URL("../demo/build.mjs", import.meta.url).href)) as Build;
  const fresh = await scripts();
  assert.deepEqual((await readdir(target)).filter((name) => name.endsWith(".js")).sort(), [...fresh.keys()].sort());
  for (const [name, text] of fresh) assert.ok((await readFile(join(target, name), "utf8")) == text, `${name} is out of date: make demo-page`);
});
