// What a record of the audit log costs, beside the same lines appended plainly (JSON, no hashes, no order kept, synced as
// often) in the same run, and what checking a log takes. Usage: node test/bench/audit.mjs [records, default 100000] [--json]
import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

const isJson = process.argv.includes('--json');
const count = Number(process.argv.slice(2).find((word) => /^\d+$/.test(word)) ?? 100_000);
/** Records of one turn of the event loop, and their number a second: a scheduler that gives out 300 jobs a second. */
const BURST = 30;
/** Records of a job on both sides: submitted, ordered, ended; accepted, started, ended. */
const RECORDS_OF_A_JOB = 6;
const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'flopd-bench-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const { openAudit } = await load('src/audit/audit.ts');
const { createAuditSigner } = await load('src/audit/head.ts');
const { verifyChain } = await load('src/audit/verify.ts');
const { createClock } = await load('src/base/clock.ts');
const { createSilentLog } = await load('src/base/log.ts');

const facts = (n) => ({ jobId: `job-${n}`, epoch: 1, nodeId: 'node-cztt37jzmd', devices: 'GPU-1,GPU-2' });
const turn = () => new Promise((resolve) => setImmediate(resolve));

async function measure(work) {
  const cpu = process.cpuUsage();
  const startMs = performance.now();
  await work();
  const { user, system } = process.cpuUsage(cpu);
  return { cpuUs: (user + system) / count, seconds: (performance.now() - startMs) / 1000 };
}

const audit = openAudit({
  folder: join(folder, 'audit'),
  owner: 'scheduler-bench',
  signer: createAuditSigner(generateKeyPairSync('ed25519').privateKey),
  clock: createClock(),
  log: createSilentLog(),
});
let callUs = 0;
const chained = await measure(async () => {
  for (let n = 0; n < count; ) {
    const startMs = performance.now();
    for (let at = 0; at < BURST && n < count; at += 1) audit.record('job.ordered', facts(n++));
    callUs += (performance.now() - startMs) * 1000;
    await turn();
  }
  await audit.close();
});
callUs /= count;

const plain = await measure(async () => {
  const file = await open(join(folder, 'plain.jsonl'), 'a', 0o600);
  let syncedMs = performance.now();
  for (let n = 0; n < count; ) {
    let text = '';
    for (let at = 0; at < BURST && n < count; at += 1)
      text += `${JSON.stringify({ at: new Date().toISOString(), kind: 'job.ordered', facts: facts(n++) })}\n`;
    await file.write(text);
    if (performance.now() - syncedMs < 250) continue;
    await file.datasync();
    syncedMs = performance.now();
  }
  await file.datasync();
  await file.close();
});

const checked = await measure(async () => {
  const { problems, records } = verifyChain(join(folder, 'audit'), null);
  if (problems.length > 0 || records !== count + 2) throw new Error('the chain does not hold');
});

const figures = {
  records: count,
  cpuUsPerRecord: chained.cpuUs,
  callUsPerRecord: callUs,
  recordsPerSecond: count / chained.seconds,
  plainCpuUsPerRecord: plain.cpuUs,
  ratio: chained.cpuUs / plain.cpuUs,
  jobUs: RECORDS_OF_A_JOB * chained.cpuUs,
  checkUsPerRecord: checked.cpuUs,
  lost: audit.figures().lost,
};
if (isJson) process.stdout.write(`${JSON.stringify(figures)}\n`);
else {
  print('records', `${count}, ${figures.recordsPerSecond.toFixed(0)} per second, ${figures.lost} lost`);
  print('a record', `${chained.cpuUs.toFixed(1)} us of CPU, of which ${callUs.toFixed(1)} us in the call`);
  print('plain append', `${plain.cpuUs.toFixed(1)} us; the chain is ${figures.ratio.toFixed(2)} x`);
  print('a job', `${figures.jobUs.toFixed(0)} us for ${RECORDS_OF_A_JOB} records on both sides`);
  print(
    'check',
    `${checked.cpuUs.toFixed(1)} us a record, ${(count / checked.seconds).toFixed(0)} per second`,
  );
}

function print(name, text) {
  process.stdout.write(`${name.padEnd(14)}${text}\n`);
}

async function load(path) {
  const file = join(folder, `${path.replaceAll('/', '-')}.mjs`);
  const bundle = await rolldown({ input: join(root, path), platform: 'node', logLevel: 'silent' });
  await bundle.write({ file, format: 'esm', codeSplitting: false });
  await bundle.close();
  return import(pathToFileURL(file).href);
}
