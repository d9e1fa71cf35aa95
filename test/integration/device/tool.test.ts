// The runner of vendors' tools, with real children: deadlines, bounds, what a tool leaves behind, and who may run when.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createClock } from '../../../src/base/clock.ts';
import { createTool, findProgram, MAX_OUTPUT_BYTES, type Tool } from '../../../src/device/tool.ts';
import { createFakeTool, type FakeTool } from '../../fakes/tool.ts';
import { until } from '../native/addon.ts';

const BUDGET_MS = 30_000;
const descriptors = (): number => readdirSync('/proc/self/fd').length;

let fake: FakeTool;
let tool: Tool;
let before: number;
const run = (budgetMs: number, ...args: string[]) => tool.query(budgetMs, (runner) => runner.run(args));
/** After one that was killed: refused until that one is gone for good. */
const runNext = (...args: string[]) => vi.waitFor(() => run(BUDGET_MS, ...args), 30_000);

beforeEach(() => {
  before = descriptors();
  fake = createFakeTool('x-smi', [
    { args: 'info', stdout: 'all is well\n' },
    { args: 'slow', stdout: 'at last\n', delayMs: 300 },
    { args: 'odd', stdout: 'half an answer', stderr: 'and why\n', exitCode: 3 },
  ]);
  tool = createTool({
    path: fake.path,
    name: 'x-smi',
    scriptFolder: fake.folder,
    environment: { PATH: '/usr/bin:/bin', NODE_OPTIONS: '--no-such-option' },
    clock: createClock(),
  });
});
afterEach(async () => {
  tool.close();
  await until(() => fake.alive().length === 0);
  await until(() => descriptors() <= before);
  fake.close();
});

describe('a tool', () => {
  it('answers, a bad exit code included', async () => {
    expect(await run(BUDGET_MS, 'info')).toEqual({ stdout: 'all is well\n', stderr: '', exitCode: 0 });
    expect(await run(BUDGET_MS, 'odd')).toEqual({
      stdout: 'half an answer',
      stderr: 'and why\n',
      exitCode: 3,
    });
  });

  it.each(['hang', 'ignoreTerm'] as const)(
    'that does not end (%s) is killed at the deadline',
    async (how) => {
      fake.behave(how);
      const startedMs = performance.now();
      await expect(run(300, 'info')).rejects.toMatchObject({ code: 'DEVICE_TOOL_LATE' });
      expect(performance.now() - startedMs).toBeGreaterThanOrEqual(290);
      await until(() => fake.alive().length === 0);
      fake.behave('answer');
      expect((await runNext('info')).exitCode).toBe(0);
    },
  );

  it('that floods is ended at the bound, on stderr only not read further', async () => {
    fake.behave('flood');
    await expect(run(BUDGET_MS, 'info')).rejects.toMatchObject({ code: 'DEVICE_TOOL_OUTPUT_TOO_LONG' });
    await until(() => fake.alive().length === 0);
    fake.behave('floodErrors');
    const { stdout, stderr } = await runNext('info');
    expect(stdout).toBe('all is well\n');
    expect(stderr.length).toBeLessThanOrEqual(64 * 1024);
    expect(MAX_OUTPUT_BYTES).toBe(4 * 1024 * 1024);
  });

  it('that is ended by a signal has not answered, whatever it printed', async () => {
    for (const how of ['crash', 'cut'] as const) {
      fake.behave(how);
      await expect(run(BUDGET_MS, 'info')).rejects.toMatchObject({ code: 'DEVICE_TOOL_FAILED' });
    }
  });

  it('that leaves a child with its pipes behind answers, and the child ends', async () => {
    fake.behave('holdPipe');
    expect((await run(BUDGET_MS, 'info')).stdout).toBe('all is well\n');
    await until(() => fake.alive().length === 0);
  });

  it('whose child escapes its group is given up at the deadline', async () => {
    fake.behave('escape');
    // An answer that takes a while, or the child is killed with its group before it is out of it.
    await expect(run(1500, 'slow')).rejects.toMatchObject({ code: 'DEVICE_TOOL_LATE' });
    expect(fake.alive()).toHaveLength(1);
    const [pid = 0] = fake.alive();
    process.kill(pid, 'SIGKILL');
  });

  it('that goes away, that may not be run, and that is no program: each says so', async () => {
    fake.vanish();
    await expect(run(BUDGET_MS, 'info')).rejects.toMatchObject({ code: 'DEVICE_TOOL_MISSING' });
    fake.restore();
    fake.deny();
    await expect(run(BUDGET_MS, 'info')).rejects.toMatchObject({ code: 'DEVICE_TOOL_DENIED' });
    writeFileSync(fake.path, 'no program\0');
    fake.restore();
    expect((await run(BUDGET_MS, 'info')).exitCode).toBe(0);
  });

  it('is never run twice at once, and never after its budget', async () => {
    const first = run(BUDGET_MS, 'slow');
    await expect(run(BUDGET_MS, 'info')).rejects.toMatchObject({
      code: 'DEVICE_TOOL_LATE',
      message: expect.stringContaining('no second one'),
    });
    expect((await first).stdout).toBe('at last\n');
    await tool.query(100, async (runner) => {
      fake.behave('hang');
      await expect(runner.run(['info'])).rejects.toMatchObject({ code: 'DEVICE_TOOL_LATE' });
      expect(runner.remainingMs()).toBe(0);
      // While the killed one is not gone for good, that is the reason.
      await vi.waitFor(
        () =>
          expect(runner.run(['info'])).rejects.toMatchObject({
            message: expect.stringContaining('the time for its calls is over'),
          }),
        30_000,
      );
    });
    expect(fake.calls().filter((args) => args === 'info').length).toBeLessThanOrEqual(1);
  });

  it('keeps notes from one query to the next', async () => {
    await tool.query(BUDGET_MS, async ({ notes }) => notes.set('seen', 1));
    expect(await tool.query(BUDGET_MS, async ({ notes }) => notes.get('seen'))).toBe(1);
  });

  it('is ended by close', async () => {
    fake.behave('ignoreTerm');
    const hanging = run(BUDGET_MS, 'info');
    await until(() => fake.alive().length === 2);
    tool.close();
    await expect(hanging).rejects.toMatchObject({ code: 'DEVICE_TOOL_FAILED' });
  });
});

