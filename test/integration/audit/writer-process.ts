// Writes a log until it is killed; arguments: state folder, records of a burst. Says each record that it has handed over
// and, once a second of its fast clock, how far the log is on disk.
import { openAudit } from '../../../src/audit/audit.ts';
import { takeAuditSigner } from '../../../src/audit/key.ts';
import { createSilentLog } from '../../../src/base/log.ts';
import { createFastClock } from '../../fakes/fast-clock.ts';

const [folder = '', burst = '1'] = process.argv.slice(2);
const audit = openAudit({
  folder: `${folder}/audit`,
  owner: 'node-1',
  signer: takeAuditSigner(folder, 'AGENT'),
  clock: createFastClock(20),
  log: createSilentLog(),
  segmentBytes: 64 * 1024,
});
let n = 0;
function turn(): void {
  for (let at = 0; at < Number(burst); at += 1)
    audit.record('job.ordered', { jobId: `job-${n++}`, epoch: 1 });
  process.stdout.write(`${audit.head()?.sequence ?? 0}\n`);
  setTimeout(turn, 1);
}
turn();
