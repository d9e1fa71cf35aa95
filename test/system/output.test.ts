// The campaign over output (test/campaign/output.mjs) with few bytes: cut links, a killed scheduler, a stop, a quota.
// The full one, 1 GiB, is run by hand.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from './bed.ts';

const BYTES = 4 * 1024 * 1024;
const CUTS = 4;

test('every byte that a job writes is there, or told as a gap, through cut links, a killed scheduler, a stop and a quota', async () => {
  const script = join(root, 'test', 'campaign', 'output.mjs');
  // Not in the way of the test runner, which wants to be answered within a minute.
  const args = [script, '--bytes', String(BYTES), '--cuts', String(CUTS), '--json'];
  const ended = await promisify(execFile)(process.execPath, args, { timeout: 170_000 });
  expect(ended.stderr).toBe('');
  expect(JSON.parse(ended.stdout)).toMatchObject({ bytes: BYTES, cuts: CUTS, problems: [] });
});
