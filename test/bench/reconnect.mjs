// F15: N agents are connected to a scheduler that is killed with -9 and started again. How long until they are back, how
// many sessions and attempts that took, and what it cost the scheduler: its memory, and how late its loop answers.
// --silent: without telemetry, where scheduler and agents share few cores.
//   node test/bench/reconnect.mjs [--agents 10000] [--processes 4] [--away 2000] [--calm 10000] [--silent] [--tls] [--json]
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { request as requestTls } from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFleet } from './fleet/fleet.mjs';
import { numberFlag, pause, quantile } from './network.mjs';

const root = join(import.meta.dirname, '..', '..');
const READY_DEADLINE_MS = 60_000;
const BACK_DEADLINE_MS = 180_000;
const PROBE_MS = 100;

const agents = numberFlag('agents', 10_000);
const processes = numberFlag('processes', 4);
const awayMs = numberFlag('away', 2000);
/** How long all is looked at when it stands still, before the kill and after the return. */
const calmMs = numberFlag('calm', 10_000);
const isTls = process.argv.includes('--tls');
const asJson = process.argv.includes('--json');
const say = (text) => asJson || console.log(text);

const folder = mkdtempSync(join(tmpdir(), 'flopd-reconnect-'));
const stateDir = join(folder, 'state');
const port = await freePort();

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port: free } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return free;
}

async function startScheduler() {
  const readyFile = join(folder, 'ready.json');
  rmSync(readyFile, { force: true });
  const child = spawn(
    process.execPath,
    [
      join(root, 'dist', 'flopd.js'),
      'scheduler',
      ...['--state-dir', stateDir, '--ready-file', readyFile, '--listen', `127.0.0.1:${port}`],
      ...['--log-level', 'error', ...(isTls ? ['--tls', 'on'] : [])],
    ],
    { stdio: ['ignore', 'inherit', 'inherit'] },
  );
  child.gone = new Promise((resolve) => child.once('exit', resolve));
  for (const end = performance.now() + READY_DEADLINE_MS; !existsSync(readyFile); await pause(5)) {
    if (child.exitCode !== null || performance.now() > end)
      throw new Error('the scheduler did not become ready');
  }
  return { child, url: JSON.parse(readFileSync(readyFile, 'utf8')).url };
}

/** Resident bytes, and CPU seconds so far. */
function costOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return { rss: Number(fields[21]) * 4096, cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100 };
}

/** How long /healthz takes, asked every PROBE_MS over a connection of its own: the loop's delay as others feel it. */
function probe(url, caFile) {
  const ca = caFile === null ? {} : { ca: readFileSync(caFile) };
  const delays = [];
  let over = false;
  const loop = (async () => {
    while (!over) {
      const began = performance.now();
      await new Promise((resolve) => {
        const asked = (isTls ? requestTls : request)(`${url}/healthz`, {
          agent: false,
          ...ca,
          timeout: 30_000,
        });
        asked.on('timeout', () => asked.destroy());
        asked.on('error', resolve);
        asked.on('response', (response) => response.resume().on('end', resolve));
        asked.end();
      });
      delays.push(performance.now() - began);
      await pause(PROBE_MS);
    }
  })();
  return async () => {
    over = true;
    await loop;
    return delays;
  };
}

async function untilConnected(fleet, count, deadlineMs) {
  for (const end = performance.now() + deadlineMs; ; await pause(500)) {
    const state = await fleet.state();
    if (state.connected >= count || performance.now() > end) return state;
  }
}

