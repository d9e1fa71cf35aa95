// The dashboard's script: asks the scheduler once per second while the page is visible and shows what it says.
// Text reaches the page through textContent only. The fragment of the address may name a job whose output is to be shown:
// #token=…&job=ID (session.js).

import { deviceTotals, showDevices, showFleet } from './devices.js';
import { byId, cells, make, meterInto, rowsOf, setClass, setText } from './element.js';
import { scaled, seconds, shorten } from './figure.js';
import { say, sayState, startLanguage } from './language.js';
import { newTails, showJobOutput } from './output.js';
import { ask, askJson, session, setToken, takeFragment, whileAdmitted } from './session.js';

const PERIOD_MS = 1000;
const JOBS_SHOWN = 100;
/** A sample older than this is shown as stale. */
const STALE_SECONDS = 5;

const state = {
  lastAnswerMs: null,
  chosen: null,
  jobs: [],
  /** Network counters of the window before, by node. */
  counters: new Map(),
  output: newTails(),
};

function readAddress() {
  const job = takeFragment();
  if (job !== null) choose(job);
}

// --- asking ---------------------------------------------------------------------------------------------------

async function refresh() {
  const answers = await whileAdmitted(async () => {
    const overview = await askJson('/v1/overview');
    if (session.token === null) return { overview, nodes: null, jobs: null };
    const [{ nodes }, { jobs }] = await Promise.all([
      askJson('/v1/nodes'),
      askJson(`/v1/jobs?grouped=true&limit=${JOBS_SHOWN}`),
    ]);
    return { overview, nodes, jobs };
  });
  state.lastAnswerMs = performance.now();
  showHeader(answers?.overview ?? null);
  if (answers === null) return;
  const { overview, nodes, jobs } = answers;
  showTotals(overview);
  showNodes(overview, nodes);
  showFleet(overview.fleet);
  showDevices(nodes, isLate);
  showJobs(overview, jobs);
  await showOutput();
}

async function tick() {
  const startMs = performance.now();
  if (document.visibilityState === 'visible') {
    try {
      await refresh();
      showLink(true);
    } catch {
      showLink(false);
    }
  }
  setTimeout(tick, Math.max(100, PERIOD_MS - (performance.now() - startMs)));
}

// --- showing --------------------------------------------------------------------------------------------------

function showLink(answers) {
  const pill = byId('link');
  const banner = byId('banner');
  document.body.classList.toggle('gone', !answers);
  setText(pill, say(answers ? 'live' : 'no answer'));
  setClass(pill, answers ? 'pill good' : 'pill bad');
  banner.hidden = answers;
  if (answers) return;
  const since =
    state.lastAnswerMs === null
      ? ''
      : say(' for {0} s', Math.round((performance.now() - state.lastAnswerMs) / 1000));
  const old = state.lastAnswerMs === null ? '' : say(' What is shown below is from before.');
  setText(banner, say('The scheduler has not answered{0}.', since) + old);
}

/** `overview` null: the scheduler shows nothing. */
function showHeader(overview) {
  const { me, token, isShut, isRefused } = session;
  if (overview !== null)
    setText(byId('scheduler'), say('{0}, version {1}', overview.schedulerId, overview.version));
  setText(byId('who'), me === null ? '' : say('{0} ({1})', me.user, say(me.role)));
  byId('token-form').hidden = token !== null;
  byId('forget').hidden = token === null;
  byId('shut').hidden = !isShut;
  document.querySelector('main').hidden = isShut;
  const field = byId('token');
  field.setCustomValidity(isRefused ? say('The scheduler does not take this token.') : '');
  if (isRefused) field.reportValidity();
  // Told once.
  session.isRefused = false;
  for (const element of document.querySelectorAll('.detail')) element.hidden = token === null;
}

const sumOf = (items, pick) =>
  items.reduce((sum, item) => (pick(item) === null ? sum : (sum ?? 0) + pick(item)), null);

function showTotals({ nodes, jobs, fleet }) {
  const ready = nodes.filter((node) => node.state === 'ready');
  const watts = sumOf(ready, (node) => node.powerWatts);
  const flops = sumOf(ready, (node) => node.peakFlopsFp64);
  const threads = sumOf(ready, (node) => node.cpuThreads);
  const away = nodes.length - ready.length;
  const totals = [
    [say('Nodes'), String(ready.length), away === 0 ? say('ready') : say('ready, {0} unreachable', away)],
    ...deviceTotals(fleet),
    [say('Jobs'), String(jobs.RUNNING + jobs.STARTING), say('running, {0} waiting', jobs.PENDING)],
    [say('CPUs'), threads === null ? '–' : String(threads), say('hardware threads')],
    [
      say('CPU peak'),
      flops === null ? say('unknown') : scaled(flops, 1000, 'FLOP/s'),
      say('FP64, all ready nodes'),
    ],
    [
      say('Power'),
      powerOf(watts, ready.length > 0),
      say(watts === null ? 'nothing measures it here' : 'measured'),
    ],
  ];
  const place = byId('totals');
  while (place.children.length < totals.length) {
    const card = make('div', 'total');
    card.append(make('span'), make('b'), make('span'), make('span', 'badge'));
    place.append(card);
  }
  while (place.children.length > totals.length) place.lastElementChild.remove();
  totals.forEach(([title, value, note, simulated = false], at) => {
    const [head, figure, foot, badge] = place.children[at].children;
    badge.hidden = !simulated;
    setText(badge, say('simulated'));
    setText(head, title);
    setText(figure, value);
    setClass(figure, /\d/.test(value) ? '' : 'words');
    setText(foot, note);
  });
}

