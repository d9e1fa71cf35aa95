// The short form of the campaign (test/campaign): jobs over a scheduler and two agents that are killed at random, with
// their shims; every job is accounted for. `node test/campaign/jobs.mjs --seed N` plays a longer one.
import { expect, test } from 'vitest';
import { runCampaign } from '../campaign/campaign.ts';
import { root } from './bed.ts';

const SEED = 20261128;

test('jobs over daemons and shims that are killed at random: each starts at most once, ends once, and tells the truth', async () => {
  const report = await runCampaign({
    root,
    seed: SEED,
    jobs: 250,
    daemonKillMs: 900,
    shimKillMs: 500,
    log: () => {},
  });
  expect(report.violations, `node test/campaign/jobs.mjs --seed ${SEED}`).toEqual([]);
  expect(report.exact).toBe(report.jobs);
  expect(report.doubled).toBe(0);
  const { agents, scheduler, shims } = report.kills;
  expect(agents + scheduler + shims).toBeGreaterThan(0);
});
