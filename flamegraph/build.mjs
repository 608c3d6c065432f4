// Builds each page's script, whole in one file, and the look they share, into the directory that is named (../build/pages).
import { readFile, readdir, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'vite';

const here = dirname(fileURLToPath(import.meta.url));
const out = resolve(process.argv[2] ?? join(here, '..', 'build', 'pages'));

/** Whose code is within, and under which terms it may be. */
const used = new Map();
const license = {
  name: 'license',
  async generateBundle(_, bundle) {
    for (const id of Object.values(bundle).flatMap((chunk) => Object.keys(chunk.modules ?? {}))) {
      const [, name] = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(id) ?? [];
      if (name && !used.has(name)) used.set(name, await readFile(join(here, 'node_modules', name, 'LICENSE'), 'utf8'));
    }
    const told = [...used].map(([name, terms]) => `${name}\n\n${terms.trim()}`).join('\n\n');
    for (const chunk of Object.values(bundle)) if (chunk.code) chunk.code = `/*! With parts of:\n\n${told.replaceAll('*/', '* /')}\n*/\n${chunk.code}`;
  },
};

for (const name of ['flame', 'stream', 'live'])
  await build({
    root: here,
    configFile: false,
    logLevel: 'warn',
    plugins: [license],
    build: {
      outDir: out,
      emptyOutDir: false,
      target: 'es2022',
      lib: { entry: join(here, 'src', `${name}.ts`), formats: ['iife'], name: 'poireau', fileName: () => `${name}.js` },
    },
  });
const looks = (await readdir(join(here, 'src'))).filter((file) => file.endsWith('.css')).sort();
const look = await Promise.all(looks.map((file) => readFile(join(here, 'src', file), 'utf8')));
await writeFile(join(out, 'look.css'), look.join('\n'));