const isLate = ({ hostAgeSeconds, state }) =>
  hostAgeSeconds === null || hostAgeSeconds > STALE_SECONDS || state !== 'ready';

const NODE_CLASSES = [
  '',
  '',
  '',
  '',
  'detail',
  'detail number',
  'detail number',
  'detail',
  'number',
  'number',
];

function showNodes(overview, nodes) {
  const list = nodes ?? overview.nodes;
  byId('no-nodes').hidden = list.length > 0;
  byId('nodes').hidden = list.length === 0;
  const keys = list.map((node, at) => node.id ?? `${at}`);
  const rows = rowsOf('nodes', keys, () => cells(NODE_CLASSES.length, NODE_CLASSES));
  list.forEach((node, at) => {
    const row = rows[at];
    const figures = nodes === null ? node : figuresOf(node);
    const late = isLate(node);
    setClass(row, late ? 'late' : '');
    const [name, stateCell, cpu, memory, held, receive, transmit, place, power, age] = row.cells;
    setText(name, node.name);
    const isCloned = (node.cloned ?? null) !== null;
    setText(stateCell, say(isCloned ? 'cloned' : node.state));
    setClass(stateCell, node.state === 'ready' && !isCloned ? 'good' : 'bad');
    row.title = node.reason ?? '';
    meterInto(
      cpu,
      figures.cpuBusyRatio,
      figures.cpuBusyRatio === null ? say('absent') : `${(figures.cpuBusyRatio * 100).toFixed(0)} %`,
    );
    const { memoryUsedBytes: used, memoryTotalBytes: total } = figures;
    const known = used !== null && total !== null && total > 0;
    meterInto(
      memory,
      known ? used / total : null,
      known ? say('{0} of {1}', scaled(used, 1024, 'B'), scaled(total, 1024, 'B')) : say('absent'),
    );
    for (const cell of [held, receive, transmit, place]) cell.hidden = nodes === null;
    if (nodes !== null) {
      const { resources } = node;
      setText(place, placeOf(node));
      place.title = Object.entries(node.labels)
        .map(([label, value]) => `${label}=${value}`)
        .join(' ');
      setText(held, resources === null ? '–' : say('{0} of {1}', resources.cpus.held, resources.cpus.total));
      const rates = networkRates(node);
      setText(receive, rates === null ? '–' : `${scaled(rates.receive, 1000, 'B')}/s`);
      setText(transmit, rates === null ? '–' : `${scaled(rates.transmit, 1000, 'B')}/s`);
    }
    setText(power, powerOf(figures.powerWatts, node.hostAgeSeconds !== null));
    setText(
      age,
      node.hostAgeSeconds === null
        ? say('no sample')
        : `${node.hostAgeSeconds.toFixed(1)} s${late ? say(', stale') : ''}`,
    );
    setClass(age, late ? 'number late' : 'number');
  });
}

/** As its credential says. */
function placeOf({ place: { jurisdiction, hub, cluster, city } }) {
  return [jurisdiction, hub, cluster, city].filter((part) => part !== null).join(', ') || '–';
}

/** Without a sample nothing is known, not even that there is no source. */
function powerOf(watts, isKnown) {
  if (watts !== null) return scaled(watts, 1000, 'W');
  return isKnown ? say('no power source') : '–';
}

function figuresOf({ host }) {
  return {
    cpuBusyRatio: host?.cpu.busyRatio ?? null,
    memoryUsedBytes: host?.memory.usedBytes ?? null,
    memoryTotalBytes: host?.memory.totalBytes ?? null,
    powerWatts: host?.powerWatts ?? null,
  };
}

/** Bytes per second over all interfaces but the loopback, between two windows; null until there are two. */
function networkRates(node) {
  if (node.host === null) return null;
  const atMs = Date.parse(node.host.sampledAt);
  const now = { atMs, receive: 0, transmit: 0, rates: null };
  for (const [name, counters] of Object.entries(node.host.network)) {
    if (name === 'lo') continue;
    now.receive += counters.receiveBytesTotal ?? 0;
    now.transmit += counters.transmitBytesTotal ?? 0;
  }
  const before = state.counters.get(node.id);
  if (before?.atMs === atMs) return before.rates;
  if (before !== undefined && atMs > before.atMs) {
    const seconds = (atMs - before.atMs) / 1000;
    const receive = (now.receive - before.receive) / seconds;
    const transmit = (now.transmit - before.transmit) / seconds;
    if (receive >= 0 && transmit >= 0) now.rates = { receive, transmit };
  }
  state.counters.set(node.id, now);
  return now.rates;
}

