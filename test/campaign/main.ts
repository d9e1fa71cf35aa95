// The campaign from the command line; jobs.mjs builds it.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { runCampaign } from './campaign.ts';

const { values } = parseArgs({
  options: {
    root: { type: 'string', default: '.' },
    jobs: { type: 'string', default: '10000' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    'daemon-kill-ms': { type: 'string', default: '4000' },
    'shim-kill-ms': { type: 'string', default: '1500' },
  },
});
const historyFile = join(values.root, 'test', '.cache', `campaign-${values.seed}.jsonl`);
const report = await runCampaign({
  root: values.root,
  seed: Number(values.seed),
  jobs: Number(values.jobs),
  daemonKillMs: Number(values['daemon-kill-ms']),
  shimKillMs: Number(values['shim-kill-ms']),
  log: (line) => console.log(line),
  historyFile,
});
const { violations, kills } = report;
for (const { invariant, what } of violations.slice(0, 50)) console.log(`${invariant}  ${what}`);
if (violations.length > 0) console.log(`its history: ${historyFile}`);
console.log(
  `${report.jobs} jobs, ${report.exact} exact results (${report.lost} of them LOST with their shims), ${report.starts} starts, ` +
    `${report.doubled} doubled, ${report.outputBytes} bytes of output, ${violations.length} violations`,
);
console.log(
  `killed: ${kills.agents} agents, ${kills.scheduler} schedulers, ${kills.shims} shims; ends: ${JSON.stringify(report.byMode)}`,
);
process.exitCode = violations.length === 0 ? 0 : 1;
