// Runs inside the guest of run.sh, as root, under a real systemd with control groups of version 2 alone. Installs the
// units as systemd/README.md says, runs jobs into their limits, restarts what can be restarted, and judges what it saw:
// one line a finding, exit code 1 when one is wrong. Words: the parts to do (split, onePiece, byHand).
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

const schedulerState = '/var/lib/flopd-scheduler';
const slice = '/sys/fs/cgroup/flopd.slice/flopd-jobs.slice';
const groups = `${slice}/flopd-groups.service`;
const environment = {
  PATH: '/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin',
  HOME: '/root',
  FLOPD_STATE_DIR: schedulerState,
};
let wrong = 0;

function run(command, ...args) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: environment,
    timeout: 120_000,
  });
  return { code: status, stdout, stderr };
}
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const read = (path) => (existsSync(path) ? readFileSync(path, 'utf8').trim() : null);
const show = (unit, property) => run('systemctl', 'show', unit, '-P', property).stdout.trim();

function expect(what, seen, wanted) {
  const matches = wanted instanceof RegExp ? wanted.test(String(seen)) : seen === wanted;
  if (!matches) wrong += 1;
  console.log(`${matches ? 'ok   ' : 'WRONG'} ${what}: ${seen}${matches ? '' : ` (wanted ${wanted})`}`);
}

async function until(what, see, deadlineMs = 120_000) {
  for (const end = performance.now() + deadlineMs; performance.now() < end; await pause(200)) {
    const seen = see();
    if (seen) return seen;
  }
  throw new Error(`${what} did not come`);
}
const ready = () => until('a ready node', () => / ready /.test(run('flopd', 'nodes').stdout));
const lastJob = () => JSON.parse(run('flopd', 'jobs', '-o', 'json').stdout).jobs[0];
const jobGroups = (base = groups) => readdirSync(base).filter((name) => name.startsWith('flopd.'));

/** A job that sleeps under every limit; resolves when it is in its group. */
async function startLong(base = groups) {
  const flags = ['--memory', '64MiB', '--cpus', '0.5', '--processes', '30', '--disk-write', '8MiB'];
  const { stdout } = run('flopd', 'run', '--detach', ...flags, '--', 'sh', '-c', 'echo begun; sleep 600');
  const id = stdout.trim();
  const group = `${base}/flopd.${id}.1`;
  await until('the group of a job', () => (read(`${group}/cgroup.procs`) ?? '') !== '');
  return { id, group };
}

function expectLimits(what, group) {
  expect(`${what}: memory.max`, read(`${group}/memory.max`), String(64 * 1024 ** 2));
  expect(`${what}: memory.swap.max`, read(`${group}/memory.swap.max`) ?? '0', '0');
  expect(`${what}: cpu.max`, read(`${group}/cpu.max`), '50000 100000');
  expect(`${what}: pids.max`, read(`${group}/pids.max`), '30');
  expect(`${what}: io.max`, read(`${group}/io.max`), /^\d+:\d+ rbps=max wbps=8388608 /);
}

async function endLong({ id, group }, what) {
  run('flopd', 'cancel', id);
  run('flopd', 'wait', id);
  const job = JSON.parse(run('flopd', 'job', id, '-o', 'json').stdout);
  expect(`${what}: its end`, (job.job ?? job).state, 'CANCELLED');
  expect(
    `${what}: limits of its result`,
    JSON.stringify((job.job ?? job).result.limits),
    /"cpus":"cgroup-v2".*"memory":"cgroup-v2".*"processes":"cgroup-v2".*"diskWrite":"cgroup-v2"/,
  );
  await until('the end of its group', () => !existsSync(group));
}

async function expectLimited(what, base = groups) {
  run('flopd', 'run', '--memory', '64MiB', '--', 'tail', '/dev/zero');
  const { state, reason, result } = lastJob();
  expect(`${what}: a job that takes all memory`, state, 'OUT_OF_MEMORY');
  expect(`${what}: why`, reason, /its limit was 64\.0 MiB, held by cgroup-v2/);
  expect(`${what}: its peak`, result.usage.memoryPeakBytes <= 64 * 1024 ** 2, true);
  const bomb = 'for i in $(seq 100); do sleep 5 & done 2>/dev/null; wait; echo over';
  run('flopd', 'run', '--processes', '20', '--time-limit', '60s', '--', 'bash', '-c', bomb);
  const { usage, limits } = lastJob().result;
  expect(`${what}: processes of a job that may have 20`, usage.processesPeak, 20);
  expect(`${what}: held by`, limits.processes, 'cgroup-v2');
  const long = await startLong(base);
  expectLimits(what, long.group);
  return long;
}

