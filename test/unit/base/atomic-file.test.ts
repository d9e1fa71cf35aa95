import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { writeFileAtomic } from '../../../src/base/atomic-file.ts';

let folder = '';
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-atomic-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test('a file of secrets is private, whatever stood under the name that it is written by', () => {
  const path = join(folder, 'secret');
  const temporary = join(folder, `.secret.${process.pid}.tmp`);
  writeFileSync(temporary, 'left by a crash', { mode: 0o644 });
  writeFileAtomic(path, 'mine', 0o600);
  expect(statSync(path).mode & 0o777).toBe(0o600);

  const other = join(folder, 'other');
  writeFileSync(other, 'of somebody else');
  symlinkSync(other, temporary);
  writeFileAtomic(path, 'mine again', 0o600);
  expect(readFileSync(other, 'utf8')).toBe('of somebody else');
  expect(readFileSync(path, 'utf8')).toBe('mine again');
});
