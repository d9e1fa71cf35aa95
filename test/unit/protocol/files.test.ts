import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  comparePaths,
  encodeEntry,
  linkProblem,
  nameProblem,
  readEntries,
  TREE_HEAD,
  type TreeEntry,
} from '../../../src/protocol/files.ts';

const sha = (character: string): string => character.repeat(64);

async function read(bytes: Uint8Array, pieceBytes = bytes.length || 1): Promise<TreeEntry[]> {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += pieceBytes) pieces.push(bytes.subarray(at, at + pieceBytes));
  const entries: TreeEntry[] = [];
  for await (const some of readEntries(pieces)) entries.push(...some);
  return entries;
}

const list = (...lines: readonly unknown[]): Uint8Array =>
  Buffer.from(TREE_HEAD + lines.map((line) => `${JSON.stringify(line)}\n`).join(''));

const name = fc
  .string({ unit: 'grapheme', minLength: 1, maxLength: 12 })
  .filter((text) => nameProblem(text) === null);

/** A tree as nested maps, flattened in the order of a list. */
type Node = { kind: 'file' | 'link' } | { kind: 'folder'; inner: Record<string, Node> };
const tree = fc.letrec<{ node: Node; inner: Record<string, Node> }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small' },
    fc.record({ kind: fc.constantFrom('file' as const, 'link' as const) }),
    fc.record({ kind: fc.constant('folder' as const), inner: tie('inner') }),
  ),
  inner: fc.dictionary(name, tie('node'), { maxKeys: 5 }),
})).inner;

function flatten(inner: Record<string, Node>, prefix = ''): TreeEntry[] {
  const names = Object.keys(inner).sort((a, b) => comparePaths(a, b));
  return names.flatMap((key): TreeEntry[] => {
    const path = prefix + key;
    const node = inner[key] as Node;
    if (node.kind === 'link')
      return [{ kind: 'link', path, target: `${'../'.repeat(prefix.split('/').length - 1)}x` }];
    if (node.kind === 'file')
      return [
        { kind: 'file', path, sizeBytes: path.length, digest: sha('a'), executable: path.length % 2 === 0 },
      ];
    return [{ kind: 'folder', path }, ...flatten('inner' in node ? node.inner : {}, `${path}/`)];
  });
}

