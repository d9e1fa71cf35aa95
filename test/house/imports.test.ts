import { describe, expect, test } from 'vitest';
import { findImportFaults, packageOf, roomOf } from './imports.ts';
import { type RoomRule, rooms } from './rooms.ts';
import { importsOf, readSource, withoutComments } from './source.ts';

const table: Record<string, RoomRule> = {
  base: { uses: [], types: [], packages: [] },
  protocol: { uses: ['base'], types: [], packages: ['zod'], node: ['node:crypto'] },
  job: { uses: ['base'], types: ['protocol'], packages: [] },
  native: { uses: [], types: [], packages: [] },
};
const faultsOf = (path: string, text: string): readonly string[] => findImportFaults([{ path, text }], table);

describe('the import rules', () => {
  test('hold for every file of src', () => {
    const files = readSource(/^src\/.*\.ts$/);
    expect(files.length).toBeGreaterThan(15);
    expect(findImportFaults(files, rooms)).toEqual([]);
  });

  test('allow what the table allows', () => {
    expect(faultsOf('src/job/a.ts', `import { x } from '../base/clock.ts';`)).toEqual([]);
    expect(faultsOf('src/job/a.ts', `import type { X } from '../protocol/spec.ts';`)).toEqual([]);
    expect(faultsOf('src/job/a.ts', `import { type X, type Y } from '../protocol/spec.ts';`)).toEqual([]);
    expect(faultsOf('src/job/deep/a.ts', `import { x } from '../job.ts';`)).toEqual([]);
    expect(faultsOf('src/job/a.ts', `export { x } from './split-off.ts';`)).toEqual([]);
    expect(faultsOf('src/protocol/a.ts', `import * as z from 'zod';`)).toEqual([]);
  });

  test.each([
    ['an import upwards', 'src/base/a.ts', `import { x } from '../job/job.ts';`, 'base may not import job'],
    [
      'a value where only types are allowed',
      'src/job/a.ts',
      `import { x } from '../protocol/spec.ts';`,
      'only types of protocol',
    ],
    [
      'one value among types',
      'src/job/a.ts',
      `import { type X, y } from '../protocol/spec.ts';`,
      'only types of protocol',
    ],
    [
      'a default beside types',
      'src/job/a.ts',
      `import y, { type X } from '../protocol/spec.ts';`,
      'only types of protocol',
    ],
    [
      'a dynamic import',
      'src/job/a.ts',
      `const x = await import('../protocol/spec.ts');`,
      'only types of protocol',
    ],
    ['an import for its effect', 'src/base/a.ts', `import '../job/job.ts';`, 'base may not import job'],
    [
      'an import over several lines',
      'src/base/a.ts',
      `import {\n  a,\n  b,\n} from "../job/job.ts";`,
      'base may not import job',
    ],
    [
      'a barrel',
      'src/job/a.ts',
      `export { x } from './job.ts';\nexport { y } from './meter.ts';`,
      'no barrels',
    ],
    [
      'names of another room handed on',
      'src/job/a.ts',
      `export type { X } from '../protocol/spec.ts';`,
      'no barrels',
    ],
    ['a barrel of everything', 'src/job/a.ts', `export * from './job.ts';`, 'no barrels'],
    ['a package', 'src/job/a.ts', `import * as z from 'zod';`, 'may not use the package zod'],
    [
      'I/O in a room without it',
      'src/protocol/a.ts',
      `import { readFileSync } from 'node:fs';`,
      'does no I/O',
    ],
    [
      'a module of Node without its prefix',
      'src/job/a.ts',
      `import fs from 'fs';`,
      'may not use the package fs',
    ],
    ['a way out of src', 'src/job/a.ts', `import { x } from '../../test/fakes/clock.ts';`, 'outside src'],
    ['a missing extension', 'src/job/a.ts', `import { x } from './job';`, 'extension'],
    ['a room without a row', 'src/attic/a.ts', '', 'not in the table'],
    [
      'the single file native.ts',
      'src/job/a.ts',
      `import { loadNative } from '../native.ts';`,
      'may not import native',
    ],
  ])('refuse %s', (_, path, text, expected) => {
    expect(faultsOf(path, text).join('\n')).toContain(expected);
  });
});

describe('reading imports', () => {
  test('looks neither into comments nor at words inside strings', () => {
    const text = `// import { a } from './a.ts';\n/* import './b.ts' */\nconst s = "import x from './c.ts'";\nimport { d } from './d.ts';`;
    expect(importsOf(text).map(({ specifier, line }) => [specifier, line])).toEqual([['./d.ts', 4]]);
  });

  // biome-ignore-start lint/suspicious/noTemplateCurlyInString: the text under test is a template
  test('tells a comment from a URL, a regular expression and a template', () => {
    const text =
      'const u = `http://${f({ a: "//x" })}//y`; const r = /\\/\\/[/"]/u; const q = 4 / 2; // gone';
    expect(withoutComments(text).trimEnd()).toBe(text.slice(0, text.indexOf('// gone')).trimEnd());
  });
  // biome-ignore-end lint/suspicious/noTemplateCurlyInString: until here

  test('names rooms and packages', () => {
    expect([roomOf('src/job/executor/process.ts'), roomOf('src/native.ts'), roomOf('test/run')]).toEqual([
      'job',
      'native',
      null,
    ]);
    expect([packageOf('zod'), packageOf('zod/v4'), packageOf('@biomejs/biome/x')]).toEqual([
      'zod',
      'zod',
      '@biomejs/biome',
    ]);
  });
});
