import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseOutput, requireFreeTarget } from '../../../src/cli/file-outputs.ts';
import { freshFolder } from '../files/parts.ts';

test('an output goes to the same path, to LOCAL, or into LOCAL where that is a folder', () => {
  const folder = freshFolder();
  mkdirSync(join(folder, 'there'));
  const target = (text: string) => parseOutput(text, folder).target;
  expect(target('out/model.bin')).toBe(join(folder, 'out', 'model.bin'));
  expect(target('out/')).toBe(join(folder, 'out'));
  expect(target('out/model.bin:mine')).toBe(join(folder, 'mine'));
  expect(target('out/model.bin:there')).toBe(join(folder, 'there', 'model.bin'));
  expect(target('out/model.bin:new/')).toBe(join(folder, 'new', 'model.bin'));
  expect(target('there')).toBe(join(folder, 'there'));
  expect(parseOutput('a/b:c', folder).path).toBe('a/b');
  for (const text of ['', ':x', 'x:'])
    expect(() => parseOutput(text, folder)).toThrow('is not PATH or PATH:LOCAL');
});

test('a folder that has something in it is never replaced', () => {
  const folder = freshFolder();
  for (const name of ['empty', 'full']) mkdirSync(join(folder, name));
  writeFileSync(join(folder, 'full', 'x'), '');
  writeFileSync(join(folder, 'file'), '');
  const look = (name: string) => requireFreeTarget({ path: 'out', target: join(folder, name) });
  for (const name of ['empty', 'file', 'absent']) look(name);
  expect(() => look('full')).toThrow('is a folder with something in it');
});
