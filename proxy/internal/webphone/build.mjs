// Bundles src/ into dist/, which webphone.go embeds into the proxy.
import { build } from 'esbuild';
import { copyFile, mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));

await mkdir(here('dist'), { recursive: true });
await build({
  entryPoints: { app: here('src/main.js'), style: here('src/style.css') },
  outdir: here('dist'),
  bundle: true,
  minify: true,
  format: 'iife',
  target: ['chrome110', 'firefox115', 'safari16'],
  legalComments: 'inline',
  logLevel: 'info',
});
await copyFile(here('src/index.html'), here('dist/index.html'));
