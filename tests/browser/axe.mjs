// Can everybody use the page? axe-core looks for what is wrong by WCAG and says how badly.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const SOURCE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
/** What a recorded program printed has the colours that it chose. */
const NOT_OURS = [".player-screen .ap-terminal"];
const TOO_BAD = ["serious", "critical"];

/** Runs over the protocol of the debugger: the pages' policy forbids scripts that are not theirs. */
export async function audit(page, name) {
  await page.evaluate(SOURCE);
  const found = await page.evaluate((exclude) => globalThis.axe.run({ exclude }, { resultTypes: ["violations"] }), NOT_OURS);
  const bad = found.violations.filter((violation) => TOO_BAD.includes(violation.impact));
  if (bad.length === 0) return;
  const lines = bad.flatMap((violation) =>
    violation.nodes.map((node) => `${violation.impact} ${violation.id}: ${node.target.join(" ")}: ${node.failureSummary?.replaceAll("\n", " ")}`),
  );
  throw new Error(`axe-core on "${name}":\n  ${lines.join("\n  ")}`);
}
