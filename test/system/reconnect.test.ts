// F15 in small, by the bench itself (test/bench/reconnect.mjs does it with ten thousand): all agents of a scheduler that
// was killed come back, each by one session, spread out, and stay.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { root } from './bed.ts';

const AGENTS = 100;
const DEADLINE_MS = 120_000;

interface Return {
  readonly connected: number;
  readonly sessionsPerAgent: number;
  readonly attemptsPerAgent: number;
  readonly backMs: { readonly p50: number; readonly last: number };
  readonly errors: Readonly<Record<string, number>>;
}

test(
  'a hundred agents over TLS come back to a scheduler that was killed, each once, and stay',
  async () => {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      [
        join(root, 'test', 'bench', 'reconnect.mjs'),
        ...[
          '--agents',
          String(AGENTS),
          '--processes',
          '1',
          '--away',
          '500',
          '--calm',
          '2000',
          '--json',
          '--tls',
        ],
      ],
      { timeout: DEADLINE_MS },
    );
    const told = JSON.parse(stdout) as Return;
    expect(told.connected).toBe(AGENTS);
    // A second session would be the beginning of a cascade.
    expect(told.sessionsPerAgent).toBe(1);
    expect(told.attemptsPerAgent).toBeLessThan(12);
    // None was turned away as somebody else, or for what it sent.
    expect(Object.keys(told.errors).filter((reason) => /closed 4|LINK_/.test(reason))).toEqual([]);
  },
  DEADLINE_MS,
);