describe('the list of a tree', () => {
  test('comes back as it was written, in pieces of any size', async () => {
    await fc.assert(
      fc.asyncProperty(tree, fc.integer({ min: 1, max: 50 }), async (inner, pieceBytes) => {
        const entries = flatten(inner);
        const bytes = Buffer.from(TREE_HEAD + entries.map(encodeEntry).join(''));
        expect(await read(bytes, pieceBytes)).toEqual(entries);
      }),
      { numRuns: 100 },
    );
  });

  test('is read whole or not at all: cut anywhere but behind a line it is refused', async () => {
    const bytes = list(['d', 'ä'], ['f', 'ä/b', 3, sha('b')], ['l', 'ä/c', 'b']);
    for (let length = 0; length < bytes.length; length += 1) {
      const cut = bytes.subarray(0, length);
      if (cut.at(-1) === 0x0a) continue;
      await expect(read(cut, 7)).rejects.toMatchObject({ code: 'FILES_LIST_INVALID' });
    }
  });

  test.each<readonly [string, readonly unknown[]]>([
    ['goes up', [['f', '../a', 1, sha('a')]]],
    [
      'goes up inside',
      [
        ['d', 'a'],
        ['f', 'a/../b', 1, sha('a')],
      ],
    ],
    ['is absolute', [['f', '/etc/passwd', 1, sha('a')]]],
    [
      'has an empty step',
      [
        ['d', 'a'],
        ['f', 'a//b', 1, sha('a')],
      ],
    ],
    ['names itself', [['f', '.', 1, sha('a')]]],
    ['holds NUL', [['f', 'a\0b', 1, sha('a')]]],
    ['is no text', [['f', '\ud800', 1, sha('a')]]],
    ['lies in no folder of the list', [['f', 'a/b', 1, sha('a')]]],
    [
      'lies in a file',
      [
        ['f', 'a', 1, sha('a')],
        ['f', 'a/b', 1, sha('a')],
      ],
    ],
    [
      'lies behind a link',
      [
        ['l', 'a', 'x'],
        ['f', 'a/b', 1, sha('a')],
      ],
    ],
    [
      'comes twice',
      [
        ['f', 'a', 1, sha('a')],
        ['f', 'a', 1, sha('a')],
      ],
    ],
    [
      'comes twice as file and folder',
      [
        ['d', 'a'],
        ['f', 'a', 1, sha('a')],
      ],
    ],
    [
      'is out of order',
      [
        ['f', 'b', 1, sha('a')],
        ['f', 'a', 1, sha('a')],
      ],
    ],
    [
      'is behind what stands below it',
      [
        ['d', 'a'],
        ['f', 'a.b', 1, sha('a')],
        ['f', 'a/b', 1, sha('a')],
      ],
    ],
    ['leads out', [['l', 'a', '/etc']]],
    [
      'leads up',
      [
        ['d', 'a'],
        ['l', 'a/b', '../../x'],
      ],
    ],
    ['leads up behind a name', [['l', 'a', 'b/../../x']]],
    ['leads nowhere', [['l', 'a', '']]],
    ['has a negative size', [['f', 'a', -1, sha('a')]]],
    ['has a broken size', [['f', 'a', 1.5, sha('a')]]],
    ['has no digest', [['f', 'a', 1, 'A'.repeat(64)]]],
    ['has more than it may', [['f', 'a', 1, sha('a'), 1]]],
    ['is of a kind that nobody knows', [['p', 'a']]],
    ['is an object', [{ kind: 'file' }]],
    ['has a name that is too long', [['f', 'n'.repeat(256), 1, sha('a')]]],
  ])('refuses an entry that %s', async (_, lines) => {
    await expect(read(list(...lines))).rejects.toMatchObject({ code: 'FILES_LIST_INVALID' });
  });

  test.each([
    ['with other spaces', `${TREE_HEAD}["d", "a"]\n`],
    ['with another escape', `${TREE_HEAD}["d","\\u0061"]\n`],
    ['with an empty line', `${TREE_HEAD}\n`],
    ['with carriage returns', `${TREE_HEAD}["d","a"]\r\n`],
    ['of another version', '["flopd-tree",2]\n["d","a"]\n'],
    ['without a head', '["d","a"]\n'],
    ['that is deep', `${TREE_HEAD}${'['.repeat(100_000)}\n`],
    ['with an endless line', `${TREE_HEAD}["d","${'a'.repeat(1_000_000)}`],
    ['that is empty', ''],
  ])('refuses a list %s', async (_, text) => {
    await expect(read(Buffer.from(text), 1000)).rejects.toMatchObject({ code: 'FILES_LIST_INVALID' });
  });

  test('bytes at random are never a list', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        await expect(
          read(Buffer.concat([Buffer.from(TREE_HEAD), bytes, Buffer.from('\x01\n')]), 16),
        ).rejects.toMatchObject({
          code: 'FILES_LIST_INVALID',
        });
      }),
    );
  });
});

test.each<readonly [string, string, string | null]>([
  ['a', 'b', null],
  ['a/b', '../c', null],
  ['a/b/c', '../../d/e', null],
  ['a/b', './c//d', null],
  ['a', '../b', 'leads out of the folder'],
  ['a/b', '..', null],
  ['a', '..', 'leads out of the folder'],
  ['a/b', '../../etc', 'leads out of the folder'],
])('a link at %s to %s', (path, target, problem) => {
  expect(linkProblem(path, target)).toBe(problem);
});
