import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { makeFolder } from '../../../src/base/folder.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'flopd-folder-'));
});
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe('makeFolder', () => {
  test('makes every missing folder above it, private, and leaves those that are there', () => {
    makeFolder(join(root, 'a', 'b', 'c'));
    expect(statSync(join(root, 'a', 'b', 'c')).mode & 0o777).toBe(0o700);
    makeFolder(join(root, 'a', 'b', 'c'));
    makeFolder(join(root, 'a'), 0o755);
    expect(statSync(join(root, 'a')).mode & 0o777).toBe(0o700);
  });

  test('tells that a file is in the way', () => {
    writeFileSync(join(root, 'file'), '');
    expect(() => makeFolder(join(root, 'file'))).toThrow(expect.objectContaining({ code: 'ENOTDIR' }));
    expect(() => makeFolder(join(root, 'file', 'below'))).toThrow();
  });

  test('returns with an error where the kernel makes no folders (Node’s own recursive mkdir never does)', () => {
    expect(() => makeFolder('/proc/flopd/deep/below')).toThrow(expect.objectContaining({ code: 'ENOENT' }));
  });
});