describe('a script of the package', () => {
  it('runs on Node, finds the tool first on PATH, and is not told options of ours', async () => {
    writeFileSync(
      join(fake.folder, 'asks.js'),
      `process.stdout.write(require('node:child_process').execFileSync('x-smi', process.argv.slice(2)))`,
    );
    const { stdout, exitCode } = await tool.query(BUDGET_MS, (runner) =>
      runner.runScript('asks.js', ['info']),
    );
    expect([stdout, exitCode]).toEqual(['all is well\n', 0]);
  });

  it('is killed together with the tool that it waits for', async () => {
    writeFileSync(
      join(fake.folder, 'asks.js'),
      `process.stdout.write(require('node:child_process').execFileSync('x-smi', ['info']))`,
    );
    fake.behave('ignoreTerm');
    const asked = tool.query(BUDGET_MS, (runner) => runner.runScript('asks.js', []));
    await until(() => fake.calls().length === 1 && fake.alive().length === 2);
    tool.close();
    await expect(asked).rejects.toMatchObject({ code: 'DEVICE_TOOL_FAILED' });
    expect(fake.calls()).toEqual(['info']);
    await until(() => fake.alive().length === 0);
  });
});

describe('on PATH', () => {
  it('the first program of that name that may be run is found; relative folders are not searched', () => {
    const empty = mkdtempSync(join(tmpdir(), 'flopd-path-'));
    try {
      writeFileSync(join(empty, 'x-smi'), 'not to be run', { mode: 0o644 });
      expect(findProgram('x-smi', { PATH: `.:${empty}:/nowhere:${fake.folder}` })).toBe(fake.path);
      expect(findProgram('x-smi', { PATH: empty })).toBeNull();
      expect(findProgram('x-smi', {})).toBeNull();
    } finally {
      rmSync(empty, { recursive: true, force: true });
    }
  });
});
