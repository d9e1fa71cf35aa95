// A file that hangs must not hang the agent: not its windows, not its end.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { isBuilt, paths, title } from './addon.ts';

const folder = mkdtempSync(join(tmpdir(), 'flopd-hang-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.skipIf(!isBuilt)(title('a read that hangs'), () => {
  it('makes the values late, lets the reader be closed and opened, and the process end', () => {
    const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
    const library = join(folder, 'hang.so');
    const flags = ['-shared', '-fPIC', '-D_GNU_SOURCE', '-O1'];
    execFileSync(process.env.CC ?? 'cc', [...flags, here('hang.c'), '-o', library, '-ldl']);
    const flag = join(folder, 'flag');
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [here('hang-script.mjs'), paths.addon, flag],
      {
        encoding: 'utf8',
        env: { LD_PRELOAD: library, HANG: flag },
        timeout: 50_000,
      },
    );
    expect([status, stderr]).toEqual([0, '']);
    const seen = JSON.parse(stdout);
    expect(seen.before.late).toBe(0);
    expect(seen.before.numbers).toBeGreaterThan(20);
    expect(seen.hanging.late).toBe(seen.hanging.count);
    expect(seen.hanging.numbers).toBe(0);
    // It would wait for ever, or for the close.
    expect(seen.hanging.takeMs).toBeLessThan(2000);
    expect(seen.after.late).toBe(0);
    // The ticks that the stall swallowed are counted, and not made up for in a burst.
    expect(seen.after.lateTicks).toBeGreaterThan(30);
    expect(seen.after.ticks).toBeLessThan(15 + seen.after.elapsedMs / 20);
    expect(seen.closeMs).toBeGreaterThan(1000);
    expect(seen.closeMs).toBeLessThan(20_000);
    expect(seen.reopenMs).toBeLessThan(20_000);
    expect(seen.columnsWhileHanging).toBe(0);
    expect(seen.columnsLater).toBe(seen.before.count);
  });
});
