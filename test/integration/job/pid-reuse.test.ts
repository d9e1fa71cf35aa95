// F08: the number of a job's process is given to a stranger while nobody looks, for real: in a PID namespace of its
// own. Who a process is, its start time says; a stranger is never signalled, and the job is not taken for running.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { expect, test } from 'vitest';
import type { JobResult } from '../../../src/protocol/result.ts';
import { addonPath, freshFolder, shimPath, specOf } from './executor/harness.ts';

const isPossible = process.getuid?.() === 0 && existsSync('/proc/sys/kernel/ns_last_pid');

test.skipIf(!isPossible)(
  'a stranger with the number of a job is left alone',
  { timeout: 90_000 },
  async () => {
    const folder = freshFolder();
    const built = mkdtempSync(join(tmpdir(), 'flopd-agent-'));
    try {
      const entry = join(built, 'agent.mjs');
      const bundle = await rolldown({
        input: join(import.meta.dirname, 'agent-process.ts'),
        platform: 'node',
        logLevel: 'silent',
      });
      await bundle.write({ file: entry, format: 'esm', codeSplitting: false });
      await bundle.close();
      const order = {
        type: 'start',
        orderId: 'order-1',
        jobId: 'job-1',
        epoch: 1,
        devices: [],
        array: null,
        spec: specOf({ command: ['sleep', '1000'], resources: { cpus: 0.1 } }),
      };
      const script = join(import.meta.dirname, 'pid-reuse.sh');
      const words = [
        'sh',
        script,
        process.execPath,
        entry,
        folder,
        shimPath,
        addonPath,
        JSON.stringify(order),
      ];
      const child = spawn('unshare', ['--pid', '--fork', '--mount-proc', '--kill-child', ...words], {
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let told = '';
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => {
          told += chunk.toString();
        });
      // The namespace ends with its first process, and everybody in it.
      const code = await new Promise((resolve) => child.once('close', resolve));
      expect(code, told).toBe(0);
      expect(told).toContain('stranger alive');
      const line = told.split('\n').find((one) => one.startsWith('{')) ?? '{}';
      const { result } = JSON.parse(line) as { result: JobResult };
      expect(result).toMatchObject({ state: 'LOST', endKind: 'lost', exitCode: null, signal: null });
      expect(result.cause).toContain('its shim was killed');
    } finally {
      rmSync(built, { recursive: true, force: true });
    }
  },
);