const JOB_CLASSES = ['', '', '', '', '', 'number', 'number', 'wide'];

function showJobs(overview, jobs) {
  const counts = Object.entries(overview.jobs).filter(([, count]) => count > 0);
  setText(byId('job-counts'), counts.map(([name, count]) => `${count} ${sayState(name)}`).join(' · '));
  const empty = byId('no-jobs');
  empty.hidden = jobs !== null && jobs.length > 0;
  setText(
    empty,
    say(
      jobs === null
        ? 'Give the token to see the jobs.'
        : 'No job has been submitted yet: flopd run -- COMMAND',
    ),
  );
  byId('jobs').hidden = jobs === null || jobs.length === 0;
  state.jobs = jobs ?? [];
  const rows = rowsOf(
    'jobs',
    state.jobs.map((job) => job.id),
    buildJobRow,
  );
  state.jobs.forEach((job, at) => {
    const row = rows[at];
    const [id, name, owner, stateCell, node, duration, exit, reason] = row.cells;
    setClass(row, job.id === state.chosen ? 'chosen' : '');
    setText(id.firstElementChild, nameOf(job));
    setText(name, job.name ?? (shorten(job.spec.command.join(' '), 40) || '–'));
    setText(owner, job.owner ?? '–');
    setText(stateCell, sayState(job.state));
    setClass(stateCell, toneOf(job.state));
    const isOne = job.members === null;
    setText(node, (isOne ? job.node?.name : null) ?? '–');
    setText(duration, isOne ? durationOf(job) : '–');
    setText(exit, isOne ? exitOf(job) : '–');
    setText(reason, job.reason);
  });
}

/** A job of an array by its index; a row may stand for all that are in the same state. */
function nameOf({ id, array, members }) {
  return array === null ? id : `${array.id}[${shorten(members ?? String(array.index), 24)}]`;
}

function buildJobRow() {
  const row = cells(JOB_CLASSES.length, JOB_CLASSES);
  const button = make('button', 'id');
  button.type = 'button';
  row.cells[0].append(button);
  row.addEventListener('click', () => choose(row.dataset.key));
  return row;
}

function toneOf(name) {
  if (name === 'COMPLETED') return 'good';
  if (name === 'RUNNING' || name === 'STARTING') return 'good';
  if (name === 'PENDING' || name === 'CANCELLED') return 'wait';
  return 'bad';
}

function durationOf(job) {
  if (job.startedAt === null) return '–';
  const measured = job.result?.usage.durationMs ?? null;
  if (measured !== null) return seconds(measured / 1000);
  const end = job.endedAt === null ? Date.now() : Date.parse(job.endedAt);
  return seconds(Math.max(0, end - Date.parse(job.startedAt)) / 1000);
}

function exitOf({ result }) {
  if (result === null) return '–';
  if (result.exitCode !== null) return String(result.exitCode);
  return result.signal === null ? '–' : `signal ${result.signal}`;
}

// --- output of one job ----------------------------------------------------------------------------------------

function choose(id) {
  state.chosen = id;
  state.output = newTails();
  for (const stream of ['stdout', 'stderr']) setText(byId(stream), '');
  byId('output').hidden = id === null || session.token === null;
  for (const row of byId('jobs').tBodies[0].rows) row.classList.toggle('chosen', row.dataset.key === id);
  if (id === null || state.jobs.length === 0) return;
  showOutput().catch(() => showLink(false));
  byId('output').scrollIntoView({ block: 'nearest' });
}

async function showOutput() {
  const id = state.chosen;
  if (id === null || session.token === null) {
    byId('output').hidden = true;
    return;
  }
  const job = state.jobs.find((one) => one.id === id) ?? (await askJson(`/v1/jobs/${id}`));
  if (id !== state.chosen) return;
  byId('output').hidden = false;
  const command = shorten(job.spec.command.join(' '), 100);
  setText(
    byId('output-title'),
    `${nameOf({ ...job, members: null })}${command === '' ? '' : `: ${command}`}`,
  );
  const isStill = (tail, stream) => state.output[stream] === tail && state.chosen === job.id;
  await showJobOutput(job, state.output, ask, isStill);
}

byId('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const given = byId('token').value.trim();
  byId('token').value = '';
  if (given === '') return;
  setToken(given);
  refresh().catch(() => showLink(false));
});
byId('token').addEventListener('input', () => byId('token').setCustomValidity(''));
byId('forget').addEventListener('click', () => {
  setToken(null);
  choose(null);
});
byId('close-output').addEventListener('click', () => choose(null));
window.addEventListener('hashchange', readAddress);
startLanguage(byId('language'));
readAddress();
void tick();
