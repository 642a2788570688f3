// How are the built files made small? A Brotli and a gzip copy beside each that gains by it; the
// API sends whichever the browser takes.
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const COMPRESSIBLE = /\.(html|js|css|svg|json|wasm|txt)$/;
/** Smaller files gain nothing. */
const BYTES_MIN = 512;

const folder = process.argv[2] ?? "dist";
for (const name of readdirSync(folder, { recursive: true })) {
  const path = join(folder, String(name));
  if (!statSync(path).isFile() || !COMPRESSIBLE.test(path)) continue;
  const whole = readFileSync(path);
  if (whole.length < BYTES_MIN) continue;
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: whole.length };
  writeFileSync(`${path}.br`, brotliCompressSync(whole, { params }));
  writeFileSync(`${path}.gz`, gzipSync(whole, { level: 9 }));
}
