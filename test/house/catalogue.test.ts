import { existsSync } from 'node:fs';
import { posix } from 'node:path';
import { describe, expect, test } from 'vitest';
import { loadNative, nativePaths } from '../../src/native.ts';
import { columnFamilies } from '../../src/protocol/columns.ts';
import { findCatalogueFaults, findColumnFaults, readCommandCatalogue } from './catalogue.ts';
import { readSource, root } from './source.ts';

describe('the catalogue of commands', () => {
  const files = new Map(
    readSource(/^src\/cli\/[^/]+\.ts$/).map(({ path, text }) => [posix.basename(path), text]),
  );
  const catalogue = files.get('catalogue.ts') ?? '';

  test('lists every command once, each in the file of its name', () => {
    expect(readCommandCatalogue(catalogue).length).toBeGreaterThan(15);
    expect(findCatalogueFaults(catalogue, files)).toEqual([]);
  });

  test('is refused when a file is missing, left out, misnamed or no command', () => {
    const line = (name: string, file: string) =>
      `{ name: '${name}', group: G, summary: 's', load: () => import('./${file}') },`;
    const command = 'export function define() {}';
    const given = new Map([
      ['run.ts', command],
      ['top.ts', command],
      ['odd.ts', command],
      ['plain.ts', 'export const x = 1;'],
    ]);
    const text = [
      line('run', 'run.ts'),
      line('gone', 'gone.ts'),
      line('even', 'odd.ts'),
      line('plain', 'plain.ts'),
      line('run', 'run.ts'),
    ];
    expect(findCatalogueFaults(text.join('\n'), given)).toEqual([
      'run: listed twice',
      'gone: src/cli/gone.ts does not exist',
      'even: its file is called odd.ts, not even.ts',
      'plain: src/cli/plain.ts does not export define',
      'src/cli/top.ts is a command that the catalogue does not list',
    ]);
  });
});

describe('the columns of the native reader', () => {
  const { addon } = nativePaths(root);

  test.skipIf(!existsSync(addon))('are all in src/protocol/columns.ts, labelled as it says', () => {
    const { native, problem } = loadNative(addon);
    if (native === null) throw new Error(problem ?? 'the addon did not load');
    native.openReader({ procRoot: '/proc', sysRoot: '/sys', periodMs: 100 });
    try {
      const announced = native.readerColumns();
      expect(announced.length).toBeGreaterThan(20);
      expect(findColumnFaults(announced, columnFamilies)).toEqual([]);
    } finally {
      native.closeReader();
    }
  });

  test('are refused when unknown, wrongly labelled or doubled', () => {
    const families = { 'cpu.busyRatio': { label: null }, 'disk.readsTotal': { label: 'disk' } };
    expect(findColumnFaults([{ family: 'disk.readsTotal', label: 'vda' }], families)).toEqual([]);
    const odd = [
      { family: 'toString', label: null },
      { family: 'cpu.busyRatio', label: '0' },
      { family: 'disk.readsTotal', label: null },
      { family: 'disk.readsTotal', label: 'vda' },
      { family: 'disk.readsTotal', label: 'vda' },
    ];
    expect(findColumnFaults(odd, families)).toHaveLength(4);
  });
});
