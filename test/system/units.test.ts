// The unit files as systemd-analyze reads them, without a running systemd; nspawn.test.ts has the rest.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { root } from './bed.ts';

const hasTool = spawnSync('systemd-analyze', ['--version']).status === 0;
const read = (unit: string): string => readFileSync(join(root, 'systemd', `${unit}.service`), 'utf8');
let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'flopd-units-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** The unit in a folder of its own, starting a program that is on this machine. */
function lay(unit: string, text = read(unit)): string {
  const path = join(folder, `${unit}.service`);
  writeFileSync(path, text.replaceAll('/usr/bin/flopd', process.execPath));
  return path;
}

describe.skipIf(!hasTool)('the units', () => {
  test.each(['flopd-groups', 'flopd-agent', 'flopd-runner', 'flopd-node', 'flopd-scheduler'])(
    '%s passes systemd-analyze verify without a word',
    (unit) => {
      const verify = (path: string) => spawnSync('systemd-analyze', ['verify', path], { encoding: 'utf8' });
      expect(verify(lay(unit))).toMatchObject({ status: 0, stdout: '', stderr: '' });
      expect(verify(lay(unit, read(unit).replace('RestartSec=', 'RestartSecs='))).stderr).toContain(
        'RestartSecs',
      );
      // The others look at it, too.
      lay(unit);
    },
  );

  test('the group of jobs is delegated, outlives whoever starts them, and ends none', () => {
    const lines = read('flopd-groups').split('\n');
    for (const line of ['Delegate=cpu cpuset io memory pids', 'KillMode=process', 'Restart=always'])
      expect(lines).toContain(line);
    expect(lines).toContain('Slice=flopd-jobs.slice');
    for (const unit of ['flopd-runner.service', 'flopd-node-limits.conf', 'flopd-node-root.conf']) {
      const text = readFileSync(join(root, 'systemd', unit), 'utf8').split('\n');
      for (const line of [
        'Wants=flopd-groups.service',
        'After=flopd-groups.service',
        'Slice=flopd-jobs.slice',
      ])
        expect(text, unit).toContain(line);
    }
  });

  test.each([
    ['flopd-agent', 20],
    ['flopd-node', 50],
    ['flopd-scheduler', 20],
  ])('%s is exposed by at most %i tenths', (unit, threshold) => {
    const analyze = (path: string) =>
      spawnSync('systemd-analyze', ['security', '--offline=true', `--threshold=${threshold}`, path]).status;
    expect(analyze(lay(unit))).toBe(0);
    expect(analyze(lay('bare', '[Service]\nExecStart=/usr/bin/flopd\n'))).not.toBe(0);
  });

  test('notify, are watched and come back', () => {
    for (const unit of ['flopd-agent', 'flopd-runner', 'flopd-node', 'flopd-scheduler']) {
      const text = read(unit);
      for (const line of [
        'Type=notify',
        'NotifyAccess=main',
        'WatchdogSec=10s',
        'Restart=always',
        'RestartPreventExitStatus=2',
      ])
        expect(text.split('\n'), `${unit}: ${line}`).toContain(line);
    }
    // A job must survive whoever started it.
    for (const unit of ['flopd-runner', 'flopd-node', 'flopd-groups'])
      expect(read(unit).split('\n')).toContain('KillMode=process');
  });
});
