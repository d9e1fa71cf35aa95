// The rules about files as functions: each takes paths or texts and returns one sentence per fault.
import { createHash } from 'node:crypto';
import { posix } from 'node:path';
import { type SourceFile, withoutComments } from './source.ts';

/** What may stand at the top of the repository; names that start with a dot are settings of tools. */
export const topLevel = [
  'LICENSE',
  'README.md',
  'native',
  'package-lock.json',
  'package.json',
  'src',
  'systemd',
  'test',
  'tsconfig.json',
];
export const MAX_LINES = 450;

const vagueNames = [
  'util',
  'utils',
  'helper',
  'helpers',
  'common',
  'misc',
  'manager',
  'types',
  'shared',
  'index',
];

export function findStrangersAtTop(paths: readonly string[]): readonly string[] {
  const names = new Set(paths.map((path) => path.split('/')[0] ?? ''));
  return [...names]
    .filter((name) => !name.startsWith('.') && !topLevel.includes(name))
    .map((name) => `${name}: not among the permitted names at the top of the repository`);
}

/** kebab-case nouns; no names that say nothing. READMEs, dotfiles and the names that tools fix are let through. */
export function findBadNames(paths: readonly string[]): readonly string[] {
  const faults: string[] = [];
  for (const path of paths) {
    const name = posix.basename(path);
    if (name.startsWith('.') || name === 'README.md' || !path.includes('/')) continue;
    // Units and their snippets are named after systemd's own customs.
    const stem = name.replace(/\.(?:test|bench|config)\.ts$/, '').replace(/\.[a-z0-9]+$/, '');
    const parts = [...posix.dirname(path).split('/'), stem].filter((part) => !part.startsWith('.'));
    for (const part of parts) {
      const plain = path.startsWith('systemd/')
        ? part.replace(/\.(?:sysusers|tmpfiles|limits|root)$/, '')
        : part;
      if (path.startsWith('test/fixtures/')) continue;
      if (!/^[a-z0-9]+(?:-[a-z0-9]+)*$/.test(plain)) faults.push(`${path}: "${part}" is not kebab-case`);
      else if (vagueNames.includes(plain) && name !== 'index.html')
        faults.push(`${path}: "${part}" says nothing; name what it is`);
    }
  }
  return faults;
}

export function findLongFiles(files: readonly SourceFile[], maximum = MAX_LINES): readonly string[] {
  return files
    .map(({ path, text }) => ({ path, lines: text.split('\n').length - (text.endsWith('\n') ? 1 : 0) }))
    .filter(({ lines }) => lines > maximum)
    .map(({ path, lines }) => `${path}: ${lines} lines, more than ${maximum}: do two things live here?`);
}

export interface WordRule {
  readonly words: RegExp;
  /** Files that may use them. */
  readonly allowed: RegExp;
  readonly why: string;
}

