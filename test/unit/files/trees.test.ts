import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { openFolder } from '../../../src/files/beneath.ts';
import { writeAll } from '../../../src/files/part.ts';
import { type PlaceOptions, placeTree } from '../../../src/files/place.ts';
import { piecesToEnd } from '../../../src/files/stream.ts';
import { contentsOf, missingOf, takeContents } from '../../../src/files/trees.ts';
import { type WalkOptions, walkTree } from '../../../src/files/walk.ts';
import { readEntries } from '../../../src/protocol/files.ts';
import { broken, createStore, digestOf, freshFolder, pieces } from './parts.ts';

/** Contents by digest, as a walk found them. */
async function walk(folder: string, change: Partial<WalkOptions> = {}) {
  const contents = new Map<string, Buffer>();
  let list = '';
  const root = await openFolder(folder);
  try {
    const result = await walkTree(root, {
      async file(file) {
        const parts: Uint8Array[] = [];
        for await (const piece of piecesToEnd(file)) parts.push(piece);
        const bytes = Buffer.concat(parts);
        contents.set(digestOf(bytes), bytes);
        return { digest: digestOf(bytes), sizeBytes: bytes.length };
      },
      async lines(text) {
        list += text;
      },
      straying: 'refuse',
      ownerUid: null,
      ...change,
    });
    return { list, contents, result };
  } finally {
    await root.close();
  }
}

async function place(folder: string, list: string, contents: Map<string, Buffer>): Promise<void> {
  const root = await openFolder(folder);
  try {
    await placeTree(root, readEntries([Buffer.from(list)]), {
      sizeBytes: 1e9,
      owner: null,
      contents: async ({ digest }, target) => writeAll(target, contents.get(digest) ?? Buffer.from('?'), 0),
    });
  } finally {
    await root.close();
  }
}

function sampleFolder(): string {
  const folder = freshFolder();
  mkdirSync(join(folder, 'a', 'deep', 'er'), { recursive: true });
  mkdirSync(join(folder, 'a.empty'));
  writeFileSync(join(folder, 'a', 'one'), '1');
  writeFileSync(join(folder, 'a', 'deep', 'er', 'zwei 二\n'), 'two'.repeat(100_000));
  writeFileSync(join(folder, 'run'), '#!/bin/sh\n');
  chmodSync(join(folder, 'run'), 0o700);
  writeFileSync(join(folder, 'void'), '');
  symlinkSync('../../one', join(folder, 'a', 'deep', 'up'));
  symlinkSync('a', join(folder, 'ln'));
  return folder;
}

describe('a folder and its list', () => {
  test('come back as they were, and the same list again', async () => {
    const { list, contents, result } = await walk(sampleFolder());
    expect(result).toEqual({ files: 4, sizeBytes: 1 + 300_000 + 10, leftOut: null });
    const copy = freshFolder();
    await place(copy, list, contents);
    expect((await walk(copy)).list).toBe(list);
    expect(readlinkSync(join(copy, 'a', 'deep', 'up'))).toBe('../../one');
    expect(lstatSync(join(copy, 'run')).mode & 0o777).toBe(0o755);
    expect(lstatSync(join(copy, 'a', 'one')).mode & 0o777).toBe(0o644);
    expect(readFileSync(join(copy, 'a', 'deep', 'er', 'zwei 二\n'), 'utf8')).toBe('two'.repeat(100_000));
  });

  test('links that lead out are refused by their path, or left out and said', async () => {
    const folder = sampleFolder();
    symlinkSync('/etc/passwd', join(folder, 'a', 'bad'));
    await expect(walk(folder)).rejects.toMatchObject({
      code: 'FILES_ENTRY',
      message: '"a/bad" is a link that leads out of the folder: its target is absolute',
    });
    const { list, result } = await walk(folder, { straying: 'leaveOut' });
    expect(result.leftOut).toBe('a link out of it left out: a/bad');
    expect(list).not.toContain('bad');
  });

  test('pipes, and names that are no UTF-8, are refused by their path', async () => {
    const folder = sampleFolder();
    execFileSync('mkfifo', [join(folder, 'pipe')]);
    await expect(walk(folder)).rejects.toMatchObject({
      message: '"pipe" is neither a file nor a folder nor a link',
    });
    const other = freshFolder();
    writeFileSync(Buffer.concat([Buffer.from(`${other}/`), Buffer.from([0xff, 0xfe])]), 'x');
    await expect(walk(other)).rejects.toMatchObject({ code: 'FILES_ENTRY' });
  });

  test("another user's file under a second name is not read", async () => {
    const folder = freshFolder();
    writeFileSync(join(folder, 'secret'), 's');
    mkdirSync(join(folder, 'tree'));
    linkSync(join(folder, 'secret'), join(folder, 'tree', 'mine'));
    const inner = join(folder, 'tree');
    await expect(walk(inner, { ownerUid: 12_345 })).rejects.toMatchObject({
      message: `"mine" is another user's file under a second name`,
    });
    expect((await walk(inner, { ownerUid: process.getuid?.() ?? 0 })).result.files).toBe(1);
  });

  test('are never placed through what lies there already', async () => {
    const { list, contents } = await walk(sampleFolder());
    const outside = freshFolder();
    const target = freshFolder();
    symlinkSync(outside, join(target, 'a'));
    await expect(place(target, list, contents)).rejects.toMatchObject({ code: 'FILES_PLACE' });
    expect(readdirSync(outside)).toEqual([]);
    const second = freshFolder();
    symlinkSync(join(outside, 'made'), join(second, 'run'));
    await expect(place(second, list, contents)).rejects.toMatchObject({ code: 'FILES_PLACE' });
    expect(readdirSync(outside)).toEqual([]);
  });
});

