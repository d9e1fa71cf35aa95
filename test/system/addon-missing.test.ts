// A package whose native part was never built: everything that can be said without it is said.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { agentUrl, type Bed, createBed, type Daemon, until } from './bed.ts';
import { copyPackage } from './machine.ts';

let bed: Bed;
let program: string;
let up: Daemon;
beforeAll(async () => {
  bed = createBed();
  program = join(bed.folder, 'package');
  copyPackage(program, ['dist', 'systemd', 'package.json']);
  rmSync(join(program, 'native'), { recursive: true, force: true });
  up = await bed.start(['up'], { program });
});
afterAll(() => bed.close());

describe('without the native addon', () => {
  test('the agent starts, joins, and says what is missing and what to do', async () => {
    expect(up.stdout() + up.stderr()).toMatch(/native addon/);
    const { stdout } = await bed.run(['nodes', '-o', 'json'], { program });
    const [node] = JSON.parse(stdout).nodes;
    expect(node.state).toBe('ready');
    const told = node.inventory.limitations.join('\n');
    expect(told).toMatch(/native addon/);
    expect(told).toMatch(/npm run build/);
  });

  test('host figures are absent with a reason, not zero', async () => {
    const { stdout } = await bed.run(['nodes', '-o', 'json'], { program });
    const [node] = JSON.parse(stdout).nodes;
    if (node.host !== null) {
      expect(node.host.cpu.busyRatio).toBeNull();
      expect(node.host.memory.usedBytes).toBeNull();
      expect(Object.keys(node.host.absent)).not.toHaveLength(0);
    }
    const page = await (await fetch(agentUrl(up, 'metrics'))).text();
    expect(page).toMatch(/^flopd_agent_/m);
    expect(page).not.toMatch(/^flopd_host_cpu\S* 0$/m);
  });

  test('doctor names it as a finding with its remedy', async () => {
    const end = await bed.run(['doctor'], { program });
    expect(end.code).not.toBe(0);
    expect(end.stdout).toMatch(/native addon/);
    expect(end.stdout).toMatch(/npm run build/);
  });

  test('a job is refused or waits with the reason, it does not vanish', async () => {
    const job = bed.spawn(['run', '--', 'true'], { program });
    await until('a word about the job', () => /shim|native|executor/i.test(job.stderr()));
    job.kill('SIGINT');
    expect((await job.finished()).code).not.toBe(0);
  });
});
