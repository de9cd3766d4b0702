import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { promisify } from "node:util";

/** What the examples take for granted, unless they make it themselves. */
const given: Record<string, string> = {
  session: 'import("@counterfoil/browser").Session',
  watch: 'import("@counterfoil/browser/idle").IdleWatch',
  username: "string",
  password: "string",
  gateway: "string",
  showLogin: "(reason: unknown) => void",
  Login: "() => null",
  Orders: "() => null",
};

test("the examples of the README compile", async () => {
  const examples = [...(await readFile("README.md", "utf8")).matchAll(/```(tsx?)\n([^]*?)```/g)];
  assert.ok(examples.length >= 12);
  await rm("build/readme", { recursive: true, force: true });
  await mkdir("build/readme", { recursive: true });
  for (const [i, [, kind, text]] of examples.entries()) {
    const lacks = Object.entries(given).filter(([name]) => !text!.includes(`const ${name} =`));
    const declared = lacks.map(([name, type]) => `declare const ${name}: ${type};\n`).join("");
    // What the page finds is an element of any kind; a banner here.
    const body = text!.replace('querySelector("counterfoil-banner")', 'querySelector<import("@counterfoil/browser/banner").SessionBanner>("counterfoil-banner")!');
    await writeFile(`build/readme/${i}.${kind}`, `${declared}${body}\nexport {};\n`);
  }
  const compilerOptions = { noEmit: true, strict: true, skipLibCheck: true, module: "nodenext", target: "es2022", jsx: "react-jsx", lib: ["es2022", "dom", "dom.iterable"], types: [] };
  await writeFile("build/readme/tsconfig.json", JSON.stringify({ compilerOptions, include: ["."] }));
  await promisify(execFile)("node_modules/.bin/tsc", ["-p", "build/readme"]).catch(({ stdout }) => assert.fail(stdout));
});
