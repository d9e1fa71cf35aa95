import { readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { FileStore } from '../../../src/files/store.ts';
import type { Root } from '../../../src/files/sweep.ts';
import { encodeEntry, TREE_HEAD } from '../../../src/protocol/files.ts';
import { broken, createStore, digestOf, freshFolder, pieces } from './parts.ts';

const put = (store: FileStore, text: string) =>
  store.put(digestOf(text), { offset: 0, sizeBytes: Buffer.byteLength(text) }, pieces(text));

/** Makes a file look as if it had not been used for so long. */
function age(folder: string, text: string, ms: number): void {
  const at = (Date.now() - ms) / 1000;
  utimesSync(join(folder, digestOf(text)), at, at);
}

describe('a store of files', () => {
  test('goes on where an upload broke off, also after a restart, and counts it only when it is whole', async () => {
    const folder = freshFolder();
    const digest = digestOf('hello world');
    const first = createStore({ folder });
    await expect(first.put(digest, { offset: 0, sizeBytes: 11 }, broken('hel', 'lo'))).rejects.toThrow(
      'aborted',
    );
    expect([first.sizeOf(digest), first.receivedBytes(digest)]).toEqual([null, 5]);
    expect(await first.put(digest, { offset: 5, sizeBytes: 11 }, pieces(' w'))).toEqual({
      receivedBytes: 7,
      complete: false,
    });
    const second = createStore({ folder });
    await expect(second.put(digest, { offset: 5, sizeBytes: 11 }, pieces('x'))).rejects.toMatchObject({
      code: 'FILES_OFFSET',
    });
    expect(await second.put(digest, { offset: 7, sizeBytes: 11 }, pieces('orld'))).toEqual({
      receivedBytes: 11,
      complete: true,
    });
    expect(readdirSync(folder)).toEqual([digest]);
    expect(readFileSync(join(folder, digest), 'utf8')).toBe('hello world');
  });

  test('keeps nothing whose digest is wrong, and begins anew', async () => {
    const store = createStore();
    const digest = digestOf('right');
    await expect(store.put(digest, { offset: 0, sizeBytes: 5 }, pieces('wrong'))).rejects.toMatchObject({
      code: 'FILES_DIGEST',
    });
    await expect(store.put(digest, { offset: 0, sizeBytes: 5 }, pieces('right!'))).rejects.toMatchObject({
      code: 'FILES_TOO_LONG',
    });
    expect(readdirSync(store.folder)).toEqual([]);
    expect((await put(store, 'right')).complete).toBe(true);
    const batch = store.batch();
    const file = await batch.create();
    await file.write(Buffer.from('other'));
    await expect(file.end(digest)).rejects.toMatchObject({ code: 'FILES_DIGEST' });
    await batch.flush();
    expect(readdirSync(store.folder)).toEqual([digest]);
  });

  test('lets one bring a file at a time', async () => {
    const store = createStore();
    let go = (): void => {};
    const gate = new Promise<void>((resolve) => (go = resolve));
    async function* slow(): AsyncGenerator<Uint8Array> {
      await gate;
      yield Buffer.from('abc');
    }
    const digest = digestOf('abc');
    const one = store.put(digest, { offset: 0, sizeBytes: 3 }, slow());
    await expect(put(store, 'abc')).rejects.toMatchObject({ code: 'FILES_BUSY' });
    go();
    expect((await one).complete).toBe(true);
  });

  test('over its quota removes the longest unused that nobody refers to, and spares what lists refer to', async () => {
    const texts = ['a'.repeat(100), 'b'.repeat(100), 'c'.repeat(100), 'd'.repeat(100)] as const;
    const [a, b, c, d] = texts;
    const list =
      TREE_HEAD +
      encodeEntry({ kind: 'file', path: 'x', sizeBytes: 100, digest: digestOf(a), executable: false });
    const roots: Root[] = [{ digest: digestOf(list), kind: 'tree' }];
    const store = createStore({ quotaBytes: 550, roots: () => roots });
    await store.sweep();
    await put(store, list);
    for (const text of texts) await put(store, text);
    age(store.folder, a, 9e8);
    age(store.folder, b, 7e8);
    age(store.folder, c, 8e8);
    await put(store, 'e'.repeat(100));
    const left = [a, b, c, d].map((text) => store.sizeOf(digestOf(text)) !== null);
    expect(left).toEqual([true, true, false, true]);
  });

  test('refuses what does not fit, and what would eat its own beginning', async () => {
    const store = createStore({ quotaBytes: 250 });
    await store.sweep();
    await put(store, 'a'.repeat(100));
    await put(store, 'b'.repeat(100));
    await expect(put(store, 'c'.repeat(100))).rejects.toMatchObject({ code: 'FILES_FULL' });
    await expect(put(store, 'd'.repeat(300))).rejects.toMatchObject({ code: 'FILES_TOO_LARGE' });
    expect(store.usedBytes()).toBe(200);
  });

  test('counts what came of uploads that nobody ends, and gives it back when they turn out to be wrong', async () => {
    const store = createStore({ quotaBytes: 250 });
    await store.sweep();
    const bring = (name: string, sizeBytes: number, bytes: number) =>
      store.put(digestOf(name), { offset: 0, sizeBytes }, pieces('x'.repeat(bytes)));
    await bring('first', 120, 100);
    await bring('second', 120, 100);
    expect(store.usedBytes()).toBe(200);
    await expect(bring('third', 120, 100)).rejects.toMatchObject({ code: 'FILES_FULL' });
    await expect(
      store.put(digestOf('first'), { offset: 100, sizeBytes: 120 }, pieces('x'.repeat(20))),
    ).rejects.toMatchObject({ code: 'FILES_DIGEST' });
    expect(store.usedBytes()).toBe(100);
    expect((await put(store, 'c'.repeat(100))).complete).toBe(true);
    expect(store.usedBytes()).toBe(200);
  });

  test('sweeps what is old and what an earlier process left half done', async () => {
    const folder = freshFolder();
    writeFileSync(join(folder, 'new-00000000-1'), 'half');
    const store = createStore({ folder, keepMs: 1e7 });
    for (const text of ['old', 'young']) await put(store, text);
    writeFileSync(join(folder, `${digestOf('part')}.part`), 'pa');
    age(folder, 'old', 2e7);
    await store.sweep();
    await store.sweep();
    expect(readdirSync(folder).sort()).toEqual([digestOf('young'), `${digestOf('part')}.part`].sort());
  });
});
