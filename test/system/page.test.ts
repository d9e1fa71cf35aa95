// The dashboard in a real browser: what a person sees at the address that `up` prints.
import { execFile, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { quietFlags } from '../fakes/browser.ts';
import { type Bed, createBed, type Daemon } from './bed.ts';

const chromium = spawnSync('sh', ['-c', 'command -v chromium'], { encoding: 'utf8' }).stdout.trim();
const BROWSER_DEADLINE_MS = 60_000;

let bed: Bed;
let up: Daemon;
beforeAll(async () => {
  bed = createBed();
  up = await bed.start(['up', '--node-name', 'node-of-the-page']);
  expect((await bed.run(['run', '--', 'true'])).code).toBe(0);
});
afterAll(() => bed.close());

/** The page's text after its script has run for a while, and what the browser complained about. */
async function open(url: string): Promise<{ dom: string; complaints: string }> {
  const { stdout, stderr } = await promisify(execFile)(
    chromium,
    [
      ...quietFlags,
      ...[`--user-data-dir=${join(bed.folder, 'browser')}`],
      ...['--enable-logging=stderr', '--virtual-time-budget=6000', '--dump-dom', url],
    ],
    {
      timeout: BROWSER_DEADLINE_MS,
      maxBuffer: 64 * 1024 * 1024,
      env: { PATH: process.env.PATH ?? '', HOME: bed.folder, TMPDIR: bed.folder },
    },
  );
  return {
    dom: stdout,
    complaints: stderr
      .split('\n')
      .filter((line) => line.includes('CONSOLE'))
      .join('\n'),
  };
}

describe.skipIf(chromium === '')('the dashboard', () => {
  test('shows the node and its state, without an error in the console', async () => {
    const { dom, complaints } = await open(`${up.endpoint.url}/`);
    const text = dom.replace(/<script[\s\S]*?<\/script>/g, '').replace(/<[^>]+>/g, ' ');
    expect(text).toContain('node-of-the-page');
    expect(text).toMatch(/ready/i);
    expect(complaints).toBe('');
  });

  test('loads nothing from elsewhere', async () => {
    const html = await (await fetch(`${up.endpoint.url}/`)).text();
    expect(html).not.toMatch(/(?:src|href)\s*=\s*["']?(?:https?:)?\/\//i);
    const policy = (await fetch(`${up.endpoint.url}/`)).headers.get('content-security-policy');
    expect(policy).toMatch(/default-src 'none'|default-src 'self'/);
  });
});