let fleet = null;
let scheduler = await startScheduler();
try {
  const token = readFileSync(join(stateDir, 'scheduler', 'join-token'), 'utf8').trim();
  const caFile = isTls ? join(stateDir, 'scheduler', 'ca.pem') : null;
  const before = costOf(scheduler.child.pid);
  fleet = await startFleet({
    url: scheduler.url,
    token,
    caFile,
    count: agents,
    processes,
    rampMs: Math.max(2000, agents * 2),
    windowMs: process.argv.includes('--silent') ? 0 : 1000,
  });
  const first = await untilConnected(fleet, agents, BACK_DEADLINE_MS);
  if (first.connected < agents)
    throw new Error(`only ${first.connected} connected: ${JSON.stringify(first.errors)}`);
  say(`${first.connected} of ${agents} agents connected; enrolled in ${(first.enrolMs / 1000).toFixed(1)} s`);
  await pause(calmMs / 2);
  const steady = costOf(scheduler.child.pid);
  await pause(calmMs / 2);
  const steadyCpu = (costOf(scheduler.child.pid).cpuSeconds - steady.cpuSeconds) / (calmMs / 2000);

  fleet.mark();
  scheduler.child.kill('SIGKILL');
  await scheduler.child.gone;
  await pause(awayMs);
  scheduler = await startScheduler();
  const upMs = performance.now();
  const stopProbe = probe(scheduler.url, caFile);
  let peak = 0;
  const watch = setInterval(() => {
    peak = Math.max(peak, costOf(scheduler.child.pid).rss);
  }, 200);
  const back = await untilConnected(fleet, agents, BACK_DEADLINE_MS);
  const cpuSeconds = costOf(scheduler.child.pid).cpuSeconds;
  const tookMs = performance.now() - upMs;
  // A cascade would show now: links that fall again because too many came back at once.
  await pause(calmMs);
  const later = await fleet.state();
  clearInterval(watch);
  const delays = await stopProbe();
  const result = {
    agents,
    tls: isTls,
    connected: later.connected,
    backMs: {
      p50: quantile(back.backMs, 0.5),
      p99: quantile(back.backMs, 0.99),
      last: back.backMs.at(-1) ?? null,
    },
    afterReadyMs: tookMs,
    sessionsPerAgent: later.sessions / agents,
    attemptsPerAgent: later.attempts / agents,
    errors: later.errors,
    rssBytes: {
      empty: before.rss,
      steady: steady.rss,
      peak,
      perConnection: (steady.rss - before.rss) / agents,
    },
    steadyCpu,
    reconnectCpuSeconds: cpuSeconds,
    delayMs: { p50: quantile(delays, 0.5), p99: quantile(delays, 0.99), max: Math.max(...delays) },
  };
  if (asJson) console.log(JSON.stringify(result));
  else {
    const mb = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
    const s = (ms) => `${(ms / 1000).toFixed(1)} s`;
    say(
      `back after the kill (scheduler away ${s(awayMs)} and its start): p50 ${s(result.backMs.p50)}, p99 ${s(result.backMs.p99)}, last ${s(result.backMs.last)}`,
    );
    say(
      `sessions per agent ${result.sessionsPerAgent.toFixed(3)} (1: no cascade), attempts ${result.attemptsPerAgent.toFixed(2)}; connected ${s(calmMs)} later: ${later.connected}`,
    );
    say(
      `scheduler: ${mb(before.rss)} empty, ${mb(steady.rss)} with all (${(result.rssBytes.perConnection / 1024).toFixed(1)} KiB each), ${mb(peak)} at most while they came back`,
    );
    say(
      `CPU ${(100 * steadyCpu).toFixed(0)} % of a core with all connected; ${cpuSeconds.toFixed(1)} s for the return (${((1000 * cpuSeconds) / agents).toFixed(2)} ms each)`,
    );
    say(
      `/healthz while they came back: p50 ${result.delayMs.p50.toFixed(0)} ms, p99 ${result.delayMs.p99.toFixed(0)} ms, at most ${result.delayMs.max.toFixed(0)} ms`,
    );
    for (const [reason, times] of Object.entries(later.errors)) say(`  ${times} × ${reason}`);
  }
} finally {
  await fleet?.close();
  scheduler.child.kill('SIGTERM');
  await scheduler.child.gone;
  rmSync(folder, { recursive: true, force: true });
}
