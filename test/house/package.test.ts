import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { findLockFaults, findPackageFaults, type PackageJson } from './package.ts';
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
    expect(
      findLockFaults({
        '': {},
        'node_modules/a': {},
        'node_modules/b': { integrity: 'x', hasInstallScript: true },
      }),
    ).toHaveLength(2);
  });
});
