import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { describeError } from '../../../src/base/fault.ts';
import { announce } from '../../../src/cli/daemon.ts';
import type { Config } from '../../../src/config/config.ts';

test('a daemon that cannot say where it listens names the file and what to do', () => {
  const folder = mkdtempSync(join(tmpdir(), 'flopd-daemon-'));
  try {
    const stateDir = join(folder, 'state');
    writeFileSync(stateDir, '');
    const config = { stateDir, readyFile: null } as Config;
    const endpoint = { url: 'http://127.0.0.1:1', metricsUrl: null, pid: 1, stateDir };
    let said = '';
    try {
      announce(config, endpoint, true);
    } catch (error) {
      said = describeError(error);
    }
    expect(said).toMatch(
      /^stateDir: .*state\/endpoint\.json cannot be written: .*; choose another with --state-dir/,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});