test('a list that would make more of little than was announced is refused before it is written', async () => {
  const target = freshFolder();
  const root = await openFolder(target);
  const lines = Array.from({ length: 10 }, (_, i) => ({
    kind: 'file' as const,
    path: `f${i}`,
    sizeBytes: 4,
    digest: digestOf('same'),
    executable: false,
  }));
  async function* entries() {
    yield lines;
  }
  const contents: PlaceOptions['contents'] = (_, file) => writeAll(file, Buffer.from('same'), 0);
  await expect(placeTree(root, entries(), { sizeBytes: 12, owner: null, contents })).rejects.toMatchObject({
    code: 'FILES_PLACE',
  });
  await root.close();
  expect(readdirSync(target)).toEqual(['f0', 'f1', 'f2']);
});

describe('a tree between two stores', () => {
  async function filled() {
    const { list, contents } = await walk(sampleFolder());
    const store = createStore();
    const batch = store.batch();
    for (const bytes of [Buffer.from(list), ...contents.values()]) {
      const file = await batch.create();
      await file.write(bytes);
      await file.end(null);
    }
    await batch.flush();
    return { store, list, tree: digestOf(list) };
  }

  async function withList(list: string) {
    const store = createStore();
    const bytes = Buffer.from(list);
    await store.put(digestOf(bytes), { offset: 0, sizeBytes: bytes.length }, pieces(bytes));
    return store;
  }

  test('is brought by its missing runs, broken off at any byte', async () => {
    const { store, list, tree } = await filled();
    const stream: Uint8Array[] = [];
    for await (const piece of contentsOf(store, tree, 0, 4, 0)) stream.push(piece);
    const all = Buffer.concat(stream);
    for (const cut of [0, 1, 2, 150_000, 300_000, 300_001, 300_002, all.length]) {
      const other = await withList(list);
      const first = await takeContents(other, tree, 0, 0, pieces(all.subarray(0, cut)));
      const rest = contentsOf(store, tree, first.next, 4, first.receivedBytes);
      expect(await takeContents(other, tree, first.next, first.receivedBytes, rest)).toMatchObject({
        next: 4,
      });
      expect(await missingOf(other, tree)).toMatchObject({ files: 4, missingFiles: 0, runs: [] });
    }
  });

  test('keeps what came whole before the link broke', async () => {
    const { list, tree } = await filled();
    const other = await withList(list);
    // In the order of the list: a/deep/er/zwei…, a/one, run, void.
    await expect(takeContents(other, tree, 1, 0, broken('1', '#!/b'))).rejects.toThrow('aborted');
    expect(await missingOf(other, tree)).toMatchObject({
      missingFiles: 3,
      runs: [
        [0, 1],
        [2, 4],
      ],
    });
  });

  test('is refused where its contents are others', async () => {
    const { list, tree } = await filled();
    const other = await withList(list);
    await expect(takeContents(other, tree, 1, 0, pieces('2'))).rejects.toMatchObject({
      code: 'FILES_DIGEST',
    });
    expect((await missingOf(other, tree)).missingFiles).toBe(4);
  });
});