async function checkSplit() {
  console.log('--- agent and runner');
  const token = read(`${schedulerState}/scheduler/join-token`);
  const joined = run(
    'flopd',
    'join',
    'http://127.0.0.1:7070',
    '--state-dir',
    '/var/lib/flopd',
    '--runner-user',
    'flopd',
    '--runner-state-dir',
    '/var/lib/flopd-runner',
    '--token',
    token,
  );
  expect('join', joined.code, 0);
  expect('start', run('systemctl', 'start', 'flopd-agent').code, 0);
  expect('flopd-groups', show('flopd-groups', 'ActiveState'), 'active');
  await ready();
  const long = await expectLimited('split');

  for (const [what, step] of [
    ['daemon-reload', ['daemon-reload']],
    ['daemon-reexec', ['daemon-reexec']],
    ['restart of the runner', ['restart', 'flopd-runner']],
    ['stop of both', ['stop', 'flopd-agent', 'flopd-runner']],
    ['start of both', ['start', 'flopd-agent']],
  ]) {
    expect(what, run('systemctl', ...step).code, 0);
    expectLimits(`after ${what}`, long.group);
  }
  await ready();
  expect(
    'what systemd says of it',
    run('journalctl', '-u', 'flopd-runner', '-u', 'flopd-groups', '-o', 'cat', '--no-pager')
      .stdout.split('\n')
      .filter((line) => /left-over|remains running|Failed|219/.test(line))
      .join(' / '),
    '',
  );
  await endLong(long, 'the job that lived through it');

  const victim = await startLong();
  writeFileSync(`${victim.group}/memory.max`, 'max');
  run('flopd', 'cancel', victim.id);
  run('flopd', 'wait', victim.id);
  expect(
    'a limit that somebody took away',
    lastJob().result.limits.memory,
    'none (memory.max: changed meanwhile)',
  );

  const survivor = await startLong();
  process.kill(Number(show('flopd-groups', 'MainPID')), 'SIGKILL');
  expectLimits('after the death of what held the groups', survivor.group);
  const later = await expectLimited('without it');
  await endLong(survivor, 'the job that lived through that');
  await endLong(later, 'a job begun after that');
  expect('groups left', jobGroups().join(), '');
  run('systemctl', 'stop', 'flopd-agent', 'flopd-runner');
  await until('the return of flopd-groups', () => show('flopd-groups', 'ActiveState') === 'active', 180_000);
}

async function checkOnePiece() {
  console.log('--- in one piece, as user flopd');
  mkdirSync('/etc/systemd/system/flopd-node.service.d', { recursive: true });
  run(
    'cp',
    '/opt/flopd/systemd/flopd-node-limits.conf',
    '/etc/systemd/system/flopd-node.service.d/limits.conf',
  );
  run('systemctl', 'daemon-reload');
  run('rm', '-rf', '/var/lib/flopd/agent');
  const token = read(`${schedulerState}/scheduler/join-token`);
  const joined = run(
    'runuser',
    '-u',
    'flopd',
    '--',
    'flopd',
    'join',
    'http://127.0.0.1:7070',
    '--state-dir',
    '/var/lib/flopd',
    '--token',
    token,
  );
  expect('join', joined.code, 0);
  expect('start', run('systemctl', 'start', 'flopd-node').code, 0);
  await ready();
  const long = await expectLimited('one piece');
  run('systemctl', 'daemon-reload');
  expect('restart', run('systemctl', 'restart', 'flopd-node').code, 0);
  await ready();
  expectLimits('after its restart', long.group);
  await endLong(long, 'the job that lived through it');
  expect('groups left', jobGroups().join(), '');
  run('systemctl', 'stop', 'flopd-node');
}

async function checkByHand() {
  console.log('--- `flopd up` as root, no unit');
  const up = spawn(
    'flopd',
    ['up', '--state-dir', '/root/up', '--listen', '127.0.0.1:7171', '--metrics-listen', '127.0.0.1:0'],
    {
      env: environment,
      stdio: 'ignore',
    },
  );
  environment.FLOPD_STATE_DIR = '/root/up';
  await ready();
  const long = await expectLimited('by hand', '/sys/fs/cgroup/flopd');
  run('systemctl', 'daemon-reload');
  expectLimits('after daemon-reload', long.group);
  await endLong(long, 'its job');
  expect('groups left', jobGroups('/sys/fs/cgroup/flopd').join(), '');
  up.kill();
}

try {
  expect('version 2 alone', read('/sys/fs/cgroup/cgroup.controllers'), /cpu io memory .*pids/);
  console.log(run('systemctl', '--version').stdout.split('\n')[0]);
  expect('start of the scheduler', run('systemctl', 'start', 'flopd-scheduler').code, 0);
  const asked = process.argv.slice(2);
  const isAsked = (part) => asked.length === 0 || asked.includes(part);
  if (isAsked('split')) await checkSplit();
  if (isAsked('onePiece')) await checkOnePiece();
  run('systemctl', 'stop', 'flopd-scheduler');
  if (isAsked('byHand')) await checkByHand();
} catch (error) {
  wrong += 1;
  console.log(`WRONG ${error.stack}`);
}
console.log(wrong === 0 ? 'all is well' : `${wrong} findings are wrong`);
process.exit(wrong === 0 ? 0 : 1);
