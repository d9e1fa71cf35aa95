// The checks of `flopd doctor`, in the order in which they are told. Each looks, changes nothing, and never throws.
import { accessSync, constants, existsSync, statfsSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { versions } from 'node:process';
import { describeError, errnoOf, Fault, isFault } from '../base/fault.ts';
import type { Config } from '../config/config.ts';
import { configKeys } from '../config/keys.ts';
import { type Address, formatAddress } from '../config/value.ts';
import { findProgram } from '../device/tool.ts';
import { loadNative, nativePaths } from '../native.ts';
import { createClient } from './client.ts';
import type { Context } from './context.ts';
import { answers, systemWords } from './daemon.ts';
import { checkAccelerators } from './doctor-accelerators.ts';
import { checkContainers } from './doctor-containers.ts';
import { type Check, failure, note, type Outcome, ok, warning } from './doctor-outcome.ts';
import { createWallChecks } from './doctor-walls.ts';
import { findAccess, readEndpoint } from './endpoint.ts';
import { SYS_ROOT } from './host-root.ts';
import { findPowerSources, whyNoPower } from './power-source.ts';
import { formatBytes } from './text.ts';

const NODE_FLOOR = [20, 19] as const;
/** An own exporter answers in milliseconds. */
const OWN_PORT_MS = 2000;
const LOW_SPACE_BYTES = 1024 ** 3;
const NO_SPACE_BYTES = 64 * 1024 ** 2;

type WallChecks = ReturnType<typeof createWallChecks>;

const checksWith = (
  walls: WallChecks,
): readonly (readonly [string, (context: Context, config: Config) => Outcome | Promise<Outcome>])[] => [
  ['Node', checkNode],
  ['native addon', checkAddon],
  ['job shim', checkShim],
  ['compiler', checkCompiler],
  ['state directory', checkStateDir],
  ['disk space', checkSpace],
  ['secrets', checkSecrets],
  ['scheduler port', (_, config) => checkPort(config, 'listen')],
  ['metrics port', (_, config) => checkPort(config, 'metricsListen')],
  ['scheduler', checkScheduler],
  ['clock', checkClock],
  ['sandbox', (context, config) => walls.sandbox(context, config)],
  ['users of jobs', (context, config) => walls.users(context, config)],
  ['limits of jobs', (context, config) => walls.limits(context, config)],
  ['containers', checkContainers],
  ['systemd', checkSystemd],
  ['accelerators', checkAccelerators],
  ['power source', checkPower],
];

export async function runChecks(context: Context, config: Config): Promise<Check[]> {
  const found: Check[] = [];
  for (const [name, check] of checksWith(createWallChecks())) {
    try {
      found.push({ name, ...(await check(context, config)) });
    } catch (error) {
      found.push({ name, ...warning(`could not be checked: ${describeError(error)}`, 'report this') });
    }
  }
  return found;
}

function checkNode(): Outcome {
  const [major = 0, minor = 0] = versions.node.split('.').map(Number);
  const enough = major > NODE_FLOOR[0] || (major === NODE_FLOOR[0] && minor >= NODE_FLOOR[1]);
  return enough
    ? ok(`version ${versions.node}`)
    : failure(`version ${versions.node} is too old`, `install Node ${NODE_FLOOR.join('.')} or later`);
}

function checkAddon({ root, version }: Context): Outcome {
  const { native, problem } = loadNative(nativePaths(root).addon);
  if (native === null)
    return warning(
      problem ?? 'missing',
      'install g++ and run "npm run build"; until then host numbers are absent',
    );
  if (native.version === version) return ok(`version ${native.version}`);
  return warning(`version ${native.version} does not match flopd ${version}`, 'run "npm run build"');
}

function checkShim({ root }: Context): Outcome {
  const path = nativePaths(root).shim;
  return isExecutable(path)
    ? ok(path)
    : failure(`${path} is missing: no job can run here`, 'install gcc and run "npm run build"');
}

function checkCompiler({ environment, root }: Context): Outcome {
  const found = ['g++', 'c++'].map((name) => findProgram(name, environment)).find((path) => path !== null);
  if (found !== undefined) return ok(found ?? '');
  const built = existsSync(nativePaths(root).addon) && existsSync(nativePaths(root).shim);
  return built
    ? note('none, and none needed: everything is built')
    : warning('none was found', 'install g++ (Debian: apt install g++)');
}

/** The folder itself, or the one above it that exists and in which it would be made. */
function existingFolder(path: string): string {
  let folder = path;
  while (!existsSync(folder) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}

function checkStateDir(_: Context, { stateDir }: Config): Outcome {
  const folder = existingFolder(stateDir);
  try {
    if (!statSync(folder).isDirectory())
      return failure(`${folder} is not a folder`, 'choose another with --state-dir DIR or FLOPD_STATE_DIR');
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    return failure(
      `${folder} cannot be written: ${systemWords(error)}`,
      'choose another with --state-dir DIR or FLOPD_STATE_DIR',
    );
  }
  return ok(folder === stateDir ? stateDir : `${stateDir} (does not exist yet, can be made)`);
}

function checkSpace(_: Context, { stateDir }: Config): Outcome {
  const { bavail, bsize } = statfsSync(existingFolder(stateDir));
  const free = bavail * bsize;
  const finding = `${formatBytes(free)} free for ${stateDir}`;
  if (free < NO_SPACE_BYTES)
    return failure(finding, 'free some space, or choose another disk with --state-dir DIR');
  return free < LOW_SPACE_BYTES ? warning(finding, 'job output is kept there: free some space') : ok(finding);
}

function checkSecrets(_: Context, { stateDir, tokenFile }: Config): Outcome {
  const files = [
    join(stateDir, 'scheduler', 'token'),
    join(stateDir, 'scheduler', 'join-token'),
    join(stateDir, 'agent', 'key.pem'),
    ...(tokenFile === null ? [] : [tokenFile]),
  ].filter((path) => existsSync(path));
  if (files.length === 0) return note('none here yet');
  const open = files.filter((path) => (statSync(path).mode & 0o077) !== 0);
  if (open.length > 0)
    return warning(`other users can read or write ${open.join(', ')}`, `chmod 600 ${open.join(' ')}`);
  const unreadable = files.filter((path) => !isReadable(path));
  if (unreadable.length > 0)
    return warning(`this user cannot read ${unreadable.join(', ')}`, 'run as the user who started flopd');
  return ok(`${files.length === 1 ? '1 file' : `${files.length} files`}, private`);
}

async function checkPort(config: Config, key: 'listen' | 'metricsListen'): Promise<Outcome> {
  const address = config[key];
  const where = formatAddress(address);
  if (address.port === 0) return ok(`${where}: a free one is picked`);
  const errno = await tryListen(address);
  if (errno === null) return ok(`${where} is free`);
  const remedy = `choose another with ${configKeys[key].flag} HOST:PORT`;
  if (errno !== 'EADDRINUSE') return warning(`${where} cannot be used (${errno})`, remedy);
  const endpoint = readEndpoint(config.stateDir);
  const own = key === 'listen' ? endpoint?.url : endpoint?.metricsUrl;
  const isOwn =
    own?.includes(`:${address.port}`) === true
      ? await answers(own, config)
      : // An agent that is no part of "flopd up" leaves no note of its address.
        key === 'metricsListen' && (await isAgent(address));
  if (isOwn) return ok(`${where}: flopd itself listens there`);
  return warning(`${where} is occupied by another program`, `${remedy}, or stop that program`);
}

function tryListen({ host, port }: Address): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on('error', (error) => resolve(errnoOf(error) ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

/** Whether what listens there answers as the exporter of an agent does. */
async function isAgent(address: Address): Promise<boolean> {
  try {
    const answer = await fetch(`http://${formatAddress(address)}/metrics`, {
      signal: AbortSignal.timeout(OWN_PORT_MS),
    });
    return (await answer.text()).includes('\nflopd_agent_');
  } catch {
    return false;
  }
}

/** Of a host that is a node, where nobody has named a scheduler for the verbs: the one that it joined. Null: it is none. */
async function checkJoined({ daemons }: Context, config: Config): Promise<Outcome | null> {
  const joined = await daemons.readEnrolment(config.stateDir).catch(() => null);
  if (joined === null) return null;
  const { nodeId, schedulerUrl } = joined;
  const kept = join(config.stateDir, 'agent', 'authorities.pem');
  const caFile = config.caFile ?? (existsSync(kept) ? kept : null);
  return (await answers(schedulerUrl, { stateDir: config.stateDir, caFile }))
    ? ok(`${schedulerUrl} answers; this host joined it as ${nodeId}`)
    : warning(
        `${schedulerUrl}, which this host joined as ${nodeId}, does not answer, or is not trusted here any more`,
        'start it, or check the address and what lies between; the log of "flopd agent" says why',
      );
}

async function checkScheduler(context: Context, config: Config): Promise<Outcome> {
  const { environment } = context;
  try {
    const access = await findAccess(config, environment);
    const { nodes } = await createClient(access).nodes();
    const ready = nodes.filter(({ state }) => state === 'ready').length;
    const finding = `${access.url} answers; ${ready} of ${nodes.length} nodes ready`;
    return nodes.length > 0 && ready === 0
      ? warning(finding, 'start the agents: "flopd agent"')
      : ok(finding);
  } catch (error) {
    if (isFault(error, 'SCHEDULER_UNKNOWN'))
      return (
        (await checkJoined(context, config)) ??
        note('none named, none running here', 'start one with "flopd up"')
      );
    if (error instanceof Fault) return failure(error.message, error.remedy ?? 'see the log of the scheduler');
    throw error;
  }
}

/** A clock that stands before this program was installed is wrong, and spoils every stamp. */
function checkClock({ clock, root }: Context): Outcome {
  const nowMs = clock.wallMs();
  const installedMs = statSync(join(root, 'package.json')).ctimeMs;
  const now = new Date(nowMs).toISOString();
  if (nowMs < installedMs - 24 * 3_600_000)
    return warning(`${now} is before flopd was installed here`, 'set the clock (NTP)');
  return ok(now);
}

function checkSystemd(): Outcome {
  return existsSync('/run/systemd/system')
    ? note('runs this machine: the units of systemd/ can be used')
    : note('does not run this machine: start "flopd up", or the daemons, yourself');
}

function checkPower(): Outcome {
  const sources = findPowerSources(SYS_ROOT);
  const why = whyNoPower(sources);
  if (why === null) return ok(sources.readable.join(', '));
  if (sources.denied.length === 0) return note(`no power source: ${why}; joules are absent`);
  return warning(
    `no power source: ${why}`,
    'run the agent as root, or grant read access; joules are absent until then',
  );
}

function isReadable(path: string): boolean {
  return isPermitted(path, constants.R_OK);
}

function isExecutable(path: string): boolean {
  return isPermitted(path, constants.X_OK);
}

function isPermitted(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}
