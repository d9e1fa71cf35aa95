import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findLockFaults, findPackageFaults, type LockEntry, type PackageJson } from './package.ts';
import { root } from './source.ts';

const content = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as PackageJson;
const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));

describe('package.json', () => {
  test('names exact versions of packages on the list, and everything an installed flopd needs', () => {
    expect(findPackageFaults(content)).toEqual([]);
  });

  test.each([
    ['a range', { dependencies: { ws: '^8.23.0' } }, 'not one exact version'],
    ['a tag', { devDependencies: { vitest: 'latest' } }, 'not one exact version'],
    ['a stranger', { dependencies: { express: '5.0.0' } }, 'not on the list'],
    ['an optional stranger', { optionalDependencies: { x: '1.0.0' } }, 'not on the list'],
    ['a missing folder', { files: ['dist'] }, 'native is missing'],
  ])('is refused with %s', (_, change, expected) => {
    expect(findPackageFaults({ ...content, ...change }).join('\n')).toContain(expected);
  });
});

describe('package-lock.json', () => {
  test('can be checked and runs no script of a dependency', () => {
    expect(Object.keys(lock.packages).length).toBeGreaterThan(50);
    expect(findLockFaults(lock.packages)).toEqual([]);
    const odd: Record<string, LockEntry> = {
      '': {},
      'node_modules/a': {},
      'node_modules/b': { integrity: 'x', hasInstallScript: true },
      'node_modules/c': { integrity: 'x', optionalDependencies: { 'c-mac': '1.0.0', 'c-other': '1.0.0' } },
      'node_modules/c-mac': { optional: true, os: ['darwin'] },
    };
    expect(findLockFaults(odd)).toEqual([
      'node_modules/a: has no integrity',
      'node_modules/b: runs a script at install',
      'node_modules/c: names c-other, which is not in the lock',
    ]);
  });
});
