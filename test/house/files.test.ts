import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import {
  digest,
  findBadNames,
  findCopies,
  findLongFiles,
  findMapFaults,
  findStrangersAtTop,
  findWords,
  MAX_LINES,
  vendorRule,
  wordRules,
} from './files.ts';
import { projectPaths, readSource, root } from './source.ts';

const paths = projectPaths();
const code = readSource(/^(?:src|test|native)\/.*\.(?:ts|mjs|c|cc|h)$/);
const captures = join(root, '..', 'shared', 'fixtures');

describe('the files of the house', () => {
  test('stand under the permitted names at the top', () => {
    expect(findStrangersAtTop(paths)).toEqual([]);
    expect(findStrangersAtTop(['src/a.ts', 'notes.md', '.gitignore', 'scripts/x'])).toHaveLength(2);
  });

  test('have kebab-case names that say what they are', () => {
    expect(findBadNames(paths)).toEqual([]);
    expect(
      findBadNames([
        'src/base/clock.ts',
        'test/unit/base/clock.test.ts',
        'systemd/flopd.sysusers.conf',
        'src/job/README.md',
      ]),
    ).toEqual([]);
    expect(findBadNames(['src/jobRunner.ts'])).toHaveLength(1);
    expect(findBadNames(['src/base/utils.ts', 'src/common/x.ts', 'src/job/types.ts'])).toHaveLength(3);
  });

  test(`are no longer than ${MAX_LINES} lines`, () => {
    expect(findLongFiles(code)).toEqual([]);
    const lines = (count: number) => [{ path: 'src/x.ts', text: 'a\n'.repeat(count) }];
    expect(findLongFiles(lines(MAX_LINES))).toEqual([]);
    expect(findLongFiles(lines(MAX_LINES + 1))).toHaveLength(1);
  });

  test('use words that belong to few files only there', () => {
    expect(findWords(code, wordRules)).toEqual([]);
  });

  test.each([
    ['src/job/a.ts', 'process.exit(1)'],
    ['src/agent/a.ts', 'console.log(1)'],
    ['test/unit/a.test.ts', `vi.mock('./a.ts')`],
    ['test/unit/a.test.ts', 'test.only("x", f)'],
    ['src/job/a.ts', 'export default 1'],
    ['src/agent/a.ts', 'createRequire(x)("./flopd.node")'],
  ])('are refused when %s says %s', (path, text) => {
    expect(findWords([{ path, text }], wordRules)).toHaveLength(1);
    expect(findWords([{ path, text: `// ${text}` }], wordRules)).toEqual([]);
  });

  test('leave the entries their exit code and the command line its console', () => {
    const text = 'console.error(1); process.exit(2);';
    expect(findWords([{ path: 'src/bin/flopd.ts', text }], wordRules)).toEqual([]);
    expect(findWords([{ path: 'src/cli/run.ts', text }], wordRules)).toHaveLength(1);
  });

  test('keep the names of vendors in their own files', () => {
    expect(findWords(readSource(/^(?:src|native)\/.*\.(?:ts|mjs|c|cc|h)$/), [vendorRule])).toEqual([]);
    expect(
      findWords([{ path: 'src/job/a.ts', text: 'env.CUDA_VISIBLE_DEVICES' }], [vendorRule]),
    ).toHaveLength(1);
    expect(findWords([{ path: 'src/device/nvidia-cli.ts', text: 'nvidia' }], [vendorRule])).toEqual([]);
  });

  test('are on the map, and the map names only what is there', () => {
    expect(findMapFaults(readFileSync(join(root, 'src/README.md'), 'utf8'), paths)).toEqual([]);
    const map = '| room | what |\n|---|---|\n| `job/` | orders |\n| `attic/` | old |\nsee `job/gone.ts`\n';
    expect(findMapFaults(map, ['src/job/job.ts', 'src/link/session.ts'])).toEqual([
      'src/README.md names attic, which does not exist',
      'src/README.md does not name link',
      'src/README.md names the file job/gone.ts, which does not exist',
    ]);
  });

  test('hold no copy of a capture', (context) => {
    expect(
      findCopies(
        [{ path: 'test/fixtures/a.txt', digest: digest(Buffer.from('x')) }],
        new Map([[digest(Buffer.from('x')), 'c.txt']]),
      ),
    ).toHaveLength(1);
    context.skip(!existsSync(captures), 'there is no ../shared/fixtures here');
    const known = new Map<string, string>();
    const sizes = new Set<number>();
    for (const entry of readdirSync(captures, { recursive: true, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const path = join(entry.parentPath, entry.name);
      const bytes = readFileSync(path);
      // One-line captures (a single number of /sys) are no copies of anything.
      if (bytes.length < 64) continue;
      known.set(digest(bytes), relative(captures, path));
      sizes.add(bytes.length);
    }
    expect(known.size).toBeGreaterThan(50);
    const candidates = paths.filter((path) => sizes.has(statSync(join(root, path)).size));
    const files = candidates.map((path) => ({ path, digest: digest(readFileSync(join(root, path))) }));
    expect(findCopies(files, known)).toEqual([]);
  });
});