/** Words that belong to few files; comments are not looked at. */
export const wordRules: readonly WordRule[] = [
  {
    words: /\bprocess\.(?:exit|reallyExit|abort)\b/g,
    allowed: /^src\/(?:bin\/|[^/]+\.mjs$)|^native\/[^/]+\.mjs$|^test\//,
    why: 'only an entry ends the process',
  },
  {
    words: /\bconsole\.[a-z]+/g,
    allowed: /^src\/(?:cli\/|bin\/|dashboard\/|[^/]+\.mjs$)|^native\/[^/]+\.mjs$|^test\//,
    why: 'daemons write to the log they are given',
  },
  {
    words: /\b(?:vi|jest)\.(?:mock|doMock)\b/g,
    allowed: /^test\/house\//,
    why: 'fake the far side, keep ours real',
  },
  { words: /\b(?:test|it|describe)\.only\b/g, allowed: /^test\/house\//, why: 'it hides every other test' },
  {
    words: /\bexport\s+default\b/g,
    allowed: /^test\/(?:vitest\.config|report\/[a-z-]+)\.ts$|^test\/house\//,
    why: 'named exports only',
  },
  {
    words: /\b(?:createRequire|process\.dlopen)\b/g,
    // nvidia-query loads a package that must find its child_process changed.
    allowed: /^src\/(?:native|bin\/nvidia-query)\.ts$|^native\/build\.mjs$|^test\//,
    why: 'src/native.ts alone loads the addon',
  },
];

// biome-ignore format: a list to read, not a column
const vendors = [
  'nvidia', 'nvml', 'cuda', 'ascend', '(?<!i|ope)npu', 'dcmi', 'davinci', '(?<!p)rocm', 'radeon', 'cambricon', 'cnmon', 'hygon', 'hy-smi',
  'mthreads', 'iluvatar', 'ixsmi', 'metax', 'mx-smi', 'enflame', 'efsmi', 'kunlunxin', 'xpu-smi', 'tenstorrent',
];

/** A vendor's name stands in its own files, in the lists of vendors, and where a contract of the command line names it. */
export const vendorRule: WordRule = {
  words: new RegExp(`(?:${vendors.join('|')})`, 'gi'),
  allowed: new RegExp(
    [
      `^(?:src/device|native/vendor|native/abi)/(?:[a-z0-9-]+/)*(?:${vendors.join('|')})[a-z0-9-]*\\.[a-z]+$`,
      `^src/device/(?:${vendors.join('|')})/[a-z-]+\\.ts$`,
      `^src/bin/(?:${vendors.join('|')})-query\\.ts$`,
      '^src/device/(?:(?:peak/)?catalogue|vendors)\\.ts$',
      '^native/vendor/(?:catalogue\\.c|kernel-log\\.h)$',
      // Where users meet vendors: the list of their tools, and examples in help.
      '^src/cli/(?:run|job-options|drain|devices|doctor-check)\\.ts$',
      // What other exporters call things, and products that can be simulated.
      '^src/(?:config/(?:keys|peak-flops)|cli/up)\\.ts$',
      '^src/exporter/(?:dcgm-page|npu-exporter-page|vendor-word|exporter)\\.ts$',
      '^src/device/amd(?:/[a-z-]+)?\\.ts$',
      '^src/device/simulated(?:-model)?\\.ts$',
      // The bundle leaves the package node-nvidia-smi outside.
      '^src/build\\.mjs$',
    ].join('|'),
  ),
  why: 'vendor names stay in their files and the catalogues',
};

export function findWords(files: readonly SourceFile[], rules: readonly WordRule[]): readonly string[] {
  const faults: string[] = [];
  for (const { path, text } of files) {
    const due = rules.filter(({ allowed }) => !allowed.test(path));
    if (due.length === 0) continue;
    const code = withoutComments(text);
    for (const { words, why } of due) {
      for (const match of code.matchAll(words))
        faults.push(`${path}:${code.slice(0, match.index).split('\n').length}: ${match[0]}: ${why}`);
    }
  }
  return faults;
}

/** Rooms that the map names (`name/` in the first cell of its table) and that are not there, and the other way round. */
export function findMapFaults(map: string, paths: readonly string[]): readonly string[] {
  const named = [...map.matchAll(/^\| `(?<room>[a-z]+)(?:\/|\.ts)`/gm)].map(
    (match) => match.groups?.room ?? '',
  );
  const there = new Set(
    paths.flatMap((path) => /^src\/(?<room>[a-z]+)(?:\/|\.ts$)/.exec(path)?.groups?.room ?? []),
  );
  const mentioned = [...map.matchAll(/`(?<file>[a-z-]+(?:\/[a-z-]+)*\/[a-z-]+\.(?:ts|c))`/g)].map(
    (match) => match.groups?.file ?? '',
  );
  return [
    ...named
      .filter((room) => !there.has(room))
      .map((room) => `src/README.md names ${room}, which does not exist`),
    ...[...there]
      .filter((room) => !named.includes(room))
      .map((room) => `src/README.md does not name ${room}`),
    ...mentioned
      .filter((file) => !paths.includes(file) && !paths.includes(`src/${file}`))
      .map((file) => `src/README.md names the file ${file}, which does not exist`),
  ];
}

export function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** Project files whose bytes are those of a capture; captures are read in place, never copied. */
export function findCopies(
  files: readonly { readonly path: string; readonly digest: string }[],
  captures: ReadonlyMap<string, string>,
): readonly string[] {
  return files.flatMap(({ path, digest: own }) => {
    const capture = captures.get(own);
    return capture === undefined ? [] : [`${path}: a copy of the capture ${capture}; read it in place`];
  });
}
